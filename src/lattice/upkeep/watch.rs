//! Keeps the roster of a lattice fresh while the lattice is in use: by pings in the
//! background, and by the events of hosts where the credentials may subscribe to them.
//! Without events, the roster is only less fresh.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::Message;
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
use crate::lattice::gather::{Ended, Enough};
use crate::lattice::model::Protocol;
use crate::lattice::roster::Roster;
use crate::lattice::upkeep::events::{Events, listen};
use crate::lattice::upkeep::flood::Flood;
use crate::lattice::upkeep::news::{self, Ping};
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
        let watch = Watch {
            id: self.id.clone(),
            js_domain: self.js_domain.clone(),
            connection: Arc::downgrade(&self.connection),
            epoch: self.connection.epoch(),
            released: self.connection.released(),
            roster: Arc::downgrade(&self.roster),
            missed: self.roster.missed.clone(),
            caused: 0,
            named: HashSet::new(),
            due: false,
            floods: [Flood::default(), Flood::default()],
        };
        tokio::spawn(watch.run());
    }
}

/// The state of that task. It holds neither the connection nor the roster, so that both
/// end when calls and bindings no longer need them.
struct Watch {
    id: LatticeId,
    js_domain: Option<JsDomain>,
    connection: Weak<Connection>,
    epoch: u64,
    released: CancellationToken,
    roster: Weak<Roster>,
    missed: Arc<Notify>,
    /// Pings that events caused since the last regular one.
    caused: usize,
    /// Hosts whose heartbeats asked for a ping since the last regular one.
    named: HashSet<HostId>,
    /// Whether something else than a heartbeat asks for the next ping.
    due: bool,
    /// The events on the subjects of each protocol: hosts 0.81 and 0.82 publish theirs on
    /// both.
    floods: [Flood; 2],
}

/// Tells the roster that the watch has ended, however it ends.
struct Ends {
    roster: Weak<Roster>,
    epoch: u64,
    /// Whether the roster knows it already. Another watch may have begun then.
    is_known: bool,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let Some(roster) = self.roster.upgrade() else {
            return;
        };
        if !self.is_known {
            roster.listens_no_more(self.epoch);
            roster.note_watch_ended();
        }
    }
}

impl Watch {
    async fn run(mut self) {
        let mut ends = Ends {
            roster: self.roster.clone(),
            epoch: self.epoch,
            is_known: false,
        };
        let mut events = self.listen().await;
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
                    Some((protocol, event)) if self.is_flooded(protocol, event.payload.len()) => {
                        info!(lattice = %self.id, "too many events; they are ignored for a while");
                        events = self.listen_no_more();
                    }
                    Some((protocol, event)) => if self.asks_for_ping(protocol, &event) {
                        sooner_at = sooner(sooner_at, PING_AFTER_EVENT);
                    },
                    None => events = self.listen_no_more(),
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
                        ends.is_known = true;
                        return;
                    }
                    sooner_at = None;
                    let regular = Instant::now() >= regular_at;
                    if regular {
                        regular_at = together(Instant::now() + PING_EVERY);
                        self.caused = 0;
                        match events {
                            None => events = self.listen().await,
                            // More may have been heard than is kept count of.
                            Some(_) => roster.listens(self.epoch),
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

    /// Subscribes to the events of the lattice.
    async fn listen(&self) -> Option<Events> {
        let connection = self.connection.upgrade()?;
        let events = listen(&connection, &self.id).await?;
        self.roster.upgrade()?.listens(self.epoch);
        Some(events)
    }

    /// Notes that events are missed from now on.
    fn listen_no_more(&self) -> Option<Events> {
        self.roster.upgrade()?.listens_no_more(self.epoch);
        None
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
            match lattice.ping(None, terms).await {
                Ok((pings, _)) if pings.ended == Ended::Deadline => {
                    lattice.roster.complete(pings.asked, epoch);
                }
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
    fn is_flooded(&mut self, protocol: Protocol, bytes: usize) -> bool {
        let flood = match protocol {
            Protocol::V0 => &mut self.floods[0],
            Protocol::V1 => &mut self.floods[1],
        };
        let roster = self.roster.upgrade();
        roster.is_some_and(|roster| flood.counts(&roster, bytes))
    }

    /// Notes an event. Returns whether hosts should be pinged because of it.
    fn asks_for_ping(&mut self, protocol: Protocol, event: &Message) -> bool {
        let Some(roster) = self.roster.upgrade() else {
            return false;
        };
        let may = self.caused < MAX_CAUSED;
        let asks = match news::note(&roster, self.epoch, protocol, event) {
            Ping::Needless => false,
            Ping::Of(host) => may && self.named.insert(host),
            Ping::Now => {
                self.due |= may;
                may
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
async fn next(events: &mut Option<Events>) -> Option<(Protocol, Message)> {
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
