//! Named configs, registry credentials and labels.

use std::collections::BTreeMap;

use serde_json::json;

use super::answers::{Answer, done, with};
use super::commands::{Label, Registry, read};
use super::{Shared, Version};

const IN_USE: &str = "a named config was removed that something runs with";

impl Shared {
    /// Answers `config.put`.
    pub async fn put_config(&self, name: &str, body: &[u8]) -> Answer {
        if serde_json::from_slice::<BTreeMap<String, String>>(body).is_err() {
            return Err("config data should be a map of string -> string".into());
        }
        let put = self.config.put(name, body.to_vec().into()).await;
        put.map_err(|_| "unable to store config data".to_owned())?;
        self.publish("config_set", json!({ "config_name": name }))
            .await;
        self.prose("successfully put config")
    }

    /// Answers `config.get`.
    pub async fn get_config(&self, name: &str) -> Answer {
        match self.named_config(name).await {
            Some(config) => with(json!(config)),
            None => done("Configuration not found"),
        }
    }

    /// Answers `config.del`, also for one that is not there. What runs with it
    /// gets an empty configuration.
    pub async fn remove_config(&self, name: &str) -> Answer {
        let used = {
            let state = self.state.lock().unwrap();
            let components = state.components.values().map(|c| &c.config);
            let providers = state.providers.values().map(|p| &p.config);
            let links = state.links.values().flatten();
            let mut names = components
                .chain(providers)
                .flatten()
                .chain(links.flat_map(|link| link.configs()));
            names.any(|used| used == name)
        };
        if used {
            self.hurt(IN_USE);
        }
        let removed = self.config.purge(name).await;
        removed.map_err(|_| "Unable to delete config data".to_owned())?;
        self.publish("config_deleted", json!({ "config_name": name }))
            .await;
        self.prose("successfully deleted config")
    }

    /// Answers `registry.put`: entries get the new login, others stay.
    pub fn put_registries(&self, body: &[u8]) -> Answer {
        let entries: BTreeMap<String, Registry> = read(body, "registries put command")?;
        self.state.lock().unwrap().registries.extend(entries);
        self.prose("successfully put registries")
    }

    /// Answers `label.put`.
    pub async fn put_label(&self, body: &[u8]) -> Answer {
        let words = "failed to deserialize put label request";
        let label: Label = read(body, "put label request")?;
        let value = label.value.ok_or(words)?;
        let fixed = label.key.to_lowercase().starts_with("hostcore.");
        if fixed && self.version >= Version::V192 {
            return Err("hostcore.* labels cannot be set dynamically".into());
        }
        self.state.lock().unwrap().labels.insert(label.key, value);
        self.say_labels().await;
        self.prose("successfully put label")
    }

    /// Answers `label.del`.
    pub async fn remove_label(&self, body: &[u8]) -> Answer {
        let label: Label = read(body, "delete label request")?;
        if label.value.is_none() && self.version <= Version::V150 {
            return Err("failed to deserialize delete label request".into());
        }
        let removed = self.state.lock().unwrap().labels.remove(&label.key);
        if removed.is_none() {
            return self.prose("successfully deleted label (no such label)");
        }
        self.say_labels().await;
        self.prose("successfully deleted label")
    }

    async fn say_labels(&self) {
        let labels = self.state.lock().unwrap().labels.clone();
        let data = json!({ "host_id": self.id, "labels": labels });
        self.publish("labels_changed", data).await;
    }
}
