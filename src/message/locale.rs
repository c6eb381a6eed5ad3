//! How a reader writes dates, numbers and money. The letter keeps its own language; the order of day and month, the decimal mark
//! and the place of the currency sign are the reader's. Data: glibc's locales, as `pure-rust-locales` carries them.

use std::borrow::Cow;

use chrono::{Datelike, Locale, NaiveDate};
use pure_rust_locales::locale_match;

/// Finds the locale of a BCP 47 tag such as `de-AT`, `zh-Hant-TW` or `sv`; a country unknown for that language falls back to the
/// language's first country.
pub(crate) fn find(tag: &str) -> Option<Locale> {
    let mut parts = tag.split(['-', '_', '.', '@']).filter(|part| !part.is_empty());
    let language = parts.next()?.to_ascii_lowercase();
    let language = match language.as_str() {
        "no" => "nb",
        "iw" => "he",
        other => other,
    };
    let country = parts.find(|part| part.len() == 2 || (part.len() == 3 && part.bytes().all(|c| c.is_ascii_digit())));
    let exact = country.and_then(|country| named(&format!("{language}_{}", country.to_ascii_uppercase())));
    exact.or_else(|| {
        let home = match language {
            "en" => "GB",
            "ar" => "EG",
            "cs" => "CZ",
            "da" => "DK",
            "el" => "GR",
            "et" => "EE",
            "fa" => "IR",
            "ga" => "IE",
            "he" => "IL",
            "hi" => "IN",
            "ja" => "JP",
            "ko" => "KR",
            "nb" | "nn" => "NO",
            "sl" => "SI",
            "sq" => "AL",
            "sr" => "RS",
            "sv" => "SE",
            "ta" | "te" | "ml" | "mr" | "gu" | "pa" => "IN",
            "uk" => "UA",
            "vi" => "VN",
            "zh" => "CN",
            "ca" | "eu" | "gl" => "ES",
            "bn" => "BD",
            "ur" => "PK",
            same => return named(&format!("{same}_{}", same.to_ascii_uppercase())),
        };
        named(&format!("{language}_{home}"))
    })
}

fn named(name: &str) -> Option<Locale> {
    Locale::try_from(name).ok()
}

/// The language of a tag: `de` of `de-AT`.
pub(crate) fn language(tag: &str) -> String {
    language_of(tag).to_ascii_lowercase()
}

/// The language of a tag as it is written there.
pub(crate) fn language_of(tag: &str) -> &str {
    tag.split(['-', '_']).next().unwrap_or_default()
}

/// The order people write day, month and year in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Dmy,
    Mdy,
    Ymd,
}

/// How one reader sees values in a letter of one language.
#[derive(Debug, Clone)]
pub(crate) struct Habits {
    reader: Locale,
    /// Whose names of months are used: the reader's own where they share the letter's language.
    words: Locale,
    language: String,
    same_language: bool,
    order: Order,
}

impl Habits {
    /// The habits of a reader with the locale `reader`, for a letter written in `letter` (both BCP 47); an unknown locale reads as the
    /// letter's own.
    pub(crate) fn new(reader: &str, letter: &str) -> Self {
        let home = find(letter).unwrap_or(Locale::en_GB);
        let found = find(reader);
        let same_language = found.is_none() || language(reader) == language(letter);
        let reader = found.unwrap_or(home);
        let order = order_of(locale_match!(reader => LC_TIME::D_FMT));
        let words = if same_language { reader } else { home };
        Self { reader, words, language: language(letter), same_language, order }
    }

    /// `12 March 2026`, `March 12, 2026`, `12. März 2026`.
    pub(crate) fn long_date(&self, day: NaiveDate) -> String {
        let pattern = match (self.language.as_str(), self.order) {
            ("en", Order::Mdy) => "%B %-d, %Y",
            ("de" | "cs" | "da" | "nb" | "nn" | "no" | "fi" | "is" | "sk" | "sl" | "hr" | "et" | "lb", _) => "%-d. %B %Y",
            ("es" | "pt" | "ca" | "gl", _) => "%-d de %B de %Y",
            ("hu", _) => "%Y. %B %-d.",
            ("ja" | "zh", _) => "%Y年%-m月%-d日",
            ("ko", _) => "%Y년 %-m월 %-d일",
            _ => "%-d %B %Y",
        };
        day.format_localized(pattern, self.words).to_string()
    }

