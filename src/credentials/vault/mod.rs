//! Where credentials are kept: in memory, or sealed in a bucket of our own lattice,
//! so that every instance of the provider has them at once and after a restart.
//!
//! - [`key`], [`sealed`], `json`, [`place`]: what is sealed, how, and for where
//! - [`bucket`]: the key-value bucket; `write`: how something comes into it

pub mod bucket;
mod json;
pub mod key;
pub mod place;
pub mod sealed;
pub(crate) mod write;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::timeout_at;

use crate::credentials::given::{ContentHash, GivenCredentials};
use crate::credentials::owners::Owners;
use crate::credentials::vault::bucket::{Bucket, BucketError, NotWritten, Stored, Version};
use crate::credentials::vault::key::SealingKey;
use crate::credentials::vault::place::Places;
use crate::credentials::vault::sealed::{Opened, Sealer, Unopened};
use crate::credentials::vault::write::{Known, NotKept, Wanted, Written};
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
    /// There is none, for this reason, and there must be one.
    Missing(String),
}

/// How credentials are kept.
#[derive(Clone, Default)]
pub(super) struct Kept {
    /// As they stand in the bucket, or should; none where nothing is to be sealed.
    pub(super) sealed: Option<Bytes>,
    /// Their version in the bucket, where they are there.
    pub(super) version: Option<Version>,
}

/// The place where credentials are kept.
pub struct Vault {
    mode: StoreMode,
    owners: Owners,
    key: Option<SealingKey>,
    unplaced: Unplaced,
    /// Our own lattice, once it is known, and where credentials belong there.
    home: OnceLock<(OwnLattice, Places)>,
    stage: watch::Sender<Stage>,
    /// Notified when the bucket seems to be gone, or to be another one.
    doubtful: Notify,
    /// Whether there ever was a bucket: what is acknowledged since is in it.
    was_open: AtomicBool,
}

impl Vault {
    /// Makes a vault whose bucket is yet to be opened, unless it is memory.
    pub(super) fn new(
        mode: StoreMode,
        owners: Owners,
        unplaced: Unplaced,
        key: Option<SealingKey>,
    ) -> Self {
        let stage = match mode {
            StoreMode::Memory => Stage::Memory,
            _ => Stage::Opening,
        };
        Self {
            mode,
            owners,
            key,
            unplaced,
            home: OnceLock::new(),
            stage: watch::Sender::new(stage),
            doubtful: Notify::new(),
            was_open: AtomicBool::new(false),
        }
    }

    /// Takes our own lattice: once, before anything is set.
    pub(super) fn set_home(&self, home: &OwnLattice) {
        let _ = self.home.set((home.clone(), Places::at(home)));
    }

    /// Whether nothing is ever kept in a bucket.
    pub(super) fn is_memory(&self) -> bool {
        self.mode == StoreMode::Memory
    }

