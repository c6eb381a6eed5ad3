//! JSON that is read once and thrown away: a page of rows in one block of memory, instead of a tree of small pieces.
//!
//! Texts stay where they stand in the page; only those with escapes are written once more. [`Json`] is a look at a value, whether it
//! stands in such a block or in a [`serde_json::Value`].

use std::{fmt, ops::Range, sync::Arc};

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A JSON document.
#[derive(Debug, Default)]
pub(crate) struct Document {
    text: String,
    /// Texts whose writing holds escapes, as they mean.
    unescaped: String,
    /// Every value, a list or an object before what it holds, a name before its value.
    slots: Vec<Slot>,
}

/// One value. Lists and objects know the slot behind all that they hold.
#[derive(Debug, Clone, Copy)]
enum Slot {
    Null,
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Text { start: u32, end: u32 },
    Unescaped { start: u32, end: u32 },
    List { behind: u32 },
    Object { behind: u32 },
}

impl Document {
    /// Reads a document, to its last character.
    pub(crate) fn parse(text: String) -> Result<Self, serde_json::Error> {
        let mut reading = Reading { base: text.as_ptr().addr(), unescaped: String::new(), slots: Vec::with_capacity(text.len() / 12) };
        if u32::try_from(text.len()).is_err() {
            return Err(de::Error::custom("it is larger than 4 GiB"));
        }
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        reading.deserialize(&mut deserializer)?;
        deserializer.end()?;
        let Reading { unescaped, slots, .. } = reading;
        Ok(Self { text, unescaped, slots })
    }

    /// As a tree.
    pub(crate) fn to_value(&self) -> Value {
        self.tree(0, None)
    }

    /// The value at a path of objects.
    fn find(&self, path: &[String]) -> Option<u32> {
        path.iter().try_fold(0, |at, step| self.field(at, step))
    }

    /// The field of an object; of several with one name the last, as everywhere.
    fn field(&self, at: u32, name: &str) -> Option<u32> {
        let Slot::Object { behind } = self.slots[at as usize] else { return None };
        let mut found = None;
        let mut here = at + 1;
        while here < behind {
            if self.str(here) == Some(name) {
                found = Some(here + 1);
            }
            here = self.behind(here + 1);
        }
        found
    }

    fn behind(&self, at: u32) -> u32 {
        match self.slots[at as usize] {
            Slot::List { behind } | Slot::Object { behind } => behind,
            _ => at + 1,
        }
    }

    fn str(&self, at: u32) -> Option<&str> {
        match self.slots[at as usize] {
            Slot::Text { start, end } => Some(&self.text[start as usize..end as usize]),
            Slot::Unescaped { start, end } => Some(&self.unescaped[start as usize..end as usize]),
            _ => None,
        }
    }

    /// Everything as a tree, but for the list that stands at `emptied`, which holds nothing in it.
    fn tree(&self, at: u32, emptied: Option<u32>) -> Value {
        match self.slots[at as usize] {
            Slot::Null => Value::Null,
            Slot::Bool(yes) => Value::Bool(yes),
            Slot::Signed(number) => number.into(),
            Slot::Unsigned(number) => number.into(),
            Slot::Float(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
            Slot::Text { .. } | Slot::Unescaped { .. } => self.str(at).unwrap_or_default().into(),
            Slot::List { .. } if emptied == Some(at) => Value::Array(Vec::new()),
            Slot::List { behind } => Value::Array(self.within(at, behind).map(|item| self.tree(item, emptied)).collect()),
            Slot::Object { behind } => {
                let mut fields = Map::new();
                let mut here = at + 1;
                while here < behind {
                    fields.insert(self.str(here).unwrap_or_default().to_owned(), self.tree(here + 1, emptied));
                    here = self.behind(here + 1);
                }
                Value::Object(fields)
            }
        }
    }

    fn within(&self, at: u32, behind: u32) -> impl Iterator<Item = u32> {
        let first = Some(at + 1).filter(|first| *first < behind);
        std::iter::successors(first, move |here| Some(self.behind(*here)).filter(|next| *next < behind))
    }
}

/// A document on its way in.
struct Reading {
    /// Where the text begins in memory.
    base: usize,
    unescaped: String,
    slots: Vec<Slot>,
}

impl Reading {
    fn range<E: de::Error>(&self, range: Range<usize>) -> Result<(u32, u32), E> {
        let place = |place: usize| u32::try_from(place).map_err(|_| E::custom("it is larger than 4 GiB"));
        Ok((place(range.start)?, place(range.end)?))
    }

    /// Begins a list or an object, which is closed when it is known what it holds.
    fn open(&mut self) -> usize {
        self.slots.push(Slot::Null);
        self.slots.len() - 1
    }

