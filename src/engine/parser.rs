//! The parser, with bounds on what it does for a text and on what it makes of it.
//!
//! Where it cannot tell what a bracket or a word begins, it tries one reading after the other, and each reads everything within: with every
//! level the time doubles. `cast(cast(cast(…` with a mistake in its middle would keep it for longer than anybody lives, from a text of two
//! lines.
//!
//! Of `1 + 1 + 1 + …` it makes a tree as deep as the text is long, and whoever walks through that tree calls himself for every level.

use std::{
    any::TypeId,
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use datafusion::{
    error::DataFusionError,
    sql::{
        parser::{DFParserBuilder, Statement},
        sqlparser::{
            ast::Expr,
            dialect::{Dialect, GenericDialect},
            keywords::Keyword,
            parser::{Parser, ParserError},
            tokenizer::{Location, Span, Token, TokenWithSpan},
        },
    },
};

use super::{places, query::Place};

/// How deep brackets and subqueries may nest.
const DEPTH: usize = 60;
/// How many operators a text may have.
const OPERATORS: usize = 4_000;
/// How many times `union` and its kin may stand in it: a level of queries takes twenty times the stack of one of operators.
const UNIONS: usize = 300;
/// Steps of the parser for each byte of a text; the shipped files take no more than a tenth of it.
const STEPS: usize = 500;
/// Steps for any text, however short.
const FIRST_STEPS: usize = 100_000;

/// Why a text is no statement.
#[derive(Debug)]
pub(super) enum Unread {
    /// It is none.
    Wrong(DataFusionError),
    /// It nests too deep, or in so many ways that the parser was stopped; with the last place it came to.
    Endless(Option<Place>),
    /// It has more of something than it may: so many, of what, and the first that is too much.
    Long(usize, &'static str, Option<Place>),
}

/// The statements of a text.
pub(super) fn parse(sql: &str) -> Result<VecDeque<Statement>, Unread> {
    let tokens = places::tokens(sql);
    if let Some(token) = too_deep(&tokens) {
        return Err(Unread::Endless(places::start(token.span)));
    }
    let mut pairs = tokens.windows(2).filter(|pair| adds_a_level(&pair[0].token, &pair[1].token));
    if let Some(pair) = pairs.nth(UNIONS) {
        return Err(Unread::Long(UNIONS, "unions or dimensions", places::start(pair[1].span)));
    }
    let dialect = Bounded::over(sql);
    match catch_unwind(AssertUnwindSafe(|| statements(sql, &dialect))) {
        Ok(Ok(statements)) => Ok(statements),
        // It names no place of its own for this one.
        Ok(Err(error)) if is_too_deep(&error) => Err(Unread::Endless(dialect.furthest())),
        Ok(Err(error)) => Err(Unread::Wrong(error)),
        Err(stopped) if stopped.is::<Stopped>() && dialect.operators.get() > OPERATORS => {
            Err(Unread::Long(OPERATORS, "operators", dialect.furthest()))
        }
        Err(stopped) if stopped.is::<Stopped>() => Err(Unread::Endless(dialect.furthest())),
        Err(panic) => resume_unwind(panic),
    }
}

/// The bracket that opens a level too many. The parser counts levels of expressions and queries only, and none of types and patterns.
fn too_deep(tokens: &[TokenWithSpan]) -> Option<&TokenWithSpan> {
    let (mut brackets, mut types) = (0_usize, 0_usize);
    let mut before = &Token::EOF;
    tokens.iter().find(|token| {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => brackets += 1,
            Token::RParen | Token::RBracket | Token::RBrace => brackets = brackets.saturating_sub(1),
            Token::Lt if is_word(before, &[Keyword::ARRAY, Keyword::STRUCT, Keyword::MAP]) => types += 1,
            Token::Gt => types = types.saturating_sub(1),
            Token::ShiftRight => types = types.saturating_sub(2),
            _ => {}
        }
        before = &token.token;
        brackets + types > DEPTH
    })
}

/// Whether a token that is no operator of an expression puts all before it one level down: `union`, or the next dimension of `int[][]`.
fn adds_a_level(before: &Token, token: &Token) -> bool {
    let words = [Keyword::UNION, Keyword::EXCEPT, Keyword::INTERSECT, Keyword::MINUS, Keyword::PIVOT, Keyword::UNPIVOT];
    (before, token) == (&Token::RBracket, &Token::LBracket) || is_word(token, &words)
}

fn is_word(token: &Token, words: &[Keyword]) -> bool {
    matches!(token, Token::Word(word) if words.contains(&word.keyword))
}

fn statements(sql: &str, dialect: &dyn Dialect) -> Result<VecDeque<Statement>, DataFusionError> {
    DFParserBuilder::new(sql).with_dialect(dialect).with_recursion_limit(DEPTH).build()?.parse_statements()
}

fn is_too_deep(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::SQL(error, _) if **error == ParserError::RecursionLimitExceeded)
}

