//! `rhythm`: how often somebody buys, as the median gap between the days they bought on.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int32Array, ListArray, PrimitiveArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Date32Type, Field, FieldRef, Int32Type, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    common::{internal_err, plan_err},
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
        utils::format_state_name,
    },
    scalar::ScalarValue,
};

use super::SECTION;

const MICROS_A_DAY: i64 = 86_400_000_000;
const PRECISION: u8 = 10;
const SCALE: i8 = 2;
/// What decimal(10, 2) can hold; only nonsense instants lie further apart.
const LONGEST: i128 = 9_999_999_999;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "The median number of days between one day with an order and the next, as decimal(10, 2). Several orders on one day (UTC) count \
         as one. Null for fewer than two days.",
        "rhythm(ordered_at)",
    )
    .with_sql_example("select customer_id, rhythm(ordered_at) as rhythm_days from orders group by customer_id")
    .with_argument("ordered_at", "an instant or a date")
    .build()
});

/// The median gap of days in any order, in hundredths of a day; sorts and thins `days` on the way.
fn median_gap(days: &mut Vec<i32>) -> Option<i128> {
    days.sort_unstable();
    days.dedup();
    let mut gaps: Vec<i64> = days.windows(2).map(|pair| i64::from(pair[1]) - i64::from(pair[0])).collect();
    gaps.sort_unstable();
    let middle = gaps.len() / 2;
    let median = match gaps.len() {
        0 => return None,
        odd if odd % 2 == 1 => i128::from(gaps[middle]) * 100,
        _ => i128::from(gaps[middle - 1] + gaps[middle]) * 50,
    };
    Some(median.min(LONGEST))
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Rhythm {
    signature: Signature,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl AggregateUDFImpl for Rhythm {
    fn name(&self) -> &str {
        "rhythm"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        match arg_types {
            [DataType::Date32 | DataType::Date64] => Ok(vec![DataType::Date32]),
            [DataType::Timestamp(_, _) | DataType::Null] => Ok(vec![DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))]),
            [other] => plan_err!("rhythm takes instants or dates, not {other}"),
            _ => plan_err!("rhythm takes one argument; it got {}", arg_types.len()),
        }
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(PRECISION, SCALE))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "days"), DataType::List(item()), true))])
    }

    fn accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(OneRhythm::default()))
    }

    fn groups_accumulator_supported(&self, _args: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Rhythms::default()))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The days of each group, in the order they came.
#[derive(Debug, Default)]
struct Rhythms {
    groups: Vec<Vec<i32>>,
    /// Bytes the groups' days take.
    bytes: usize,
}

impl Rhythms {
    fn grow(&mut self, groups: usize) {
        if self.groups.len() < groups {
            self.groups.resize_with(groups, Vec::new);
        }
    }

    fn push(&mut self, group: usize, day: i32) {
        let days = &mut self.groups[group];
        // Rows mostly come by time, so this already drops most repetitions.
        if days.last() == Some(&day) {
            return;
        }
        let before = days.capacity();
        days.push(day);
        self.bytes += (days.capacity() - before) * size_of::<i32>();
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Vec<i32>> {
        let taken = emit_to.take_needed(&mut self.groups);
        self.bytes -= taken.iter().map(|days| days.capacity() * size_of::<i32>()).sum::<usize>().min(self.bytes);
        taken
    }
}

impl GroupsAccumulator for Rhythms {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.grow(total_num_groups);
        let days = days(&values[0])?;
        for (row, (day, group)) in days.iter().zip(group_indices).enumerate() {
            if let Some(day) = day
                && opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
            {
                self.push(*group, day);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let medians: Decimal128Array = self.take(emit_to).iter_mut().map(median_gap).collect();
        Ok(Arc::new(medians.with_precision_and_scale(PRECISION, SCALE)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![lists(self.take(emit_to))?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.grow(total_num_groups);
        for (days, group) in values[0].as_list::<i32>().iter().zip(group_indices) {
            if let Some(days) = days {
                days.as_primitive::<Int32Type>().iter().flatten().for_each(|day| self.push(*group, day));
            }
        }
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let days = days(&values[0])?;
        let rows = days.iter().enumerate().map(|(row, day)| {
            day.filter(|_| opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))).into_iter().collect()
        });
        Ok(vec![lists(rows.collect())?])
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Vec<i32>>() + self.bytes
    }
}

/// A rhythm without groups.
#[derive(Debug, Default)]
struct OneRhythm {
    days: Vec<i32>,
}

impl Accumulator for OneRhythm {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.days.extend(days(&values[0])?.iter().flatten());
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // A window asks again after more rows have come, so the days stay.
        Ok(ScalarValue::Decimal128(median_gap(&mut self.days), PRECISION, SCALE))
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.days.capacity() * size_of::<i32>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let days: Vec<ScalarValue> = self.days.iter().map(|day| ScalarValue::Int32(Some(*day))).collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&days, &DataType::Int32))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for days in states[0].as_list::<i32>().iter().flatten() {
            self.days.extend(days.as_primitive::<Int32Type>().iter().flatten());
        }
        Ok(())
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Int32, true))
}

fn lists(rows: Vec<Vec<i32>>) -> Result<ArrayRef> {
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let days: Int32Array = rows.into_iter().flatten().collect::<Vec<_>>().into();
    Ok(Arc::new(ListArray::try_new(item(), offsets, Arc::new(days), None)?))
}

/// The UTC days of the values, since 1970.
fn days(values: &ArrayRef) -> Result<PrimitiveArray<Int32Type>> {
    if let Some(dates) = values.as_primitive_opt::<Date32Type>() {
        return Ok(dates.reinterpret_cast());
    }
    if let Some(instants) = values.as_primitive_opt::<TimestampMicrosecondType>() {
        // Every instant's day fits: 2⁶³ microseconds are some 292,000 years.
        return Ok(instants.unary(|micros| i32::try_from(micros.div_euclid(MICROS_A_DAY)).unwrap_or(i32::MAX)));
    }
    internal_err!("rhythm met {}", values.data_type())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_exact() {
        assert_eq!(median_gap(&mut vec![]), None);
        assert_eq!(median_gap(&mut vec![5, 5]), None);
        assert_eq!(median_gap(&mut vec![10, 0]), Some(1000));
        assert_eq!(median_gap(&mut vec![0, 10, 31, 31]), Some(1550), "gaps of 10 and 21 days");
        assert_eq!(median_gap(&mut vec![40, 0, 10, 31]), Some(1000), "gaps of 9, 10 and 21 days");
        assert_eq!(median_gap(&mut vec![i32::MIN, i32::MAX]), Some(LONGEST));
    }
}
