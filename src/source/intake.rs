//! Rows go in one by one and come out as record batches: each is checked against its columns, its key and the versions of it seen
//! before, and the cursor is followed on the way.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry},
    hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray},
    datatypes::{DataType, Date32Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};

use super::{
    columns::{Column, Origin, Rows, Type},
    deletes::Seeing,
    error::SourceError,
    held::Held,
    http::settings::CursorFormat,
    json::{Json, JsonRows},
    pull::{Deletions, written},
    quarantine::Aside,
    rows::{ArrayColumn, Page, PageRows, Row},
    settings::{OnBadValue, Stream, Write},
    values::{Cell, DAY, Misfit},
};
use crate::config::nearest;

/// A chunk is merged when it has this many rows …
pub(crate) const CHUNK_ROWS: usize = 100_000;
/// … or came from this many bytes.
const CHUNK_BYTES: usize = 64 << 20;
/// Of a first load the first one is that much smaller, and the next ones grow: what is written beside reading need not be written after
/// it. Later, every chunk may write every file of the table anew: the fewer the better.
const FIRST_CHUNK: usize = 4;
/// Rows that are written as they come take no memory: they make chunks that much larger.
const APPENDED: usize = 10;
/// How many rows are closed to be written as they come.
const BATCH: usize = 8192;

/// The greatest cursor value so far, and the source's own writing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    pub(crate) at: i64,
    pub(crate) literal: String,
}

/// What has come in during one pass over the pages.
#[derive(Debug)]
pub(crate) struct Intake {
    stream: Arc<Stream>,
    pulled_at: i64,
    /// The cursor never passes this instant.
    pub(crate) bound: i64,
    rows: Rows,
    /// Closed batches, and how many rows they hold.
    batches: Vec<RecordBatch>,
    batched: usize,
    bytes: usize,
    chunk_rows: usize,
    /// What the sizes of the coming chunk are divided by.
    smaller: usize,
    /// Each key's digest, and the newest version of it by the cursor; where something depends on it.
    versions: HashMap<u128, i64, BuildHasherDefault<Folded>>,
    remembers: bool,
    /// Whether no key can come twice.
    pub(crate) each_once: bool,
    /// What another stream lists as deleted.
    pub(crate) deletions: Option<Arc<Deletions>>,
    /// Fields nobody declared; none until a page holds some.
    undeclared: BTreeSet<String>,
    /// Columns whose field was in no row of a page.
    absent: BTreeSet<String>,
    /// What is known of the fields that rows may leave out, by column.
    pub(crate) held: BTreeMap<String, Held>,
    /// Types that hold what the columns at these positions cannot.
    pub(crate) wider: BTreeMap<usize, Type>,
    declared: HashSet<String>,
    /// Rows that came.
    pub(crate) received: u64,
    /// Bytes of the pages they came in.
    pub(crate) volume: u64,
    /// Rows that went on into the table.
    pub(crate) kept: u64,
    /// Rows whose key could not be read.
    unkeyed: u64,
    /// Pages that came.
    pub(crate) pages: u64,
    /// The most rows that a page announced.
    pub(crate) announced: Option<u64>,
    /// The greatest cursor value that the next pull may begin from.
    pub(crate) reached: Option<Reached>,
    /// Whether rows came again because they had changed meanwhile, and may have pushed others past the reader: the least cursor value
    /// that such a row had before.
    pub(crate) moved: Option<i64>,
    /// Rows set aside since the last chunk.
    pub(crate) aside: Vec<Aside>,
    /// Rows set aside in all.
    pub(crate) quarantined: u64,
}

