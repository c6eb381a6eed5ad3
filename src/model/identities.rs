//! Which records are the same person. Pure: records in, one canonical id a record out, whatever order they came in.
//!
//! A record that declares a link ("this contact is shop customer 17") is that customer. A record without one is whoever has the same
//! e-mail address; of several, the earliest created, so that two people whose links keep them apart are never joined by a third record.
//! Everyone else is alone. The person goes by the name of the group's earliest created record, `<source>:<id>`, which later records
//! do not change.
//!
//! A record takes its text in shared buffers and 40 bytes beside it, and grouping sorts positions instead of filling hash tables: ten million
//! records with their addresses take some 830 MiB. Both are kept in pieces, so that nothing is copied, and held twice, when they grow.

use std::{cmp::Ordering, ops::Index};

/// A record without a time of creation counts as younger than every other.
const UNKNOWN: i64 = i64::MAX;

/// No record.
const NONE: u32 = u32::MAX;

/// Lists of positions, of records by name, by group, by address, by age and by whom they are named after, that grouping fills.
const POSITIONS: usize = 5;

/// Records in a piece of their list.
const PIECE: usize = 1 << 16;

/// A part of the shared text: 16 bits of the buffer it is in, 24 of where it begins there, 24 of how long it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span(u64);

impl Span {
    /// No address, no link.
    const NONE: Self = Self(u64::MAX);
    const LONGEST: usize = (1 << 24) - 1;

    fn new(buffer: usize, start: usize, length: usize) -> Self {
        Self((buffer as u64) << 48 | (start as u64) << 24 | length as u64)
    }
}

/// Text that only grows, in buffers of which each holds what it holds whole.
#[derive(Debug, Default)]
struct Text {
    buffers: Vec<String>,
}

impl Text {
    fn keep(&mut self, text: &str) -> Span {
        // Nothing that names a person is 16 MiB long; what is, is known by its beginning.
        let text = &text[..text.floor_char_boundary(Span::LONGEST)];
        if self.buffers.last().is_none_or(|last| last.len() + text.len() > Span::LONGEST) {
            self.buffers.push(String::with_capacity(Span::LONGEST));
        }
        let buffer = self.buffers.len() - 1;
        let start = self.buffers[buffer].len();
        self.buffers[buffer].push_str(text);
        Span::new(buffer, start, text.len())
    }

    fn get(&self, Span(span): Span) -> &str {
        let (buffer, start, length) = ((span >> 48) as usize, (span >> 24 & 0xff_ffff) as usize, (span & 0xff_ffff) as usize);
        &self.buffers[buffer][start..start + length]
    }

    fn len(&self) -> usize {
        self.buffers.iter().map(String::len).sum()
    }

    /// Where the next text would stand.
    fn end(&self) -> (usize, usize) {
        (self.buffers.len(), self.buffers.last().map_or(0, String::len))
    }

    /// Forgets what came since it ended there.
    fn truncate(&mut self, (buffers, length): (usize, usize)) {
        self.buffers.truncate(buffers);
        if let Some(last) = self.buffers.last_mut() {
            last.truncate(length);
        }
    }
}

/// A list in pieces.
#[derive(Debug, Default)]
struct Records {
    pieces: Vec<Vec<Record>>,
    len: usize,
}

impl Records {
    fn push(&mut self, record: Record) {
        if self.len.is_multiple_of(PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE));
        }
        self.pieces[self.len / PIECE].push(record);
        self.len += 1;
    }

    fn truncate(&mut self, len: usize) {
        self.pieces.truncate(len.div_ceil(PIECE));
        if let Some(last) = self.pieces.last_mut().filter(|_| !len.is_multiple_of(PIECE)) {
            last.truncate(len % PIECE);
        }
        self.len = len;
    }

    fn iter(&self) -> impl Iterator<Item = &Record> {
        self.pieces.iter().flatten()
    }
}

impl Index<u32> for Records {
    type Output = Record;

    fn index(&self, record: u32) -> &Record {
        &self.pieces[record as usize / PIECE][record as usize % PIECE]
    }
}

#[derive(Debug, Clone, Copy)]
struct Record {
    source: u32,
    link_source: u32,
    id: Span,
    email: Span,
    link: Span,
    created_at: i64,
}

/// Collects records, then says who is who.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
    sources: Vec<String>,
    text: Text,
    records: Records,
}

/// How much a resolver held at one time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    text: (usize, usize),
    records: usize,
}

impl Mark {
    /// How many records.
    pub(crate) fn records(self) -> u64 {
        self.records as u64
    }
}

/// Every record's person.
#[derive(Debug)]
pub(crate) struct Resolved {
    resolver: Resolver,
    /// Positions of records, sorted by source and id, one a pair of them.
    order: Vec<u32>,
    /// For every record, the record its person is named after.
    named_after: Vec<u32>,
}

