//! Follows the bucket: opens it, again and again where need be, and takes over what
//! is in it, which was set before this process started or by other instances.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::credentials::registry::Registry;
use crate::credentials::rewrite::{Rewrite, rewrite};
use crate::credentials::stored::NotTaken;
use crate::credentials::vault::bucket::{Bucket, BucketError, Change, WriteError};
use crate::credentials::vault::sealed::Unopened;
use crate::credentials::vault::write::{NotKept, Wanted};
use crate::deadline::Deadline;
use crate::name::LatticeId;
use crate::nats::OwnLattice;
use crate::telemetry::LogLimiter;

/// Pauses before the bucket is opened again after a failure.
const RETRY: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(30));
/// Pause between two looks whether the bucket is still there.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Pause before a look that a write asked for which found the bucket gone: many
/// writes may ask for one.
const LOOK_WHEN_DOUBTED: Duration = Duration::from_millis(100);
/// Pause before the bucket is read again after a change may have been missed: more
/// may follow.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Silence after which, while the bucket is read, it is asked whether there is more.
const STALLED_AFTER: Duration = Duration::from_millis(200);
/// Longest silence while the bucket is read.
const NEXT_VALUE_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for a write of what only we have.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// Follows the bucket of our lattice, in a task, until the connection to it is given
/// up for good.
pub fn follow(registry: &Arc<Registry>, home: OwnLattice) {
    registry.vault.set_home(&home);
    if registry.vault.is_memory() {
        return;
    }
    if !registry.vault.has_key() {
        return note_missing(registry, &BucketError::NoKey.to_string());
    }
    let follower = Follower {
        registry: registry.clone(),
        connects: home.connects.clone(),
        home,
        unopened: LogLimiter::default(),
    };
    tokio::spawn(follower.run());
}

/// Notes and logs that there is no bucket for now.
fn note_missing(registry: &Registry, why: &str) {
    let is_news = registry.vault.bucket_is_missing(why);
    match (is_news, registry.vault.requires_bucket()) {
        (false, _) => debug!(why, "no bucket for credentials"),
        (true, true) => warn!(
            why,
            "credentials cannot be kept, and none are taken (credentials_store)"
        ),
        (true, false) => warn!(
            why,
            "credentials are kept in memory only: other instances do not have them, and a \
             restart loses them (credentials_store)"
        ),
    }
}

/// Why there is no bucket to follow.
#[derive(Debug, thiserror::Error)]
enum NotFollowed {
    #[error(transparent)]
    Bucket(#[from] BucketError),
    #[error("reading the bucket takes too long")]
    TooSlow,
    #[error("reading the bucket ended early")]
    EndedEarly,
    #[error("credentials of lattice {lattice} are not kept: {source}")]
    NotKept { lattice: LatticeId, source: NotKept },
}

struct Follower {
    registry: Arc<Registry>,
    home: OwnLattice,
    connects: watch::Receiver<u64>,
    /// Limits the log lines about values that cannot be opened.
    unopened: LogLimiter,
}

impl Follower {
    async fn run(mut self) {
        let mut failed = 0;
        // Without a connection there is nobody to ask.
        while self
            .connects
            .wait_for(|connects| *connects > 0)
            .await
            .is_ok()
        {
            if self.connects.has_changed().is_err() {
                return;
            }
            self.connects.mark_unchanged();
            let Err(why) = self.round().await else {
                failed = 0;
                continue;
            };
            note_missing(&self.registry, &why.to_string());
            tokio::select! {
                () = sleep(RETRY.pause(failed)) => failed += 1,
                _ = self.connects.changed() => failed = 0,
            }
        }
    }

