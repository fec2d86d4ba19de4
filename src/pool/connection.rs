//! A NATS connection to one or more lattices.

use std::future::Future;

use async_nats::connection::State;
use async_nats::{Client, Event};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::failure::{failure, rejection, rejection_by};
use super::refusals::{Heard, Refusal, Refusals};
use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::{Access, Complaints};

/// A connection that was made once. It reconnects by itself; while it cannot,
/// calls are refused at once.
pub struct Connection {
    client: Client,
    address: String,
    state: watch::Receiver<Reported>,
    refusals: Refusals,
    /// Cancelled when nobody needs the connection any more.
    released: CancellationToken,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.released.cancel();
    }
}

/// What the connection reported last.
#[derive(Clone, Default)]
struct Reported {
    up: bool,
    /// How often it broke.
    breaks: u64,
    /// It will not connect again.
    closed: bool,
    /// Why the server refused the credentials, since it was up last.
    rejected: Option<String>,
}

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(super) enum DialFailure {
    /// The server refused the credentials.
    Rejected(String),
    /// No server could be reached.
    Unreachable(String),
    /// The dial itself was cut off, as at the end of the process.
    Aborted,
}

impl DialFailure {
    pub(super) fn for_lattice(self, lattice: &LatticeId, address: &str) -> Error {
        let lattice = lattice.as_str();
        match self {
            Self::Rejected(why) => Error::new(
                Kind::CredentialsRejected,
                format!(
                    "lattice {lattice:?}: the NATS server at {address} rejected the credentials \
                     ({why}); set others"
                ),
            ),
            Self::Unreachable(why) => Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {lattice:?}: no connection to {address} ({why}); \
                     check the URL and the network"
                ),
            ),
            Self::Aborted => Error::new(
                Kind::NotConnected,
                format!("lattice {lattice:?}: the connection to {address} was given up"),
            ),
        }
    }
}

impl Connection {
    /// Connects once, without trying again.
    pub(super) async fn dial(access: &Access, name: String) -> Result<Self, DialFailure> {
        let (report, state) = watch::channel(Reported {
            up: true,
            ..Reported::default()
        });
        let address = access.address();
        let (server, limits) = (address.clone(), LogLimits::default());
        let refusals = Refusals::default();
        let told = refusals.clone();
        let tried = report.clone();
        // Chooses no server: events do not say what servers said to attempts.
        let options = access.options(name);
        let options = options.reconnect_to_server_callback(move |servers, _| {
            let why = rejection_by(&servers);
            tried.send_modify(|reported| reported.reject(why));
            std::future::ready(None)
        });
        let options = options.event_callback(move |event| {
            report.send_modify(|reported| reported.take(&event));
            match Refusal::of(&event) {
                Some(refusal) => {
                    log_refusal(&server, &event, &limits);
                    told.tell(refusal);
                }
                None => log(&server, &event, &limits),
            }
            std::future::ready(())
        });
        let client = options
            .connect(access.servers().to_vec())
            .await
            .map_err(|error| failure(&error))?;
        Ok(Self {
            client,
            address,
            state,
            refusals,
            released: CancellationToken::new(),
        })
    }

    /// The client. Drop clones of it with the call: they keep the connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Cancelled when no call and no binding needs the connection any more. What
    /// runs in the background, and keeps it open, ends with this.
    pub fn released(&self) -> CancellationToken {
        self.released.clone()
    }

    /// What the server does not let the credentials do, from now on.
    pub fn refusals_from_now(&self) -> Heard {
        self.refusals.heard()
    }

    /// How often it broke: what was known for sure before may have changed since.
    pub fn epoch(&self) -> u64 {
        self.state.borrow().breaks
    }

    /// Whether it will never be up again.
    pub(super) fn is_closed(&self) -> bool {
        self.state.borrow().closed
    }

    /// Ends when the connection, up now, breaks.
    ///
    /// # Errors
    /// `NotConnected` when it is not up now; `CredentialsRejected` when the
    /// server would not have us back.
    pub fn lost_from_now(
        &self,
        lattice: &LatticeId,
    ) -> Result<impl Future<Output = ()> + use<>, Error> {
        let mut state = self.state.clone();
        let now = state.borrow_and_update().clone();
        if let Some(why) = now.rejected {
            return Err(DialFailure::Rejected(why).for_lattice(lattice, &self.address));
        }
        if self.client.connection_state() != State::Connected || !now.up {
            return Err(Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {:?}: the connection to {} is down and being made again; \
                     nothing was sent, try again",
                    lattice.as_str(),
                    self.address
                ),
            ));
        }
        Ok(async move {
            let broke = state
                .wait_for(|state| state.breaks != now.breaks)
                .await
                .is_ok();
            if !broke {
                // No more reports: the connection lives on without them.
                std::future::pending::<()>().await;
            }
        })
    }
}

impl Reported {
    fn take(&mut self, event: &Event) {
        match event {
            Event::Connected => {
                self.up = true;
                self.rejected = None;
            }
            Event::Disconnected => {
                self.up = false;
                self.breaks += 1;
            }
            Event::Closed => {
                self.up = false;
                self.breaks += 1;
                self.closed = true;
            }
            // Said before the server closes the connection, and with attempts to
            // make it again.
            Event::ServerError(error) => self.reject(rejection(&error.to_string())),
            Event::ClientError(error) => self.reject(rejection(&error.to_string())),
            _ => {}
        }
    }

    /// Keeps the first reason, which says most.
    fn reject(&mut self, why: Option<String>) {
        self.rejected = self.rejected.take().or(why);
    }
}

/// Keeps each cause from filling the log, and from silencing another.
#[derive(Default)]
struct LogLimits {
    dials: Complaints,
    slow: Complaints,
    refusals: Complaints,
}

/// Who waits for what is refused is told beside this.
fn log_refusal(address: &str, error: &Event, limits: &LogLimits) {
    match limits.refusals.is_due() {
        true => info!(address, %error, "the credentials do not allow something"),
        false => debug!(address, %error, "the credentials do not allow something"),
    }
}

fn log(address: &str, event: &Event, limits: &LogLimits) {
    match event {
        Event::Connected => info!(address, "connected"),
        Event::Disconnected => warn!(address, "disconnected"),
        Event::LameDuckMode => warn!(address, "the server is about to stop"),
        Event::SlowConsumer(subscription) if limits.slow.is_due() => {
            warn!(
                address,
                subscription, "answers were dropped: read too slowly"
            );
        }
        Event::ClientError(error) if limits.dials.is_due() => {
            warn!(address, %error, "no connection; trying on");
        }
        Event::ServerError(error) => warn!(address, %error, "server error"),
        event => debug!(address, %event, "connection event"),
    }
}
