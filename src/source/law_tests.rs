//! The pull law at length: nights of writes, late stamps, deletions, failures and crashes, over every way of paging.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use chrono::DateTime;
use proptest::{
    prelude::*,
    test_runner::{RngSeed, TestRunner},
};

use super::{
    Source,
    error::SourceError,
    fake::{Change, Fake, Fault, Record, World},
    pull,
    tests::{
        COUNTED, CURSOR, HEADERS, KEYSET, LAST_ID, LINK, NEXT_URL, NOW, NUMBERS, OFFSETS, SEARCH, SEARCH_IDS, TOKEN, WINDOWS, asked,
        listing, orders, pull_in_chunks, source,
    },
};
use crate::{
    clock::ManualClock,
    lake::{Lake, LakeSettings},
};

/// The ways that find a page by its number alone.
const BY_NUMBER: [&str; 3] = [NUMBERS, OFFSETS, WINDOWS];

/// A source and the lake it fills, and nothing else of a project.
struct Shop {
    folder: tempfile::TempDir,
    source: Source,
    lake: Lake,
    clock: Arc<ManualClock>,
}

impl Shop {
    fn new(source: Source) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
        Self { folder, source, lake, clock: Arc::new(ManualClock::at(NOW.parse().unwrap())) }
    }

    async fn pull_in_chunks(&self, chunk_rows: usize) -> Result<pull::Outcome, SourceError> {
        pull_in_chunks(&self.source, &self.lake, &self.clock, self.folder.path(), chunk_rows).await
    }

    async fn orders(&self) -> BTreeMap<u32, Record> {
        orders(&self.lake).await
    }
}

/// One night at the source.
#[derive(Debug, Clone)]
struct Night {
    before: Vec<Change>,
    between: Vec<Vec<Change>>,
    lags: Vec<i64>,
    faults: Vec<(u8, Fault)>,
    crash_at: Option<usize>,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (1u32..40, 0i64..1000, 0i64..200).prop_map(|(id, value, late)| Change::Write { id, value, late }),
        1 => (1u32..40).prop_map(|id| Change::Flag { id }),
        1 => (1u32..40, 0i64..200, any::<bool>()).prop_map(|(id, late, shown)| Change::Remove { id, late, shown }),
    ]
}

fn night() -> impl Strategy<Value = Night> {
    let fault = prop_oneof![
        Just(Fault::Status(500, None)),
        Just(Fault::Status(429, Some("0.001".to_owned()))),
        Just(Fault::Truncated),
        Just(Fault::Html),
    ];
    (
        prop::collection::vec(change(), 0..12),
        prop::collection::vec(prop::collection::vec(change(), 0..3), 0..8),
        prop::collection::vec(prop_oneof![2 => Just(0i64), 1 => 1i64..8], 0..8),
        prop::collection::vec((0u8..4, fault), 0..4),
        prop::option::weighted(0.2, 1usize..6),
    )
        .prop_map(|(before, between, lags, faults, crash_at)| Night { before, between, lags, faults, crash_at })
}

