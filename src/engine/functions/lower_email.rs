//! `lower_email`: one spelling of an address.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{AsArray, StringArray},
    datatypes::DataType,
};
use datafusion::{
    error::Result,
    logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::SECTION;

/// What RFC 5321 §4.5.3.1 leaves an address.
const LONGEST: usize = 254;

/// An address without blanks around it, in lower case; `None` where the text is no address.
///
/// Mail servers may tell `Ada@` from `ada@` (RFC 5321 §2.4); in practice none does, and people write their own address both ways.
#[must_use]
pub fn lower_email(text: &str) -> Option<String> {
    let address = text.trim();
    let (local, domain) = address.rsplit_once('@')?;
    let readable =
        |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control() || "<>(),;:\"[]\\".contains(c));
    let dotted = |part: &str| part.split('.').all(|label| !label.is_empty());
    let is_address = address.len() <= LONGEST
        && readable(local)
        && readable(domain)
        && !local.contains('@')
        && dotted(local)
        && dotted(domain)
        && domain.contains('.');
    is_address.then(|| address.to_lowercase())
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "The address without blanks around it and in lower case, or null where the text is no address.",
        "lower_email(text)",
    )
    .with_sql_example("select lower_email(' Ada@Fernwood.example ') -- ada@fernwood.example")
    .with_argument("text", "an email address as somebody typed it")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LowerEmail {
    signature: Signature,
}

impl Default for LowerEmail {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Utf8], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LowerEmail {
    fn name(&self) -> &str {
        "lower_email"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let addresses: StringArray = arrays[0].as_string::<i32>().iter().map(|text| text.and_then(lower_email)).collect();
        Ok(ColumnarValue::Array(Arc::new(addresses)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_get_one_spelling_and_everything_else_is_null() {
        assert_eq!(lower_email(" Ada@Fernwood.Example\n").as_deref(), Some("ada@fernwood.example"));
        assert_eq!(lower_email("ÄDA+tag@bücher.example").as_deref(), Some("äda+tag@bücher.example"));
        for no_address in [
            "",
            " ",
            "ada",
            "ada@",
            "@fernwood.example",
            "ada@fernwood",
            "a da@fernwood.example",
            "ada@fern wood.example",
            "ada@@fernwood.example",
            "ada@b@fernwood.example",
            "ada@fernwood..example",
            ".ada@fernwood.example",
            "ada@.example",
            "Ada <ada@fernwood.example>",
            "ada@fernwood.example, bob@fernwood.example",
            "n/a",
            "ada@fernwood.example\r\nBcc: x@y.z",
        ] {
            assert_eq!(lower_email(no_address), None, "{no_address:?}");
        }
        assert_eq!(lower_email(&format!("{}@fernwood.example", "a".repeat(300))), None);
    }
}
