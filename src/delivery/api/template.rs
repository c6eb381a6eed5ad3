//! The body of a call. Its tags hold values, never text: each value is written as JSON between two marks that JSON itself cannot hold,
//! and only then put where it stands, bare or inside quotes. So no value can end the text it stands in, whatever it is.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use minijinja::{Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, value::ValueKind};
use serde::de::IgnoredAny;
use url::form_urlencoded;

/// Work one body may do; a few hundred steps are usual.
const FUEL: u64 = 200_000;
/// Begin and end of a value. JSON writes both as `\u0001` and `\u0002`.
const MARKS: [char; 2] = ['\u{1}', '\u{2}'];
/// The statements a body may hold. The others catch what tags print before it is put in its place.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// What a call says, compiled.
#[derive(Debug)]
pub(super) enum Body {
    /// The campaign's own body.
    Verbatim,
    /// JSON.
    Json(Box<Template>),
    /// The fields of a form.
    Form(Vec<(String, Template)>),
}

/// One text with tags.
pub(super) struct Template {
    env: Environment<'static>,
    source: String,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Template")
    }
}

/// A template that cannot be used, or not for this message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) message: String,
    /// The line of the template, from 1, where it is known.
    pub(crate) line: Option<usize>,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        fault(error.detail().map_or_else(|| error.kind().to_string(), str::to_owned), error.line())
    }
}

fn fault(message: impl Into<String>, line: Option<usize>) -> Fault {
    Fault { message: message.into(), line }
}

impl Template {
    /// A template whose values become JSON.
    pub(super) fn json(source: &str) -> Result<Self, Fault> {
        Self::new(source, marked)
    }

    /// A template whose values are shown as they are.
    pub(super) fn text(source: &str) -> Result<Self, Fault> {
        Self::new(source, shown)
    }

    fn new(source: &str, format: fn(&mut Output<'_>, &mut State<'_, '_>, &Value) -> Result<(), Error>) -> Result<Self, Fault> {
        let line = |at: usize| Some(source[..at].matches('\n').count() + 1);
        if let Some(at) = source.find(|c: char| c.is_control() && !"\n\r\t".contains(c)) {
            return Err(fault("a control character stands in the template", line(at)));
        }
        for (at, _) in source.match_indices("{%") {
            let word = source[at + 2..].trim_start_matches(['-', '+']).trim_start();
            let word = word.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
            if !STATEMENTS.contains(&word) {
                return Err(fault(format!("`{{% {word} %}}` is not for the body of a call; `if` and `for` are"), line(at)));
            }
        }
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_fuel(Some(FUEL));
        env.set_debug(false);
        env.set_formatter(format);
        env.add_filter("base64", |value: &Value| value.as_bytes().map(|bytes| STANDARD.encode(bytes)).ok_or_else(|| no_text(value)));
        env.add_filter("json_text", |value: &Value| json(value));
        env.add_template_owned("body", source.to_owned())?;
        Ok(Self { env, source: source.to_owned() })
    }

    /// The names it uses that do not come from itself.
    pub(super) fn names(&self) -> Vec<String> {
        let names = self.env.get_template("body").map(|template| template.undeclared_variables(false)).unwrap_or_default();
        names.into_iter().collect()
    }

    fn fill(&self, context: &BTreeMap<&str, Value>) -> Result<String, Fault> {
        self.env.get_template("body").and_then(|template| template.render(context)).map_err(|error| {
            // The line as it stands in the description, before anything of a person is in it.
            let line = error.line().and_then(|line| self.source.lines().nth(line.saturating_sub(1)));
            let mut fault = Fault::from(error);
            if let Some(line) = line {
                fault.message = format!("{}, in `{}`", fault.message, line.trim());
            }
            fault
        })
    }
}

impl Body {
    /// The names it uses.
    pub(super) fn names(&self) -> Vec<String> {
        match self {
            Self::Verbatim => vec!["body".to_owned()],
            Self::Json(template) => template.names(),
            Self::Form(fields) => fields.iter().flat_map(|(_, template)| template.names()).collect(),
        }
    }

    /// What kind of content it is.
    pub(super) fn content_type(&self) -> &'static str {
        match self {
            Self::Verbatim | Self::Json(_) => "application/json",
            Self::Form(_) => "application/x-www-form-urlencoded",
        }
    }

