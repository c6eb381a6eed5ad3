//! PostgreSQL's binary `COPY` format (<https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format") into columns of Arrow.

use std::collections::BTreeMap;

use arrow::{datatypes::DataType, error::ArrowError};
use chrono::DateTime;

use crate::source::{
    columns::{Builder, Column, Type},
    rows::ArrayColumn,
    values::{self, Cell, Misfit},
};

/// How a column comes over the wire; the statement casts whatever is none of these to text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// UTF-8, taken as it is.
    Text,
    /// UTF-8, read by the rules of text everywhere.
    Parsed,
    /// `bigint`
    Integer,
    /// `double precision`
    Float,
    /// `numeric`
    Numeric,
    /// `boolean`
    Boolean,
    /// `date`
    Date,
    /// `timestamptz`
    Instant,
    /// `timestamp`, in the column's declared zone.
    Local,
}

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// From 1970 to 2000, where PostgreSQL counts from.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// Rows on their way from the wire into arrays.
#[derive(Debug)]
pub(crate) struct Decoder<'a> {
    columns: &'a [(Column, Form)],
    builders: Vec<Builder>,
    misfits: Vec<BTreeMap<usize, Misfit>>,
    /// Bytes of a row that has not come whole yet.
    rest: Vec<u8>,
    begun: bool,
    ended: bool,
    rows: usize,
    pub(crate) bytes: usize,
}

/// The stream does not keep the format: the connection has to be given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the server's answer cannot be read: {0}")]
pub(crate) struct Garbled(&'static str);

impl<'a> Decoder<'a> {
    /// Before the first byte.
    pub(crate) fn new(columns: &'a [(Column, Form)]) -> Self {
        Self {
            columns,
            builders: columns.iter().map(|(column, _)| Builder::new(&column.kind)).collect(),
            misfits: vec![BTreeMap::new(); columns.len()],
            rest: Vec::new(),
            begun: false,
            ended: false,
            rows: 0,
            bytes: 0,
        }
    }

    /// How many rows have come since the last `take`.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the server said that this was all.
    pub(crate) fn ended(&self) -> bool {
        self.ended && self.rest.is_empty()
    }

    /// Takes the next bytes of the stream, wherever they were cut.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<(), Garbled> {
        self.bytes += bytes.len();
        if self.rest.is_empty() {
            let used = self.read(bytes)?;
            self.rest.extend_from_slice(&bytes[used..]);
        } else {
            let mut all = std::mem::take(&mut self.rest);
            all.extend_from_slice(bytes);
            let used = self.read(&all)?;
            all.drain(..used);
            self.rest = all;
        }
        Ok(())
    }

    /// The rows so far as arrays; starts again empty.
    pub(crate) fn take(&mut self) -> Result<(usize, Vec<ArrayColumn>), ArrowError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        let columns = self.builders.iter_mut().zip(&mut self.misfits);
        let columns = columns.map(|(builder, misfits)| Ok(ArrayColumn { array: builder.finish()?, misfits: std::mem::take(misfits) }));
        Ok((rows, columns.collect::<Result<_, ArrowError>>()?))
    }

    /// Reads whole rows; says how many bytes they took.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, Garbled> {
        let mut wire = Wire { bytes, at: 0 };
        if !self.begun {
            let Some(head) = wire.bytes(SIGNATURE.len()) else { return Ok(0) };
            if head != SIGNATURE {
                return Err(Garbled("it is no binary copy"));
            }
            let (Some(_flags), Some(extension)) = (wire.i32(), wire.i32()) else { return Ok(0) };
            let extension = usize::try_from(extension).map_err(|_| Garbled("its header has a negative length"))?;
            if wire.bytes(extension).is_none() {
                return Ok(0);
            }
            self.begun = true;
        }
        loop {
            let used = wire.at;
            if self.ended {
                return if used == bytes.len() { Ok(used) } else { Err(Garbled("bytes follow its end")) };
            }
            if !self.row(&mut wire)? {
                return Ok(used);
            }
        }
    }

    /// Reads one row, if it has come whole.
    fn row(&mut self, wire: &mut Wire<'_>) -> Result<bool, Garbled> {
        match wire.i16() {
            None => return Ok(false),
            Some(-1) => {
                self.ended = true;
                return Ok(true);
            }
            Some(count) if usize::try_from(count) != Ok(self.columns.len()) => return Err(Garbled("a row has another number of columns")),
            Some(_) => {}
        }
        // Looked through before anything is taken: a row is taken whole or not at all.
        let mut ahead = *wire;
        for _ in self.columns {
            match ahead.i32() {
                None => return Ok(false),
                Some(-1) => {}
                Some(length) => {
                    let length = usize::try_from(length).map_err(|_| Garbled("a value has a negative length"))?;
                    if ahead.bytes(length).is_none() {
                        return Ok(false);
                    }
                }
            }
        }
        for (position, (column, form)) in self.columns.iter().enumerate() {
            let value = wire.i32().and_then(|length| usize::try_from(length).ok()).and_then(|length| wire.bytes(length));
            let builder = &mut self.builders[position];
            let Some(value) = value else {
                builder.push(&Cell::Null);
                continue;
            };
            if plain(builder, *form, value) {
                continue;
            }
            match cell(column, *form, value)? {
                Ok(cell) => builder.push(&cell),
                Err(misfit) => {
                    self.misfits[position].insert(self.rows, misfit);
                    builder.push(&Cell::Null);
                }
            }
        }
        self.rows += 1;
        Ok(true)
    }
}