/// The pull law: no pull leaves a row older than it was given; and after any mix of writes and deletions no later than the overlap,
/// changes between pages, replicas that lag, page failures and crashes, one quiet pull makes the table equal its source. Tries it so
/// often, or as often as `PROPTEST_CASES` says; each time with a lake of its own.
fn one_quiet_pull_makes_the_table_equal_its_source(ways: &[&'static str], cases: u32) {
    let wished = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    // The usual cases are the same on every machine; who asks for a number gets others each time.
    let rng_seed = if wished.is_none() { RngSeed::Fixed(20_261_126) } else { RngSeed::Random };
    let cases = wished.unwrap_or(cases);
    let config = ProptestConfig { cases, rng_seed, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let fake = runtime.block_on(Fake::start(1));
    let sources: BTreeMap<(&str, bool), Source> = ways
        .iter()
        .flat_map(|way| [(*way, false), (*way, true)])
        .map(|(way, by_events)| {
            let settings = if by_events { listing(&fake.base, way) } else { asked(&fake.base, way, CURSOR) };
            ((way, by_events), source("shop", &settings).unwrap())
        })
        .collect();
    let chunk = prop_oneof![1usize..12, 12usize..60];
    let case = (prop::collection::vec(night(), 1..4), 1usize..9, chunk, prop::sample::select(ways.to_vec()), any::<bool>());
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&case, |(nights, cap, chunk, way, by_events)| {
        runtime.block_on(after_these(nights, &fake, cap, way, &sources[&(way, by_events)], chunk, by_events));
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

async fn after_these(nights: Vec<Night>, fake: &Fake, cap: usize, way: &str, source: &Source, chunk: usize, by_events: bool) {
    *fake.world.lock().unwrap() = World::new(cap);
    if way == KEYSET {
        // More rows share an instant than fit on a page.
        fake.world.lock().unwrap().grain = 100;
    }
    let shop = Shop::new(source.clone());
    // Each mechanism sees the changes it can see. Where pages are numbered and not counted, a row that leaves the listing between two pages
    // pulls another one out of sight, which nobody can know.
    let seen = |changes: &[Change], between: bool| -> Vec<Change> {
        let each = changes.iter().cloned().map(|change| match (change, by_events) {
            (Change::Flag { id }, true) => Change::Remove { id, late: 0, shown: true },
            (Change::Remove { id, .. }, false) => Change::Flag { id },
            (Change::Remove { id, late, .. }, true) if between => Change::Remove { id, late, shown: true },
            (change, _) => change,
        });
        each.collect()
    };
    for night in nights {
        {
            let mut world = fake.world.lock().unwrap();
            world.now += 3600;
            world.given.clear();
            seen(&night.before, false).iter().for_each(|change| world.change(change));
            world.between = night.between.iter().map(|changes| seen(changes, true)).collect();
            // Where a page is found by its number, a replica that shows fewer rows pulls others out of sight.
            world.lags = if BY_NUMBER.contains(&way) { VecDeque::new() } else { night.lags.into() };
            world.faults = night.faults.into_iter().flat_map(|(times, fault)| vec![fault; times.into()]).collect();
            world.tell_at = night.crash_at;
            shop.clock.set(DateTime::from_timestamp(world.now, 0).unwrap());
        }
        let crash = async { if night.crash_at.is_some() { fake.told.notified().await } else { std::future::pending().await } };
        let pulled = tokio::select! {
            pulled = shop.pull_in_chunks(chunk) => pulled.is_ok(),
            () = crash => false,
        };
        if pulled {
            let given = {
                let world = fake.world.lock().unwrap();
                world.given.iter().map(|(id, at)| (*id, *at)).filter(|(id, _)| world.records.contains_key(id)).collect::<Vec<_>>()
            };
            let orders = shop.orders().await;
            for (id, at) in given {
                assert!(orders[&id].updated_at >= at, "{id} was given as of {at} and stands as of {}", orders[&id].updated_at);
            }
        }
    }
    {
        let mut world = fake.world.lock().unwrap();
        (world.now, world.tell_at) = (world.now + 3600, None);
        world.between.clear();
        world.lags.clear();
        world.faults.clear();
        shop.clock.set(DateTime::from_timestamp(world.now, 0).unwrap());
    }
    shop.pull_in_chunks(chunk).await.unwrap();
    let mut orders = shop.orders().await;
    let records = {
        let world = fake.world.lock().unwrap();
        orders.retain(|id, order| !(order.deleted && world.removed.contains_key(id)));
        world.records.clone()
    };
    assert_eq!(orders, records);
}

/// Nights of a source with pages of so many rows, pulled in chunks of so many.
async fn after(nights: Vec<Night>, cap: usize, way: &str, chunk: usize) {
    let fake = Fake::start(cap).await;
    let source = source("shop", &asked(&fake.base, way, CURSOR)).unwrap();
    after_these(nights, &fake, cap, way, &source, chunk, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_knows_most_tells_how_many_rows_there_are() {
    let quiet = Night { before: vec![], between: vec![], lags: vec![], faults: vec![], crash_at: None };
    let writes = |ids: &[u32]| ids.iter().map(|id| Change::Write { id: *id, value: 0, late: 0 }).collect();
    let failed = Night { before: writes(&[1, 2, 3, 4]), faults: vec![(1, Fault::Html)], ..quiet.clone() };
    // By a replica that knows of none of these: 1, 2, 3. By one that does: 1, 5, 6, for 4 has moved up. Then there is no third page.
    let lagging = Night { before: writes(&[1, 5, 6, 7]), lags: vec![4, 0, 4], ..quiet };
    after(vec![failed, lagging], 3, COUNTED, 50).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_behind_the_place_a_crash_left_comes_with_the_pull_that_goes_on() {
    let write = |id, value, late| Change::Write { id, value, late };
    let first = Night {
        before: vec![write(1, 0, 0)],
        between: vec![vec![write(2, 0, 0), write(1, 0, 0)], vec![write(3, 0, 0)]],
        lags: vec![],
        faults: vec![],
        crash_at: None,
    };
    let second = Night {
        before: vec![write(4, 0, 0), write(5, 0, 0), write(9, 0, 0), write(10, 0, 60), write(8, 427, 119)],
        between: vec![vec![write(3, 761, 142), write(16, 16, 92)], vec![], vec![], vec![write(33, 825, 16)]],
        lags: vec![],
        faults: vec![],
        crash_at: Some(4),
    };
    after(vec![first, second], 4, SEARCH_IDS, 4).await;
}

// Beside each other, as tests run.
#[test]
fn the_law_holds_for_tokens_and_links() {
    one_quiet_pull_makes_the_table_equal_its_source(&[TOKEN, LINK, NEXT_URL], 512);
}

#[test]
fn the_law_holds_for_numbered_pages() {
    one_quiet_pull_makes_the_table_equal_its_source(&[NUMBERS, COUNTED, OFFSETS, WINDOWS], 512);
}

#[test]
fn the_law_holds_for_last_ids_and_keysets() {
    one_quiet_pull_makes_the_table_equal_its_source(&[LAST_ID, KEYSET], 512);
}

#[test]
fn the_law_holds_for_searches_and_counts_in_headers() {
    one_quiet_pull_makes_the_table_equal_its_source(&[SEARCH, SEARCH_IDS, HEADERS], 512);
}
