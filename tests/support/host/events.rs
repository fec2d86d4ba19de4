//! What a host publishes of itself, section 4 of the reference: heartbeats every
//! 30 s, and that it started and stopped.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Generation, Shared, SimHost};

/// Pause between heartbeats.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

impl SimHost {
    /// Sends a heartbeat now.
    pub async fn beat(&self) {
        self.shared.beat().await;
    }
}

impl Shared {
    /// Heartbeats until the host ends: the first at once up to OTP 0.59, on
    /// later hosts half a minute after the start.
    pub async fn beat_on(self: Arc<Self>) {
        if self.generation == Generation::G1a {
            self.beat().await;
        }
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT_EVERY) => self.beat().await,
            }
        }
    }

    pub async fn beat(&self) {
        let body = self.heartbeat();
        self.publish("host_heartbeat", body).await;
    }

    pub async fn say_started(&self) {
        let mut body = json!({ "friendly_name": "silent-river-1021", "labels": self.labels });
        if self.generation != Generation::G1a {
            body["uptime_seconds"] = 0.into();
            body["version"] = self.generation.version().into();
        }
        self.publish("host_started", body).await;
    }

    pub async fn say_stopped(&self) {
        let body = json!({ "labels": self.labels });
        self.publish("host_stopped", body).await;
    }

    fn heartbeat(&self) -> Value {
        if self.generation == Generation::G3b {
            return self.inventory();
        }
        let state = self.state.lock().unwrap();
        let mut body = json!({
            "friendly_name": "silent-river-1021", "labels": self.labels,
            "providers": state.providers.iter().map(|p| json!({
                "public_key": p.key, "link_name": p.link_name, "contract_id": p.contract_id,
            })).collect::<Vec<_>>(),
        });
        if self.generation == Generation::G1a {
            body["actors"] = state
                .actors
                .iter()
                .flat_map(|actor| actor.instances.iter().map(move |i| (actor, i)))
                .map(|(actor, i)| json!({ "public_key": actor.key, "instance_id": i.id }))
                .collect();
            for provider in body["providers"].as_array_mut().unwrap() {
                provider["instance_id"] = "5a0f6d0e-2c0a-4f0e-8d53-1a7fd6a7b0aa".into();
            }
            return body;
        }
        let counts = state.actors.iter().map(|actor| {
            let count: u64 = actor.instances.iter().map(|i| i.max).sum();
            (actor.key.clone(), count.into())
        });
        body["actors"] = Value::Object(counts.collect());
        body["uptime_seconds"] = 3733.into();
        body["uptime_human"] = "1h 2m 13s".into();
        body["version"] = self.generation.version().into();
        body
    }

    /// Hosts from 0.81 on publish everything twice.
    async fn publish(&self, event: &str, data: Value) {
        let body = json!({
            "specversion": "1.0", "id": "b7a3c5b0-0000-4000-8000-000000000001",
            "type": format!("com.wasmcloud.lattice.{event}"), "source": self.id,
            "datacontenttype": "application/json", "time": "2023-10-01T12:00:00.123456Z",
            "data": data,
        });
        let subject = format!("wasmbus.evt.{}", self.lattice.id);
        let client = &self.lattice.client;
        if self.generation.is_g3() {
            let with_name = format!("{subject}.{event}");
            let body = body.to_string().into();
            client.publish(with_name, body).await.unwrap();
        }
        let body = body.to_string().into();
        client.publish(subject, body).await.unwrap();
    }
}
