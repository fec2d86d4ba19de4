//! What a host does when told. Each function is one subject of the control
//! interface; the numbers are the reference's sections and traps.

use serde_json::{Value, json};

use super::bodies::{accepted, refused};
use super::state::{Actor, Annotations, Instance, Provider, annotations, contains};
use super::{Generation, Shared};

impl Shared {
    /// `cmd.{host}.{verb}`; no answer where the host has none.
    pub fn command(&self, verb: &str, body: &[u8]) -> Option<Value> {
        let otp = self.generation.is_otp();
        let Ok(body) = serde_json::from_slice::<Value>(body) else {
            return match verb {
                "stop" if otp => None,
                _ => Some(refused("the body is no JSON")),
            };
        };
        match verb {
            "la" => Some(self.start_actor(&body)),
            "scale" => Some(self.scale_actor(&body)),
            "sa" => self.stop_actor(&body),
            "upd" => self.update_actor(&body),
            "lp" => Some(self.start_provider(&body)),
            "sp" => Some(self.stop_provider(&body)),
            "stop" => Some(self.stop_host(&body)),
            _ => None,
        }
    }

    /// 1.8
    fn start_actor(&self, body: &Value) -> Value {
        let Some(image_ref) = body["actor_ref"].as_str() else {
            return refused("Invalid launch actor JSON request");
        };
        let missing = u64::from(self.generation.is_otp());
        let count = match body["count"].as_u64().unwrap_or(missing) {
            // `1..0` counts down on OTP (T20).
            0 if self.generation.is_otp() => 2,
            count => count,
        };
        if let Some(artifact) = self.lattice.artifact(image_ref) {
            let mut state = self.state.lock().unwrap();
            if state.actor(&artifact.key).is_none() && count > 0 {
                state.actors.push(Actor {
                    key: artifact.key.clone(),
                    image_ref: image_ref.into(),
                    name: artifact.name,
                    revision: artifact.revision,
                    instances: Vec::new(),
                });
            }
            self.add(&mut state, &artifact.key, annotations(body), count);
        }
        // A failed download shows in events only.
        accepted()
    }

    fn add(&self, state: &mut super::State, key: &str, annotations: Annotations, count: u64) {
        let new_ids: Vec<String> = (0..count).map(|_| state.instance_id()).collect();
        let Some(actor) = state.actor(key) else {
            return;
        };
        let revision = actor.revision;
        if self.generation == Generation::G2b {
            let same = |instance: &&mut Instance| instance.annotations == annotations;
            if let Some(instance) = actor.instances.iter_mut().find(same) {
                instance.max += count;
            } else if let Some(id) = new_ids.into_iter().next() {
                actor.instances.push(Instance {
                    id,
                    annotations,
                    revision,
                    max: count,
                });
            }
        } else {
            actor
                .instances
                .extend(new_ids.into_iter().map(|id| Instance {
                    id,
                    annotations: annotations.clone(),
                    revision,
                    max: 1,
                }));
        }
    }

    /// 1.7
    fn scale_actor(&self, body: &Value) -> Value {
        let image_ref = body["actor_ref"].as_str().unwrap_or_default();
        let otp = self.generation.is_otp();
        let Some(count) = body["count"].as_u64() else {
            return refused("Invalid scale actor JSON request");
        };
        if otp && body["actor_id"].is_null() {
            return refused("Invalid scale actor JSON request");
        }
        let Some(artifact) = self.lattice.artifact(image_ref) else {
            return accepted();
        };
        let wanted = match otp {
            true => Annotations::new(),
            false => annotations(body),
        };
        let mut state = self.state.lock().unwrap();
        let key = artifact.key.clone();
        if state.actor(&key).is_none() {
            state.actors.push(Actor {
                key: key.clone(),
                image_ref: image_ref.into(),
                name: artifact.name,
                revision: artifact.revision,
                instances: Vec::new(),
            });
        }
        if self.generation == Generation::G2b {
            if let Some(actor) = state.actor(&key) {
                actor.instances.retain(|i| i.annotations != wanted);
            }
            if count > 0 {
                self.add(&mut state, &key, wanted, count);
            }
        } else {
            let running = state.actor(&key).map_or(0, |actor| {
                let fits = |i: &&Instance| otp || contains(&i.annotations, &wanted);
                actor.instances.iter().filter(fits).count() as u64
            });
            if count > running {
                self.add(&mut state, &key, wanted, count - running);
            } else if let Some(actor) = state.actor(&key) {
                let mut surplus = running - count;
                actor.instances.retain(|instance| {
                    let stop = surplus > 0 && (otp || contains(&instance.annotations, &wanted));
                    surplus -= u64::from(stop);
                    !stop
                });
            }
        }
        state.tidy();
        accepted()
    }

