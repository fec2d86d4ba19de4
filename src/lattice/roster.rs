//! The hosts of a lattice, as far as they are known: which generation each is,
//! and what was asked of it a moment ago.
//!
//! Learned from every ping. A roster belongs to a lattice and the credentials
//! it was bound with: other credentials may lead to other hosts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use super::generation::Traits;
use super::wire::{HostPing, TextMap};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::{HostId, LatticeId};

/// A host known for longer is pinged again in the background when it is used.
const REFRESH_AFTER: Duration = Duration::from_secs(30);
/// A host not heard of for longer is pinged before it is used.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How long every host is taken to be known after all were pinged.
const COMPLETE_FOR: Duration = Duration::from_secs(60);
/// How long an order counts before the inventory shows it: hosts acknowledge,
/// then download.
const TARGET_COUNTS_FOR: Duration = Duration::from_secs(10);
/// Locks and targets kept before those out of use are swept.
const SWEEP_ABOVE: usize = 1024;

/// The rosters of all lattices.
#[derive(Default)]
pub struct Rosters(DashMap<LatticeId, (u64, Arc<Roster>)>);

impl Rosters {
    /// The roster of a lattice under this binding; a new one where the binding
    /// changed.
    pub fn of(&self, lattice: &LatticeId, binding: u64) -> Arc<Roster> {
        // One look at the table: calls that come together share a roster.
        let mut entry = self.0.entry(lattice.clone()).or_default();
        if entry.0 != binding {
            *entry = (binding, Arc::default());
        }
        entry.1.clone()
    }
}

/// What is known of a host.
#[derive(Clone)]
struct Known {
    traits: Traits,
    seen: Instant,
}

/// How well a host is known.
pub enum Standing {
    /// Well enough.
    Known(Traits),
    /// Well enough for now; a ping is due.
    Stale(Traits),
    /// Not at all, or too long ago.
    Unknown,
}

/// The hosts of one lattice.
#[derive(Default)]
pub struct Roster {
    hosts: Mutex<HashMap<HostId, Known>>,
    /// When all hosts were last pinged, and waited for.
    complete: Mutex<Option<Instant>>,
    refreshing: AtomicBool,
    locks: DashMap<(HostId, String), Arc<AsyncMutex<()>>>,
    targets: DashMap<(HostId, String), Vec<Target>>,
}

/// A maximum that was ordered for a set of annotations.
struct Target {
    annotations: TextMap,
    count: u32,
    since: Instant,
}

impl Roster {
    /// Takes what a host said of itself.
    pub fn heard(&self, host: HostId, ping: &HostPing) {
        let known = Known {
            traits: Traits::of(ping.version.as_deref()),
            seen: Instant::now(),
        };
        lock(&self.hosts).insert(host, known);
    }

    /// Takes that all hosts were pinged and waited for.
    pub fn heard_all(&self) {
        *lock(&self.complete) = Some(Instant::now());
        lock(&self.hosts).retain(|_, known| known.seen.elapsed() < FORGET_AFTER);
    }

    /// Takes that nobody listens for a host.
    pub fn gone(&self, host: &HostId) {
        lock(&self.hosts).remove(host);
    }

    /// How well a host is known.
    pub fn standing(&self, host: &HostId) -> Standing {
        match lock(&self.hosts).get(host) {
            Some(known) if known.seen.elapsed() < REFRESH_AFTER => Standing::Known(known.traits),
            Some(known) if known.seen.elapsed() < FORGET_AFTER => Standing::Stale(known.traits),
            _ => Standing::Unknown,
        }
    }

    /// The generation of every host, where all were pinged lately and any
    /// answered.
    pub fn all(&self) -> Option<Vec<Traits>> {
        let complete = lock(&self.complete).is_some_and(|at| at.elapsed() < COMPLETE_FOR);
        let hosts = lock(&self.hosts);
        (complete && !hosts.is_empty()).then(|| hosts.values().map(|known| known.traits).collect())
    }

    /// Runs `refresh` unless one is under way.
    pub fn refresh(self: &Arc<Self>, refresh: impl Future<Output = ()> + Send + 'static) {
        if !self.refreshing.swap(true, Ordering::Relaxed) {
            let roster = self.clone();
            tokio::spawn(async move {
                refresh.await;
                roster.refreshing.store(false, Ordering::Relaxed);
            });
        }
    }

