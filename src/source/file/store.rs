//! The stores that files of a source lie in.

use std::{path::Path, sync::Arc, time::Duration};

use object_store::ObjectStore;

use super::{place::Place, settings::FileSettings};
use crate::{
    lake::store::{Closed, Patience, Scheme, StoreSettings, Whose, is_near},
    secret::{Secret, SecretRef},
    source::retry::Retry,
};

/// A place in the settings, and what is wrong with it.
type Wrong = (Vec<&'static str>, String);

/// Everything of a source of files but its streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileSource {
    pub(crate) store: StoreSettings,
    pub(crate) retry: Retry,
}

impl FileSource {
    /// Checks the source's own settings against the places its streams name.
    pub(crate) fn new(settings: &FileSettings) -> Result<Self, Wrong> {
        let store = settings.store.clone();
        let places: Vec<Place> = settings.streams.values().filter_map(|stream| Place::of(&stream.path).ok()).collect();
        let reaches = |scheme: Scheme| places.iter().any(|place| matches!(place, Place::Bucket { scheme: other, .. } if *other == scheme));
        let reaches_web = places.iter().any(|place| matches!(place, Place::Web(_)));
        let whose = Whose { reaches: &reaches, reaches_web, not_there: "no stream of this source is read from there" };
        store.check(&whose).map_err(|(name, message)| (vec!["store", name], message))?;
        let exposed = |place: &Place| matches!(place, Place::Web(url) if url.scheme() == "http" && !is_near(url));
        if store.token.is_some() && places.iter().any(exposed) {
            return Err((
                vec!["store", "token"],
                "the token would travel readable for everyone on the way; write `https://` in `path`".to_owned(),
            ));
        }
        Ok(Self { store, retry: settings.retry.clone() })
    }

    /// The secrets it needs.
    pub(crate) fn secrets(&self) -> Vec<&SecretRef> {
        self.store.secrets()
    }

    /// Opens a bucket, and says which secrets must never be told.
    pub(crate) fn open(&self, scheme: Scheme, bucket: &str, root: &Path) -> Result<(Arc<dyn ObjectStore>, Vec<Secret>), Closed> {
        let patience = Patience { attempts: self.retry.attempts, wait: self.retry.wait.duration(), request: ONE_REQUEST };
        self.store.open(scheme, bucket, root, &patience)
    }
}

/// How long the download of one file may take.
const ONE_REQUEST: Duration = Duration::from_secs(6 * 3600);
