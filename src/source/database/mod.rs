//! Rows of a PostgreSQL or MySQL/MariaDB table or query.
//!
//! Everything one pull reads, it reads from one snapshot (`repeatable read`, read only). A first load of a table goes through its key,
//! page after page, in as many ranges at once as there are connections; a lost connection goes on after its last page, and so does the
//! next process after a crash. What changed since the cursor is one statement.
//!
//! The upper bound is the server's clock or, where the server shows it, the beginning of its oldest open transaction: a writer that
//! stamps a row and commits it hours later is not missed, however short the overlap.
//!
//! | file | what it holds |
//! |---|---|
//! | `settings.rs` | what the settings may say |
//! | `sql.rs` | the statements, as text |
//! | `reader.rs` | ranges, pages, lost connections |
//! | `postgres.rs`, `copy.rs` | PostgreSQL: binary `COPY` straight into Arrow |
//! | `mysql.rs` | MySQL and MariaDB: rows of the text protocol |
//!
//! | declared | PostgreSQL | MySQL, MariaDB |
//! |---|---|---|
//! | `text` | any type, as the server writes it | any type; bytes that are no UTF-8 do not fit |
//! | `integer` | `smallint` to `bigint`, whole `numeric` | all integers; `bigint unsigned` above 2^63 does not fit: declare `decimal(20,0)` |
//! | `decimal(p,s)` | `numeric` to the last digit; `NaN` and `Infinity` do not fit | `decimal` to the last digit |
//! | `timestamp` | `timestamptz`; `timestamp` needs `zone` | `timestamp`; `datetime` needs `zone` |
//! | `date`, `boolean`, `float` | the same; `infinity` and `NaN` do not fit | the same, `tinyint` and `bit(1)` as boolean |
//! | `json`, lists, structs | `json`, `jsonb`, arrays, composite types | `json` |
//!
//! MySQL's zero dates (`0000-00-00`) become null and are counted in the log.

pub(crate) mod copy;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod reader;
#[cfg(test)]
pub(crate) mod server;
pub(crate) mod settings;
pub(crate) mod sql;
#[cfg(test)]
mod tests;
