//! The actors and providers of one host.

use std::collections::BTreeMap;

use serde_json::Value;

pub type Annotations = BTreeMap<String, String>;

/// What runs on a host.
#[derive(Default)]
pub struct State {
    pub actors: Vec<Actor>,
    pub providers: Vec<Provider>,
    /// Registries it has credentials for.
    pub registries: BTreeMap<String, Value>,
    /// What a request did to it that no request should.
    pub harm: Option<&'static str>,
    /// Its control interface is gone.
    pub crashed: bool,
    /// It was told to stop.
    pub stopped: bool,
    next: u64,
}

pub struct Actor {
    pub key: String,
    pub image_ref: String,
    pub name: String,
    pub revision: i64,
    /// Running instances; on G2b one for each set of annotations, with `max`.
    pub instances: Vec<Instance>,
}

#[derive(Clone)]
pub struct Instance {
    pub id: String,
    pub annotations: Annotations,
    pub revision: i64,
    pub max: u64,
    pub image_ref: String,
}

pub struct Provider {
    pub key: String,
    pub image_ref: String,
    pub name: String,
    pub contract_id: String,
    pub revision: i64,
    pub link_name: String,
    pub annotations: Annotations,
    pub configuration: Option<String>,
}

impl State {
    /// Whether it answers nothing more.
    pub fn ended(&self) -> bool {
        self.crashed || self.stopped
    }

    /// A request ends its control interface.
    pub fn crash(&mut self, harm: &'static str) {
        self.harm = Some(harm);
        self.crashed = true;
    }

    /// The actor with this key.
    pub fn actor(&mut self, key: &str) -> Option<&mut Actor> {
        self.actors.iter_mut().find(|actor| actor.key == key)
    }

    /// Forgets actors without instances.
    pub fn tidy(&mut self) {
        self.actors.retain(|actor| !actor.instances.is_empty());
    }

    /// Running instances of an actor, whatever the generation calls them.
    pub fn instances(&self, key: &str) -> usize {
        let actors = self.actors.iter().filter(|actor| actor.key == key);
        actors
            .flat_map(|actor| &actor.instances)
            .map(|instance| instance.max as usize)
            .sum()
    }

    /// Id for a new instance.
    pub fn instance_id(&mut self) -> String {
        self.next += 1;
        format!("01a20285-2baa-7ddf-c72e-{:012x}", self.next)
    }
}

/// Annotations in a request: absent, null and empty are the same.
pub fn annotations(body: &Value) -> Annotations {
    let members = body["annotations"].as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Whether `all` holds every pair of `some`.
pub fn contains(all: &Annotations, some: &Annotations) -> bool {
    some.iter()
        .all(|(name, value)| all.get(name) == Some(value))
}