    /// The body for one message; `own` is the campaign's.
    pub(super) fn fill(&self, context: &BTreeMap<&str, Value>, own: &str) -> Result<Vec<u8>, Fault> {
        let text = match self {
            Self::Verbatim => own.to_owned(),
            Self::Json(template) => placed(&template.fill(context)?)?,
            Self::Form(fields) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, template) in fields {
                    let value = template.fill(context)?;
                    if !value.is_empty() {
                        form.append_pair(name, &value);
                    }
                }
                return Ok(form.finish().into_bytes());
            }
        };
        match serde_json::from_str::<IgnoredAny>(&text) {
            Ok(_) => Ok(text.trim().as_bytes().to_vec()),
            // Not the text itself: what stands there is about a person.
            Err(error) => {
                Err(fault(format!("what the template makes is not JSON ({:?} error)", error.classify()).to_lowercase(), Some(error.line())))
            }
        }
    }
}

/// Prints a value as JSON between the marks.
fn marked(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    let json = json(value)?;
    let [begin, end] = MARKS;
    out.write_str(&format!("{begin}{json}{end}")).map_err(Error::from)
}

fn json(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::Bytes => Err(no_text(value)),
        _ => serde_json::to_string(value)
            .map_err(|_| Error::new(ErrorKind::InvalidOperation, format!("a {} has no form in JSON", value.kind()))),
    }
}

/// Prints a value as a field of a form.
fn shown(out: &mut Output<'_>, _: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    match value.kind() {
        ValueKind::None => Ok(()),
        ValueKind::String | ValueKind::Number | ValueKind::Bool => out.write_str(&value.to_string()).map_err(Error::from),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        _ => Err(no_text(value)),
    }
}

fn no_text(value: &Value) -> Error {
    let hint = match value.kind() {
        ValueKind::Bytes => "write it as `|base64`",
        ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => "name a member of it, or write it as `|json_text`",
        _ => "write it without the filter",
    };
    Error::new(ErrorKind::InvalidOperation, format!("a {} is no text; {hint}", value.kind()))
}

