//! What hosts took on and may not show yet: most acknowledge, then download, then
//! start. It counts until the inventory shows it, until it cannot come true, or
//! until it had its time.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::super::plan::{After, Group, Running};
use super::super::wire::TextMap;
use crate::name::{HostId, is_file, is_other_tag};

/// How long a host has to show what it took on. What it does not show by then is
/// taken to have failed: several versions say nothing of a failed download.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// Starts within this time are kept as one.
const KEPT_AS_ONE: Duration = Duration::from_secs(1);
/// What cannot be seen in an inventory has this time.
const UNSEEN_FOR: Duration = Duration::from_secs(2);
/// Hosts, and failures of each, that are kept.
const MAX_HOSTS: usize = 10_000;
const MAX_FAILURES: usize = 16;

/// What the hosts of a lattice took on.
#[derive(Default)]
pub struct Flights(Mutex<HashMap<HostId, OfHost>>);

#[derive(Default)]
struct OfHost {
    flights: Vec<Flight>,
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

struct Flight {
    key: Option<String>,
    image_ref: String,
    annotations: TextMap,
    aim: Aim,
}

/// What the inventory will show of a set of annotations.
enum Aim {
    /// So many.
    Total {
        count: u32,
        /// Whether that is more than before.
        grows: bool,
        since: Instant,
    },
    /// So many more than `base`, where that is known. Each with its time.
    More {
        base: Option<u32>,
        parts: Vec<(u32, Instant)>,
    },
    /// Something that no inventory shows.
    Unseen { since: Instant },
}

/// That a host said that an order failed.
struct Failure {
    image_ref: String,
    words: String,
    at: Instant,
}

/// What else an inventory tells.
pub struct Seen<'a> {
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
struct Wait {
    /// The set of annotations; `None` where it may be of another actor.
    annotations: Option<TextMap>,
    /// Whether it is a start that the host adds to what is there.
    adds: bool,
    since: Instant,
}

impl Expected {
    /// Since when the host owes what must be there first.
    pub fn in_the_way_of(&self, after: &After) -> Option<Instant> {
        let blocks = |wait: &&Wait| match (after, &wait.annotations) {
            (After::AllButStarts, _) => !wait.adds,
            (After::Groups(groups), Some(annotations)) => groups.contains(annotations),
            (After::Groups(_), None) | (After::Everything, _) => true,
        };
        let waits = self.waits.iter().filter(blocks);
        waits.map(|wait| wait.since).min()
    }
}

impl Flights {
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
        host.flights.retain(|flight| !flight.is(of, annotations));
        host.flights.push(Flight::new(of, annotations, aim));
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
        host.flights.push(Flight::new(of, annotations, aim));
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

    /// Takes that nothing of that kind is in flight any more.
    pub fn seen(&self, of: Subject<'_>, annotations: &TextMap) {
        if let Some(host) = self.lock().get_mut(of.host) {
            let is_start = |flight: &Flight| matches!(flight.aim, Aim::More { .. });
            host.flights
                .retain(|flight| !flight.is(of, annotations) || is_start(flight));
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
            if !flight.still_counts() {
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
            let may_be = |known: &str| may_be_one(&flight.image_ref, known);
            let nothing = of.names_actor && key.is_none() && shown.groups.is_empty();
            if (key.is_none() || of.key.is_none())
                && (nothing || refs.iter().any(|known| may_be(known)))
            {
                if key.is_some_and(|key| flight.is_shown_by(&(seen.running)(key))) {
                    return false;
                }
                expected.waits.push(flight.wait(None));
            }
            true
        });
        expected
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
            !same || matches!(flight.aim, Aim::Unseen { .. })
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

/// Whether two references may be of one actor, as far as they tell: files tell
/// nothing.
fn may_be_one(one: &str, other: &str) -> bool {
    (is_file(one) && is_file(other)) || is_other_tag(one, other)
}

/// The entry of a host, unless there are too many.
fn entry<'a>(hosts: &'a mut HashMap<HostId, OfHost>, host: &HostId) -> Option<&'a mut OfHost> {
    if hosts.len() >= MAX_HOSTS && !hosts.contains_key(host) {
        hosts.retain(|_, host| host.flights.iter_mut().any(Flight::still_counts));
        if hosts.len() >= MAX_HOSTS {
            return None;
        }
    }
    Some(hosts.entry(host.clone()).or_default())
}

impl OfHost {
    fn sweep(&mut self) {
        self.flights.retain_mut(Flight::still_counts);
    }
}

impl Flight {
    fn new(of: Subject<'_>, annotations: &TextMap, aim: Aim) -> Self {
        Self {
            key: of.key.map(str::to_owned),
            image_ref: of.image_ref.to_owned(),
            annotations: annotations.clone(),
            aim,
        }
    }

