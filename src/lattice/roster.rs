//! The hosts of a lattice, as far as they are known: who is there, of which
//! generation, with which labels, and how fast each answers.
//!
//! Learned from pings; the answers of any other operation are signs of life. A
//! host that misses two pings is forgotten, also where it sends heartbeats. A
//! roster belongs to a lattice and the credentials it was bound with: other
//! credentials may lead to other hosts. [`super::watch`] keeps it fresh while
//! the lattice is in use.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dashmap::DashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gather::{Ended, Expected, Gathered};
use super::generation::Traits;
use super::orders::Orders;
use super::wire::{HostPing, TextMap};
use crate::name::{HostId, LatticeId};
use crate::nats::Complaints;

/// What a host said of itself counts for so long.
const BELIEVED_FOR: Duration = Duration::from_secs(600);
/// How long all hosts are taken to be known after all were pinged and waited
/// for. A roster in use is renewed more often.
const COMPLETE_FOR: Duration = Duration::from_secs(75);
/// A ping that was waited for this long, or as long as a host usually takes,
/// and brought nothing, is missed.
const MISSED_AFTER: Duration = Duration::from_millis(300);
/// Hosts send heartbeats every 30 s; after two of them and a bit, one is late.
const HEARTBEAT_LATE_AFTER: Duration = Duration::from_secs(65);
/// How long after its last call a lattice is in use.
const IN_USE_FOR: Duration = Duration::from_secs(120);
/// What a host may take longer than twice its usual time.
const SLACK: Duration = Duration::from_millis(30);
/// Most hosts that are kept.
const MAX_HOSTS: usize = 10_000;

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

/// The hosts of one lattice.
#[derive(Default)]
pub struct Roster {
    /// What was asked of them a moment ago.
    pub orders: Orders,
    /// Keeps bids that come too late from filling the log.
    pub late_bids: Complaints,
    /// Told when a host missed a ping that had missed none.
    pub missed: Arc<Notify>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    hosts: HashMap<HostId, Known>,
    /// When all hosts were last pinged and waited for, and in which epoch of
    /// the connection.
    complete: Option<(Instant, u64)>,
    /// When the lattice was last called.
    used: Option<Instant>,
    watched: bool,
}

/// What is known of a host.
struct Known {
    traits: Traits,
    labels: Option<TextMap>,
    /// When it last said what it is.
    told: Instant,
    /// When it last answered anything.
    seen: Instant,
    /// The last of its heartbeats.
    heartbeat: Option<Instant>,
    /// How long it takes to answer a ping: as long as it did lately at most.
    answers_in: Duration,
    /// When it was noticed that it missed a ping, since it answered last.
    missed: Option<Instant>,
}

impl Known {
    /// How long after a ping its answer is waited for, whatever others do.
    fn patience(&self) -> Duration {
        self.answers_in * 2 + SLACK
    }
}

impl Roster {
    /// Takes what a host said of itself `after` a ping.
    pub fn heard(&self, host: &HostId, ping: &HostPing, after: Duration) {
        let state = &mut *self.lock();
        let now = Instant::now();
        let before = state.hosts.get(host);
        if before.is_none() && state.hosts.len() >= MAX_HOSTS {
            return;
        }
        let usual = before.map_or(after, |known| (known.answers_in * 3 + after) / 4);
        let known = Known {
            traits: Traits::from(ping),
            labels: ping.labels.clone(),
            told: now,
            seen: now,
            heartbeat: before.and_then(|known| known.heartbeat),
            answers_in: usual.max(after),
            missed: None,
        };
        state.hosts.insert(host.clone(), known);
    }

    /// Takes what came of a ping to all hosts, in this epoch of the connection.
    pub fn pinged(&self, gathered: &Gathered<HostPing>, epoch: u64) {
        for answer in &gathered.harvest.answers {
            self.heard(&answer.host, &answer.said, answer.after);
        }
        let state = &mut *self.lock();
        let misses = state.misses();
        match gathered.ended {
            // Not even a silent one is there.
            Ended::NoResponders => state.hosts.clear(),
            Ended::Complete | Ended::Stall | Ended::Deadline if gathered.took >= MISSED_AFTER => {
                state.hosts.retain(|host, known| {
                    gathered.harvest.has(host) || !known.misses(gathered.asked, gathered.took)
                });
            }
            _ => return,
        }
        state.complete = Some((Instant::now(), epoch));
        if state.misses() > misses {
            self.missed.notify_one();
        }
    }

