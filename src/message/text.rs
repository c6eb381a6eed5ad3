//! `email.txt`: a small block of headers, a blank line, and the text part.
//!
//! ```text
//! Subject: Your coffee from March
//! Preview: A line an inbox shows beside the subject
//! Language: en
//! Let month: {{ last_order_at|date("month") }}
//!
//! {{ greeting() }}
//! ```
//!
//! A header goes on over lines that begin with a space. `Let name: …` makes words both parts, subject and preview can use. In the body a paragraph is one line, however long: a reader's program breaks
//! lines where its window ends. A line that holds nothing but `{% … %}` leaves no line behind.

use std::path::Path;

use super::{
    MessageError,
    scan::{self, Kind},
};
use crate::{config::nearest, diagnosis::Diagnosis};

/// The parts of `email.txt`; each template stands behind as many line breaks as its lines in the file, so that places agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) subject: String,
    pub(super) preview: String,
    pub(super) language: Option<String>,
    /// Words made first, by name, in the order of the file.
    pub(super) words: Vec<(String, String)>,
    pub(super) body: String,
}

const HEADERS: [&str; 3] = ["subject", "preview", "language"];

/// Takes `email.txt` apart.
pub(super) fn letter(source: &str, file: &Path) -> Result<Letter, MessageError> {
    let wrong = |line: usize, message: String, hint: &str| {
        MessageError(Diagnosis::new("letter_header", message).in_file(file).at(line, 1).hint(hint))
    };
    let mut found: Vec<(String, usize, String)> = Vec::new();
    let mut body = (source.len(), source.matches('\n').count());
    let mut offset = 0;
    for (number, line) in source.split_inclusive('\n').enumerate() {
        offset += line.len();
        if line.trim().is_empty() {
            body = (offset, number + 1);
            break;
        }
        if line.starts_with([' ', '\t']) {
            match found.last_mut() {
                Some((_, _, value)) => value.push_str(line),
                None => return Err(wrong(number + 1, "begins with a space, but goes on no header".into(), SHAPE)),
            }
            continue;
        }
        let name = line.split_once(':').map(|(name, value)| (name.trim().to_ascii_lowercase(), value));
        let Some((name, value)) = name else {
            return Err(wrong(number + 1, "is not a header such as `Subject: …`".into(), SHAPE));
        };
        if !HEADERS.contains(&name.as_str()) && word(&name).is_none() {
            let near = nearest(&name, HEADERS.into_iter()).map_or_else(|| SHAPE.to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(wrong(number + 1, format!("`{name}` is not a header known here"), &near));
        }
        found.push((name, number, value.to_owned()));
    }
    let take = |name: &str| found.iter().find(|(known, ..)| *known == name);
    let pad = |line: usize, value: &str| format!("{}{value}", "\n".repeat(line));
    let padded = |name: &str| take(name).map(|(_, line, value)| pad(*line, value));
    let Some(subject) = padded("subject").filter(|subject| !subject.trim().is_empty()) else {
        return Err(wrong(1, "the letter has no subject".into(), SHAPE));
    };
    let (start, line) = body;
    Ok(Letter {
        subject,
        preview: padded("preview").unwrap_or_default(),
        language: take("language").map(|(_, _, value)| value.trim().to_ascii_lowercase()).filter(|language| !language.is_empty()),
        words: found.iter().filter_map(|(name, line, value)| Some((word(name)?.to_owned(), pad(*line, value)))).collect(),
        body: format!("{}{}", "\n".repeat(line), standalone(&source[start..])),
    })
}

/// The name made by a header `let <name>`.
fn word(header: &str) -> Option<&str> {
    let name = header.strip_prefix("let ")?.trim();
    let letters = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_');
    letters.then_some(name)
}

const SHAPE: &str = "begin the file with `Subject: …` and `Preview: …`, then a blank line, then the letter";

/// Lines with nothing but statements and comments lose their line break: it moves into a comment, so that the count of lines stays.
fn standalone(source: &str) -> String {
    let mut out = String::with_capacity(source.len() + 64);
    let tags = scan::tags(source);
    let mut tags = tags.iter().peekable();
    let mut line = Line::default();
    let mut at = 0;
    while at < source.len() {
        if let Some(tag) = tags.next_if(|tag| tag.range.start == at) {
            let text = &source[tag.range.clone()];
            line.tags |= tag.kind != Kind::Print;
            line.words |= tag.kind == Kind::Print;
            line.whole.push_str(text);
            line.bare.push_str(text);
            at = tag.range.end;
            continue;
        }
        let end = tags.peek().map_or(source.len(), |tag| tag.range.start);
        let break_at = source[at..end].find('\n').map(|found| at + found);
        let text = &source[at..break_at.unwrap_or(end)];
        line.words |= !text.trim().is_empty();
        line.whole.push_str(text);
        at = break_at.map_or(end, |found| found + 1);
        if break_at.is_some() {
            line.end(&mut out, true);
        }
    }
    line.end(&mut out, false);
    out
}

#[derive(Debug, Default)]
struct Line {
    whole: String,
    bare: String,
    tags: bool,
    words: bool,
}

impl Line {
    fn end(&mut self, out: &mut String, broken: bool) {
        let line = std::mem::take(self);
        match (line.tags && !line.words, broken) {
            (true, true) => out.extend([line.bare.as_str(), "{#\n#}"]),
            (true, false) => out.push_str(&line.bare),
            (false, true) => out.extend([line.whole.as_str(), "\n"]),
            (false, false) => out.push_str(&line.whole),
        }
    }
}

/// A filled-in text part, tidied: no space at a line's end, at most one blank line, one line break at the end.
pub(super) fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut blank = 0;
    for line in text.trim().lines() {
        let line = if line.ends_with(|c: char| c.is_ascii_graphic()) { line } else { line.trim_end() };
        blank = if line.is_empty() { blank + 1 } else { 0 };
        if blank < 2 {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_body_are_told_apart_and_keep_their_lines() {
        let source = "Subject: {% if a %}One\n  {% else %}Two{% endif %}\nPreview: P\nLanguage: EN\nLet month: {{ m }}\n\nHello\n";
        let letter = letter(source, Path::new("email.txt")).unwrap();
        assert_eq!(letter.subject, " {% if a %}One\n  {% else %}Two{% endif %}\n");
        assert_eq!(letter.preview, "\n\n P\n");
        assert_eq!(letter.language.as_deref(), Some("en"));
        assert_eq!(letter.words, [("month".to_owned(), "\n\n\n\n {{ m }}\n".to_owned())]);
        assert_eq!(letter.body, "\n\n\n\n\n\nHello\n");
    }

    #[test]
    fn a_line_of_statements_alone_leaves_no_line() {
        let source = "a\n  {% if x %}\nb {% if y %}c{% endif %}\n{% endif %}{# note #}\nd\n{{ e }}\n";
        let made = standalone(source);
        assert_eq!(made, "a\n{% if x %}{#\n#}b {% if y %}c{% endif %}\n{% endif %}{# note #}{#\n#}d\n{{ e }}\n");
        assert_eq!(made.matches('\n').count(), source.matches('\n').count());
        assert_eq!(minijinja::render!(&made, x => true, y => true, e => "f"), "a\nb c\nd\nf");
    }

    #[test]
    fn a_mistake_in_the_headers_names_its_line() {
        let error = letter("Subject: x\nPrevue: y\n\nz", Path::new("email.txt")).unwrap_err().0;
        assert_eq!((error.line, error.hint.as_deref()), (Some(2), Some("did you mean `preview`?")));
        assert!(letter("Hello\n\nz", Path::new("email.txt")).is_err());
        assert!(letter("Preview: x\n\nz", Path::new("email.txt")).unwrap_err().0.message.contains("no subject"));
    }

    #[test]
    fn text_is_tidied() {
        assert_eq!(tidy("\n\na  \n\n\n\nb\n \n"), "a\n\nb\n");
    }
}