impl Intake {
    /// An empty intake. `remembers`: every key is kept in mind, because missing ones will be counted or marked, or must not come twice.
    pub(crate) fn new(stream: Arc<Stream>, pulled_at: i64, bound: i64, chunk_rows: usize, remembers: bool) -> Self {
        let (stream_key_empty, replaces) = (stream.key.is_empty(), stream.write == Write::Replace);
        let declared = stream.columns.list.iter().flat_map(|column| match &column.origin {
            Origin::Field(name, path) => [Some(name.clone()), path.first().cloned()],
            _ => [None, None],
        });
        Self {
            declared: declared.flatten().collect(),
            rows: Rows::new(&stream.columns),
            batches: Vec::new(),
            batched: 0,
            stream,
            pulled_at,
            bound,
            bytes: 0,
            chunk_rows,
            smaller: 1,
            each_once: stream_key_empty,
            versions: HashMap::default(),
            remembers: remembers || (replaces && !stream_key_empty),
            deletions: None,
            undeclared: BTreeSet::new(),
            absent: BTreeSet::new(),
            held: BTreeMap::new(),
            wider: BTreeMap::new(),
            received: 0,
            volume: 0,
            kept: 0,
            unkeyed: 0,
            pages: 0,
            announced: None,
            reached: None,
            moved: None,
            aside: Vec::new(),
            quarantined: 0,
        }
    }

    /// For a table that holds nothing yet.
    pub(crate) fn begins_small(&mut self) {
        self.smaller = FIRST_CHUNK;
    }

