//! A person's row as the values a template works with.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use chrono_tz::Tz;
use minijinja::{
    State, Value,
    value::{Enumerator, Object, ObjectRepr},
};

use super::{
    Brand, Channel, Envelope, Field, Row,
    filters::safe_url,
    locale::{Digits, Habits},
    person::Person,
};

/// Notes the first null that was turned into text.
#[derive(Debug, Clone, Default)]
pub(super) struct Holes(Arc<Mutex<Option<String>>>);

impl Holes {
    fn note(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| name.to_owned());
    }

    pub(super) fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A null that knows its name. It is false, it has no length, and whoever makes text of it is noted; so a letter can never say "None",
/// whichever way the null took.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) name: String,
    holes: Holes,
}

impl Missing {
    pub(super) fn value(name: impl Into<String>, holes: &Holes) -> Value {
        Value::from_object(Self { name: name.into(), holes: holes.clone() })
    }

    pub(super) fn of(value: &Value) -> Option<&Self> {
        value.downcast_object_ref()
    }
}

impl Object for Missing {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Iterable
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(Self::value(format!("{}.{key}", self.name), &self.holes))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.holes.note(&self.name);
        Enumerator::Empty
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        self.holes.note(&self.name);
        Some(0)
    }

    fn render(self: &Arc<Self>, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.holes.note(&self.name);
        Ok(())
    }
}

/// A calendar day.
#[derive(Debug)]
pub(super) struct Day(pub(super) NaiveDate);

impl Object for Day {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An instant; what people see of it depends on their zone.
#[derive(Debug)]
pub(super) struct Moment(pub(super) DateTime<Utc>);

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

/// The name the reader stands under in a template's context; no template can write it.
const READER: &str = "\u{1}reader";

/// Who reads: how they write dates and numbers, and what day it is where they are.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) habits: Habits,
    pub(super) zone: Tz,
    /// The year in which the letter is sent.
    pub(super) year: i32,
    /// The person's locale, by whose custom they are named.
    pub(super) locale: String,
    pub(super) currency: String,
}

impl Object for Reader {}

impl Reader {
    /// The reader of the letter being written.
    pub(super) fn of(state: &State<'_, '_>) -> Option<Arc<Self>> {
        state.lookup(READER).and_then(|value| value.downcast_object::<Self>())
    }

    /// The calendar day of a value, where it is one.
    pub(super) fn day(&self, value: &Value) -> Option<NaiveDate> {
        if let Some(day) = value.downcast_object_ref::<Day>() {
            return Some(day.0);
        }
        value.downcast_object_ref::<Moment>().map(|moment| moment.0.with_timezone(&self.zone).date_naive())
    }
}

/// The names a campaign's templates look up, or may look up: a column that is not among them is not made a value of.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    names: Arc<[Box<str>]>,
    /// One more than the place of the name that has a hash, at the hash or behind it; 0 where there is none.
    places: Arc<[u32]>,
}

impl Wanted {
    /// What templates with these words look up.
    pub(super) fn new<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        // The program's own functions look these up.
        let names: BTreeSet<&str> = words.chain(["first_name", "last_name", "honorific"]).collect();
        let mut places = vec![0; (names.len() * 4).next_power_of_two()];
        for (name, place) in names.iter().zip(1..) {
            let mut at = hash(name) & (places.len() - 1);
            while places[at] != 0 {
                at = (at + 1) & (places.len() - 1);
            }
            places[at] = place;
        }
        Self { names: names.into_iter().map(Box::from).collect(), places: places.into() }
    }

    fn place(&self, name: &str) -> Option<usize> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = hash(name) & mask;
        loop {
            let place = usize::try_from(*self.places.get(at)?).ok()?.checked_sub(1)?;
            if &*self.names[place] == name {
                return Some(place);
            }
            at = (at + 1) & mask;
        }
    }
}

/// Good enough to tell the few hundred words of a campaign apart, which are looked up some hundred times a letter.
fn hash(name: &str) -> usize {
    name.bytes().fold(name.len(), |hash, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)))
}

/// The names a template can use beside its row's columns.
pub(super) const BESIDE: [&str; 16] = [
    "brand",
    "campaign",
    "language",
    "message_id",
    "offer",
    "plan",
    "practice",
    "preview",
    "reply_to",
    "sent_on",
    "step",
    "subject",
    "to",
    "unsubscribe_url",
    "variant",
    "as_of",
];