    /// A long date without its year: `12 March`.
    pub(crate) fn day_of_year(&self, day: NaiveDate) -> String {
        let pattern = match (self.language.as_str(), self.order) {
            ("en", Order::Mdy) => "%B %-d",
            ("de" | "cs" | "da" | "nb" | "nn" | "no" | "fi" | "is" | "sk" | "sl" | "hr" | "et" | "lb", _) => "%-d. %B",
            ("es" | "pt" | "ca" | "gl", _) => "%-d de %B",
            ("hu", _) => "%B %-d.",
            ("ja" | "zh", _) => "%-m月%-d日",
            ("ko", _) => "%-m월 %-d일",
            _ => "%-d %B",
        };
        day.format_localized(pattern, self.words).to_string()
    }

    /// The month's name as it stands alone, with its year where that is not `this_year`.
    pub(crate) fn month(&self, day: NaiveDate, this_year: i32) -> String {
        let at = day.month0() as usize;
        let locale = self.words;
        let alone = locale_match!(locale => LC_TIME::ALT_MON).unwrap_or(locale_match!(locale => LC_TIME::MON));
        let name = alone.get(at).copied().unwrap_or_default();
        match (day.year() == this_year, self.language.as_str()) {
            (true, _) => name.to_owned(),
            (false, "ja" | "zh") => format!("{}年{name}", day.year()),
            (false, _) => format!("{name} {}", day.year()),
        }
    }

    /// The name of the day of the week.
    pub(crate) fn weekday(&self, day: NaiveDate) -> String {
        day.format_localized("%A", self.words).to_string()
    }

    /// In digits, in the reader's order: `12.03.2026`, `03/12/2026`, `2026-03-12`.
    pub(crate) fn short_date(&self, day: NaiveDate) -> String {
        let reader = self.reader;
        let pattern = locale_match!(reader => LC_TIME::D_FMT).replace("%y", "%Y");
        let digits = pattern.split('%').skip(1).all(|part| part.starts_with(['d', 'm', 'Y', 'e', '-']));
        let readable = self.same_language || pattern.is_ascii();
        if digits && readable {
            // %e pads with a space, which no one writes inside a sentence.
            return day.format_localized(&pattern.replace("%e", "%-d"), reader).to_string();
        }
        let plain = match self.order {
            Order::Dmy => "%d/%m/%Y",
            Order::Mdy => "%m/%d/%Y",
            Order::Ymd => "%Y/%m/%d",
        };
        day.format(plain).to_string()
    }

    /// A number with the reader's marks; `decimals` digits behind the mark, or as many as it has.
    pub(crate) fn number(&self, number: &Digits, decimals: Option<usize>, grouped: bool) -> String {
        let reader = self.reader;
        let mark = locale_match!(reader => LC_NUMERIC::DECIMAL_POINT);
        let separator = locale_match!(reader => LC_NUMERIC::THOUSANDS_SEP);
        let groups = locale_match!(reader => LC_NUMERIC::GROUPING);
        number.write(decimals, mark, if grouped { separator } else { "" }, groups)
    }