    fn close<E: de::Error>(&mut self, at: usize, slot: impl Fn(u32) -> Slot) -> Result<(), E> {
        let (behind, _) = self.range(self.slots.len()..self.slots.len())?;
        self.slots[at] = slot(behind);
        Ok(())
    }

    fn push<E>(&mut self, slot: Slot) -> Result<(), E> {
        self.slots.push(slot);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for &mut Reading {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Reading {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.push(Slot::Null)
    }

    fn visit_bool<E>(self, yes: bool) -> Result<(), E> {
        self.push(Slot::Bool(yes))
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.push(Slot::Signed(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.push(i64::try_from(number).map_or(Slot::Unsigned(number), Slot::Signed))
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.push(Slot::Float(number))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<(), E> {
        let start = text.as_ptr().addr() - self.base;
        let (start, end) = self.range(start..start + text.len())?;
        self.push(Slot::Text { start, end })
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        let start = self.unescaped.len();
        self.unescaped.push_str(text);
        let (start, end) = self.range(start..start + text.len())?;
        self.push(Slot::Unescaped { start, end })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let at = self.open();
        while list.next_element_seed(&mut *self)?.is_some() {}
        self.close(at, |behind| Slot::List { behind })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let at = self.open();
        while object.next_key_seed(&mut *self)?.is_some() {
            object.next_value_seed(&mut *self)?;
        }
        self.close(at, |behind| Slot::Object { behind })
    }
}

/// The rows of an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct JsonRows {
    document: Arc<Document>,
    rows: Vec<u32>,
}

impl JsonRows {
    /// Takes the list of rows out of an answer; with it comes what remains. A missing list is never taken for an empty one.
    pub(crate) fn of(document: Document, place: &[String]) -> (Result<Self, String>, Value) {
        let dotted = place.join(".");
        let found = document.find(place);
        let rows = match found.map(|at| (at, document.slots[at as usize])) {
            None => Err(format!("holds nothing at `{dotted}`, where the rows should be")),
            Some((at, Slot::List { behind })) => Ok(document.within(at, behind).collect()),
            Some(_) if place.is_empty() => Err("is an object, where a list of rows should be".to_owned()),
            Some(_) => Err(format!("holds no list at `{dotted}`, where the rows should be")),
        };
        let rest = document.tree(0, found.filter(|_| rows.is_ok()));
        (rows.map(|rows| Self { document: Arc::new(document), rows }), rest)
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, position: usize) -> Json<'_> {
        Json::Slot(&self.document, self.rows[position])
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = Json<'_>> {
        self.rows.iter().map(|at| Json::Slot(&self.document, *at))
    }
}

/// A value, wherever it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Json<'a> {
    Slot(&'a Document, u32),
    Tree(&'a Value),
}

/// What a value is.
#[derive(Debug, Clone)]
pub(crate) enum Is<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(&'a str),
    List,
    Object,
}

impl<'a> Json<'a> {
    pub(crate) fn is(self) -> Is<'a> {
        match self {
            Self::Slot(document, at) => match document.slots[at as usize] {
                Slot::Null => Is::Null,
                Slot::Bool(yes) => Is::Bool(yes),
                Slot::Signed(number) => Is::Number(number.into()),
                Slot::Unsigned(number) => Is::Number(number.into()),
                Slot::Float(number) => Number::from_f64(number).map_or(Is::Null, Is::Number),
                Slot::Text { .. } | Slot::Unescaped { .. } => Is::Text(document.str(at).unwrap_or_default()),
                Slot::List { .. } => Is::List,
                Slot::Object { .. } => Is::Object,
            },
            Self::Tree(value) => match value {
                Value::Null => Is::Null,
                Value::Bool(yes) => Is::Bool(*yes),
                Value::Number(number) => Is::Number(number.clone()),
                Value::String(text) => Is::Text(text),
                Value::Array(_) => Is::List,
                Value::Object(_) => Is::Object,
            },
        }
    }

    pub(crate) fn is_object(self) -> bool {
        matches!(self.is(), Is::Object)
    }

    /// A field of an object.
    pub(crate) fn field(self, name: &str) -> Option<Self> {
        match self {
            Self::Slot(document, at) => document.field(at, name).map(|at| Self::Slot(document, at)),
            Self::Tree(value) => value.get(name).map(Self::Tree),
        }
    }

    /// The value at a path of objects; `None` where a step is missing.
    pub(crate) fn at(self, path: &[String]) -> Option<Self> {
        path.iter().try_fold(self, |value, step| value.field(step))
    }

    /// What a list holds; nothing where it is none.
    pub(crate) fn items(self) -> impl Iterator<Item = Self> {
        let (slots, tree) = match self {
            Self::Slot(document, at) => match document.slots[at as usize] {
                Slot::List { behind } => (Some(document.within(at, behind).map(|at| Self::Slot(document, at))), None),
                _ => (None, None),
            },
            Self::Tree(value) => (None, value.as_array()),
        };
        slots.into_iter().flatten().chain(tree.into_iter().flatten().map(Self::Tree))
    }

    /// The names of an object's fields; none where it is no object.
    pub(crate) fn names(self) -> impl Iterator<Item = &'a str> {
        let (slots, tree) = match self {
            Self::Slot(document, at) => match document.slots[at as usize] {
                Slot::Object { behind } => {
                    let first = Some(at + 1).filter(|first| *first < behind);
                    let names = std::iter::successors(first, move |name| Some(document.behind(name + 1)).filter(|next| *next < behind));
                    (Some(names.filter_map(|name| document.str(name))), None)
                }
                _ => (None, None),
            },
            Self::Tree(value) => (None, value.as_object()),
        };
        slots.into_iter().flatten().chain(tree.into_iter().flat_map(Map::keys).map(String::as_str))
    }

    /// As a tree of its own.
    pub(crate) fn to_value(self) -> Value {
        match self {
            Self::Slot(document, at) => document.tree(at, None),
            Self::Tree(value) => value.clone(),
        }
    }

    /// A text as it is, everything else as JSON.
    pub(crate) fn literal(self) -> String {
        match self.is() {
            Is::Text(text) => text.to_owned(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.is()) {
            (Self::Tree(value), _) => value.fmt(f),
            (_, Is::Number(number)) => number.fmt(f),
            _ => self.to_value().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~]{0,6}", "\\PC{0,4}", Just("a\"\\\n\u{1F600}".to_owned())];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            let object = prop::collection::vec((text.clone(), inner.clone()), 0..5);
            prop_oneof![
                prop::collection::vec(inner, 0..5).prop_map(Value::from),
                object.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// Everything that can be asked of a value gives the same, wherever it stands.
    fn alike(here: Json<'_>, there: Json<'_>) {
        assert_eq!((here.to_value(), here.to_string(), here.literal()), (there.to_value(), there.to_string(), there.literal()));
        assert_eq!(format!("{:?}", here.is()), format!("{:?}", there.is()));
        assert_eq!(here.names().collect::<Vec<_>>(), there.names().collect::<Vec<_>>());
        for name in there.names().chain(["no such"]) {
            match (here.field(name), there.field(name)) {
                (Some(here), Some(there)) => alike(here, there),
                (here, there) => assert!(here.is_none() && there.is_none()),
            }
        }
        assert_eq!(here.items().count(), there.items().count());
        here.items().zip(there.items()).for_each(|(here, there)| alike(here, there));
    }

    proptest! {
        #[test]
        fn a_document_says_what_a_tree_says(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let value: Value = serde_json::from_str(&text).unwrap();
            let document = Document::parse(text).unwrap();
            alike(Json::Slot(&document, 0), Json::Tree(&value));
        }

        #[test]
        fn what_is_broken_is_told_as_by_the_parser_itself(text in "[\\[\\]{}\",:0-9a-z.\\\\eE+ -]{0,24}") {
            let theirs = serde_json::from_str::<Value>(&text).map_err(|error| error.to_string());
            let ours = Document::parse(text).map(|document| document.to_value()).map_err(|error| error.to_string());
            prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn rows_are_taken_out_and_the_rest_remains() {
        let taken = |text: &str, place: &[&str]| {
            let place: Vec<String> = place.iter().copied().map(str::to_owned).collect();
            let (rows, rest) = JsonRows::of(Document::parse(text.to_owned()).unwrap(), &place);
            (rows.map(|rows| rows.iter().map(Json::to_value).collect::<Vec<_>>()), rest)
        };
        let (rows, rest) = taken(r#"{"data": {"rows": [{"a": 1}, [], 2], "next": "x"}, "total": 3}"#, &["data", "rows"]);
        assert_eq!((rows, rest), (Ok(vec![json!({"a": 1}), json!([]), json!(2)]), json!({"data": {"rows": [], "next": "x"}, "total": 3})));
        assert_eq!(taken("[1]", &[]), (Ok(vec![json!(1)]), json!([])));
        assert_eq!(taken("{}", &[]).0, Err("is an object, where a list of rows should be".to_owned()));
        assert_eq!(taken(r#"{"a": null}"#, &["a"]).0, Err("holds no list at `a`, where the rows should be".to_owned()));
        let (rows, rest) = taken(r#"{"b": [1]}"#, &["a"]);
        assert_eq!((rows, rest), (Err("holds nothing at `a`, where the rows should be".to_owned()), json!({"b": [1]})));
    }

    #[test]
    fn of_fields_with_one_name_the_last_counts() {
        let document = Document::parse(r#"{"a": 1, "b": 2, "a": [3]}"#.to_owned()).unwrap();
        let row = Json::Slot(&document, 0);
        assert_eq!((row.field("a").unwrap().to_value(), row.to_value()), (json!([3]), json!({"a": [3], "b": 2})));
    }
}
