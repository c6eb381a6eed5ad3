//! MJML and HTML templates made ready once a campaign: tags are taken out and remembered, MJML becomes HTML, styles move into the
//! elements, and the tags go back to where they were. What is left to do for a person is to fill them in.

use std::{borrow::Cow, collections::HashMap, fmt::Write, path::Path};

use super::{
    MessageError,
    scan::{self, Kind, Tag},
};
use crate::diagnosis::Diagnosis;

/// What a template became, and which line of its file each line comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    pub(super) template: String,
    pub(super) lines: Vec<usize>,
    /// The names whose values are where its links lead.
    pub(super) links: Vec<String>,
}

impl Compiled {
    /// The line of the file behind a line of the template, both from 1.
    pub(super) fn origin(&self, line: usize) -> usize {
        self.lines.get(line.saturating_sub(1)).or(self.lines.last()).copied().unwrap_or(1)
    }
}

/// Where a tag stands in the markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spot {
    /// Between elements or in their text.
    Content,
    /// In an element that holds nothing but text, such as `<mj-title>`.
    Text,
    /// Inside `<…>`; `link` where the value of a link begins with it.
    Attribute { link: bool },
}

/// Elements whose content is text, not markup.
const TEXT_ONLY: [&str; 7] = ["mj-title", "mj-preview", "mj-style", "title", "style", "script", "textarea"];

/// Attributes that make a link.
const LINKS: [&str; 5] = ["href", "src", "action", "background-url", "cite"];

/// Makes an MJML template.
pub(super) fn mjml(source: &str, file: &Path) -> Result<Compiled, MessageError> {
    let held = hold(source, file)?;
    let wrong = |error: &dyn std::fmt::Display, offset: Option<usize>| {
        let diagnosis = Diagnosis::new("mjml", format!("is not MJML that can be used: {error}"))
            .in_file(file)
            .hint("check that every element is closed, and that it stands where MJML allows it: mjml.io/documentation");
        MessageError(match offset {
            Some(offset) => {
                let (line, column) = scan::place(&held.text, offset);
                diagnosis.at(line, column)
            }
            None => diagnosis,
        })
    };
    // Its parser can panic on broken markup (htmlparser 0.2 cuts text between bytes), and a template must never end a run.
    let parsed = std::panic::catch_unwind(|| mrml::parse(&held.text)).map_err(|_| wrong(&"it cannot be taken apart", None))?;
    let parsed = parsed.map_err(|error| {
        let offset = offset_of(&error);
        let words = error.to_string();
        wrong(&words.split(" in root template").next().unwrap_or(&words), offset)
    })?;
    // No fonts from elsewhere: they would tell a third party who opens the letter.
    let options = mrml::prelude::render::RenderOptions { fonts: HashMap::new(), ..Default::default() };
    let html = parsed.element.render(&options).map_err(|error| wrong(&error, None))?;
    // MJML lets unknown elements through as they are, and no mail program knows them.
    let (before, after) = html.split_once("<mj-").unwrap_or((&html, ""));
    if before.len() < html.len() {
        let name: String = after.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
        let offset = held.text.find(&format!("<mj-{name}"));
        return Err(wrong(&format!("there is no element <mj-{name}> here"), offset));
    }
    finish(&html, held, file)
}

fn offset_of(error: &mrml::prelude::parser::Error) -> Option<usize> {
    use mrml::prelude::parser::Error;
    match error {
        Error::UnexpectedElement { position, .. }
        | Error::UnexpectedToken { position, .. }
        | Error::MissingAttribute { position, .. }
        | Error::InvalidAttribute { position, .. }
        | Error::InvalidFormat { position, .. }
        | Error::IncludeLoaderError { position, .. } => Some(position.start),
        _ => None,
    }
}

/// Makes a plain HTML template.
pub(super) fn html(source: &str, file: &Path) -> Result<Compiled, MessageError> {
    let held = hold(source, file)?;
    let text = held.text.clone();
    finish(&text, held, file)
}

/// Styles into elements, and the tags back in.
fn finish(html: &str, held: Held, file: &Path) -> Result<Compiled, MessageError> {
    let inliner = css_inline::CSSInliner::options().keep_style_tags(true).load_remote_stylesheets(false).build();
    let html = inliner.inline(html).map_err(|error| {
        MessageError(
            Diagnosis::new("css", format!("has a style that cannot be used: {error}"))
                .in_file(file)
                .hint("look at the rules in `<mj-style>` or `<style>`"),
        )
    })?;
    // Braces that were not in the file, such as minified style rules, must not become tags.
    let html = html.replace("{{", "{ {").replace("{%", "{ %").replace("{#", "{ #");
    held.put_back(&html, file)
}

