//! What one host keeps, and what really runs there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::super::host::lattice::Artifact;
use super::super::host::running::Annotations;
use super::commands::{Link, Registry};

#[derive(Default)]
pub struct State {
    /// The table of components, by id.
    pub components: BTreeMap<String, Component>,
    /// What updates left behind: it is in no table and answers calls until the
    /// host ends.
    pub left: Vec<(String, Component)>,
    /// The table of providers, by id.
    pub providers: BTreeMap<String, Provider>,
    /// The links of each source, as far as it has followed the bucket.
    pub links: BTreeMap<String, Vec<Link>>,
    /// The claims that it knows, by key, as `claims.get` tells them.
    pub claims: BTreeMap<String, Value>,
    pub registries: BTreeMap<String, Registry>,
    pub labels: BTreeMap<String, String>,
    /// The first harm that a request did to it.
    pub harm: Option<&'static str>,
    /// Whether it was told to stop.
    pub stopped: bool,
    /// The time limit of its stop.
    pub ends_within: Option<Duration>,
}

/// Code from a registry.
#[derive(Clone)]
pub struct Code {
    /// The reference that it was fetched from.
    pub image_ref: String,
    /// Its claims; unsigned code has none.
    pub artifact: Option<Artifact>,
}

impl Code {
    /// Returns its revision, 0 without claims.
    pub fn revision(&self) -> i64 {
        self.artifact.as_ref().map_or(0, |a| a.revision)
    }
}

/// A component in the table.
#[derive(Clone)]
pub struct Component {
    /// The code that later scales instantiate.
    pub code: Code,
    /// The reference that the inventory has, whatever runs.
    pub image_ref: String,
    pub annotations: Annotations,
    /// The names of its configs.
    pub config: Vec<String>,
    pub limits: Option<BTreeMap<String, String>>,
    pub max: u32,
    /// Whether calls reach it.
    pub heard: bool,
}

/// A provider in the table.
pub struct Provider {
    /// The reference that the inventory has.
    pub image_ref: String,
    pub artifact: Option<Artifact>,
    pub annotations: Annotations,
    /// The names of its configs.
    pub config: Vec<String>,
    /// Whether its process is there.
    pub alive: bool,
}

impl State {
    /// Returns all of a component that answers calls, listed or not.
    pub fn running(&self, id: &str) -> Vec<&Component> {
        let listed = self.components.get(id).into_iter();
        let left = self.left.iter().filter(|(of, _)| of == id);
        listed
            .chain(left.map(|(_, component)| component))
            .filter(|component| component.heard)
            .collect()
    }
}
