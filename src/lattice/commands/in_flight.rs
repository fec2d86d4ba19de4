//! What hosts took on and may not show yet: most acknowledge, then download, then
//! start. It counts until the inventory shows it, until it cannot come true, or
//! until it had its time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub use crate::lattice::commands::pending::SHOWN_WITHIN;
use crate::lattice::commands::pending::{Aim, Pending, may_be_one};
use crate::lattice::dialect::v0::plan::{After, Running};
use crate::lattice::dialect::v0::wire::TextMap;
use crate::name::HostId;

/// Starts within this time are kept as one.
const KEPT_AS_ONE: Duration = Duration::from_secs(1);
/// Hosts, and failures of each, that are kept.
const MAX_HOSTS: usize = 10_000;
const MAX_FAILURES: usize = 16;

/// What the hosts of a lattice took on.
#[derive(Default)]
pub struct InFlight(Mutex<HashMap<HostId, OfHost>>);

#[derive(Default)]
struct OfHost {
    flights: Vec<Pending>,
    failures: Vec<Failure>,
}

/// What an order is about.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The host.
    pub host: &'a HostId,
    /// Public key of the actor, where it is known.
    pub key: Option<&'a str>,
    /// Image reference; empty where the order has none.
    pub image_ref: &'a str,
    /// Whether the order names the actor itself, so that it depends on starts of
    /// which nobody knows the actor yet.
    pub names_actor: bool,
}

/// That a host said that an order failed.
struct Failure {
    image_ref: String,
    words: String,
    at: Instant,
}

/// What else an inventory tells.
pub struct Seen<'a> {
    /// When the host was asked for it.
    pub asked: Instant,
    /// Key of the actor that a reference is of.
    pub key_of: &'a dyn Fn(&str) -> Option<String>,
    /// What runs of an actor, by its key.
    pub running: &'a dyn Fn(&str) -> Running,
}

/// What an inventory will show once a host did what it was told.
pub struct Expected {
    /// What will run.
    pub running: Running,
    /// What of it the host does not show yet.
    waits: Vec<Wait>,
}

/// Something that a host does not show yet.
pub(super) struct Wait {
    /// The set of annotations; `None` where it may be of another actor.
    pub(super) annotations: Option<TextMap>,
    /// Whether it is a start that the host adds to what is there.
    pub(super) adds: bool,
    pub(super) since: Instant,
}

impl Expected {
    /// Since when the host owes what must be there first.
    pub fn in_the_way_of(&self, after: &After) -> Option<Instant> {
        let blocks = |wait: &&Wait| match (after, &wait.annotations) {
            // Those of another reference do not add up.
            (After::AllButStarts, annotations) => !wait.adds || annotations.is_none(),
            (After::Groups(groups), Some(annotations)) => groups.contains(annotations),
            (After::Groups(_), None) | (After::Everything, _) => true,
        };
        let waits = self.waits.iter().filter(blocks);
        waits.map(|wait| wait.since).min()
    }
}

impl InFlight {
    fn lock(&self) -> MutexGuard<'_, HashMap<HostId, OfHost>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes that `count` shall run of a set of annotations, of which there were
    /// `before`.
    pub fn total(&self, of: Subject<'_>, annotations: &TextMap, count: u32, before: u32) {
        if count != before {
            self.put(
                of,
                annotations,
                Aim::Total {
                    count,
                    grows: count > before,
                    since: Instant::now(),
                },
            );
        }
    }

    /// Takes that the host is being told something that it does before it answers.
    pub fn under_way(&self, of: Subject<'_>) {
        let since = Instant::now();
        self.put(of, &TextMap::new(), Aim::UnderWay { since });
    }

    /// Takes that the host answered.
    pub fn over(&self, of: Subject<'_>) {
        if let Some(host) = self.lock().get_mut(of.host) {
            let is_under_way = |flight: &Pending| matches!(flight.aim, Aim::UnderWay { .. });
            host.flights
                .retain(|flight| !(flight.is(of, &TextMap::new()) && is_under_way(flight)));
        }
    }

    /// Takes that something was ordered of which no inventory tells whether it
    /// was done.
    pub fn unseen(&self, of: Subject<'_>) {
        let since = Instant::now();
        self.put(of, &TextMap::new(), Aim::Unseen { since });
    }