impl Resolver {
    /// Adds a record. `link` names the source and id of the record it declares to be; `created_at` is in microseconds.
    pub(crate) fn add(&mut self, source: &str, id: &str, email: Option<&str>, link: Option<(&str, &str)>, created_at: Option<i64>) {
        let source = self.source(source);
        let id = self.text.keep(id);
        let (link_source, link) = link.map_or((0, Span::NONE), |(source, id)| (self.source(source), self.text.keep(id)));
        let email = email.and_then(normal_email).map_or(Span::NONE, |email| self.text.keep(&email));
        self.records.push(Record { source, link_source, id, email, link, created_at: created_at.unwrap_or(UNKNOWN) });
    }

    /// Bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.text.len() + self.records.len * size_of::<Record>()
    }

    /// Bytes that so many records like those it holds take with their groups.
    pub(crate) fn size_of(&self, records: u64) -> u64 {
        let text = self.text.len() as u64 * records / (self.records.len.max(1) as u64);
        text + records * (size_of::<Record>() + POSITIONS * size_of::<u32>()) as u64
    }

    /// Bytes that [`Resolver::resolve`] takes beside them.
    pub(crate) fn size_of_groups(&self) -> usize {
        let linked = self.records.iter().filter(|record| record.link != Span::NONE).count();
        linked * size_of::<Record>() + (self.records.len + linked) * POSITIONS * size_of::<u32>()
    }

    /// A place to go back to.
    pub(crate) fn mark(&self) -> Mark {
        Mark { text: self.text.end(), records: self.records.len }
    }

    /// Forgets the records that were added since.
    pub(crate) fn forget_since(&mut self, mark: Mark) {
        self.text.truncate(mark.text);
        self.records.truncate(mark.records);
    }

    fn source(&mut self, name: &str) -> u32 {
        let known = self.sources.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.sources.push(name.to_owned());
            self.sources.len() - 1
        }) as u32
    }

    fn name(&self, record: u32) -> (&str, &str) {
        let record = &self.records[record];
        (&self.sources[record.source as usize], self.text.get(record.id))
    }

    /// Earlier created first, then by source and id.
    fn by_age(&self, a: u32, b: u32) -> Ordering {
        let created = |record: u32| self.records[record].created_at;
        created(a).cmp(&created(b)).then_with(|| self.name(a).cmp(&self.name(b)))
    }

    /// Groups the records.
    pub(crate) fn resolve(mut self) -> Resolved {
        self.add_linked();
        let count = self.records.len as u32;
        let mut groups = Groups::new(count);
        let mut order: Vec<u32> = (0..count).collect();
        order.sort_unstable_by(|a, b| self.name(*a).cmp(&self.name(*b)).then_with(|| self.by_age(*a, *b)));
        for pair in order.windows(2) {
            if self.name(pair[0]) == self.name(pair[1]) {
                groups.join(pair[0], pair[1]);
            }
        }
        order.dedup_by(|later, earlier| self.name(*later) == self.name(*earlier));
        for record in 0..count {
            let Record { link_source, link, .. } = self.records[record];
            if link != Span::NONE {
                let wanted = (self.sources[link_source as usize].as_str(), self.text.get(link));
                if let Ok(position) = order.binary_search_by(|other| self.name(*other).cmp(&wanted)) {
                    groups.join(record, order[position]);
                }
            }
        }
        self.join_by_email(&mut groups);
        let mut eldest: Vec<u32> = vec![NONE; count as usize];
        for record in 0..count {
            let group = groups.root(record) as usize;
            if eldest[group] == NONE || self.by_age(record, eldest[group]) == Ordering::Less {
                eldest[group] = record;
            }
        }
        let named_after = (0..count).map(|record| eldest[groups.root(record) as usize]).collect();
        Resolved { resolver: self, order, named_after }
    }

    /// A link may name a record nobody sent: it is added bare, so that what else refers to it finds the same person.
    fn add_linked(&mut self) {
        for record in 0..self.records.len as u32 {
            let Record { link_source, link, .. } = self.records[record];
            if link != Span::NONE {
                let bare =
                    Record { source: link_source, id: link, email: Span::NONE, link: Span::NONE, link_source: 0, created_at: UNKNOWN };
                self.records.push(bare);
            }
        }
    }

    fn join_by_email(&self, groups: &mut Groups) {
        let has_email = |record: &u32| self.records[*record].email != Span::NONE;
        let email = |record: u32| self.text.get(self.records[record].email);
        // Here a record without a time of creation counts as the eldest, so that no newcomer takes its place.
        let dated = |record: u32| self.records[record].created_at != UNKNOWN;
        let mut by_email: Vec<u32> = (0..self.records.len as u32).filter(has_email).collect();
        by_email
            .sort_unstable_by(|a, b| email(*a).cmp(email(*b)).then_with(|| dated(*a).cmp(&dated(*b))).then_with(|| self.by_age(*a, *b)));
        for same in by_email.chunk_by(|a, b| email(*a) == email(*b)) {
            for record in &same[1..] {
                if self.records[*record].link == Span::NONE {
                    groups.join(*record, same[0]);
                }
            }
        }
    }
}

