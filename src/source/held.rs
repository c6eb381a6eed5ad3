//! Whether a declared field still comes. It is counted over all pulls, so that a source which leaves out what is empty is told from one that
//! no longer knows the field.

use serde::{Deserialize, Serialize};

/// A field that stood in so many rows and was missing from none is one the source always writes …
const ALWAYS: u64 = 100;
/// … and gone once it is missing from so many in a row.
const GONE: u64 = 5;

/// What is known of a declared field of rows that may leave it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Held {
    /// No row has left it out before the last ones did.
    Always {
        /// Rows that held it; counted up to [`ALWAYS`].
        rows: u64,
        /// Rows since, none of which did; counted up to [`GONE`].
        without: u64,
    },
    /// Some rows hold it, some do not.
    Sometimes,
}

impl Held {
    /// What is known after a page of which `with` rows hold the field and `without` do not.
    pub(crate) fn after(self, with: u64, without: u64) -> Self {
        match self {
            Self::Always { rows, without: before } if with == 0 => Self::Always { rows, without: GONE.min(before + without) },
            Self::Always { rows, without: 0 } if without == 0 => Self::Always { rows: ALWAYS.min(rows + with), without: 0 },
            _ => Self::Sometimes,
        }
    }

    /// Whether it had always come and comes no more.
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Self::Always { rows: ALWAYS, without: GONE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_gone_only_if_it_had_always_been_there() {
        let after = |pages: &[(u64, u64)]| {
            pages.iter().fold(Held::Always { rows: 0, without: 0 }, |held, (with, without)| held.after(*with, *without))
        };
        assert!(after(&[(60, 0), (60, 0), (0, 5)]).is_gone());
        assert!(after(&[(100, 0), (0, 2), (0, 3)]).is_gone());
        assert!(!after(&[(100, 0), (0, 4)]).is_gone());
        assert!(!after(&[(99, 0), (0, 500)]).is_gone(), "too few to know");
        assert!(!after(&[(0, 500)]).is_gone(), "it has never come");
        for sometimes in [[(119, 1), (0, 500)], [(0, 3), (200, 0)]] {
            assert_eq!(after(&sometimes), Held::Sometimes);
        }
        assert_eq!(after(&[(200, 0), (0, 2), (50, 0), (0, 50)]), Held::Sometimes, "it came back");
        assert_eq!(after(&[(200, 0), (300, 0)]), after(&[(100, 0)]), "what is remembered does not grow for ever");
    }
}
