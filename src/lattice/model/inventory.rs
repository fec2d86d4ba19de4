//! What runs on a host, as it lists it.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::lattice::model::lenient::{
    list, optional_text, optional_text_map, revision, text_map, text_or_empty,
};
use crate::lattice::model::text_map::TextMap;
use crate::name::is_same_image;

/// What runs on a host.
#[derive(Debug, Default, Deserialize)]
pub struct Inventory {
    /// Public key of the host.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub host_id: String,
    /// Labels.
    #[serde(default, deserialize_with = "text_map")]
    pub labels: TextMap,
    /// Actors. The member is required: it tells an inventory from a refusal.
    #[serde(deserialize_with = "list")]
    pub actors: Vec<Actor>,
    /// Providers.
    #[serde(default, deserialize_with = "list")]
    pub providers: Vec<Provider>,
}

impl Inventory {
    /// Tells whether a provider that `reference` means runs under a link name.
    pub fn runs_provider(&self, reference: &str, link_name: &str) -> bool {
        let mut providers = self.providers.iter();
        providers.any(|listed| listed.link_name == link_name && listed.is_named(reference))
    }

    /// Merges actors that are listed more than once: OTP up to 0.57.1 lists an actor,
    /// with all its instances, as often as it has instances
    /// (docs/hosts.md#inventory-repeats-actors).
    pub fn without_repetitions(mut self) -> Self {
        // Found by a map: a host can send very many.
        let mut places: HashMap<String, (usize, HashSet<String>)> = HashMap::new();
        let mut actors: Vec<Actor> = Vec::with_capacity(self.actors.len());
        for mut actor in self.actors {
            let ids = |actor: &Actor| {
                let ids = actor.instances.iter().map(|i| i.instance_id.clone());
                ids.collect::<HashSet<_>>()
            };
            match places.entry(actor.id.clone()) {
                Entry::Vacant(place) => {
                    place.insert((actors.len(), ids(&actor)));
                    actors.push(actor);
                }
                Entry::Occupied(mut place) => {
                    let (at, known) = place.get_mut();
                    let new = |i: &ActorInstance| {
                        i.instance_id.is_empty() || known.insert(i.instance_id.clone())
                    };
                    actor.instances.retain(new);
                    actors[*at].instances.append(&mut actor.instances);
                }
            }
        }
        self.actors = actors;
        self
    }
}

/// An actor in an inventory.
#[derive(Debug, Deserialize)]
pub struct Actor {
    /// Public key.
    pub id: String,
    /// Image reference.
    #[serde(default, deserialize_with = "optional_text")]
    pub image_ref: Option<String>,
    /// Name.
    #[serde(default, deserialize_with = "optional_text")]
    pub name: Option<String>,
    /// Instances, or one entry for each set of annotations from 0.79.1 on.
    #[serde(default, deserialize_with = "list")]
    pub instances: Vec<ActorInstance>,
}

/// An instance of an actor in an inventory, or a set of annotations from 0.79.1 on.
#[derive(Debug, Deserialize)]
pub struct ActorInstance {
    /// Id of the instance.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub instance_id: String,
    /// Revision.
    #[serde(default, deserialize_with = "revision")]
    pub revision: i32,
    /// Annotations.
    #[serde(default, deserialize_with = "optional_text_map")]
    pub annotations: Option<TextMap>,
    /// Image reference, from 0.79.1 on.
    #[serde(default, deserialize_with = "optional_text")]
    pub image_ref: Option<String>,
    /// Most instances under these annotations, from 0.79.1 to 0.81.
    #[serde(default)]
    max_concurrent: Option<u32>,
    /// Most instances under these annotations, on 0.82.
    #[serde(default)]
    max_instances: Option<u32>,
}

impl ActorInstance {
    /// Makes an entry without an id: so many may run under these annotations.
    pub fn with_maximum(maximum: u32, revision: i32, annotations: TextMap) -> Self {
        Self {
            instance_id: String::new(),
            revision,
            annotations: Some(annotations),
            image_ref: None,
            max_concurrent: None,
            max_instances: Some(maximum),
        }
    }

    /// Returns the most instances that may run under these annotations, where the host
    /// has such a number.
    pub fn maximum(&self) -> Option<u32> {
        self.max_instances.or(self.max_concurrent)
    }
}

/// A provider in an inventory.
#[derive(Debug, Deserialize)]
pub struct Provider {
    /// Public key.
    pub id: String,
    /// Link name.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub link_name: String,
    /// Image reference.
    #[serde(default, deserialize_with = "optional_text")]
    pub image_ref: Option<String>,
    /// Name.
    #[serde(default, deserialize_with = "optional_text")]
    pub name: Option<String>,
    /// Revision.
    #[serde(default, deserialize_with = "revision")]
    pub revision: i32,
    /// Annotations.
    #[serde(default, deserialize_with = "optional_text_map")]
    pub annotations: Option<TextMap>,
}

impl Provider {
    /// Tells whether `reference` means this provider: by its image reference, however
    /// that is written, or by its public key.
    pub fn is_named(&self, reference: &str) -> bool {
        let image_ref = self.image_ref.as_deref();
        self.id == reference || image_ref.is_some_and(|image| is_same_image(image, reference))
    }
}

/// An entry of an inventory: one instance, or one set of annotations.
#[derive(Clone, Copy)]
pub struct Listed<'a> {
    /// Public key of the actor.
    pub key: &'a str,
    /// Where it was started from, as the host says.
    pub image_ref: &'a str,
    /// What the host says of it.
    pub instance: &'a ActorInstance,
}

/// Iterates over every entry of an inventory.
pub fn listed(inventory: &Inventory) -> impl Iterator<Item = Listed<'_>> {
    inventory.actors.iter().flat_map(|actor| {
        actor.instances.iter().map(|instance| Listed {
            key: &actor.id,
            image_ref: instance
                .image_ref
                .as_deref()
                .or(actor.image_ref.as_deref())
                .unwrap_or_default(),
            instance,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::lenient::parse;

    #[test]
    fn repeated_actors_are_one() {
        let twice = r#"{"actors":[
            {"id":"M1","instances":[{"instance_id":"1"},{"instance_id":"2"}]},
            {"id":"M1","instances":[{"instance_id":"1"},{"instance_id":"2"}]},
            {"id":"M2","instances":[{"instance_id":"3"}]}]}"#;
        let inventory: Inventory = parse(twice.as_bytes()).unwrap();
        let actors = inventory.without_repetitions().actors;
        let counts: Vec<_> = actors.iter().map(|actor| actor.instances.len()).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn a_refusal_is_no_inventory() {
        assert!(parse::<Inventory>(br#"{"accepted":false,"error":"no"}"#).is_err());
    }
}
