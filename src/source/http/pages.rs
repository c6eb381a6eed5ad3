//! How one page leads to the next, and when to stop. Pure: it reads an answer and names the next request.
//!
//! | kind | next page | stops |
//! |---|---|---|
//! | `link_header = {}` | the `Link` header's `rel="next"`, on the same host | when there is no such link |
//! | `next_url = { path }` | the address at `path` in the answer, on the same host | when it is absent, null or empty |
//! | `cursor_token = { param, next }` | the token at `next` goes into `param` or `{token}` | when the token is absent, null or empty |
//! | `last_id = { param, field }` | the last row's `field` goes into `param` or `{token}` | after the first empty page |
//! | `page_number = { param }` | the next number | after `pages` pages where the answer says how many; else after the first empty page |
//! | … `at_most = 300` | after that many pages the first one again, from the greatest cursor value on | as above |
//! | `keyset = { tie = "id" }` | what comes after the last row by the cursor and `tie`: `{after}`, `{tie}` | after the first empty page, or the first shorter than `size` |
//! | `offset = { param, limit_param, limit }` | as many rows further as came | at `total` where the answer says it; else after the first empty page |
//! | `job = { … }` | lines of its result | at its end (`job.rs`) |
//! | `none` | – | after the one page |
//!
//! Tokens, addresses and ids also stop where a flag says so: `more = "has_more"` once it is false, `end = { path = "end_of_stream" }` once
//! it is true. Counts are found in the answer, or in a header: `pages = "header:X-WP-TotalPages"`.
//!
//! A token or address that comes twice, and a page with the very rows of an earlier one, are errors: the paging would never end. So are
//! rows that do not ascend by the cursor, where the next page depends on it.

use std::collections::HashSet;

use reqwest::header::HeaderMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::{job::Job, listing::Span};
use crate::source::values;

/// `pagination = …`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pagination {
    /// Everything is on one page.
    None,
    /// The answer's `Link` header.
    LinkHeader(LinkHeader),
    /// An address in the answer.
    NextUrl(NextUrl),
    /// A token in the answer.
    CursorToken(CursorToken),
    /// The id of the last row.
    LastId(LastId),
    /// Numbered pages.
    PageNumber(PageNumber),
    /// So many rows from there on.
    Offset(Offset),
    /// What comes after the last row in the order of the cursor.
    Keyset(Keyset),
    /// The result of a job that the request starts.
    Job(Box<Job>),
}

/// Takes no settings.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LinkHeader {}

/// `end = { path = "end_of_stream" }`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct End {
    /// The dotted path of the flag in the answer.
    path: String,
    /// What it says on the last page.
    #[serde(default = "yes")]
    is: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NextUrl {
    /// The dotted path of the address in the answer; it may begin with its path.
    path: String,
    /// The dotted path of a flag that says whether more follows, where there is one.
    more: Option<String>,
    /// The flag that says that this was the last page, where there is one.
    end: Option<End>,
    /// The dotted path of the number of rows in all pages.
    total: Option<String>,
}

