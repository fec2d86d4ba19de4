//! Claims in the lattice. Nothing links the key in them to a component id.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::host::lattice::Artifact;
use super::Shared;

/// Claims as they are kept in the bucket, also by 0.x hosts.
#[derive(Deserialize)]
struct Stored {
    #[serde(alias = "iss")]
    issuer: String,
    name: String,
    #[serde(alias = "rev")]
    revision: String,
    #[serde(alias = "sub")]
    subject: String,
    version: String,
    /// Of components only.
    call_alias: Option<String>,
    /// Of components only: a list, or a text with commas from older hosts.
    tags: Option<Value>,
    /// Of providers only.
    config_schema: Option<String>,
}

impl Stored {
    /// Returns them as `claims.get` tells them.
    fn told(self) -> Value {
        let mut told = json!({
            "iss": self.issuer, "issuer": self.issuer, "name": self.name,
            "rev": self.revision, "revision": self.revision, "sub": self.subject,
            "subject": self.subject, "version": self.version,
        });
        match (self.call_alias, self.tags) {
            (Some(alias), Some(tags)) => {
                let list = tags.as_array().map(|tags| {
                    let tags: Vec<_> = tags.iter().filter_map(Value::as_str).collect();
                    tags.join(",")
                });
                told["call_alias"] = alias.into();
                told["tags"] = list.map_or(tags, Value::from);
            }
            _ => told["config_schema"] = self.config_schema.unwrap_or_default().into(),
        }
        told
    }
}

impl Shared {
    /// Takes claims from the bucket.
    pub fn process_claims(&self, key: &str, value: &[u8]) {
        if let Ok(stored) = serde_json::from_slice::<Stored>(value)
            && stored.subject == key
        {
            let claims = &mut self.state.lock().unwrap().claims;
            claims.insert(key.into(), stored.told());
        }
    }

    /// Writes the claims of what starts, if it has some.
    pub async fn store_claims(&self, artifact: Option<&Artifact>) {
        let Some(artifact) = artifact else {
            return;
        };
        let mut stored = json!({
            "issuer": self.lattice.issuer, "name": artifact.name,
            "revision": artifact.revision.to_string(), "subject": artifact.key,
            "version": artifact.version.clone().unwrap_or_default(),
        });
        if artifact.key.starts_with('M') {
            stored["call_alias"] = artifact.call_alias.clone().unwrap_or_default().into();
            stored["tags"] = json!([]);
        }
        let value = stored.to_string();
        self.process_claims(&artifact.key, value.as_bytes());
        let key = format!("CLAIMS_{}", artifact.key);
        self.data.put(key, value.into()).await.unwrap();
    }

    /// Returns the response to `claims.get`.
    pub fn claims(&self) -> Value {
        let state = self.state.lock().unwrap();
        state.claims.values().cloned().collect()
    }

    /// Returns claims as events have them.
    pub fn event_claims(&self, artifact: &Artifact) -> Value {
        let human = match self.version >= super::Version::V192 {
            true => "never",
            false => "TODO",
        };
        let mut claims = json!({
            "issuer": self.lattice.issuer, "name": artifact.name, "version": artifact.version,
            "not_before_human": human, "expires_human": human, "tags": null,
        });
        if artifact.key.starts_with('M') {
            claims["call_alias"] = json!(artifact.call_alias);
            claims["tags"] = json!([]);
            claims["revision"] = artifact.revision.into();
        }
        claims
    }
}
