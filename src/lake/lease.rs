//! One writer at a time.
//!
//! On a disk it is a lock of the operating system on one file, gone with the process however it ends. In a bucket it is an object whose
//! holder writes it anew every few seconds: whoever wants to write and finds one that moves, gives way; one that lies still for a minute
//! was left by a process that is gone, and is taken over. Nobody's clock is asked. Should a holder be cut off for so long and come back,
//! there are two for a moment; the commits, which are conditional, let one of them win, and the other learns of it at its next sign.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
    sync::Arc,
    time::Duration,
};

use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion, path::Path as Key};
use serde_json::{Value, json};
use tokio::{sync::oneshot, time::Instant};

use super::{LakeError, bucket::Bucket, folder::Root};

const LOCK: &str = ".writer.lock";

/// While it lives, this process alone may write to the lake.
#[derive(Debug)]
pub struct WriteLease(#[allow(dead_code, reason = "what counts is how long it lives")] Held);

#[derive(Debug)]
enum Held {
    Disk(#[allow(dead_code, reason = "the lock lasts as long as the open file")] File),
    Bucket(#[allow(dead_code, reason = "the signs are given as long as it lives")] Signs),
}

/// How often a holder gives a sign, and after which silence it is taken for gone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rhythm {
    pub(super) sign: Duration,
    pub(super) gone: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { sign: Duration::from_secs(10), gone: Duration::from_secs(60) }
    }
}

impl WriteLease {
    pub(super) async fn take(root: &Root, rhythm: Rhythm) -> Result<Self, LakeError> {
        match root {
            Root::Disk(root) => lock(root).map(|file| Self(Held::Disk(file))),
            Root::Bucket(bucket) => Signs::start(bucket, rhythm).await.map(|signs| Self(Held::Bucket(signs))),
        }
    }
}

fn lock(root: &Path) -> Result<File, LakeError> {
    let path = root.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(LakeError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LakeError::Busy),
        Err(TryLockError::Error(error)) => Err(LakeError::io(&path)(error)),
    }
}

/// The thread that gives the signs: queries that keep all others busy do not silence it. When this is dropped, it takes the object away.
#[derive(Debug)]
struct Signs {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Signs {
    async fn start(bucket: &Arc<Bucket>, rhythm: Rhythm) -> Result<Self, LakeError> {
        let (mut post, writes) = (Post::new(bucket.again()?, rhythm)?, Arc::clone(bucket));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(LakeError::io(Path::new(LOCK)))?;
        let (stop, stopped) = oneshot::channel();
        let (taken, outcome) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let got = post.take().await;
                let held = got.is_ok();
                if held {
                    writes.oust(false);
                }
                // Whoever asked may be gone by now; then it is given back at once.
                if taken.send(got).is_ok() && held {
                    post.hold(stopped, &writes).await;
                }
                if held {
                    post.leave().await;
                }
            });
        });
        outcome.await.unwrap_or(Err(LakeError::Busy))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has its own runtime, and no request of it takes longer than `ANSWER`.
            let _ = thread.join();
        }
    }
}

/// How long one answer about the lease is waited for.
const ANSWER: Duration = Duration::from_secs(10);

/// The object that is the lease, from the holder's side.
struct Post {
    bucket: Bucket,
    store: Arc<dyn ObjectStore>,
    key: Key,
    rhythm: Rhythm,
    holder: String,
    signs: u64,
    version: UpdateVersion,
    ousted: bool,
}

impl Post {
    fn new(bucket: Bucket, rhythm: Rhythm) -> Result<Self, LakeError> {
        let mut holder = [0; 12];
        getrandom::fill(&mut holder).map_err(|error| LakeError::io(Path::new(LOCK))(std::io::Error::other(error.to_string())))?;
        let (store, key) = (bucket.store(), bucket.table(LOCK));
        let version = UpdateVersion { e_tag: None, version: None };
        Ok(Self { bucket, store, key, rhythm, holder: hex::encode(holder), signs: 0, version, ousted: false })
    }

