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
use super::plan::Group;
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
        if binding > entry.0 {
            *entry = (binding, Arc::default());
        }
        match binding == entry.0 {
            true => entry.1.clone(),
            // A call from before the last change of credentials.
            false => Arc::default(),
        }
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
    /// When all hosts were last pinged and waited for, and who answered.
    complete: Mutex<Option<(Instant, Vec<Traits>)>>,
    refreshing: Arc<AtomicBool>,
    locks: DashMap<(HostId, String), Arc<AsyncMutex<()>>>,
    targets: DashMap<(HostId, String), Vec<Target>>,
}

/// How many shall run of a set of annotations, as was ordered.
struct Target {
    annotations: TextMap,
    count: u32,
    since: Instant,
}

impl Roster {
    /// Takes what a host said of itself.
    pub fn heard(&self, host: HostId, ping: &HostPing) {
        let known = Known {
            traits: Traits::from(ping),
            seen: Instant::now(),
        };
        lock(&self.hosts).insert(host, known);
    }

    /// Takes that all hosts were pinged and waited for, and that these answered.
    pub fn heard_all(&self, hosts: &[HostPing]) {
        let traits = hosts.iter().map(Traits::from);
        *lock(&self.complete) = Some((Instant::now(), traits.collect()));
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

    /// The generation of every host that answered, where all were pinged lately
    /// and any did.
    pub fn all(&self) -> Option<Vec<Traits>> {
        match &*lock(&self.complete) {
            Some((at, hosts)) if at.elapsed() < COMPLETE_FOR && !hosts.is_empty() => {
                Some(hosts.clone())
            }
            _ => None,
        }
    }

    /// Runs `refresh` unless one is under way.
    pub fn refresh(&self, refresh: impl Future<Output = ()> + Send + 'static) {
        struct Done(Arc<AtomicBool>);
        impl Drop for Done {
            fn drop(&mut self) {
                self.0.store(false, Ordering::Relaxed);
            }
        }
        if !self.refreshing.swap(true, Ordering::Relaxed) {
            let done = Done(self.refreshing.clone());
            tokio::spawn(async move {
                refresh.await;
                drop(done);
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

    /// Takes that so many shall run of a set of annotations.
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

    /// What an inventory will show once the host has done what it was told a
    /// moment ago: groups with the counts that were ordered. `image_ref` is the
    /// one asked about, beside those of the groups.
    pub fn expected(&self, host: &HostId, image_ref: &str, shown: &[Group]) -> Vec<Group> {
        let mut expected = shown.to_vec();
        let mut refs: Vec<&str> = shown.iter().map(|group| group.image_ref.as_str()).collect();
        refs.push(image_ref);
        refs.sort_unstable();
        refs.dedup();
        for image_ref in refs {
            let Some(targets) = self.targets.get(&(host.clone(), image_ref.to_owned())) else {
                continue;
            };
            for target in targets.iter().filter(|target| target.counts()) {
                let same = |group: &Group| group.annotations == target.annotations;
                match expected.iter_mut().find(|group| same(group)) {
                    Some(group) => group.count = target.count,
                    None => expected.push(Group {
                        annotations: target.annotations.clone(),
                        count: target.count,
                        image_ref: image_ref.to_owned(),
                    }),
                }
            }
        }
        expected.retain(|group| group.count > 0);
        expected
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
        let group = |pairs: &[(&str, &str)], count| Group {
            annotations: pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            count,
            image_ref: "ref".into(),
        };
        let (bare, noted) = (group(&[], 1), group(&[("a", "b")], 7));
        let expected = |shown: &[Group]| roster.expected(&host, "ref", shown);
        roster.ordered(&host, "ref", &bare.annotations, 3);
        assert_eq!(expected(&[]), [group(&[], 3)]);
        assert_eq!(
            expected(&[bare.clone(), noted.clone()]),
            [group(&[], 3), noted.clone()]
        );
        roster.ordered(&host, "ref", &bare.annotations, 0);
        assert_eq!(expected(std::slice::from_ref(&bare)), []);
        tokio::time::advance(TARGET_COUNTS_FOR).await;
        assert_eq!(expected(std::slice::from_ref(&bare)), [bare]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_did_not_answer_the_last_ping_does_not_count() {
        let (roster, host) = (Roster::default(), host());
        roster.heard(host, &HostPing::default());
        roster.heard_all(&[HostPing::default()]);
        assert_eq!(roster.all().map(|all| all.len()), Some(1));
        roster.heard_all(&[]);
        assert_eq!(roster.all(), None);
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
        let two = rosters.of(&lattice, 2);
        assert!(!Arc::ptr_eq(&one, &two));
        // A call from before does not bring the old one back.
        rosters.of(&lattice, 1);
        assert!(Arc::ptr_eq(&two, &rosters.of(&lattice, 2)));
    }
}