/// The source lists its rows in an order that never changes, such as that of the field itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LastId {
    /// The query parameter that takes the id, unless `{token}` does.
    param: Option<String>,
    /// The dotted path of the id in a row.
    field: String,
    /// What stands for the id before the first page, where the source wants something there.
    first: Option<String>,
    /// The dotted path of a flag that says whether more follows, where there is one.
    more: Option<String>,
    /// The flag that says that this was the last page, where there is one.
    end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CursorToken {
    /// The query parameter that takes the token, unless `{token}` does.
    param: Option<String>,
    /// The dotted path of the token in the answer.
    next: String,
    /// The dotted path of a flag that says whether more follows, where there is one.
    more: Option<String>,
    /// The flag that says that this was the last page, where there is one.
    end: Option<End>,
    /// The dotted path of the number of rows in all pages.
    total: Option<String>,
    /// Whether the other parameters are sent along with a token.
    #[serde(default = "yes")]
    keep_params: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageNumber {
    /// The query parameter that takes the number.
    param: String,
    /// The number of the first page.
    #[serde(default = "one")]
    first: u64,
    /// The dotted path of the number of pages in the answer, or `header:` and a header's name.
    pages: Option<String>,
    /// The dotted path of the number of rows in all pages.
    total: Option<String>,
    /// The query parameter that asks for a page size.
    size_param: Option<String>,
    /// The page size asked for.
    size: Option<u32>,
    /// How many pages the source gives of one listing.
    at_most: Option<u64>,
}

/// The source lists its rows in ascending order of the cursor, and of `tie` where they agree in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keyset {
    /// The dotted path of what tells rows with one cursor value apart. Without it, a page begins at the last value of the one before.
    pub(crate) tie: Option<String>,
    /// What stands for it on the first page.
    pub(crate) first: Option<String>,
    /// How many rows a page has that is not the last.
    pub(crate) size: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offset {
    /// The query parameter that takes the offset.
    param: String,
    /// The query parameter that takes the number of rows.
    limit_param: String,
    /// The number of rows asked for; fewer may come.
    limit: u32,
    /// The dotted path of the number of rows in all pages.
    total: Option<String>,
}

fn yes() -> bool {
    true
}

fn one() -> u64 {
    1
}

impl Pagination {
    /// The query parameters it uses.
    pub(crate) fn params(&self) -> Vec<&str> {
        match self {
            Self::None | Self::LinkHeader(_) | Self::NextUrl(_) | Self::Keyset(_) | Self::Job(_) => vec![],
            Self::CursorToken(CursorToken { param, .. }) | Self::LastId(LastId { param, .. }) => param.iter().map(String::as_str).collect(),
            Self::PageNumber(PageNumber { param, size_param, .. }) => {
                [Some(param), size_param.as_ref()].into_iter().flatten().map(String::as_str).collect()
            }
            Self::Offset(Offset { param, limit_param, .. }) => vec![param, limit_param],
        }
    }

    /// Whether it asks from a token or an id on.
    pub(crate) fn takes_token(&self) -> bool {
        matches!(self, Self::CursorToken(_) | Self::LastId(_))
    }

    /// What stands for the token before the first page.
    pub(crate) fn first_token(&self) -> Option<&str> {
        match self {
            Self::LastId(LastId { first, .. }) => first.as_deref(),
            _ => None,
        }
    }

    /// Whether it follows addresses.
    pub(crate) fn follows(&self) -> bool {
        matches!(self, Self::LinkHeader(_) | Self::NextUrl(_))
    }

    /// Whether a row that changes while pages are read can push another one from a later page to an earlier one, unseen.
    pub(crate) fn can_slip(&self) -> bool {
        matches!(self, Self::PageNumber(_) | Self::Offset(_))
    }

    /// Whether the next page depends on rows that ascend by the cursor.
    pub(crate) fn ascends(&self) -> bool {
        matches!(self, Self::Keyset(_) | Self::PageNumber(PageNumber { at_most: Some(_), .. }))
    }

    /// The dotted path of what tells rows with one cursor value apart.
    pub(crate) fn tie(&self) -> Option<&str> {
        if let Self::Keyset(Keyset { tie, .. }) = self { tie.as_deref() } else { None }
    }

    /// What is wrong with it by itself.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        match self {
            Self::PageNumber(PageNumber { at_most: Some(0), .. }) => Err(("a listing of no pages lists nothing", "raise `at_most`")),
            Self::Keyset(Keyset { tie: None, size: None, .. }) => Err((
                "without `tie` the last row comes again on the next page, and nothing says which page is the last",
                "name the field that tells rows with one cursor value apart, `tie = \"id\"`, or say how many rows a page has, `size = 100`",
            )),
            Self::Keyset(Keyset { size: Some(0), .. }) => Err(("a page of no rows is always the last", "raise `size`")),
            _ => Ok(()),
        }
    }

    /// The dotted path of the number of rows in all pages.
    pub(crate) fn total(&self) -> Option<&str> {
        match self {
            Self::PageNumber(PageNumber { total, .. })
            | Self::Offset(Offset { total, .. })
            | Self::NextUrl(NextUrl { total, .. })
            | Self::CursorToken(CursorToken { total, .. }) => total.as_deref(),
            _ => None,
        }
    }
}

/// What to ask for next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ask {
    /// The stream's path with these parameters beside (or instead of) its own.
    Params {
        /// The paging parameters.
        params: Vec<(String, String)>,
        /// Whether the stream's own parameters go along.
        with_own: bool,
        /// Where it begins.
        #[serde(flatten)]
        place: Place,
    },
    /// This address as it stands.
    Url(Url),
}

/// Where a page begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What `{token}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<String>,
    /// What `{after}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<String>,
    /// What `{tie}` stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tie: Option<String>,
    /// The lower bound, where it is no longer that of the pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<String>,
}

/// What an answer tells about paging.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// The address that was asked.
    pub(crate) url: &'a Url,
    /// Its `Link` headers, joined by commas.
    pub(crate) link: &'a str,
    /// All its headers.
    pub(crate) headers: &'a HeaderMap,
    /// Its body, without the rows.
    pub(crate) body: &'a Value,
    /// How many rows it holds.
    pub(crate) rows: usize,
    /// The last of them.
    pub(crate) last: Option<&'a Value>,
    /// A digest of those rows.
    pub(crate) digest: u64,
    /// Where they stand by the cursor, where the next page depends on it.
    pub(crate) span: Option<Span>,
}

