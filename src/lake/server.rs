//! A server for tests that speaks S3: moto, from a Python environment that `.ci/run` makes.

#![allow(clippy::print_stdout, reason = "a test that is skipped says why")]

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use object_store::{ObjectStore, ObjectStoreExt, aws::AmazonS3Builder};

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

fn found() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/perennial"));
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    [target, home].into_iter().flatten().map(|folder| folder.join("moto/bin/moto_server")).find(|server| server.exists())
}

impl Moto {
    /// A server, or a word on why there is none. A `strict` one knows no key at all, and refuses whoever comes with one.
    pub(crate) async fn start(strict: bool) -> Option<Self> {
        let Some(server) = found() else {
            println!("skipped: moto is not installed (`.ci/run` puts it into ~/.cache/perennial/moto)");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(server);
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
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                if !strict {
                    let made = reqwest::Client::new().put(format!("http://127.0.0.1:{port}/{BUCKET}")).send().await.unwrap();
                    assert!(made.status().is_success());
                }
                return Some(moto);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("moto did not come up");
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

    /// `[store]` as a source would write it, the secret in a file of the project.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[store]\nendpoint = \"http://127.0.0.1:{}\"\nallow_http = true\naccess_key_id = {{ file = \"id\" }}\nsecret_access_key = {{ file = \"secret\" }}\n",
            self.port
        )
    }
}
