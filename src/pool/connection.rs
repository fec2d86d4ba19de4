//! A NATS connection to one or more lattices.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ClientError, Event, Request};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::failure::failure;
use super::refusals::{Heard, Refusal, Refusals};
use super::uses::Uses;
use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::{Access, Complaints};

/// How long a server may take to answer a dial; less where there is another.
const ONLY_SERVER_ANSWERS_IN: Duration = Duration::from_secs(5);
const ONE_OF_SEVERAL_ANSWERS_IN: Duration = Duration::from_millis(1200);
/// How long the server of a connection that is in doubt may take to answer. Its
/// pings alone would take a minute to tell.
const SERVER_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

/// A connection that was made once. Where it breaks it is made again once, at
/// once; what comes then is decided by the slot's keeper.
pub struct Connection {
    client: Client,
    address: String,
    state: watch::Receiver<Reported>,
    refusals: Refusals,
    uses: Uses,
    /// Told when a question found silence: the connection may be deaf.
    doubted: Arc<Notify>,
    /// Cancelled when nobody needs the connection any more.
    released: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.released.cancel();
        // What was published last reaches the server only so.
        if let Ok(runtime) = Handle::try_current() {
            let client = self.client.clone();
            runtime.spawn(async move {
                let _ = client.drain().await;
            });
        }
    }
}

/// What the connection reported last.
#[derive(Clone, Default)]
pub(super) struct Reported {
    up: bool,
    /// How often it broke.
    breaks: u64,
    /// It will not connect again.
    pub(super) closed: bool,
    /// The server is about to stop.
    pub(super) lame: bool,
    /// What the server said when it closed it.
    pub(super) why: Option<String>,
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DialFailure {
    /// The server refused the credentials.
    #[error("the credentials were rejected: {0}")]
    Rejected(String),
    /// No server could be reached.
    #[error("{0}")]
    Unreachable(String),
    /// There was one, and it is being made again.
    #[error("{0}")]
    Down(String),
    /// There may be no more.
    #[error("{0}")]
    Limit(String),
    /// The dial itself was cut off, as at the end of the process.
    #[error("given up")]
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
            Self::Down(why) => Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {lattice:?}: the connection to {address} is down and being made \
                     again ({why}); nothing was sent, try again"
                ),
            ),
            Self::Limit(why) => Error::new(
                Kind::LimitReached,
                format!("lattice {lattice:?}: no connection to {address}: {why}"),
            ),
            Self::Aborted => Error::new(
                Kind::NotConnected,
                format!("lattice {lattice:?}: the connection to {address} was given up"),
            ),
        }
    }
}

impl Connection {
    /// Connects once, without trying again. `permit` is the right to be a
    /// connection.
    pub(super) async fn dial(
        access: &Access,
        name: &str,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, DialFailure> {
        let (report, state) = watch::channel(Reported {
            up: true,
            ..Reported::default()
        });
        let address = access.address();
        let (server, limits) = (address.clone(), LogLimits::default());
        let refusals = Refusals::default();
        let told = refusals.clone();
        let servers = access.servers();
        let options = access
            .options(name.to_owned())
            // Each server once: to try on, or to stop trying, is our decision.
            .max_reconnects(servers.len())
            .ignore_discovered_servers()
            .connection_timeout(match servers.len() {
                1 => ONLY_SERVER_ANSWERS_IN,
                _ => ONE_OF_SEVERAL_ANSWERS_IN,
            })
            .event_callback(move |event| {
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
        let connected = options.connect(servers.to_vec()).await;
        let client = connected.map_err(|error| failure(&error))?;
        Ok(Self {
            client,
            address,
            state,
            refusals,
            uses: Uses::new(),
            doubted: Arc::default(),
            released: CancellationToken::new(),
            _permit: permit,
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

    /// Takes that a question found silence. Hosts may be silent, or the network:
    /// which of them shows a question to the server.
    pub fn doubt(&self) {
        self.doubted.notify_one();
    }

    /// Told when somebody doubts it.
    pub(super) fn doubts(&self) -> Arc<Notify> {
        self.doubted.clone()
    }

    /// Whether its server answers. A refusal is an answer, too, so that
    /// credentials need no permission for this.
    pub(super) async fn answers(&self) -> bool {
        let refused = self.refusals_from_now();
        let nobody = self.client.new_inbox();
        // With an inbox of its own: the shared one would stay.
        let request = Request::new().timeout(None).inbox(self.client.new_inbox());
        let asked = self.client.send_request(nobody, request);
        tokio::select! {
            _ = asked => true,
            _ = refused.of(|_| true) => true,
            () = sleep(SERVER_ANSWERS_WITHIN) => false,
        }
    }

    /// What the server does not let the credentials do, from now on.
    pub fn refusals_from_now(&self) -> Heard {
        self.refusals.heard()
    }

    /// How often it broke: what was known for sure before may have changed since.
    pub fn epoch(&self) -> u64 {
        self.state.borrow().breaks
    }

    /// Whether its server is about to stop.
    pub(super) fn is_lame(&self) -> bool {
        self.client.server_info().lame_duck_mode
    }

    /// Who uses it.
    pub(super) fn uses(&self) -> &Uses {
        &self.uses
    }

    /// What it reports from now on.
    pub(super) fn reports(&self) -> watch::Receiver<Reported> {
        self.state.clone()
    }

    /// Ends when the connection, up now, breaks.
    ///
    /// # Errors
    /// `NotConnected` when it is not up now.
    pub fn lost_from_now(
        &self,
        lattice: &LatticeId,
    ) -> Result<impl Future<Output = ()> + use<>, Error> {
        let mut state = self.state.clone();
        let now = state.borrow_and_update().clone();
        if self.client.connection_state() != State::Connected || !now.up {
            let broke = DialFailure::Down("it broke just now".into());
            return Err(broke.for_lattice(lattice, &self.address));
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
                self.why = None;
            }
            Event::Disconnected => {
                self.up = false;
                self.breaks += 1;
            }
            Event::Closed | Event::ClientError(ClientError::MaxReconnects) => {
                self.up = false;
                self.breaks += 1;
                self.closed = true;
            }
            Event::LameDuckMode => self.lame = true,
            Event::ServerError(error) if Refusal::of(event).is_none() => {
                self.why = Some(error.to_string());
            }
            _ => {}
        }
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
