//! The hosts of a lattice, as far as they are known: which are there, how each is talked
//! to, with which labels, and how fast each answers.
//!
//! The roster learns this from pings. Replies to other questions only show that a host is
//! alive. A host that misses two pings is forgotten, even where it sends heartbeats. A
//! roster belongs to a lattice and the credentials that the lattice was bound to: other
//! credentials may lead to other hosts.
//!
//! - `known`: what is known of one host
//! - `listening`: whether a host that came would have been heard
//! - `newcomers`: whether a gather gives newcomers time
//! - `providers`: which providers hosts run
//! - `refusals`: what the credentials may not ask
//! - [`export_check`]: whether replies of more than one host get through to us

pub mod export_check;
mod known;
mod listening;
mod newcomers;
mod providers;
mod refusals;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connections::AnswerRoom;
use crate::credentials::Route;
use crate::lattice::commands::Commands;
use crate::lattice::dialect::Dialect;
use crate::lattice::gather::{Ended, Expectation, ExpectedHosts, Gathered};
use crate::lattice::model::{Host, Protocol, TextMap};
use crate::lattice::roster::export_check::ExportCheck;
pub(crate) use crate::lattice::roster::known::MOST_PATIENCE;
use crate::lattice::roster::known::{KnownHost, Labels};
use crate::lattice::roster::listening::{HEARD_FOR, Listening};
use crate::lock::Lock;
use crate::name::HostId;
use crate::shares::Shares;
use crate::telemetry::LogLimiter;

/// How long all hosts count as known after all were pinged and waited for. A roster in
/// use is renewed more often.
const COMPLETE_FOR: Duration = Duration::from_secs(75);
/// How long after a ping without a reply the host has missed it. A host that usually takes
/// longer has that time.
const MISSED_AFTER: Duration = Duration::from_millis(300);
/// How long after the hosts were learned the first gather needs no time for newcomers.
const LEARNED_FOR: Duration = Duration::from_secs(2);
/// How long after its last call a lattice is in use.
const IN_USE_FOR: Duration = Duration::from_secs(120);
/// Most hosts that are kept.
pub const MAX_HOSTS: usize = 10_000;
/// Labels of a host that have no more bytes are kept in any case.
const USUAL_LABELS: usize = 512;
/// Most bytes of larger labels, and of providers, that are kept for all hosts of a lattice.
/// One host has half of them at most.
pub const MAX_LABEL_BYTES: usize = 4 * 1024 * 1024;
/// What a label takes beside its text.
const LABEL: usize = 64;

/// The hosts of one lattice.
#[derive(Default)]
pub struct Roster {
    /// The commands that they were sent a moment ago.
    pub commands: Commands,
    /// Limits the log lines about bids that come too late.
    pub late_bids: LogLimiter,
    /// Limits the log lines about replies that do not count.
    pub left_out: LogLimiter,
    /// Limits the log lines about two hosts with one id.
    pub twins: LogLimiter,
    /// Whether replies of more than one host get through.
    pub export_check: ExportCheck,
    /// How many answers to pings came.
    ping_answers: AtomicUsize,
    /// Notified when a host misses a ping that had missed none.
    pub missed: Arc<Notify>,
    /// The room for what the lattice answers.
    pub answers: AnswerRoom,
    /// Divides [`MAX_LABEL_BYTES`] among the hosts.
    texts: OnceLock<Arc<Shares<HostId>>>,
    /// The route of the calls by which it was learned.
    pub(super) route: OnceLock<Weak<Route>>,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    hosts: HashMap<HostId, KnownHost>,
    /// When all hosts were last pinged and waited for.
    complete: Option<Complete>,
    /// When that was last because the credentials were changed, and over the connection of
    /// which epoch, until the first gather.
    learned: Option<(Instant, u64)>,
    /// What is heard of the hosts without asking.
    listening: Listening,
    /// Whether it is kept which providers hosts run.
    keeps_providers: bool,
    /// When the lattice was last called.
    used: Option<Instant>,
    /// Whether a task keeps the roster fresh.
    watched: bool,
    /// The protocol of which these credentials may not ping hosts, and over the connection
    /// of which epoch.
    refused: Option<(Protocol, u64)>,
    /// When the server last refused to ask JetStream.
    jetstream_refused: Option<Instant>,
}

