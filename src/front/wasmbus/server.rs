//! The provider on wasmbus RPC, from its start to its end.
//!
//! ```text
//! wasmbus.rpc.{lattice}.{provider}.{link}                calls   (queue group rpc)
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.put   an actor is linked
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.del   an actor is unlinked
//! wasmbus.rpc.{lattice}.{provider}.{link}.health         is all well?
//! wasmbus.rpc.{lattice}.{provider}.{link}.shutdown       stop
//! ```
//! Source: wasmbus-abi reference, section B.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_nats::Subject;
use tokio::sync::mpsc;
use tokio::time::timeout_at;
use tracing::{info, warn};

use crate::front::wasmbus::connection::{connect, round_trip};
use crate::front::wasmbus::host_data::HostData;
use crate::front::wasmbus::intake::Intake;
use crate::front::wasmbus::invocation::Verifier;
use crate::front::wasmbus::large_bodies::{LargeBodies, MAX_FETCHED};
use crate::front::wasmbus::lost_subscriptions::{LostSubscriptions, mend_too_many};
use crate::front::wasmbus::missed_links::MissedLinks;
use crate::front::wasmbus::oversized_replies::LargestAnswer;
use crate::home::Home;
use crate::serve::drain::{Signals, StopOrder};
use crate::serve::links::LinkTable;
use crate::serve::places::Limiter;
use crate::serve::{Operations, Rules, Service};
use crate::telemetry::Complaints;

/// A provider on wasmbus RPC.
pub struct Server<O> {
    pub(super) service: Service<O>,
    pub(super) home: Home,
    pub(super) verifier: Verifier,
    pub(super) large_bodies: LargeBodies,
    /// Places for calls whose bodies are fetched from the object store.
    pub(super) fetches: Arc<Limiter>,
    pub(super) largest_answer: LargestAnswer,
    /// Time for one call: what hosts give, less a margin for the reply.
    pub(super) budget: Duration,
    /// The time for the reply that hosts give beyond that.
    pub(super) reply_margin: Duration,
    pub(super) lost: LostSubscriptions,
    pub(super) host_id: String,
    pub(super) test_mode: bool,
    pub(super) logs: Logs,
}

/// Limits the log lines of which anybody who may publish could fill the log.
#[derive(Default)]
pub(super) struct Logs {
    pub(super) foreign_orders: Complaints,
    pub(super) large_answers: Complaints,
    pub(super) unsent: Complaints,
}

impl<O: Operations> Server<O> {
    /// Serves calls until the host or a signal ends it. NATS may be away, now or later: the
    /// provider waits for it.
    ///
    /// # Errors
    /// Only what can never heal: credentials that no connection can be tried with, or signals
    /// that the operating system does not hand over.
    pub async fn run(host: HostData, rules: Rules, operations: O) -> anyhow::Result<()> {
        let mut signals = Signals::install()?;
        let server = Arc::new(Self::start(host, rules, operations).await?);
        let (order, mut orders) = mpsc::channel(1);
        // Health comes first, so that it can say why the other subscriptions are not there
        // when the server takes only a few.
        server.clone().answer_health_checks().await;
        let intake = server.clone().take_calls().await;
        server.clone().follow_links().await;
        server.clone().hear_stop(order).await;
        server.service.begin(&server.home);
        if let Some(missed) = MissedLinks::new(&server.home, server.service.links.clone()) {
            tokio::spawn(missed.follow());
        }
        let heard = server.home.said.heard();
        tokio::spawn(server.clone().answer_too_large(heard));
        tokio::spawn(mend_too_many(
            server.home.client.clone(),
            server.lost.clone(),
        ));
        let client = server.home.client.clone();
        tokio::spawn(async move {
            if round_trip(&client, false).await {
                info!("ready");
            }
        });
        let (order, acknowledge_to) = tokio::select! {
            order = orders.recv() => order.ok_or_else(|| anyhow!("no more orders"))?,
            order = signals.order() => (order, None),
        };
        server.stop(&order, acknowledge_to, &intake).await;
        Ok(())
    }

    async fn start(host: HostData, rules: Rules, operations: O) -> anyhow::Result<Self> {
        info!(
            provider = host.provider_key,
            lattice = host.lattice,
            link_name = host.link_name,
            host = host.host_id,
            nats = host.access.address(),
            login = ?host.access.login(),
            links = host.links.len(),
            version = env!("CARGO_PKG_VERSION"),
            "starting"
        );
        let lost = LostSubscriptions::new(&format!(
            "wasmbus.rpc.{}.{}.{}",
            host.lattice, host.provider_key, host.link_name
        ));
        let home = connect(&host, lost.clone()).await?;
        let test_mode = host.test_mode();
        let links = LinkTable::new(&host.provider_key, &host.link_name);
        for link in host.links {
            links.put(link);
        }
        let budget = budget(host.rpc_timeout);
        let call_budget = rules.call_budget.unwrap_or(budget);
        Ok(Self {
            service: Service::new(operations, rules, links),
            verifier: Verifier::new(&host.provider_key, &host.link_name, &host.cluster_issuers),
            large_bodies: LargeBodies::new(&home),
            fetches: Limiter::new(MAX_FETCHED),
            largest_answer: LargestAnswer::default(),
            budget: budget.min(call_budget),
            reply_margin: host.rpc_timeout.saturating_sub(budget),
            home,
            lost,
            host_id: host.host_id,
            test_mode,
            logs: Logs::default(),
        })
    }

    pub(super) async fn publish(&self, reply: Subject, body: Vec<u8>) {
        if let Err(error) = self.home.client.publish(reply, body.into()).await
            && self.logs.unsent.is_due()
        {
            warn!(%error, "an answer was not sent");
        }
    }

    /// Refuses new calls, lets those in flight end until they are cut off, and sends every
    /// answer. Only then it acknowledges the order: Rust hosts kill the provider the moment
    /// they hear that.
    async fn stop(&self, order: &StopOrder, acknowledge_to: Option<Subject>, intake: &Intake) {
        let (service, client) = (&self.service, &self.home.client);
        let in_flight = || service.drain.in_flight.len();
        info!(from = order.from, in_flight = in_flight(), "stopping");
        service.stop(order).await;
        let all_answered = async {
            // After the round trip, calls that the server sent before are here.
            round_trip(client, true).await;
            intake.settle().await;
            service.ended().await;
            round_trip(client, true).await;
        };
        if timeout_at(order.answered_by(), all_answered).await.is_err() {
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
            let _ = timeout_at(order.acknowledged_by(), acknowledged).await;
        }
        info!("stopped");
    }
}

/// Returns the time for one call out of what hosts give: less a tenth, 20 to 200 ms, for the
/// way there and back.
fn budget(rpc_timeout: Duration) -> Duration {
    let margin = (rpc_timeout / 10).clamp(Duration::from_millis(20), Duration::from_millis(200));
    rpc_timeout
        .saturating_sub(margin)
        .max(Duration::from_millis(50))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_leaves_room_for_the_way_back() {
        let ms = |given| budget(Duration::from_millis(given)).as_millis();
        assert_eq!(ms(2000), 1800);
        assert_eq!(ms(500), 450);
        assert_eq!(ms(10_000), 9800);
        assert_eq!(ms(1), 50);
    }
}
