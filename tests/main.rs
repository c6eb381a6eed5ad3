//! The real binary, from outside: what a user would do, and what must never happen.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod analyst;
mod apis;
mod bad_input;
mod broken_tls;
mod canaries;
mod command_line;
mod docs;
mod every_script;
mod far_lake;
mod fault_servers;
mod first_night;
mod fuzzed;
mod kill;
mod kill_matrix;
mod own_data;
mod presets;
mod pull_kill;
mod real_input;
mod real_mail;
mod returns;
mod serve;
mod smtp;
mod support;
mod thirty_nights;
mod write_back;
mod wrong_sql;
