//! The JSON bodies of a host's replies.

use serde_json::{Value, json};

use super::running::Instance;
use super::table::{Actor, Provider};
use super::{Generation, Shared};

/// Returns `{"accepted":true,"error":""}`.
pub fn accepted() -> Value {
    json!({ "accepted": true, "error": "" })
}

/// Returns a refusal in these words.
pub fn refused(words: &str) -> Value {
    json!({ "accepted": false, "error": words })
}

impl Shared {
    /// Returns its uptime in seconds, which starts at an hour and two minutes;
    /// at 0 for a host whose id was in the lattice before.
    pub fn uptime(&self) -> u64 {
        self.uptime_before + self.born.elapsed().as_secs()
    }

    pub fn uptime_human(&self) -> String {
        let uptime = self.uptime();
        let (h, m, s) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
        match self.generation.is_otp() {
            true => format!("{h} hour, {m} minutes, {s} seconds"),
            false => format!("{h}h {m}m {s}s"),
        }
    }

    /// Returns the answer to `ping.hosts`.
    pub fn ping(&self) -> Value {
        let generation = self.generation;
        let mut body = json!({ "id": self.id, "uptime_seconds": self.uptime() });
        if generation == Generation::Otp51 {
            return body;
        }
        body["friendly_name"] = "silent-river-1021".into();
        if generation == Generation::G1a {
            return body;
        }
        let nats = match generation.is_otp() {
            true => "127.0.0.1",
            false => "nats://127.0.0.1:4222",
        };
        let members = json!({
            "cluster_issuers": self.issuer, "ctl_host": nats, "issuer": self.issuer,
            "js_domain": null, "labels": self.labels, "lattice_prefix": self.lattice.id,
            "rpc_host": nats, "uptime_human": self.uptime_human(),
            "version": generation.version(),
        });
        let members = members.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(members);
        if !generation.is_g3() {
            body["prov_rpc_host"] = nats.into();
        }
        if generation == Generation::G3b {
            body["lattice"] = self.lattice.id.clone().into();
        }
        body
    }

    /// Returns the answer to `get.{host}.inv`: the contents of the table.
    pub fn inventory(&self) -> Value {
        let state = self.state.lock().unwrap();
        let mut actors = Vec::new();
        for actor in &state.actors {
            if self.generation == Generation::Otp51 {
                actors.extend(actor.instances.iter().map(|i| self.old_actor(actor, i)));
                continue;
            }
            // Old hosts list an actor once for each of its instances
            // (docs/hosts.md#inventory-repeats-actors).
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
        if self.generation > Generation::G1a {
            body["issuer"] = self.issuer.clone().into();
        }
        if self.generation == Generation::G3b {
            body["version"] = self.generation.version().into();
            body["uptime_human"] = self.uptime_human().into();
            body["uptime_seconds"] = self.uptime().into();
        }
        body
    }

    /// Returns the revision that the inventory gives an instance: OTP hosts
    /// take that of the claims in the lattice
    /// (docs/hosts.md#otp-lists-old-reference-after-update), 0.78 its own,
    /// other Rust hosts that of the stored module
    /// (docs/hosts.md#rust-hosts-keep-old-code).
    fn told_revision(&self, actor: &Actor, instance: &Instance) -> i64 {
        match self.generation {
            Generation::G2a => instance.code,
            rust if !rust.is_otp() => actor.stored.revision,
            _ => self.lattice.known_revision(&actor.key).unwrap_or_default(),
        }
    }

    /// Returns an entry of 0.51, which has no list of instances
    /// (docs/hosts.md#old-hosts-take-other-commands).
    fn old_actor(&self, actor: &Actor, instance: &Instance) -> Value {
        json!({
            "id": actor.key, "image_ref": instance.image_ref, "name": actor.stored.name,
            "instance_id": instance.id, "revision": self.told_revision(actor, instance),
        })
    }

    fn actor(&self, actor: &Actor) -> Value {
        let instance = |instance: &Instance| {
            let mut body = json!({
                "annotations": instance.shown(self.generation), "instance_id": instance.id,
                "revision": self.told_revision(actor, instance),
            });
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
        let image_ref = match self.generation {
            Generation::G2a => &actor.image_ref,
            _ => actor
                .instances
                .first()
                .map_or(&actor.image_ref, |i| &i.image_ref),
        };
        json!({
            "id": actor.key, "image_ref": image_ref, "name": actor.stored.name,
            "instances": actor.instances.iter().map(instance).collect::<Vec<_>>(),
        })
    }

    fn provider(&self, provider: &Provider) -> Value {
        let mut body = json!({
            "id": provider.key, "image_ref": provider.image_ref,
            "link_name": provider.link_name, "name": provider.name,
            "revision": provider.revision,
        });
        if self.generation.keeps_annotations() {
            body["annotations"] = json!(provider.annotations);
        }
        if self.generation.keeps_bucket() {
            body["contract_id"] = provider.contract_id.clone().into();
        }
        if self.generation.is_otp() {
            body["instance_id"] = "c5f7c7f0-27a9-4b0b-9a0c-0a8f6f4f0b53".into();
        }
        body
    }
}
