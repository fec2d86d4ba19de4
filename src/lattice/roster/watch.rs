//! Keeps the roster of a lattice fresh while the lattice is in use: by pings in
//! the background, and by the events of hosts where the credentials may
//! subscribe to them. A refused subscription changes nothing but freshness.
//!
//! Events say that a host may be there, gone, or another than it was; its ping
//! alone says what is so. They also say what came of starts. Whoever may publish
//! events can make us ping, wait no longer for a host than it usually takes, and
//! no longer for what it was told a moment ago, and have orders refused that name
//! a reference as that of another actor; not more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};
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
use crate::deadline::Deadline;
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v0::wire::{HostEvent, HostNews};
use crate::lattice::roster::Roster;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::settings::Limits;

/// When a lattice that is called anew is pinged: the call itself comes first.
const FIRST_PING_AFTER: Duration = Duration::from_secs(1);
/// Pause between pings that have no other cause.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Lattices that are due within this time are pinged together, so many at most.
const TOGETHER: Duration = Duration::from_secs(2);
const MOST_TOGETHER: u32 = 32;
/// Moments over which the others are spread.
const SPREAD_OVER: u32 = 64;
/// How long pings in the background wait for the slowest host.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after an event hosts are pinged: one that starts subscribes at about
/// the same time.
const PING_AFTER_EVENT: Duration = Duration::from_millis(200);
/// How long after a missed ping another one tells whether the host is gone.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// Most pings that events cause between two that have no other cause.
const MAX_CAUSED: usize = 8;
/// More events in a second than hosts that are well would send: they are not
/// listened to until the next ping.
const MAX_EVENTS: usize = 2000;

/// Has a task watch a lattice. Not one where nobody listens: servers say so at
/// once, to each call afresh, and a task and a subscription cost memory.
pub(crate) fn begin(lattice: &Lattice) {
    let watch = Watch {
        id: lattice.id.clone(),
        js_domain: lattice.js_domain.clone(),
        connection: Arc::downgrade(&lattice.connection),
        released: lattice.connection.released(),
        roster: Arc::downgrade(&lattice.roster),
        missed: lattice.roster.missed.clone(),
        caused: 0,
        named: HashSet::new(),
        due: false,
        events: (Instant::now(), 0),
    };
    tokio::spawn(watch.run());
}

/// Holds neither the connection nor the roster: both end when calls and
/// bindings do not need them any more.
struct Watch {
    id: LatticeId,
    js_domain: Option<JsDomain>,
    connection: Weak<Connection>,
    released: CancellationToken,
    roster: Weak<Roster>,
    missed: Arc<Notify>,
    /// Pings that events caused since the last one that had no other cause.
    caused: usize,
    /// Hosts whose heartbeats asked for a ping since then.
    named: HashSet<HostId>,
    /// Whether something else than a heartbeat asks for the next ping.
    due: bool,
    /// Since when events are counted, for a second, and how many came.
    events: (Instant, usize),
}

/// Says, should the task fail, that nobody watches any more.
struct Ends(Option<Weak<Roster>>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(roster) = self.0.take().and_then(|roster| roster.upgrade()) {
            roster.unwatched();
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
                    Some(_) if self.is_flooded() => {
                        info!(lattice = %self.id, "too many events; not heard for a while");
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
                    if roster.is_unused() {
                        debug!(lattice = %self.id, "no longer in use, no longer watched");
                        // Somebody else may have begun already.
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

    async fn subscribe(&self) -> Option<Subscriber> {
        let connection = self.connection.upgrade()?;
        let subject = subject::events(&self.id);
        connection.client().subscribe(subject).await.ok()
    }

    /// A ping to all hosts that waits for the slowest.
    fn ping(&self, roster: Arc<Roster>) -> Option<BoxFuture<'static, ()>> {
        let lattice = Lattice {
            id: self.id.clone(),
            connection: self.connection.upgrade()?,
            js_domain: self.js_domain.clone(),
            deadline: Deadline::new(Instant::now(), PATIENCE),
            limits: Limits::default(),
            roster,
            duties: TaskTracker::new(),
            _held: None,
        };
        Some(Box::pin(async move {
            // What it learns is in the roster; a failure shows at the next call.
            if let Err(error) = lattice.ping_for_roster().await {
                debug!(lattice = %lattice.id, %error, "not pinged");
            }
        }))
    }

    /// Whether the ping that was asked for is still needed: hosts whose
    /// heartbeats were heard may have answered another since.
    fn is_needed(&self, roster: &Roster) -> bool {
        self.due || self.named.iter().any(|host| !roster.knows(host))
    }

    fn is_flooded(&mut self) -> bool {
        if self.events.0.elapsed() > Duration::from_secs(1) {
            self.events = (Instant::now(), 0);
        }
        self.events.1 += 1;
        self.events.1 > MAX_EVENTS
    }

    /// Takes an event; whether hosts should be pinged for it.
    fn asks_for_ping(&mut self, event: &Message) -> bool {
        let Some(event) = HostEvent::parse(&event.payload) else {
            return false;
        };
        let (Ok(host), Some(roster)) = (HostId::parse(&event.host), self.roster.upgrade()) else {
            return false;
        };
        let may = self.caused < MAX_CAUSED;
        let asks = match event.news {
            HostNews::Beats { version } => {
                roster.export_check.alive(&host);
                roster.beat(&host, Traits::of(version.as_deref())) && may && self.named.insert(host)
            }
            // One that starts may be another version than before. One that is
            // doubted already is pinged soon.
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
            HostNews::Ran {
                key,
                image_ref,
                annotations,
            } => {
                roster.commands.learned.learn(&host, &image_ref, &key);
                if let Some(annotations) = annotations {
                    roster
                        .commands
                        .in_flight
                        .came(&host, &image_ref, &annotations);
                }
                false
            }
            HostNews::Failed {
                image_ref,
                annotations,
                words,
            } => {
                let flights = &roster.commands.in_flight;
                flights.failed(&host, &image_ref, annotations.as_ref(), &words);
                false
            }
        };
        self.caused += usize::from(asks);
        asks
    }
}

/// When a watch that is due at this time pings: a little earlier, together with
/// others. One process that wakes up for many lattices sleeps longer in between.
fn together(at: Instant) -> Instant {
    static SLOTS: Mutex<Option<Slots>> = Mutex::new(None);
    let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
    slots.get_or_insert_with(|| Slots::from(at)).place(at)
}

/// Moments for pings.
struct Slots {
    /// The first of them.
    start: Instant,
    /// The latest that was given away, and how often.
    latest: (Instant, u32),
}

impl Slots {
    fn from(start: Instant) -> Self {
        Self {
            start,
            latest: (start, 0),
        }
    }

    /// The moment for a ping that is due at `at`: the one before, or, where there
    /// is no place left, any that spreads them.
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

/// The next event; never, where they cannot be had.
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
