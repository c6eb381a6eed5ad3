//! A finished message goes out into the world, under the send law: no person hears about the same occasion twice, nobody planned is
//! silently skipped, and what nobody can know is recorded as unknown and shown. `kill -9` anywhere changes none of this.
//!
//! | file | promise |
//! |---|---|
//! | `state` | the send law as a pure state machine |
//! | `policy` | whether a person may still be written to: present state in, decision out |
//! | `settings` | `[delivery]` of the deployment |
//! | `deliver` | the loop: one turn of the ledger after another, until nobody is due |
//! | `account` | what became of everybody |
//! | `recover` | what a process that died left behind |
//! | `transport` | the three ways out, behind one door |
//! | `outbox` | files in a folder, one a message |
//! | `smtp/` | a mail relay, over connections driven by hand |
//! | `webhook` | a signed JSON call |
//! | `unsubscribe` | the link that makes it stop |

mod policy;
mod state;
mod unsubscribe;

pub use policy::Kind;
pub use unsubscribe::{Claim, Token};
