//! What a host does when told. Each function is one subject of the control
//! interface; the numbers are the reference's sections and traps.

use serde_json::{Value, json};

use super::bodies::{accepted, refused};
use super::lattice::link_key;
use super::state::{Provider, annotations, contains};
use super::{Generation, Shared};

impl Shared {
    /// `cmd.{host}.{verb}`; no answer where the host has none.
    pub fn command(&self, verb: &str, body: &[u8]) -> Option<Value> {
        let body = serde_json::from_slice::<Value>(body).ok();
        match (verb, self.generation) {
            // Their error path raises (T31).
            ("stop", otp) if otp.is_otp() && body.is_none() => return None,
            ("la", g3) if g3.is_g3() => return Some(refused("unsupported subject")),
            _ => {}
        }
        match (verb, &body) {
            ("la", Some(body)) => Some(self.start_actor(body)),
            ("scale", Some(body)) => self.scale_actor(body),
            ("sa", Some(body)) => self.stop_actor(body),
            ("upd", Some(body)) => self.update_actor(body),
            ("lp", Some(body)) => Some(self.start_provider(body)),
            ("sp", Some(body)) => Some(self.stop_provider(body)),
            ("stop", Some(_)) => Some(self.stop_host()),
            ("stop", None) => Some(refused("failed to deserialize stop command")),
            (_, None) => Some(refused("the body is no JSON")),
            _ if self.generation.is_g3() => Some(refused("unsupported subject")),
            // G1 and G2 answer nothing.
            _ => None,
        }
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
            // The others acknowledge, and say in an event that it failed.
            return match self.generation {
                Generation::G1b => {
                    refused("Provider with that link name is already running on this host")
                }
                _ => accepted(),
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
        let otp = self.generation.is_otp();
        if !otp && body["provider_ref"].is_null() {
            return refused("failed to deserialize provider stop command");
        }
        let key = body["provider_ref"].as_str().unwrap_or_default();
        let link_name = body["link_name"].as_str().unwrap_or_default();
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
    fn stop_host(&self) -> Value {
        let mut state = self.state.lock().unwrap();
        state.actors.clear();
        state.providers.clear();
        state.stopped = true;
        accepted()
    }

    /// 1.17; OTP hosts from 0.58 on die of a `registryType` they do not know
    /// (T1).
    pub fn registries(&self, body: &[u8]) -> Option<Value> {
        let mut state = self.state.lock().unwrap();
        let bad = || Some(refused("failed to deserialize registries put command"));
        let Ok(Value::Object(entries)) = serde_json::from_slice(body) else {
            return bad();
        };
        for (registry, entry) in entries {
            let kind = entry["registryType"].as_str();
            match (self.generation, kind) {
                (Generation::G1b, None) => continue,
                (Generation::G1b, Some("oci" | "bindle")) => {}
                (Generation::G1b, Some(_)) => {
                    state.actors.clear();
                    state.providers.clear();
                    state.crash("an unknown registryType ended the virtual host (T1)");
                    return None;
                }
                (Generation::G2a | Generation::G2b, None) => return bad(),
                _ => {}
            }
            // OTP hosts take the scheme off, and what comes after the host.
            let bare = registry
                .split_once("://")
                .map_or(&*registry, |(_, rest)| rest);
            let key = match self.generation.is_otp() {
                true => bare.split('/').next().unwrap_or(bare).to_owned(),
                false => registry.clone(),
            };
            state.registries.insert(key, entry);
        }
        // OTP before 0.54.5 confirms nothing; this one does.
        Some(accepted())
    }

    /// 1.9
    pub async fn put_link(&self, body: &[u8]) -> Value {
        let Ok(mut link) = serde_json::from_slice::<Value>(body) else {
            return refused("failed to deserialize link definition");
        };
        if self.generation.is_otp() {
            let keys = ["actor_id", "contract_id", "link_name", "provider_id"];
            if !keys.iter().all(|key| link[*key].is_string()) {
                return refused("Invalid link definition put request");
            }
            if link["values"].is_null() {
                link["values"] = json!({});
            }
            let mut stored = link.clone();
            stored["id"] = link_key(&link).trim_start_matches("LINKDEF_").into();
            let in_bucket = self.generation != Generation::G1a;
            let raw = stored.to_string();
            self.lattice
                .put_link(&link, raw.as_bytes(), in_bucket)
                .await;
        } else {
            if !link["values"].is_object() {
                return refused("failed to deserialize link definition");
            }
            self.lattice.put_link(&link, body, true).await;
        }
        accepted()
    }

    /// 1.10; OTP hosts write PURGE, Rust hosts DEL (T25).
    pub async fn remove_link(&self, body: &[u8]) -> Value {
        let Ok(link) = serde_json::from_slice::<Value>(body) else {
            return refused("failed to deserialize link definition deletion command");
        };
        let marker = match self.generation.is_otp() {
            true => "PURGE",
            false => "DEL",
        };
        let in_bucket = self.generation != Generation::G1a;
        self.lattice.remove_link(&link, marker, in_bucket).await;
        accepted()
    }
}
