//! Has the hosts of a lattice become known when its credentials were changed, so that the
//! first question to all hosts need not wait for further ones.
//!
//! It happens once, and only where nobody needs what it takes: with spare places, without
//! another attempt, without a watch. It is no use of the lattice, nor of the connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use crate::connections::{Connection, Connections};
use crate::credentials::{Route, SharedCredentials};
use crate::lattice::Lattice;
use crate::lattice::gather::{Ended, Enough, Terms};
use crate::lattice::roster::Roster;
use crate::lattice::rosters::Rosters;
use crate::lattice::upkeep::events::{Events, listen};
use crate::lattice::upkeep::flood::Flood;
use crate::lattice::upkeep::news;
use crate::name::LatticeId;
use crate::settings::STALL;

/// How long the ping waits for the slowest host.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long events are heard, from the ping on.
const HEARS_FOR: Duration = Duration::from_secs(2);

/// Begins to learn the hosts of a lattice that goes this way since a moment ago, in a task
/// of its own, at the expense of the actor that set its credentials. Nothing waits for it.
pub fn begin(
    connections: &Connections,
    rosters: &Arc<Rosters>,
    id: LatticeId,
    route: &Arc<Route>,
    actor: &str,
) {
    let learner = Learner {
        connections: connections.clone(),
        rosters: rosters.clone(),
        id,
        route: Arc::downgrade(route),
        unbound: route.credentials.unbound(),
    };
    tokio::spawn(learner.run(route.credentials.clone(), actor.into()));
}

/// What that task has. It keeps neither the route nor, once there is one, the connection.
struct Learner {
    connections: Connections,
    rosters: Arc<Rosters>,
    id: LatticeId,
    route: Weak<Route>,
    /// Cancelled when no lattice is bound to the credentials any more.
    unbound: CancellationToken,
}

impl Learner {
    async fn run(self, credentials: Arc<SharedCredentials>, actor: Arc<str>) {
        let Some(spare) = self.connections.spare(credentials, &actor).await else {
            debug!(lattice = %self.id, "nothing was learned before the first call");
            return;
        };
        // It bounds how many tasks like this there are.
        let _place = spare.place;
        let released = spare.connection.released();
        tokio::select! {
            () = self.learn(spare.connection) => {}
            () = self.unbound.cancelled() => {}
            () = released.cancelled() => {}
        }
    }

    /// Pings all hosts, and notes their events for a while.
    async fn learn(&self, connection: Arc<Connection>) {
        let Some(route) = self.route.upgrade() else {
            return;
        };
        let roster = self.rosters.of(&route);
        let js_domain = route.js_domain.clone();
        drop(route);
        // A call was there before.
        if roster.is_watched() || roster.all(connection.epoch()).is_some() {
            return;
        }
        // Where an answer arrived, the server refuses the events and nothing else when it
        // takes no further subscription.
        if !connection.server_answers().await {
            return;
        }
        let (id, until) = (self.id.clone(), Instant::now() + HEARS_FOR);
        let duties = TaskTracker::new();
        let (watched, epoch) = (Arc::downgrade(&roster), connection.epoch());
        // Hosts that come after their ping say so.
        let events = listen(&connection, &id).await;
        let lattice = Lattice::in_background(id, js_domain, connection, roster, PATIENCE, duties);
        let pinged = async {
            let has_hosts = lattice.learn().await;
            let roster = lattice.roster.clone();
            // The connection may close from here on.
            drop(lattice);
            if has_hosts {
                drop(roster);
                sleep_until(until).await;
            } else if let Some(route) = self.route.upgrade() {
                self.rosters.forget_empty(&route, roster);
            }
        };
        tokio::select! {
            () = pinged => {}
            () = note_events(events, &watched, epoch) => {}
        }
    }
}

impl Lattice {
    /// Pings all hosts, and waits for further ones. Returns whether any answered.
    async fn learn(&self) -> bool {
        let epoch = self.connection.epoch();
        let terms = Terms {
            stall: STALL,
            ..self.patient_terms(Enough::All, self.deadline)
        };
        match self.ping(None, terms).await {
            Ok((pings, _)) => {
                let hosts = pings.harvest.answers.len();
                if pings.ended == Ended::Stall {
                    self.roster.learned(epoch);
                }
                debug!(lattice = %self.id, hosts, "hosts were learned before the first call");
                hosts > 0
            }
            Err(error) => {
                debug!(lattice = %self.id, %error, "nothing was learned before the first call");
                false
            }
        }
    }
}

/// Notes events until a watch does. It never ends: a subscription that is refused does not
/// end the ping.
async fn note_events(events: Option<Events>, roster: &Weak<Roster>, epoch: u64) {
    let mut flood = Flood::default();
    if let Some(mut events) = events {
        while let Some((protocol, event)) = events.next().await
            && let Some(roster) = roster.upgrade()
            && !roster.is_watched()
            && !flood.counts(&roster, event.payload.len())
        {
            // A ping that it asks for is left to calls.
            news::note(&roster, epoch, protocol, &event);
        }
    }
    std::future::pending().await
}
