//! Reads a template's tags without filling it in: which columns it names, where, and which of them it cannot do without.
//!
//! minijinja tells which names a template uses but neither where nor under which condition, and a person must only be left out
//! for a null the letter would really have shown. So the tags are read here once more, coarsely: `{% if x %}` protects what stands in
//! it, `|default(…)` protects its own expression, and whatever is not seen to be protected counts as needed.

use std::{collections::BTreeSet, ops::Range};

/// What a tag does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{ … }}`
    Print,
    /// `{% … %}`
    Statement,
    /// `{# … #}`
    Comment,
}

/// A tag and where it stands, delimiters included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tag {
    pub(super) kind: Kind,
    pub(super) range: Range<usize>,
}

impl Tag {
    /// What stands between the delimiters and their whitespace marks.
    pub(super) fn inner<'a>(&self, source: &'a str) -> &'a str {
        let text = &source[self.range.start + 2..self.range.end - 2];
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        text.strip_suffix(['-', '+']).unwrap_or(text)
    }

    /// The offset of [`Tag::inner`] in the source.
    fn inner_start(&self, source: &str) -> usize {
        let start = self.range.start + 2;
        start + usize::from(source[start..].starts_with(['-', '+']))
    }
}

/// The tags of a template in order. What stands inside `{% raw %}` is not a tag; an unfinished tag ends the list.
pub(super) fn tags(source: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut at = 0;
    while let Some(found) = source[at..].find('{') {
        let start = at + found;
        let (kind, close) = match source.as_bytes().get(start + 1) {
            Some(b'{') => (Kind::Print, "}}"),
            Some(b'%') => (Kind::Statement, "%}"),
            Some(b'#') => (Kind::Comment, "#}"),
            _ => {
                at = start + 1;
                continue;
            }
        };
        let Some(end) = close_of(source, start + 2, close, kind) else { break };
        let tag = Tag { kind, range: start..end };
        at = end;
        if kind == Kind::Statement && tag.inner(source).trim() == "raw" {
            at = raw_end(source, end);
            continue;
        }
        tags.push(tag);
    }
    tags
}

/// The end of the tag whose inside begins at `from`; quoted text may hold the closing mark.
fn close_of(source: &str, from: usize, close: &str, kind: Kind) -> Option<usize> {
    if kind == Kind::Comment {
        return source[from..].find(close).map(|at| from + at + 2);
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in source[from..].char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if q == c => quote = None,
            Some(_) => {}
            None if c == '"' || c == '\'' => quote = Some(c),
            None if source[from + at..].starts_with(close) => return Some(from + at + 2),
            None => {}
        }
    }
    None
}

fn raw_end(source: &str, from: usize) -> usize {
    let mut at = from;
    while let Some(found) = source[at..].find("{%") {
        let start = at + found;
        let Some(end) = close_of(source, start + 2, "%}", Kind::Statement) else { break };
        let tag = Tag { kind: Kind::Statement, range: start..end };
        if tag.inner(source).trim() == "endraw" {
            return end;
        }
        at = start + 2;
    }
    source.len()
}

/// Every word in the tags of a template, keywords and the words of quoted texts among them: whatever a template looks up by name is here.
pub(super) fn words(source: &str) -> impl Iterator<Item = &str> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    let text = tags(source).into_iter().filter(|tag| tag.kind != Kind::Comment).map(|tag| &source[tag.range]);
    text.flat_map(move |text| text.split(move |c| !inside(c))).filter(|word| !word.is_empty())
}

/// The name an expression begins with, where it begins with one: `link` of `link|default(home)`.
pub(super) fn first_name(expression: &str) -> Option<String> {
    let name: String = expression.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_alphabetic() || c == '_').then_some(name)
}

/// One place where a template names a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Use {
    /// The variable.
    pub(super) name: String,
    /// Where it stands, in bytes.
    pub(super) offset: usize,
    /// Whether a null here would leave a hole in the letter.
    pub(super) needed: bool,
}

