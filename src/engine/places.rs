//! Finding a place in an SQL text where nobody has kept it.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word},
};

use super::query::Place;
use crate::config::place;

/// The tokens of a text, with their places; none where it does not even fall into tokens.
pub(super) fn tokens(sql: &str) -> Vec<TokenWithSpan> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap_or_default();
    tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_))).collect()
}

/// The place a span begins at; an empty span has none.
pub(super) fn start(span: Span) -> Option<Place> {
    let place = (usize::try_from(span.start.line).ok()?, usize::try_from(span.start.column).ok()?);
    (place.0 > 0).then_some(place)
}

/// Where a text ends, spaces and empty lines left out.
pub(super) fn end(sql: &str) -> Place {
    place(sql, sql.trim_end().len())
}

/// The first character of a text that cannot be seen, or turns what stands around it: what a reader takes it for is not what it says.
pub(super) fn unseen(sql: &str) -> Option<(Place, char)> {
    // Joiners (U+200C, U+200D) are letters of some scripts.
    let hidden = |c: char| matches!(c, '\0' | '\u{200B}' | '\u{202A}'..='\u{202E}' | '\u{2060}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}');
    let (at, unseen) = sql.char_indices().find(|(_, c)| hidden(*c))?;
    Some((place(sql, at), unseen))
}

/// The text before a place.
pub(super) fn before(sql: &str, end: Location) -> &str {
    let line = usize::try_from(end.line).unwrap_or(usize::MAX).saturating_sub(1);
    let column = usize::try_from(end.column).unwrap_or(usize::MAX).saturating_sub(1);
    let begins: usize = sql.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = &sql[begins..];
    &sql[..begins + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)]
}

/// Where a name first stands as a word of its own; of `orders.id` the `id` after `orders.` where it stands so.
pub(super) fn of_name(sql: &str, name: &str) -> Option<Place> {
    let tokens = tokens(sql);
    let parts: Vec<&str> = name.split('.').collect();
    let is = |token: &Token, part: &str| match token {
        Token::Word(Word { value, .. }) => value.eq_ignore_ascii_case(part),
        Token::Placeholder(text) => text.eq_ignore_ascii_case(part),
        _ => false,
    };
    let qualified = (parts.len() > 1)
        .then(|| {
            tokens.windows(3).find(|three| {
                is(&three[0].token, parts[parts.len() - 2])
                    && three[1].token == Token::Period
                    && is(&three[2].token, parts[parts.len() - 1])
            })
        })
        .flatten()
        .map(|three| three[0].span);
    let bare = || tokens.iter().find(|token| is(&token.token, parts[parts.len() - 1])).map(|token| token.span);
    qualified.or_else(bare).and_then(start)
}

/// Where a word stands last: a clause that closes a query is found behind columns of its name.
pub(super) fn last_of_name(sql: &str, name: &str) -> Option<Place> {
    let is = |token: &TokenWithSpan| matches!(&token.token, Token::Word(Word { value, .. }) if value.eq_ignore_ascii_case(name));
    tokens(sql).iter().rev().find(|token| is(token)).and_then(|token| start(token.span))
}

/// Where a text stands in single quotes.
pub(super) fn of_text(sql: &str, text: &str) -> Option<Place> {
    let tokens = tokens(sql);
    let quoted = tokens.iter().find(|token| matches!(&token.token, Token::SingleQuotedString(value) if value == text));
    quoted.and_then(|token| start(token.span))
}

/// Whether a text ends with a semicolon that is none of a string or comment.
#[must_use]
pub fn complete(sql: &str) -> bool {
    tokens(sql).iter().rev().find(|token| token.token != Token::EOF).is_some_and(|token| token.token == Token::SemiColon)
}

/// Where the first statement after a `;` begins.
pub(super) fn of_second_statement(sql: &str) -> Option<Place> {
    let tokens = tokens(sql);
    let mut rest = tokens.iter().skip_while(|token| token.token != Token::SemiColon);
    rest.find(|token| token.token != Token::SemiColon).and_then(|token| start(token.span))
}