/// A text with its tags replaced by words that survive every step.
#[derive(Debug)]
struct Held {
    text: String,
    /// What each word stands for, the line it was on, and whether losing it would change what people read.
    tags: Vec<(String, usize, bool)>,
    links: Vec<String>,
    word: String,
}

impl Held {
    fn mark(&self, at: usize) -> String {
        format!("{}{at:05}x", self.word)
    }

    fn put_back(self, html: &str, file: &Path) -> Result<Compiled, MessageError> {
        let mut seen = vec![false; self.tags.len()];
        let (mut template, mut lines) = (String::with_capacity(html.len() * 2), Vec::new());
        let mut origin = 1;
        let mut rest = html;
        while let Some(found) = rest.find(&self.word) {
            let number = rest.get(found + self.word.len()..found + self.word.len() + 5).and_then(|digits| digits.parse::<usize>().ok());
            let Some((number, (tag, line, _))) = number.and_then(|number| Some((number, self.tags.get(number)?))) else { break };
            let mut before = &rest[..found];
            rest = &rest[found + self.word.len() + 6..];
            if let (Some(opened), Some(closed)) = (before.strip_suffix("<!--"), rest.strip_prefix("-->")) {
                (before, rest) = (opened, closed);
            }
            count(before, origin, &mut lines);
            template.push_str(before);
            origin = *line;
            for (extra, _) in tag.matches('\n').enumerate() {
                lines.push(origin + extra);
            }
            origin += tag.matches('\n').count();
            template.push_str(tag);
            seen[number] = true;
        }
        count(rest, origin, &mut lines);
        lines.push(origin);
        template.push_str(rest);
        match self.tags.iter().zip(seen).find(|((_, _, matters), seen)| *matters && !seen) {
            None => Ok(Compiled { template, lines, links: self.links }),
            Some(((tag, line, _), _)) => Err(MessageError(
                Diagnosis::new("template_lost", format!("`{}` stands where MJML puts nothing out", tag.trim()))
                    .in_file(file)
                    .at(*line, 1)
                    .hint("move it into an element such as <mj-text>, or round a whole section"),
            )),
        }
    }
}

/// Notes the origin of each line that ends in `text`.
fn count(text: &str, origin: usize, lines: &mut Vec<usize>) {
    lines.extend(text.matches('\n').map(|_| origin));
}

/// Takes the tags and the author's comments out; lines stay lines.
fn hold(source: &str, file: &Path) -> Result<Held, MessageError> {
    // A word that is in no text, is one identifier in CSS, and needs no escaping anywhere.
    let word = (0..).map(|n| format!("prnl{n}q")).find(|word| !source.contains(word.as_str())).unwrap_or_default();
    let mut held = Held { text: String::with_capacity(source.len()), tags: Vec::new(), links: Vec::new(), word };
    let mut markup = Markup::default();
    let mut at = 0;
    for tag in scan::tags(source) {
        markup.read(&source[at..tag.range.start], &mut held.text);
        at = tag.range.end;
        let text = &source[tag.range.clone()];
        let breaks = "\n".repeat(text.matches('\n').count());
        let Some(spot) = markup.spot().filter(|_| tag.kind != Kind::Comment) else {
            held.text.push_str(&breaks);
            continue;
        };
        let mark = held.mark(held.tags.len());
        let (line, _) = scan::place(source, tag.range.start);
        // A default in `<mj-attributes>` may go unused.
        if tag.kind == Kind::Print && matches!(spot, Spot::Attribute { link: true }) {
            held.links.extend(scan::first_name(tag.inner(source)));
        }
        let matters = tag.kind == Kind::Statement || !matches!(spot, Spot::Attribute { .. });
        held.tags.push((prepared(&tag, source, spot).into_owned(), line, matters));
        match spot {
            Spot::Content if tag.kind == Kind::Statement => write!(held.text, "<!--{mark}-->").ok(),
            _ => write!(held.text, "{mark}").ok(),
        };
        if let Spot::Attribute { .. } = spot {
            markup.value_began |= tag.kind == Kind::Print;
        }
    }
    markup.read(&source[at..], &mut held.text);
    if held.tags.len() >= 100_000 {
        return Err(MessageError(Diagnosis::new("template_size", "has more than 99,999 tags").in_file(file).hint("make it shorter")));
    }
    Ok(held)
}