    fn is(&self, of: Subject<'_>, annotations: &TextMap) -> bool {
        let same = match of.image_ref {
            "" => self.image_ref.is_empty() && self.key.as_deref() == of.key,
            image_ref => self.image_ref == image_ref,
        };
        same && self.annotations == *annotations
    }

    /// How many there will be, where that is known.
    fn count(&self) -> Option<u32> {
        match &self.aim {
            Aim::Total { count, .. } => Some(*count),
            Aim::More { base, parts } => {
                let added = parts.iter().map(|(count, _)| *count);
                let added = added.fold(0, u32::saturating_add);
                base.map(|base| base.saturating_add(added))
            }
            Aim::Unseen { .. } => None,
        }
    }

    fn is_shown_by(&self, running: &Running) -> bool {
        let here = running.under(&self.annotations);
        self.count().is_some_and(|count| match self.aim {
            Aim::Total { grows: false, .. } => here <= count,
            _ => here >= count,
        })
    }

    fn wait(&self, annotations: Option<TextMap>) -> Wait {
        Wait {
            annotations,
            adds: matches!(self.aim, Aim::More { .. }),
            since: self.since(),
        }
    }

    /// Since when the host owes it.
    fn since(&self) -> Instant {
        match &self.aim {
            Aim::Total { since, .. } | Aim::Unseen { since } => *since,
            Aim::More { parts, .. } => parts.first().map_or_else(Instant::now, |part| part.1),
        }
    }

    fn counts(&self) -> bool {
        let in_time = |since: &Instant, time: Duration| since.elapsed() < time;
        match &self.aim {
            Aim::Total { since, .. } => in_time(since, SHOWN_WITHIN),
            Aim::More { base, parts } => {
                let time = match base {
                    Some(_) => SHOWN_WITHIN,
                    None => UNSEEN_FOR,
                };
                parts.iter().any(|(_, since)| in_time(since, time))
            }
            Aim::Unseen { since } => in_time(since, UNSEEN_FOR),
        }
    }

    /// Whether it still counts; starts that had their time do no more.
    fn still_counts(&mut self) -> bool {
        if let Aim::More { parts, .. } = &mut self.aim {
            parts.retain(|(_, since)| since.elapsed() < SHOWN_WITHIN);
        }
        self.counts()
    }
}

impl Running {
    /// Takes that a set of annotations has so many, from this reference where it
    /// had none.
    fn set(&mut self, annotations: &TextMap, count: u32, image_ref: &str) {
        let same = |group: &&mut Group| group.annotations == *annotations;
        match self.groups.iter_mut().find(same) {
            Some(group) => group.count = count,
            None => self.groups.push(Group {
                annotations: annotations.clone(),
                count,
                image_ref: image_ref.to_owned(),
            }),
        }
        // Which places they have in the list is not known.
        self.groups.retain(|group| group.count > 0);
        self.sequence.clear();
    }
}

#[cfg(test)]
#[path = "flights_tests.rs"]
mod tests;