/// A ping that waited for all hosts.
#[derive(Clone, Copy)]
struct Complete {
    /// When it was sent.
    asked: Instant,
    /// When it was over.
    at: Instant,
    /// The epoch of the connection.
    epoch: u64,
}

impl Roster {
    /// Makes the roster of a lattice that has this room for answers.
    pub fn new(answers: AnswerRoom) -> Self {
        Self {
            answers,
            ..Self::default()
        }
    }

    /// Returns the room for what hosts say of themselves.
    fn texts(&self) -> &Arc<Shares<HostId>> {
        self.texts.get_or_init(|| Shares::new(MAX_LABEL_BYTES))
    }

    /// Returns the labels of a host to keep; `None` where it has none or they find no room.
    /// Who needs them then asks the host.
    fn keep_labels(&self, host: &HostId, labels: &TextMap) -> Option<Labels> {
        let texts = labels.iter();
        let bytes = texts.fold(0, |all, (name, value)| {
            all + LABEL + name.len() + value.len()
        });
        let room = match bytes {
            0..=USUAL_LABELS => None,
            _ => {
                let mut room = self.texts().share(host.clone());
                if !room.take(bytes) {
                    return None;
                }
                Some(Box::new(room))
            }
        };
        Some(Labels {
            all: labels.clone(),
            _room: room,
        })
    }

    /// Returns how many answers to pings came.
    pub fn ping_answers(&self) -> usize {
        self.ping_answers.load(Ordering::Relaxed)
    }

    /// Notes a host's reply to a ping, and how long `after` the ping it came.
    pub fn note_ping_reply(&self, host: &HostId, ping: &Host, after: Duration) {
        self.ping_answers.fetch_add(1, Ordering::Relaxed);
        let state = &mut *self.state.lock();
        let now = Instant::now();
        let heard_before = state.listening.owes_nothing(host);
        let before = state.hosts.get(host);
        if before.is_none() && state.hosts.len() >= MAX_HOSTS {
            return;
        }
        let usual = before.map_or(after, |known| (known.answers_in * 3 + after) / 4);
        let ran_before = before.is_some_and(|known| known.ran_before(ping.uptime_seconds));
        if ran_before {
            self.commands.forget(host);
        }
        // Labels from before give up their room first.
        let before = state.hosts.get_mut(host).map(|known| {
            known.labels = None;
            let providers = known.providers.take().filter(|_| !ran_before);
            (known.heard, known.bids, known.provider_moved, providers)
        });
        let (heard, bids, provider_moved, providers) = before.unwrap_or_default();
        let known = KnownHost {
            dialect: Dialect::from(ping),
            labels: ping
                .labels
                .as_ref()
                .and_then(|labels| self.keep_labels(host, labels)),
            uptime: ping.uptime_seconds,
            replied: now,
            seen: now,
            doubtful: false,
            answers_in: usual.max(after),
            missed: None,
            heard: heard.max(heard_before),
            bids,
            provider_moved,
            providers,
        };
        state.hosts.insert(host.clone(), known);
    }

