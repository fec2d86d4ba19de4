//! The connection to the NATS of the host that started the provider.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Event};
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::front::wasmbus::host_data::HostData;
use crate::front::wasmbus::lost_subscriptions::LostSubscriptions;
use crate::nats::OwnLattice;
use crate::nats::{ErrorFeed, Refusal, words};
use crate::telemetry::LogLimiter;

/// How long a message takes to a server that is well, and back.
const THERE_AND_BACK: Duration = Duration::from_secs(1);

/// Limits the log lines about the connection.
#[derive(Default)]
struct EventLog {
    unreachable: LogLimiter,
    slow: LogLimiter,
}

/// Connects to the NATS of the host. It may be away: the client goes on trying.
///
/// # Errors
/// Only if the credentials are such that no connection can be tried with them.
pub(super) async fn connect(
    host: &HostData,
    lost: LostSubscriptions,
) -> anyhow::Result<OwnLattice> {
    let name = format!(
        "lattice-controller {} {}",
        host.provider_key, host.link_name
    );
    let address = host.access.address();
    let server_errors = ErrorFeed::default();
    let feed = server_errors.clone();
    let events = EventLog::default();
    let (connected, connects) = watch::channel(0);
    let client = host
        .access
        .options(name)
        .retry_on_initial_connect()
        .event_callback(move |event| {
            feed.take(&event);
            if !Refusal::of(&event).is_some_and(|refusal| lost.refused(&refusal)) {
                events.log(&address, &event);
            }
            if matches!(event, Event::Connected) {
                lost.connected();
                connected.send_modify(|connects| *connects += 1);
            }
            std::future::ready(())
        })
        .connect(host.access.servers().to_vec())
        .await?;
    Ok(OwnLattice {
        client,
        connects,
        server_errors,
        requests: Default::default(),
        js_domain: host.js_domain.clone(),
        lattice: host.lattice.clone(),
        provider_key: host.provider_key.clone(),
        link_name: host.link_name.clone(),
    })
}

impl EventLog {
    fn log(&self, address: &str, event: &Event) {
        match event {
            Event::Connected => info!(address, "connected to our lattice"),
            Event::Disconnected => {
                warn!(address, "disconnected from our lattice; reconnecting");
            }
            Event::SlowConsumer(_) if self.slow.is_due() => {
                error!(address, "calls were dropped: they were read too slowly");
            }
            Event::ServerError(error) => {
                warn!(address, said = %words(error), "our NATS server reported an error");
            }
            Event::ClientError(error) if self.unreachable.is_due() => {
                warn!(address, %error, "no connection to our lattice; retrying");
            }
            event => debug!(address, %event, "connection event"),
        }
    }
}

/// Sends a message to the server and waits for it to come back. Then all that was published
/// before has reached the server, and all that the server sent before was delivered. Returns
/// whether it came back.
///
/// Where `if_connected`, it does not wait for a server that is away.
pub(super) async fn round_trip(client: &Client, if_connected: bool) -> bool {
    if if_connected && client.connection_state() != State::Connected {
        return false;
    }
    loop {
        let inbox = client.new_inbox();
        let Ok(mut back) = client.subscribe(inbox.clone()).await else {
            return false;
        };
        if client.publish(inbox, "".into()).await.is_err() {
            return false;
        }
        // A server that takes no more subscriptions sends nothing back, so that it is tried
        // again; a server that is away may be back later.
        loop {
            match timeout(THERE_AND_BACK, back.next()).await {
                Ok(came) => return came.is_some(),
                Err(_) if client.connection_state() == State::Connected => break,
                Err(_) => {}
            }
        }
    }
}
