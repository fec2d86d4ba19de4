//! The hosts of a lattice, as far as they are known: which are there, how each is talked
//! to, with which labels, and how fast each answers.
//!
//! The roster learns this from pings. Replies to other questions only show that a host is
//! alive. A host that misses two pings is forgotten, even where it sends heartbeats. A
//! roster belongs to a lattice and the credentials that the lattice was bound to: other
//! credentials may lead to other hosts.
//!
//! - [`export_check`]: whether replies of more than one host get through to us

pub mod export_check;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::connections::AnswerRoom;
use crate::credentials::Route;
use crate::lattice::commands::Commands;
use crate::lattice::dialect::Dialect;
use crate::lattice::gather::{Ended, Expectation, ExpectedHosts, Gathered};
use crate::lattice::model::{Host, TextMap};
use crate::lattice::roster::export_check::ExportCheck;
use crate::lock::Lock;
use crate::name::HostId;
use crate::shares::{Share, Shares};
use crate::telemetry::LogLimiter;

/// How long a host's reply to a ping counts.
const RECENT_FOR: Duration = Duration::from_secs(600);
/// How long all hosts count as known after all were pinged and waited for. A roster in
/// use is renewed more often.
const COMPLETE_FOR: Duration = Duration::from_secs(75);
/// How long after a ping without a reply the host has missed it. A host that usually takes
/// longer has that time.
const MISSED_AFTER: Duration = Duration::from_millis(300);
/// Longest that a single host is waited for: less than the pings in the background wait,
/// so that the slowest host can miss one.
pub(crate) const MOST_PATIENCE: Duration = Duration::from_millis(1900);
/// How long after its last call a lattice is in use.
const IN_USE_FOR: Duration = Duration::from_secs(120);
/// How long a refusal by JetStream counts.
const ASK_JETSTREAM_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// What a host may take in addition to twice its usual time.
const SLACK: Duration = Duration::from_millis(30);
/// How much shorter than expected the uptime may be that a host reports: it counts in
/// whole seconds, and its reply can be late.
const UPTIME_SLACK: Duration = Duration::from_secs(5);
/// By how much uptimes may differ of which the replies came in the wrong order.
const UPTIME_ORDER: Duration = Duration::from_secs(1);
/// Most hosts that are kept.
pub const MAX_HOSTS: usize = 10_000;
/// Labels of a host that have no more bytes are kept in any case.
const USUAL_LABELS: usize = 512;
/// Most bytes of larger labels that are kept for all hosts of a lattice. One host has half
/// of them at most.
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
    /// Notified when a host misses a ping that had missed none.
    pub missed: Arc<Notify>,
    /// The room for what the lattice answers.
    pub answers: AnswerRoom,
    /// Divides [`MAX_LABEL_BYTES`] among the hosts.
    labels: OnceLock<Arc<Shares<HostId>>>,
    /// The route of the calls by which it was learned.
    pub(super) route: OnceLock<Weak<Route>>,
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    hosts: HashMap<HostId, KnownHost>,
    /// When all hosts were last pinged and waited for, and in which epoch of the
    /// connection.
    complete: Option<(Instant, u64)>,
    /// When the lattice was last called.
    used: Option<Instant>,
    /// Whether a task keeps the roster fresh.
    watched: bool,
    /// When the server last refused to ask JetStream.
    jetstream_refused: Option<Instant>,
}

/// What is known of a host.
struct KnownHost {
    dialect: Dialect,
    /// Its labels, where it says any and there is room for them.
    labels: Option<Labels>,
    /// Its uptime in seconds, as its last reply to a ping says.
    uptime: u64,
    /// When that reply came.
    replied: Instant,
    /// When it last answered any question.
    seen: Instant,
    /// Whether an event said that it may be gone, or have another version now.
    doubtful: bool,
    /// How long it takes to answer a ping: an average, and not less than the last time.
    answers_in: Duration,
    /// When it was found to have missed a ping, since its last reply.
    missed: Option<Instant>,
}

/// Labels that are kept.
struct Labels {
    all: TextMap,
    /// What they take of the room, where they are large.
    _room: Option<Box<Share<HostId>>>,
}

impl KnownHost {
    /// Returns how long after a ping its reply is waited for in any case.
    fn patience(&self) -> Duration {
        (self.answers_in * 2 + SLACK).min(MOST_PATIENCE)
    }
}