    /// What of the source differs from what is declared; `None` where nothing does.
    pub(crate) fn drift(&self) -> Option<String> {
        let listed = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let wide = self.stream.columns.list.iter().filter(|column| column.declared.is_some());
        let wide: BTreeSet<String> = wide.map(|column| format!("{} is {}", column.name, column.kind)).collect();
        let told = [("not declared", &self.undeclared), ("in no row of a page", &self.absent), ("widened", &wide)];
        let told: Vec<String> =
            told.iter().filter(|(_, names)| !names.is_empty()).map(|(what, names)| format!("{what}: {}", listed(names))).collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// How many different rows came, by key; those whose key cannot be read count each.
    pub(crate) fn different(&self) -> u64 {
        self.versions.len() as u64 + self.unkeyed
    }

    /// Whether a row whose key has this digest has come.
    pub(crate) fn has(&self, key: u128) -> bool {
        self.versions.contains_key(&key)
    }

    /// Whether any key has come.
    pub(crate) fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The cursor value below which every row has come, although some changed while numbered pages were read: in ascending order, a row
    /// that moves to the end can only have pulled along those behind it.
    pub(crate) fn whole_below(&self) -> Option<Reached> {
        let at = self.moved.filter(|at| *at > i64::MIN + 1 && *at <= self.bound)?;
        let timed = self.stream.cursor.as_ref()?.timed;
        let literal = if timed { written(at, CursorFormat::Rfc3339, None) } else { at.to_string() };
        Some(Reached { at, literal })
    }

    /// Whether the chunk is large enough to be merged, or, where its rows are written as they come, to be committed.
    pub(crate) fn is_full(&self, appends: bool) -> bool {
        if appends {
            return self.batched + self.rows.len() + self.aside.len() >= self.chunk_rows * APPENDED;
        }
        self.batched + self.rows.len() + self.aside.len() >= self.chunk_rows / self.smaller || self.bytes >= CHUNK_BYTES / self.smaller
    }

    /// What has been closed of the rows since the last chunk, in the order they came, to be written before the chunk is full.
    pub(crate) fn drain(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        if self.rows.len() >= BATCH {
            self.gather()?;
        }
        Ok(std::mem::take(&mut self.batches))
    }

    /// The rows since the last chunk, or what is left of them, in the order they came.
    pub(crate) fn chunk(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        self.bytes = 0;
        self.smaller = (self.smaller / 2).max(1);
        self.gather()?;
        self.batched = 0;
        Ok(std::mem::take(&mut self.batches))
    }

    /// Closes the rows that came one by one, so that a batch can follow them.
    fn gather(&mut self) -> Result<(), ArrowError> {
        if self.rows.len() > 0 {
            self.batched += self.rows.len();
            self.batches.push(self.rows.take()?);
        }
        Ok(())
    }

    /// Takes in a page.
    ///
    /// # Errors
    /// At the first row that does not fit, where the stream does not set such rows aside.
    pub(crate) fn take(&mut self, page: &Page) -> Result<(), SourceError> {
        self.pages += 1;
        self.bytes += page.bytes;
        self.volume += page.bytes as u64;
        // Without the keys, nobody could tell how many different rows came.
        if self.remembers {
            self.announced = self.announced.max(page.announced);
        }
        let stream = Arc::clone(&self.stream);
        if let PageRows::Arrays { columns, rows, .. } = &page.rows
            && self
                .whole_batch(&stream, columns, *rows)
                .map_err(|error| SourceError::Broken { at: stream.name.clone(), reason: error.to_string() })?
        {
            return Ok(());
        }
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(stream.columns.list.len() + 2);
        let mut fields = vec![Counted::default(); stream.columns.list.len()];
        for position in 0..page.rows.len() {
            let row = page.rows.row(position);
            self.received += 1;
            cells.clear();
            if let Err((key, misfit)) = self.row(&stream, row, &mut cells, &mut fields) {
                let key = key.unwrap_or_else(|| row.place(self.received));
                match stream.on_bad_value {
                    OnBadValue::Widen if self.widens(&stream, row, &misfit) => {}
                    OnBadValue::Stop | OnBadValue::Widen => {
                        return Err(SourceError::BadValue { at: stream.name.clone(), key, misfit: misfit.into() });
                    }
                    OnBadValue::Quarantine => {
                        let Misfit { field, reason, .. } = misfit;
                        self.quarantined += 1;
                        self.aside.push(Aside { key, field, reason, row: row.json(&stream.columns.list) });
                    }
                }
            }
        }
        self.report(&page.rows, &fields)
    }

    /// Whether the column could have a type that holds the value as well as all that is there; notes which. A key or a cursor keeps its
    /// type: what is compared with it elsewhere has none other.
    fn widens(&mut self, stream: &Stream, row: Row<'_>, misfit: &Misfit) -> bool {
        let list = &stream.columns.list;
        let Some(position) = list.iter().position(|column| column.name == misfit.field) else { return false };
        if stream.compares(position) {
            return false;
        }
        let column = &list[position];
        let so_far = self.wider.get(&position).unwrap_or(&column.kind);
        match row.wider(position, column).and_then(|kind| so_far.join(&kind)).filter(|kind| *kind != column.kind) {
            Some(kind) => {
                self.wider.insert(position, kind);
                true
            }
            None => false,
        }
    }

    /// Takes a page of arrays as it is, without a look at its single values, where nothing depends on them: every value fits, no key or
    /// cursor is missing, and no key can come twice. Says whether it did.
    fn whole_batch(&mut self, stream: &Stream, columns: &[ArrayColumn], rows: usize) -> Result<bool, ArrowError> {
        let complete = |position: &usize| columns[*position].array.null_count() == 0;
        let plain = self.each_once
            && !self.remembers
            && self.deletions.is_none()
            && columns.iter().all(|column| column.misfits.is_empty())
            && stream.key.iter().all(complete)
            && stream.cursor.as_ref().is_none_or(|cursor| complete(&cursor.column));
        if !plain {
            return Ok(false);
        }
        if let Some(cursor) = &stream.cursor {
            self.reach(columns[cursor.column].array.as_ref(), cursor.timed);
        }
        let mut arrays: Vec<ArrayRef> = columns.iter().map(|column| Arc::clone(&column.array)).collect();
        arrays.push(Arc::new(TimestampMicrosecondArray::from(vec![self.pulled_at; rows]).with_timezone("UTC")));
        if stream.columns.schema.fields().len() > arrays.len() {
            let deleted: TimestampMicrosecondArray = match stream.deletes {
                Seeing::Flag(position) => match columns[position].array.data_type() {
                    DataType::Boolean => {
                        let flags = columns[position].array.as_boolean();
                        (0..rows).map(|row| (flags.is_valid(row) && flags.value(row)).then_some(self.pulled_at)).collect()
                    }
                    _ => columns[position].array.as_primitive::<TimestampMicrosecondType>().clone(),
                },
                _ => vec![None::<i64>; rows].into(),
            };
            arrays.push(Arc::new(deleted.with_timezone("UTC")));
        }
        self.gather()?;
        self.batches.push(RecordBatch::try_new(Arc::clone(&stream.columns.schema), arrays)?);
        self.batched += rows;
        self.received += rows as u64;
        self.kept += rows as u64;
        Ok(true)
    }

    /// Follows the cursor over a column without nulls.
    fn reach(&mut self, column: &dyn Array, timed: bool) {
        let bound = if timed { self.bound } else { i64::MAX };
        let greatest = |values: &mut dyn Iterator<Item = i64>| values.filter(|value| *value <= bound).max();
        let at = match column.data_type() {
            DataType::Int64 => greatest(&mut column.as_primitive::<Int64Type>().values().iter().copied()),
            DataType::Date32 => greatest(&mut column.as_primitive::<Date32Type>().values().iter().map(|days| i64::from(*days) * DAY)),
            DataType::Timestamp(..) => greatest(&mut column.as_primitive::<TimestampMicrosecondType>().values().iter().copied()),
            _ => None,
        };
        if let Some(at) = at
            && self.reached.as_ref().is_none_or(|reached| at > reached.at)
        {
            self.reached = Some(Reached { at, literal: literal(at, column.data_type()) });
        }
    }

    /// Reads one row into `cells` and keeps it; or says whose row it is and what does not fit.
    fn row<'a>(
        &mut self,
        stream: &Stream,
        row: Row<'a>,
        cells: &mut Vec<Cell<'a>>,
        fields: &mut [Counted],
    ) -> Result<(), (Option<String>, Misfit)> {
        let list = &stream.columns.list;
        cells.resize(list.len(), Cell::Null);
        for position in &stream.key {
            let column = &list[*position];
            let cell = row.cell(*position, column).map(|cell| cell.unwrap_or(Cell::Null)).and_then(|cell| match cell {
                Cell::Null => Err(Misfit::new(&column.name, "is missing, and it is part of the key", "null")),
                cell => Ok(cell),
            });
            match cell {
                Ok(cell) => cells[*position] = cell,
                Err(misfit) => {
                    self.unkeyed += 1;
                    return Err((None, misfit));
                }
            }
        }
        // Known before the other fields are read: a row with one bad field has come all the same.
        let digested = !stream.key.is_empty() && (self.remembers || self.deletions.is_some());
        let key = digested.then(|| digest(stream.key.iter().map(|position| &cells[*position])));
        let remembered = key.filter(|_| self.remembers);
        let earlier = remembered.and_then(|key| match self.versions.entry(key) {
            Entry::Occupied(known) => Some(*known.get()),
            Entry::Vacant(new) => {
                new.insert(i64::MIN);
                None
            }
        });
        for (position, column) in list.iter().enumerate() {
            if stream.key.contains(&position) {
                continue;
            }
            match row.cell(position, column) {
                Ok(Some(cell)) => {
                    cells[position] = cell;
                    fields[position].with += 1;
                }
                Ok(None) => fields[position].without += 1,
                Err(misfit) => return Err((label(stream, row, cells), misfit)),
            }
        }
        let mut version = i64::MIN + 1;
        if let Some(cursor) = &stream.cursor {
            let column = &list[cursor.column];
            match instant_of(&cells[cursor.column]) {
                Some(at) => version = at,
                None => {
                    let misfit = Misfit::new(&column.name, "is missing, and the cursor follows it", "null");
                    return Err((label(stream, row, cells), misfit));
                }
            }
            let within = !cursor.timed || version <= self.bound;
            if within && self.reached.as_ref().is_none_or(|reached| version > reached.at) {
                let literal = row.literal(cursor.column, column).unwrap_or_else(|| literal(version, &column.kind.arrow()));
                self.reached = Some(Reached { at: version, literal });
            }
        }
        if let Some(key) = remembered {
            if let Some(earlier) = earlier.filter(|earlier| version > *earlier || stream.cursor.is_none()) {
                self.moved = Some(self.moved.map_or(earlier, |moved| moved.min(earlier)));
            }
            match earlier {
                // An older version of a row that has already come: pages are no snapshot.
                Some(earlier) if earlier > version => return Ok(()),
                Some(earlier) if stream.write == Write::Replace && earlier > i64::MIN => {
                    let misfit = Misfit::new(&stream.key_names().join(", "), "is the key of an earlier row too", "");
                    return Err((label(stream, row, cells), misfit));
                }
                _ => {}
            }
            self.versions.insert(key, version);
        }
        let deleted = match stream.deletes {
            Seeing::Flag(position) => match &cells[position] {
                Cell::Timestamp(at) => Cell::Timestamp(*at),
                Cell::Boolean(true) => Cell::Timestamp(self.pulled_at),
                _ => Cell::Null,
            },
            _ => {
                let changed = stream.cursor.as_ref().filter(|cursor| cursor.timed).map(|_| version);
                let since = self.deletions.as_ref().zip(key).and_then(|(deletions, key)| deletions.since(key, changed));
                since.map_or(Cell::Null, Cell::Timestamp)
            }
        };
        cells.push(Cell::Timestamp(self.pulled_at));
        cells.push(deleted);
        self.rows.push(cells.iter());
        self.kept += 1;
        Ok(())
    }

