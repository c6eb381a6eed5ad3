//! An SQL text in lines of coloured words. Colour only helps reading: it takes words for what they look like, and no text is lost.

/// What a piece of the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Names, numbers, signs, spaces.
    Plain,
    /// A comment.
    Comment,
    /// A text in quotes.
    Text,
    /// A value that is bound: `$as_of`.
    Value,
    /// A word of SQL.
    Word,
}

impl Ink {
    /// The class it has on a page; none for plain pieces.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Comment => "c",
            Self::Text => "t",
            Self::Value => "v",
            Self::Word => "w",
        }
    }
}

/// The words that give a query its shape.
const WORDS: [&str; 47] = [
    "all",
    "and",
    "as",
    "asc",
    "between",
    "by",
    "case",
    "cross",
    "desc",
    "distinct",
    "else",
    "end",
    "except",
    "exists",
    "false",
    "filter",
    "from",
    "full",
    "group",
    "having",
    "in",
    "inner",
    "intersect",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "not",
    "null",
    "nulls",
    "on",
    "or",
    "order",
    "outer",
    "over",
    "partition",
    "right",
    "select",
    "then",
    "true",
    "union",
    "using",
    "values",
    "when",
    "where",
    "with",
];

/// The lines of a text, each in pieces.
pub(super) fn lines(sql: &str) -> Vec<Vec<(Ink, &str)>> {
    let mut lines = vec![Vec::new()];
    for (ink, piece) in pieces(sql) {
        for (nth, part) in piece.split('\n').enumerate() {
            if nth > 0 {
                lines.push(Vec::new());
            }
            let part = part.strip_suffix('\r').unwrap_or(part);
            if let Some(line) = lines.last_mut().filter(|_| !part.is_empty()) {
                line.push((ink, part));
            }
        }
    }
    // The newline at the end of a file begins no line.
    if lines.len() > 1 && lines.last().is_some_and(Vec::is_empty) {
        lines.pop();
    }
    lines
}

fn pieces(sql: &str) -> Vec<(Ink, &str)> {
    let mut pieces: Vec<(Ink, &str)> = Vec::new();
    let (mut rest, mut plain) = (sql, 0);
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(first) = rest[plain..].chars().next() {
        let here = &rest[plain..];
        let upto = |mark: &str, from: usize| here[from..].find(mark).map_or(here.len(), |at| from + at + mark.len());
        let (ink, length) = match first {
            '-' if here.starts_with("--") => (Ink::Comment, here.find('\n').unwrap_or(here.len())),
            '/' if here.starts_with("/*") => (Ink::Comment, upto("*/", 2)),
            '\'' => (Ink::Text, upto("'", 1)),
            // A name in quotes may hold what looks like the beginning of a text.
            '"' => (Ink::Plain, upto("\"", 1)),
            '$' => (Ink::Value, 1 + here[1..].find(|c| !inside(c)).unwrap_or(here.len() - 1)),
            c if inside(c) => {
                let length = here.find(|c| !inside(c)).unwrap_or(here.len());
                let word = here[..length].to_ascii_lowercase();
                (if WORDS.binary_search(&word.as_str()).is_ok() { Ink::Word } else { Ink::Plain }, length)
            }
            c => (Ink::Plain, c.len_utf8()),
        };
        if ink == Ink::Plain {
            plain += length;
            continue;
        }
        if plain > 0 {
            pieces.push((Ink::Plain, &rest[..plain]));
        }
        pieces.push((ink, &here[..length]));
        (rest, plain) = (&here[length..], 0);
    }
    if !rest.is_empty() {
        pieces.push((Ink::Plain, rest));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_to_be_found() {
        assert!(WORDS.is_sorted());
    }

    #[test]
    fn a_text_is_told_whole_and_in_its_colours() {
        let sql = "/* a\nb */ select 'it''s -- no comment' as \"it's\", $x.y -- why\nfrom selected_α\n";
        let told: Vec<String> = lines(sql).iter().map(|line| line.iter().map(|(_, piece)| *piece).collect()).collect();
        assert_eq!(told, sql.lines().collect::<Vec<_>>());
        let inks: Vec<(Ink, &str)> = lines(sql).into_iter().flatten().filter(|(ink, _)| *ink != Ink::Plain).collect();
        assert_eq!(
            inks,
            [
                (Ink::Comment, "/* a"),
                (Ink::Comment, "b */"),
                (Ink::Word, "select"),
                (Ink::Text, "'it'"),
                (Ink::Text, "'s -- no comment'"),
                (Ink::Word, "as"),
                (Ink::Value, "$x"),
                (Ink::Comment, "-- why"),
                (Ink::Word, "from"),
            ]
        );
    }

    #[test]
    fn what_is_not_closed_ends_with_the_text() {
        for sql in ["", "'", "\"", "/*", "--", "$", "select 'ü", "a\r\n\r\nb", "\n\n"] {
            let told: Vec<String> = lines(sql).iter().map(|line| line.iter().map(|(_, piece)| *piece).collect()).collect();
            let whole: Vec<&str> = if sql.is_empty() { vec![""] } else { sql.lines().collect() };
            assert_eq!(told, whole, "{sql:?}");
        }
    }
}
