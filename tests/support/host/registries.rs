//! Credentials for registries: docs/hosts.md#registry-credentials.

use serde_json::Value;

use super::bodies::{accepted, refused};
use super::orders::Answer;
use super::table::State;
use super::{Generation, Shared, SimHost};

impl SimHost {
    /// Returns the names of the registries that it has credentials for.
    pub fn registries(&self) -> Vec<String> {
        let state = self.shared.state.lock().unwrap();
        state.registries.keys().cloned().collect()
    }

    /// Returns whether it would log in at this registry; no host does so with a
    /// token (docs/hosts.md#token-logs-in-nowhere).
    pub fn logs_in(&self, registry: &str) -> bool {
        let state = self.shared.state.lock().unwrap();
        let entry = state.registries.get(registry);
        entry.is_some_and(|entry| entry["username"].is_string() && entry["password"].is_string())
    }
}

impl Shared {
    pub fn registries(&self, body: &[u8]) -> Answer {
        let state = &mut *self.state.lock().unwrap();
        let body = serde_json::from_slice::<Value>(body);
        match self.generation {
            // Old hosts store it where nothing reads it, and confirm nothing. A
            // value that is no entry makes them restart their host process.
            Generation::Otp51 | Generation::G1a => {
                let entries = body.unwrap_or_default();
                let mut entries = entries.as_object().into_iter().flatten();
                if entries.any(|(_, entry)| !entry.is_object()) {
                    state.hurt(
                        "credentials that are none restarted the host process \
                         (docs/hosts.md#unknown-registry-type-ends-otp-hosts)",
                    );
                    self.say_stopped(state, 1);
                }
                Answer::silence()
            }
            otp if otp.is_otp() => match body {
                Ok(Value::Object(entries)) => {
                    self.otp_registries(state, entries);
                    Answer::now(accepted())
                }
                Ok(_) => Answer::silence(),
                Err(_) => Answer::now(refused("Failed to update registry credential map")),
            },
            _ => self.rust_registries(state, body.unwrap_or_default()),
        }
    }

    /// Takes credentials on an OTP host: it acknowledges them before it looks
    /// at the entries, and dies of a type that it does not know
    /// (docs/hosts.md#unknown-registry-type-ends-otp-hosts).
    fn otp_registries(&self, state: &mut State, entries: serde_json::Map<String, Value>) {
        for (registry, entry) in entries {
            let Some(members) = entry.as_object() else {
                return self.die(state);
            };
            let kind = match members.get("registryType") {
                None => continue,
                Some(kind) => kind.as_str(),
            };
            let Some(kind @ ("oci" | "bindle")) = kind else {
                return self.die(state);
            };
            let given = ["username", "password", "token"];
            if !given.iter().any(|name| members.contains_key(*name)) {
                continue;
            }
            if given
                .iter()
                .any(|name| members.get(*name).is_some_and(Value::is_null))
            {
                state.hurt(
                    "credentials with null break every fetch from there \
                     (docs/hosts.md#null-credentials-break-downloads)",
                );
            }
            let scheme = registry.split_once("://");
            let bare = scheme.map_or(&*registry, |(_, rest)| rest);
            let key = match kind {
                "oci" => bare.split('/').next().unwrap_or(bare),
                _ => bare.rsplit('@').next().unwrap_or(bare),
            };
            state.registries.insert(key.into(), entry);
        }
    }

    fn die(&self, state: &mut State) {
        self.purge(state, 1);
        state.crash(
            "an unknown registryType ended the virtual host \
             (docs/hosts.md#unknown-registry-type-ends-otp-hosts)",
        );
    }

    fn rust_registries(&self, state: &mut State, body: Value) -> Answer {
        let bad = || Answer::now(refused("failed to deserialize registries put command"));
        let Value::Object(entries) = body else {
            return bad();
        };
        let typed = |entry: &Value| entry["registryType"].is_string();
        if !self.generation.is_g3() && !entries.values().all(typed) {
            return bad();
        }
        state.registries.extend(entries);
        Answer::now(accepted())
    }
}
