//! Where credentials are kept: in memory, or sealed in a bucket of our own
//! lattice, from which every instance of the provider has them at once and after
//! a restart.
//!
//! - [`key`], [`entry`], `json`, [`place`]: what is sealed, how, and for where
//! - [`bucket`]: where it is kept; [`mod@write`]: how it comes there
//! - [`follow`]: how what others set becomes ours; [`rewrite`]: and what earlier
//!   releases wrote, bound to its place

pub mod bucket;
pub mod entry;
pub mod follow;
mod json;
pub mod key;
pub mod place;
pub mod rewrite;
pub mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use crate::credentials::vault::bucket::{Bucket, NotWritten, Stored};
pub use crate::credentials::vault::entry::{Entry, Mark, Opened, Unopened};
pub use crate::credentials::vault::key::StoreKey;
use crate::credentials::vault::place::Places;
use crate::credentials::vault::write::{Kept, NotKept, Verdict, Wanted};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::OwnLattice;
use crate::settings::{StoreMode, Unplaced};

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
    unplaced: Unplaced,
    /// Our own lattice, once it is known, and where entries belong there.
    home: OnceLock<(OwnLattice, Places)>,
    stage: watch::Sender<Stage>,
    /// Told when the bucket seems to be gone, or another one.
    doubtful: Arc<Notify>,
    /// There was a bucket: what is acknowledged from now on is in it.
    was_open: AtomicBool,
}

impl Store {
    /// A store that waits for [`follow::follow`] to open it, unless it is memory.
    pub fn new(mode: StoreMode, unplaced: Unplaced, key: Option<StoreKey>) -> Self {
        let stage = match mode {
            StoreMode::Memory => Stage::Memory,
            _ => Stage::Opening,
        };
        Self {
            mode,
            key,
            unplaced,
            home: OnceLock::new(),
            stage: watch::Sender::new(stage),
            doubtful: Arc::default(),
            was_open: AtomicBool::new(false),
        }
    }

    /// Takes where the bucket is: once, before anything is set.
    pub(super) fn at(&self, home: &OwnLattice) {
        let _ = self.home.set((home.clone(), Places::at(home)));
    }

    /// The key that entries are sealed with.
    pub fn key(&self) -> Option<&StoreKey> {
        self.key.as_ref()
    }

    /// An entry as it is to stand in the bucket, where there is to be one.
    pub(super) fn sealed(&self, entry: &Entry) -> Option<Bytes> {
        let (key, (_, places)) = (self.key.as_ref()?, self.home.get()?);
        let is_kept = self.mode != StoreMode::Memory;
        let sealed = is_kept.then(|| entry.seal(key, places)).flatten();
        sealed.map(Bytes::from)
    }

    /// Opens what stands in the bucket under a lattice.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn opened(&self, lattice: &LatticeId, value: &[u8]) -> Result<Opened, Unopened> {
        let (Some(key), Some((_, places))) = (&self.key, self.home.get()) else {
            return Err(Unopened::Sealed);
        };
        let opened = Entry::open(key, places, lattice, value)?;
        match opened.is_placed || self.unplaced == Unplaced::Accepted {
            true => Ok(opened),
            false => Err(Unopened::Unplaced),
        }
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

    /// Keeps a sealed entry over what is there, where `judge` lets it go; how it
    /// stands in the bucket, where there is one.
    ///
    /// # Errors
    /// Those of `judge`;
    /// `StoreUnavailable` where it was certainly not kept, `Timeout` where
    /// nobody knows.
    pub(super) async fn keep(
        &self,
        wanted: Option<Wanted<'_>>,
        judge: impl Fn(&Stored) -> Verdict,
        deadline: Deadline,
    ) -> Result<Option<Kept>, Error> {
        let bucket = match self.bucket(deadline).await {
            // It is kept as soon as there is a bucket.
            Err(_) if !self.is_required() => None,
            bucket => bucket?,
        };
        let (Some(bucket), Some(wanted), Some((home, _))) = (bucket, wanted, self.home.get())
        else {
            return Ok(None);
        };
        let lattice = wanted.lattice;
        let why = match write::put(home, &bucket, wanted, judge, deadline).await {
            Ok(kept) => {
                if kept.is_elsewhere {
                    self.doubtful.notify_one();
                }
                return Ok(Some(kept));
            }
            Err(NotKept::Forbidden(error)) => return Err(error),
            Err(NotKept::NotWritten(why)) => why,
        };
        // Other failures say nothing about the bucket.
        if matches!(why, NotWritten::Gone) {
            self.doubtful.notify_one();
        }
        let kind = match why {
            NotWritten::Unknown(_) => Kind::Timeout,
            _ => Kind::StoreUnavailable,
        };
        Err(Error::new(
            kind,
            format!(
                "lattice {:?}: JetStream of the provider's lattice did not take the \
                 credentials ({why})",
                lattice.as_str()
            ),
        ))
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