/// What a template names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// Every use of a variable that does not come from the template itself.
    pub(super) uses: Vec<Use>,
    /// Every filter, with its place.
    pub(super) filters: Vec<(String, usize)>,
    /// Every function called, with its place.
    pub(super) functions: Vec<(String, usize)>,
    /// Every quoted text in a tag that also names `variant`.
    pub(super) variants: BTreeSet<String>,
    /// Statements that would reach outside this file, with their place.
    pub(super) reaches_out: Vec<(String, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Name(&'a str),
    Text(&'a str),
    Number,
    Op(&'a str),
}

impl Token<'_> {
    fn is(self, text: &str) -> bool {
        matches!(self, Token::Op(op) | Token::Name(op) if op == text)
    }
}

type Tokens<'a> = Vec<(Token<'a>, usize)>;

fn tokens(text: &str, offset: usize) -> Tokens<'_> {
    let mut tokens = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let c = bytes[at];
        let token = if c.is_ascii_alphabetic() || c == b'_' {
            at += bytes[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'_').count();
            Token::Name(&text[start..at])
        } else if c.is_ascii_digit() {
            at += bytes[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == b'.' || **c == b'_').count();
            Token::Number
        } else if c == b'"' || c == b'\'' {
            at += 1;
            while at < bytes.len() && bytes[at] != c {
                at += if bytes[at] == b'\\' { 2 } else { 1 };
            }
            let end = at.min(bytes.len());
            at = end + 1;
            Token::Text(text.get(start + 1..end).unwrap_or_default())
        } else if c.is_ascii_whitespace() || !c.is_ascii() {
            at += 1;
            continue;
        } else {
            let two = text.get(at..at + 2).filter(|two| ["==", "!=", "<=", ">=", "//", "**"].contains(two));
            at += if two.is_some() { 2 } else { 1 };
            Token::Op(&text[start..at])
        };
        tokens.push((token, offset + start));
    }
    tokens
}

const KEYWORDS: [&str; 12] = ["and", "or", "not", "in", "is", "if", "else", "true", "false", "none", "loop", "recursive"];

/// Filters a null passes through unharmed.
const LET_NULL_THROUGH: [&str; 7] = ["date", "days_later", "money", "number", "plural", "url", "bdi"];

/// Filters that have an answer for a null.
const ANSWER_NULL: [&str; 3] = ["default", "d", "tojson"];

enum Block {
    If { protects: BTreeSet<String>, otherwise: BTreeSet<String> },
    Other,
}

/// Reads all tags of a template.
pub(super) fn names(source: &str) -> Names {
    let mut names = Names::default();
    let mut own: BTreeSet<String> = BTreeSet::new();
    let mut blocks: Vec<Block> = Vec::new();
    for tag in tags(source) {
        let all = tokens(tag.inner(source), tag.inner_start(source));
        if all.iter().any(|(token, _)| *token == Token::Name("variant")) {
            names.variants.extend(all.iter().filter_map(|(token, _)| match token {
                Token::Text(text) => Some((*text).to_owned()),
                _ => None,
            }));
        }
        match tag.kind {
            Kind::Comment => {}
            Kind::Print => read(&all, false, &protected(&blocks), &mut names),
            Kind::Statement => statement(&all, &mut blocks, &mut own, &mut names),
        }
    }
    names.uses.retain(|found| !own.contains(&found.name));
    names.functions.retain(|(name, _)| !own.contains(name));
    names
}

fn protected(blocks: &[Block]) -> BTreeSet<String> {
    blocks
        .iter()
        .filter_map(|block| match block {
            Block::If { protects, .. } => Some(protects),
            Block::Other => None,
        })
        .flatten()
        .cloned()
        .collect()
}