    /// 1.14
    fn stop_actor(&self, body: &Value) -> Option<Value> {
        let key = body["actor_ref"].as_str().unwrap_or_default().to_owned();
        let wanted = annotations(body);
        let mut state = self.state.lock().unwrap();
        let count = body["count"].as_u64();
        if self.generation.is_otp() && (count.is_none() || key.is_empty()) {
            return Some(refused("Invalid request to stop actor"));
        }
        let count = count.unwrap_or(0) as usize;
        let Some(actor) = state.actor(&key) else {
            return Some(match self.generation {
                Generation::G2b => refused("actor is not running on this host"),
                _ => accepted(),
            });
        };
        match self.generation {
            Generation::G1b => {
                let take = if count == 0 { usize::MAX } else { count };
                let mut seen = 0;
                actor.instances.retain(|instance| {
                    seen += 1;
                    seen > take || !contains(&instance.annotations, &wanted)
                });
            }
            Generation::G2a if count == 0 => actor.instances.clear(),
            Generation::G2a => {
                let group = |i: &&Instance| i.annotations == wanted;
                if count > actor.instances.iter().filter(group).count() {
                    // The task that serves the control interface panics (T3).
                    state.dead = true;
                    return None;
                }
                let mut left = count;
                actor.instances.retain(|instance| {
                    let stop = left > 0 && instance.annotations == wanted;
                    left -= usize::from(stop);
                    !stop
                });
            }
            Generation::G2b => {
                let before = actor.instances.len();
                actor
                    .instances
                    .retain(|i| !contains(&i.annotations, &wanted));
                if actor.instances.len() == before {
                    // It runs on, and is gone from the inventory (T29).
                    actor.instances.clear();
                    state.tidy();
                    return Some(refused("no actors with matching annotations found to stop"));
                }
            }
        }
        state.tidy();
        Some(accepted())
    }

    /// 1.11
    fn update_actor(&self, body: &Value) -> Option<Value> {
        let otp = self.generation.is_otp();
        let image_ref = body["new_actor_ref"].as_str().unwrap_or_default();
        let Some(artifact) = self.lattice.artifact(image_ref) else {
            // OTP raises, and answers nothing.
            return (!otp).then(|| refused("failed to fetch actor"));
        };
        let mut state = self.state.lock().unwrap();
        let key = match otp {
            true => artifact.key.clone(),
            false => body["actor_id"].as_str().unwrap_or_default().to_owned(),
        };
        let Some(actor) = state.actor(&key) else {
            return Some(match otp {
                true => refused("Unable to perform live update: error"),
                false => refused("actor not found"),
            });
        };
        if otp && artifact.revision <= actor.revision {
            return Some(refused("Unable to perform live update: error"));
        }
        let wanted = annotations(body);
        actor.image_ref = image_ref.into();
        actor.revision = artifact.revision;
        for instance in &mut actor.instances {
            if otp || instance.annotations == wanted {
                instance.revision = artifact.revision;
            }
        }
        Some(accepted())
    }

