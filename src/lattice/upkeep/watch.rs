//! Keeps the roster of a lattice fresh while the lattice is in use: by pings in the
//! background, and by the events of hosts where the credentials may subscribe to them.
//! Without events, the roster is only less fresh.
//!
//! An event says that a host may have come, gone, or changed its version; only its reply
//! to a ping is believed. Events also say what came of starts. Somebody who may publish
//! events, and lies, can make us do this: ping, wait no longer for a host than it usually
//! takes, no longer wait for what a host was told a moment ago, and refuse commands that
//! name a reference, as that of another actor. It is not more than that.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info};

use crate::connections::Connection;
use crate::lattice::Lattice;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v0::{events, subject};
use crate::lattice::gather::{Ended, Enough};
use crate::lattice::model::HostNews;
use crate::lattice::roster::Roster;
use crate::lock::Lock;
use crate::name::{HostId, JsDomain, LatticeId};

/// How long after it begins a watch pings first: the call that began it comes before.
const FIRST_PING_AFTER: Duration = Duration::from_secs(1);
/// Pause between regular pings.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Lattices whose pings are due within this time are pinged together.
const TOGETHER: Duration = Duration::from_secs(2);
/// Most lattices that are pinged together.
const MOST_TOGETHER: u32 = 32;
/// Over how many moments further ones are spread.
const SPREAD_OVER: u32 = 64;
/// How long pings in the background wait for the slowest host.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after an event hosts are pinged: a host that starts subscribes at about
/// the same time.
const PING_AFTER_EVENT: Duration = Duration::from_millis(200);
/// How long after a missed ping another one shows whether the host is gone.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// Most pings that events cause between two regular ones.
const MAX_CAUSED: usize = 8;
/// Events of more bytes are not read: no host of a usual server can send one.
pub const MAX_EVENT: usize = 1024 * 1024;
/// More events in a second than hosts that are well would send. Then events are ignored
/// until the next regular ping.
const MAX_EVENTS: usize = 2000;
/// The same for their bytes. The largest that a host that is well sends has some kilobytes.
const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

impl Lattice {
    /// Notes that the lattice is called. From here on its roster is kept fresh. A lattice
    /// where nobody listens is not watched: a task and a subscription cost memory, and
    /// servers tell each call at once that nobody listens.
    pub fn keep_fresh(&self) {
        if self.roster.note_call() {
            self.begin_watch();
        }
    }

    /// Begins to watch the lattice, in a task of its own.
    pub(crate) fn begin_watch(&self) {
        tokio::spawn(self.watch().run());
    }

    pub(super) fn watch(&self) -> Watch {
        Watch {
            id: self.id.clone(),
            js_domain: self.js_domain.clone(),
            connection: Arc::downgrade(&self.connection),
            released: self.connection.released(),
            roster: Arc::downgrade(&self.roster),
            missed: self.roster.missed.clone(),
            caused: 0,
            named: HashSet::new(),
            due: false,
            events: EventCount::default(),
        }
    }
}

/// The state of that task. It holds neither the connection nor the roster, so that both
/// end when calls and bindings no longer need them.
pub(super) struct Watch {
    id: LatticeId,
    js_domain: Option<JsDomain>,
    connection: Weak<Connection>,
    released: CancellationToken,
    roster: Weak<Roster>,
    missed: Arc<Notify>,
    /// Pings that events caused since the last regular one.
    caused: usize,
    /// Hosts whose heartbeats asked for a ping since the last regular one.
    named: HashSet<HostId>,
    /// Whether something else than a heartbeat asks for the next ping.
    due: bool,
    events: EventCount,
}

/// The events of one second.
struct EventCount {
    since: Instant,
    events: usize,
    bytes: usize,
}

impl Default for EventCount {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            events: 0,
            bytes: 0,
        }
    }
}

/// Tells the roster that the watch has ended, however it ends.
struct Ends(Option<Weak<Roster>>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(roster) = self.0.take().and_then(|roster| roster.upgrade()) {
            roster.note_watch_ended();
        }
    }
}

