//! What the comment at the top of a file says, as people lay it out.

/// The text of a comment's lines, without the mark each begins with; none where nothing is said.
///
/// A blank line divides paragraphs, which a blank line divides here, too. Lines that are set in go on with the one above them, and the next
/// that is not begins a paragraph; behind a colon they are a paragraph of their own and stand as they are.
#[must_use]
pub fn comment<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let (mut paragraphs, mut last) = (vec![String::new()], Line::Plain);
    for line in lines {
        let line = line.strip_prefix(' ').unwrap_or(line).trim_end();
        let before = paragraphs.last().map_or("", String::as_str);
        let this = match line.starts_with("  ") {
            true if last == Line::AsItIs || before.ends_with(':') => Line::AsItIs,
            true => Line::Hanging,
            false => Line::Plain,
        };
        if line.is_empty() || (last != this && this != Line::Hanging) {
            paragraphs.push(String::new());
        }
        let (between, line) = if this == Line::AsItIs { ("\n", line) } else { (" ", line.trim_start()) };
        if let Some(paragraph) = paragraphs.last_mut() {
            if !paragraph.is_empty() {
                paragraph.push_str(between);
            }
            paragraph.push_str(line);
        }
        last = this;
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    (!paragraphs.is_empty()).then(|| paragraphs.join("\n\n"))
}

/// How a line of a comment stands.
#[derive(PartialEq)]
enum Line {
    Plain,
    Hanging,
    AsItIs,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Option<String> {
        comment(text.lines().map(|line| line.strip_prefix("--").unwrap()))
    }

    #[test]
    fn a_comment_keeps_its_paragraphs() {
        let text = "-- Pairs of things.\n-- Often.\n--\n-- With N people:\n--   lift = a / b\n--   rest = c\n--          d\n-- A pair needs\n-- eight.";
        let kept = "Pairs of things. Often.\n\nWith N people:\n\n  lift = a / b\n  rest = c\n         d\n\nA pair needs eight.";
        assert_eq!(told(text).as_deref(), Some(kept));
        let text = "-- Repeat rate: who came\n--   again.\n-- Churn rate: who\n--   did not.\n-- Both are shown\n-- late.";
        assert_eq!(told(text).as_deref(), Some("Repeat rate: who came again.\n\nChurn rate: who did not.\n\nBoth are shown late."));
    }

    #[test]
    fn a_comment_may_be_tight_blank_or_none() {
        assert_eq!(told("--Tight.\n--   And wide.").as_deref(), Some("Tight. And wide."));
        assert_eq!(told("--\n--   \n-- Late.\n--").as_deref(), Some("Late."));
        assert_eq!((told("--\n--"), told("")), (None, None));
    }
}