/// Where the paging stands.
#[derive(Debug)]
pub(crate) struct Pager {
    rule: Pagination,
    max_pages: u32,
    pages: u32,
    number: u64,
    offset: u64,
    asked: HashSet<String>,
    digests: HashSet<u64>,
    /// The lower bound of the listing that is read now, where it is not the first one.
    since: Option<String>,
    /// The cursor value below which no row of the next page can be.
    floor: Option<i64>,
}

/// Why the paging cannot go on, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// What is wrong.
    pub(crate) reason: String,
    /// What to do.
    pub(crate) hint: &'static str,
}

/// The rows do not ascend by the cursor.
pub(crate) fn unordered(reason: impl Into<String>) -> Lost {
    Lost { reason: reason.into(), hint: "ask for the rows in ascending order of the stream's `cursor`, and of `tie` where there is one" }
}

const CHECK: &str = "check the stream's `pagination` against the system's own documentation";

fn lost(reason: impl Into<String>) -> Lost {
    Lost { reason: reason.into(), hint: CHECK }
}

impl Pager {
    /// Before the first page.
    pub(crate) fn new(rule: Pagination, max_pages: u32) -> Self {
        let number = if let Pagination::PageNumber(PageNumber { first, .. }) = rule { first } else { 0 };
        Self { rule, max_pages, pages: 0, number, offset: 0, asked: HashSet::new(), digests: HashSet::new(), since: None, floor: None }
    }

    /// The first request.
    pub(crate) fn first(&self) -> Ask {
        match &self.rule {
            Pagination::LastId(LastId { param, first: Some(first), .. }) => from(param.as_ref(), first.clone(), true),
            Pagination::Keyset(Keyset { first, .. }) => {
                Ask::Params { params: vec![], with_own: true, place: Place { tie: first.clone(), ..Place::default() } }
            }
            _ => self.ask(),
        }
    }

    fn ask(&self) -> Ask {
        Ask::Params { params: self.params(), with_own: true, place: Place { since: self.since.clone(), ..Place::default() } }
    }

    fn params(&self) -> Vec<(String, String)> {
        match &self.rule {
            Pagination::PageNumber(PageNumber { param, size_param, size, .. }) => {
                let mut params = vec![(param.clone(), self.number.to_string())];
                if let (Some(param), Some(size)) = (size_param, size) {
                    params.push((param.clone(), size.to_string()));
                }
                params
            }
            Pagination::Offset(Offset { param, limit_param, limit, .. }) => {
                vec![(param.clone(), self.offset.to_string()), (limit_param.clone(), limit.to_string())]
            }
            _ => vec![],
        }
    }

    /// The number of rows the answer announces for all pages together.
    pub(crate) fn announced(&self, body: &Value, headers: &HeaderMap) -> Result<Option<u64>, Lost> {
        self.rule.total().map(|path| count(body, headers, path)).transpose()
    }

