//! The hosts of a lattice, as far as they are known: who is there, of which
//! generation, with which labels, and how fast each answers.
//!
//! Learned from pings; the answers of any other operation are signs of life. A
//! host that misses two pings is forgotten, also where it sends heartbeats. A
//! roster belongs to a lattice and the credentials it was bound with: other
//! credentials may lead to other hosts. [`super::watch`] keeps it fresh while
//! the lattice is in use.

pub mod export_check;
pub mod watch;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::lattice::commands::Commands;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::wire::{Host, TextMap};
use crate::lattice::exchange::gather::{Ended, Expectation, Expected, Gathered};
use crate::lattice::roster::export_check::ExportCheck;
use crate::name::HostId;
use crate::telemetry::Complaints;

/// What a host said of itself counts for so long.
const BELIEVED_FOR: Duration = Duration::from_secs(600);
/// How long all hosts are taken to be known after all were pinged and waited
/// for. A roster in use is renewed more often.
const COMPLETE_FOR: Duration = Duration::from_secs(75);
/// A ping that was waited for this long, or as long as a host usually takes,
/// and brought nothing, is missed.
const MISSED_AFTER: Duration = Duration::from_millis(300);
/// Longest that a host is waited for, whatever others do: less than the pings in
/// the background wait, so that the slowest host can miss one.
pub(crate) const MOST_PATIENCE: Duration = Duration::from_millis(1900);
/// How long after its last call a lattice is in use.
const IN_USE_FOR: Duration = Duration::from_secs(120);
/// How long a refusal to ask JetStream counts.
const ASK_JETSTREAM_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// What a host may take longer than twice its usual time.
const SLACK: Duration = Duration::from_millis(30);
/// How much less than it should a host may say that it runs: it counts in whole
/// seconds, and its answer can be late.
const UPTIME_SLACK: Duration = Duration::from_secs(5);
const UPTIME_ORDER: Duration = Duration::from_secs(1);
/// Most hosts that are kept.
const MAX_HOSTS: usize = 10_000;

/// The hosts of one lattice.
#[derive(Default)]
pub struct Roster {
    /// What was asked of them a moment ago.
    pub commands: Commands,
    /// Keep bids that come too late, and answers that do not count, from filling
    /// the log.
    pub late_bids: Complaints,
    /// See there.
    pub left_out: Complaints,
    /// Keep two hosts with one id from filling the log.
    pub twins: Complaints,
    /// Whether more than one answer gets through.
    pub export_check: ExportCheck,
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
    /// When the server last refused to ask JetStream.
    unserved: Option<Instant>,
}

/// What is known of a host.
struct Known {
    traits: Traits,
    labels: Option<TextMap>,
    /// Since when it runs, as it said in seconds, when it last said what it is.
    uptime: u64,
    /// When it last said what it is.
    told: Instant,
    /// When it last answered anything.
    seen: Instant,
    /// It may be gone, or another than it was: an event said so.
    doubtful: bool,
    /// How long it takes to answer a ping: as long as it did lately at most.
    answers_in: Duration,
    /// When it was noticed that it missed a ping, since it answered last.
    missed: Option<Instant>,
}

impl Known {
    /// How long after a ping its answer is waited for, whatever others do.
    fn patience(&self) -> Duration {
        (self.answers_in * 2 + SLACK).min(MOST_PATIENCE)
    }
}

impl Roster {
    /// Takes what a host said of itself `after` a ping.
    pub fn heard(&self, host: &HostId, ping: &Host, after: Duration) {
        let state = &mut *self.lock();
        let now = Instant::now();
        let before = state.hosts.get(host);
        if before.is_none() && state.hosts.len() >= MAX_HOSTS {
            return;
        }
        let usual = before.map_or(after, |known| (known.answers_in * 3 + after) / 4);
        if before.is_some_and(|known| known.is_older_than(ping.uptime_seconds)) {
            self.commands.forget(host);
        }
        let known = Known {
            traits: Traits::from(ping),
            labels: ping.labels.clone(),
            uptime: ping.uptime_seconds,
            told: now,
            seen: now,
            doubtful: false,
            answers_in: usual.max(after),
            missed: None,
        };
        state.hosts.insert(host.clone(), known);
    }

    /// Takes what came of a ping to all hosts, beside the answers themselves.
    /// `thorough`: whoever is there was waited for, in this epoch of the
    /// connection.
    pub fn pinged<T>(&self, gathered: &Gathered<T>, thorough: bool, epoch: u64) {
        let state = &mut *self.lock();
        let mut newly_missed = false;
        match gathered.ended {
            // Not even a silent one is there.
            Ended::NoResponders => {
                for (host, _) in state.hosts.drain() {
                    self.commands.forget(&host);
                }
            }
            Ended::Complete | Ended::Stall | Ended::Deadline if gathered.took >= MISSED_AFTER => {
                state.hosts.retain(|host, known| {
                    if gathered.harvest.has(host) {
                        return true;
                    }
                    let missed = known.missed.is_some();
                    let stays = known.believed() && !known.misses(gathered.asked, gathered.took);
                    newly_missed |= stays && known.missed.is_some() != missed;
                    if !stays {
                        self.commands.forget(host);
                    }
                    stays
                });
            }
            _ => {}
        }
        if thorough || gathered.ended == Ended::NoResponders {
            state.complete = Some((Instant::now(), epoch));
        }
        if newly_missed {
            self.missed.notify_one();
        }
    }