    /// An amount in a currency (ISO 4217), with the minor units of the currency and the reader's placing of the sign.
    pub(crate) fn money(&self, amount: &Digits, currency: &str) -> String {
        let reader = self.reader;
        let currency = currency.trim().to_ascii_uppercase();
        let mark = first_of(locale_match!(reader => LC_MONETARY::MON_DECIMAL_POINT), locale_match!(reader => LC_NUMERIC::DECIMAL_POINT));
        let separator = locale_match!(reader => LC_MONETARY::MON_THOUSANDS_SEP);
        let groups = locale_match!(reader => LC_MONETARY::MON_GROUPING);
        let digits = amount.write(Some(minor_units(&currency)), mark, separator, groups);
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(rest) => ("-", rest.to_owned()),
            None => ("", digits),
        };
        let own = locale_match!(reader => LC_MONETARY::INT_CURR_SYMBOL).trim() == currency;
        let symbol = match symbol(&currency) {
            // A reader whose own money is a dollar wants to know which one is meant.
            Some("$") if !own && locale_match!(reader => LC_MONETARY::CURRENCY_SYMBOL).contains('$') => "US$",
            Some(symbol) => symbol,
            None if own => locale_match!(reader => LC_MONETARY::CURRENCY_SYMBOL),
            None => currency.as_str(),
        };
        let precedes = locale_match!(reader => LC_MONETARY::P_CS_PRECEDES) == 1;
        let spaced = locale_match!(reader => LC_MONETARY::P_SEP_BY_SPACE) != 0;
        let lettered = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        let touching = if precedes { symbol.chars().next_back() } else { symbol.chars().next() };
        // A no-break space keeps the amount and its sign on one line.
        let gap = if spaced || lettered(touching) { "\u{a0}" } else { "" };
        if precedes { [sign, symbol, gap, &digits].concat() } else { [sign, &digits, gap, symbol].concat() }
    }
}

fn first_of<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn order_of(pattern: &str) -> Order {
    let at = |letters: &[char]| {
        let mut tokens = pattern.split('%').skip(1).map(|part| part.trim_start_matches(['-', 'E', 'O', '_', '0']));
        tokens.position(|part| part.starts_with(letters)).unwrap_or(usize::MAX)
    };
    let (day, month, year) = (at(&['d', 'e', 'D']), at(&['m', 'b', 'B']), at(&['Y', 'y']));
    if year < day.min(month) {
        Order::Ymd
    } else if month < day || pattern.starts_with("%D") {
        Order::Mdy
    } else {
        Order::Dmy
    }
}

/// Digits behind the decimal mark (ISO 4217).
fn minor_units(currency: &str) -> usize {
    match currency {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX" | "UYI" | "VND" | "VUV" | "XAF" | "XOF"
        | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    }
}

fn symbol(currency: &str) -> Option<&'static str> {
    Some(match currency {
        "EUR" => "€",
        "USD" => "$",
        "GBP" => "£",
        "JPY" => "¥",
        "PLN" => "zł",
        "CZK" => "Kč",
        "ILS" => "₪",
        "INR" => "₹",
        "KRW" => "₩",
        "TRY" => "₺",
        "UAH" => "₴",
        "VND" => "₫",
        _ => return None,
    })
}

/// An exact decimal number: `unscaled / 10^scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digits {
    unscaled: i128,
    scale: usize,
}

impl Digits {
    /// `unscaled / 10^scale`; a negative scale multiplies.
    pub(crate) fn new(unscaled: i128, scale: i8) -> Self {
        match usize::try_from(scale) {
            Ok(scale) => Self { unscaled, scale },
            Err(_) => Self { unscaled: unscaled.saturating_mul(10_i128.saturating_pow(scale.unsigned_abs().into())), scale: 0 },
        }
    }

    /// The shortest decimal number that reads back as `value`; none for infinities and what no letter should show.
    pub(crate) fn of(value: f64) -> Option<Self> {
        let text = format!("{value}");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits = whole.strip_prefix('-').unwrap_or(whole).bytes().chain(fraction.bytes());
        let unscaled = digits.into_iter().try_fold(0_i128, |sum, digit| {
            let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
            sum.checked_mul(10)?.checked_add(digit.into())
        })?;
        let unscaled = if whole.starts_with('-') { -unscaled } else { unscaled };
        Some(Self { unscaled, scale: fraction.len() })
    }

    /// As a number to calculate and compare with.
    #[allow(clippy::cast_precision_loss)] // Templates compare; what they show goes through `write`.
    pub(crate) fn float(self) -> f64 {
        // A quotient of two numbers that are exact is the nearest there is, as a number read is (Clinger, 1990).
        if self.unscaled.unsigned_abs() <= 1 << f64::MANTISSA_DIGITS && self.scale <= 22 {
            return self.unscaled as f64 / 10_u128.pow(self.scale as u32) as f64;
        }
        let text = self.write(None, ".", "", &[]);
        text.parse().unwrap_or(self.unscaled as f64)
    }

