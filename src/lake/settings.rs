//! `[lake]` in the deployment's settings.

use std::path::PathBuf;

use object_store::path::Path as Key;
use schemars::{JsonSchema, r#gen::SchemaGenerator, schema::Schema};
use serde::Deserialize;

use super::store::{Scheme, StoreSettings, Whose};

/// `[lake]` in `config/perennial.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct LakeSettings {
    /// Where the tables stand.
    pub(crate) path: LakePath,
    /// How the bucket knows us, where they stand in one.
    pub(crate) store: StoreSettings,
    /// How long old versions are kept for `tidy`.
    pub keep_days: u32,
    /// Whether this project may write to the lake at all.
    pub read_only: bool,
}

impl Default for LakeSettings {
    fn default() -> Self {
        let Written { path, store, keep_days, read_only } = Written::default();
        Self { path, store, keep_days, read_only }
    }
}

impl LakeSettings {
    /// Whether the tables stand elsewhere than on this machine's disks.
    #[must_use]
    pub fn is_far(&self) -> bool {
        matches!(self.path, LakePath::Bucket { .. })
    }
}

/// Where the tables of a lake stand.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum LakePath {
    /// In a folder, relative to the project's.
    Folder(PathBuf),
    /// In a bucket, under keys that begin with `prefix`.
    Bucket { scheme: Scheme, bucket: String, prefix: Key },
}

impl TryFrom<String> for LakePath {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        let Some((word, rest)) = path.split_once("://") else { return Ok(Self::Folder(path.into())) };
        let wrong = || format!("`{path}` is no place for a lake; write a folder or `s3://bucket/prefix` (also gs://, az://)");
        let scheme = Scheme::of(word).ok_or_else(wrong)?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || bucket.contains(['*', '?', '[', '@', ':']) {
            return Err(wrong());
        }
        let prefix = Key::parse(prefix.trim_end_matches('/')).map_err(|_| wrong())?;
        Ok(Self::Bucket { scheme, bucket: bucket.to_owned(), prefix })
    }
}

/// `[lake]` as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "LakeSettings")]
struct Written {
    /// Where the tables stand: a folder, relative to the project's, or `s3://bucket/prefix` (also gs://, az://).
    #[schemars(with = "String")]
    path: LakePath,
    /// How the bucket knows us, where they stand in one.
    store: StoreSettings,
    /// How long old versions are kept for `tidy`.
    keep_days: u32,
    /// Whether this project may only read the lake.
    read_only: bool,
}

impl JsonSchema for LakeSettings {
    fn schema_name() -> String {
        Written::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}

impl Default for Written {
    fn default() -> Self {
        let path = LakePath::Folder("data/lake".into());
        Self { path, store: StoreSettings::default(), keep_days: 30, read_only: false }
    }
}

impl TryFrom<Written> for LakeSettings {
    type Error = String;

    fn try_from(Written { path, store, keep_days, read_only }: Written) -> Result<Self, String> {
        let reaches = |scheme: Scheme| matches!(&path, LakePath::Bucket { scheme: other, .. } if *other == scheme);
        let whose = Whose { reaches: &reaches, reaches_web: false, not_there: "the lake's `path` does not lie there" };
        store.check(&whose).map_err(|(name, message)| format!("`[lake.store] {name}`: {message}"))?;
        Ok(Self { path, store, keep_days, read_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<LakeSettings, String> {
        crate::config::parse::<LakeSettings>(text, std::path::Path::new("perennial.toml")).map_err(|error| error.0.message)
    }

    #[test]
    fn a_lake_lies_in_a_folder_or_in_a_bucket() {
        assert_eq!(read("").unwrap().path, LakePath::Folder("data/lake".into()));
        let settings = read("path = \"s3://shop/lakes/main/\"\nkeep_days = 7\n[store]\nregion = \"eu-central-1\"").unwrap();
        let bucket = LakePath::Bucket { scheme: Scheme::S3, bucket: "shop".to_owned(), prefix: "lakes/main".into() };
        assert_eq!((settings.path, settings.keep_days), (bucket, 7));
        assert!(read("path = \"gs://shop\"").unwrap().is_far());
    }

    #[test]
    fn a_place_that_cannot_be_is_told_with_what_to_write() {
        for (text, words) in [
            ("path = \"ftp://shop/lake\"", "is no place for a lake; write a folder or `s3://bucket/prefix`"),
            ("path = \"s3:///lake\"", "is no place for a lake"),
            ("path = \"s3://key@shop/lake\"", "is no place for a lake"),
            ("path = \"s3://shop/a//b\"", "is no place for a lake"),
            ("[store]\nregion = \"x\"", "`[lake.store] region`: `region` is for s3://, and the lake's `path` does not lie there"),
            ("path = \"s3://shop\"\n[store]\naccess_key_id = { env = \"K\" }", "`secret_access_key` is not"),
            ("path = \"s3://shop\"\n[store]\nendpoint = \"http://minio.example\"", "readable for everyone"),
            ("pth = \"x\"", "there is no setting `pth` here"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
