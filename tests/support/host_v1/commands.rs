//! The bodies that 1.x hosts read. A member with a default may be missing, and
//! null is an error unless it is an option.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::host::running::Annotations;

#[derive(Clone, Deserialize)]
pub struct Scale {
    #[serde(default)]
    pub component_ref: String,
    pub component_id: String,
    pub annotations: Option<Annotations>,
    #[serde(default)]
    pub count: u32,
    #[serde(default)]
    pub host_id: String,
    #[serde(default)]
    pub config: Vec<String>,
    /// Read from 1.1.0 on.
    #[serde(default)]
    pub allow_update: bool,
    /// Read from 1.9.0 on.
    pub component_limits: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Deserialize)]
pub struct Update {
    #[serde(default)]
    pub component_id: String,
    #[serde(default)]
    pub new_component_ref: String,
    pub annotations: Option<Annotations>,
    #[serde(default)]
    pub host_id: String,
}

#[derive(Clone, Deserialize)]
pub struct StartProvider {
    pub provider_id: String,
    #[serde(default)]
    pub provider_ref: String,
    pub annotations: Option<Annotations>,
    #[serde(default)]
    pub host_id: String,
    #[serde(default)]
    pub config: Vec<String>,
}

#[derive(Deserialize)]
pub struct StopProvider {
    #[serde(default, alias = "provider_ref")]
    pub provider_id: String,
    #[serde(default)]
    pub host_id: String,
}

#[derive(Deserialize)]
pub struct StopHost {
    #[serde(default)]
    pub host_id: String,
    /// In milliseconds.
    pub timeout: Option<u64>,
}

#[derive(Deserialize)]
pub struct ComponentAuction {
    #[serde(default)]
    pub component_ref: String,
    pub component_id: String,
    pub constraints: BTreeMap<String, String>,
}

#[derive(Deserialize)]
pub struct ProviderAuction {
    #[serde(default)]
    pub provider_ref: String,
    pub provider_id: String,
    pub constraints: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Link {
    pub source_id: String,
    pub target: String,
    #[serde(default = "default_name")]
    pub name: String,
    pub wit_namespace: String,
    pub wit_package: String,
    pub interfaces: Vec<String>,
    #[serde(default)]
    pub source_config: Vec<String>,
    #[serde(default)]
    pub target_config: Vec<String>,
}

impl Link {
    /// Returns whether it has this source, package and name.
    pub fn is_of(&self, source: &str, namespace: &str, package: &str, name: &str) -> bool {
        self.source_id == source
            && self.wit_namespace == namespace
            && self.wit_package == package
            && self.name == name
    }

    /// Returns the named configs of both sides.
    pub fn configs(&self) -> impl Iterator<Item = &String> {
        self.source_config.iter().chain(&self.target_config)
    }
}

#[derive(Deserialize)]
pub struct DeleteLink {
    pub source_id: String,
    pub wit_namespace: String,
    pub wit_package: String,
    #[serde(default = "default_name")]
    pub name: String,
}

#[derive(Deserialize)]
pub struct Label {
    pub key: String,
    /// Required up to 1.5.0, and in `label.put`.
    pub value: Option<String>,
}

/// What a host takes for a registry. It uses a user name with a password only.
#[derive(Clone, Deserialize)]
pub struct Registry {
    pub username: Option<String>,
    pub password: Option<String>,
}

fn default_name() -> String {
    "default".into()
}

/// Reads a body, or returns the words of the refusal.
pub fn read<T: DeserializeOwned>(body: &[u8], what: &str) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|_| format!("failed to deserialize {what}"))
}