    /// Notes which hosts a ping to all hosts has not reached. `thorough` says that every
    /// host was waited for, in this epoch of the connection.
    pub fn pinged(&self, gathered: &Gathered, thorough: bool, epoch: u64) {
        let state = &mut *self.state.lock();
        let mut newly_missed = false;
        // Of these protocols no host is there, not even one that is silent.
        state.hosts.retain(|host, known| {
            let protocol = known.dialect.protocol();
            let stays = gathered.harvest.has(host) || !gathered.nobody.contains(&protocol);
            if !stays {
                self.commands.forget(host);
            }
            stays
        });
        match gathered.ended {
            Ended::Complete | Ended::Stall | Ended::Deadline if gathered.took >= MISSED_AFTER => {
                state.hosts.retain(|host, known| {
                    if gathered.harvest.has(host) {
                        return true;
                    }
                    let missed = known.missed.is_some();
                    let stays = known.is_recent() && !known.misses(gathered.asked, gathered.took);
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
            state.complete_since(gathered.asked, epoch);
        }
        if newly_missed {
            self.missed.notify_one();
        }
    }

    /// Notes that all hosts were waited for, after a ping that was sent then.
    pub fn complete(&self, asked: Instant, epoch: u64) {
        self.state.lock().complete_since(asked, epoch);
    }

    /// Notes that a host answered another question than a ping.
    pub fn answered(&self, host: &HostId) {
        self.export_check.alive(host);
        if let Some(known) = self.state.lock().hosts.get_mut(host) {
            known.seen = Instant::now();
            known.missed = None;
        }
    }

    /// Notes that events arrive from now on, over the connection of this epoch.
    pub fn listens(&self, epoch: u64) {
        self.state.lock().listening.begin(epoch);
    }

    /// Notes that events over the connection of this epoch may have been missed.
    pub fn listens_no_more(&self, epoch: u64) {
        self.state.lock().listening.end(epoch);
    }

    /// Tells whether the events of a host arrive over the connection of this epoch, or it is
    /// too early to tell.
    pub fn may_hear(&self, host: &HostId, epoch: u64) -> bool {
        let state = self.state.lock();
        let heard = state.hosts.get(host).and_then(|known| known.heard);
        let is_recent = |at: &Instant| at.elapsed() < HEARD_FOR;
        let since = state.listening.since(epoch);
        since.is_some_and(|since| is_recent(&since) || heard.as_ref().is_some_and(is_recent))
    }

    /// Notes an event of a host over the connection of this epoch. Returns whether the host
    /// is known.
    pub fn heard(&self, host: &HostId, epoch: u64) -> bool {
        let state = &mut *self.state.lock();
        let known = state.hosts.get_mut(host);
        if known.as_ref().is_none_or(|known| known.doubtful) {
            state.listening.owes_answer(host);
        }
        let Some(known) = known else { return false };
        if state.listening.since(epoch).is_some() {
            known.heard = Some(Instant::now());
        }
        true
    }

    /// Notes the version in a heartbeat. Returns whether the host should be pinged, because
    /// it is not known or reports another version than before. A heartbeat is no sign that
    /// a host answers: Rust hosts whose control loop died, and hosts that spin, go on
    /// sending them (docs/hosts.md#too-large-stop-ends-control,
    /// docs/hosts.md#hung-host-beats-on).
    pub fn note_version(&self, host: &HostId, dialect: Dialect) -> bool {
        let state = &mut *self.state.lock();
        match state.hosts.get_mut(host) {
            Some(known) if known.dialect.has_version_of(&dialect) => false,
            Some(known) => {
                known.doubt();
                state.listening.owes_answer(host);
                true
            }
            None => true,
        }
    }

    /// Notes that a host started, as it says. It answers a ping soon.
    pub fn started(&self, host: &HostId) {
        let state = &mut *self.state.lock();
        state.hosts.get_mut(host).map(KnownHost::doubt);
        state.listening.owes_answer(host);
    }

    /// Notes that a host may be gone, or have another version now. That may be wrong: the
    /// host is still waited for as long as it usually takes, and a ping decides.
    pub fn doubt(&self, host: &HostId) {
        self.state.lock().hosts.get_mut(host).map(KnownHost::doubt);
    }

    /// Notes how late a bid of a host came behind its answer to the ping.
    pub fn note_bid(&self, host: &HostId, lag: Duration) {
        if let Some(known) = self.state.lock().hosts.get_mut(host) {
            known.note_bid(lag);
        }
    }

    /// Tells whether a host is known and not doubtful.
    pub fn knows(&self, host: &HostId) -> bool {
        let state = self.state.lock();
        state.hosts.get(host).is_some_and(|known| !known.doubtful)
    }

    /// Forgets a host that does not listen.
    pub fn gone(&self, host: &HostId) {
        self.commands.forget(host);
        self.state.lock().hosts.remove(host);
    }

    /// Returns every host that is known.
    pub fn hosts(&self) -> Vec<HostId> {
        self.state.lock().hosts.keys().cloned().collect()
    }

    /// Returns how a host is talked to, where it said what it is not too long ago.
    pub fn dialect(&self, host: &HostId) -> Option<Dialect> {
        let state = self.state.lock();
        let known = state.hosts.get(host)?;
        (known.is_recent() && !known.doubtful).then_some(known.dialect)
    }

    /// Returns the protocol that a host spoke when it last answered a ping.
    pub fn protocol(&self, host: &HostId) -> Option<Protocol> {
        let state = self.state.lock();
        state.hosts.get(host).map(|known| known.dialect.protocol())
    }

    /// Returns the labels of a host, where it said them not too long ago.
    pub fn labels(&self, host: &HostId) -> Option<TextMap> {
        let state = self.state.lock();
        let known = state.hosts.get(host)?;
        let labels = known.labels.as_ref().filter(|_| known.is_recent())?;
        Some(labels.all.clone())
    }

    /// Returns how each host is talked to that answered, where all were pinged lately and
    /// any answered.
    pub fn all(&self, epoch: u64) -> Option<Vec<Dialect>> {
        let state = self.state.lock();
        state.complete_in(epoch).then_some(())?;
        let hosts = state.hosts.values();
        let there = hosts.filter(|known| known.missed.is_none() && !known.doubtful);
        let dialects: Vec<Dialect> = there.map(|known| known.dialect).collect();
        (!dialects.is_empty()).then_some(dialects)
    }

    /// Notes that the last ping waited for all hosts, because the credentials were changed.
    pub fn learned(&self, epoch: u64) {
        self.state.lock().learned = Some((Instant::now(), epoch));
    }

    /// Returns the hosts that a gather waits for, and what others there may be.
    pub fn expected(&self, epoch: u64) -> ExpectedHosts {
        let state = &mut *self.state.lock();
        let others = state.others(epoch);
        let recent = || state.hosts.iter().filter(|(_, known)| known.is_recent());
        let widest = recent().filter_map(|(_, known)| known.bid_lag()).max();
        let hosts = recent().map(|(host, known)| {
            let expectation = Expectation {
                within: known.patience(),
                doubtful: known.doubtful,
                protocol: known.dialect.protocol(),
                bid_within: known.bid_within(widest),
            };
            (host.clone(), expectation)
        });
        ExpectedHosts {
            others,
            hosts: hosts.collect(),
        }
    }

    /// Notes that the lattice is called. Returns whether the caller must begin to watch
    /// it. Where no host is known, [`Roster::note_listener`] says so later.
    pub fn note_call(&self) -> bool {
        let state = &mut *self.state.lock();
        state.used = Some(Instant::now());
        !state.hosts.is_empty() && state.begin_watch()
    }

    /// Notes that somebody listens in the lattice. Returns whether the caller must begin
    /// to watch it.
    pub fn note_listener(&self) -> bool {
        self.state.lock().begin_watch()
    }

    /// Ends the watch if the lattice is no longer called: the next call begins another.
    /// Returns whether it has ended.
    pub fn end_watch_if_unused(&self) -> bool {
        let state = &mut *self.state.lock();
        let in_use =
            state.used.is_some_and(|used| used.elapsed() < IN_USE_FOR) && !self.is_unbound();
        state.watched = in_use;
        if !in_use {
            state.listening.end_all();
            state.keeps_providers = false;
            for known in state.hosts.values_mut() {
                known.providers = None;
            }
        }
        !in_use
    }

    /// Whether the lattice is bound to other credentials, or to none, since.
    pub(super) fn is_unbound(&self) -> bool {
        let route = self.route.get();
        route.is_some_and(|route| route.strong_count() == 0)
    }

    /// Whether a task keeps the roster fresh.
    pub fn is_watched(&self) -> bool {
        self.state.lock().watched
    }

    /// Notes that the watch has ended.
    pub fn note_watch_ended(&self) {
        self.state.lock().watched = false;
    }
}

impl State {
    fn begin_watch(&mut self) -> bool {
        !std::mem::replace(&mut self.watched, true)
    }

    /// Tells whether all hosts are known in this epoch of the connection. In another, a
    /// host may have come unnoticed.
    fn complete_in(&self, epoch: u64) -> bool {
        let complete = self.complete.filter(|complete| complete.epoch == epoch);
        complete.is_some_and(|complete| complete.at.elapsed() < COMPLETE_FOR)
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