/// What the templates see of one person.
#[derive(Debug, Clone)]
pub(super) struct Context {
    sheet: Arc<Sheet>,
    pub(super) holes: Holes,
}

/// The values by the places of their names.
#[derive(Debug, Clone)]
struct Sheet {
    wanted: Wanted,
    /// Undefined where there is none.
    values: Vec<Value>,
    reader: Arc<Reader>,
}

impl Sheet {
    fn set(&mut self, name: &str, value: impl FnOnce() -> Value) {
        if let Some(place) = self.wanted.place(name) {
            self.values[place] = value();
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.wanted.place(name).map(|place| &self.values[place]).filter(|value| !value.is_undefined())
    }
}

impl Object for Sheet {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        if key == READER { Some(Value::from_dyn_object(Arc::clone(&self.reader))) } else { self.get(key).cloned() }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let known = self.wanted.names.iter().zip(&self.values).filter(|(_, value)| !value.is_undefined());
        Enumerator::Values(known.map(|(name, _)| Value::from(&**name)).collect())
    }
}

impl Context {
    /// The row, overlaid with what stands round the message. A column of `links` that leads nowhere a letter may lead is as good as null.
    pub(super) fn new(row: &Row, envelope: &Envelope, wanted: &Wanted, of: &Of<'_>) -> Self {
        let Of { brand, language, channel, links, fixed } = *of;
        let holes = Holes::default();
        let text = |name: &str| match row.get(name) {
            Some(Field::Text(text)) if !text.trim().is_empty() => Some(text.as_str()),
            _ => None,
        };
        let locale = text("locale").unwrap_or(&brand.locale).to_owned();
        // A letter is read by the person, a webhook by the shop's own people.
        let reads = if channel == Channel::Email { locale.as_str() } else { brand.locale.as_str() };
        let theirs = text("timezone").filter(|_| channel == Channel::Email);
        let zone = theirs.and_then(|zone| zone.parse().ok()).or_else(|| brand.timezone.parse().ok()).unwrap_or(Tz::UTC);
        let today = envelope.date.with_timezone(&zone).date_naive();
        let reader = Reader {
            habits: Habits::new(reads, if super::locale::language(&brand.locale) == language { &brand.locale } else { language }),
            zone,
            year: today.year(),
            locale,
            currency: brand.currency.clone(),
        };
        let values = wanted.names.iter().map(|_| Value::UNDEFINED).collect();
        let mut sheet = Sheet { wanted: wanted.clone(), values, reader: Arc::new(reader) };
        for (name, value) in fixed {
            sheet.set(name, || value.clone());
        }
        for (name, field) in row {
            sheet.set(name, || match field {
                Field::Text(text) if links.contains(name) => {
                    safe_url(text).map_or_else(|| Missing::value(name, &holes), |url| Value::from(&*url))
                }
                field => value(name, field, &holes),
            });
        }
        let optional = |name: &str, text: Option<&String>| text.map_or_else(|| Missing::value(name, &holes), Value::from);
        sheet.set("as_of", || Value::from_object(Moment(envelope.as_of)));
        sheet.set("campaign", || Value::from(envelope.campaign.as_str()));
        sheet.set("language", || Value::from(language));
        sheet.set("message_id", || Value::from(envelope.message_id.as_str()));
        sheet.set("offer", || match &envelope.offer {
            None => Missing::value("offer", &holes),
            Some(offer) => Value::from(BTreeMap::from([
                ("text", Value::from(&*clean(&offer.text))),
                ("code", Value::from(&*clean(&offer.code))),
                ("valid_until", Value::from_object(Day(offer.valid_until))),
            ])),
        });
        sheet.set("plan", || Value::from(envelope.plan.as_str()));
        sheet.set("reply_to", || Value::from(envelope.reply_to.as_str()));
        sheet.set("sent_on", || Value::from_object(Day(today)));
        sheet.set("step", || Value::from(envelope.step));
        sheet.set("to", || Value::from(envelope.to.as_str()));
        sheet.set("unsubscribe_url", || optional("unsubscribe_url", envelope.unsubscribe_url.as_ref()));
        sheet.set("variant", || optional("variant", envelope.variant.as_ref()));
        Self { sheet: Arc::new(sheet), holes }
    }