    /// Takes an answer of a host that does not say what it is.
    pub fn answered(&self, host: &HostId) {
        if let Some(known) = self.lock().hosts.get_mut(host) {
            known.seen = Instant::now();
            known.missed = None;
        }
    }

    /// Takes a host's heartbeat; whether it should be pinged, because it is not
    /// known or no longer what it was.
    pub fn beat(&self, host: &HostId, traits: Traits) -> bool {
        let state = &mut *self.lock();
        match state.hosts.get_mut(host) {
            // No answer to anything: Rust hosts whose control loop died, and hosts
            // that spin, beat on (traps T3, T36).
            Some(known) if known.traits == traits => {
                known.told = Instant::now();
                known.heartbeat = Some(known.told);
                false
            }
            Some(_) => {
                state.hosts.remove(host);
                true
            }
            None => true,
        }
    }

    /// Takes that a host is not there, or starts anew.
    pub fn gone(&self, host: &HostId) {
        self.lock().hosts.remove(host);
    }

    /// What a host is, where it said so not too long ago.
    pub fn traits(&self, host: &HostId) -> Option<Traits> {
        let state = self.lock();
        let known = state.hosts.get(host)?;
        known.believed().then_some(known.traits)
    }

    /// The labels of a host, where it told them not too long ago.
    pub fn labels(&self, host: &HostId) -> Option<TextMap> {
        let state = self.lock();
        let known = state.hosts.get(host)?;
        known.believed().then(|| known.labels.clone())?
    }

    /// The generation of every host that answered, where all were pinged lately
    /// and any did.
    pub fn all(&self, epoch: u64) -> Option<Vec<Traits>> {
        let state = self.lock();
        state.complete_in(epoch).then_some(())?;
        let there = state.hosts.values().filter(|known| known.missed.is_none());
        let traits: Vec<Traits> = there.map(|known| known.traits).collect();
        (!traits.is_empty()).then_some(traits)
    }

    /// The hosts whose answers make a ping complete, each with how long it may
    /// take; `None` where there may be more.
    pub fn expected(&self, epoch: u64) -> Option<Expected> {
        let state = self.lock();
        let known = state.complete_in(epoch) && !state.hosts.is_empty();
        known.then(|| {
            let hosts = state.hosts.iter();
            hosts
                .map(|(host, known)| (host.clone(), known.patience()))
                .collect()
        })
    }

    /// Whether heartbeats alone show that all hosts are there; if so, they are
    /// known for another while, without a ping.
    pub fn kept_by_heartbeats(&self, epoch: u64) -> bool {
        let state = &mut *self.lock();
        let kept = state.complete_in(epoch)
            && !state.hosts.is_empty()
            && state.hosts.values().all(Known::beats);
        if kept {
            state.complete = Some((Instant::now(), epoch));
        }
        kept
    }

    /// Takes that the lattice is called; whether somebody must begin to watch
    /// it.
    pub fn used(&self) -> bool {
        let state = &mut *self.lock();
        state.used = Some(Instant::now());
        !std::mem::replace(&mut state.watched, true)
    }

    /// Whether the one who watches may stop: nobody calls any more, or `always`.
    pub fn unwatched(&self, always: bool) -> bool {
        let state = &mut *self.lock();
        let in_use = state.used.is_some_and(|used| used.elapsed() < IN_USE_FOR);
        if always || !in_use {
            state.watched = false;
        }
        !state.watched
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hosts that missed a ping and may miss another.
    fn misses(&self) -> usize {
        let hosts = self.hosts.values();
        hosts.filter(|known| known.missed.is_some()).count()
    }

    /// Whether all hosts are known. A connection that broke since may have
    /// missed one that came.
    fn complete_in(&self, epoch: u64) -> bool {
        self.complete
            .is_some_and(|(at, then)| then == epoch && at.elapsed() < COMPLETE_FOR)
    }
}

impl Known {
    fn believed(&self) -> bool {
        self.told.elapsed() < BELIEVED_FOR
    }

    fn beats(&self) -> bool {
        self.missed.is_none()
            && self
                .heartbeat
                .is_some_and(|at| at.elapsed() < HEARTBEAT_LATE_AFTER)
    }

    /// Takes that it did not answer a ping of `asked` within `took`; whether
    /// that is the second one. Pings that were under way together count once.
    fn misses(&mut self, asked: Instant, took: Duration) -> bool {
        if self.seen > asked || took < self.patience() {
            return false;
        }
        match self.missed {
            Some(first) => first <= asked,
            None => {
                self.missed = Some(Instant::now());
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
