//! Whom an id names that somebody typed.

use std::collections::BTreeMap;

use arrow::util::display::array_value_to_string;
use datafusion::scalar::ScalarValue;

use super::House;
use crate::{
    diagnosis::{Diagnosis, Failure},
    engine::{Origin, Query},
    ledger::CustomerId,
};

/// A person's own id first, then the ids they are known by at the sources.
const WHO: &str = "select customer_id from identities where customer_id = $id or source || ':' || source_id = $id
                   order by case when customer_id = $id then 0 else 1 end, customer_id limit 1";

impl House {
    /// The person `id` names: their own id, or an alias `source:id` that was merged into it. `None` where nobody is known by it, or
    /// nothing has been built yet.
    ///
    /// # Errors
    /// Where the table cannot be read.
    pub async fn person(&self, id: &str) -> Result<Option<CustomerId>, Failure> {
        if !self.knows_people().await? {
            return Ok(None);
        }
        let session = self.session(WHO).await?;
        let params = BTreeMap::from([("id".to_owned(), ScalarValue::from(id))]);
        let found = session.collect(&Query { sql: WHO, origin: Origin::NOWHERE, params }).await?;
        let failed = |error: arrow::error::ArrowError| Failure::failed(Diagnosis::new("output", error.to_string()));
        match found.iter().find(|batch| batch.num_rows() > 0) {
            None => Ok(None),
            Some(batch) => Ok(Some(CustomerId::new(array_value_to_string(batch.column(0), 0).map_err(failed)?))),
        }
    }

    /// The person `id` names, who must be known.
    ///
    /// # Errors
    /// Where nobody is known by it, or the table cannot be read.
    pub async fn known_person(&self, id: &str) -> Result<CustomerId, Failure> {
        match self.person(id).await? {
            Some(person) => Ok(person),
            None if self.knows_people().await? => Err(unknown_person(id)),
            None => {
                let diagnosis = Diagnosis::new("not_built", "nobody is known yet, because nothing has been pulled and built");
                Err(Failure::wrong(diagnosis.hint("run the job first, such as `perennial run nightly`")))
            }
        }
    }

    async fn knows_people(&self) -> Result<bool, Failure> {
        Ok(self.published().await?.contains_key("identities"))
    }
}

/// Nobody is known by an id.
#[must_use]
pub fn unknown_person(id: &str) -> Failure {
    let diagnosis = Diagnosis::new("unknown_customer", format!("there is no customer `{id}`"));
    Failure::wrong(diagnosis.hint(
        "an id is written as in `customers`, `source:id`; `perennial query \"select customer_id, email from customers limit 20\"` shows some",
    ))
}