impl Resolved {
    /// Bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.resolver.size() + (self.order.capacity() + self.named_after.capacity()) * size_of::<u32>()
    }

    /// How many aliases there are: pairs of source and id.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// The aliases from `from` on, at most `count` of them, sorted by source and id: source, id, canonical id.
    pub(crate) fn aliases(&self, from: usize, count: usize) -> impl Iterator<Item = (&str, &str, String)> {
        self.order.iter().skip(from).take(count).map(|record| {
            let (source, id) = self.resolver.name(*record);
            let (first_source, first_id) = self.resolver.name(self.named_after[*record as usize]);
            (source, id, format!("{first_source}:{first_id}"))
        })
    }
}

/// Trimmed and lower-cased; nothing that lacks an `@` names anybody.
fn normal_email(email: &str) -> Option<String> {
    let email = email.trim().to_lowercase();
    email.contains('@').then_some(email)
}

/// Disjoint sets, by union with path halving.
struct Groups {
    parent: Vec<u32>,
}

impl Groups {
    fn new(count: u32) -> Self {
        Self { parent: (0..count).collect() }
    }

    fn root(&mut self, mut member: u32) -> u32 {
        while self.parent[member as usize] != member {
            let parent = self.parent[member as usize];
            self.parent[member as usize] = self.parent[parent as usize];
            member = parent;
        }
        member
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    struct Given {
        source: String,
        id: String,
        email: Option<String>,
        link: Option<(String, String)>,
        created_at: Option<i64>,
    }

    fn resolve(records: &[Given]) -> BTreeMap<(String, String), String> {
        let mut resolver = Resolver::default();
        for record in records {
            let link = record.link.as_ref().map(|(source, id)| (source.as_str(), id.as_str()));
            resolver.add(&record.source, &record.id, record.email.as_deref(), link, record.created_at);
        }
        let resolved = resolver.resolve();
        resolved.aliases(0, usize::MAX).map(|(source, id, person)| ((source.to_owned(), id.to_owned()), person)).collect()
    }

    fn given(source: &str, id: &str, email: Option<&str>, link: Option<(&str, &str)>, created_at: i64) -> Given {
        Given {
            source: source.to_owned(),
            id: id.to_owned(),
            email: email.map(str::to_owned),
            link: link.map(|(source, id)| (source.to_owned(), id.to_owned())),
            created_at: Some(created_at),
        }
    }

    fn person<'a>(found: &'a BTreeMap<(String, String), String>, source: &str, id: &str) -> &'a str {
        &found[&(source.to_owned(), id.to_owned())]
    }

    #[test]
    fn a_link_comes_before_an_address_and_an_address_before_nothing() {
        let found = resolve(&[
            given("shop", "17", Some("ann@example.org"), None, 10),
            given("shop", "18", Some("bob@example.org"), None, 11),
            given("crm", "c1", Some("bob@example.org"), Some(("shop", "17")), 12),
            given("crm", "c2", Some(" ANN@Example.org "), None, 5),
            given("desk", "h1", None, None, 1),
            given("desk", "h2", Some("none"), None, 1),
            given("desk", "h3", Some("none"), None, 1),
        ]);
        assert_eq!(person(&found, "shop", "17"), "crm:c2");
        assert_eq!(person(&found, "crm", "c1"), "crm:c2");
        assert_eq!(person(&found, "shop", "18"), "shop:18");
        assert_eq!(person(&found, "desk", "h1"), "desk:h1");
        assert_ne!(person(&found, "desk", "h2"), person(&found, "desk", "h3"));
    }

    #[test]
    fn what_is_forgotten_leaves_no_trace() {
        let mut resolver = Resolver::default();
        resolver.add("shop", "1", Some("ann@example.org"), None, Some(2));
        let mark = resolver.mark();
        resolver.add("crm", "a", Some("ann@example.org"), None, Some(1));
        resolver.forget_since(mark);
        resolver.add("desk", "x", Some("ann@example.org"), None, Some(3));
        let resolved = resolver.resolve();
        let found: Vec<_> = resolved.aliases(0, usize::MAX).collect();
        assert_eq!(found, [("desk", "x", "shop:1".to_owned()), ("shop", "1", "shop:1".to_owned())]);
    }

    #[test]
    fn many_records_and_long_texts_are_kept_in_pieces() {
        let mut resolver = Resolver::default();
        let address = |number: usize| format!("{number}@example.org");
        let many = 2 * PIECE + 5;
        (0..many).for_each(|number| resolver.add("shop", &number.to_string(), Some(&address(number)), None, Some(0)));
        let (mark, size) = (resolver.mark(), resolver.size());
        assert_eq!((mark.records(), resolver.size_of(2 * mark.records()) / resolver.size_of(mark.records())), (many as u64, 2));
        (0..PIECE).for_each(|number| resolver.add("desk", &number.to_string(), Some(&address(number)), None, Some(1)));
        resolver.forget_since(mark);
        assert_eq!(resolver.size(), size);
        let long = "x".repeat(Span::LONGEST + 7);
        ["a", "b"].iter().for_each(|id| resolver.add("desk", id, Some(&format!("{id}{long}@example.org")), None, Some(2)));
        resolver.add("desk", &long, Some(&address(many - 1)), None, Some(3));
        let resolved = resolver.resolve();
        assert_eq!(resolved.len(), many + 3);
        let desk: Vec<_> = resolved.aliases(0, 3).map(|(_, id, person)| (id.len(), person.len().min(10))).collect();
        assert_eq!(desk, [(1, 6), (1, 6), (Span::LONGEST, 10)], "each is alone, or who bought by the same address");
        assert!(resolved.aliases(2, 1).all(|(_, _, person)| person == format!("shop:{}", many - 1)));
        assert!(resolved.aliases(3, many).all(|(source, id, person)| person == format!("{source}:{id}")));
    }

    #[test]
    fn a_link_to_a_record_nobody_sent_still_names_one_person() {
        let found = resolve(&[given("crm", "c1", None, Some(("shop", "99")), 3)]);
        assert_eq!(person(&found, "shop", "99"), "crm:c1");
    }

    #[test]
    fn an_address_does_not_join_people_whom_links_keep_apart() {
        let found = resolve(&[
            given("shop", "1", None, None, 1),
            given("shop", "2", None, None, 2),
            given("crm", "a", Some("family@example.org"), Some(("shop", "1")), 3),
            given("crm", "b", Some("family@example.org"), Some(("shop", "2")), 4),
            given("desk", "x", Some("family@example.org"), None, 5),
        ]);
        assert_eq!(person(&found, "crm", "b"), "shop:2");
        assert_eq!(person(&found, "desk", "x"), "shop:1");
    }

    fn records() -> impl Strategy<Value = Vec<Given>> {
        let record = (
            prop::sample::select(vec!["crm", "shop", "desk"]),
            0..12u8,
            prop::option::of(0..6u8),
            prop::option::weighted(0.3, (prop::sample::select(vec!["crm", "shop"]), 0..12u8)),
            prop::option::weighted(0.9, 0..50i64),
        );
        let record = record.prop_map(|(source, id, email, link, created_at)| Given {
            source: source.to_owned(),
            id: id.to_string(),
            email: email.map(|email| format!("p{email}@example.org")),
            link: link.map(|(source, id)| (source.to_owned(), id.to_string())),
            created_at,
        });
        prop::collection::vec(record, 0..40)
    }

    proptest! {
        #[test]
        fn the_order_of_records_changes_nothing(records in records(), seed in any::<u64>()) {
            let mut shuffled = records.clone();
            let mut state = seed | 1;
            for i in (1..shuffled.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                shuffled.swap(i, (state >> 33) as usize % (i + 1));
            }
            prop_assert_eq!(resolve(&records), resolve(&shuffled));
        }

        #[test]
        fn later_records_do_not_rename_anybody(records in records(), late in records()) {
            // What joins later is created later and, as a newcomer does, refers to what exists instead of joining two others.
            let before = resolve(&records);
            let late = late.into_iter().enumerate().map(|(i, record)| Given {
                id: format!("late{i}"),
                link: None,
                created_at: Some(1000 + i as i64),
                ..record
            });
            let all: Vec<Given> = records.iter().cloned().chain(late).collect();
            let after = resolve(&all);
            for (record, person) in &before {
                let dated = records.iter().any(|given| format!("{}:{}", given.source, given.id) == *person && given.created_at.is_some());
                if dated {
                    prop_assert_eq!(&after[record], person);
                }
            }
        }

        #[test]
        fn a_declared_link_is_kept(records in records()) {
            let found = resolve(&records);
            for record in &records {
                if let Some(link) = &record.link {
                    prop_assert_eq!(&found[&(record.source.clone(), record.id.clone())], &found[link]);
                }
            }
        }
    }
}
