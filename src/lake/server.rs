//! Servers for tests that speak as the clouds' stores do: moto (S3, and the requests of Google's that are the same) and Azurite (Azure),
//! from where `.ci/run` puts them.

#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, azure::MicrosoftAzureBuilder};
use sha2::Sha256;

/// The bucket it holds.
const BUCKET: &str = "shop";

/// One server with one empty bucket, gone with the test.
pub(crate) struct Moto {
    child: Child,
    port: u16,
    store: Arc<dyn ObjectStore>,
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `.ci/run` installed, or a word on why it is not there.
fn found(of: &str, path: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/perennial"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let found = [target, home].into_iter().flatten().map(|folder| folder.join(path)).find(|server| server.exists());
    if found.is_none() {
        println!("skipped: {of} is not installed (`.ci/run` puts it into ~/.cache/perennial)");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens.
async fn up(port: u16) {
    for _ in 0..600 {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the server did not come up");
}

impl Moto {
    /// A server, if it is installed. A `strict` one knows no key at all, and refuses whoever comes with one.
    pub(crate) async fn start(strict: bool) -> Option<Self> {
        let mut command = Command::new(found("moto", "moto/bin/moto_server")?);
        let port = free_port();
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        if strict {
            command.env("INITIAL_NO_AUTH_ACTION_COUNT", "0");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let store = AmazonS3Builder::new()
            .with_endpoint(format!("http://127.0.0.1:{port}"))
            .with_allow_http(true)
            .with_bucket_name(BUCKET)
            .with_access_key_id("writer")
            .with_secret_access_key("writer")
            .build()
            .unwrap();
        let moto = Self { child, port, store: Arc::new(store) };
        up(port).await;
        if !strict {
            let made = reqwest::Client::new().put(format!("http://127.0.0.1:{port}/{BUCKET}")).send().await.unwrap();
            assert!(made.status().is_success());
        }
        Some(moto)
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    pub(crate) async fn put(&self, key: &str, bytes: &[u8]) {
        self.store.put(&key.into(), bytes.to_vec().into()).await.unwrap();
    }

    pub(crate) async fn remove(&self, key: &str) {
        self.store.delete(&key.into()).await.unwrap();
    }

    /// `[store]` of a source that reads as from Google's: a bucket that everybody may read.
    pub(crate) async fn as_google(&self) -> String {
        let statement =
            serde_json::json!({"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": format!("arn:aws:s3:::{BUCKET}/*")});
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [statement]}).to_string();
        let opened =
            reqwest::Client::new().put(format!("http://127.0.0.1:{}/{BUCKET}?policy", self.port)).body(policy).send().await.unwrap();
        assert!(opened.status().is_success(), "{opened:?}");
        format!("[store]\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\nanonymous = true\n", self.port)
    }

    /// `[store]` as a source would write it, the secret in a file of the project.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[store]\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\naccess_key_id = {{ file = \"id\" }}\nsecret_access_key = {{ file = \"secret\" }}\n",
            self.port
        )
    }
}

/// The account every Azurite has, and its key.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// One server with one empty container, gone with the test.
pub(crate) struct Azurite {
    child: Child,
    endpoint: String,
    store: Arc<dyn ObjectStore>,
    _folder: tempfile::TempDir,
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Azurite {
    /// A server, if it is installed.
    pub(crate) async fn start() -> Option<Self> {
        let (mut command, port) = (Command::new(found("azurite", "azurite/node_modules/.bin/azurite-blob")?), free_port());
        let folder = tempfile::tempdir().unwrap();
        command.args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobPort", &port.to_string(), "--location"]);
        command.arg(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let endpoint = format!("http://127.0.0.1:{port}/{ACCOUNT}");
        let store = MicrosoftAzureBuilder::new()
            .with_endpoint(endpoint.clone())
            .with_allow_http(true)
            .with_account(ACCOUNT)
            .with_access_key(KEY)
            .with_container_name(BUCKET)
            .build()
            .unwrap();
        let azurite = Self { child, endpoint, store: Arc::new(store), _folder: folder };
        up(port).await;
        azurite.make_container().await;
        Some(azurite)
    }

    /// A request that the store's own client does not have, signed with the account's key
    /// (<https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key>).
    async fn make_container(&self) {
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let version = "2023-11-03";
        let to_sign = format!(
            "PUT\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:{date}\nx-ms-version:{version}\n/{ACCOUNT}/{ACCOUNT}/{BUCKET}\nrestype:container"
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(&BASE64_STANDARD.decode(KEY).unwrap()).unwrap();
        mac.update(to_sign.as_bytes());
        let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
        let made = reqwest::Client::new()
            .put(format!("{}/{BUCKET}?restype=container", self.endpoint))
            .header("x-ms-date", date)
            .header("x-ms-version", version)
            .header("authorization", format!("SharedKey {ACCOUNT}:{signature}"))
            .header("content-length", "0")
            .send()
            .await
            .unwrap();
        assert!(made.status().is_success(), "{made:?}");
    }

    pub(crate) fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// `[store]` as a source would write it, and the key that belongs into the file it names.
    pub(crate) fn settings(&self) -> (String, &'static str) {
        let settings = format!(
            "[store]\nendpoint = \"{}\"\nallow_http = true\naccount = \"{ACCOUNT}\"\nkey = {{ file = \"azure-key\" }}\n",
            self.endpoint
        );
        (settings, KEY)
    }
}