    /// Says once which fields nobody declared, and which declared ones no row of a page holds.
    ///
    /// # Errors
    /// Where a field is gone that had always been there.
    fn report(&mut self, rows: &PageRows, fields: &[Counted]) -> Result<(), SourceError> {
        if rows.len() == 0 {
            return Ok(());
        }
        if self.undeclared.is_empty() {
            let looked = if self.pages == 1 { rows.len() } else { 1 };
            let unknown: BTreeSet<&str> =
                (0..looked).flat_map(|position| rows.row(position).names()).filter(|name| !self.declared.contains(*name)).collect();
            if !unknown.is_empty() {
                let kept = self.stream.columns.list.iter().any(|column| matches!(column.origin, Origin::Extra(_)));
                let what = if kept { "kept in `_extra`" } else { "left out" };
                let fields = unknown.iter().copied().collect::<Vec<_>>().join(", ");
                tracing::info!(stream = %self.stream.name, count = unknown.len(), fields, "the source holds fields that are not declared; they are {what}");
            }
            self.undeclared = unknown.into_iter().map(str::to_owned).collect();
        }
        let stream = Arc::clone(&self.stream);
        for (position, Counted { with, without }) in fields.iter().enumerate().filter(|(_, counted)| counted.with + counted.without > 0) {
            let column = &stream.columns.list[position];
            let counts = matches!(column.origin, Origin::Field(..)) && !column.optional && !stream.compares(position);
            if !counts || !rows.row(0).is_json() {
                continue;
            }
            let held = self.held.entry(column.name.clone()).or_insert(Held::Always { rows: 0, without: 0 });
            *held = held.after(*with, *without);
            if held.is_gone() {
                return Err(gone(&stream, column, rows.row(0), self.received + 1 - rows.len() as u64));
            }
            if *with == 0 && self.absent.insert(column.name.clone()) {
                tracing::warn!(stream = %stream.name, column = column.name, "a declared field is in no row of this page; it stays empty");
            }
        }
        Ok(())
    }
}

