//! The subjects of the provider beside that of calls: links, health and requests to stop.

use std::sync::Arc;

use async_nats::{Message, Subject};
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::{error, warn};
use wasmbus_rpc::core::HealthCheckResponse;

use crate::error::without_values;
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::link_definition::WireLinkDefinition;
use crate::front::wasmbus::msgpack::decode;
use crate::front::wasmbus::subscriptions::Subscription;
use crate::json;
use crate::serve::Operations;
use crate::serve::drain::StopRequest;
use crate::serve::links::LinkDefinition;
use crate::telemetry::security::{self, Cause};

impl<O: Operations> Door<O> {
    /// Follows which actors are linked.
    pub(super) async fn follow_links(self: Arc<Self>) {
        let door = self.clone();
        let put = move |message| {
            if let Some(link) = door.read_link(&message) {
                door.service.links.put(link);
            }
        };
        self.clone().handle("linkdefs.put", put).await;
        let door = self.clone();
        let delete = move |message| {
            if let Some(link) = door.read_link(&message) {
                door.service.links.delete(&link);
            }
        };
        self.handle("linkdefs.del", delete).await;
    }

    /// Answers requests for the provider's health.
    pub(super) async fn answer_health_checks(self: Arc<Self>) {
        let door = self.clone();
        let answer = move |message| {
            let door = door.clone();
            // A slow connection must not keep the next question waiting.
            tokio::spawn(async move { door.answer_health(message).await });
        };
        self.handle("health", answer).await;
    }

    /// Hands the host's requests to stop to `requests`, each with the subject for its
    /// acknowledgement.
    pub(super) async fn take_stop_requests(
        self: Arc<Self>,
        requests: mpsc::Sender<(StopRequest, Option<Subject>)>,
    ) {
        let door = self.clone();
        let stop = move |message: Message| {
            if is_for(&door.host_id, &message.payload) {
                // Where there is no room, an earlier request waits already.
                let _ = requests.try_send((StopRequest::of_host(), message.reply));
            } else if door.logs.foreign_orders.is_due() {
                warn!("an order to stop that is not for this provider was ignored");
            }
        };
        self.handle("shutdown", stop).await;
    }

    /// Subscribes to the provider's subject that ends like this, and calls `each` with what
    /// comes.
    async fn handle(
        self: Arc<Self>,
        name: &'static str,
        mut each: impl FnMut(Message) + Send + 'static,
    ) {
        let mut messages = self.subscribe(name, None).await;
        tokio::spawn(async move {
            loop {
                each(messages.next().await);
            }
        });
    }

    pub(super) async fn subscribe(&self, name: &str, queue: Option<&'static str>) -> Subscription {
        Subscription::new(&self.home.client, &self.lost, name, queue).await
    }

    fn read_link(&self, message: &Message) -> Option<LinkDefinition> {
        let read = if self.test_mode {
            json::from_slice(&message.payload).map_err(|error| error.to_string())
        } else {
            decode(&message.payload).map_err(|error| error.to_string())
        };
        match read {
            Ok(link) => Some(WireLinkDefinition::into(link)),
            Err(problem) => {
                let problem = without_values(&problem);
                let detail = format!("a link definition cannot be read: {problem}");
                security::refused_unproved(Cause::Link, "", &detail);
                None
            }
        }
    }

    /// Says whether all is well. Links that are refused do not make the provider unhealthy:
    /// they are no fault of it, and must not have it restarted.
    fn health(&self) -> HealthCheckResponse {
        let problems = [self.service.health(), self.lost.check()];
        let problems: Vec<String> = problems.into_iter().filter_map(Result::err).collect();
        let healthy = problems.is_empty();
        let messages: Vec<String> = problems
            .into_iter()
            .chain(self.service.links.refused())
            .collect();
        HealthCheckResponse {
            healthy,
            message: (!messages.is_empty()).then(|| messages.join("; ")),
        }
    }

    async fn answer_health(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let health = self.health();
        let body = if self.test_mode {
            serde_json::to_vec(&health).map_err(|error| error.to_string())
        } else {
            rmp_serde::to_vec_named(&health).map_err(|error| error.to_string())
        };
        match body {
            Ok(body) => self.publish(reply, body).await,
            Err(error) => error!(error, "the health cannot be encoded"),
        }
    }
}

/// Whether a request to stop is for this provider: it names the provider's host, or nothing at
/// all (hosts before 0.59). One that names another host of the lattice, or that cannot be
/// read, is not.
fn is_for(host_id: &str, payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message {
        host_id: String,
    }
    payload.is_empty()
        || json::from_slice::<Message>(payload).is_ok_and(|message| message.host_id == host_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_order_of_the_providers_own_host_counts() {
        assert!(is_for("N1", b""));
        assert!(is_for("N1", br#"{"host_id":"N1"}"#));
        for other in [
            &br#"{"host_id":"N2"}"#[..],
            b"{}",
            br#"["N1"]"#,
            b"x",
            br#"{"host_id":null}"#,
        ] {
            assert!(!is_for("N1", other), "{other:?}");
        }
    }
}
