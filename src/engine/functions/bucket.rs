//! `bucket`: which part a value falls into.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, AsArray, Int64Array},
    datatypes::{DataType, Field},
};
use datafusion::{
    common::plan_err,
    error::Result,
    logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::{
    SECTION,
    quantile_cuts::{ordered, whole},
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "The number of the part a value falls into, from 1: one more than there are cuts below it. Equal values always fall into the \
         same part, so that parts can be of different size. Null where the value or the list is null.",
        "bucket(value, cuts)",
    )
    .with_sql_example("select bucket(total_base, [20, 100, 500]) as spender from customer_features")
    .with_argument("value", "a whole number, a decimal or a date")
    .with_argument("cuts", "a list of rising values, such as `quantile_cuts` gives")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bucket {
    signature: Signature,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Bucket {
    fn name(&self) -> &str {
        "bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [value, cuts] = arg_types else {
            return plan_err!("bucket takes a value and a list of cuts; it got {} arguments", arg_types.len());
        };
        let cut = match cuts {
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => item.data_type(),
            DataType::Null => &DataType::Null,
            other => return plan_err!("bucket takes a list of cuts, not {other}"),
        };
        let (Some(value), Some(cut)) = (ordered(value), ordered(cut)) else {
            return plan_err!("bucket takes whole numbers, decimals and dates, not {value} with cuts of {cut}");
        };
        let Some(both) = common(&value, &cut) else {
            return plan_err!("bucket takes a value of the kind its cuts are; {value} is not {cut}");
        };
        Ok(vec![both.clone(), DataType::List(Arc::new(Field::new_list_field(both, true)))])
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, cuts] = &args.args[..] else { return plan_err!("bucket takes a value and a list of cuts") };
        let values = whole(&value.to_array(args.number_rows)?)?;
        // Mostly one list stands for all rows, and is read once.
        let lists = match cuts {
            ColumnarValue::Scalar(one) => one.to_array_of_size(1)?,
            ColumnarValue::Array(lists) => Arc::clone(lists),
        };
        let lists = lists.as_list::<i32>();
        let cuts = whole(lists.values())?;
        let of_row = |row: usize| {
            let row = if lists.len() == 1 { 0 } else { row };
            let (from, to) = (lists.value_offsets()[row].cast_unsigned() as usize, lists.value_offsets()[row + 1].cast_unsigned() as usize);
            lists.is_valid(row).then(|| &cuts[from..to])
        };
        let buckets: Int64Array = values
            .into_iter()
            .enumerate()
            .map(|(row, value)| {
                let value = value?;
                let below = of_row(row)?.iter().flatten().filter(|cut| **cut < value).count();
                i64::try_from(below + 1).ok()
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(buckets)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// A type that holds the values of both exactly.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    let decimal = |of: &DataType| match of {
        DataType::Decimal128(precision, scale) => Some((i16::from(*precision) - i16::from(*scale), *scale)),
        DataType::Int64 => Some((19, 0)),
        _ => None,
    };
    if a == b {
        return Some(a.clone());
    }
    let ((a_whole, a_scale), (b_whole, b_scale)) = (decimal(a)?, decimal(b)?);
    let scale = a_scale.max(b_scale);
    let precision = u8::try_from(a_whole.max(b_whole) + i16::from(scale)).ok().filter(|precision| *precision <= 38)?;
    Some(DataType::Decimal128(precision, scale))
}
