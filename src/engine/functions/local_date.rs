//! `local_date`: the date an instant has where somebody lives.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, Date32Array},
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
        "The date an instant has in a zone (UTC without one): an order at 23:30 UTC is of the next day in Berlin. Dates stay what they \
         are. Null where an argument is null or nobody knows the zone.",
        "local_date(instant[, zone])",
    )
    .with_sql_example("select local_date(ordered_at, $brand_timezone) as day, count(*) from orders group by 1")
    .with_argument("instant", "an instant or a date")
    .with_argument("zone", "an IANA time zone such as `Europe/Berlin`, or a column of them")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct LocalDate {
    signature: Signature,
}

impl Default for LocalDate {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LocalDate {
    fn name(&self) -> &str {
        "local_date"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        arguments(self.name(), 1, arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        returned(self.name(), 1, DataType::Date32, &args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (instants, mut zones) = (Moments::new(&arrays[0]), Zones::new(arrays.get(1)));
        let dates: Date32Array = (0..arrays[0].len()).map(|row| instants.day(row, zones.of(row)?)).collect();
        Ok(ColumnarValue::Array(Arc::new(dates)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}
