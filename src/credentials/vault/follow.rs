//! Opens the bucket, again and again where need be, and takes over what is in it:
//! what was set before we started, and what other instances set.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::credentials::Pool;
use crate::credentials::set::NotTaken;
use crate::credentials::vault::bucket::{Bucket, Change, Stored, WriteError};
use crate::credentials::vault::rewrite::{Rewrite, rewrite};
use crate::credentials::vault::write::{self, NotKept, Wanted};
use crate::credentials::vault::{NO_KEY, Unopened};
use crate::deadline::Deadline;
use crate::name::LatticeId;
use crate::nats::OwnLattice;
use crate::settings::StoreMode;
use crate::telemetry::LogLimiter;

/// Pause before the bucket is looked for again.
const AGAIN: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(30));
/// How often it is looked whether the bucket is still there.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long after a write found the bucket gone it is looked at: whoever caused it
/// may do so again and again.
const DOUBTED_FOR: Duration = Duration::from_millis(100);
/// How long after a change may have been missed the bucket is read again: there
/// may be more of them.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Silence between two entries that were there already after which it is looked
/// whether there are more.
const STALLED_AFTER: Duration = Duration::from_millis(200);
/// Longest silence between two of them.
const NEXT_ENTRY_WITHIN: Duration = Duration::from_secs(5);
/// Longest wait for an entry that only we have to be written.
const GIVEN_WITHIN: Duration = Duration::from_secs(5);

/// Follows the bucket of our lattice for a pool, for as long as there is one.
pub async fn follow<K: Default + Send + Sync + 'static>(pool: Weak<Pool<K>>, home: OwnLattice) {
    let Some(mode) = pool.upgrade().map(|pool| pool.store().mode) else {
        return;
    };
    if mode == StoreMode::Memory {
        return;
    }
    if pool
        .upgrade()
        .is_none_or(|pool| pool.store().key().is_none())
    {
        return unavailable(&pool, NO_KEY);
    }
    let mut follower = Follower {
        connects: home.connects.clone(),
        pool,
        home,
        unopened: LogLimiter::default(),
    };
    let mut failed = 0;
    loop {
        // Where we are not connected there is nothing to ask.
        if follower
            .connects
            .wait_for(|connects| *connects > 0)
            .await
            .is_err()
        {
            return;
        }
        follower.connects.mark_unchanged();
        let Err(why) = follower.round().await else {
            failed = 0;
            if follower.pool.strong_count() == 0 {
                return;
            }
            continue;
        };
        unavailable(&follower.pool, &why);
        tokio::select! {
            () = sleep(AGAIN.pause(failed)) => failed += 1,
            _ = follower.connects.changed() => failed = 0,
        }
        if follower.pool.strong_count() == 0 {
            return;
        }
    }
}

