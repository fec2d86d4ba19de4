//! A NATS connection to one or more lattices.

use std::future::Future;

use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind, Event};
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::error::{Error, Kind};
use crate::name::LatticeId;
use crate::nats::Access;

/// A connection that was made once. It reconnects by itself; while it cannot,
/// calls are refused at once.
pub struct Connection {
    client: Client,
    up: watch::Receiver<bool>,
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
        let (report, up) = watch::channel(true);
        let address = access.address();
        let options = access.options(name).event_callback(move |event| {
            let up = match &event {
                Event::Connected => Some(true),
                Event::Disconnected | Event::Closed => Some(false),
                _ => None,
            };
            if let Some(up) = up {
                report.send_replace(up);
            }
            log(&address, &event);
            std::future::ready(())
        });
        let client =
            options
                .connect(access.servers().to_vec())
                .await
                .map_err(|error| match error.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        DialFailure::Rejected(error.to_string())
                    }
                    _ => DialFailure::Unreachable(error.to_string()),
                })?;
        Ok(Self { client, up })
    }

    /// The client. Drop clones of it with the call: they keep the connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Ends when the connection, up now, breaks.
    ///
    /// # Errors
    /// `NotConnected` when it is not up now.
    pub fn lost_from_now(
        &self,
        lattice: &LatticeId,
    ) -> Result<impl Future<Output = ()> + use<>, Error> {
        let mut up = self.up.clone();
        if self.client.connection_state() != State::Connected || !*up.borrow_and_update() {
            return Err(Error::new(
                Kind::NotConnected,
                format!(
                    "lattice {:?}: the connection is down and being made again; \
                     nothing was sent, try again",
                    lattice.as_str()
                ),
            ));
        }
        Ok(async move {
            if up.wait_for(|up| !up).await.is_err() {
                // No more reports: the connection lives on without them.
                std::future::pending::<()>().await;
            }
        })
    }
}

fn log(address: &str, event: &Event) {
    match event {
        Event::Connected => info!(address, "connected"),
        Event::Disconnected => warn!(address, "disconnected"),
        Event::LameDuckMode => warn!(address, "the server is about to stop"),
        Event::SlowConsumer(subscription) => {
            warn!(
                address,
                subscription, "answers were dropped: read too slowly"
            );
        }
        Event::ClientError(error) => debug!(address, %error, "client error"),
        Event::ServerError(error) => warn!(address, %error, "server error"),
        event => debug!(address, %event, "connection event"),
    }
}
