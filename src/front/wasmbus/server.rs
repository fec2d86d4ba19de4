//! The provider on wasmbus RPC, from its start to its end.
//!
//! ```text
//! wasmbus.rpc.{lattice}.{provider}.{link}                calls   (queue group rpc)
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.put   an actor is linked
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.del   an actor is unlinked
//! wasmbus.rpc.{lattice}.{provider}.{link}.health         is all well?
//! wasmbus.rpc.{lattice}.{provider}.{link}.shutdown       stop
//! ```
//! See docs/wasmbus.md#subjects.

use std::sync::Arc;

use anyhow::anyhow;
use async_nats::Subject;
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tracing::{info, warn};

use crate::front::wasmbus::connection::round_trip;
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::host_data::HostData;
use crate::front::wasmbus::intake::Intake;
use crate::front::wasmbus::lost_subscriptions::mend_too_many;
use crate::front::wasmbus::missed_links::MissedLinks;
use crate::serve::drain::{Signals, StopRequest};
use crate::serve::{Operations, Rules};

/// Serves calls until the host or a signal ends it. NATS may be away, now or later: the
/// provider waits for it.
///
/// # Errors
/// Only what can never heal: credentials that no connection can be tried with, or signals
/// that the operating system does not hand over.
pub async fn serve<O: Operations>(
    host: HostData,
    rules: Rules,
    operations: O,
) -> anyhow::Result<()> {
    let mut signals = Signals::install()?;
    let door = Arc::new(Door::open(host, rules, operations).await?);
    let (requests, mut stop_requests) = mpsc::channel(1);
    // Health comes first, so that it can say why the other subscriptions are not there
    // when the server takes only a few.
    door.clone().answer_health_checks().await;
    let intake = door.clone().take_calls().await;
    door.clone().follow_links().await;
    door.clone().take_stop_requests(requests).await;
    door.service.begin(&door.home);
    if let Some(missed) = MissedLinks::new(&door.home, door.service.links.clone()) {
        tokio::spawn(missed.follow());
    }
    let server_errors = door.home.server_errors.subscribe();
    tokio::spawn(door.clone().answer_too_large(server_errors));
    tokio::spawn(mend_too_many(door.home.client.clone(), door.lost.clone()));
    let client = door.home.client.clone();
    tokio::spawn(async move {
        if round_trip(&client, false).await {
            info!("ready");
        }
    });
    let (request, acknowledge_to) = tokio::select! {
        request = stop_requests.recv() => request.ok_or_else(|| anyhow!("no more orders"))?,
        request = signals.stop_request() => (request, None),
    };
    door.stop(&request, acknowledge_to, &intake).await;
    Ok(())
}

impl<O: Operations> Door<O> {
    /// Refuses new calls, lets those in flight end until they are cut off, and sends every
    /// answer. Only then it acknowledges the request: Rust hosts kill the provider the moment
    /// they hear that.
    async fn stop(&self, request: &StopRequest, acknowledge_to: Option<Subject>, intake: &Intake) {
        let (service, client) = (&self.service, &self.home.client);
        let in_flight = || service.drain.in_flight.len();
        info!(from = request.from, in_flight = in_flight(), "stopping");
        service.stop(request).await;
        let all_answered = async {
            // After the round trip, calls that the server sent before are here.
            round_trip(client, true).await;
            intake.settle().await;
            service.ended().await;
            round_trip(client, true).await;
        };
        if timeout_at(request.answered_by(), all_answered)
            .await
            .is_err()
        {
            warn!(
                in_flight = in_flight(),
                "not every call was answered in time"
            );
        }
        if let Some(reply) = acknowledge_to {
            let acknowledged = async {
                self.publish(reply, b"shutting down".to_vec()).await;
                round_trip(client, true).await;
            };
            let _ = timeout_at(request.acknowledged_by(), acknowledged).await;
        }
        info!("stopped");
    }
}
