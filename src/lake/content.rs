//! What a table holds, as one number: the same rows in the same columns give the same number, in whatever order they are written. And how
//! many different values each column has.
//!
//! Two tables that differ have the same number by a chance of one in 2⁶⁴. It is compared with numbers this program made, and never leaves it.

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::common::hash_utils::{RandomState, create_hashes};

use super::{
    LakeError,
    distinct::{Distinct, Sketch},
};

/// Odd, so that no bit of what was there before is lost.
const FACTOR: u64 = 0x9E37_79B9_7F4A_7C15;

/// The sum of the digests of rows.
pub(super) struct Content {
    schema: SchemaRef,
    rows: u64,
    sum: u64,
    /// Of the rows of a batch.
    digests: Vec<u64>,
    /// Of the values of a column.
    values: Vec<u64>,
    /// One for each column.
    sketches: Vec<Sketch>,
}

impl Content {
    /// None where a column holds lists or structs, in which nulls leave no trace in a hash.
    pub(super) fn of(schema: &SchemaRef) -> Option<Self> {
        let flat = schema.fields().iter().all(|field| !field.data_type().is_nested());
        flat.then(|| Self {
            schema: schema.clone(),
            rows: 0,
            sum: 0,
            digests: Vec::new(),
            values: Vec::new(),
            sketches: vec![Sketch::new(); schema.fields().len()],
        })
    }

    /// Adds rows.
    pub(super) fn take_in(&mut self, table: &str, batch: &RecordBatch) -> Result<(), LakeError> {
        let rows = batch.num_rows();
        self.digests.clear();
        self.digests.resize(rows, FACTOR);
        for (position, column) in batch.columns().iter().enumerate() {
            // A null leaves the zero.
            self.values.clear();
            self.values.resize(rows, 0);
            let seed = RandomState::with_seed(position as u64 + 1);
            create_hashes([column], &seed, &mut self.values)
                .map_err(|error| LakeError::rows(table)(ArrowError::ExternalError(Box::new(error))))?;
            self.sketches[position].take_in(&self.values);
            for (digest, value) in self.digests.iter_mut().zip(&self.values) {
                *digest = (digest.rotate_left(23) ^ value).wrapping_mul(FACTOR);
            }
        }
        self.rows += rows as u64;
        self.sum = self.digests.iter().fold(self.sum, |sum, digest| sum.wrapping_add(digest ^ digest >> 32));
        Ok(())
    }

    /// These rows and those of another part of the same table.
    pub(super) fn and(mut self, other: &Self) -> Self {
        for (sketch, other) in self.sketches.iter_mut().zip(&other.sketches) {
            sketch.join(other);
        }
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum), ..self }
    }

    /// About how many different values each column has, null among them.
    pub(super) fn distinct(&self) -> Distinct {
        let names = self.schema.fields().iter().map(|field| field.name().clone());
        names.zip(self.sketches.iter().map(|sketch| sketch.count().min(self.rows))).collect()
    }

    /// The number.
    pub(super) fn number(&self) -> u128 {
        let columns = columns(&self.schema);
        u128::from(columns.wrapping_add(self.rows)) << 64 | u128::from(self.sum)
    }
}

/// A digest of the columns' names and types.
fn columns(schema: &Schema) -> u64 {
    use sha2::{Digest, Sha256};
    let mut digest = Sha256::new();
    for field in schema.fields() {
        digest.update(format!("{:?} {} {}\n", field.name(), field.data_type(), field.is_nullable()));
    }
    let bytes = digest.finalize();
    bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array, StringArray},
        compute::take_record_batch,
    };
    use proptest::prelude::*;

    use super::*;

    type Row = (Option<i8>, Option<i8>, Option<String>);

    fn batch(rows: &[Row]) -> RecordBatch {
        let a: ArrayRef = Arc::new(rows.iter().map(|row| row.0.map(i64::from)).collect::<Int64Array>());
        let b: ArrayRef = Arc::new(rows.iter().map(|row| row.1.map(i64::from)).collect::<Int64Array>());
        let c: ArrayRef = Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>());
        RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b", b, true), ("c", c, true)]).unwrap()
    }

    fn number(batches: &[RecordBatch]) -> u128 {
        let mut content = Content::of(&batches[0].schema()).unwrap();
        let mut last = Content::of(&batches[0].schema()).unwrap();
        let (end, begin) = batches.split_last().unwrap();
        begin.iter().for_each(|batch| content.take_in("t", batch).unwrap());
        last.take_in("t", end).unwrap();
        content.and(&last).number()
    }

    fn row() -> impl Strategy<Value = Row> {
        (prop::option::of(0_i8..3), prop::option::of(0_i8..3), prop::option::of("[ab]?"))
    }

    proptest! {
        /// Equal exactly where the rows are, as often as they stand.
        #[test]
        fn the_number_is_equal_exactly_where_the_rows_are(
            mut a in prop::collection::vec(row(), 0..5), mut b in prop::collection::vec(row(), 0..5), cut in 0_usize..5,
        ) {
            let turned: arrow::array::UInt32Array = (0..a.len()).rev().map(|row| u32::try_from(row).unwrap()).collect();
            let reversed = take_record_batch(&batch(&a), &turned).unwrap();
            let cut = cut.min(a.len());
            let halves = [reversed.slice(0, cut), reversed.slice(cut, a.len() - cut)];
            prop_assert_eq!(number(&[batch(&a)]), number(&halves));
            let (one, other) = (number(&[batch(&a)]), number(&[batch(&b)]));
            a.sort();
            b.sort();
            prop_assert_eq!(one == other, a == b);
        }
    }

    #[test]
    fn a_value_that_moves_to_another_column_is_another_content() {
        let (left, right) = ((Some(1), None, None), (None, Some(1), None));
        assert_ne!(number(&[batch(std::slice::from_ref(&left))]), number(&[batch(std::slice::from_ref(&right))]));
        assert_ne!(number(&[batch(&[(None, None, None)])]), number(&[batch(&[])]));
        let renamed = batch(std::slice::from_ref(&left));
        let fields: Vec<_> =
            renamed.schema().fields().iter().map(|field| field.as_ref().clone().with_name(format!("{}2", field.name()))).collect();
        let renamed = RecordBatch::try_new(Arc::new(Schema::new(fields)), renamed.columns().to_vec()).unwrap();
        assert_ne!(number(&[batch(&[left])]), number(&[renamed]));
    }
}