fn statement(all: &Tokens<'_>, blocks: &mut Vec<Block>, own: &mut BTreeSet<String>, names: &mut Names) {
    let Some((Token::Name(word), offset)) = all.first().copied() else { return };
    let rest = all[1..].to_vec();
    match word {
        "if" => {
            read(&rest, true, &protected(blocks), names);
            blocks.push(Block::If { protects: present(&rest), otherwise: absent_otherwise(&rest) });
        }
        "elif" => {
            if let Some(Block::If { protects, otherwise }) = blocks.last_mut() {
                *protects = otherwise.clone();
            }
            read(&rest, true, &protected(blocks), names);
            if let Some(Block::If { protects, otherwise }) = blocks.last_mut() {
                protects.extend(present(&rest));
                otherwise.extend(absent_otherwise(&rest));
            }
        }
        "else" => {
            if let Some(Block::If { protects, otherwise }) = blocks.last_mut() {
                *protects = otherwise.clone();
            }
        }
        "for" => {
            let split = rest.iter().position(|(token, _)| token.is("in")).unwrap_or(rest.len());
            own.extend(plain_names(&rest[..split]));
            read(&rest[split..].iter().skip(1).copied().collect(), false, &protected(blocks), names);
            blocks.push(Block::Other);
        }
        "set" => {
            let split = rest.iter().position(|(token, _)| token.is("=")).unwrap_or(rest.len());
            own.extend(plain_names(&rest[..split]));
            read(&rest[split..].iter().skip(1).copied().collect(), false, &protected(blocks), names);
            if split == rest.len() {
                blocks.push(Block::Other);
            }
        }
        "macro" | "call" => {
            own.extend(plain_names(&rest));
            own.insert("caller".to_owned());
            blocks.push(Block::Other);
        }
        "with" | "filter" | "autoescape" | "block" => {
            if word == "with" {
                let targets = rest.windows(2).filter(|pair| pair[1].0.is("=")).map(|pair| pair[0]).collect::<Vec<_>>();
                own.extend(plain_names(&targets));
                read(&rest, false, &protected(blocks), names);
            }
            blocks.push(Block::Other);
        }
        "include" | "import" | "from" | "extends" => names.reaches_out.push((word.to_owned(), offset)),
        word if word.starts_with("end") => {
            blocks.pop();
        }
        _ => read(&rest, false, &protected(blocks), names),
    }
}