/// How many rows of a page hold a field, and how many do not.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    with: u64,
    without: u64,
}

/// The error of a field that is gone, with the first row of the page, whose `nth` of the pull it is.
fn gone(stream: &Stream, column: &Column, row: Row<'_>, nth: u64) -> SourceError {
    let mut cells = vec![Cell::Null; stream.columns.list.len()];
    for position in &stream.key {
        if let Ok(Some(cell)) = row.cell(*position, &stream.columns.list[*position]) {
            cells[*position] = cell;
        }
    }
    let names: Vec<&str> = row.names().collect();
    let field = if let Origin::Field(field, _) = &column.origin { field.clone() } else { column.name.clone() };
    SourceError::Gone {
        at: stream.name.clone(),
        column: column.name.clone(),
        key: label(stream, row, &cells).unwrap_or_else(|| row.place(nth)),
        instead: nearest(&field, names.iter().copied()).map(str::to_owned),
        holds: names.join(", "),
        field,
    }
}

/// A cursor value of an array, which has no writing of its own, to the last digit.
fn literal(at: i64, kind: &DataType) -> String {
    match (kind, DateTime::from_timestamp_micros(at)) {
        (DataType::Timestamp(..), Some(at)) => at.to_rfc3339_opts(SecondsFormat::Micros, true),
        (DataType::Date32, Some(at)) => at.format("%Y-%m-%d").to_string(),
        _ => at.to_string(),
    }
}

