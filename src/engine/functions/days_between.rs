//! `days_between`: how many midnights lie between two instants, where the person lives.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, Int64Array},
    datatypes::{DataType, FieldRef},
};
use datafusion::{
    error::Result,
    logical_expr::{ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};

use super::{
    SECTION,
    calendar::{Moments, Zones, arguments, returned},
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Whole calendar days from a to b: 0 on one day, 1 from a late evening to the next morning, negative where b is before a. Instants \
         are dates of the zone given (UTC without one), whatever the clocks do that night; dates stay what they are. Null where an \
         argument is null or nobody knows the zone.",
        "days_between(a, b[, zone])",
    )
    .with_sql_example("select days_between(ordered_at, $as_of, 'Europe/Berlin') from orders")
    .with_argument("a", "an instant or a date")
    .with_argument("b", "an instant or a date")
    .with_argument("zone", "an IANA time zone such as `Europe/Berlin`, or a column of them")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DaysBetween {
    signature: Signature,
}

impl Default for DaysBetween {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for DaysBetween {
    fn name(&self) -> &str {
        "days_between"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        arguments(self.name(), 2, arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        returned(self.name(), 2, DataType::Int64, &args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (a, b, mut zones) = (Moments::new(&arrays[0]), Moments::new(&arrays[1]), Zones::new(arrays.get(2)));
        let days: Int64Array = (0..arrays[0].len())
            .map(|row| {
                let zone = zones.of(row)?;
                Some(i64::from(b.day(row, zone)?) - i64::from(a.day(row, zone)?))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(days)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}
