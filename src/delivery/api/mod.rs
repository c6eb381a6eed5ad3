//! Any HTTP API as a way out, described in a file: a provider's for mail, a team's for notes. A person is told once, and only what the
//! answer says is recorded.
//!
//! | file | promise |
//! |---|---|
//! | `description` | the format: where an API lies, what it is told, what its answers mean |
//! | `auth` | how it knows us |
//! | `check` | what would do harm is found before a run, with file, line and hint |
//! | `template` | values become JSON by themselves; no value can break out |
//! | `request` | description and message become one finished call |
//! | `sigv4` | AWS Signature Version 4 |
//! | `answer` | what an answer means for the message and for the way |
//! | `call` | one call, its phases told apart |
//! | `courier` | the messages of a delivery, one call each |
//! | `settings` | what the deployment adds to a description |
//!
//! The shipped descriptions stand in `apis/`, those for calls each with a campaign's `webhook.json` to begin from in `apis/bodies/`. The
//! next API is the next file, here or in a project's `config/apis/`. Whom calls may reach is for `delivery::guard` to say, and when one is
//! made again for `delivery::webhook`.

mod answer;
mod auth;
mod call;
mod check;
mod courier;
mod description;
mod request;
mod settings;
mod sigv4;
mod template;

#[cfg(test)]
mod tests;

pub(crate) use auth::{Auth, AuthError};
pub(crate) use call::CallError;
pub(crate) use courier::{Common, Courier};
pub use description::API_FILE;
pub(crate) use description::Rate;
pub use settings::ApiSettings;
pub(crate) use settings::{Section, ready};

/// The descriptions that ship, by name.
pub(crate) const SHIPPED: [(&str, &str); 9] = [
    ("braze", include_str!("apis/braze.toml")),
    ("hubspot-task", include_str!("apis/hubspot-task.toml")),
    ("postmark", include_str!("apis/postmark.toml")),
    ("salesforce-task", include_str!("apis/salesforce-task.toml")),
    ("ses", include_str!("apis/ses.toml")),
    ("slack", include_str!("apis/slack.toml")),
    ("slack-hook", include_str!("apis/slack-hook.toml")),
    ("twilio-sms", include_str!("apis/twilio-sms.toml")),
    ("twilio-whatsapp", include_str!("apis/twilio-whatsapp.toml")),
];