    /// Whether there is a key to seal with.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    fn sealer(&self) -> Option<Sealer<'_>> {
        let (key, (_, places)) = (self.key.as_ref()?, self.home.get()?);
        Some(Sealer {
            key,
            places,
            unplaced: self.unplaced,
        })
    }

    /// Seals credentials for the bucket; `None` where none is meant to be.
    pub(super) fn seal(&self, given: &GivenCredentials) -> Option<Bytes> {
        let sealer = self.sealer().filter(|_| !self.is_memory())?;
        sealer.seal(given).map(Bytes::from)
    }

    /// Opens what the bucket has for a lattice.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn open(&self, lattice: &LatticeId, sealed: &[u8]) -> Result<Opened, Unopened> {
        let sealer = self.sealer().ok_or(Unopened::Sealed)?;
        sealer.open(lattice, sealed)
    }

    /// Whether the bucket is as it should be.
    ///
    /// # Errors
    /// Why the bucket is missing, where it is required.
    pub(super) fn health(&self) -> Result<(), String> {
        match &*self.stage.borrow() {
            Stage::Missing(why) if self.mode == StoreMode::Jetstream => Err(missing(why)),
            _ => Ok(()),
        }
    }

    // --- what the follower of the bucket finds ---

    /// Notes that the bucket is opened again: calls that set something wait for it.
    pub(super) fn bucket_is_opening(&self) {
        self.stage.send_if_modified(|stage| {
            let open = matches!(stage, Stage::Open(_));
            if open {
                *stage = Stage::Opening;
            }
            open
        });
    }

    /// Notes that the bucket is open.
    pub(super) fn bucket_is_open(&self, bucket: Arc<Bucket>) {
        self.was_open.store(true, Ordering::Relaxed);
        self.stage.send_replace(Stage::Open(bucket));
    }

    /// Notes that there is no bucket for now; returns whether that is news.
    pub(super) fn bucket_is_missing(&self, why: &str) -> bool {
        let required = self.requires_bucket();
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

    /// Whether nothing is kept in memory only. That is so from the first bucket on:
    /// what is in memory only would be newer than what was acknowledged in it, and
    /// be lost with the process.
    pub(super) fn requires_bucket(&self) -> bool {
        self.mode == StoreMode::Jetstream || self.was_open.load(Ordering::Relaxed)
    }

    /// Waits until a write finds the bucket gone, or another one.
    pub(super) async fn until_bucket_is_doubtful(&self) {
        self.doubtful.notified().await;
    }

    // --- reading and writing ---

    /// Keeps credentials, in the bucket where there is one. `known` is what
    /// this instance knows to be there. Also returns whether the same was there before.
    ///
    /// # Errors
    /// `Denied` where those in the bucket belong to another actor,
    /// `StoreUnavailable` where they were certainly not kept, `Timeout` where it is
    /// not known.
    pub(super) async fn keep(
        &self,
        given: &GivenCredentials,
        hash: ContentHash,
        known: Option<Known>,
        deadline: Deadline,
    ) -> Result<(Kept, bool), Error> {
        let sealed = self.seal(given);
        let bucket = match self.bucket(deadline).await {
            // The follower writes them as soon as there is a bucket.
            Err(_) if !self.requires_bucket() => None,
            bucket => bucket?,
        };
        let (Some(bucket), Some(value)) = (bucket, &sealed) else {
            let kept = Kept {
                sealed,
                version: None,
            };
            return Ok((kept, false));
        };
        let wanted = Wanted {
            lattice: &given.lattice,
            actor: &given.actor,
            hash,
            sealed: value.clone(),
            set_offline_at: None,
            known,
        };
        let why = match self.put(&bucket, &wanted, deadline).await {
            Ok(written) => {
                let kept = Kept {
                    sealed: Some(written.sealed),
                    version: Some(written.version),
                };
                return Ok((kept, written.was_there));
            }
            Err(NotKept::Forbidden(error)) => return Err(error),
            Err(NotKept::NotWritten(why)) => why,
        };
        let kind = match why {
            NotWritten::Unknown(_) => Kind::Timeout,
            _ => Kind::StoreUnavailable,
        };
        Err(Error::new(
            kind,
            format!(
                "lattice {:?}: JetStream of the provider's lattice did not take the \
                 credentials ({why})",
                given.lattice.as_str()
            ),
        )
        .caused_by(why))
    }

    /// Writes into this bucket, over what may be replaced.
    ///
    /// # Errors
    /// `Forbidden` where it must not be replaced, else why nothing was written.
    pub(super) async fn put(
        &self,
        bucket: &Bucket,
        wanted: &Wanted<'_>,
        deadline: Deadline,
    ) -> Result<Written, NotKept> {
        let (Some(sealer), Some((home, _))) = (self.sealer(), self.home.get()) else {
            return Err(NotKept::NotWritten(NotWritten::Refused(BucketError::NoKey)));
        };
        let written = write::put(home, bucket, sealer, self.owners, wanted, deadline).await;
        // Other failures say nothing about the bucket.
        if match &written {
            Ok(written) => written.version.era != bucket.era(),
            Err(why) => matches!(why, NotKept::NotWritten(NotWritten::Gone)),
        } {
            self.doubtful.notify_one();
        }
        written
    }

    /// Reads what the bucket has for a lattice.
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
        let got = got.unwrap_or(Err(BucketError::Late));
        got.map_err(|why| {
            Error::new(
                Kind::StoreUnavailable,
                format!(
                    "lattice {:?} is not known here, and the store of credentials cannot be \
                     read ({why}); try again",
                    lattice.as_str()
                ),
            )
            .caused_by(why)
        })
    }

    /// Returns the bucket, if there is to be one; waits while it is being opened.
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

fn missing(why: &str) -> String {
    format!("credentials are to be kept in JetStream (credentials_store), and cannot be: {why}")
}