    /// 1.12
    fn start_provider(&self, body: &Value) -> Value {
        let image_ref = body["provider_ref"].as_str().unwrap_or_default();
        let link_name = body["link_name"].as_str().unwrap_or_default();
        if self.generation.is_otp() && (image_ref.is_empty() || link_name.is_empty()) {
            return refused("Improperly formed start provider command JSON");
        }
        let Some(artifact) = self.lattice.artifact(image_ref) else {
            return accepted();
        };
        let mut state = self.state.lock().unwrap();
        let same = |p: &Provider| p.key == artifact.key && p.link_name == link_name;
        if state.providers.iter().any(same) {
            return match self.generation.is_otp() {
                true => refused("Provider with that link name is already running on this host"),
                false => accepted(),
            };
        }
        state.providers.push(Provider {
            key: artifact.key,
            image_ref: image_ref.into(),
            name: artifact.name,
            contract_id: artifact.contract_id,
            revision: artifact.revision,
            link_name: link_name.into(),
            annotations: annotations(body),
            configuration: body["configuration"].as_str().map(Into::into),
        });
        accepted()
    }

    /// 1.13
    fn stop_provider(&self, body: &Value) -> Value {
        let key = body["provider_ref"].as_str().unwrap_or_default();
        let link_name = body["link_name"].as_str().unwrap_or_default();
        let otp = self.generation.is_otp();
        if otp && (key.len() != 56 || link_name.is_empty()) {
            return refused("Invalid JSON request for stop provider");
        }
        let wanted = annotations(body);
        let mut state = self.state.lock().unwrap();
        let known = state.providers.iter().any(|p| p.key == key);
        let here = |p: &Provider| p.key == key && p.link_name == link_name;
        if !otp && known && !state.providers.iter().any(here) {
            return refused("provider with that link name is not running");
        }
        state
            .providers
            .retain(|p| !(here(p) && (otp || contains(&p.annotations, &wanted))));
        accepted()
    }

    /// 1.15
    fn stop_host(&self, _: &Value) -> Value {
        let mut state = self.state.lock().unwrap();
        state.actors.clear();
        state.providers.clear();
        state.dead = true;
        accepted()
    }

    /// 1.17; OTP hosts die of a `registryType` they do not know (T1).
    pub fn registries(&self, body: &[u8]) -> Option<Value> {
        let mut state = self.state.lock().unwrap();
        let Ok(Value::Object(entries)) = serde_json::from_slice(body) else {
            return Some(refused("failed to deserialize registry credential command"));
        };
        for (registry, entry) in entries {
            let kind = entry["registryType"].as_str();
            if self.generation.is_otp() {
                match kind {
                    None => continue,
                    Some("oci" | "bindle") => {}
                    Some(_) => {
                        state.actors.clear();
                        state.providers.clear();
                        state.dead = true;
                        return None;
                    }
                }
            } else if kind.is_none() {
                return Some(refused("failed to deserialize registry credential command"));
            }
            state.registries.insert(registry, entry);
        }
        Some(accepted())
    }

    /// 1.9
    pub async fn put_link(&self, body: &[u8]) -> Value {
        let Ok(mut link) = serde_json::from_slice::<Value>(body) else {
            return refused("failed to deserialize link definition");
        };
        let there = |name: &str| link[name].is_string();
        if self.generation.is_otp() {
            let keys = ["actor_id", "contract_id", "link_name", "provider_id"];
            if !keys.iter().all(|key| there(key)) {
                return refused("Invalid link definition put request");
            }
            if link["values"].is_null() {
                link["values"] = json!({});
            }
            let mut stored = link.clone();
            let key = super::lattice::link_key(&link);
            stored["id"] = key.trim_start_matches("LINKDEF_").into();
            self.lattice
                .put_link(&link, stored.to_string().as_bytes())
                .await;
        } else {
            if !link["values"].is_object() {
                return refused("failed to deserialize link definition");
            }
            self.lattice.put_link(&link, body).await;
        }
        accepted()
    }

    /// 1.10; OTP hosts write PURGE, Rust hosts DEL (T25).
    pub async fn remove_link(&self, body: &[u8]) -> Value {
        let Ok(link) = serde_json::from_slice::<Value>(body) else {
            return refused("failed to deserialize link definition");
        };
        let marker = match self.generation.is_otp() {
            true => "PURGE",
            false => "DEL",
        };
        self.lattice.remove_link(&link, marker).await;
        accepted()
    }
}