/// Bytes read from the front.
#[derive(Debug, Clone, Copy)]
struct Wire<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Wire<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }
}

/// Takes a value that is as most are; whatever it leaves, [`cell`] reads. It is what a load of a large table waits for.
fn plain(builder: &mut Builder, form: Form, value: &[u8]) -> bool {
    match (builder, form) {
        (Builder::Text(builder), Form::Text) => std::str::from_utf8(value).map(|text| builder.append_value(text)).is_ok(),
        (Builder::Integer(builder), Form::Integer) => value.try_into().map(|bytes| builder.append_value(i64::from_be_bytes(bytes))).is_ok(),
        (Builder::Timestamp(builder), Form::Instant) => {
            let micros = value.try_into().map(i64::from_be_bytes).ok().filter(|micros| !matches!(*micros, i64::MIN | i64::MAX));
            micros.map(|micros| builder.append_value(micros.saturating_add(EPOCH_MICROS))).is_some()
        }
        (Builder::Decimal(builder, DataType::Decimal128(precision, scale)), Form::Numeric) => {
            let number = Numeric::read(&mut Wire { bytes: value, at: 0 });
            let unscaled = number.zip(u8::try_from(*scale).ok()).and_then(|(number, scale)| number.unscaled(*precision, scale));
            unscaled.map(|unscaled| builder.append_value(unscaled)).is_some()
        }
        _ => false,
    }
}

fn cell<'a>(column: &Column, form: Form, value: &'a [u8]) -> Result<Result<Cell<'a>, Misfit>, Garbled> {
    let short = Garbled("a value is too short");
    let misfit = |reason: &str, value: &str| Ok(Err(Misfit::new(&column.name, reason, value)));
    let mut wire = Wire { bytes: value, at: 0 };
    Ok(Ok(match form {
        Form::Text | Form::Parsed => {
            let Ok(text) = std::str::from_utf8(value) else {
                return misfit("holds characters that are not UTF-8", &String::from_utf8_lossy(value));
            };
            if form == Form::Text {
                Cell::Text(text.into())
            } else {
                return Ok(values::from_text(&column.kind, &column.rules, &column.name, text));
            }
        }
        Form::Integer => Cell::Integer(i64::from_be_bytes(wire.array().ok_or(short)?)),
        Form::Float => {
            let number = f64::from_be_bytes(wire.array().ok_or(short)?);
            if !number.is_finite() {
                return misfit("is not a number", &number.to_string());
            }
            Cell::Float(number)
        }
        Form::Boolean => Cell::Boolean(wire.bytes(1).ok_or(short)? != [0]),
        Form::Date => match i32::from_be_bytes(wire.array().ok_or(short)?) {
            i32::MIN | i32::MAX => return misfit("is no date that a calendar has", "infinity"),
            days => Cell::Date(days + EPOCH_DAYS),
        },
        Form::Instant | Form::Local => match i64::from_be_bytes(wire.array().ok_or(short)?) {
            i64::MIN | i64::MAX => return misfit("is no instant that a clock shows", "infinity"),
            micros if form == Form::Instant => Cell::Timestamp(micros.saturating_add(EPOCH_MICROS)),
            micros => {
                let local = DateTime::from_timestamp_micros(micros.saturating_add(EPOCH_MICROS)).map(|at| at.naive_utc());
                let Some(local) = local else { return misfit("is no instant that a clock shows", &micros.to_string()) };
                return Ok(values::in_zone(local, column.rules.zone)
                    .map(Cell::Timestamp)
                    .map_err(|reason| Misfit::new(&column.name, reason, &local.to_string())));
            }
        },
        Form::Numeric => {
            let number = Numeric::read(&mut wire).ok_or(short)?;
            if let Type::Decimal(precision, scale) = column.kind
                && let Some(unscaled) = number.unscaled(precision, scale)
            {
                Cell::Decimal(unscaled)
            } else {
                // Rounding, and saying why a number does not fit, are the same as everywhere.
                let text = number.text();
                return Ok(values::from_text(&column.kind, &column.rules, &column.name, &text).map(values::owned));
            }
        }
    }))
}