/// A tag as it goes back in: what begins a link is checked as one.
fn prepared<'a>(tag: &Tag, source: &'a str, spot: Spot) -> Cow<'a, str> {
    let text = &source[tag.range.clone()];
    match spot {
        Spot::Attribute { link: true } if tag.kind == Kind::Print => Cow::Owned(wrapped(tag, source, "url")),
        _ => Cow::Borrowed(text),
    }
}

/// `{{ x }}` as `{{ (x)|filter }}`, its whitespace marks kept.
pub(super) fn wrapped(tag: &Tag, source: &str, filter: &str) -> String {
    let text = &source[tag.range.clone()];
    let inner = tag.inner(source);
    let start = 2 + usize::from(text[2..].starts_with(['-', '+']));
    format!("{}({inner})|{filter}{}", &text[..start], &text[start + inner.len()..])
}

/// Where in the markup the text read so far ends.
#[derive(Debug, Default)]
struct Markup {
    comment: bool,
    /// Inside `<…>`.
    tag: bool,
    /// The element whose tag is being read; with its `/` where it is an end tag.
    element: String,
    naming: bool,
    attribute: String,
    quote: Option<char>,
    value_began: bool,
    /// The text-only element being read.
    text_only: Option<String>,
}

impl Markup {
    /// Where a tag would stand now; none inside a comment.
    fn spot(&self) -> Option<Spot> {
        if self.comment {
            None
        } else if self.tag {
            let link = self.quote.is_some() && !self.value_began && LINKS.contains(&self.attribute.as_str());
            Some(Spot::Attribute { link })
        } else if self.text_only.is_some() {
            Some(Spot::Text)
        } else {
            Some(Spot::Content)
        }
    }

    /// Reads on, copying everything but the author's comments, of which only the line breaks stay.
    fn read(&mut self, text: &str, out: &mut String) {
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if self.comment {
                let end = rest.find("-->");
                out.push_str(&"\n".repeat(rest[..end.unwrap_or(rest.len())].matches('\n').count()));
                let Some(end) = end else { return };
                self.comment = false;
                rest = &rest[end + 3..];
                continue;
            }
            if !self.tag
                && self.text_only.is_none()
                && rest.starts_with("<!--")
                && !rest.starts_with("<!--[if")
                && !rest.starts_with("<!--<")
            {
                self.comment = true;
                rest = &rest[4..];
                continue;
            }
            if !self.tag && rest.starts_with("<!") {
                // A document type or a conditional comment ends with its own `>`.
                let end = rest.find('>').map_or(rest.len(), |end| end + 1);
                out.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            // A bare `>` in text: the MJML parser falls over one behind a character of several bytes.
            if c == '>' && !self.tag && self.text_only.as_ref().is_none_or(|name| name.ends_with("title") || name.ends_with("preview")) {
                out.push_str("&gt;");
                continue;
            }
            out.push(c);
            self.step(c, rest);
        }
    }

