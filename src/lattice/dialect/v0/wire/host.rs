//! What hosts say of themselves: pings, bids, inventories. Members by generation
//! are in the reference, sections 1.3 and 1.4.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use serde::Deserialize;

use crate::lattice::dialect::v0::wire::{
    TextMap, list, optional_text, optional_text_map, revision, seconds, text_map, text_or_empty,
};
use crate::name::is_same_image;

/// Answer to `ping.hosts`. OTP up to 0.54 sends only `id`, `uptime_seconds` and
/// `friendly_name`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Public key of the host.
    #[serde(deserialize_with = "text_or_empty")]
    pub id: String,
    /// Seconds since it started.
    #[serde(deserialize_with = "seconds")]
    pub uptime_seconds: u64,
    /// The same for people.
    #[serde(deserialize_with = "optional_text")]
    pub uptime_human: Option<String>,
    /// Labels.
    #[serde(deserialize_with = "optional_text_map")]
    pub labels: Option<TextMap>,
    /// Name that the host makes up when it starts; OTP up to 0.51.4 has none.
    #[serde(deserialize_with = "optional_text")]
    pub friendly_name: Option<String>,
    /// Version of the host software.
    #[serde(deserialize_with = "optional_text")]
    pub version: Option<String>,
    /// Issuers it accepts, separated by commas.
    #[serde(deserialize_with = "optional_text")]
    pub cluster_issuers: Option<String>,
    /// JetStream domain.
    #[serde(deserialize_with = "optional_text")]
    pub js_domain: Option<String>,
    /// Control NATS: a host name (OTP) or a URL (Rust).
    #[serde(deserialize_with = "optional_text")]
    pub ctl_host: Option<String>,
    /// Provider NATS.
    #[serde(deserialize_with = "optional_text")]
    pub prov_rpc_host: Option<String>,
    /// RPC NATS.
    #[serde(deserialize_with = "optional_text")]
    pub rpc_host: Option<String>,
    /// Lattice id, up to 0.82.
    #[serde(deserialize_with = "optional_text")]
    pub lattice_prefix: Option<String>,
    /// Lattice id, from 0.82 on.
    #[serde(deserialize_with = "optional_text")]
    pub lattice: Option<String>,
}

impl Host {
    /// Whether this and another answer with the same id are of two hosts. One
    /// host may be heard twice: a cluster may deliver a ping, or its answer, more
    /// than once.
    pub fn is_another_than(&self, other: &Self) -> bool {
        /// Seconds between two answers of one host to one ping, at most.
        const APART: u64 = 5;
        self.friendly_name != other.friendly_name
            || self.version != other.version
            || self.labels != other.labels
            || self.uptime_seconds.abs_diff(other.uptime_seconds) > APART
    }
}

/// Answer of a 1.x host to `host.ping`, as far as it matters: that it came.
#[derive(Debug, Default, Deserialize)]
pub struct V1Ping {
    /// What the envelope holds.
    #[serde(default)]
    pub response: Host,
}

/// Answer to an auction. The host echoes the question; only who bids matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Bid {
    /// Public key of the host that bids.
    #[serde(deserialize_with = "text_or_empty")]
    pub host_id: String,
}

/// Answer to `get.{host}.inv`.
#[derive(Debug, Default, Deserialize)]
pub struct Inventory {
    /// Public key of the host.
    #[serde(default, deserialize_with = "text_or_empty")]
    pub host_id: String,
    /// Labels.
    #[serde(default, deserialize_with = "text_map")]
    pub labels: TextMap,
    /// Actors. Required: it tells an inventory from a refusal.
    #[serde(deserialize_with = "list")]
    pub actors: Vec<Actor>,
    /// Providers.
    #[serde(default, deserialize_with = "list")]
    pub providers: Vec<Provider>,
}

impl Inventory {
    /// Each actor once: OTP up to 0.57.1 repeats it, with all its instances, for
    /// each of its instances (trap T26).
    pub fn without_repetitions(mut self) -> Self {
        // By name, not by looking through the others: a host can send many.
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
    /// Instances (G1, G2a), or one entry per set of annotations (G2b).
    #[serde(default, deserialize_with = "list")]
    pub instances: Vec<ActorInstance>,
}

/// An instance of an actor in an inventory.
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
    /// Image reference (G2b, G3).
    #[serde(default, deserialize_with = "optional_text")]
    pub image_ref: Option<String>,
    /// Maximum under these annotations (G2b, 0.81); 65535 is without limit.
    #[serde(default)]
    max_concurrent: Option<u32>,
    /// The same on 0.82.
    #[serde(default)]
    max_instances: Option<u32>,
}

impl ActorInstance {
    /// The maximum under these annotations, on hosts that keep one.
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
    /// Whether this is what `reference` names: an image reference, however it is
    /// written, or the public key.
    pub fn is_named(&self, reference: &str) -> bool {
        let image_ref = self.image_ref.as_deref();
        self.id == reference || image_ref.is_some_and(|image| is_same_image(image, reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::dialect::v0::wire::parse;

    #[test]
    fn one_odd_member_does_not_cost_the_host() {
        let ping: Host = parse(
            br#"{"id":"N1","labels":{"a":"1","b":2,"c":null},"uptime_seconds":-1.5,
                "version":null,"js_domain":null,"unknown":[1]}"#,
        )
        .unwrap();
        assert_eq!(ping.id, "N1");
        assert_eq!(ping.uptime_seconds, 0);
        let labels = ping.labels.unwrap();
        assert_eq!(labels.len(), 2);
        assert_eq!(labels["b"], "2");
        assert_eq!(ping.version, None);
    }

    #[test]
    fn one_host_that_is_heard_twice_is_not_two() {
        let ping = |name: &str, uptime: u64| -> Host {
            let text =
                format!(r#"{{"id":"N1","friendly_name":"{name}","uptime_seconds":{uptime}}}"#);
            parse(text.as_bytes()).unwrap()
        };
        assert!(!ping("a", 10).is_another_than(&ping("a", 10)));
        assert!(!ping("a", 10).is_another_than(&ping("a", 11)));
        assert!(ping("a", 10).is_another_than(&ping("b", 10)));
        assert!(ping("a", 10).is_another_than(&ping("a", 70)));
    }

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
