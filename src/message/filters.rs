//! What templates can do with a value beyond minijinja's own filters. Nulls pass through every filter here unharmed, so that
//! `{{ x|date("long")|default("…") }}` works.

use std::borrow::Cow;

use chrono::TimeDelta;
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, Value,
    value::{Kwargs, Rest, ValueKind},
};
use url::Url;

use super::{
    context::{Day, Missing, Reader, clean},
    email::is_known_domain,
    locale::Digits,
    person::Person,
};

/// Work one template may do for one person; a letter needs a few hundred.
const FUEL: u64 = 200_000;

/// How a webhook's body escapes: every value becomes JSON.
pub(super) const JSON: AutoEscape = AutoEscape::Custom(Cow::Borrowed("json"));

/// Puts filters, tests, functions, limits and the formatter in place.
pub(super) fn install(env: &mut Environment<'static>) {
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_debug(false);
    env.set_formatter(format);
    env.add_filter("date", date);
    env.add_filter("days_later", days_later);
    env.add_filter("money", money);
    env.add_filter("number", number);
    env.add_filter("plural", plural);
    env.add_filter("url", url);
    env.add_filter("bdi", bdi);
    env.add_filter("tojson", |value: Value| json(&value).map(Value::from_safe_string));
    env.add_filter("inside_json", inside_json);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_test("none", |value: &Value| value.is_none() || Missing::of(value).is_some());
    env.add_test("defined", |value: &Value| !value.is_undefined() && Missing::of(value).is_none());
    env.add_test("undefined", |value: &Value| value.is_undefined() || Missing::of(value).is_some());
    env.add_function("greeting", greeting);
    env.add_function("full_name", full_name);
}

/// The functions templates can call beside minijinja's own.
pub(super) const FUNCTIONS: [&str; 7] = ["greeting", "full_name", "range", "dict", "namespace", "debug", "super"];

fn wrong(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

fn reader(state: &State<'_, '_>) -> Result<std::sync::Arc<Reader>, Error> {
    Reader::of(state).ok_or_else(|| wrong("no reader is known here"))
}

/// Writes a value, escaped as the part asks for; what has no honest form in a letter is an error.
fn format(out: &mut Output<'_>, state: &mut State<'_, '_>, value: &Value) -> Result<(), Error> {
    if *state.auto_escape() == JSON {
        let text = if value.is_safe() { value.to_string() } else { bare_json(value)? };
        return out.write_str(&text).map_err(Error::from);
    }
    let text = shown(state, value)?;
    match state.auto_escape() {
        AutoEscape::Html if !value.is_safe() => write_html(out, &text).map_err(Error::from),
        _ => out.write_str(&text).map_err(Error::from),
    }
}

/// A value's text, where it is text.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|_| value.kind() == ValueKind::String)
}

/// The text a reader sees for a value printed without a filter.
fn shown<'a>(state: &State<'_, '_>, value: &'a Value) -> Result<Cow<'a, str>, Error> {
    if let Some(text) = text(value) {
        return Ok(Cow::Borrowed(text));
    }
    if let Some(missing) = Missing::of(value) {
        return Err(hole(&missing.name));
    }
    let reader = reader(state)?;
    if let Some(day) = reader.day(value) {
        return Ok(Cow::Owned(reader.habits.long_date(day)));
    }
    match value.kind() {
        ValueKind::Number if value.is_integer() => Ok(Cow::Owned(value.to_string())),
        ValueKind::Number => digits(value).map(|digits| Cow::Owned(reader.habits.number(&digits, None, false))),
        ValueKind::Bool => Err(wrong("a yes or no cannot be printed; write the words inside `{% if … %}`")),
        ValueKind::Undefined => Err(Error::from(ErrorKind::UndefinedError)),
        ValueKind::None => Err(hole("name")),
        kind => Err(wrong(format!("a {kind} cannot be printed; join a list with `|join(\", \")`, name a member with `.`"))),
    }
}

/// Marks the error of a null that was printed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Hole(pub(super) String);

fn hole(name: &str) -> Error {
    wrong(format!("the template needs `{name}`, and this person has none")).with_source(Hole(name.to_owned()))
}

fn write_html(out: &mut dyn std::fmt::Write, text: &str) -> std::fmt::Result {
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|c| matches!(c, b'&' | b'<' | b'>' | b'"' | b'\'')) {
        out.write_str(&rest[..at])?;
        out.write_str(match rest.as_bytes()[at] {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            _ => "&#39;",
        })?;
        rest = &rest[at + 1..];
    }
    out.write_str(rest)
}

fn digits(value: &Value) -> Result<Digits, Error> {
    let whole = || i128::try_from(value.clone()).ok().map(|whole| Digits::new(whole, 0));
    let number = || f64::try_from(value.clone()).ok().and_then(Digits::of);
    let number = value.is_integer().then(whole).flatten().or_else(|| value.is_number().then(number).flatten());
    number.ok_or_else(|| wrong(format!("a {} is not a number that can be written", value.kind())))
}