/// A power of ten, where it fits.
fn power(exponent: u32) -> Option<i128> {
    const POWERS: [i128; 39] = {
        let mut powers = [1; 39];
        let mut at = 1;
        while at < powers.len() {
            powers[at] = powers[at - 1] * 10;
            at += 1;
        }
        powers
    };
    POWERS.get(usize::try_from(exponent).ok()?).copied()
}

/// A `numeric`: digits to the base of 10,000.
struct Numeric<'a> {
    /// The exponent of the first digit.
    weight: i32,
    sign: u16,
    digits: &'a [u8],
    /// Decimal places shown.
    scale: u16,
}

impl<'a> Numeric<'a> {
    const NEGATIVE: u16 = 0x4000;

    fn read(wire: &mut Wire<'a>) -> Option<Self> {
        let count = usize::try_from(wire.i16()?).ok()?;
        let weight = i32::from(wire.i16()?);
        let sign = u16::from_be_bytes(wire.array()?);
        let scale = u16::from_be_bytes(wire.array()?);
        Some(Self { weight, sign, digits: wire.bytes(count * 2)?, scale })
    }

    fn digits(&self) -> impl Iterator<Item = u16> {
        self.digits.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }

    /// The number without its point, where it has no more decimal places than `scale` and fits.
    fn unscaled(&self, precision: u8, scale: u8) -> Option<i128> {
        if self.sign != 0 && self.sign != Self::NEGATIVE {
            return None;
        }
        let mut number: i128 = 0;
        for digit in self.digits() {
            number = number.checked_mul(10_000)?.checked_add(digit.into())?;
        }
        // Decimal places of the last digit that are wanted beyond its own, or that it has too many.
        let last = i32::try_from(self.digits.len() / 2).ok()? - 1;
        let exponent = (self.weight - last) * 4 + i32::from(scale);
        match power(exponent.unsigned_abs()) {
            Some(power) if exponent >= 0 => number = number.checked_mul(power)?,
            Some(power) if number % power == 0 => number /= power,
            None if number == 0 => {}
            Some(_) | None => return None,
        }
        (number < power(precision.into())?).then_some(if self.sign == Self::NEGATIVE { -number } else { number })
    }

