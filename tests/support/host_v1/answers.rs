//! The envelope of all answers, and what a host says about itself.

use serde_json::{Value, json};

use super::{Shared, Version};

/// What a handler answers: the words of a success with its response, or those
/// of a refusal.
pub type Answer = Result<Told, String>;

/// A success.
pub struct Told {
    pub message: String,
    pub response: Option<Value>,
}

/// Answers with a response.
pub fn with(response: Value) -> Answer {
    Ok(Told {
        message: String::new(),
        response: Some(response),
    })
}

/// Answers with this message.
pub fn done(message: impl Into<String>) -> Answer {
    Ok(Told {
        message: message.into(),
        response: None,
    })
}

/// Returns the body of an answer. `response` is left out where there is none.
pub fn envelope(answer: Answer) -> Value {
    match answer {
        Ok(Told { message, response }) => {
            let mut body = json!({ "success": true, "message": message });
            if let Some(response) = response {
                body["response"] = response;
            }
            body
        }
        Err(message) => json!({ "success": false, "message": message }),
    }
}

impl Shared {
    /// Answers with prose, which hosts have from 1.3.0 on.
    pub fn prose(&self, words: &str) -> Answer {
        done(if self.version >= Version::V130 {
            words
        } else {
            ""
        })
    }

    /// Returns its uptime in seconds, which starts at an hour and two minutes.
    fn uptime(&self) -> (u64, String) {
        let uptime = self.uptime_before + self.born.elapsed().as_secs();
        let (h, m, s) = (uptime / 3600, uptime / 60 % 60, uptime % 60);
        let parts = [(h, "h"), (m, "m"), (s, "s")].into_iter();
        let parts = parts.filter(|(number, unit)| *number > 0 || (uptime == 0 && *unit == "s"));
        let human: Vec<_> = parts.map(|(n, unit)| format!("{n}{unit}")).collect();
        (uptime, human.join(" "))
    }

    pub fn version_told(&self) -> String {
        self.told.lock().unwrap().clone()
    }

    /// Returns the response to `host.ping`.
    pub fn ping(&self) -> Value {
        let (uptime, human) = self.uptime();
        let nats = "nats://127.0.0.1:4222";
        json!({
            "id": self.id, "friendly_name": "silent-river-1021",
            "labels": self.state.lock().unwrap().labels, "lattice": self.lattice.id,
            "uptime_seconds": uptime, "uptime_human": human, "version": self.version_told(),
            "ctl_host": nats, "rpc_host": nats,
        })
    }

    /// Returns the response to `host.get`, which heartbeats repeat.
    pub fn inventory(&self) -> Value {
        let state = self.state.lock().unwrap();
        let (uptime, human) = self.uptime();
        let components = state.components.iter().map(|(id, component)| {
            let mut body = json!({
                "id": id, "image_ref": component.image_ref, "annotations": component.annotations,
                "revision": component.code.revision(), "max_instances": component.max,
            });
            if let Some(artifact) = &component.code.artifact {
                body["name"] = artifact.name.clone().into();
            }
            if self.version >= Version::V192 {
                body["limits"] = json!(component.limits);
            }
            body
        });
        // What exited stays listed.
        let providers = state.providers.iter().map(|(id, provider)| {
            let artifact = provider.artifact.as_ref();
            let mut body = json!({
                "id": id, "image_ref": provider.image_ref, "annotations": provider.annotations,
                "revision": artifact.map_or(0, |artifact| artifact.revision),
            });
            if let Some(artifact) = artifact {
                body["name"] = artifact.name.clone().into();
            }
            body
        });
        json!({
            "components": components.collect::<Vec<_>>(),
            "providers": providers.collect::<Vec<_>>(),
            "host_id": self.id, "friendly_name": "silent-river-1021", "labels": state.labels,
            "version": self.version_told(), "uptime_human": human, "uptime_seconds": uptime,
        })
    }
}