    fn step(&mut self, c: char, rest: &str) {
        if !self.tag {
            let opens = rest.starts_with(|next: char| next.is_ascii_alphabetic() || next == '/');
            let ends_text =
                self.text_only.as_ref().is_none_or(|name| rest.strip_prefix('/').is_some_and(|rest| rest.starts_with(name.as_str())));
            if c == '<' && opens && ends_text {
                *self = Self { tag: true, naming: true, ..Self::default() };
            }
            return;
        }
        match (self.quote, c) {
            (Some(quote), c) if c == quote => {
                self.quote = None;
                self.attribute.clear();
            }
            (Some(_), c) => self.value_began |= !c.is_whitespace(),
            (None, '>') => {
                self.tag = false;
                if TEXT_ONLY.contains(&self.element.as_str()) {
                    self.text_only = Some(std::mem::take(&mut self.element));
                }
            }
            (None, '"' | '\'') => {
                self.quote = Some(c);
                self.value_began = false;
            }
            (None, '/') if !self.element.is_empty() => {
                // `<x/>` opens nothing.
                self.element.push('/');
                self.naming = false;
            }
            (None, c) if self.naming && !c.is_whitespace() => self.element.push(c.to_ascii_lowercase()),
            (None, '=') => {}
            (None, c) if c.is_whitespace() => {
                self.naming = false;
                self.attribute.clear();
            }
            (None, c) => self.attribute.push(c.to_ascii_lowercase()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(body: &str) -> String {
        format!("<mjml lang=\"{{{{ language }}}}\"><mj-body>{body}</mj-body></mjml>")
    }

    #[test]
    fn tags_survive_in_text_in_attributes_and_between_components() {
        let source = letter(
            "{% if a %}<mj-section background-color=\"{{ brand.color }}\"><mj-column>\n\
             {% if b %}<mj-text>Hello {{ name }}, {% if c %}<p>x &amp; {{ y|default(\"a > b\") }}</p>{% endif %} end</mj-text>{% endif %}\n\
             <mj-button href=\"{{ link }}\">Go to {{ place }}</mj-button></mj-column></mj-section>{% endif %}",
        );
        let made = mjml(&source, Path::new("email.mjml")).unwrap().template;
        for tag in [
            "{% if a %}",
            "{{ brand.color }}",
            "Hello {{ name }}, {% if c %}<p",
            "x &amp; {{ y|default(\"a > b\") }}</p>{% endif %} end",
            "href=\"{{( link )|url}}\"",
            "Go to {{ place }}",
            "lang=\"{{ language }}\"",
        ] {
            assert!(made.contains(tag), "{tag}\n{made}");
        }
        assert!(!made.contains("prnl"), "{made}");
        // A statement between components must not be moved out of the table by the HTML parser.
        let (opens, row, closes) = (made.find("{% if b %}"), made.find("Hello {{ name }}"), made.rfind("{% endif %}"));
        assert!(opens < row && row < closes, "{made}");
        let cut = &made[opens.unwrap() + 10..];
        assert!(cut.trim_start().starts_with("<tr>"), "{cut}");
    }

    #[test]
    fn a_false_condition_removes_the_component_and_nothing_else() {
        let source = letter(
            "<mj-section><mj-column><mj-text>one</mj-text>{% if false %}<mj-text>two</mj-text>{% endif %}<mj-text>three</mj-text>\
             </mj-column></mj-section>",
        );
        let made = mjml(&source, Path::new("email.mjml")).unwrap().template.replace("{{ language }}", "en");
        let filled = minijinja::render!(&made);
        assert!(filled.contains("one") && !filled.contains("two") && filled.contains("three"));
        assert_eq!(filled.matches("<tr").count(), filled.matches("</tr>").count());
    }

    #[test]
    fn links_are_checked_where_they_begin() {
        let source = "<a href=\"{{ a }}\">x</a><a href='{% if b %}{{ b }}{% endif %}'>x</a><a href=\"mailto:{{ c }}?subject={{ d }}\">x</a>\
                      <img alt=\"{{ e }}\" src=\"{{- f -}}\">";
        let made = html(source, Path::new("email.html")).unwrap().template;
        for tag in ["{{( a )|url}}", "{{( b )|url}}", "mailto:{{ c }}", "{{ d }}", "{{ e }}", "{{-( f )|url-}}"] {
            assert!(made.contains(tag), "{tag}\n{made}");
        }
    }

    #[test]
    fn a_greater_than_sign_in_any_script_is_text() {
        let source = letter("<mj-section><mj-column><mj-text>Menü > Konto, 日> x</mj-text></mj-column></mj-section>");
        assert!(mjml(&source, Path::new("email.mjml")).unwrap().template.contains("Menü &gt; Konto, 日&gt; x"));
    }

    #[test]
    fn the_authors_comments_do_not_reach_the_reader() {
        let source = "<!-- {{ secret }} \n--><p>{# note\n #}{{ a }}</p><!--[if mso]><b>{{ c }}</b><![endif]-->";
        let made = html(source, Path::new("email.html")).unwrap();
        assert!(!made.template.contains("secret") && !made.template.contains("note"), "{}", made.template);
        assert!(made.template.contains("{{ c }}") && made.template.contains("[if mso]"), "{}", made.template);
    }

    #[test]
    fn lines_lead_back_to_the_file() {
        let source =
            "<mjml>\n<mj-body>\n<mj-section><mj-column>\n<mj-text>\n{{ a }}\n</mj-text>\n</mj-column></mj-section>\n</mj-body></mjml>";
        let made = mjml(source, Path::new("email.mjml")).unwrap();
        let line = made.template.lines().position(|line| line.contains("{{ a }}")).unwrap() + 1;
        assert_eq!(made.origin(line), 5);
    }

    #[test]
    fn broken_markup_is_told_with_its_line() {
        let error = mjml("<mjml>\n<mj-body>\n<mj-nonsense/>\n</mj-body></mjml>", Path::new("email.mjml")).unwrap_err().0;
        assert_eq!(error.file.as_deref(), Some(Path::new("email.mjml")));
        assert_eq!(error.line, Some(3), "{error:?}");
        let error = mjml("<mjml><mj-head>\n{% if a %}\n</mj-head><mj-body></mj-body></mjml>", Path::new("email.mjml")).unwrap_err().0;
        assert_eq!((error.code.as_str(), error.line), ("template_lost", Some(2)), "{error:?}");
    }
}