    /// The next request after an answer; `None` when this was the last.
    pub(crate) fn next(&mut self, seen: &Seen<'_>) -> Result<Option<Ask>, Lost> {
        self.pages += 1;
        let ties = self.order(seen)?;
        if seen.rows > 0 && !self.digests.insert(seen.digest) {
            return Err(lost("gave a page with the very rows of an earlier one; the paging would never end"));
        }
        self.number += 1;
        self.offset += seen.rows as u64;
        let ask = match &self.rule {
            Pagination::None | Pagination::Job(_) => None,
            Pagination::LinkHeader(_) => match next_link(seen.link) {
                Some(link) => Some(self.follow(seen.url, &link)?),
                None => None,
            },
            Pagination::NextUrl(NextUrl { path, more, end, .. }) => {
                match (token(seen.body, path)?, over(seen.body, more.as_deref(), end.as_ref())?) {
                    (_, Some(true)) | (None, None) => None,
                    (None, Some(false)) => return Err(lost(format!("says that more follows, but gives no address at `{path}`"))),
                    (Some(link), _) => Some(self.follow(seen.url, &link)?),
                }
            }
            Pagination::CursorToken(CursorToken { param, next, more, end, keep_params, .. }) => {
                match (token(seen.body, next)?, over(seen.body, more.as_deref(), end.as_ref())?) {
                    (_, Some(true)) | (None, None) => None,
                    (None, Some(false)) => return Err(lost(format!("says that more follows, but gives no token at `{next}`"))),
                    (Some(token), _) => Some(from(param.as_ref(), token, *keep_params)),
                }
            }
            Pagination::LastId(LastId { param, field, more, end, .. }) => {
                match (seen.last, over(seen.body, more.as_deref(), end.as_ref())?) {
                    (_, Some(true)) | (None, None) => None,
                    (None, Some(false)) => return Err(lost("says that more follows, but gives no row to go on from")),
                    (Some(last), _) => {
                        let id = token(last, field)?.ok_or_else(|| lost(format!("holds no `{field}` in its last row")))?;
                        Some(from(param.as_ref(), id, true))
                    }
                }
            }
            Pagination::PageNumber(PageNumber { pages, first, at_most, .. }) => {
                let read = self.number - first;
                let goes_on = match pages {
                    Some(path) => read < count(seen.body, seen.headers, path)?,
                    None => seen.rows > 0,
                };
                if goes_on && at_most.is_some_and(|most| read >= most) {
                    self.renew(*first, ties)?;
                }
                goes_on.then(|| self.ask())
            }
            Pagination::Keyset(Keyset { size, tie, .. }) => match ties {
                Some(_) if size.is_some_and(|size| seen.rows < size) => None,
                Some(Span { after, tie: last, .. }) => Some(Ask::Params {
                    params: vec![],
                    with_own: true,
                    place: Place { after: Some(after.clone()), tie: last.clone().filter(|_| tie.is_some()), ..Place::default() },
                }),
                None if seen.rows == 0 => None,
                None => return Err(lost("holds no row with a cursor value to go on from")),
            },
            Pagination::Offset(Offset { total: Some(path), .. }) => {
                let total = count(seen.body, seen.headers, path)?;
                (seen.rows > 0 && self.offset < total).then(|| self.ask())
            }
            Pagination::Offset(_) => (seen.rows > 0).then(|| self.ask()),
        };
        let Some(ask) = ask else { return Ok(None) };
        let name = match &ask {
            Ask::Url(url) => url.to_string(),
            Ask::Params { params, place, .. } => format!("{params:?}{place:?}"),
        };
        if !self.asked.insert(name) {
            return Err(lost("gave the same next page twice; the paging would never end"));
        }
        if self.pages >= self.max_pages {
            return Err(Lost {
                reason: format!("has more than {} pages", self.max_pages),
                hint: "raise the stream's `max_pages` if it really is that long",
            });
        }
        Ok(Some(ask))
    }

    /// Sees that a page keeps the ascending order that the next one depends on, and brings the paging on.
    fn order<'a>(&mut self, seen: &'a Seen<'_>) -> Result<Option<&'a Span>, Lost> {
        let Some(span) = &seen.span else { return Ok(None) };
        if self.floor.is_some_and(|floor| span.first < floor) {
            return Err(unordered("gave a page with older rows than the one before"));
        }
        match &self.rule {
            Pagination::Keyset(Keyset { tie, size, .. }) => {
                let full = size.is_some_and(|size| seen.rows >= size);
                if tie.is_none() && full && self.floor == Some(span.last) {
                    return Err(Lost {
                        reason: format!("holds more rows at the cursor value `{}` than a page has", span.after),
                        hint: "ask for larger pages, or name the field that tells such rows apart: `keyset = { tie = \"id\" }`",
                    });
                }
                self.floor = Some(span.last);
            }
            // Numbered pages can slip by rows that are stamped late: the next one may begin a little earlier than the last one ended.
            _ => self.floor = Some(span.first),
        }
        Ok(Some(span))
    }

    /// Turns to a listing of its own from the greatest cursor value on.
    fn renew(&mut self, first: u64, span: Option<&Span>) -> Result<(), Lost> {
        let Some(Span { after, .. }) = span else { return Err(lost("holds no row with a cursor value to go on from")) };
        if self.since.as_ref() == Some(after) {
            return Err(Lost {
                reason: format!("holds more rows at the cursor value `{after}` than `at_most` pages"),
                hint: "ask for larger pages, or for a cursor that tells the rows apart better",
            });
        }
        self.since = Some(after.clone());
        self.number = first;
        self.floor = None;
        self.asked.clear();
        self.digests.clear();
        Ok(())
    }

    fn follow(&self, from: &Url, link: &str) -> Result<Ask, Lost> {
        let next = from.join(link).map_err(|error| lost(format!("names a next page that is no address: {error}")))?;
        if next.origin() != from.origin() {
            return Err(Lost {
                reason: "names a next page on another host; the credentials are not sent there".to_owned(),
                hint: "set `base_url` to the host that the links name",
            });
        }
        Ok(Ask::Url(next))
    }
}

/// The parts of a dotted path; none for the empty one.
pub(crate) fn path(dotted: &str) -> Vec<String> {
    if dotted.is_empty() { vec![] } else { dotted.split('.').map(str::to_owned).collect() }
}

