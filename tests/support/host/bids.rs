//! Auctions: docs/hosts.md#auctions.

use serde_json::{Value, json};

use super::bodies::refused;
use super::{Generation, Shared};

impl Shared {
    /// Returns the answer to an auction, if the host bids.
    pub fn bid(&self, kind: &str, body: &[u8]) -> Option<Value> {
        let body = serde_json::from_slice::<Value>(body).ok();
        match (kind, self.generation.is_otp()) {
            ("actor" | "provider", true) => self.otp_bid(kind, body),
            ("actor" | "provider", false) => self.rust_bid(kind, body),
            _ if self.generation.is_g3() => Some(refused("unsupported subject")),
            _ => None,
        }
    }

    fn otp_bid(&self, kind: &str, body: Option<Value>) -> Option<Value> {
        let old = self.generation <= Generation::G1a;
        let (reference, bad) = match kind {
            "actor" => ("actor_ref", "Invalid JSON request for actor auction"),
            _ => ("provider_ref", "Invalid JSON request to auction provider"),
        };
        let body = match body {
            Some(body) if body.is_object() => body,
            // An old host fails on JSON that is no object.
            Some(_) if old => return None,
            _ => return Some(refused(bad)),
        };
        // Old hosts need both members and take null for a value.
        if !self.has(&body, &[reference]) || (old && body.get("constraints").is_none()) {
            return Some(refused(bad));
        }
        let constraints = match &body["constraints"] {
            Value::Null if !old => json!({}),
            Value::Object(pairs) => Value::Object(pairs.clone()),
            _ => return None,
        };
        let pairs = constraints.as_object().into_iter().flatten();
        for (label, value) in pairs {
            if self.labels.get(label) != Some(value) {
                return None;
            }
        }
        if kind == "actor" {
            return Some(json!({
                "actor_ref": body["actor_ref"], "constraints": constraints, "host_id": self.id,
            }));
        }
        let link_name = body.get("link_name").cloned();
        let link_name = link_name.unwrap_or_else(|| "default".into());
        // What runs is looked for from 0.54.5 on, by the key that the reference
        // was seen with (docs/hosts.md#bids-although-it-runs).
        if !old {
            let reference = body["provider_ref"].as_str().unwrap_or_default();
            let key = match reference.starts_with('V') {
                true => Some(reference.to_owned()),
                false => self.lattice.known_key(reference),
            };
            let state = self.state.lock().unwrap();
            let runs = state
                .providers
                .iter()
                .any(|p| Some(&p.key) == key.as_ref() && link_name == *p.link_name);
            if runs {
                return None;
            }
        }
        Some(json!({
            "constraints": constraints, "host_id": self.id, "link_name": link_name,
            "provider_ref": body["provider_ref"],
        }))
    }

    /// Rust hosts bid whatever the constraints are
    /// (docs/hosts.md#constraints-ignored-by-rust-hosts).
    fn rust_bid(&self, kind: &str, body: Option<Value>) -> Option<Value> {
        let body = body.unwrap_or_default();
        let Value::Object(constraints) = &body["constraints"] else {
            return Some(refused(&format!(
                "failed to deserialize {kind} auction command"
            )));
        };
        let text = |name: &str| match body.get(name) {
            Some(text) => text.clone(),
            None => "".into(),
        };
        if kind == "actor" {
            return Some(json!({
                "actor_ref": text("actor_ref"), "constraints": constraints, "host_id": self.id,
            }));
        }
        let (reference, link_name) = (text("provider_ref"), text("link_name"));
        let state = self.state.lock().unwrap();
        let runs = state
            .providers
            .iter()
            .any(|p| reference == *p.image_ref && link_name == *p.link_name);
        (!runs).then(|| {
            json!({
                "constraints": constraints, "host_id": self.id, "link_name": link_name,
                "provider_ref": reference,
            })
        })
    }
}