/// `{{ last_order_at|date }}`: `12 March 2026`. Styles: `long`, `short` (digits), `day` (no year), `month`, `year`, `weekday`, `iso`.
fn date(state: &State<'_, '_>, value: &Value, style: Option<&str>) -> Result<Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(value.clone());
    }
    let reader = reader(state)?;
    let day = reader.day(value).ok_or_else(|| wrong(format!("`date` needs a date or a timestamp, not a {}", value.kind())))?;
    let habits = &reader.habits;
    Ok(Value::from(match style.unwrap_or("long") {
        "long" => habits.long_date(day),
        "short" => habits.short_date(day),
        "day" => habits.day_of_year(day),
        "month" => habits.month(day, reader.year),
        "year" => day.format("%Y").to_string(),
        "weekday" => habits.weekday(day),
        "iso" => day.to_string(),
        other => return Err(wrong(format!("`date` knows long, short, day, month, year, weekday and iso, not `{other}`"))),
    }))
}

/// `{{ sent_on|days_later(2)|date }}`: the day so many days after.
fn days_later(state: &State<'_, '_>, value: &Value, days: i64) -> Result<Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(value.clone());
    }
    let day =
        reader(state)?.day(value).ok_or_else(|| wrong(format!("`days_later` needs a date or a timestamp, not a {}", value.kind())))?;
    let later = TimeDelta::try_days(days).and_then(|days| day.checked_add_signed(days));
    later.map(|day| Value::from_object(Day(day))).ok_or_else(|| wrong("`days_later` leaves the calendar"))
}

/// `{{ price|money(currency) }}`: `€12.50`; without a currency in the brand's.
fn money(state: &State<'_, '_>, value: &Value, currency: Option<&Value>) -> Result<Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(value.clone());
    }
    if let Some(currency) = currency.filter(|currency| Missing::of(currency).is_some()) {
        return Ok(currency.clone());
    }
    let reader = reader(state)?;
    let currency = match currency {
        None => Cow::Borrowed(reader.currency.as_str()),
        Some(currency) => text(currency).map_or_else(|| Cow::Owned(currency.to_string()), Cow::Borrowed),
    };
    Ok(Value::from(reader.habits.money(&digits(value)?, &currency)))
}

/// `{{ orders|number }}`: `1,234`; `|number(2)` with two digits behind the mark.
fn number(state: &State<'_, '_>, value: &Value, decimals: Option<usize>) -> Result<Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(value.clone());
    }
    Ok(Value::from(reader(state)?.habits.number(&digits(value)?, decimals.map(|decimals| decimals.min(12)), true)))
}

/// `{{ orders|plural("order", "orders") }}`: `1 order`, `3 orders`.
fn plural(state: &State<'_, '_>, value: &Value, one: &str, many: &str) -> Result<Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(value.clone());
    }
    let count = reader(state)?.habits.number(&digits(value)?, None, true);
    Ok(Value::from(format!("{count} {}", if count == "1" { one } else { many })))
}

/// `href="{{ link|url }}"`: the address, when it is https or mailto (or this very machine); `javascript:` and its kin are errors.
fn url(value: &Value) -> Result<Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(value.clone());
    }
    let text = value.as_str().ok_or_else(|| wrong(format!("`url` needs text, not a {}", value.kind())))?;
    safe_url(text).map(|url| Value::from(&*url)).ok_or_else(|| wrong(format!("`{}` is not an https or mailto address", clean(text))))
}

/// Whether a letter may link to an address taken from data: https, mailto, or this very machine.
#[must_use]
pub fn usable_link(text: &str) -> bool {
    safe_url(text).is_some()
}

/// The address as a letter links to it; what shops' products carry in their addresses though no address may, such as a space, is encoded.
pub(super) fn safe_url(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    if is_plain(text) { Some(Cow::Borrowed(text)) } else { written_well(text).map(Cow::Owned) }
}

fn written_well(text: &str) -> Option<String> {
    if text.chars().any(|c| c.is_control() || (c.is_whitespace() && c != ' ') || "<>\\".contains(c)) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let open = match url.scheme() {
        "https" => url.username().is_empty() && url.password().is_none(),
        "mailto" => true,
        // The practice project's own pages, and those of someone trying it out.
        "http" => matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) && url.username().is_empty(),
        _ => false,
    };
    let encode = |text: String, (plain, encoded)| text.replace(plain, encoded);
    open.then(|| [(' ', "%20"), ('"', "%22"), ('\'', "%27"), ('`', "%60")].into_iter().fold(url.to_string(), encode))
}

/// Whether an address is of the kind nearly all are, which leads where it says and is already written as it should be.
fn is_plain(text: &str) -> bool {
    let Some((host, path)) = text.strip_prefix("https://").and_then(|rest| rest.split_once('/')) else { return false };
    let mut last = b'/';
    let open = |c: u8| {
        // A segment that begins with a dot may be a step up.
        let steps = std::mem::replace(&mut last, c) == b'/' && c == b'.';
        let known = c.is_ascii_alphanumeric()
            || matches!(c, b'-' | b'.' | b'_' | b'~' | b'/' | b'?' | b'#' | b'=' | b'&' | b'+' | b',' | b':' | b';');
        known && !steps
    };
    path.bytes().all(open) && is_known_domain(host)
}

