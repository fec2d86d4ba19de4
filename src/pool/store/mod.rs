//! Where credentials are kept: in memory, or sealed in a bucket of our own
//! lattice, from which every instance of the provider has them at once and after
//! a restart.
//!
//! - [`key`], [`entry`]: what is sealed, and how
//! - [`bucket`]: where it is kept
//! - [`follow`]: how what others set becomes ours

pub mod bucket;
pub mod entry;
pub mod follow;
pub mod key;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::settings::StoreMode;
use bucket::{Bucket, NotWritten, Stored, Version};
pub use entry::{Entry, Unopened};
pub use key::StoreKey;

/// Whether there is a bucket.
#[derive(Clone)]
enum Stage {
    /// It is being looked for.
    Opening,
    /// There is one.
    Open(Arc<Bucket>),
    /// There is none, and none is needed.
    Memory,
    /// There is none, and there must be one.
    Missing(String),
}

/// The place where credentials are kept.
pub struct Store {
    mode: StoreMode,
    key: Option<StoreKey>,
    stage: watch::Sender<Stage>,
    /// Told when the bucket did not take something: it may be gone.
    doubtful: Arc<Notify>,
    /// There was a bucket: what is acknowledged from now on is in it.
    was_open: AtomicBool,
}

impl Store {
    /// A store that waits for [`follow::follow`] to open it, unless it is memory.
    pub fn new(mode: StoreMode, key: Option<StoreKey>) -> Self {
        let stage = match mode {
            StoreMode::Memory => Stage::Memory,
            _ => Stage::Opening,
        };
        Self {
            mode,
            key,
            stage: watch::Sender::new(stage),
            doubtful: Arc::default(),
            was_open: AtomicBool::new(false),
        }
    }

    /// The key that entries are sealed with.
    pub fn key(&self) -> Option<&StoreKey> {
        self.key.as_ref()
    }

    /// Whether it is as it should be.
    ///
    /// # Errors
    /// Why the bucket is missing, where it is required.
    pub fn health(&self) -> Result<(), String> {
        match &*self.stage.borrow() {
            Stage::Missing(why) if self.mode == StoreMode::Jetstream => Err(missing(why)),
            _ => Ok(()),
        }
    }

    /// Takes that the bucket is opened again: whoever sets something waits.
    fn opening(&self) {
        self.stage.send_if_modified(|stage| {
            let open = matches!(stage, Stage::Open(_));
            if open {
                *stage = Stage::Opening;
            }
            open
        });
    }

    /// Takes that there is a bucket.
    fn open(&self, bucket: Arc<Bucket>) {
        self.was_open.store(true, Ordering::Relaxed);
        self.stage.send_replace(Stage::Open(bucket));
    }

    /// Takes that there is none for now; whether that is news.
    fn unavailable(&self, why: &str) -> bool {
        let required = self.is_required();
        let mut news = false;
        self.stage.send_modify(|stage| {
            news = matches!(stage, Stage::Opening);
            *stage = match required {
                true => Stage::Missing(why.to_owned()),
                false => Stage::Memory,
            };
        });
        news
    }

    /// Whether nothing is kept in memory only: what was acknowledged while there
    /// was a bucket must not be outlived by what is not kept.
    fn is_required(&self) -> bool {
        self.mode == StoreMode::Jetstream || self.was_open.load(Ordering::Relaxed)
    }

    /// Keeps a sealed entry, over the one of which the version is known, or
    /// another one that it may replace; its version, where there is a bucket.
    ///
    /// # Errors
    /// Those of `may_replace`;
    /// `StoreUnavailable` where it was certainly not kept, `Timeout` where
    /// nobody knows.
    pub(super) async fn keep(
        &self,
        lattice: &LatticeId,
        sealed: Option<&Bytes>,
        known: Option<Version>,
        may_replace: impl Fn(&Stored) -> Result<(), Error>,
        deadline: Deadline,
    ) -> Result<Option<Version>, Error> {
        let bucket = match self.bucket(deadline).await {
            // It is kept as soon as there is a bucket.
            Err(_) if !self.is_required() => None,
            bucket => bucket?,
        };
        let (Some(bucket), Some(sealed)) = (bucket, sealed) else {
            return Ok(None);
        };
        let put = bucket.put(lattice, sealed.clone(), known, may_replace);
        let written = timeout_at(deadline.at(), put).await;
        let late = || Err(NotWritten::Unknown("no answer in time".into()));
        written
            .unwrap_or_else(|_| late())
            .map(Some)
            .map_err(|error| {
                self.doubtful.notify_one();
                let (kind, why) = match error {
                    NotWritten::Forbidden(error) => return error,
                    NotWritten::Refused(why) => (Kind::StoreUnavailable, why),
                    NotWritten::Unknown(why) => (Kind::Timeout, why),
                };
                Error::new(
                    kind,
                    format!(
                        "lattice {:?}: JetStream of the provider's lattice did not take the \
                     credentials ({why})",
                        lattice.as_str()
                    ),
                )
            })
    }

    /// What is kept for a lattice.
    ///
    /// # Errors
    /// `StoreUnavailable`.
    pub(super) async fn get(
        &self,
        lattice: &LatticeId,
        deadline: Deadline,
    ) -> Result<Option<Stored>, Error> {
        let Some(bucket) = self.bucket(deadline).await? else {
            return Ok(None);
        };
        let got = timeout_at(deadline.at(), bucket.get(lattice)).await;
        let got = got.unwrap_or_else(|_| Err("no answer in time".into()));
        got.map_err(|why| {
            Error::new(
                Kind::StoreUnavailable,
                format!(
                    "lattice {:?} is not known here, and the store of credentials cannot be \
                     read ({why}); try again",
                    lattice.as_str()
                ),
            )
        })
    }

    /// The bucket, if there is to be one; waits while it is being opened.
    async fn bucket(&self, deadline: Deadline) -> Result<Option<Arc<Bucket>>, Error> {
        let mut stage = self.stage.subscribe();
        let opened = stage.wait_for(|stage| !matches!(stage, Stage::Opening));
        let stage = match timeout_at(deadline.half().at(), opened).await {
            Ok(Ok(stage)) => stage.clone(),
            _ => Stage::Missing("it is still being opened; try again".into()),
        };
        match stage {
            Stage::Open(bucket) => Ok(Some(bucket)),
            Stage::Memory | Stage::Opening => Ok(None),
            Stage::Missing(why) => Err(Error::new(Kind::StoreUnavailable, missing(&why))),
        }
    }
}

/// Why there is nothing to seal with.
const NO_KEY: &str = "there is nothing to seal with: the host data has no cluster seed; \
                      set credentials_key";

fn missing(why: &str) -> String {
    format!("credentials are to be kept in JetStream (credentials_store), and cannot be: {why}")
}