impl Roster {
    /// Makes the roster of a lattice that has this room for answers.
    pub fn new(answers: AnswerRoom) -> Self {
        Self {
            answers,
            ..Self::default()
        }
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
                let shares = self.labels.get_or_init(|| Shares::new(MAX_LABEL_BYTES));
                let mut room = shares.share(host.clone());
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

    /// Notes a host's reply to a ping, and how long `after` the ping it came.
    pub fn note_ping_reply(&self, host: &HostId, ping: &Host, after: Duration) {
        let state = &mut *self.state.lock();
        let now = Instant::now();
        let before = state.hosts.get(host);
        if before.is_none() && state.hosts.len() >= MAX_HOSTS {
            return;
        }
        let usual = before.map_or(after, |known| (known.answers_in * 3 + after) / 4);
        if before.is_some_and(|known| known.ran_before(ping.uptime_seconds)) {
            self.commands.forget(host);
        }
        // Those from before give up their room first.
        if let Some(known) = state.hosts.get_mut(host) {
            known.labels = None;
        }
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
        };
        state.hosts.insert(host.clone(), known);
    }

    /// Notes which hosts a ping to all hosts has not reached. `thorough` says that every
    /// host was waited for, in this epoch of the connection.
    pub fn pinged<T>(&self, gathered: &Gathered<T>, thorough: bool, epoch: u64) {
        let state = &mut *self.state.lock();
        let mut newly_missed = false;
        match gathered.ended {
            // No host is there, not even one that is silent.
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
            state.complete = Some((Instant::now(), epoch));
        }
        if newly_missed {
            self.missed.notify_one();
        }
    }

    /// Notes that all hosts were waited for.
    pub fn complete(&self, epoch: u64) {
        self.state.lock().complete = Some((Instant::now(), epoch));
    }

    /// Notes that all hosts were pinged and waited for before any call.
    pub fn learned(&self, epoch: u64) {
        self.complete(epoch);
    }

    /// Notes that a host answered another question than a ping.
    pub fn answered(&self, host: &HostId) {
        self.export_check.alive(host);
        if let Some(known) = self.state.lock().hosts.get_mut(host) {
            known.seen = Instant::now();
            known.missed = None;
        }
    }

    /// Notes a heartbeat. Returns whether the host should be pinged, because it is not
    /// known or reports another version than before. A heartbeat is no sign that a host
    /// answers: Rust hosts whose control loop died, and hosts that spin, go on sending
    /// them (docs/hosts.md#too-large-stop-ends-control,
    /// docs/hosts.md#hung-host-beats-on).
    pub fn note_heartbeat(&self, host: &HostId, dialect: Dialect) -> bool {
        match self.state.lock().hosts.get_mut(host) {
            Some(known) if known.dialect.has_version_of(&dialect) => false,
            Some(known) => {
                known.doubtful = true;
                true
            }
            None => true,
        }
    }

    /// Notes that a host may be gone, or have another version now. That may be wrong: the
    /// host is still waited for as long as it usually takes, and a ping decides.
    pub fn doubt(&self, host: &HostId) {
        if let Some(known) = self.state.lock().hosts.get_mut(host) {
            known.doubtful = true;
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

    /// Returns the hosts that a ping waits for, and whether they are all.
    pub fn expected(&self, epoch: u64) -> ExpectedHosts {
        let state = self.state.lock();
        let recent = state.hosts.iter().filter(|(_, known)| known.is_recent());
        let hosts = recent.map(|(host, known)| {
            let expectation = Expectation {
                within: known.patience(),
                doubtful: known.doubtful,
            };
            (host.clone(), expectation)
        });
        ExpectedHosts {
            are_all: state.complete_in(epoch) && !state.hosts.is_empty(),
            hosts: hosts.collect(),
        }
    }

    /// Notes that JetStream refuses these credentials.
    pub fn jetstream_refused(&self) {
        self.state.lock().jetstream_refused = Some(Instant::now());
    }

    /// Tells whether it did so a moment ago. The server logs each question that it
    /// refuses, so that it is better not asked again and again.
    pub fn is_jetstream_refused(&self) -> bool {
        let refused = self.state.lock().jetstream_refused;
        refused.is_some_and(|at| at.elapsed() < ASK_JETSTREAM_AGAIN_AFTER)
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
        self.complete
            .is_some_and(|(at, then)| then == epoch && at.elapsed() < COMPLETE_FOR)
    }
}

impl KnownHost {
    /// Tells whether the host was started again, as it reports a shorter uptime than it
    /// had.
    fn ran_before(&self, uptime: u64) -> bool {
        // Replies to two pings can come in the wrong order.
        uptime + UPTIME_ORDER.as_secs() < self.uptime
            || uptime + UPTIME_SLACK.as_secs() < self.uptime + self.replied.elapsed().as_secs()
    }

    fn is_recent(&self) -> bool {
        self.replied.elapsed() < RECENT_FOR
    }

    /// Notes that it did not answer a ping of `asked` within `took`. Returns whether that
    /// is the second one that it missed. Pings that were under way together count once.
    fn misses(&mut self, asked: Instant, took: Duration) -> bool {
        if self.seen > asked || took < self.patience() {
            return false;
        }
        match self.missed {
            Some(first) => first <= asked,
            // An event said that it may be gone.
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