    /// Takes over what is in the bucket, then every change, until the bucket has to
    /// be opened again.
    ///
    /// # Errors
    /// Why there is no bucket.
    async fn round(&mut self) -> Result<(), NotFollowed> {
        let registry = self.registry.clone();
        registry.vault.bucket_is_opening();
        let bucket = Arc::new(Bucket::open(&self.home).await?);
        let (count, mut changes) = bucket.follow().await?;
        let (seen, mut last_seen, old) = self.take_all(&bucket, count, &mut changes).await?;
        info!(lattices = seen.len(), "credentials are kept in JetStream");
        // Before anything else is acknowledged.
        self.write_unstored(&bucket, &seen).await?;
        registry.vault.bucket_is_open(bucket.clone());
        tokio::spawn(rewrite(registry.clone(), bucket.clone(), old));
        let mut look_at = Instant::now() + LOOK_EVERY;
        let mut missed = false;
        loop {
            tokio::select! {
                change = changes.next() => match change.transpose()? {
                    Some(change) => {
                        let removed = change.stored.value.is_none();
                        let revision = change.stored.version.revision;
                        // Servers 2.9 jump to a removal, over what was written just
                        // before it and not sent yet.
                        if removed && revision > last_seen + 1 && !missed {
                            missed = true;
                            look_at = look_at.min(Instant::now() + READ_AGAIN_AFTER);
                        }
                        last_seen = last_seen.max(revision);
                        if let Some(old) = self.take(change, None) {
                            tokio::spawn(rewrite(registry.clone(), bucket.clone(), vec![old]));
                        }
                    }
                    None => return Ok(()),
                },
                // Reading the bucket again brings what was missed meanwhile.
                _ = self.connects.changed() => return Ok(()),
                () = registry.vault.until_bucket_is_doubtful() => {
                    look_at = look_at.min(Instant::now() + LOOK_WHEN_DOUBTED);
                }
                () = sleep_until(look_at) => {
                    if missed {
                        return Ok(());
                    }
                    // The stream of changes tells neither that its bucket is gone
                    // nor that nothing arrives any more.
                    let Some(now) = Bucket::find(&self.home).await? else {
                        return Ok(());
                    };
                    let newest = now.newest_of_ours().await?;
                    if newest.era != bucket.newest().era || newest.revision != last_seen {
                        return Ok(());
                    }
                    if registry.has_unstored() {
                        return Ok(());
                    }
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// Takes over what is in the bucket now. Returns the lattices that have a key,
    /// the newest revision, and what earlier releases wrote.
    async fn take_all(
        &self,
        bucket: &Bucket,
        count: u64,
        changes: &mut (impl Stream<Item = Result<Change, BucketError>> + Unpin),
    ) -> Result<(HashSet<LatticeId>, u64, Vec<Rewrite>), NotFollowed> {
        let mut old = Vec::new();
        let (mut seen, mut unopenable) = (HashSet::new(), Unopenable::default());
        let (mut newest, mut pending, mut last) = (0, count, Instant::now());
        while pending > 0 {
            let Ok(change) = timeout(STALLED_AFTER, changes.next()).await else {
                // A value that was removed meanwhile does not come.
                if bucket.newest_of_ours().await?.revision <= newest {
                    break;
                }
                if last.elapsed() > NEXT_VALUE_WITHIN {
                    return Err(NotFollowed::TooSlow);
                }
                continue;
            };
            last = Instant::now();
            let change = change.ok_or(NotFollowed::EndedEarly)??;
            pending = change.pending;
            seen.extend(change.lattice.clone());
            newest = newest.max(change.stored.version.revision);
            old.extend(self.take(change, Some(&mut unopenable)));
        }
        if let Some((lattice, why)) = unopenable.first {
            warn_of_unopenable(unopenable.count, &lattice, why);
        }
        Ok((seen, newest, old))
    }

    /// Takes over one value. One that cannot be opened is counted, or logged. Returns
    /// what is to be written again, where an earlier release wrote it.
    fn take(&self, change: Change, unopenable: Option<&mut Unopenable>) -> Option<Rewrite> {
        let lattice = change.lattice?;
        let version = change.stored.version;
        let why = match self.registry.take_stored(&lattice, change.stored) {
            Ok(placed) => {
                return placed.map(|placed| Rewrite {
                    lattice,
                    placed,
                    version,
                });
            }
            Err(NotTaken::Full(..)) => return None,
            Err(NotTaken::Unopened(why)) => why,
        };
        match unopenable {
            Some(unopenable) => {
                unopenable.count += 1;
                unopenable.first.get_or_insert((lattice.to_string(), why));
            }
            None if self.unopened.is_due() => warn_of_unopenable(1, lattice.as_str(), why),
            None => debug!(%lattice, ?why, "credentials in the store cannot be opened"),
        }
        None
    }

    /// Writes what only this instance has: it was set while there was no bucket, or
    /// the bucket was lost.
    async fn write_unstored(
        &self,
        bucket: &Bucket,
        seen: &HashSet<LatticeId>,
    ) -> Result<(), NotFollowed> {
        for missing in self.registry.unstored(seen, bucket.newest()) {
            let (lattice, binding) = (&missing.lattice, &missing.binding);
            let written = match binding.kept.version {
                None => {
                    let wanted = Wanted {
                        lattice,
                        actor: &binding.owner,
                        hash: binding.hash,
                        sealed: missing.sealed,
                        set_offline_at: Some(binding.set_at),
                        known: None,
                    };
                    let deadline = Deadline::new(Instant::now(), WRITTEN_WITHIN);
                    let written = self.registry.vault.put(bucket, &wanted, deadline).await;
                    written.map(drop)
                }
                // Where another instance was quicker, its value is taken over.
                Some(_) => match bucket.write(lattice, missing.sealed, 0).await {
                    Ok(_) | Err(WriteError::Changed) => Ok(()),
                    Err(WriteError::Failed(why)) => Err(NotKept::NotWritten(why)),
                },
            };
            match written {
                Ok(()) => info!(%lattice, "credentials are now kept in JetStream"),
                // What is there was taken over, or will be.
                Err(NotKept::Forbidden(why)) => info!(%lattice, %why, "credentials not kept"),
                Err(source) => {
                    let lattice = lattice.clone();
                    return Err(NotFollowed::NotKept { lattice, source });
                }
            }
        }
        Ok(())
    }
}

/// Values that cannot be opened: how many, and the first.
#[derive(Default)]
struct Unopenable {
    count: usize,
    first: Option<(String, Unopened)>,
}

fn warn_of_unopenable(count: usize, lattice: &str, why: Unopened) {
    warn!(
        count,
        lattice,
        ?why,
        "credentials in the store cannot be opened and are ignored: they were sealed with \
         another key (credentials_key, else one of the cluster seed), changed or moved since, \
         or do not say where they belong (unplaced_credentials)"
    );
}