    /// Waits until no other order that goes through an inventory is under way
    /// for this actor (a key, or an image reference) on this host.
    ///
    /// # Errors
    /// `Busy` when the call's time is over first.
    pub async fn turn(
        &self,
        host: &HostId,
        actor: &str,
        deadline: Deadline,
    ) -> Result<OwnedMutexGuard<()>, Error> {
        if self.locks.len() > SWEEP_ABOVE {
            self.locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        let key = (host.clone(), actor.to_owned());
        let lock = self.locks.entry(key).or_default().clone();
        timeout_at(deadline.at(), lock.lock_owned())
            .await
            .map_err(|_| {
                Error::new(
                    Kind::Busy,
                    format!("another order for {actor} on host {host} is under way; try again"),
                )
            })
    }

    /// Takes that this maximum was ordered.
    pub fn ordered(&self, host: &HostId, image_ref: &str, annotations: &TextMap, count: u32) {
        if self.targets.len() > SWEEP_ABOVE {
            self.targets
                .retain(|_, targets| targets.iter().any(Target::counts));
        }
        let key = (host.clone(), image_ref.to_owned());
        let mut targets = self.targets.entry(key).or_default();
        targets.retain(|target| target.counts() && target.annotations != *annotations);
        targets.push(Target {
            annotations: annotations.clone(),
            count,
            since: Instant::now(),
        });
    }

    /// The maximum that counts: the one that was ordered a moment ago, else the
    /// one that the inventory shows.
    pub fn maximum(
        &self,
        host: &HostId,
        image_ref: &str,
        annotations: &TextMap,
        shown: u32,
    ) -> u32 {
        let key = (host.clone(), image_ref.to_owned());
        let Some(targets) = self.targets.get(&key) else {
            return shown;
        };
        let same = |target: &&Target| target.counts() && target.annotations == *annotations;
        targets
            .iter()
            .find(same)
            .map_or(shown, |target| target.count)
    }

    /// Takes that the actor was ordered to stop: earlier targets count no more.
    pub fn stopped(&self, host: &HostId, image_ref: &str) {
        self.targets.remove(&(host.clone(), image_ref.to_owned()));
    }
}

impl Target {
    fn counts(&self) -> bool {
        self.since.elapsed() < TARGET_COUNTS_FOR
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::{KeyPair, KeyPairType};

    fn host() -> HostId {
        HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_is_known_then_stale_then_forgotten() {
        let (roster, host) = (Roster::default(), host());
        assert!(matches!(roster.standing(&host), Standing::Unknown));
        roster.heard(host.clone(), &HostPing::default());
        assert!(matches!(roster.standing(&host), Standing::Known(_)));
        tokio::time::advance(REFRESH_AFTER).await;
        assert!(matches!(roster.standing(&host), Standing::Stale(_)));
        tokio::time::advance(FORGET_AFTER).await;
        assert!(matches!(roster.standing(&host), Standing::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_counts_until_the_inventory_should_show_it() {
        let (roster, host) = (Roster::default(), host());
        let (none, some) = (TextMap::new(), TextMap::from([("a".into(), "b".into())]));
        roster.ordered(&host, "ref", &none, 3);
        assert_eq!(roster.maximum(&host, "ref", &none, 0), 3);
        assert_eq!(roster.maximum(&host, "ref", &some, 7), 7);
        tokio::time::advance(TARGET_COUNTS_FOR).await;
        assert_eq!(roster.maximum(&host, "ref", &none, 2), 2);
        roster.ordered(&host, "ref", &none, 3);
        roster.stopped(&host, "ref");
        assert_eq!(roster.maximum(&host, "ref", &none, 0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn orders_for_one_actor_take_turns_and_others_do_not_wait() {
        let (roster, host) = (Roster::default(), host());
        let deadline = || Deadline::new(Instant::now(), Duration::from_secs(1));
        let turn = roster.turn(&host, "a", deadline()).await.unwrap();
        roster.turn(&host, "b", deadline()).await.unwrap();
        let busy = roster.turn(&host, "a", deadline()).await.err().unwrap();
        assert_eq!(busy.kind(), Kind::Busy);
        drop(turn);
        roster.turn(&host, "a", deadline()).await.unwrap();
    }

    #[test]
    fn other_credentials_start_another_roster() {
        let (rosters, lattice) = (Rosters::default(), LatticeId::parse("x").unwrap());
        let one = rosters.of(&lattice, 1);
        assert!(Arc::ptr_eq(&one, &rosters.of(&lattice, 1)));
        assert!(!Arc::ptr_eq(&one, &rosters.of(&lattice, 2)));
    }
}
