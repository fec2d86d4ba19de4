//! What a host says, as JSON.

use serde_json::{Value, json};

use super::state::{Actor, Instance, Provider};
use super::{Generation, Shared};

/// `{"accepted":true,"error":""}`.
pub fn accepted() -> Value {
    json!({ "accepted": true, "error": "" })
}

/// A refusal in these words.
pub fn refused(words: &str) -> Value {
    json!({ "accepted": false, "error": words })
}

impl Shared {
    /// Answer to `ping.hosts`.
    pub fn ping(&self) -> Value {
        let nats = match self.generation.is_otp() {
            true => "127.0.0.1",
            false => "nats://127.0.0.1:4222",
        };
        let uptime = match self.generation.is_otp() {
            true => "1 hour, 2 minutes, 13 seconds",
            false => "1h 2m 13s",
        };
        json!({
            "cluster_issuers": self.issuer, "ctl_host": nats, "friendly_name": "silent-river-1021",
            "id": self.id, "issuer": self.issuer, "js_domain": null, "labels": self.labels,
            "lattice_prefix": self.lattice.id, "prov_rpc_host": nats, "rpc_host": nats,
            "uptime_human": uptime, "uptime_seconds": 3733,
            "version": self.generation.version(),
        })
    }

    /// Answer to `get.{host}.inv`.
    pub fn inventory(&self) -> Value {
        let state = self.state.lock().unwrap();
        let actors: Vec<_> = state.actors.iter().map(|actor| self.actor(actor)).collect();
        let providers: Vec<_> = state.providers.iter().map(|p| self.provider(p)).collect();
        json!({
            "actors": actors, "friendly_name": "silent-river-1021", "host_id": self.id,
            "issuer": self.issuer, "labels": self.labels, "providers": providers,
        })
    }

    fn actor(&self, actor: &Actor) -> Value {
        let instance = |instance: &Instance| {
            let mut body = json!({
                "annotations": instance.annotations, "instance_id": instance.id,
                "revision": instance.revision,
            });
            if self.generation == Generation::G2b {
                body["image_ref"] = actor.image_ref.clone().into();
                body["max_concurrent"] = instance.max.into();
            }
            body
        };
        json!({
            "id": actor.key, "image_ref": actor.image_ref, "name": actor.name,
            "instances": actor.instances.iter().map(instance).collect::<Vec<_>>(),
        })
    }

    fn provider(&self, provider: &Provider) -> Value {
        let mut body = json!({
            "annotations": provider.annotations, "contract_id": provider.contract_id,
            "id": provider.key, "image_ref": provider.image_ref,
            "link_name": provider.link_name, "name": provider.name,
            "revision": provider.revision,
        });
        if self.generation.is_otp() {
            body["instance_id"] = "c5f7c7f0-27a9-4b0b-9a0c-0a8f6f4f0b53".into();
        }
        body
    }

    /// Answer to an auction, if the host bids.
    pub fn bid(&self, kind: &str, body: &[u8]) -> Option<Value> {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let bad = |otp: &str, rust: &str| {
            Some(refused(match self.generation.is_otp() {
                true => otp,
                false => rust,
            }))
        };
        let constraints = match &request["constraints"] {
            Value::Object(pairs) => Value::Object(pairs.clone()),
            Value::Null if self.generation.is_otp() => json!({}),
            _ if kind == "actor" => {
                return bad("", "failed to deserialize actor auction command");
            }
            _ => return bad("", "failed to deserialize provider auction command"),
        };
        // Rust hosts of these generations do not look at constraints (T18).
        if self.generation.is_otp() {
            let pairs = constraints.as_object().into_iter().flatten();
            for (label, value) in pairs {
                if self.labels.get(label) != Some(value) {
                    return None;
                }
            }
        }
        if kind == "actor" {
            if self.generation.is_otp() && request["actor_ref"].is_null() {
                return bad("Invalid JSON request to auction actor", "");
            }
            return Some(json!({
                "actor_ref": request["actor_ref"], "constraints": constraints,
                "host_id": self.id,
            }));
        }
        if self.generation.is_otp() && request["provider_ref"].is_null() {
            return bad("Invalid JSON request to auction provider", "");
        }
        let state = self.state.lock().unwrap();
        let runs = state.providers.iter().any(|p| {
            request["provider_ref"] == *p.image_ref && request["link_name"] == *p.link_name
        });
        (!runs).then(|| {
            json!({
                "constraints": constraints, "host_id": self.id,
                "link_name": request["link_name"], "provider_ref": request["provider_ref"],
            })
        })
    }
}