    /// Sets a value for the templates that are filled in from now on.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        Arc::make_mut(&mut self.sheet).set(name, || value);
    }

    pub(super) fn value(&self) -> Value {
        Value::from_dyn_object(Arc::clone(&self.sheet))
    }

    /// Whether a name is known here and has no value.
    pub(super) fn is_missing(&self, name: &str) -> bool {
        self.sheet.get(name).is_some_and(|value| Missing::of(value).is_some())
    }

    /// The person's whole name, where one is known.
    pub(super) fn full_name(&self) -> Option<String> {
        let text = |name: &str| self.sheet.get(name).and_then(Value::as_str);
        Person::new(text("first_name"), text("last_name"), text("honorific"), &self.sheet.reader.locale).full()
    }
}

/// What is the same for all letters of a campaign.
#[derive(Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) brand: &'a Brand,
    pub(super) language: &'a str,
    pub(super) channel: Channel,
    pub(super) links: &'a BTreeSet<String>,
    /// Names a column of the row comes before.
    pub(super) fixed: &'a [(&'static str, Value)],
}

fn value(name: &str, field: &Field, holes: &Holes) -> Value {
    match field {
        Field::Null => Missing::value(name, holes),
        Field::Text(text) => Value::from(&*clean(text)),
        Field::Integer(number) => Value::from(*number),
        Field::Decimal { unscaled, scale } => Value::from(Digits::new(*unscaled, *scale).float()),
        Field::Float(number) => Value::from(*number),
        Field::Boolean(flag) => Value::from(*flag),
        Field::Date(day) => Value::from_object(Day(*day)),
        Field::Instant(at) => Value::from_object(Moment(*at)),
        Field::List(list) => list.iter().map(|field| value(name, field, holes)).collect(),
        Field::Struct(members) => {
            let member = |(key, field): (&String, &Field)| (key.clone(), value(&format!("{name}.{key}"), field, holes));
            Value::from(members.iter().map(member).collect::<BTreeMap<String, Value>>())
        }
    }
}

/// Text fit for one line of a letter: runs of white space and control characters become one space, and characters that turn the
/// direction of what follows (U+202A–E, U+2066–9) are taken out, so that no name can rearrange the sentence round it.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    // Most texts are clean.
    let mut gap = true;
    let clean = |c: u8| match c {
        b'!'..=b'~' => {
            gap = false;
            true
        }
        _ => c == b' ' && !std::mem::replace(&mut gap, true),
    };
    if text.bytes().all(clean) && !gap {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars() {
        if c.is_control() || matches!(c, ' ' | '\u{2028}' | '\u{2029}') {
            gap = true;
        } else if !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') {
            if gap && !out.is_empty() {
                out.push(' ');
            }
            gap = false;
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_one_line_without_tricks() {
        assert_eq!(clean("  Anna\r\nBcc: x\u{0}\t y "), "Anna Bcc: x y");
        assert_eq!(clean("gpj.\u{202e}exe\u{2066}"), "gpj.exe");
        assert_eq!(clean("नेहा\u{200d} \u{a0}O’Brien"), "नेहा\u{200d} \u{a0}O’Brien");
    }

    #[test]
    fn a_null_is_false_and_noted_when_shown() {
        let holes = Holes::default();
        let missing = Missing::value("tip", &holes);
        assert!(!missing.is_true());
        assert_eq!(holes.first(), None);
        assert_eq!(missing.to_string(), "");
        assert_eq!(holes.first().as_deref(), Some("tip"));
    }

    #[test]
    fn every_wanted_name_has_a_place_and_no_other_has() {
        let names: Vec<String> = (0..500).map(|number| format!("column_{number}")).collect();
        let wanted = Wanted::new(names.iter().map(String::as_str));
        let mut places: Vec<usize> = names.iter().map(|name| wanted.place(name).unwrap()).collect();
        assert!(names.iter().zip(&places).all(|(name, place)| *wanted.names[*place] == **name));
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), names.len());
        assert_eq!((wanted.place("column_500"), wanted.place(""), Wanted::default().place("x")), (None, None, None));
        assert!(wanted.place("honorific").is_some(), "greetings look it up");
    }
}