    fn put(&self, of: Subject<'_>, annotations: &TextMap, aim: Aim) {
        let hosts = &mut *self.lock();
        let Some(host) = entry(hosts, of.host) else {
            return;
        };
        host.sweep();
        let kind = std::mem::discriminant(&aim);
        host.flights.retain(|flight| {
            let same = std::mem::discriminant(&flight.aim) == kind;
            !(same && flight.is(of, annotations))
        });
        host.flights.push(Pending::new(of, annotations, aim));
    }

    /// Takes that `added` more shall run of a set of annotations. `base` is what
    /// was there, where somebody looked; what is in flight already has one.
    pub fn more(&self, of: Subject<'_>, annotations: &TextMap, base: Option<u32>, added: u32) {
        let hosts = &mut *self.lock();
        let Some(host) = entry(hosts, of.host) else {
            return;
        };
        let now = Instant::now();
        for flight in &mut host.flights {
            if let (true, Aim::More { parts, .. }) = (flight.is(of, annotations), &mut flight.aim) {
                flight.key = flight.key.take().or_else(|| of.key.map(str::to_owned));
                match parts.last_mut() {
                    Some((count, since)) if since.elapsed() < KEPT_AS_ONE => {
                        *count = count.saturating_add(added);
                    }
                    _ => parts.push((added, now)),
                }
                return;
            }
        }
        host.sweep();
        host.flights.retain(|flight| !flight.is(of, annotations));
        let parts = vec![(added, now)];
        let aim = Aim::More { base, parts };
        host.flights.push(Pending::new(of, annotations, aim));
    }

    /// Takes that so many of the starts in flight never come, or came.
    pub fn fewer(&self, of: Subject<'_>, annotations: &TextMap, added: u32) {
        let hosts = &mut *self.lock();
        let Some(host) = hosts.get_mut(of.host) else {
            return;
        };
        host.flights.retain_mut(|flight| {
            if let (true, Aim::More { parts, .. }) = (flight.is(of, annotations), &mut flight.aim) {
                let mut left = added;
                for (count, _) in parts.iter_mut().rev() {
                    let from_here = left.min(*count);
                    (*count, left) = (*count - from_here, left - from_here);
                }
                parts.retain(|(count, _)| *count > 0);
                return !parts.is_empty();
            }
            true
        });
    }

    /// Takes that no such total is in flight any more.
    pub fn no_total(&self, of: Subject<'_>, annotations: &TextMap) {
        if let Some(host) = self.lock().get_mut(of.host) {
            let is_total = |flight: &Pending| matches!(flight.aim, Aim::Total { .. });
            host.flights
                .retain(|flight| !(flight.is(of, annotations) && is_total(flight)));
        }
    }

    /// Whether starts of this reference under these annotations are in flight, so
    /// that a further one only adds to them.
    pub fn adds_to(&self, of: Subject<'_>, annotations: &TextMap) -> bool {
        let hosts = self.lock();
        let flights = hosts.get(of.host).map(|host| host.flights.as_slice());
        flights.into_iter().flatten().any(|flight| {
            flight.is(of, annotations) && matches!(flight.aim, Aim::More { .. }) && flight.counts()
        })
    }

    /// References of what is in flight to a host, but for this one.
    pub fn others(&self, host: &HostId, image_ref: &str) -> Vec<String> {
        let hosts = self.lock();
        let flights = hosts.get(host).map(|host| host.flights.as_slice());
        let flights = flights.into_iter().flatten().filter(|flight| {
            flight.counts() && !flight.image_ref.is_empty() && flight.image_ref != image_ref
        });
        flights.map(|flight| flight.image_ref.clone()).collect()
    }

    /// References in flight to a host of which nobody knew the actor, and which may
    /// be of the same as this one.
    pub fn unknown(&self, host: &HostId, image_ref: &str) -> Vec<String> {
        let hosts = self.lock();
        let flights = hosts.get(host).map(|host| host.flights.as_slice());
        let flights = flights.into_iter().flatten();
        let unknown = flights.filter(|flight| {
            let unknown = flight.key.is_none() && flight.counts();
            unknown && may_be_one(&flight.image_ref, image_ref)
        });
        unknown.map(|flight| flight.image_ref.clone()).collect()
    }