/// What a parser is stopped with that has used up its steps.
struct Stopped;

/// The generic dialect, which counts the questions it is asked.
#[derive(Debug)]
struct Bounded {
    left: Cell<usize>,
    furthest: Cell<Location>,
    operators: Cell<usize>,
    last_operator: Cell<Location>,
}

impl Bounded {
    fn over(sql: &str) -> Self {
        let steps = sql.len().saturating_mul(STEPS).saturating_add(FIRST_STEPS);
        let nowhere = Location::empty();
        Self { left: Cell::new(steps), furthest: Cell::new(nowhere), operators: Cell::new(0), last_operator: Cell::new(nowhere) }
    }

    fn step(&self) {
        match self.left.get().checked_sub(1) {
            Some(left) => self.left.set(left),
            None => Self::stop(),
        }
    }

    /// To the parser any error is a reason to try its next reading. This passes through it, and through no panic hook.
    fn stop() -> ! {
        resume_unwind(Box::new(Stopped))
    }

    fn furthest(&self) -> Option<Place> {
        let furthest = self.furthest.get();
        places::start(Span::new(furthest, furthest))
    }
}

/// Everything in which the generic dialect differs from what dialects do unless they say otherwise.
macro_rules! as_generic {
    ($($question:ident)*) => {
        $(fn $question(&self) -> bool {
            self.step();
            GenericDialect.$question()
        })*
    };
}