/// The request for what comes after a token or an id.
fn from(param: Option<&String>, token: String, with_own: bool) -> Ask {
    Ask::Params {
        params: param.map(|param| (param.clone(), token.clone())).into_iter().collect(),
        with_own,
        place: Place { token: Some(token), ..Place::default() },
    }
}

fn count(body: &Value, headers: &HeaderMap, dotted: &str) -> Result<u64, Lost> {
    if let Some(name) = dotted.strip_prefix("header:") {
        let count = headers.get(name).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        return count.ok_or_else(|| lost(format!("gives no count in the header `{name}`")));
    }
    match values::at(body, &path(dotted)) {
        Some(Value::Number(number)) if number.is_u64() => Ok(number.as_u64().unwrap_or(0)),
        Some(Value::String(text)) if text.parse::<u64>().is_ok() => Ok(text.parse().unwrap_or(0)),
        _ => Err(lost(format!("holds no count at `{dotted}`"))),
    }
}

fn flag(body: &Value, dotted: &str) -> Result<bool, Lost> {
    values::at(body, &path(dotted)).and_then(Value::as_bool).ok_or_else(|| lost(format!("holds neither true nor false at `{dotted}`")))
}

/// Whether this was the last page, where a flag says so.
fn over(body: &Value, more: Option<&str>, end: Option<&End>) -> Result<Option<bool>, Lost> {
    let more = more.map(|path| flag(body, path)).transpose()?;
    let end = end.map(|end| Ok(flag(body, &end.path)? == end.is)).transpose()?;
    Ok(if more.is_none() && end.is_none() { None } else { Some(more == Some(false) || end == Some(true)) })
}

fn token(body: &Value, dotted: &str) -> Result<Option<String>, Lost> {
    match values::at(body, &path(dotted)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(token)) if token.is_empty() => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        Some(Value::Number(token)) => Ok(Some(token.to_string())),
        Some(_) => Err(lost(format!("holds something else than a token at `{dotted}`"))),
    }
}

