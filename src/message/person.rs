//! How a person is called: by the name they gave, in their script and order.

use super::{context::clean, locale};

/// The name columns of a row, cleaned.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Person {
    first: Option<String>,
    last: Option<String>,
    honorific: Option<String>,
    family_first: bool,
}

impl Person {
    /// Takes the names as they were given; what cannot be a name counts as not given.
    pub(super) fn new(first: Option<&str>, last: Option<&str>, honorific: Option<&str>, locale: &str) -> Self {
        let language = locale::language_of(locale);
        let family_first = ["ja", "zh", "ko", "hu", "vi"].iter().any(|one| language.eq_ignore_ascii_case(one));
        let given = |name: Option<&str>| name.and_then(usable).filter(|name| !is_nobody(name));
        Self { first: given(first), last: last.and_then(usable), honorific: given(honorific), family_first }
    }

    /// The name to write after "Hello": the given name; with the family name where a given name alone would be rude in the reader's
    /// language; title and family name where no given name is known; otherwise none.
    pub(super) fn address(&self) -> Option<String> {
        match (&self.first, &self.last, &self.honorific) {
            (Some(first), Some(last), honorific) if self.family_first => Some(self.titled(&joined(last, first), honorific.as_deref())),
            (Some(first), _, _) => Some(first.clone()),
            (None, Some(last), Some(honorific)) => Some(self.titled(last, Some(honorific))),
            _ => None,
        }
    }

    /// The whole name, for an address line or for staff.
    pub(super) fn full(&self) -> Option<String> {
        match (&self.first, &self.last) {
            (Some(first), Some(last)) if self.family_first => Some(joined(last, first)),
            (Some(first), Some(last)) => Some(format!("{first} {last}")),
            (Some(name), None) | (None, Some(name)) => Some(name.clone()),
            (None, None) => None,
        }
    }

    /// Titles stand before the name, in Chinese, Japanese and Korean script behind it.
    fn titled(&self, name: &str, honorific: Option<&str>) -> String {
        match honorific {
            Some(honorific) if cjk(honorific) => format!("{name}{honorific}"),
            Some(honorific) => format!("{honorific} {name}"),
            None => name.to_owned(),
        }
    }
}

/// Family name before given name; in Chinese, Japanese and Korean script without a space.
fn joined(last: &str, first: &str) -> String {
    if cjk(last) && cjk(first) { format!("{last}{first}") } else { format!("{last} {first}") }
}

fn cjk(text: &str) -> bool {
    text.chars()
        .all(|c| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{20000}'..='\u{3ffff}'))
}

/// The longest name that is still read as one.
const LONGEST: usize = 120;

/// A name has a letter, and no part of it is an address: shops' forms are misused to mail links to strangers.
fn usable(name: &str) -> Option<String> {
    let name = clean(name);
    // Each of the marks has one of these, and most names have none.
    let may = name.bytes().any(|c| matches!(c, b'@' | b':' | b'.' | b'p' | b'P'));
    let holds = |mark: &str| may && name.as_bytes().windows(mark.len()).any(|part| part.eq_ignore_ascii_case(mark.as_bytes()));
    let named = name.chars().any(char::is_alphabetic) && (name.len() <= LONGEST || name.chars().count() <= LONGEST);
    (named && !["://", "www.", "@", "http"].into_iter().any(holds)).then(|| name.into_owned())
}

/// What systems write where nobody gave a name. Families are called Null, Test and None; given names are not.
fn is_nobody(name: &str) -> bool {
    ["n/a", "null", "none", "unknown", "undefined", "test"].iter().any(|nobody| name.eq_ignore_ascii_case(nobody))
}

/// The whole name in the person's own order; `locale` says which, where it is known.
#[must_use]
pub fn full_name(first: Option<&str>, last: Option<&str>, locale: Option<&str>) -> Option<String> {
    Person::new(first, last, None, locale.unwrap_or_default()).full()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(first: &str, last: &str, honorific: &str, locale: &str) -> Person {
        let given = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let (first, last, honorific) = (first.to_owned().leak(), last.to_owned().leak(), honorific.to_owned().leak());
        Person::new(given(first), given(last), given(honorific), locale)
    }

    #[test]
    fn people_are_called_by_the_name_they_gave() {
        for (first, last, honorific, locale, address, full) in [
            ("Jürgen", "Müller", "", "de-DE", "Jürgen", "Jürgen Müller"),
            ("Seán", "O’Connor", "Mr", "en-IE", "Seán", "Seán O’Connor"),
            ("太郎", "山田", "様", "ja-JP", "山田太郎様", "山田太郎"),
            ("太郎", "山田", "", "ja-JP", "山田太郎", "山田太郎"),
            ("Taro", "Yamada", "", "ja-JP", "Yamada Taro", "Yamada Taro"),
            ("민준", "김", "님", "ko-KR", "김민준님", "김민준"),
            ("Béla", "Bartók", "", "hu-HU", "Bartók Béla", "Bartók Béla"),
            ("محمد", "علي", "", "ar-EG", "محمد", "محمد علي"),
            ("", "Okafor", "Dr", "en-GB", "Dr Okafor", "Okafor"),
            ("Madonna", "", "", "en-US", "Madonna", "Madonna"),
            ("Jennifer", "Null", "", "en-US", "Jennifer", "Jennifer Null"),
            ("null", "Test", "Ms", "en-US", "Ms Test", "Test"),
        ] {
            let person = person(first, last, honorific, locale);
            assert_eq!(person.address().as_deref(), Some(address));
            assert_eq!(person.full().as_deref(), Some(full));
        }
    }

    #[test]
    fn what_is_not_a_name_is_not_used() {
        for first in ["", " ", "-", "?", "N/A", "Null", "none", "http://win.example", "www.win.example", "a@b.example", "123", "\u{202e}"] {
            assert_eq!(person(first, "", "", "en-GB").address(), None, "{first}");
        }
        assert_eq!(person("", "Okafor", "", "en-GB").address(), None, "a family name alone is no way to greet");
    }
}
