//! Finding a place in an SQL text where nobody has kept it.

use datafusion::sql::sqlparser::{
    dialect::GenericDialect,
    tokenizer::{Span, Token, TokenWithSpan, Tokenizer, Word},
};

use super::query::Place;

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

/// Where the first statement after a `;` begins.
pub(super) fn of_second_statement(sql: &str) -> Option<Place> {
    let tokens = tokens(sql);
    let mut rest = tokens.iter().skip_while(|token| token.token != Token::SemiColon);
    rest.find(|token| token.token != Token::SemiColon).and_then(|token| start(token.span))
}