/// The target of `rel="next"` in a `Link` header (RFC 8288). Addresses may hold commas and semicolons; they stand in angle brackets.
fn next_link(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>')?;
        let target = &rest[start + 1..end];
        let tail = &rest[end + 1..];
        let stop = tail.find('<').unwrap_or(tail.len());
        let next = tail[..stop].split([';', ',']).any(|param| {
            let Some((name, value)) = param.split_once('=') else { return false };
            let value = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel") && value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"))
        });
        if next {
            return Some(target.to_owned());
        }
        rest = &tail[stop..];
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const URL: &str = "http://127.0.0.1:1/orders?page_info=a";

    fn step(pager: &mut Pager, body: &Value, link: &str, rows: usize, digest: u64) -> Result<Option<Ask>, Lost> {
        let last = body.get("last").filter(|_| rows > 0);
        pager.next(&Seen { url: &URL.parse().unwrap(), link, headers: &HeaderMap::new(), body, rows, last, digest, span: None })
    }

    fn rule(text: &str) -> Pagination {
        #[derive(Deserialize)]
        struct Sample {
            pagination: Pagination,
        }
        toml::from_str::<Sample>(&format!("pagination = {text}")).unwrap().pagination
    }

    fn at(token: &str) -> Place {
        Place { token: Some(token.to_owned()), ..Place::default() }
    }

    /// A page whose rows have these cursor values, and these ids.
    fn span(pager: &mut Pager, rows: &[(i64, &str)], digest: u64) -> Result<Option<Place>, Lost> {
        let span = rows.first().zip(rows.last()).map(|((first, _), (last, tie))| Span {
            first: *first,
            last: *last,
            after: last.to_string(),
            tie: Some((*tie).to_owned()),
        });
        let url = URL.parse().unwrap();
        let (rows, headers, body) = (rows.len(), HeaderMap::new(), Value::Null);
        let ask = pager.next(&Seen { url: &url, link: "", headers: &headers, body: &body, rows, last: None, digest, span })?;
        Ok(ask.map(|ask| match ask {
            Ask::Params { place, .. } => place,
            Ask::Url(url) => panic!("{url}"),
        }))
    }

    fn params(ask: Option<Ask>) -> Option<Vec<(String, String)>> {
        ask.map(|ask| match ask {
            Ask::Params { params, .. } => params,
            Ask::Url(url) => vec![("url".to_owned(), url.to_string())],
        })
    }

    fn numbered(pages: Option<&str>) -> Pagination {
        Pagination::PageNumber(PageNumber {
            param: "page".to_owned(),
            first: 1,
            pages: pages.map(str::to_owned),
            total: None,
            size_param: None,
            size: None,
            at_most: None,
        })
    }

    fn token_rule(more: Option<&str>) -> Pagination {
        Pagination::CursorToken(CursorToken {
            param: Some("after".to_owned()),
            next: "paging.next".to_owned(),
            more: more.map(str::to_owned),
            end: None,
            total: None,
            keep_params: true,
        })
    }

    #[test]
    fn links_are_read_as_rfc_8288_writes_them() {
        assert_eq!(next_link("<https://a/x?fields=a,b;c>; rel=\"next\""), Some("https://a/x?fields=a,b;c".to_owned()));
        assert_eq!(next_link("</p?x=1>; rel=\"previous\", </n?x=2>; title=\"a\"; rel=next"), Some("/n?x=2".to_owned()));
        assert_eq!(next_link("</p>; rel=\"first next\""), Some("/p".to_owned()));
        assert_eq!(next_link("</p>; rel=\"nextish\""), None);
        assert_eq!(next_link(""), None);
    }

    #[test]
    fn a_link_to_another_host_is_not_followed() {
        let mut pager = Pager::new(Pagination::LinkHeader(LinkHeader {}), 10);
        let error = step(&mut pager, &Value::Null, "<https://evil.example/x>; rel=\"next\"", 1, 1).unwrap_err();
        assert!(error.reason.contains("another host"), "{error:?}");
        let mut pager = Pager::new(Pagination::LinkHeader(LinkHeader {}), 10);
        let ask = step(&mut pager, &Value::Null, "</orders?page_info=b>; rel=\"next\"", 1, 1).unwrap();
        assert_eq!(ask, Some(Ask::Url("http://127.0.0.1:1/orders?page_info=b".parse().unwrap())));
        assert_eq!(step(&mut pager, &Value::Null, "", 1, 2), Ok(None));
    }

    #[test]
    fn a_repeated_token_and_a_repeated_page_are_errors() {
        let mut pager = Pager::new(token_rule(None), 10);
        let body = json!({"paging": {"next": "t1"}});
        assert!(step(&mut pager, &body, "", 2, 1).unwrap().is_some());
        assert!(step(&mut pager, &body, "", 2, 2).unwrap_err().reason.contains("same next page twice"));
        let mut pager = Pager::new(numbered(None), 10);
        assert!(step(&mut pager, &Value::Null, "", 2, 7).unwrap().is_some());
        assert!(step(&mut pager, &Value::Null, "", 2, 7).unwrap_err().reason.contains("very rows"));
    }

    #[test]
    fn a_token_page_may_be_empty_before_the_end_and_a_flag_without_token_is_an_error() {
        let mut pager = Pager::new(token_rule(Some("more")), 10);
        assert!(step(&mut pager, &json!({"paging": {"next": 17}, "more": true}), "", 0, 0).unwrap().is_some());
        assert!(step(&mut pager, &json!({"more": true}), "", 0, 0).unwrap_err().reason.contains("no token"));
        assert_eq!(step(&mut pager, &json!({"paging": {"next": "x"}, "more": false}), "", 1, 1), Ok(None));
        assert!(step(&mut pager, &json!({}), "", 1, 2).unwrap_err().reason.contains("neither true nor false"));
    }

    #[test]
    fn an_address_in_the_answer_is_followed_on_the_same_host_until_it_is_gone_or_a_flag_says_so() {
        let salesforce = rule("{ next_url = { path = \"nextRecordsUrl\" } }");
        let mut pager = Pager::new(salesforce.clone(), 10);
        let ask = step(&mut pager, &json!({"nextRecordsUrl": "/query/01g-2000"}), "", 2, 1).unwrap();
        assert_eq!(ask, Some(Ask::Url("http://127.0.0.1:1/query/01g-2000".parse().unwrap())));
        assert!(step(&mut pager, &json!({"nextRecordsUrl": "/query/01g-2000"}), "", 2, 2).unwrap_err().reason.contains("twice"));
        assert_eq!(step(&mut Pager::new(salesforce.clone(), 10), &json!({"done": true}), "", 2, 1), Ok(None));
        let evil = step(&mut Pager::new(salesforce, 10), &json!({"nextRecordsUrl": "https://evil.example/"}), "", 2, 1).unwrap_err();
        assert!(evil.reason.contains("another host"), "{evil:?}");

        let zendesk = rule("{ next_url = { path = \"after_url\", end = { path = \"end_of_stream\" } } }");
        let mut pager = Pager::new(zendesk, 10);
        let page = |ends: bool, url: &str| json!({"after_url": url, "end_of_stream": ends});
        assert!(step(&mut pager, &page(false, "/a"), "", 0, 0).unwrap().is_some(), "a page may be empty before the end");
        assert_eq!(step(&mut pager, &page(true, "/b"), "", 1, 1), Ok(None));
        assert!(step(&mut pager, &json!({"after_url": "/c"}), "", 1, 2).unwrap_err().reason.contains("neither true nor false"));
        assert!(step(&mut pager, &json!({"end_of_stream": false}), "", 1, 3).unwrap_err().reason.contains("no address at `after_url`"));
    }

    #[test]
    fn the_id_of_the_last_row_leads_on() {
        let stripe = rule("{ last_id = { param = \"starting_after\", field = \"id\", more = \"has_more\" } }");
        let mut pager = Pager::new(stripe, 10);
        assert_eq!(pager.first(), Ask::Params { params: vec![], with_own: true, place: Place::default() });
        let page = |id: Value, more: bool| json!({"last": {"id": id}, "has_more": more});
        let ask = step(&mut pager, &page(json!("ch_9"), true), "", 2, 1).unwrap();
        assert_eq!(params(ask), Some(vec![("starting_after".to_owned(), "ch_9".to_owned())]));
        assert!(step(&mut pager, &page(json!("ch_9"), true), "", 2, 2).unwrap_err().reason.contains("twice"));
        assert!(step(&mut pager, &page(Value::Null, true), "", 2, 3).unwrap_err().reason.contains("no `id` in its last row"));
        assert!(step(&mut pager, &page(Value::Null, true), "", 0, 0).unwrap_err().reason.contains("no row to go on from"));
        assert_eq!(step(&mut pager, &page(json!("ch_1"), false), "", 2, 4), Ok(None));

        let hubspot = rule("{ last_id = { field = \"id\", first = \"0\" } }");
        let mut pager = Pager::new(hubspot, 10);
        assert_eq!(pager.first(), Ask::Params { params: vec![], with_own: true, place: at("0") });
        let ask = step(&mut pager, &page(json!(17), true), "", 2, 1).unwrap();
        assert_eq!(ask, Some(Ask::Params { params: vec![], with_own: true, place: at("17") }));
        assert_eq!(step(&mut pager, &Value::Null, "", 0, 0), Ok(None));
    }

    #[test]
    fn counts_may_stand_in_headers() {
        let woo = rule("{ page_number = { param = \"page\", pages = \"header:X-WP-TotalPages\", total = \"header:X-WP-Total\" } }");
        let headers = |pages: &'static str| {
            let header = |name: &'static str, value| {
                (reqwest::header::HeaderName::from_static(name), reqwest::header::HeaderValue::from_static(value))
            };
            HeaderMap::from_iter([header("x-wp-totalpages", pages), header("x-wp-total", "3")])
        };
        let mut pager = Pager::new(woo, 10);
        let mut next = |pages, digest| {
            let (url, headers) = (URL.parse().unwrap(), headers(pages));
            assert_eq!(pager.announced(&Value::Null, &headers), Ok(Some(3)));
            pager.next(&Seen { url: &url, link: "", headers: &headers, body: &Value::Null, rows: 2, last: None, digest, span: None })
        };
        assert!(next("2", 1).unwrap().is_some());
        assert_eq!(next("2", 2), Ok(None));
        assert!(next("many", 3).unwrap_err().reason.contains("no count in the header `X-WP-TotalPages`"));
    }

    #[test]
    fn numbered_pages_stop_at_their_announced_end_or_at_the_first_empty_one() {
        let mut pager = Pager::new(numbered(Some("pages")), 10);
        assert_eq!(params(step(&mut pager, &json!({"pages": 3}), "", 0, 0).unwrap()), Some(vec![("page".to_owned(), "2".to_owned())]));
        assert!(step(&mut pager, &json!({"pages": 3}), "", 2, 1).unwrap().is_some());
        assert_eq!(step(&mut pager, &json!({"pages": 3}), "", 1, 2), Ok(None));
        assert!(step(&mut pager, &json!({}), "", 1, 3).unwrap_err().reason.contains("no count at `pages`"));
        let mut pager = Pager::new(numbered(None), 10);
        assert!(step(&mut pager, &Value::Null, "", 1, 1).unwrap().is_some(), "a short page is not the end: the source may cap it");
        assert_eq!(step(&mut pager, &Value::Null, "", 0, 0), Ok(None));
    }

    #[test]
    fn a_keyset_goes_on_after_the_last_row() {
        let mut pager = Pager::new(rule("{ keyset = { tie = \"id\", first = \"\" } }"), 10);
        let place =
            |after: Option<&str>, tie: &str| Place { after: after.map(str::to_owned), tie: Some(tie.to_owned()), ..Place::default() };
        assert_eq!(pager.first(), Ask::Params { params: vec![], with_own: true, place: place(None, "") });
        assert_eq!(span(&mut pager, &[(1, "a"), (1, "b")], 1), Ok(Some(place(Some("1"), "b"))));
        assert_eq!(span(&mut pager, &[(1, "c"), (1, "d")], 2), Ok(Some(place(Some("1"), "d"))), "ties exceed the page");
        assert_eq!(span(&mut pager, &[(5, "a")], 3), Ok(Some(place(Some("5"), "a"))), "a short page is not the end");
        assert!(span(&mut pager, &[(4, "z")], 4).unwrap_err().reason.contains("older rows"));
        assert_eq!(span(&mut pager, &[], 0), Ok(None));
        let mut sized = Pager::new(rule("{ keyset = { tie = \"id\", size = 2 } }"), 10);
        assert!(span(&mut sized, &[(1, "a"), (1, "b")], 1).unwrap().is_some());
        assert_eq!(span(&mut sized, &[(2, "a")], 2), Ok(None));
    }

    #[test]
    fn a_keyset_without_a_tie_begins_at_the_last_value_and_needs_a_new_one_on_each_page() {
        let mut pager = Pager::new(rule("{ keyset = { size = 2 } }"), 10);
        let after = |after: &str| Ok(Some(Place { after: Some(after.to_owned()), ..Place::default() }));
        assert_eq!(span(&mut pager, &[(1, "a"), (2, "b")], 1), after("2"));
        assert_eq!(
            span(&mut pager, &[(2, "b"), (2, "c")], 2).unwrap_err().reason,
            "holds more rows at the cursor value `2` than a page has"
        );
        let mut pager = Pager::new(rule("{ keyset = { size = 2 } }"), 10);
        assert_eq!(span(&mut pager, &[(1, "a"), (2, "b")], 1), after("2"));
        assert_eq!(span(&mut pager, &[(2, "b")], 2), Ok(None));
    }

    #[test]
    fn after_at_most_pages_a_listing_of_its_own_begins_at_the_greatest_value() {
        let mut pager = Pager::new(rule("{ page_number = { param = \"page\", at_most = 2 } }"), 20);
        let since = |since: Option<&str>| Ok(Some(Place { since: since.map(str::to_owned), ..Place::default() }));
        assert_eq!(span(&mut pager, &[(1, "a"), (2, "b")], 1), since(None));
        assert_eq!(pager.params(), [("page".to_owned(), "2".to_owned())]);
        assert_eq!(span(&mut pager, &[(2, "b"), (3, "c")], 2), since(Some("3")), "a row stamped late has moved one to the next page");
        assert_eq!(pager.params(), [("page".to_owned(), "1".to_owned())]);
        assert_eq!(span(&mut pager, &[(3, "c"), (3, "d")], 3), since(Some("3")));
        assert!(span(&mut pager, &[(2, "x")], 4).unwrap_err().reason.contains("older rows"));
        let ties = span(&mut pager, &[(3, "e"), (3, "f")], 5).unwrap_err();
        assert_eq!(ties.reason, "holds more rows at the cursor value `3` than `at_most` pages");

        let mut counted = Pager::new(rule("{ page_number = { param = \"page\", at_most = 2, pages = \"pages\" } }"), 20);
        assert!(step(&mut counted, &json!({"pages": 2}), "", 2, 1).unwrap().is_some());
        assert_eq!(step(&mut counted, &json!({"pages": 2}), "", 2, 2), Ok(None), "two pages are all there is");
    }

    #[test]
    fn too_many_pages_are_an_error_not_an_end() {
        let mut pager = Pager::new(numbered(None), 2);
        assert!(step(&mut pager, &Value::Null, "", 1, 1).unwrap().is_some());
        assert!(step(&mut pager, &Value::Null, "", 1, 2).unwrap_err().reason.contains("more than 2 pages"));
    }

    proptest! {
        /// Whatever the source caps its pages at, offsets cover every row exactly once.
        #[test]
        fn offsets_cover_every_row(total in 0u64..500, cap in 1u64..60, with_total: bool) {
            let rule = Pagination::Offset(Offset {
                param: "offset".to_owned(), limit_param: "limit".to_owned(), limit: 50, total: with_total.then(|| "total".to_owned()),
            });
            let mut pager = Pager::new(rule, 1000);
            let mut ask = Some(pager.first());
            let mut covered = 0;
            while let Some(Ask::Params { params, .. }) = ask {
                let offset: u64 = params[0].1.parse().unwrap();
                prop_assert_eq!(offset, covered);
                let rows = cap.min(50).min(total - offset);
                covered += rows;
                ask = step(&mut pager, &json!({"total": total}), "", usize::try_from(rows).unwrap(), offset + 1).unwrap();
            }
            prop_assert_eq!(covered, total);
        }

        #[test]
        fn no_link_header_makes_the_reader_fall_over(header in "[<>;,=\" relnxt/é]{0,60}") {
            let _ = next_link(&header);
        }
    }
}