/// Puts every marked value where it stands: as it is outside quotes, as part of the text inside them.
fn placed(filled: &str) -> Result<String, Fault> {
    let mut out = String::with_capacity(filled.len());
    let (mut quoted, mut escape) = (false, false);
    let mut rest = filled;
    while let Some(start) = rest.find(MARKS[0]) {
        let (text, after) = rest.split_at(start);
        for c in text.chars() {
            (quoted, escape) = match c {
                _ if escape => (quoted, false),
                '\\' => (quoted, quoted),
                '"' => (!quoted, false),
                _ => (quoted, false),
            };
        }
        out.push_str(text);
        let Some((value, after)) = after[1..].split_once(MARKS[1]) else { break };
        match value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) {
            Some(text) if quoted => out.push_str(text),
            None if quoted && value.starts_with(['[', '{']) => {
                return Err(fault("a list or a table stands inside quotes", Some(out.matches('\n').count() + 1)));
            }
            None if quoted && value == "null" => {}
            _ => out.push_str(value),
        }
        rest = after;
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fill(source: &str, context: serde_json::Value) -> Result<serde_json::Value, Fault> {
        let values =
            context.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), Value::from(minijinja::value::Serde(value)))).collect();
        let bytes = Body::Json(Box::new(Template::json(source)?)).fill(&values, "")?;
        Ok(serde_json::from_slice(&bytes).unwrap())
    }

    #[test]
    fn values_are_right_bare_and_inside_quotes() {
        let made = fill(
            "{\n \"a\": {{ a }}, \"b\": \"to {{ a }} \\\"{{ n }}\\\"\", \"c\": {{ list }}, \"d\": {{ none }}, \"e\": \"{{ none }}\",\n \
             \"f\": [{% for item in list %}{{ item }}{% if not loop.last %}, {% endif %}{% endfor %}], \"g\": {{ list|json_text }} }\n",
            json!({"a": "O'Neil \"x\\", "n": 7, "list": ["p", 2], "none": null}),
        );
        let expected = json!({
            "a": "O'Neil \"x\\", "b": "to O'Neil \"x\\ \"7\"", "c": ["p", 2], "d": null, "e": "", "f": ["p", 2], "g": "[\"p\",2]"
        });
        assert_eq!(made.unwrap(), expected);
    }

    #[test]
    fn marking_a_value_safe_changes_nothing() {
        assert_eq!(fill("{\"a\": {{ a|safe }}, \"b\": \"{{ a|safe }}\"}", json!({"a": "\", \"x\": \""})).unwrap()["b"], "\", \"x\": \"");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_that_repeats_nobody() {
        let context = || json!({"a": "anna@example.org", "list": [",", ":"]});
        for (source, words) in [
            ("{\"a\": {{ b }}}", "undefined"),
            ("{\"a\": \"{{ list }}\"}", "inside quotes"),
            ("{\"a\": {{ a }},}", "not json"),
            ("{\"a\": {{ a }} {{ a }}}", "not json"),
            ("{\"a\": {{ a|base64 }}", "not json"),
            ("{\"a\": {{ 3|base64 }}}", "no text"),
            ("{% set x = a %}{}", "`{% set %}`"),
            ("{% set x %}\"{{ a }}{% endset %}{{ x }}", "`{% set %}`"),
            ("{%- include \"x\" %}", "`{% include %}`"),
            ("\u{1}{\"a\": 1}", "control character"),
            ("{\"a\": {{ a }", "expected"),
            ("[{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}]", "fuel"),
        ] {
            let error = fill(source, context()).expect_err(source);
            assert!(error.message.contains(words), "{source}: {error}");
            assert!(!error.message.contains("anna"), "{error}");
        }
        assert_eq!(Template::json("{\n\n{% macro x() %}").unwrap_err().line, Some(3));
    }

    #[test]
    fn a_form_holds_what_is_not_empty() {
        let template = |source: &str| Template::text(source).unwrap();
        let body = Body::Form(vec![
            ("To".into(), template("whatsapp:{{ to }}")),
            ("From".into(), template("{{ none }}")),
            ("V".into(), template("{{ v|json_text }}")),
        ]);
        let v = Value::from(minijinja::value::Serde(json!({"1": "a&b=c"})));
        let context = BTreeMap::from([("to", Value::from("+49 &x=1\n")), ("none", Value::from(())), ("v", v)]);
        assert_eq!(body.fill(&context, "").unwrap(), b"To=whatsapp%3A%2B49+%26x%3D1%0A&V=%7B%221%22%3A%22a%26b%3Dc%22%7D");
        assert!(Body::Form(vec![("V".into(), template("{{ v }}"))]).fill(&context, "").is_err());
    }

    #[test]
    fn bytes_become_base64() {
        let template = |source: &str| Body::Json(Box::new(Template::json(source).unwrap()));
        let context = BTreeMap::from([("mime", Value::from_bytes(vec![0, 255, 10]))]);
        assert_eq!(template("{\"d\": {{ mime|base64 }}}").fill(&context, "").unwrap(), b"{\"d\": \"AP8K\"}");
        assert!(template("{\"d\": {{ mime }}}").fill(&context, "").unwrap_err().message.contains("|base64"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn no_text_breaks_out(a in any::<String>(), b in "[\"\\\\\u{1}\u{2}{}%\\[\\],:\u{0}\n\u{2028}😀]*", list in prop::collection::vec(any::<String>(), 0..4)) {
            let made = fill(
                "{\"a\": {{ a }}, \"b\": \"<{{ b }}|{{ a }}>\", {% if a %}\"c\": {{ a ~ b }}{% else %}\"c\": \"\"{% endif %}, \
                 \"l\": {{ list }}, \"m\": [{% for x in list %}\"{{ x }}\",{% endfor %} 0], \"t\": {{ list|json_text }} }",
                json!({"a": a, "b": b, "list": list}),
            ).unwrap();
            prop_assert_eq!(made.as_object().unwrap().len(), 6);
            prop_assert_eq!(made["a"].as_str(), Some(a.as_str()));
            let text = format!("<{b}|{a}>");
            prop_assert_eq!(made["b"].as_str(), Some(text.as_str()));
            prop_assert_eq!(&made["l"], &json!(list));
            let looped: Vec<serde_json::Value> = list.iter().map(|text| json!(text)).chain([json!(0)]).collect();
            prop_assert_eq!(&made["m"], &json!(looped));
            let inner: Vec<String> = serde_json::from_str(made["t"].as_str().unwrap()).unwrap();
            prop_assert_eq!(inner, list);
        }

        #[test]
        fn no_text_leaves_its_field_of_a_form(a in any::<String>(), b in any::<String>()) {
            let body = Body::Form(vec![("A".into(), Template::text("{{ a }}").unwrap()), ("B".into(), Template::text("x{{ b }}").unwrap())]);
            let bytes = body.fill(&BTreeMap::from([("a", Value::from(a.as_str())), ("b", Value::from(b.as_str()))]), "").unwrap();
            let pairs: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
            let expected: Vec<(String, String)> =
                [("A", a), ("B", format!("x{b}"))].into_iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.to_owned(), v)).collect();
            prop_assert_eq!(pairs, expected);
        }
    }
}