    /// Takes the lease where nobody holds it, or nobody alive.
    async fn take(&mut self) -> Result<(), LakeError> {
        loop {
            match self.put(PutMode::Create).await {
                Ok(()) => return self.prove().await,
                Err(Error::AlreadyExists { .. }) => {}
                Err(error) => return Err(self.bucket.failed(&self.key, &error)),
            }
            let Some((holder, seen)) = self.look().await.map_err(|error| self.bucket.failed(&self.key, &error))? else { continue };
            if holder == self.holder {
                self.version = seen;
                return Ok(());
            }
            match self.lies_still(&seen).await? {
                Some(true) => {}
                Some(false) => return Err(LakeError::Busy),
                None => continue,
            }
            match self.put(PutMode::Update(seen)).await {
                Ok(()) => {
                    tracing::warn!(lease = self.bucket.address(&self.key), "taken over from a process that gave no sign any more");
                    return Ok(());
                }
                Err(Error::Precondition { .. } | Error::NotFound { .. }) => return Err(LakeError::Busy),
                Err(error) => return Err(self.bucket.failed(&self.key, &error)),
            }
        }
    }

    /// Whether the store keeps the condition of a write at all: without that, two writers would both win.
    async fn prove(&mut self) -> Result<(), LakeError> {
        let version = self.version.clone();
        match self.put(PutMode::Create).await {
            Err(Error::AlreadyExists { .. }) => {
                self.version = version;
                Ok(())
            }
            Err(error) => {
                self.leave().await;
                Err(self.bucket.failed(&self.key, &error))
            }
            Ok(()) => {
                self.leave().await;
                let reason = format!("{} writes over what is there although it was told not to", self.bucket.address(&self.key));
                let hint = "two writers could not be kept apart there; use a store that keeps `If-None-Match`, as S3, R2 and MinIO do";
                Err(LakeError::Store { reason, hint: hint.to_owned() })
            }
        }
    }

    /// Whether the object is the same for as long as it takes to call its holder gone; `None` where it was taken away meanwhile.
    async fn lies_still(&self, seen: &UpdateVersion) -> Result<Option<bool>, LakeError> {
        let until = Instant::now() + self.rhythm.gone;
        tracing::info!(
            lease = self.bucket.address(&self.key),
            "another process may be writing to the lake; looking whether it gives a sign"
        );
        while Instant::now() < until {
            tokio::time::sleep(self.rhythm.sign / 5).await;
            match self.look().await {
                Ok(Some((_, now))) if now == *seen => {}
                Ok(there) => return Ok(there.map(|_| false)),
                Err(error) => return Err(self.bucket.failed(&self.key, &error)),
            }
        }
        Ok(Some(true))
    }

    /// Gives a sign now and then, until there is no more need of it.
    async fn hold(&mut self, mut stopped: oneshot::Receiver<()>, writes: &Bucket) {
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                () = tokio::time::sleep(self.rhythm.sign) => {}
            }
            match self.put(PutMode::Update(self.version.clone())).await {
                Ok(()) => {}
                Err(Error::Precondition { .. } | Error::NotFound { .. }) => match self.look().await {
                    // An earlier sign whose answer got lost.
                    Ok(Some((holder, version))) if holder == self.holder => self.version = version,
                    Ok(_) => {
                        tracing::error!(lease = self.bucket.address(&self.key), "another process took the lease; this one writes no more");
                        self.ousted = true;
                        writes.oust(true);
                        return;
                    }
                    Err(_) => {}
                },
                Err(error) => tracing::warn!(error = %self.bucket.failed(&self.key, &error), "no sign could be given; trying again"),
            }
        }
    }

    /// Takes the object away, unless it is another's by now.
    async fn leave(&mut self) {
        if !self.ousted {
            // Where this fails, the next writer waits until it is called gone.
            let _ = tokio::time::timeout(ANSWER, self.store.delete(&self.key)).await;
        }
    }

    async fn put(&mut self, mode: PutMode) -> Result<(), Error> {
        self.signs += 1;
        let body = json!({ "holder": self.holder, "process": std::process::id(), "signs": self.signs }).to_string();
        let put = self.store.put_opts(&self.key, body.into(), mode.into());
        self.version = tokio::time::timeout(ANSWER, put).await.unwrap_or_else(|_| Err(late()))?.into();
        Ok(())
    }

    /// Who holds it, and since which sign.
    async fn look(&self) -> Result<Option<(String, UpdateVersion)>, Error> {
        let look = async {
            let got = match self.store.get(&self.key).await {
                Ok(got) => got,
                Err(Error::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let version = UpdateVersion { e_tag: got.meta.e_tag.clone(), version: got.meta.version.clone() };
            let body: Value = serde_json::from_slice(&got.bytes().await?).unwrap_or_default();
            Ok(Some((body["holder"].as_str().unwrap_or_default().to_owned(), version)))
        };
        tokio::time::timeout(ANSWER, look).await.unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> Error {
    Error::Generic { store: "lease", source: "no answer came in time".into() }
}
