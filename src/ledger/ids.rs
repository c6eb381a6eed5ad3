//! The names things go by. A customer's id is not a plan's id, though both are text.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One person, as `identities` resolves them.
    CustomerId
);
id!(
    /// One plan: `<campaign>-<as_of>-<hash8>`.
    PlanId
);
id!(
    /// One message for ever: an HMAC over campaign, person, occasion and step, `@` the brand's domain, without angle brackets.
    MessageId
);