impl Watch {
    async fn run(mut self) {
        let mut ends = Ends(Some(self.roster.clone()));
        let mut events = self.subscribe().await;
        let mut ping = FuturesUnordered::<BoxFuture<'static, ()>>::new();
        let mut regular_at = Instant::now() + FIRST_PING_AFTER;
        let mut sooner_at: Option<Instant> = None;
        let sooner = |at: Option<Instant>, wait: Duration| {
            let then = Instant::now() + wait;
            Some(at.map_or(then, |at| at.min(then)))
        };
        loop {
            let at = sooner_at.map_or(regular_at, |at| at.min(regular_at));
            tokio::select! {
                () = self.released.cancelled() => return,
                event = next(&mut events) => match event {
                    Some(event) if self.is_flooded(event.payload.len()) => {
                        info!(lattice = %self.id, "too many events; they are ignored for a while");
                        events = None;
                    }
                    Some(event) => if self.asks_for_ping(&event) {
                        sooner_at = sooner(sooner_at, PING_AFTER_EVENT);
                    },
                    None => events = None,
                },
                () = self.missed.notified() => {
                    self.due = true;
                    sooner_at = sooner(sooner_at, CONFIRM_AFTER);
                }
                Some(()) = ping.next() => {}
                () = sleep_until(at), if ping.is_empty() => {
                    let Some(roster) = self.roster.upgrade() else { return };
                    if roster.end_watch_if_unused() {
                        debug!(lattice = %self.id, "no longer in use, no longer watched");
                        // Another watch may have begun already.
                        ends.0 = None;
                        return;
                    }
                    sooner_at = None;
                    let regular = Instant::now() >= regular_at;
                    if regular {
                        regular_at = together(Instant::now() + PING_EVERY);
                        self.caused = 0;
                        if events.is_none() {
                            events = self.subscribe().await;
                        }
                    }
                    if regular || self.is_needed(&roster) {
                        ping.extend(self.ping(roster));
                        self.due = false;
                    }
                    if regular {
                        self.named.clear();
                    }
                }
            }
        }
    }

    pub(super) async fn subscribe(&self) -> Option<Subscriber> {
        let connection = self.connection.upgrade()?;
        let subject = subject::events(&self.id);
        connection.client().subscribe(subject).await.ok()
    }

    /// Makes a ping to all hosts that waits for the slowest.
    fn ping(&self, roster: Arc<Roster>) -> Option<BoxFuture<'static, ()>> {
        let (id, js_domain) = (self.id.clone(), self.js_domain.clone());
        let (connection, duties) = (self.connection.upgrade()?, TaskTracker::new());
        let lattice = Lattice::in_background(id, js_domain, connection, roster, PATIENCE, duties);
        Some(Box::pin(async move {
            // The roster learns from it; a failure shows at the next call.
            let epoch = lattice.connection.epoch();
            let terms = lattice.patient_terms(Enough::All, lattice.deadline);
            match lattice.ping(None, terms, |_, _| false).await {
                Ok((pings, _)) if pings.ended == Ended::Deadline => lattice.roster.complete(epoch),
                Ok(_) => {}
                Err(error) => debug!(lattice = %lattice.id, %error, "not pinged"),
            }
        }))
    }

    /// Tells whether the ping that was asked for is still needed: the hosts whose
    /// heartbeats asked for it may have answered another since.
    fn is_needed(&self, roster: &Roster) -> bool {
        self.due || self.named.iter().any(|host| !roster.knows(host))
    }

    /// Counts an event of so many bytes. Returns whether there are too many of them.
    pub(super) fn is_flooded(&mut self, bytes: usize) -> bool {
        let counted = &mut self.events;
        if counted.since.elapsed() > Duration::from_secs(1) {
            *counted = EventCount::default();
        }
        counted.events += 1;
        counted.bytes += bytes;
        counted.events > MAX_EVENTS || counted.bytes > MAX_EVENT_BYTES
    }

    /// Notes an event. Returns whether hosts should be pinged because of it.
    pub(super) fn asks_for_ping(&mut self, event: &Message) -> bool {
        if event.payload.len() > MAX_EVENT {
            return false;
        }
        let Some(event) = events::read(&event.payload) else {
            return false;
        };
        let (Ok(host), Some(roster)) = (HostId::parse(&event.host), self.roster.upgrade()) else {
            return false;
        };
        let may = self.caused < MAX_CAUSED;
        let asks = match event.news {
            HostNews::Beats { version } => {
                roster.export_check.alive(&host);
                let dialect = Dialect::of_version(version.as_deref());
                roster.note_heartbeat(&host, dialect) && may && self.named.insert(host)
            }
            // A host that starts may have another version than before. One that is
            // doubtful already is pinged soon.
            HostNews::Started | HostNews::Stopped => {
                let started = matches!(event.news, HostNews::Started);
                match started {
                    true => roster.export_check.alive(&host),
                    false => roster.export_check.ended(&host),
                }
                roster.commands.forget(&host);
                let asks = may && (started || roster.knows(&host));
                roster.doubt(&host);
                self.due |= asks;
                asks
            }
            HostNews::ActorStarted {
                key,
                image_ref,
                annotations,
            } => {
                roster.commands.learned.learn(&host, &image_ref, &key);
                if let Some(annotations) = annotations {
                    roster
                        .commands
                        .in_flight
                        .confirmed(&host, &image_ref, &annotations);
                }
                false
            }
            HostNews::ActorFailed {
                image_ref,
                annotations,
                reason,
            } => {
                let in_flight = &roster.commands.in_flight;
                in_flight.failed(&host, &image_ref, annotations.as_ref(), &reason);
                false
            }
        };
        self.caused += usize::from(asks);
        asks
    }
}

