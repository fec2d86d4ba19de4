//! What a host publishes, on `wasmbus.evt.{lattice}.{event}`. Health checks are
//! left out: nothing is judged by them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::host::running::Annotations;
use super::Shared;
use super::commands::Scale;
use super::table::Code;

/// Pause between heartbeats, and before the first one.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(30);

/// The event `component_scaled`.
#[derive(Clone)]
pub struct Scaled {
    pub code: Option<Code>,
    pub annotations: Annotations,
    /// The `host_id` of the order, which counts from 1.6.0 on.
    pub host_id: String,
    pub max: u32,
    pub image_ref: String,
    pub id: String,
}

impl Shared {
    pub async fn say_scaled(&self, scaled: Scaled) {
        let mut data = json!({
            "annotations": scaled.annotations, "component_id": scaled.id,
            "host_id": self.named(&scaled.host_id), "image_ref": scaled.image_ref,
            "max_instances": scaled.max,
        });
        if let Some(artifact) = scaled.code.and_then(|code| code.artifact) {
            data["claims"] = self.event_claims(&artifact);
            data["public_key"] = artifact.key.into();
        }
        self.publish("component_scaled", data).await;
    }

    pub async fn say_scale_failed(&self, order: &Scale, error: &str) {
        let data = json!({
            "annotations": order.annotations.clone().unwrap_or_default(),
            "component_id": order.component_id, "error": error,
            "host_id": self.named(&order.host_id), "image_ref": order.component_ref,
            "max_instances": order.count,
        });
        self.publish("component_scale_failed", data).await;
    }

    /// Sends heartbeats until the host ends.
    pub async fn beat_on(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT_EVERY) => self.beat().await,
            }
        }
    }

    /// Publishes the inventory, as soon as no component is being compiled and no
    /// provider is being stopped.
    pub async fn beat(&self) {
        let _compiles = self.compiling.read().await;
        let _stops = self.stopping.read().await;
        self.publish("host_heartbeat", self.inventory()).await;
    }

    pub async fn say_started(&self) {
        let labels = self.state.lock().unwrap().labels.clone();
        let data = json!({
            "friendly_name": "silent-river-1021", "labels": labels, "uptime_seconds": 0,
            "version": self.version_told(),
        });
        self.publish("host_started", data).await;
    }

    pub async fn publish(&self, event: &str, data: Value) {
        let id = self.events.fetch_add(1, Ordering::Relaxed);
        let body = json!({
            "specversion": "1.0", "id": format!("01a21ad8-0000-4000-8000-{id:012x}"),
            "type": format!("com.wasmcloud.lattice.{event}"), "source": self.id,
            "datacontenttype": "application/json", "time": "2026-11-27T12:00:00.123456789Z",
            "data": data,
        });
        let subject = format!("wasmbus.evt.{}.{event}", self.lattice.id);
        let body = body.to_string().into();
        self.lattice.client.publish(subject, body).await.unwrap();
    }
}