/// Takes that there is no bucket for now. Where there was one, nothing is kept in
/// memory only from then on.
fn unavailable<K: Default + Send + Sync + 'static>(pool: &Weak<Pool<K>>, why: &str) {
    let Some(pool) = pool.upgrade() else { return };
    match (pool.store().unavailable(why), pool.store().is_required()) {
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

struct Follower<K> {
    pool: Weak<Pool<K>>,
    home: OwnLattice,
    connects: watch::Receiver<u64>,
    unopened: LogLimiter,
}

impl<K: Default + Send + Sync + 'static> Follower<K> {
    /// Takes over what is in the bucket, then every change, until it has to be
    /// opened again: at once, or because it is gone, and why.
    async fn round(&mut self) -> Result<(), String> {
        if let Some(pool) = self.pool.upgrade() {
            pool.store().opening();
        }
        let bucket = Arc::new(Bucket::open(&self.home).await?);
        let (count, mut changes) = bucket.follow().await?;
        let (seen, mut heard, old) = self.take_all(&bucket, count, &mut changes).await?;
        let doubtful = {
            let Some(pool) = self.pool.upgrade() else {
                return Ok(());
            };
            info!(lattices = seen.len(), "credentials are kept in JetStream");
            // Before anything else is acknowledged.
            self.give(&pool, &bucket, &seen).await?;
            pool.store().open(bucket.clone());
            pool.store().doubtful.clone()
        };
        tokio::spawn(rewrite(self.pool.clone(), bucket.clone(), old));
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
                        if removed && revision > heard + 1 && !missed {
                            missed = true;
                            look_at = look_at.min(Instant::now() + READ_AGAIN_AFTER);
                        }
                        heard = heard.max(revision);
                        let old = self.take(change, None);
                        if old.is_some() {
                            let old = Vec::from_iter(old);
                            tokio::spawn(rewrite(self.pool.clone(), bucket.clone(), old));
                        }
                    }
                    None => return Ok(()),
                },
                // What was missed meanwhile is in the bucket.
                _ = self.connects.changed() => return Ok(()),
                // Not at once: whoever caused it may do so again and again.
                () = doubtful.notified() => {
                    look_at = look_at.min(Instant::now() + DOUBTED_FOR);
                }
                () = sleep_until(look_at) => {
                    let Some(pool) = self.pool.upgrade() else {
                        return Ok(());
                    };
                    if missed {
                        return Ok(());
                    }
                    // The stream of changes says neither that its bucket is gone
                    // nor that it has become deaf itself.
                    let Some(now) = Bucket::find(&self.home).await? else {
                        return Ok(());
                    };
                    let newest = now.newest_of_ours().await?;
                    if newest.era != bucket.newest().era || newest.revision != heard {
                        return Ok(());
                    }
                    if pool.is_unstored() {
                        return Ok(());
                    }
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// Takes over what is there now; the lattices that have something, the newest
    /// revision, and what earlier releases wrote.
    async fn take_all(
        &self,
        bucket: &Bucket,
        count: u64,
        changes: &mut (impl Stream<Item = Result<Change, String>> + Unpin),
    ) -> Result<(HashSet<LatticeId>, u64, Vec<Rewrite>), String> {
        let mut old = Vec::new();
        let (mut seen, mut unopenable) = (HashSet::new(), Unopenable::default());
        let (mut newest, mut pending, mut last) = (0, count, Instant::now());
        while pending > 0 {
            let Ok(change) = timeout(STALLED_AFTER, changes.next()).await else {
                // An entry that went away meanwhile does not come.
                if bucket.newest_of_ours().await?.revision <= newest {
                    break;
                }
                if last.elapsed() > NEXT_ENTRY_WITHIN {
                    return Err("reading the bucket takes too long".into());
                }
                continue;
            };
            last = Instant::now();
            let change = change.ok_or("reading the bucket ended early")??;
            pending = change.pending;
            seen.extend(change.lattice.clone());
            newest = newest.max(change.stored.version.revision);
            old.extend(self.take(change, Some(&mut unopenable)));
        }
        if let Some((lattice, why)) = unopenable.first {
            tell(unopenable.count, &lattice, why);
        }
        Ok((seen, newest, old))
    }

    /// Takes over one entry; those that cannot be opened are counted, or told. What
    /// is to be done where an earlier release wrote it.
    fn take(&self, change: Change, unopenable: Option<&mut Unopenable>) -> Option<Rewrite> {
        let (lattice, pool) = (change.lattice?, self.pool.upgrade()?);
        let version = change.stored.version;
        let why = match pool.take_stored(&lattice, change.stored) {
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
            None if self.unopened.is_due() => tell(1, lattice.as_str(), why),
            None => debug!(%lattice, ?why, "credentials in the store cannot be opened"),
        }
        None
    }

    /// Writes what only we have: it was set while there was no bucket, or the
    /// bucket was lost. What was removed from the bucket that we know is let go.
    async fn give(
        &self,
        pool: &Pool<K>,
        bucket: &Bucket,
        seen: &HashSet<LatticeId>,
    ) -> Result<(), String> {
        for missing in pool.not_stored(seen, bucket.newest()) {
            let (lattice, sealed) = (&missing.lattice, missing.sealed.clone());
            let given = match missing.is_newer {
                true => {
                    let goes = |stored: &Stored| pool.goes_before(&missing, stored);
                    let wanted = Wanted {
                        lattice,
                        value: sealed,
                        known: None,
                        is_known: false,
                    };
                    let deadline = Deadline::new(Instant::now(), GIVEN_WITHIN);
                    let put = write::put(&self.home, bucket, wanted, goes, deadline);
                    put.await.map(drop)
                }
                // Where others were quicker, theirs is taken over.
                false => match bucket.write(lattice, sealed, 0).await {
                    Ok(_) | Err(WriteError::Changed) => Ok(()),
                    Err(WriteError::Failed(why)) => Err(NotKept::NotWritten(why)),
                },
            };
            match given {
                Ok(()) => info!(%lattice, "credentials are now kept in JetStream"),
                // Those are taken over as everything that is there.
                Err(NotKept::Forbidden(why)) => info!(%lattice, %why, "credentials not kept"),
                Err(error) => {
                    return Err(format!(
                        "credentials of lattice {lattice} are not kept: {error}"
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Entries that cannot be opened: how many, and the first.
#[derive(Default)]
struct Unopenable {
    count: usize,
    first: Option<(String, Unopened)>,
}

fn tell(count: usize, lattice: &str, why: Unopened) {
    warn!(
        count,
        lattice,
        ?why,
        "credentials in the store cannot be opened and are ignored: they were sealed with \
         another key (credentials_key, else one of the cluster seed), changed or moved since, \
         or do not say where they belong (unplaced_credentials)"
    );
}
