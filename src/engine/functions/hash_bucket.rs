//! `hash_bucket`: a lot that falls the same way every night.

use std::sync::{Arc, LazyLock};

use arrow::{
    array::{Array, AsArray, Int64Array},
    datatypes::{DataType, Int64Type},
};
use datafusion::{
    common::exec_err,
    error::Result,
    logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility},
};
use sha2::{Digest, Sha256};

use super::SECTION;

/// A number from 0 up to, but not, `n`, that depends on `key` and `salt` only.
///
/// The first eight bytes of SHA-256 over the salt's length (eight bytes, big endian), the salt and the key, scaled to `n`. It does not
/// change with releases. `n = 0` gives 0.
#[must_use]
pub fn hash_bucket(key: &str, salt: &str, n: u64) -> u64 {
    let mut hash = Sha256::new();
    hash.update((salt.len() as u64).to_be_bytes());
    hash.update(salt);
    hash.update(key);
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    let scaled = (u128::from(u64::from_be_bytes(first)) * u128::from(n)) >> 64;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "A whole number from 0 to n - 1 that depends on the key and the salt only: the same every night and on every machine. Another \
         salt deals anew.",
        "hash_bucket(key, salt, n)",
    )
    .with_sql_example("select hash_bucket('shop:17', 'spring', 100) < 10 -- whether shop:17 is among some tenth")
    .with_argument("key", "whom the number is for, such as a customer_id")
    .with_argument("salt", "a word of your own; the same for all who are to be compared")
    .with_argument("n", "how many numbers there are; at least 1")
    .build()
});

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct HashBucket {
    signature: Signature,
}

impl Default for HashBucket {
    fn default() -> Self {
        Self { signature: Signature::exact(vec![DataType::Utf8, DataType::Utf8, DataType::Int64], Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for HashBucket {
    fn name(&self) -> &str {
        "hash_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (keys, salts, counts) = (arrays[0].as_string::<i32>(), arrays[1].as_string::<i32>(), arrays[2].as_primitive::<Int64Type>());
        let mut buckets = Int64Array::builder(keys.len());
        for ((key, salt), n) in keys.iter().zip(salts).zip(counts) {
            let (Some(key), Some(salt), Some(n)) = (key, salt, n) else {
                buckets.append_null();
                continue;
            };
            match u64::try_from(n) {
                Ok(n) if n > 0 => buckets.append_value(i64::try_from(hash_bucket(key, salt, n)).unwrap_or(i64::MAX)),
                _ => return exec_err!("hash_bucket deals into at least 1, not into {n}"),
            }
        }
        Ok(ColumnarValue::Array(Arc::new(buckets.finish())))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_s_number_never_changes() {
        // What these are today they are for ever: tests people began last year still run.
        let buckets: Vec<u64> = ["shop:1", "shop:2", ""].iter().map(|key| hash_bucket(key, "spring", 1000)).collect();
        assert_eq!(buckets, [611, 105, 59]);
        assert_eq!(hash_bucket("a", "b", 1), 0);
        assert_eq!(hash_bucket("a", "b", 0), 0);
        assert_ne!(hash_bucket("b", "a", u64::MAX), hash_bucket("ab", "", u64::MAX));
    }

    #[test]
    fn the_numbers_are_dealt_evenly() {
        let mut counts = [0; 10];
        for key in 0..10_000 {
            counts[usize::try_from(hash_bucket(&key.to_string(), "salt", 10)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
