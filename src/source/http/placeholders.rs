//! `{since}`, `{until}`, `{token}`, `{after}` and `{tie}` in a stream's `path`, `params` and `body`, and the like elsewhere. Other braces,
//! such as those of GraphQL, stay as they are.

use serde_json::Value;

const NAMES: [&str; 5] = ["{since}", "{until}", "{token}", "{after}", "{tie}"];

/// What the placeholders stand for in one request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Filling<'a> {
    /// The lower bound of the pull.
    pub(crate) since: Option<&'a str>,
    /// The upper one.
    pub(crate) until: Option<&'a str>,
    /// Where the page begins.
    pub(crate) token: Option<&'a str>,
    /// The cursor value of the row it begins after.
    pub(crate) after: Option<&'a str>,
    /// What tells that row from others with this cursor value.
    pub(crate) tie: Option<&'a str>,
}

impl Filling<'_> {
    fn of(&self, name: &str) -> Option<&str> {
        match name {
            "{since}" => self.since,
            "{until}" => self.until,
            "{after}" => self.after,
            "{tie}" => self.tie,
            _ => self.token,
        }
    }

    /// The text filled in; `None` where it is exactly a placeholder that stands for nothing.
    pub(crate) fn text(&self, text: &str) -> Option<String> {
        if NAMES.contains(&text) { self.of(text).map(str::to_owned) } else { Some(self.within(text, str::to_owned)) }
    }

    /// The path filled in; what is put there stays within its step.
    pub(crate) fn path(&self, path: &str) -> String {
        self.within(path, escaped)
    }

    /// The body filled in; what stands for nothing becomes null.
    pub(crate) fn body(&self, body: &Value) -> Value {
        match body {
            Value::String(text) => self.text(text).map_or(Value::Null, Value::String),
            Value::Array(list) => list.iter().map(|value| self.body(value)).collect(),
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), self.body(value))).collect(),
            other => other.clone(),
        }
    }

    fn within(&self, text: &str, write: impl Fn(&str) -> String) -> String {
        filled(text, &NAMES, |name| write(self.of(name).unwrap_or_default()))
    }
}

/// The text with each of `names` replaced by what `write` makes of it. What is put in is not looked at again.
pub(super) fn filled(text: &str, names: &[&str], write: impl Fn(&str) -> String) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, name)) = names.iter().filter_map(|name| Some((rest.find(name)?, *name))).min() {
        filled.push_str(&rest[..start]);
        filled.push_str(&write(name));
        rest = &rest[start + name.len()..];
    }
    filled + rest
}

/// What a part of a path may hold: everything but letters, digits and `-._~` in percents.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// How a placeholder is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Use {
    /// As a whole text, which can be left out.
    pub(crate) alone: bool,
    /// Inside a longer text, which cannot do without it.
    pub(crate) within: bool,
}

impl Use {
    /// Whether it is used at all.
    pub(crate) fn any(self) -> bool {
        self.alone || self.within
    }
}

/// How `name` is used in a path, and in the texts of parameters and a body.
pub(crate) fn used<'a>(name: &str, path: &str, params: impl Iterator<Item = &'a String>, body: Option<&Value>) -> Use {
    let mut used = Use { alone: false, within: path.contains(name) };
    let mut look = |text: &str| {
        used.alone |= text == name;
        used.within |= text != name && text.contains(name);
    };
    params.for_each(|text| look(text));
    let mut rest: Vec<&Value> = body.into_iter().collect();
    while let Some(value) = rest.pop() {
        match value {
            Value::String(text) => look(text),
            Value::Array(list) => rest.extend(list),
            Value::Object(fields) => rest.extend(fields.values()),
            _ => {}
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let filling = Filling { since: Some("{token}"), token: Some("a/b ü"), ..Filling::default() };
        assert_eq!(filling.text("{since}").as_deref(), Some("{token}"));
        assert_eq!(filling.text("from {since} at {token}").as_deref(), Some("from {token} at a/b ü"));
        assert_eq!(filling.text("query { orders(first: 5) { id } }").as_deref(), Some("query { orders(first: 5) { id } }"));
        assert_eq!(filling.text("{until}"), None);
        assert_eq!(filling.path("/after/{token}/x"), "/after/a%2Fb%20%C3%BC/x");
    }

    #[test]
    fn in_a_body_what_stands_for_nothing_is_null() {
        let body = json!({"limit": 5, "after": "{token}", "filters": [{"gte": "{since}"}, "at >= {since}"], "{since}": true});
        let filling = Filling { since: Some("7"), ..Filling::default() };
        assert_eq!(filling.body(&body), json!({"limit": 5, "after": null, "filters": [{"gte": "7"}, "at >= 7"], "{since}": true}));
        let used = |name: &str| used(name, "/orders", [].iter(), Some(&body));
        assert_eq!(used("{since}"), Use { alone: true, within: true });
        assert_eq!(used("{token}"), Use { alone: true, within: false });
        assert!(!used("{until}").any());
    }
}
