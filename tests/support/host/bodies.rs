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
        let generation = self.generation;
        if generation == Generation::G1a {
            return json!({
                "friendly_name": "silent-river-1021", "id": self.id, "uptime_seconds": 3733,
            });
        }
        let (nats, uptime) = match generation.is_otp() {
            true => ("127.0.0.1", "1 hour, 2 minutes, 13 seconds"),
            false => ("nats://127.0.0.1:4222", "1h 2m 13s"),
        };
        let mut body = json!({
            "cluster_issuers": self.issuer, "ctl_host": nats, "friendly_name": "silent-river-1021",
            "id": self.id, "issuer": self.issuer, "js_domain": null, "labels": self.labels,
            "lattice_prefix": self.lattice.id, "rpc_host": nats, "uptime_human": uptime,
            "uptime_seconds": 3733, "version": generation.version(),
        });
        if !generation.is_g3() {
            body["prov_rpc_host"] = nats.into();
        }
        if generation == Generation::G3b {
            body["lattice"] = self.lattice.id.clone().into();
        }
        body
    }

    /// Answer to `get.{host}.inv`.
    pub fn inventory(&self) -> Value {
        let state = self.state.lock().unwrap();
        let mut actors = Vec::new();
        for actor in &state.actors {
            // Old hosts repeat an actor for each of its instances (T26).
            let times = match self.generation {
                Generation::G1a => actor.instances.len(),
                _ => 1,
            };
            actors.extend(std::iter::repeat_n(self.actor(actor), times));
        }
        let providers: Vec<_> = state.providers.iter().map(|p| self.provider(p)).collect();
        let mut body = json!({
            "actors": actors, "friendly_name": "silent-river-1021", "host_id": self.id,
            "labels": self.labels, "providers": providers,
        });
        if self.generation != Generation::G1a {
            body["issuer"] = self.issuer.clone().into();
        }
        if self.generation == Generation::G3b {
            body["version"] = self.generation.version().into();
            body["uptime_human"] = "1h 2m 13s".into();
            body["uptime_seconds"] = 3733.into();
        }
        body
    }

    /// Answer to `get.links`.
    pub fn links_reply(&self) -> Value {
        let links = self.links_view().into_iter().map(|(key, link)| {
            let mut body = json!({
                "actor_id": link["actor_id"], "provider_id": link["provider_id"],
                "link_name": link["link_name"], "contract_id": link["contract_id"],
                "values": link["values"],
            });
            if self.generation == Generation::G1b {
                body["id"] = key.trim_start_matches("LINKDEF_").into();
            }
            body
        });
        json!({ "links": links.collect::<Vec<_>>() })
    }

    fn actor(&self, actor: &Actor) -> Value {
        let instance = |instance: &Instance| {
            let mut body = json!({
                "annotations": instance.annotations, "instance_id": instance.id,
                "revision": instance.revision,
            });
            if self.generation == Generation::G1a {
                body["annotations"] = json!({});
            }
            if self.generation.counts_maximum() {
                let maximum = match self.generation {
                    Generation::G3b => "max_instances",
                    _ => "max_concurrent",
                };
                body["image_ref"] = instance.image_ref.clone().into();
                body[maximum] = instance.max.into();
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
            "id": provider.key, "image_ref": provider.image_ref,
            "link_name": provider.link_name, "name": provider.name,
            "revision": provider.revision,
        });
        if self.generation != Generation::G1a {
            body["annotations"] = json!(provider.annotations);
            body["contract_id"] = provider.contract_id.clone().into();
        }
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
                return bad("Invalid JSON request for actor auction", "");
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
                "link_name": self.link_name_of(&request), "provider_ref": request["provider_ref"],
            })
        })
    }

    /// What a missing link name means.
    fn link_name_of(&self, request: &Value) -> Value {
        match (request.get("link_name"), self.generation.is_otp()) {
            (Some(name), _) => name.clone(),
            (None, true) => "default".into(),
            (None, false) => "".into(),
        }
    }
}