    /// Written out; halves are rounded away from zero, as shops do. `groups` are the widths of groups from the right, the last repeats.
    fn write(self, decimals: Option<usize>, mark: &str, separator: &str, groups: &[i64]) -> String {
        let negative = self.unscaled < 0;
        let value = self.unscaled.unsigned_abs();
        let scale = decimals.unwrap_or(self.scale);
        let mut digits = match self.scale.checked_sub(scale).filter(|more| *more > 0) {
            Some(more) => {
                let unit = 10_u128.saturating_pow(u32::try_from(more).unwrap_or(u32::MAX));
                (value / unit + u128::from(value % unit >= unit.div_ceil(2))).to_string()
            }
            None => value.to_string(),
        };
        digits.extend(std::iter::repeat_n('0', scale.saturating_sub(self.scale)));
        if digits.len() <= scale {
            digits.insert_str(0, &"0".repeat(scale + 1 - digits.len()));
        }
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let fraction = if decimals.is_none() { fraction.trim_end_matches('0') } else { fraction };
        let nothing = digits.bytes().all(|digit| digit == b'0');
        let mut text = if negative && !nothing { "-".to_owned() } else { String::new() };
        text.push_str(&group(whole, separator, groups));
        if !fraction.is_empty() {
            text.push_str(mark);
            text.push_str(fraction);
        }
        text
    }
}

