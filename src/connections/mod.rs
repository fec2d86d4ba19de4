//! Connections to NATS servers: one for each set of credentials in use. A call gets a
//! lease of it. It lives as long as a lattice is bound to the credentials or a call
//! uses it. Nothing here knows which lattice has which credentials, or whose they are.
//!
//! | file | what it has |
//! | --- | --- |
//! | `state` | the states of a connection and their transitions, without a socket |
//! | `slot` | the state of one connection, under a lock |
//! | `supervisor` | the task that dials and looks after it |
//! | `dial`, `destinations`, `ways`, `failure` | a dial; where it may go, and in which order; why it failed |
//! | `capacity` | how many connections, dials and lookups there may be, and of whom |
//! | `connection` | requests and questions over a connection |
//! | `inbox`, `room` | where answers arrive; how many bytes of them are held |
//! | `permissions`, `sizes` | what the server refuses |
//! | `unfinished` | whether a server sends what is no message, without end |
//! | `usage`, `lease` | how many calls use a connection |
//! | `spare` | a connection before any call asks for it |
//! | `reports` | what a connection reports, and why it ended |

mod capacity;
mod connection;
mod destinations;
mod dial;
mod failure;
mod inbox;
mod lease;
mod permissions;
mod reports;
mod room;
mod sizes;
mod slot;
mod spare;
mod state;
mod supervisor;
mod unfinished;
mod usage;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use crate::connections::capacity::Capacity;
pub use crate::connections::connection::{Connection, NotAsked, Question};
use crate::connections::dial::Dialer;
use crate::connections::failure::DialFailure;
pub use crate::connections::inbox::{Replies, Reply, TakenRoom};
pub use crate::connections::lease::Lease;
pub use crate::connections::permissions::{Refusal, RefusalReader};
pub use crate::connections::reports::Loss;
pub use crate::connections::room::{AnswerRoom, Held, NoRoom, Room};
pub use crate::connections::sizes::MessageNumber;
use crate::connections::state::Answer;
use crate::connections::supervisor::Supervisor;
use crate::credentials::SharedCredentials;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::Tls;
use crate::settings::LatticeSettings;

/// Most of a call's time that a dial leaves for the request over the connection.
const MOST_TIME_TO_ASK: Duration = Duration::from_millis(200);

/// All connections to lattices.
#[derive(Clone)]
pub struct Connections(Arc<Dialer>);

impl Connections {
    /// Makes none yet. At servers they will have this name.
    pub fn new(name: String, settings: &LatticeSettings, tls: Tls) -> Self {
        Self(Arc::new(Dialer {
            name,
            allowed: settings.allowed.clone(),
            unfinished: Arc::default(),
            tls,
            capacity: Capacity::new(settings.limits),
        }))
    }

    /// Leases the connection of credentials; dials where there is none, at the expense
    /// of this actor. The lattice is for messages.
    ///
    /// # Errors
    /// `CredentialsRejected`, `NotConnected`, `LimitReached`; `Denied` where the
    /// provider may not connect there.
    pub async fn lease(
        &self,
        lattice: &LatticeId,
        credentials: &Arc<SharedCredentials>,
        actor: &str,
        deadline: Deadline,
    ) -> Result<Lease, Error> {
        // The request over the connection needs time, too.
        let left = deadline.remaining();
        let in_time = deadline.earlier((left / 4).min(MOST_TIME_TO_ASK)).at();
        match timeout_at(in_time, self.connection(credentials, actor)).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(failure)) => Err(failure.for_lattice(lattice, credentials.address())),
            Err(_) => Err(Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {:?}: no connection to {} in time; check the URL and the network, and \
                     tls_first_servers where it expects TLS before anything is said",
                    lattice.as_str(),
                    credentials.address()
                ),
            )),
        }
    }

    /// Waits for the connection of credentials.
    async fn connection(
        &self,
        credentials: &Arc<SharedCredentials>,
        actor: &str,
    ) -> Result<Lease, DialFailure> {
        let slot = self.0.capacity.slot(credentials);
        loop {
            let (mut dial, is_own, waits) = match slot.ask(credentials) {
                Answer::Lease(lease) => return Ok(lease),
                Answer::Failure(failure) => return Err(failure),
                Answer::Wait(dial) => (dial, *slot.actor() == *actor, true),
                Answer::Dial(dial, begins) => {
                    slot.dialled_for(actor);
                    let (dialler, slot) = (self.0.clone(), slot.clone());
                    // A call that gives up does not end a dial that others wait for.
                    Supervisor::start(dialler, slot, credentials.clone(), begins);
                    (dial, true, false)
                }
            };
            let dialled = match dial.wait_for(Option::is_some).await {
                Ok(dialled) => dialled.clone(),
                Err(_) => None,
            };
            match dialled.unwrap_or(Err(DialFailure::Aborted)) {
                // Another actor has its share of dials. This one may have places left.
                Err(DialFailure::Limit(_)) if !is_own => {}
                // Nothing is known of the server: this call's own dial tells.
                Err(DialFailure::Aborted) if waits => {}
                Err(failure) => return Err(failure),
                Ok(lease) => return Ok(Lease::new(lease.connection().clone())),
            }
        }
    }
}