/// `{{ last_product|bdi }}`: text of any direction that leaves the sentence round it alone.
fn bdi(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    if Missing::of(value).is_some() || *state.auto_escape() != AutoEscape::Html {
        return Ok(value.clone());
    }
    Ok(Value::from_safe_string(isolated(&shown(state, value)?)))
}

fn isolated(text: &str) -> String {
    ["<bdi dir=\"auto\">", &escaped(text), "</bdi>"].concat()
}

fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(['&', '<', '>', '"']) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;"))
}

fn default(value: &Value, args: Rest<Value>) -> Value {
    let other = args.first().cloned().unwrap_or_else(|| Value::from(""));
    let lax = args.get(1).is_some_and(Value::is_true);
    let absent = value.is_undefined() || value.is_none() || Missing::of(value).is_some() || (lax && !value.is_true());
    if absent { other } else { value.clone() }
}

fn person(state: &State<'_, '_>) -> Person {
    let names = ["first_name", "last_name", "honorific"].map(|name| state.lookup(name));
    let [first, last, honorific] = names.each_ref().map(|name| name.as_ref().and_then(Value::as_str));
    let reader = Reader::of(state);
    let locale = reader.as_ref().map_or("", |reader| reader.locale.as_str());
    Person::new(first, last, honorific, locale)
}

/// `{{ greeting() }}`: `Hello Jürgen,`; without a name `Hello,`. `greeting("Dear", without="Good morning")` in other words.
fn greeting(state: &State<'_, '_>, word: Option<&str>, options: Kwargs) -> Result<Value, Error> {
    let word = word.unwrap_or("Hello");
    let without: Option<&str> = options.get("without")?;
    options.assert_all_used()?;
    let Some(name) = person(state).address() else {
        return Ok(Value::from([without.unwrap_or(word), ","].concat()));
    };
    Ok(match state.auto_escape() {
        AutoEscape::Html => Value::from_safe_string([&escaped(word), " ", &isolated(&name), ","].concat()),
        _ => Value::from([word, " ", &name, ","].concat()),
    })
}

/// `{{ full_name()|default("someone without a name") }}`: the whole name in the person's own order.
fn full_name(state: &State<'_, '_>) -> Value {
    person(state).full().map_or_else(|| Value::from(()), Value::from)
}

fn bare_json(value: &Value) -> Result<String, Error> {
    if let Some(missing) = Missing::of(value) {
        return Err(hole(&missing.name));
    }
    if value.is_undefined() {
        return Err(Error::from(ErrorKind::UndefinedError));
    }
    json(value)
}

/// A value as JSON; nulls are `null`.
fn json(value: &Value) -> Result<String, Error> {
    to_json(value).map(|json| json.to_string())
}

fn to_json(value: &Value) -> Result<serde_json::Value, Error> {
    if Missing::of(value).is_some() {
        return Ok(serde_json::Value::Null);
    }
    Ok(match value.kind() {
        ValueKind::None | ValueKind::Undefined => serde_json::Value::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => match i64::try_from(value.clone()) {
            Ok(whole) => whole.into(),
            Err(_) => f64::try_from(value.clone()).ok().into(),
        },
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.map(|item| to_json(&item)).collect::<Result<Vec<_>, _>>().map(serde_json::Value::Array)?
        }
        ValueKind::Map => {
            let mut members = serde_json::Map::new();
            for key in value.try_iter()? {
                members.insert(key.to_string(), to_json(&value.get_item(&key)?)?);
            }
            serde_json::Value::Object(members)
        }
        _ => value.to_string().into(),
    })
}

/// A value inside a JSON string: its text, escaped, without quotes.
fn inside_json(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let text = serde_json::Value::from(shown(state, value)?.into_owned()).to_string();
    Ok(Value::from_safe_string(text[1..text.len() - 1].to_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_plain_address_is_what_the_long_way_makes_of_it(
            text in "https://([a-z0-9-]{1,4}[.]){0,2}[a-z0-9]{1,4}(/[ -~]{0,3}|/[a-z.%2eE/]{0,4}){0,5}([?#][!-~]{0,6}){0,2}"
        ) {
            if is_plain(&text) {
                prop_assert_eq!(written_well(&text), Some(text));
            }
        }
    }

    #[test]
    fn nearly_every_address_is_plain_and_an_odd_one_is_not() {
        for text in ["https://fernwood.example/", "https://fernwood.example/p/kenya-nyeri-250-g?a=1&b=2#top", "https://a.b.co.uk/x.html"] {
            assert!(is_plain(text), "{text}");
        }
        for text in [
            "https://fernwood.example",
            "http://fernwood.example/",
            "https://a@fernwood.example/",
            "https://fernwood.example:8/",
            "HTTPS://a.example/",
            "https://A.example/",
            "https://a.example/../b",
            "https://a.example/.",
            "https://a.example/%2e%2e/",
            "https://a.example/a b",
            "https://a.example/?q='",
            "https://a.example/日本",
            "https://a.example\\@b.example/",
            "https://1.2.3.4/",
            "https://localhost/",
        ] {
            assert!(!is_plain(text), "{text}");
        }
    }
}