fn group<'a>(whole: &'a str, separator: &str, groups: &[i64]) -> Cow<'a, str> {
    let mut widths = groups.iter().map_while(|width| usize::try_from(*width).ok().filter(|width| *width > 0));
    let mut width = widths.next().unwrap_or(0);
    if whole.len() <= width {
        return Cow::Borrowed(whole);
    }
    let (mut rest, mut parts) = (whole, Vec::new());
    while !separator.is_empty() && width > 0 && rest.len() > width {
        let (left, right) = rest.split_at(rest.len() - width);
        parts.push(right);
        rest = left;
        width = widths.next().unwrap_or(width);
    }
    parts.push(rest);
    parts.reverse();
    Cow::Owned(parts.join(separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day() -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, 2).unwrap()
    }

    #[test]
    fn an_english_letter_writes_dates_in_the_readers_order() {
        for (reader, long, short, no_year) in [
            ("en-GB", "2 March 2026", "02/03/2026", "2 March"),
            ("en-US", "March 2, 2026", "03/02/2026", "March 2"),
            ("de-DE", "2 March 2026", "02.03.2026", "2 March"),
            ("fr-FR", "2 March 2026", "02/03/2026", "2 March"),
            ("sv-SE", "2 March 2026", "2026-03-02", "2 March"),
            ("ja-JP", "2 March 2026", "2026/03/02", "2 March"),
            ("ar-EG", "2 March 2026", "02/03/2026", "2 March"),
            ("he-IL", "2 March 2026", "02/03/2026", "2 March"),
            ("pl-PL", "2 March 2026", "02.03.2026", "2 March"),
            ("tlh", "2 March 2026", "02/03/2026", "2 March"),
        ] {
            let habits = Habits::new(reader, "en-GB");
            assert_eq!(habits.long_date(day()), long, "{reader}");
            assert_eq!(habits.short_date(day()), short, "{reader}");
            assert_eq!(habits.day_of_year(day()), no_year, "{reader}");
        }
    }

    #[test]
    fn a_letter_in_the_readers_own_language_uses_its_words() {
        for (reader, letter, long) in [
            ("de-AT", "de-DE", "2. März 2026"),
            ("fr-FR", "fr-FR", "2 mars 2026"),
            ("es-ES", "es-ES", "2 de marzo de 2026"),
            ("ja-JP", "ja-JP", "2026年3月2日"),
            ("pl-PL", "pl-PL", "2 marca 2026"),
            ("en-GB", "de-DE", "2. März 2026"),
        ] {
            assert_eq!(Habits::new(reader, letter).long_date(day()), long, "{reader}");
        }
        assert_eq!(Habits::new("ja-JP", "ja-JP").short_date(day()), "2026年03月02日");
        assert_eq!(Habits::new("pl-PL", "pl-PL").month(day(), 2026), "marzec");
        assert_eq!(Habits::new("de-DE", "en-GB").month(day(), 2026), "March");
        assert_eq!(Habits::new("de-DE", "en-GB").month(day(), 2027), "March 2026");
    }

    #[test]
    fn numbers_have_the_readers_marks() {
        for (reader, expected) in [
            ("en-GB", "1,234,567.5"),
            ("de-DE", "1.234.567,5"),
            ("fr-FR", "1\u{202f}234\u{202f}567,5"),
            ("sv-SE", "1\u{202f}234\u{202f}567,5"),
            ("ja-JP", "1,234,567.5"),
            ("ar-EG", "1,234,567.5"),
            ("de-CH", "1’234’567.5"),
            ("en-IN", "12,34,567.5"),
        ] {
            assert_eq!(Habits::new(reader, "en-GB").number(&Digits::new(12_345_675, 1), None, true), expected, "{reader}");
        }
    }

    #[test]
    fn money_has_its_minor_units_and_its_sign_where_the_reader_expects_it() {
        let amount = Digits::new(12_345_600, 4);
        for (reader, currency, expected) in [
            ("en-GB", "EUR", "€1,234.56"),
            ("en-GB", "GBP", "£1,234.56"),
            ("de-DE", "EUR", "1.234,56\u{a0}€"),
            ("fr-FR", "EUR", "1\u{202f}234,56\u{a0}€"),
            ("sv-SE", "SEK", "1\u{202f}234,56\u{a0}kr"),
            ("sv-SE", "EUR", "1\u{202f}234,56\u{a0}€"),
            ("en-US", "USD", "$1,234.56"),
            ("en-CA", "USD", "US$1,234.56"),
            ("ja-JP", "JPY", "¥1,235"),
            ("ja-JP", "EUR", "€1,234.56"),
            ("ar-EG", "EUR", "€\u{a0}1,234.56"),
            ("en-GB", "CHF", "CHF\u{a0}1,234.56"),
            ("de-DE", "KWD", "1.234,560\u{a0}KWD"),
        ] {
            assert_eq!(Habits::new(reader, "en-GB").money(&amount, currency), expected, "{reader} {currency}");
        }
    }

    #[test]
    fn rounding_is_exact_and_away_from_zero() {
        let habits = Habits::new("en-GB", "en-GB");
        for (unscaled, scale, expected) in
            [(10_050, 4, "€1.01"), (-10_050, 4, "-€1.01"), (10_049, 4, "€1.00"), (4, 4, "€0.00"), (-4, 4, "€0.00"), (3, -2, "€300.00")]
        {
            assert_eq!(habits.money(&Digits::new(unscaled, scale), "EUR"), expected, "{unscaled}e-{scale}");
        }
        assert_eq!(habits.money(&Digits::of(1.005).unwrap(), "EUR"), "€1.01");
        assert_eq!(Digits::of(f64::NAN), None);
        assert_eq!(Digits::of(f64::INFINITY), None);
    }

    #[test]
    fn tags_of_every_shape_find_a_locale() {
        for (tag, expected) in [
            ("de-DE", Locale::de_DE),
            ("de", Locale::de_DE),
            ("sv", Locale::sv_SE),
            ("zh-Hant-TW", Locale::zh_TW),
            ("pt_BR", Locale::pt_BR),
            ("en-DE", Locale::en_GB),
            ("no", Locale::nb_NO),
            ("ja", Locale::ja_JP),
        ] {
            assert_eq!(find(tag), Some(expected), "{tag}");
        }
        assert_eq!(find(""), None);
        assert_eq!(find("xx-XX"), None);
    }

    proptest::proptest! {
        #[test]
        fn a_number_is_the_nearest_to_its_digits(unscaled in proptest::num::i64::ANY, scale in -3..30_i8, shift in 0..63_u32) {
            let digits = Digits::new(i128::from(unscaled >> shift), scale);
            let text = digits.write(None, ".", "", &[]);
            proptest::prop_assert_eq!(digits.float(), text.parse::<f64>().unwrap(), "{}", text);
            let again = Digits::of(digits.float()).unwrap();
            proptest::prop_assert_eq!(again.float(), digits.float());
        }
    }
}
