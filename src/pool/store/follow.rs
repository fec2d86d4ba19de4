//! Opens the bucket, again and again where need be, and takes over what is in it:
//! what was set before we started, and what other instances set.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::bucket::{Bucket, Change};
use super::{NO_KEY, Stage, Unopened};
use crate::home::Home;
use crate::name::LatticeId;
use crate::nats::Complaints;
use crate::pool::Pool;
use crate::settings::StoreMode;

/// Pause before the bucket is looked for again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_AT_MOST: Duration = Duration::from_secs(30);
/// How often it is looked whether the bucket is still there.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long after a change may have been missed the bucket is read again: there
/// may be more of them.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest silence between two entries that were there already.
const NEXT_ENTRY_WITHIN: Duration = Duration::from_secs(5);

/// Follows the bucket of our lattice for a pool, for as long as there is one.
pub async fn follow<K: Default + Send + Sync + 'static>(pool: Weak<Pool<K>>, home: Home) {
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
        return unavailable(&pool, mode, NO_KEY);
    }
    let mut follower = Follower {
        connects: home.connects.clone(),
        pool,
        home,
        unopened: Complaints::default(),
    };
    let mut pause = AGAIN_AFTER;
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
            pause = AGAIN_AFTER;
            if follower.pool.strong_count() == 0 {
                return;
            }
            continue;
        };
        unavailable(&follower.pool, mode, &why);
        tokio::select! {
            () = sleep(pause) => pause = (pause * 2).min(AGAIN_AFTER_AT_MOST),
            _ = follower.connects.changed() => pause = AGAIN_AFTER,
        }
        if follower.pool.strong_count() == 0 {
            return;
        }
    }
}

/// Takes that there is no bucket for now. One that was there is still used: what
/// cannot be written is then refused, not kept in memory only.
fn unavailable<K: Default + Send + Sync + 'static>(
    pool: &Weak<Pool<K>>,
    mode: StoreMode,
    why: &str,
) {
    let Some(pool) = pool.upgrade() else { return };
    let (mut opening, mut open) = (false, false);
    pool.store().stage.send_modify(|stage| {
        opening = matches!(stage, Stage::Opening);
        open = matches!(stage, Stage::Open(_));
        if !open {
            *stage = match mode {
                StoreMode::Jetstream => Stage::Missing(why.to_owned()),
                _ => Stage::Memory,
            };
        }
    });
    match mode {
        _ if open => warn!(why, "the store of credentials is not heard for a moment"),
        _ if !opening => debug!(why, "no bucket for credentials"),
        StoreMode::Jetstream => warn!(
            why,
            "credentials cannot be kept, and none are taken (credentials_store)"
        ),
        _ => warn!(
            why,
            "credentials are kept in memory only: other instances do not have them, and a \
             restart loses them (credentials_store)"
        ),
    }
}

struct Follower<K> {
    pool: Weak<Pool<K>>,
    home: Home,
    connects: watch::Receiver<u64>,
    unopened: Complaints,
}

impl<K: Default + Send + Sync + 'static> Follower<K> {
    /// Takes over what is in the bucket, then every change, until it has to be
    /// opened again: at once, or because it is gone, and why.
    async fn round(&mut self) -> Result<(), String> {
        let bucket = Arc::new(Bucket::open(&self.home).await?);
        let (count, mut changes) = bucket.follow().await?;
        let seen = self.take_all(count, &mut changes).await?;
        let reopen = {
            let Some(pool) = self.pool.upgrade() else {
                return Ok(());
            };
            info!(lattices = seen.len(), "credentials are kept in JetStream");
            pool.store().stage.send_replace(Stage::Open(bucket.clone()));
            self.give(&pool, &bucket, &seen).await;
            pool.store().doubtful.clone()
        };
        let (mut look_at, mut heard) = (Instant::now() + LOOK_EVERY, bucket.newest());
        let mut missed = false;
        loop {
            tokio::select! {
                change = changes.next() => match change.transpose()? {
                    Some(change) => {
                        let (removed, version) = (change.stored.value.is_none(), change.stored.version);
                        // Servers 2.9 jump to a removal, over what was written just
                        // before it and not sent yet.
                        if removed && version.revision > heard.revision + 1 && !missed {
                            missed = true;
                            look_at = look_at.min(Instant::now() + READ_AGAIN_AFTER);
                        }
                        heard = heard.max(change.stored.version);
                        self.take(change, None);
                    }
                    None => return Ok(()),
                },
                // What was missed meanwhile is in the bucket.
                _ = self.connects.changed() => return Ok(()),
                () = reopen.notified() => look_at = Instant::now(),
                () = sleep_until(look_at) => {
                    if missed || self.pool.strong_count() == 0 {
                        return Ok(());
                    }
                    // The stream of changes says neither that its bucket is gone
                    // nor that it has become deaf itself.
                    let now = Bucket::open(&self.home).await?;
                    if now.newest().era != heard.era || now.newest_of_ours().await? > heard {
                        return Ok(());
                    }
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// Takes over what is there now; the lattices that have something.
    async fn take_all(
        &self,
        count: u64,
        changes: &mut (impl Stream<Item = Result<Change, String>> + Unpin),
    ) -> Result<HashSet<LatticeId>, String> {
        let (mut seen, mut unopenable) = (HashSet::new(), Unopenable::default());
        let mut pending = count;
        while pending > 0 {
            let change = timeout(NEXT_ENTRY_WITHIN, changes.next()).await;
            let change = change.map_err(|_| "reading the bucket takes too long".to_owned())?;
            let change = change.ok_or("reading the bucket ended early")??;
            pending = change.pending;
            seen.extend(change.lattice.clone());
            self.take(change, Some(&mut unopenable));
        }
        if let Some((lattice, why)) = unopenable.first {
            tell(unopenable.count, &lattice, why);
        }
        Ok(seen)
    }

    /// Takes over one entry; those that cannot be opened are counted, or told.
    fn take(&self, change: Change, unopenable: Option<&mut Unopenable>) {
        let (Some(lattice), Some(pool)) = (change.lattice, self.pool.upgrade()) else {
            return;
        };
        let Err(why) = pool.take_stored(&lattice, change.stored) else {
            return;
        };
        match unopenable {
            Some(unopenable) => {
                unopenable.count += 1;
                unopenable.first.get_or_insert((lattice.to_string(), why));
            }
            None if self.unopened.is_due() => tell(1, lattice.as_str(), why),
            None => debug!(%lattice, ?why, "credentials in the store cannot be opened"),
        }
    }

    /// Writes what only we have: it was set while there was no bucket, or the
    /// bucket was lost. What was removed from the bucket that we know is let go.
    async fn give(&self, pool: &Pool<K>, bucket: &Bucket, seen: &HashSet<LatticeId>) {
        for missing in pool.not_stored(seen, bucket.newest()) {
            let (lattice, sealed) = (missing.lattice, missing.sealed);
            let given = match missing.is_newer {
                true => {
                    let put = bucket.put(&lattice, sealed, None, |_| Ok(()));
                    put.await.map(drop)
                }
                false => bucket.add(&lattice, sealed).await,
            };
            match given {
                Ok(()) => info!(%lattice, "credentials are now kept in JetStream"),
                Err(error) => warn!(%lattice, %error, "credentials are not kept in JetStream"),
            }
        }
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
         another key (credentials_key, else one of the cluster seed), or changed since"
    );
}