    fn text(&self) -> String {
        match self.sign {
            0 | Self::NEGATIVE => {}
            0xD000 => return "Infinity".to_owned(),
            0xF000 => return "-Infinity".to_owned(),
            _ => return "NaN".to_owned(),
        }
        let mut text = if self.sign == Self::NEGATIVE { "-".to_owned() } else { String::new() };
        let digits: Vec<u16> = self.digits().collect();
        let at = |position: i32| usize::try_from(position).ok().and_then(|position| digits.get(position)).copied().unwrap_or(0);
        if self.weight < 0 {
            text.push('0');
        }
        for position in 0..=self.weight {
            text.push_str(&if position == 0 { at(position).to_string() } else { format!("{:04}", at(position)) });
        }
        if self.scale > 0 {
            let groups = i32::from(self.scale).div_euclid(4) + 1;
            let fraction: String = (1..=groups).map(|group| format!("{:04}", at(self.weight + group))).collect();
            text.push('.');
            text.push_str(&fraction[..usize::from(self.scale)]);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Array, AsArray},
        datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType},
    };
    use proptest::prelude::*;

    use super::*;
    use crate::source::columns::{Origin, Rules};

    fn column(name: &str, kind: Type) -> Column {
        Column::new(name, Origin::Field(name.to_owned(), vec![name.to_owned()]), kind)
    }

    fn row(values: &[Option<Vec<u8>>]) -> Vec<u8> {
        let mut bytes = i16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
        for value in values {
            match value {
                None => bytes.extend((-1i32).to_be_bytes()),
                Some(value) => {
                    bytes.extend(i32::try_from(value.len()).unwrap().to_be_bytes());
                    bytes.extend(value);
                }
            }
        }
        bytes
    }

    fn numeric(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Vec<u8> {
        let mut bytes = i16::try_from(digits.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(weight.to_be_bytes());
        bytes.extend(sign.to_be_bytes());
        bytes.extend(scale.to_be_bytes());
        bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
        bytes
    }

    fn whole(rows: &[Vec<u8>]) -> Vec<u8> {
        [SIGNATURE, &[0; 8], &rows.concat(), &(-1i16).to_be_bytes()].concat()
    }

    #[test]
    fn numerics_are_exact_or_say_why_not() {
        let columns = [(column("total", Type::Decimal(18, 4)), Form::Numeric)];
        // 12345.678, -0.0001, 100000000, 0.00001, NaN
        let rows = [
            numeric(1, 0, 3, &[1, 2345, 6780]),
            numeric(-1, 0x4000, 4, &[1]),
            numeric(2, 0, 0, &[1]),
            numeric(-2, 0, 5, &[1000]),
            numeric(0, 0xC000, 0, &[]),
        ];
        let mut decoder = Decoder::new(&columns);
        decoder.feed(&whole(&rows.map(|number| row(&[Some(number)])))).unwrap();
        assert!(decoder.ended());
        let (count, arrays) = decoder.take().unwrap();
        let total = arrays[0].array.as_primitive::<Decimal128Type>();
        assert_eq!((count, total.value(0), total.value(1), total.value(2)), (5, 123_456_780, -1, 1_000_000_000_000));
        assert_eq!(arrays[0].misfits[&3].reason, "has more than 4 decimal places; declare more, or `round = true`");
        assert_eq!(arrays[0].misfits[&3].value, "0.00001");
        assert_eq!((arrays[0].misfits[&4].reason.as_str(), arrays[0].misfits[&4].value.as_str()), ("is not a number", "NaN"));
    }

    proptest! {
        /// Wherever the stream is cut, the same rows come out.
        #[test]
        fn cuts_change_nothing(
            rows in proptest::collection::vec((any::<i64>(), proptest::option::of("[a-zä]{0,9}"), -1_000_000_000i64..1_000_000_000), 0..20),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let columns = [
                (column("id", Type::Integer), Form::Integer), (column("name", Type::Text), Form::Text), (column("at", Type::Timestamp), Form::Instant),
            ];
            let bytes = whole(&rows.iter().map(|(id, name, at)| row(&[
                Some(id.to_be_bytes().to_vec()), name.clone().map(String::into_bytes), Some(at.to_be_bytes().to_vec()),
            ])).collect::<Vec<_>>());
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            let mut decoder = Decoder::new(&columns);
            let mut from = 0;
            for to in cuts.into_iter().chain([bytes.len()]) {
                decoder.feed(&bytes[from..to]).unwrap();
                from = to;
            }
            prop_assert!(decoder.ended());
            let (count, arrays) = decoder.take().unwrap();
            prop_assert_eq!(count, rows.len());
            for (position, (id, name, at)) in rows.iter().enumerate() {
                prop_assert_eq!(arrays[0].array.as_primitive::<Int64Type>().value(position), *id);
                let text = arrays[1].array.as_string::<i32>();
                prop_assert_eq!(text.is_valid(position).then(|| text.value(position)), name.as_deref());
                prop_assert_eq!(arrays[2].array.as_primitive::<TimestampMicrosecondType>().value(position), at + EPOCH_MICROS);
            }
        }

        /// The exact way and the way over text agree.
        #[test]
        fn numbers_read_alike_both_ways(digits in proptest::collection::vec(0u16..10_000, 0..5), weight in -2i16..4, scale in 0u16..9, negative: bool) {
            let bytes = numeric(weight, if negative { 0x4000 } else { 0 }, scale, &digits);
            let number = Numeric::read(&mut Wire { bytes: &bytes, at: 0 }).unwrap();
            // PostgreSQL never sends digits beyond the scale it names.
            let shown = i32::from(scale) + 4 * (i32::from(weight) + 1);
            let sent = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| 4 * (i32::try_from(last).unwrap() + 1));
            prop_assume!(sent <= shown);
            let exact = number.unscaled(38, 12);
            let written = number.text();
            let read = values::from_text(&Type::Decimal(38, 12), &Rules::default(), "n", &written).ok();
            prop_assert_eq!(exact.map(Cell::Decimal), read);
        }

        #[test]
        fn no_bytes_make_the_decoder_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let columns = [(column("n", Type::Decimal(18, 4)), Form::Numeric), (column("t", Type::Text), Form::Text)];
            let mut decoder = Decoder::new(&columns);
            let _ = decoder.feed(&[SIGNATURE, &[0; 8], &bytes].concat());
        }
    }
}
