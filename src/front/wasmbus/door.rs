//! The state of the door: the connection to the host's NATS, and all that its calls share.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::front::wasmbus::connection::connect;
use crate::front::wasmbus::host_data::HostData;
use crate::front::wasmbus::invocation::Verifier;
use crate::front::wasmbus::large_bodies::{LargeBodies, MAX_FETCHED};
use crate::front::wasmbus::largest_answer::LargestAnswer;
use crate::front::wasmbus::lost_subscriptions::LostSubscriptions;
use crate::nats::OwnLattice;
use crate::serve::links::LinkTable;
use crate::serve::places::Limiter;
use crate::serve::{Operations, Rules, Service};
use crate::telemetry::LogLimiter;

/// Most tasks at once that answer calls for which there is no room.
const MAX_REFUSALS: usize = 64;

/// The provider on wasmbus RPC.
pub(super) struct Door<O> {
    pub(super) service: Service<O>,
    pub(super) home: OwnLattice,
    pub(super) verifier: Verifier,
    pub(super) large_bodies: LargeBodies,
    /// Places for calls whose bodies are fetched from the object store.
    pub(super) fetches: Arc<Limiter>,
    /// Limits the tasks that answer calls for which there is no room.
    pub(super) refusals: Arc<Semaphore>,
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
    pub(super) foreign_orders: LogLimiter,
    pub(super) large_answers: LogLimiter,
    pub(super) unsent: LogLimiter,
}

impl<O: Operations> Door<O> {
    /// Connects to the NATS of the host. Nothing is subscribed to yet.
    pub(super) async fn open(host: HostData, rules: Rules, operations: O) -> anyhow::Result<Self> {
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
            fetches: Limiter::new(MAX_FETCHED, MAX_FETCHED - MAX_FETCHED / 4),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
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

    /// Sends an answer.
    pub(super) async fn publish(&self, reply: Subject, body: Vec<u8>) {
        if let Err(error) = self.home.client.publish(reply, body.into()).await
            && self.logs.unsent.is_due()
        {
            warn!(%error, "an answer was not sent");
        }
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
