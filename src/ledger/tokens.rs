//! Refresh tokens that sources exchange for new ones, sealed.

use chrono::{DateTime, Utc};

use super::{
    Ledger, LedgerError, micros,
    store::{query, query_as},
};
use crate::secret::{Keys, Secret};

const LABEL: &str = "refresh token";

fn hash(keys: &Keys, source: &str, given: &Secret) -> String {
    hex::encode(keys.mac("given refresh token", &[source.as_bytes(), given.reveal().as_bytes()]))
}

impl Ledger {
    /// The newest refresh token a source gave in exchange for the `given` one of its settings, or for its successors.
    ///
    /// # Errors
    /// Where the ledger cannot be read, or the token was sealed with another master key.
    pub(crate) async fn refresh_token(&self, keys: &Keys, source: &str, given: &Secret) -> Result<Option<Secret>, LedgerError> {
        let kept: Option<(Vec<u8>,)> = query_as("select sealed from refresh_tokens where source = ? and given = ?")
            .bind(source)
            .bind(hash(keys, source, given))
            .fetch_optional(self.pool())
            .await?;
        kept.map(|(sealed,)| {
            keys.unseal(LABEL, source, &sealed)
                .map_err(|error| LedgerError::Value { value: error.to_string(), expected: "sealed refresh token" })
        })
        .transpose()
    }

    /// Keeps the refresh token that a source gave last.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(crate) async fn keep_refresh_token(
        &self,
        keys: &Keys,
        source: &str,
        given: &Secret,
        token: &Secret,
        now: DateTime<Utc>,
    ) -> Result<(), LedgerError> {
        let sealed = keys
            .seal(LABEL, source, token)
            .map_err(|error| LedgerError::Value { value: error.to_string(), expected: "random number of the system" })?;
        query(
            "insert into refresh_tokens (source, given, sealed, at) values (?, ?, ?, ?)
             on conflict (source) do update set given = excluded.given, sealed = excluded.sealed, at = excluded.at",
        )
        .bind(source)
        .bind(hash(keys, source, given))
        .bind(sealed)
        .bind(micros(now))
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    #[tokio::test]
    async fn the_newest_token_is_kept_sealed_until_access_is_granted_anew() {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let keys = Keys::new(Secret::new("0123456789abcdef"));
        let (given, now) = (Secret::new("given-1"), "2026-11-22T01:00:00Z".parse().unwrap());
        assert_eq!(ledger.refresh_token(&keys, "crm", &given).await.unwrap(), None);
        for token in ["refresh-1", "refresh-2"] {
            ledger.keep_refresh_token(&keys, "crm", &given, &Secret::new(token), now).await.unwrap();
            assert_eq!(ledger.refresh_token(&keys, "crm", &given).await.unwrap(), Some(Secret::new(token)));
        }
        assert_eq!(ledger.refresh_token(&keys, "shop", &given).await.unwrap(), None);
        assert_eq!(ledger.refresh_token(&keys, "crm", &Secret::new("given-2")).await.unwrap(), None, "the settings have a newer one");
        let kept = query("select source, given, sealed from refresh_tokens").fetch_all(ledger.pool()).await.unwrap();
        for row in kept {
            let (given, sealed): (String, Vec<u8>) = (row.try_get("given").unwrap(), row.try_get("sealed").unwrap());
            assert!(!given.contains("refresh-") && !sealed.windows(8).any(|part| part == b"refresh-"));
        }
    }
}
