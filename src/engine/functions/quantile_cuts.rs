//! `quantile_cuts`: where to cut values so that each part holds about as many rows.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array},
    compute::cast,
    datatypes::{DECIMAL128_MAX_PRECISION, DataType, Date32Type, Decimal128Type, Field, FieldRef, Int64Type},
};
use datafusion::{
    common::{exec_err, internal_err, plan_err},
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Documentation, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::format_state_name,
    },
    scalar::ScalarValue,
};

use super::SECTION;

/// So many distinct values are counted one by one. With more, neighbours are counted together.
const DISTINCT: usize = 65_536;
/// The leading binary digits by which values are told apart where there are too many of them: finer than a thousandth.
const DIGITS: u32 = 11;
/// More parts than this are no groups of people any more.
const PARTS: i64 = 1000;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "The n - 1 values that cut the rows into n parts of about the same size, for `bucket`. The k-th cut is the smallest value that is \
         at least as great as k/n of them; nulls do not count. Exact for up to 65,536 distinct values; with more, values closer than one \
         part in a thousand are counted together. It holds counts of values and never the rows themselves, and gives the same cuts in \
         whatever order and however spread the rows come. Null where there is no value.",
        "quantile_cuts(value, n)",
    )
    .with_sql_example(
        "select c.customer_id, bucket(c.orders, q.cuts) as f \
         from customer_features c cross join (select quantile_cuts(orders, 5) as cuts from customer_features) q",
    )
    .with_argument("value", "a whole number, a decimal or a date")
    .with_argument("n", "how many parts, from 2 to 1000")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct QuantileCuts {
    signature: Signature,
}

