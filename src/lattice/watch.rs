//! Keeps the roster of a lattice fresh while the lattice is in use: by pings in
//! the background, and by the events of hosts where the credentials may
//! subscribe to them. A refused subscription changes nothing but freshness.
//!
//! Events say that a host is there or gone, never what it is: that comes from
//! its ping alone. Whoever may publish events can make us ping, not believe.

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
use tracing::debug;

use super::generation::Traits;
use super::roster::Roster;
use super::wire::{HostEvent, HostNews};
use super::{Lattice, subject};
use crate::deadline::Deadline;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::pool::Connection;
use crate::settings::{Limits, STALL};

/// When a lattice that is called anew is pinged: the call itself comes first.
const FIRST_PING_AFTER: Duration = Duration::from_secs(1);
/// Pause between pings that wait for the slowest host.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long those wait.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after an event hosts are pinged: one that starts subscribes at about
/// the same time.
const PING_AFTER_EVENT: Duration = Duration::from_millis(200);
/// How long after a missed ping another one tells whether the host is gone.
const CONFIRM_AFTER: Duration = Duration::from_secs(1);
/// Most pings that events cause between two that need no cause.
const MAX_CAUSED: usize = 64;

/// Takes that a lattice is called, and has somebody watch it.
pub(super) fn watch(lattice: &Lattice) {
    if !lattice.roster.used() {
        return;
    }
    let watch = Watch {
        id: lattice.id.clone(),
        js_domain: lattice.js_domain.clone(),
        connection: Arc::downgrade(&lattice.connection),
        released: lattice.connection.released(),
        roster: Arc::downgrade(&lattice.roster),
        missed: lattice.roster.missed.clone(),
        caused: 0,
        named: HashSet::new(),
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
    /// Pings that events caused since the last one that needed no cause.
    caused: usize,
    /// Hosts whose heartbeats caused one of them.
    named: HashSet<HostId>,
}

/// Says, however it ends, that nobody watches any more.
struct Ends(Weak<Roster>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Some(roster) = self.0.upgrade() {
            roster.unwatched(true);
        }
    }
}

impl Watch {
    async fn run(mut self) {
        let _ends = Ends(self.roster.clone());
        let mut events = self.subscribe().await;
        let mut pings = FuturesUnordered::<BoxFuture<'static, ()>>::new();
        let mut patient_at = Instant::now() + FIRST_PING_AFTER;
        let mut quick_at: Option<Instant> = None;
        let sooner = |at: Option<Instant>, wait: Duration| {
            let then = Instant::now() + wait;
            Some(at.map_or(then, |at| at.min(then)))
        };
        loop {
            let at = quick_at.map_or(patient_at, |at| at.min(patient_at));
            tokio::select! {
                () = self.released.cancelled() => return,
                event = next(&mut events) => match event {
                    Some(event) if self.causes_ping(&event) => {
                        quick_at = sooner(quick_at, PING_AFTER_EVENT);
                    }
                    Some(_) => {}
                    None => events = None,
                },
                () = self.missed.notified() => quick_at = sooner(quick_at, CONFIRM_AFTER),
                Some(()) = pings.next() => {}
                () = sleep_until(at), if pings.is_empty() => {
                    let Some(roster) = self.roster.upgrade() else { return };
                    if roster.unwatched(false) {
                        debug!(lattice = %self.id, "no longer in use, no longer watched");
                        return;
                    }
                    let now = Instant::now();
                    quick_at = None;
                    let stall = if now < patient_at { STALL } else { PATIENCE };
                    if now >= patient_at {
                        patient_at = now + PING_EVERY;
                        self.caused = 0;
                        self.named.clear();
                    }
                    pings.extend(self.ping(&roster, stall));
                }
            }
        }
    }

    async fn subscribe(&self) -> Option<Subscriber> {
        let connection = self.connection.upgrade()?;
        let subject = subject::events(&self.id);
        connection.client().subscribe(subject).await.ok()
    }

    /// A ping to all hosts, unless their heartbeats make it needless.
    fn ping(&self, roster: &Arc<Roster>, stall: Duration) -> Option<BoxFuture<'static, ()>> {
        let connection = self.connection.upgrade()?;
        if stall == PATIENCE && roster.kept_by_heartbeats(connection.epoch()) {
            return None;
        }
        let lattice = Lattice {
            id: self.id.clone(),
            connection,
            js_domain: self.js_domain.clone(),
            deadline: Deadline::new(Instant::now(), PATIENCE),
            limits: Limits::default(),
            roster: roster.clone(),
        };
        Some(Box::pin(async move {
            // What it learns is in the roster; a failure shows at the next call.
            if let Err(error) = lattice.ping_unhurried(stall).await {
                debug!(lattice = %lattice.id, %error, "not pinged");
            }
        }))
    }

    /// Takes an event; whether hosts should be pinged for it.
    fn causes_ping(&mut self, event: &Message) -> bool {
        let Some(event) = HostEvent::parse(&event.payload) else {
            return false;
        };
        let (Ok(host), Some(roster)) = (HostId::parse(&event.host), self.roster.upgrade()) else {
            return false;
        };
        let cause = match event.news {
            HostNews::Beats { version } => {
                roster.beat(&host, Traits::of(version.as_deref()))
                    && self.caused < MAX_CAUSED
                    && self.named.insert(host)
            }
            // It may be another version than before.
            HostNews::Started => {
                roster.gone(&host);
                self.caused < MAX_CAUSED
            }
            HostNews::Stopped => {
                roster.gone(&host);
                false
            }
        };
        self.caused += usize::from(cause);
        cause
    }
}

/// The next event; never, where they cannot be had.
async fn next(events: &mut Option<Subscriber>) -> Option<Message> {
    match events {
        Some(events) => events.next().await,
        None => std::future::pending().await,
    }
}