fn plain_names(tokens: &[(Token<'_>, usize)]) -> Vec<String> {
    tokens
        .iter()
        .filter_map(|(token, _)| match token {
            Token::Name(name) if !KEYWORDS.contains(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// Records the variables, filters and functions of one expression.
fn read(all: &Tokens<'_>, condition: bool, protected: &BTreeSet<String>, names: &mut Names) {
    let token = |at: usize| all.get(at).map(|(token, _)| *token);
    let is = |at: Option<usize>, text: &str| at.and_then(token).is_some_and(|token| token.is(text));
    let asked = inline_condition(all);
    let mut safe = protected.clone();
    if condition {
        safe.extend(present(all));
    } else {
        safe.extend(present(&asked.clone().map(|range| all[range].to_vec()).unwrap_or_default()));
        // `x and …` and `x or …` look at x before anything is shown.
        safe.extend(all.windows(2).filter(|pair| pair[1].0.is("and")).flat_map(|pair| plain_names(&pair[..1])));
    }
    for (at, (here, offset)) in all.iter().enumerate() {
        let Token::Name(name) = here else { continue };
        let before = at.checked_sub(1);
        if is(before, "|") {
            names.filters.push(((*name).to_owned(), *offset));
            continue;
        }
        let tested = is(before, "is") || (is(before, "not") && is(before.and_then(|at| at.checked_sub(1)), "is"));
        let argument = is(Some(at + 1), "=") && (is(before, "(") || is(before, ","));
        if KEYWORDS.contains(&name.to_ascii_lowercase().as_str()) || is(before, ".") || tested || argument {
            continue;
        }
        if is(Some(at + 1), "(") {
            names.functions.push(((*name).to_owned(), *offset));
            continue;
        }
        let (after, answered) = follow(all, at + 1);
        let in_condition = condition || asked.as_ref().is_some_and(|range| range.contains(&at));
        let next = |text: &str| is(Some(after), text);
        let compared = ["==", "!=", "in"].iter().any(|op| next(op) || is(before, op)) || (next("not") && is(Some(after + 1), "in"));
        let starts = before.is_none_or(|before| ["and", "or", "not", "(", "if"].iter().any(|word| is(Some(before), word)));
        let ends = token(after).is_none_or(|token| ["and", "or", ")", "else"].iter().any(|word| token.is(word)));
        let looked_at = next("and") || next("or") || next("is") || (in_condition && starts && ends);
        let needed = !(answered || compared || looked_at || safe.contains(*name));
        names.uses.push(Use { name: (*name).to_owned(), offset: *offset, needed });
    }
}

/// Where the chain of attributes and filters that begins at `at` ends, and whether one of its filters answers a null.
fn follow(all: &Tokens<'_>, mut at: usize) -> (usize, bool) {
    let mut answered = false;
    let mut harmless = true;
    loop {
        match all.get(at).map(|(token, _)| *token) {
            Some(Token::Op(".")) => at += 2,
            Some(Token::Op("[")) => at = close(all, at),
            Some(Token::Op("|")) => {
                if let Some((Token::Name(filter), _)) = all.get(at + 1) {
                    answered |= harmless && ANSWER_NULL.contains(filter);
                    harmless &= LET_NULL_THROUGH.contains(filter);
                }
                at += 2;
                if all.get(at).is_some_and(|(token, _)| token.is("(")) {
                    at = close(all, at);
                }
            }
            _ => return (at, answered),
        }
    }
}

/// The position behind the bracket that closes the one at `at`.
fn close(all: &Tokens<'_>, at: usize) -> usize {
    let mut depth = 0_i32;
    for (position, (token, _)) in all.iter().enumerate().skip(at) {
        match token {
            Token::Op("(" | "[" | "{") => depth += 1,
            Token::Op(")" | "]" | "}") => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return position + 1;
        }
    }
    all.len()
}

/// The condition of `a if condition else b`.
fn inline_condition(all: &Tokens<'_>) -> Option<Range<usize>> {
    let start = all.iter().position(|(token, _)| *token == Token::Name("if"))? + 1;
    let end = all[start..].iter().position(|(token, _)| *token == Token::Name("else")).map_or(all.len(), |at| start + at);
    Some(start..end)
}

/// The variables that surely have a value where the condition holds.
fn present(condition: &[(Token<'_>, usize)]) -> BTreeSet<String> {
    clauses(condition, "and", "or").into_iter().filter_map(|clause| tells(clause, true)).collect()
}

/// The variables that surely have a value where the condition does not hold.
fn absent_otherwise(condition: &[(Token<'_>, usize)]) -> BTreeSet<String> {
    clauses(condition, "or", "and").into_iter().filter_map(|clause| tells(clause, false)).collect()
}

/// The clauses joined by `word`; none where `other` joins some of them too.
fn clauses<'t, 'a>(condition: &'t [(Token<'a>, usize)], word: &str, other: &str) -> Vec<&'t [(Token<'a>, usize)]> {
    if condition.iter().any(|(token, _)| *token == Token::Name(other)) {
        return Vec::new();
    }
    condition.split(|(token, _)| *token == Token::Name(word)).collect()
}

/// The variable that has a value where this clause is `holds`.
fn tells(clause: &[(Token<'_>, usize)], holds: bool) -> Option<String> {
    let tokens: Vec<Token<'_>> = clause.iter().map(|(token, _)| *token).collect();
    let name = match (tokens.as_slice(), holds) {
        ([Token::Name(name)], true)
        | ([Token::Name("not"), Token::Name(name)], false)
        | ([Token::Name(name), Token::Name("is"), Token::Name("defined")], true)
        | ([Token::Name(name), Token::Name("is"), Token::Name("not"), Token::Name("none" | "undefined")], true)
        | ([Token::Name(name), Token::Name("is"), Token::Name("none" | "undefined")], false)
        | ([Token::Name(name), Token::Name("is"), Token::Name("not"), Token::Name("defined")], false)
        | ([Token::Name(name), Token::Op("=="), Token::Text(_) | Token::Number], true)
        | ([Token::Name(name), Token::Op("!="), Token::Text(_) | Token::Number], false)
        | ([Token::Text(_) | Token::Number, Token::Op("=="), Token::Name(name)], true) => *name,
        ([Token::Name(name), Token::Name("in"), ..], true) => *name,
        _ => return None,
    };
    (!KEYWORDS.contains(&name)).then(|| name.to_owned())
}

/// Line and column, both from 1, of a byte offset.
pub(super) fn place(source: &str, offset: usize) -> (usize, usize) {
    let before = &source[..offset.min(source.len())];
    (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needed(source: &str) -> Vec<String> {
        let found: BTreeSet<String> = names(source).uses.into_iter().filter(|found| found.needed).map(|found| found.name).collect();
        found.into_iter().collect()
    }

    #[test]
    fn what_is_shown_unprotected_is_needed() {
        for (source, expected) in [
            ("{{ a }}", vec!["a"]),
            ("{{- a.b|upper -}}", vec!["a"]),
            ("{{ a|upper|default('x') }}", vec!["a"]),
            ("{{ a ~ b }}", vec!["a", "b"]),
            ("{% if days > 3 %}x{% endif %}", vec!["days"]),
            ("{% for x in list %}{{ x }}{% endfor %}", vec!["list"]),
            ("{% set y = a %}{{ y }}", vec!["a"]),
            ("{{ a or b }}", vec!["b"]),
            ("{% if a or b %}{{ a }}{% endif %}", vec!["a"]),
            ("{% if a %}{% else %}{{ a }}{% endif %}", vec!["a"]),
            ("{% if a %}{% endif %}{{ a }}", vec!["a"]),
            ("{{ f(a, b=c) }}", vec!["a", "c"]),
            ("{{ x if y else z }}", vec!["x", "z"]),
        ] {
            assert_eq!(needed(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_protected_is_not_needed() {
        for source in [
            "{{ a|default('x') }}",
            "{{ a|date('long')|default('x') }}",
            "{{ a|tojson }}",
            "{% if a %}{{ a }}{% endif %}",
            "{% if a and b %}{{ a }}{{ b }}{% endif %}",
            "{% if a is not none %}{{ a }}{% endif %}",
            "{% if a is defined %}{{ a.b }}{% endif %}",
            "{% if not a %}x{% else %}{{ a }}{% endif %}",
            "{% if not a %}x{% elif b %}{{ a }}{{ b }}{% endif %}",
            "{% if a == 'gold' %}{{ a }}{% endif %}",
            "{% if a and a > 48 %}x{% endif %}",
            "{{ a if a else 'x' }}",
            "{{ a or 'x' }}",
            "{% if a %}{% for x in list|default([]) %}{{ x }}{{ a }}{% endfor %}{% endif %}",
            "{# {{ a }} #}",
            "{% raw %}{{ a }}{% endraw %}",
            "{{ 'a }} b' }}",
            "{% if variant == 'offer' %}x{% endif %}",
        ] {
            assert_eq!(needed(source), Vec::<String>::new(), "{source}");
        }
    }

    #[test]
    fn places_filters_functions_and_variants_are_found() {
        let source = "one\n  {{ first|money(currency) }} {{ greeting() }}\n{% if variant in ['plain', \"offer\"] %}{% endif %}";
        let found = names(source);
        assert_eq!(place(source, found.uses[0].offset), (2, 6));
        assert_eq!(found.filters[0].0, "money");
        assert_eq!(found.functions[0].0, "greeting");
        assert_eq!(found.variants, BTreeSet::from(["plain".to_owned(), "offer".to_owned()]));
        assert!(found.uses.iter().any(|found| found.name == "currency"));
    }

    #[test]
    fn every_name_a_template_looks_up_is_among_its_words() {
        for source in [
            "{{ a }}{{- b.c|d(e, f=g) -}}{% if h and not i %}{{ 'x' ~ j }}{% elif k[l] %}{% endif %}",
            "{% set m = n %}{% if o %}{% set p = 1 %}{% endif %}{{ p }}{% for q, r in s if t %}{{ q }}{% endfor %}",
            "{% macro u(v=w) %}{{ x }}{% endmacro %}{{ u() }}{# {{ y }} #}{% raw %}{{ z }}{% endraw %}{{ \"}}\" ~ last }}",
            "{{ size }}{{ _under }}{{ a1 }}{{ 1 if b2 else c3 }}{% call d4() %}{{ e5 }}{% endcall %}{{ [f6, {'g': h7}] }}{{+i8+}}",
        ] {
            let mut env = minijinja::Environment::new();
            env.add_template("x", source).unwrap();
            let known: BTreeSet<&str> = words(source).collect();
            let looked_up = env.get_template("x").unwrap().undeclared_variables(false);
            assert!(looked_up.iter().all(|name| known.contains(name.as_str())), "{source}: {looked_up:?} {known:?}");
            assert!(!known.contains("y") && !known.contains("z"), "{known:?}");
        }
        // Where it is not set, the row's own is meant.
        assert!(words("{% if o %}{% set p = 1 %}{% endif %}{{ p }}").any(|word| word == "p"));
    }

    #[test]
    fn nothing_makes_it_fail() {
        for source in
            ["{{", "{% if", "{{ 'x", "{%%}", "{{}}", "{# x", "{{ é }}", "{% raw %}", "{{-}}", "{", "{{ \"\\", "{% end %}{% else %}"]
        {
            names(source);
        }
    }
}