/// Returns when a ping is sent that is due at this time: a little earlier, together with
/// those of other lattices, so that the process wakes up less often.
fn together(at: Instant) -> Instant {
    static SLOTS: Lock<Option<Slots>> = Lock::new(None);
    let mut slots = SLOTS.lock();
    slots.get_or_insert_with(|| Slots::from(at)).place(at)
}

/// Moments at which pings are sent.
struct Slots {
    /// The first of them.
    start: Instant,
    /// The latest that was used, and how often.
    latest: (Instant, u32),
}

impl Slots {
    fn from(start: Instant) -> Self {
        Self {
            start,
            latest: (start, 0),
        }
    }

    /// Chooses the moment for a ping that is due at `at`: the moment before that, or,
    /// where no place is left there, one that spreads them.
    fn place(&mut self, at: Instant) -> Instant {
        let since = at.saturating_duration_since(self.start).as_nanos();
        let beyond = (since % TOGETHER.as_nanos()) as u64;
        let slot = at - Duration::from_nanos(beyond);
        if self.latest.0 != slot {
            self.latest = (slot, 0);
        }
        let number = self.latest.1;
        self.latest.1 += 1;
        match number < MOST_TOGETHER {
            true => slot,
            false => at - TOGETHER * (number % SPREAD_OVER) / SPREAD_OVER,
        }
    }
}

/// Waits for the next event, for ever where there is no subscription.
async fn next(events: &mut Option<Subscriber>) -> Option<Message> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_that_are_due_at_about_the_same_time_are_sent_together() {
        let start = Instant::now();
        let mut slots = Slots::from(start);
        let mut at_once = std::collections::HashMap::<Instant, u32>::new();
        for number in 0..1000 {
            let due = start + Duration::from_micros(31_234 * number);
            let placed = slots.place(due);
            assert!(placed <= due && due - placed <= TOGETHER);
            *at_once.entry(placed).or_default() += 1;
        }
        assert!(at_once.values().all(|count| *count <= MOST_TOGETHER));
        // 31 s of them, 64 in each slot.
        let crowded = at_once.values().filter(|count| **count == MOST_TOGETHER);
        assert_eq!(crowded.count(), 16);
        // Where all are due at the same time, too.
        let due = start + Duration::from_secs(60);
        let mut at_once = std::collections::HashMap::<Instant, u32>::new();
        for _ in 0..1000 {
            *at_once.entry(slots.place(due)).or_default() += 1;
        }
        assert!(at_once.values().all(|count| *count <= 2 * MOST_TOGETHER));
        // Of few, all find a place.
        let few = (0..10).map(|number| slots.place(start + Duration::from_millis(70_000 + number)));
        assert_eq!(few.collect::<HashSet<_>>().len(), 1);
    }
}
