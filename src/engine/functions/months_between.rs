//! `months_between`: how many calendar months are whole between two days, where the person lives.

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
    calendar::{Moments, Zones, arguments, date, months, returned},
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Whole calendar months from a to b, negative where b is before a; divided by 12, whole years. A month is whole when its day is \
         reached, or the month has no such day and is on its last: from the 31st of January to the 28th of February is one, and \
         whoever was born on the 29th of February is a year older on the 28th of a common year. Instants are dates of the zone given \
         (UTC without one). Null where an argument is null or nobody knows the zone.",
        "months_between(a, b[, zone])",
    )
    .with_sql_example("select months_between(birthday, $as_of, timezone) / 12 as age from customers")
    .with_argument("a", "an instant or a date")
    .with_argument("b", "an instant or a date")
    .with_argument("zone", "an IANA time zone such as `Europe/Berlin`, or a column of them")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MonthsBetween {
    signature: Signature,
}

impl Default for MonthsBetween {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for MonthsBetween {
    fn name(&self) -> &str {
        "months_between"
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
        let whole: Int64Array = (0..arrays[0].len())
            .map(|row| {
                let zone = zones.of(row)?;
                Some(months(date(a.day(row, zone)?)?, date(b.day(row, zone)?)?))
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(whole)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}