    /// What an inventory that shows `shown` of the actor will show later. What it
    /// shows by now, of this actor or another, is in flight no more.
    pub fn expected(&self, of: Subject<'_>, shown: Running, seen: &Seen<'_>) -> Expected {
        let mut expected = Expected {
            running: shown,
            waits: Vec::new(),
        };
        let hosts = &mut *self.lock();
        let Some(host) = hosts.get_mut(of.host) else {
            return expected;
        };
        let shown = expected.running.clone();
        let refs = shown.groups.iter().map(|group| group.image_ref.as_str());
        let mut refs: Vec<&str> = refs.chain([of.image_ref]).collect();
        refs.extend(shown.listed.as_deref());
        host.flights.retain_mut(|flight| {
            if !flight.still_counts() || flight.came_before(seen.asked) {
                return false;
            }
            flight.key = flight
                .key
                .take()
                .or_else(|| (seen.key_of)(&flight.image_ref));
            let key = flight.key.as_deref();
            let ours = match (key, of.key) {
                (Some(theirs), Some(ours)) => theirs == ours,
                _ => refs.contains(&flight.image_ref.as_str()),
            };
            if ours {
                if flight.is_shown_by(&shown) {
                    return false;
                }
                expected
                    .waits
                    .push(flight.wait(Some(flight.annotations.clone())));
                if let Some(count) = flight.count() {
                    let running = &mut expected.running;
                    running.set(&flight.annotations, count, &flight.image_ref);
                }
                return true;
            }
            // Where either has no key, they may be of one actor.
            let one_unknown = key.is_none() || of.key.is_none();
            let nothing = of.names_actor && of.image_ref.is_empty() && shown.groups.is_empty();
            if one_unknown && flight.may_concern(&refs, nothing) {
                if key.is_some_and(|key| flight.is_shown_by(&(seen.running)(key))) {
                    return false;
                }
                expected.waits.push(flight.wait(None));
            }
            true
        });
        expected
    }

    /// Takes a host's word that it set a number: whoever changes it afterwards, it
    /// was so.
    pub fn came(&self, host: &HostId, image_ref: &str, annotations: &TextMap) {
        if let Some(host) = self.lock().get_mut(host) {
            for flight in &mut host.flights {
                let grows = matches!(flight.aim, Aim::Total { grows: true, .. });
                if grows && flight.image_ref == image_ref && flight.annotations == *annotations {
                    flight.came = Some(Instant::now());
                }
            }
        }
    }

    /// Takes a host's word that it did not start what was ordered from a
    /// reference.
    pub fn failed(
        &self,
        host: &HostId,
        image_ref: &str,
        annotations: Option<&TextMap>,
        words: &str,
    ) {
        let hosts = &mut *self.lock();
        // Only of what we ordered: others order, too.
        let Some(of_host) = hosts.get_mut(host) else {
            return;
        };
        let before = of_host.flights.len();
        of_host.flights.retain(|flight| {
            let same = flight.image_ref == image_ref
                && annotations.is_none_or(|annotations| flight.annotations == *annotations);
            !same || matches!(flight.aim, Aim::Unseen { .. } | Aim::UnderWay { .. })
        });
        if of_host.flights.len() < before {
            if of_host.failures.len() >= MAX_FAILURES {
                of_host.failures.remove(0);
            }
            of_host.failures.push(Failure {
                image_ref: image_ref.to_owned(),
                words: words.to_owned(),
                at: Instant::now(),
            });
        }
    }

    /// What a host said of a reference that it could not start, since then.
    pub fn failure(&self, host: &HostId, image_ref: &str, since: Instant) -> Option<String> {
        let hosts = self.lock();
        let failures = &hosts.get(host)?.failures;
        let mut ours = failures.iter().filter(|failure| failure.at >= since);
        let ours = ours.find(|failure| failure.image_ref == image_ref)?;
        Some(ours.words.clone())
    }

    /// Takes that nothing a host was told comes true any more.
    pub fn forget(&self, host: &HostId) {
        self.lock().remove(host);
    }
}

/// The entry of a host, unless there are too many.
fn entry<'a>(hosts: &'a mut HashMap<HostId, OfHost>, host: &HostId) -> Option<&'a mut OfHost> {
    if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
        hosts.retain(|_, host| host.flights.iter_mut().any(Pending::still_counts));
        if hosts.len() >= MAX_HOSTS {
            return None;
        }
    }
    Some(hosts.entry(host.clone()).or_default())
}

impl OfHost {
    fn sweep(&mut self) {
        self.flights.retain_mut(Pending::still_counts);
    }
}

#[cfg(test)]
#[path = "in_flight_tests.rs"]
mod tests;
