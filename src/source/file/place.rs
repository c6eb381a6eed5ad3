//! Where the files of a stream lie: in the project folder, in a bucket or at an address.

use object_store::path::Path;
use url::Url;

use crate::lake::store::Scheme;

/// What a `path` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// A pattern below the project folder.
    Folder,
    /// A pattern over the keys of a bucket.
    Bucket { scheme: Scheme, bucket: String, key: String },
    /// One file at an address.
    Web(Url),
}

impl Place {
    /// Reads a `path`; `Err` says what is wrong with it and what to write instead.
    pub(crate) fn of(path: &str) -> Result<Self, (String, String)> {
        let Some((scheme, rest)) = path.split_once("://") else { return Ok(Self::Folder) };
        if matches!(scheme, "http" | "https") {
            return Self::web(path);
        }
        let Some(scheme) = Scheme::of(scheme) else {
            let message = format!("files cannot be read from `{scheme}://`");
            return Err((message, "write s3://, gs://, az://, https:// or a path from the project folder".to_owned()));
        };
        match rest.split_once('/') {
            Some((bucket, key)) if !bucket.is_empty() && !key.is_empty() => {
                if bucket.contains(['*', '?', '[', '@', ':']) {
                    return Err((
                        format!("`{bucket}` is no name of a bucket"),
                        "patterns stand behind it, secrets under `[store]`".to_owned(),
                    ));
                }
                if Path::parse(key).is_err() {
                    return Err((format!("`{key}` is no key of an object"), "leave out empty parts, `.` and `..`".to_owned()));
                }
                Ok(Self::Bucket { scheme, bucket: bucket.to_owned(), key: key.to_owned() })
            }
            _ => Err((
                format!("`{path}` names no object"),
                format!("write the bucket and then the key or a pattern: {}://bucket/orders/*.csv", scheme.word()),
            )),
        }
    }

    fn web(path: &str) -> Result<Self, (String, String)> {
        let example = || "write one such as https://files.shop.example/orders.csv".to_owned();
        let url: Url = path.parse().map_err(|error| (format!("the path is no address: {error}"), example()))?;
        if url.host_str().is_none_or(str::is_empty) {
            return Err(("the address names no host".to_owned(), example()));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(("the address holds a password".to_owned(), "put it under `[store] token = { env = \"X\" }`".to_owned()));
        }
        if url.path().contains('*') {
            return Err((
                "an address names one file, and this one is a pattern".to_owned(),
                "give each file a stream of its own".to_owned(),
            ));
        }
        Ok(Self::Web(url))
    }

    /// What its files are called, without what an address asks for: that may be a secret.
    pub(crate) fn name(&self, path: &str) -> String {
        match self {
            Self::Web(url) => {
                let mut url = url.clone();
                url.set_query(None);
                url.set_fragment(None);
                url.to_string()
            }
            _ => path.to_owned(),
        }
    }
}

/// The part of a pattern over keys that all its objects begin with, in whole steps.
pub(crate) fn fixed_prefix(key: &str) -> Option<Path> {
    let fixed = &key[..key.find(['*', '?', '[']).unwrap_or(key.len())];
    let (folder, _) = fixed.rsplit_once('/')?;
    Path::parse(folder).ok()
}

/// Whether a pattern names one object and no more.
pub(crate) fn is_exact(key: &str) -> bool {
    !key.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_pattern_of_the_project_a_bucket_or_an_address() {
        assert_eq!(Place::of("data-in/*.csv"), Ok(Place::Folder));
        let bucket = Place::Bucket { scheme: Scheme::S3, bucket: "shop".to_owned(), key: "orders/2026-*/o?.csv.gz".to_owned() };
        assert_eq!(Place::of("s3://shop/orders/2026-*/o?.csv.gz"), Ok(bucket));
        assert!(matches!(Place::of("az://c/a.csv"), Ok(Place::Bucket { scheme: Scheme::Az, .. })));
        assert!(matches!(Place::of("https://h/a.csv?key=1"), Ok(Place::Web(_))));
        for wrong in [
            "s3://shop",
            "s3://shop/",
            "s3:///a.csv",
            "gs://*/a.csv",
            "ftp://h/a",
            "https:///",
            "https://u:p@h/a",
            "https://h/*.csv",
            "s3://b/a//b",
        ] {
            assert!(Place::of(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Place::of("https://h/a.csv?key=s3cret").unwrap().name(""), "https://h/a.csv");
    }

    #[test]
    fn only_what_lies_below_the_fixed_part_is_listed() {
        let prefix = |key: &str| fixed_prefix(key).map(|path| path.to_string());
        assert_eq!(prefix("orders/2026/*.csv"), Some("orders/2026".to_owned()));
        assert_eq!(prefix("orders/2026-*/o.csv"), Some("orders".to_owned()));
        assert_eq!(prefix("*.csv"), None);
    }
}