impl Default for QuantileCuts {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for QuantileCuts {
    fn name(&self) -> &str {
        "quantile_cuts"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, parts] = arg_types else {
            return plan_err!("quantile_cuts takes a value and a number of parts; it got {} arguments", arg_types.len());
        };
        if !parts.is_integer() {
            return plan_err!("quantile_cuts takes a whole number of parts, not {parts}");
        }
        match ordered(value) {
            Some(value) => Ok(vec![value, DataType::Int64]),
            None => plan_err!("quantile_cuts takes whole numbers, decimals and dates, not {value}"),
        }
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types.first() {
            Some(value) => Ok(DataType::List(item(value))),
            None => internal_err!("quantile_cuts without arguments"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, of: DataType| Arc::new(Field::new(format_state_name(args.name, name), of, true));
        Ok(vec![
            field("values", DataType::List(item(&WHOLE))),
            field("counts", DataType::List(item(&DataType::Int64))),
            field("rounded", DataType::Boolean),
            field("parts", DataType::Int64),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let value = args.expr_fields[0].data_type().clone();
        Ok(Box::new(Cuts { value, counts: HashMap::new(), rounded: false, parts: None }))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// A value's unscaled whole number.
const WHOLE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// The type in which values of a type are compared; none where there is no exact one.
pub(super) fn ordered(given: &DataType) -> Option<DataType> {
    match given {
        DataType::UInt64 => Some(DataType::Decimal128(20, 0)),
        integer if integer.is_integer() => Some(DataType::Int64),
        DataType::Null => Some(DataType::Int64),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) | DataType::Decimal128(precision, scale) => {
            Some(DataType::Decimal128(*precision, *scale))
        }
        DataType::Date32 | DataType::Date64 => Some(DataType::Date32),
        _ => None,
    }
}

fn item(of: &DataType) -> FieldRef {
    Arc::new(Field::new_list_field(of.clone(), true))
}

/// The values of a column as whole numbers: units of the last digit of a decimal, days of a date.
pub(super) fn whole(values: &ArrayRef) -> Result<Vec<Option<i128>>> {
    Ok(match values.data_type() {
        DataType::Int64 => values.as_primitive::<Int64Type>().iter().map(|value| value.map(i128::from)).collect(),
        DataType::Date32 => values.as_primitive::<Date32Type>().iter().map(|value| value.map(i128::from)).collect(),
        DataType::Decimal128(..) => values.as_primitive::<Decimal128Type>().iter().collect(),
        other => return internal_err!("quantile_cuts met {other}"),
    })
}

/// The greatest of the values that share the leading digits of `value`.
fn round(value: i128) -> i128 {
    let size = value.unsigned_abs();
    let low = (u128::BITS - size.leading_zeros()).saturating_sub(DIGITS);
    let smallest = size >> low << low;
    let greatest = smallest | ((1 << low) - 1);
    if value < 0 { -(smallest.cast_signed()) } else { greatest.cast_signed() }
}

/// How often each value came.
#[derive(Debug)]
struct Cuts {
    value: DataType,
    counts: HashMap<i128, i64>,
    /// Whether values stand for all that share their leading digits.
    rounded: bool,
    parts: Option<i64>,
}

impl Cuts {
    fn add(&mut self, value: i128, times: i64) {
        let value = if self.rounded { round(value) } else { value };
        *self.counts.entry(value).or_default() += times;
        // Decided by the values alone, whichever part of the rows meets them first.
        if !self.rounded && self.counts.len() > DISTINCT {
            self.round_all();
        }
    }

    fn round_all(&mut self) {
        self.rounded = true;
        for (value, times) in std::mem::take(&mut self.counts) {
            *self.counts.entry(round(value)).or_default() += times;
        }
    }

    fn set_parts(&mut self, parts: Option<i64>) -> Result<()> {
        match (self.parts, parts) {
            (_, None) => Ok(()),
            (Some(before), Some(parts)) if before != parts => {
                exec_err!("quantile_cuts takes one number of parts, not {before} and {parts}")
            }
            (_, Some(parts)) if !(2..=PARTS).contains(&parts) => exec_err!("quantile_cuts cuts into 2 to {PARTS} parts, not {parts}"),
            (_, parts) => {
                self.parts = parts;
                Ok(())
            }
        }
    }

    /// The cuts, as whole numbers.
    fn cuts(&self) -> Option<Vec<i128>> {
        let parts = i128::from(self.parts?);
        let total: i128 = self.counts.values().map(|times| i128::from(*times)).sum();
        let mut values: Vec<(i128, i64)> = self.counts.iter().map(|(value, times)| (*value, *times)).collect();
        values.sort_unstable();
        let (mut cuts, mut below) = (Vec::new(), 0);
        for (value, times) in values {
            below += i128::from(times);
            // This value is the k-th cut once k/n of the rows are no greater.
            while cuts.len() as i128 + 1 < parts && below * parts >= total * (cuts.len() as i128 + 1) {
                cuts.push(value);
            }
        }
        (total > 0).then_some(cuts)
    }
}

impl Accumulator for Cuts {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let parts = values[1].as_primitive::<Int64Type>();
        if let (Some(least), Some(greatest)) = (arrow::compute::min(parts), arrow::compute::max(parts)) {
            self.set_parts(Some(least))?;
            self.set_parts(Some(greatest))?;
        }
        whole(&values[0])?.into_iter().flatten().for_each(|value| self.add(value, 1));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let ScalarValue::List(none) = ScalarValue::new_null_list(self.value.clone(), true, 1) else {
            return internal_err!("a list of cuts is no list");
        };
        let Some(cuts) = self.cuts() else { return Ok(ScalarValue::List(none)) };
        let cuts: Vec<ScalarValue> = cuts.into_iter().map(|cut| scalar(cut, &self.value)).collect::<Result<_>>()?;
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&cuts, &self.value)))
    }