    /// Takes that everybody who is there was waited for.
    pub fn complete(&self, epoch: u64) {
        self.lock().complete = Some((Instant::now(), epoch));
    }

    /// Takes an answer of a host that does not say what it is.
    pub fn answered(&self, host: &HostId) {
        self.export_check.alive(host);
        if let Some(known) = self.lock().hosts.get_mut(host) {
            known.seen = Instant::now();
            known.missed = None;
        }
    }

    /// Takes a host's heartbeat; whether it should be pinged, because it is not
    /// known or no longer what it was. It is no answer to anything: Rust hosts
    /// whose control loop died, and hosts that spin, beat on (traps T3, T36).
    pub fn beat(&self, host: &HostId, traits: Traits) -> bool {
        match self.lock().hosts.get_mut(host) {
            Some(known) if known.traits.beats_as(&traits) => false,
            Some(known) => {
                known.doubtful = true;
                true
            }
            None => true,
        }
    }

    /// Takes that a host may be gone, or another than it was. Whoever says so may
    /// be wrong: it is still waited for, as long as it usually takes, and a
    /// ping decides.
    pub fn doubt(&self, host: &HostId) {
        if let Some(known) = self.lock().hosts.get_mut(host) {
            known.doubtful = true;
        }
    }

    /// Whether a host is known, and nothing speaks against it.
    pub fn knows(&self, host: &HostId) -> bool {
        let state = self.lock();
        state.hosts.get(host).is_some_and(|known| !known.doubtful)
    }

    /// Takes that nobody listens for a host.
    pub fn gone(&self, host: &HostId) {
        self.commands.forget(host);
        self.lock().hosts.remove(host);
    }

    /// Every host that is known.
    pub fn hosts(&self) -> Vec<HostId> {
        self.lock().hosts.keys().cloned().collect()
    }

    /// What a host is, where it said so not too long ago.
    pub fn traits(&self, host: &HostId) -> Option<Traits> {
        let state = self.lock();
        let known = state.hosts.get(host)?;
        (known.believed() && !known.doubtful).then_some(known.traits)
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
        let hosts = state.hosts.values();
        let there = hosts.filter(|known| known.missed.is_none() && !known.doubtful);
        let traits: Vec<Traits> = there.map(|known| known.traits).collect();
        (!traits.is_empty()).then_some(traits)
    }

    /// The hosts that a ping is to wait for, and whether they are all.
    pub fn expected(&self, epoch: u64) -> Expected {
        let state = self.lock();
        let believed = state.hosts.iter().filter(|(_, known)| known.believed());
        let hosts = believed.map(|(host, known)| {
            let expectation = Expectation {
                within: known.patience(),
                doubtful: known.doubtful,
            };
            (host.clone(), expectation)
        });
        Expected {
            are_all: state.complete_in(epoch) && !state.hosts.is_empty(),
            hosts: hosts.collect(),
        }
    }

    /// Takes that the credentials may not ask JetStream.
    pub fn may_not_ask_jetstream(&self) {
        self.lock().unserved = Some(Instant::now());
    }

    /// Whether that was so a moment ago. Questions that get no answer are better
    /// not asked again and again: the server logs each that it refuses.
    pub fn is_jetstream_refused(&self) -> bool {
        let unserved = self.lock().unserved;
        unserved.is_some_and(|at| at.elapsed() < ASK_JETSTREAM_AGAIN_AFTER)
    }

    /// Takes that the lattice is called; whether somebody must begin to watch
    /// it. Where no host is known, the pings of calls tell first whether there
    /// is anything to watch.
    pub fn used(&self) -> bool {
        let state = &mut *self.lock();
        state.used = Some(Instant::now());
        !state.hosts.is_empty() && state.begin()
    }

    /// Takes that somebody listens in the lattice; whether somebody must begin
    /// to watch it.
    pub fn inhabited(&self) -> bool {
        self.lock().begin()
    }

    /// Whether the one who watches is to stop, because nobody calls any more; if
    /// so, the next call has somebody else begin.
    pub fn is_unused(&self) -> bool {
        let state = &mut *self.lock();
        let in_use = state.used.is_some_and(|used| used.elapsed() < IN_USE_FOR);
        state.watched = in_use;
        !in_use
    }

    /// Takes that nobody watches any more.
    pub fn unwatched(&self) {
        self.lock().watched = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// Whether all hosts are known. A connection that broke since may have
    /// missed one that came.
    fn complete_in(&self, epoch: u64) -> bool {
        self.complete
            .is_some_and(|(at, then)| then == epoch && at.elapsed() < COMPLETE_FOR)
    }
}

impl Known {
    /// Whether it ran longer already than the host that now says this: that one
    /// was started again.
    fn is_older_than(&self, uptime: u64) -> bool {
        // Answers to two pings can come in another order.
        uptime + UPTIME_ORDER.as_secs() < self.uptime
            || uptime + UPTIME_SLACK.as_secs() < self.uptime + self.told.elapsed().as_secs()
    }

    fn believed(&self) -> bool {
        self.told.elapsed() < BELIEVED_FOR
    }

    /// Takes that it did not answer a ping of `asked` within `took`; whether
    /// that is the second one. Pings that were under way together count once.
    fn misses(&mut self, asked: Instant, took: Duration) -> bool {
        if self.seen > asked || took < self.patience() {
            return false;
        }
        match self.missed {
            Some(first) => first <= asked,
            // An event said so before.
            None if self.doubtful => true,
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