impl Dialect for Bounded {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        GenericDialect.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        GenericDialect.is_identifier_part(ch)
    }

    fn parse_prefix(&self, parser: &mut Parser) -> Option<Result<Expr, ParserError>> {
        self.step();
        self.furthest.set(self.furthest.get().max(parser.peek_token_ref().span.start));
        None
    }

    fn parse_infix(&self, parser: &mut Parser, _left: &Expr, _precedence: u8) -> Option<Result<Expr, ParserError>> {
        let place = parser.peek_token_ref().span.start;
        // What is read again counts once.
        if place > self.last_operator.get() {
            self.last_operator.set(place);
            self.operators.set(self.operators.get() + 1);
        }
        if self.operators.get() > OPERATORS {
            Self::stop();
        }
        None
    }

    as_generic! {
        allow_extract_custom allow_extract_single_quotes support_map_literal_syntax supports_array_join_syntax
        supports_array_typedef_with_brackets supports_asc_desc_in_column_definition supports_bitwise_shift_operators
        supports_comma_separated_set_assignments supports_comma_separated_trim supports_comment_on supports_comment_optimizer_hint
        supports_connect_by supports_constraint_keyword_without_name supports_create_index_with_clause
        supports_create_view_comment_syntax supports_cte_without_as supports_data_type_signed_suffix supports_detach
        supports_dictionary_syntax supports_empty_projections supports_explain_with_utility_options supports_extract_comma_syntax
        supports_filter_during_aggregation supports_from_first_select supports_group_by_expr supports_group_by_with_modifier
        supports_install supports_interpolate supports_interval_options supports_key_column_option
        supports_left_associative_joins_without_parens supports_limit_by supports_limit_comma supports_load_extension
        supports_match_against supports_match_recognize supports_multiline_comment_hints
        supports_named_fn_args_with_assignment_operator supports_nested_comments supports_optimize_table
        supports_parens_around_table_factor supports_parenthesized_set_variables supports_partition_by_after_order_by
        supports_pipe_operator supports_prewhere supports_projection_trailing_commas supports_quote_delimited_string
        supports_select_format supports_select_item_multi_column_alias supports_select_wildcard_except
        supports_select_wildcard_exclude supports_select_wildcard_ilike supports_select_wildcard_rename
        supports_select_wildcard_replace supports_set_names supports_settings supports_start_transaction_modifier
        supports_string_escape_constant supports_struct_literal supports_try_convert supports_unicode_string_literal
        supports_update_order_by supports_user_host_grantee supports_values_as_table_factor
        supports_window_clause_named_window_reference supports_window_function_null_treatment_arg supports_with_fill
        supports_xml_expressions
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn endless(sql: &str) -> Option<Place> {
        match parse(sql) {
            Err(Unread::Endless(place)) => place,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_nests_in_many_ways_is_given_up_soon() {
        let within = |opens: &str, middle: &str, closes: &str| format!("select {}{middle}{}", opens.repeat(25), closes.repeat(25));
        for (opens, middle, closes) in [
            ("cast(", "1 1", " as int)"),
            ("case when a then ", "1 1", ""),
            ("position(", "a", ", 'b')"),
            ("* from (((select ", "", ""),
            ("interval ", "", ""),
            ("array[", "", ""),
            ("substring(", "1 1", ")"),
        ] {
            endless(&within(opens, middle, closes));
        }
        assert_eq!(endless(&within("cast(", "1 1", " as int)")), Some((1, 8 + 5 * 25)));
    }

    #[test]
    fn the_shipped_files_take_few_steps() {
        for folder in ["staging", "models", "segments", "metrics"] {
            for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sql").join(folder)).unwrap() {
                let path = entry.unwrap().path();
                let sql = std::fs::read_to_string(&path).unwrap();
                let dialect = Bounded::over(&sql);
                let before = dialect.left.get();
                statements(&sql, &dialect).unwrap();
                let steps = (before - dialect.left.get()) / sql.len();
                assert!(steps < STEPS / 10, "{}: {steps} for each byte", path.display());
            }
        }
    }

    #[test]
    fn what_nests_too_deep_has_a_place() {
        assert_eq!(endless(&format!("select {}1", "(".repeat(100))), Some((1, 8 + 60)));
        assert_eq!(endless(&format!("select a::{}int", "array<".repeat(100))), Some((1, 16 + 6 * 60)));
    }

    #[test]
    fn what_becomes_a_tree_as_deep_as_it_is_long_is_refused() {
        let long = |part: &str, most: usize| match parse(&format!("select 1{}", part.repeat(most + 1))) {
            Err(Unread::Long(told, _, place)) => (told, place),
            other => panic!("{other:?}"),
        };
        assert_eq!(long("+1", OPERATORS), (OPERATORS, Some((1, 8 + 2 * OPERATORS))));
        assert_eq!(long(" union select 1", UNIONS), (UNIONS, Some((1, 10 + 15 * UNIONS))));
        assert_eq!(long("::int", OPERATORS).0, OPERATORS);
        assert_eq!(long("[1]", UNIONS + 1).0, UNIONS);
    }

    #[test]
    fn what_can_be_read_is_read_as_the_generic_dialect_reads_it() {
        let within = |opens: &str, closes: &str| format!("select {} 1 {}", opens.repeat(40), closes.repeat(40));
        let long = format!("select {} 1", "a.b + (2 * c), position('a', b), ".repeat(1_000));
        for sql in [
            within("case when 1 then ", " end").as_str(),
            within("coalesce(1,", ")").as_str(),
            long.as_str(),
            "from t select * exclude (a), U&'\\0041', {'a': 1}, x -> x + 1 -- /*",
            "select * replace (1 as a) from t limit 1, 2",
            "select a from t group by all with totals order by b with fill settings c = 1 format json",
            "select trim(a, 'b'), extract('day', b), [1, 2][1], a << 2 from (values (1)) as v, (t) as u",
            "with a (select 1) select 'a' 'b', q'[x]', e'\\n', date '2026-01-01', b'1', $$x$$ from a prewhere b; select",
        ] {
            match (parse(sql), statements(sql, &GenericDialect)) {
                (Ok(bounded), Ok(generic)) => assert_eq!(bounded, generic, "{sql}"),
                (Err(Unread::Wrong(bounded)), Err(generic)) => assert_eq!(bounded.to_string(), generic.to_string(), "{sql}"),
                (bounded, generic) => panic!("{sql}: {bounded:?}, {generic:?}"),
            }
        }
    }
}