    fn size(&self) -> usize {
        // A slot of the table, and the byte that tells whether it is taken.
        size_of::<Self>() + self.counts.capacity() * (size_of::<(i128, i64)>() + 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut counts: Vec<(i128, i64)> = self.counts.iter().map(|(value, times)| (*value, *times)).collect();
        counts.sort_unstable();
        let values: Decimal128Array = counts.iter().map(|(value, _)| Some(*value)).collect();
        let values: ArrayRef = Arc::new(values.with_data_type(WHOLE));
        let times: ArrayRef = Arc::new(Int64Array::from_iter_values(counts.iter().map(|(_, times)| *times)));
        let list = |items: ArrayRef| {
            use datafusion::common::utils::SingleRowListArrayBuilder;
            SingleRowListArrayBuilder::new(items).with_nullable(true).build_list_scalar()
        };
        Ok(vec![list(values), list(times), ScalarValue::Boolean(Some(self.rounded)), ScalarValue::Int64(self.parts)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        let (rounded, parts) = (states[2].as_boolean(), states[3].as_primitive::<Int64Type>());
        for row in 0..values.len() {
            self.set_parts(parts.is_valid(row).then(|| parts.value(row)))?;
            if rounded.is_valid(row) && rounded.value(row) && !self.rounded {
                self.round_all();
            }
            let (values, counts) = (values.value(row), counts.value(row));
            let pairs = values.as_primitive::<Decimal128Type>().values().iter().zip(counts.as_primitive::<Int64Type>().values());
            pairs.for_each(|(value, times)| self.add(*value, *times));
        }
        Ok(())
    }
}

/// A whole number as a value of the type it came from.
fn scalar(whole: i128, of: &DataType) -> Result<ScalarValue> {
    let decimals = Decimal128Array::from(vec![whole]);
    match of {
        DataType::Decimal128(precision, scale) => Ok(ScalarValue::Decimal128(Some(whole), *precision, *scale)),
        other => ScalarValue::try_from_array(&cast(&cast(&decimals.with_data_type(WHOLE), &DataType::Int64)?, other)?, 0),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cuts(value: DataType) -> Cuts {
        Cuts { value, counts: HashMap::new(), rounded: false, parts: None }
    }

    #[test]
    fn a_rounded_value_is_the_greatest_of_its_kind() {
        for value in [-2047, -1, 0, 1, 2047] {
            assert_eq!(round(value), value, "small numbers stay");
        }
        assert_eq!((round(2048), round(2049), round(2050)), (2049, 2049, 2051));
        assert_eq!((round(-2048), round(-2049), round(-2050)), (-2048, -2048, -2050));
        assert_eq!((round(i128::MAX), round(i128::MIN + 1) < 0), (i128::MAX, true));
    }

    proptest! {
        /// Rounding keeps the order and moves nothing by a thousandth.
        #[test]
        fn rounding_keeps_the_order(a in any::<i64>(), b in any::<i64>()) {
            let (a, b) = (i128::from(a.min(b)), i128::from(a.max(b)));
            prop_assert!(round(a) <= round(b));
            prop_assert!(round(a) >= a && (round(a) - a) * 1000 <= a.abs());
        }

        /// The rows in one heap, or in parts that meet in any order, give the same cuts; each is a value with that share of rows below.
        #[test]
        fn cuts_do_not_depend_on_how_rows_are_spread(
            values in prop::collection::vec(-50_i64..50, 1..200), split in 0_usize..200, parts in 2_i64..12,
        ) {
            let rows = |values: &[i64]| -> Vec<ArrayRef> {
                vec![Arc::new(Int64Array::from(values.to_vec())), Arc::new(Int64Array::from(vec![parts; values.len()]))]
            };
            let mut whole = cuts(DataType::Int64);
            whole.update_batch(&rows(&values)).unwrap();
            let (left, right) = values.split_at(split.min(values.len()));
            let mut merged = cuts(DataType::Int64);
            for part in [right, left] {
                let mut accumulator = cuts(DataType::Int64);
                accumulator.update_batch(&rows(part)).unwrap();
                let state: Vec<ArrayRef> = accumulator.state().unwrap().iter().map(|s| s.to_array_of_size(1).unwrap()).collect();
                merged.merge_batch(&state).unwrap();
            }
            let cut = whole.cuts().unwrap();
            prop_assert_eq!(Some(cut.clone()), merged.cuts());
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let expected: Vec<i128> = (1..usize::try_from(parts).unwrap())
                .map(|k| i128::from(sorted[(k * sorted.len()).div_ceil(usize::try_from(parts).unwrap()) - 1]))
                .collect();
            prop_assert_eq!(cut, expected);
        }
    }

    #[test]
    fn many_distinct_values_are_counted_together_the_same_however_they_come() {
        let count = i64::try_from(DISTINCT).unwrap() * 2;
        let rows = |from: i64, to: i64| -> Vec<ArrayRef> {
            vec![Arc::new((from..to).map(|n| n * 7919 % count * 1000).collect::<Int64Array>()), Arc::new(Int64Array::from_value(4, 1))]
        };
        let mut all = cuts(DataType::Int64);
        all.update_batch(&rows(0, count)).unwrap();
        let mut merged = cuts(DataType::Int64);
        for part in 0..8 {
            let mut accumulator = cuts(DataType::Int64);
            accumulator.update_batch(&rows(count / 8 * part, count / 8 * (part + 1))).unwrap();
            assert!(!accumulator.rounded);
            let state: Vec<ArrayRef> = accumulator.state().unwrap().iter().map(|s| s.to_array_of_size(1).unwrap()).collect();
            merged.merge_batch(&state).unwrap();
        }
        assert!(all.rounded && merged.rounded);
        assert_eq!(all.cuts(), merged.cuts());
        assert!(all.size() < 1 << 20, "{}", all.size());
        let exact = [1, 2, 3].map(|k| i128::from(count) * 1000 * k / 4);
        for (cut, exact) in all.cuts().unwrap().into_iter().zip(exact) {
            assert!((cut - exact).abs() * 1000 <= exact, "{cut} is not near {exact}");
        }
    }
}
