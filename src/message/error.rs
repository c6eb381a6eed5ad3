use crate::diagnosis::{Diagnose, Diagnosis, Exit};

const MISSING: &str = "missing_field:";

/// A template that cannot be used, or a row it cannot be filled with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct MessageError(pub Diagnosis);

impl MessageError {
    /// The column whose null a template met without a default; the person is left out and the campaign goes on. The code of such an
    /// error is the gate's own word, `missing_field:<name>`.
    #[must_use]
    pub fn missing_field(&self) -> Option<&str> {
        self.0.code.strip_prefix(MISSING)
    }

    pub(super) fn missing(name: &str) -> Diagnosis {
        Diagnosis::new(format!("{MISSING}{name}"), format!("the template needs `{name}`, and this person has none"))
            .hint(format!("give it a default, `{{{{ {name}|default(\"…\") }}}}`, or write the sentence inside `{{% if {name} %}}`"))
    }
}

impl Diagnose for MessageError {
    fn diagnosis(&self) -> Diagnosis {
        self.0.clone()
    }

    fn exit(&self) -> Exit {
        Exit::Wrong
    }
}