/// The value the cursor follows: microseconds for instants and dates, the number itself for integers.
pub(crate) fn instant_of(cell: &Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Timestamp(micros) => Some(*micros),
        Cell::Date(days) => Some(i64::from(*days) * DAY),
        Cell::Integer(number) => Some(*number),
        _ => None,
    }
}

/// The key as people read it; `None` where the stream has none.
fn label(stream: &Stream, row: Row<'_>, cells: &[Cell<'_>]) -> Option<String> {
    if stream.key.is_empty() {
        return None;
    }
    let parts = stream.key.iter().map(|position| {
        let column = &stream.columns.list[*position];
        match (&cells[*position], &column.kind) {
            (Cell::Text(text), _) => text.to_string(),
            (Cell::Integer(number), _) => number.to_string(),
            (_, Type::Timestamp | Type::Date | Type::Decimal(..)) => row.literal(*position, column).unwrap_or_default(),
            (cell, _) => format!("{cell:?}"),
        }
    });
    Some(parts.collect::<Vec<_>>().join("/"))
}

/// 128 bits of a key: two keys with one digest will not happen.
pub(crate) fn digest<'a>(cells: impl Iterator<Item = &'a Cell<'a>> + Clone) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        for cell in cells.clone() {
            cell.hash(&mut hasher);
        }
        u128::from(hasher.finish())
    };
    half(1) << 64 | half(2)
}

/// A hash of what is a digest already.
#[derive(Debug, Clone, Copy, Default)]
struct Folded(u64);

impl Hasher for Folded {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, digest: u128) {
        // Both halves are hashes themselves.
        self.0 = u64::try_from(digest >> 64).unwrap_or_default();
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// The cursor value of a JSON row, where it has one.
pub(crate) fn reached(stream: &Stream, value: Json<'_>) -> Option<Reached> {
    let position = stream.cursor.as_ref()?.column;
    let (row, column) = (Row::Json { value, place: None }, &stream.columns.list[position]);
    let at = instant_of(&row.cell(position, column).ok()??)?;
    Some(Reached { at, literal: row.literal(position, column)? })
}

/// The key of a JSON row as its source writes it.
pub(crate) fn named(stream: &Stream, value: Json<'_>) -> String {
    let row = Row::Json { value, place: None };
    let parts = stream.key.iter().map(|position| row.literal(*position, &stream.columns.list[*position]).unwrap_or_default());
    parts.collect::<Vec<_>>().join("/")
}

/// A digest of a page's rows by key and cursor, to notice a page that comes twice.
pub(crate) fn page_digest(stream: &Stream, rows: &JsonRows) -> u64 {
    let mut hasher = DefaultHasher::new();
    for value in rows.iter() {
        for position in stream.key.iter().copied().chain(stream.cursor.iter().map(|cursor| cursor.column)) {
            let row = Row::Json { value, place: None };
            row.literal(position, &stream.columns.list[position]).hash(&mut hasher);
        }
    }
    hasher.finish()
}
