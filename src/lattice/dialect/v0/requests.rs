//! What hosts are asked and told: each function makes the subject and the body of one
//! request. The bodies are exact, as opposed to those that are read.

use async_nats::Subject;
use bytes::Bytes;
use serde::{Serialize, Serializer};

use crate::error::{Error, Kind};
use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::v0::subject::{self, Verb};
use crate::lattice::model::{Link, TextMap};
use crate::name::{ActorId, HostId, LatticeId, LinkName, ProviderId};

/// A message for hosts that expects a reply.
pub struct Request {
    /// Where it is published.
    pub subject: Subject,
    /// What it says.
    pub body: Bytes,
}

impl Request {
    fn empty(subject: Subject) -> Self {
        Self {
            subject,
            body: Bytes::new(),
        }
    }

    fn new(subject: Subject, body: &impl Serialize) -> Result<Self, Error> {
        Ok(Self {
            subject,
            body: encoded(body)?,
        })
    }

    fn command(
        lattice: &LatticeId,
        host: &HostId,
        verb: Verb,
        body: &impl Serialize,
    ) -> Result<Self, Error> {
        Self::new(subject::command(lattice, host, verb), body)
    }
}

/// Encodes a body as JSON.
///
/// # Errors
/// `Internal`.
pub fn encoded(body: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| Error::new(Kind::Internal, format!("body not encoded: {error}")))
}

/// Asks every host what it is.
pub fn ping(lattice: &LatticeId) -> Request {
    Request::empty(subject::ping(lattice))
}

/// Asks every 1.x host what it is; nothing else is asked of those.
pub fn ping_v1(lattice: &LatticeId) -> Request {
    Request::empty(subject::ping_v1(lattice))
}

/// Asks a host what runs on it.
pub fn inventory(lattice: &LatticeId, host: &HostId) -> Request {
    Request::empty(subject::inventory(lattice, host))
}

/// Asks any host for all claims.
pub fn claims(lattice: &LatticeId) -> Request {
    Request::empty(subject::claims(lattice))
}

/// Asks any host for all links.
pub fn links(lattice: &LatticeId) -> Request {
    Request::empty(subject::links(lattice))
}

/// Tells any host to store a link.
///
/// # Errors
/// `Internal`, as all functions here.
pub fn put_link(lattice: &LatticeId, link: &Link) -> Result<Request, Error> {
    Request::new(subject::put_link(lattice), link)
}

/// Tells any host to remove a link.
pub fn remove_link(lattice: &LatticeId, link: &Link) -> Result<Request, Error> {
    Request::new(subject::remove_link(lattice), link)
}

/// Tells every host to use these credentials, by registry.
pub fn put_registries(lattice: &LatticeId, logins: &impl Serialize) -> Result<Request, Error> {
    Request::new(subject::registries(lattice), logins)
}

/// Asks every host whether it would run an actor.
pub fn auction_actor(
    lattice: &LatticeId,
    actor_ref: &str,
    constraints: &TextMap,
) -> Result<Request, Error> {
    /// `constraints` is never absent: Rust hosts refuse null.
    #[derive(Serialize)]
    struct Auction<'a> {
        actor_ref: &'a str,
        constraints: &'a TextMap,
    }
    let body = Auction {
        actor_ref,
        constraints,
    };
    Request::new(subject::auction_actor(lattice), &body)
}

/// Asks every host whether it would run a provider.
pub fn auction_provider(
    lattice: &LatticeId,
    provider_ref: &str,
    link_name: &LinkName,
    constraints: &TextMap,
) -> Result<Request, Error> {
    /// `constraints` is never absent: Rust hosts refuse null.
    #[derive(Serialize)]
    struct Auction<'a> {
        provider_ref: &'a str,
        #[serde(serialize_with = "display")]
        link_name: &'a LinkName,
        constraints: &'a TextMap,
    }
    let body = Auction {
        provider_ref,
        link_name,
        constraints,
    };
    Request::new(subject::auction_provider(lattice), &body)
}

/// Tells a host to start `count` more instances of an actor, at least 1: OTP hosts
/// start two for 0.
pub fn start_actor(
    lattice: &LatticeId,
    host_id: &HostId,
    actor_ref: &str,
    annotations: &TextMap,
    count: u16,
) -> Result<Request, Error> {
    #[derive(Serialize)]
    struct Start<'a> {
        actor_ref: &'a str,
        #[serde(skip_serializing_if = "TextMap::is_empty")]
        annotations: &'a TextMap,
        count: u16,
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
    }
    let body = Start {
        actor_ref,
        annotations,
        count,
        host_id,
    };
    Request::command(lattice, host_id, Verb::StartActor, &body)
}

/// Tells a host how many instances of an actor shall run. Without a count, some hosts
/// take it for "without limit".
pub fn scale_actor(
    lattice: &LatticeId,
    host_id: &HostId,
    quirks: &Quirks,
    actor: Option<&ActorId>,
    actor_ref: &str,
    annotations: &TextMap,
    count: Option<u32>,
) -> Result<Request, Error> {
    /// `count` has this name on every host, and is always there: a missing one stops
    /// the actor on some hosts (trap T21). It is 16 bits wide before 0.82.
    #[derive(Serialize)]
    struct Scale<'a> {
        #[serde(
            skip_serializing_if = "Option::is_none",
            serialize_with = "display_some"
        )]
        actor_id: Option<&'a ActorId>,
        actor_ref: &'a str,
        #[serde(skip_serializing_if = "TextMap::is_empty")]
        annotations: &'a TextMap,
        count: Option<u32>,
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
    }
    let body = Scale {
        actor_id: actor.filter(|_| quirks.scale_names_actor),
        actor_ref,
        annotations,
        count,
        host_id,
    };
    Request::command(lattice, host_id, Verb::ScaleActor, &body)
}

/// Tells a host to stop `count` instances of an actor, 0 for all of them. Hosts that
/// count maximums have no such member.
pub fn stop_actor(
    lattice: &LatticeId,
    host_id: &HostId,
    actor: &ActorId,
    annotations: &TextMap,
    count: Option<u16>,
) -> Result<Request, Error> {
    /// `actor_ref` holds the public key, in spite of its name.
    #[derive(Serialize)]
    struct Stop<'a> {
        #[serde(serialize_with = "display")]
        actor_ref: &'a ActorId,
        #[serde(skip_serializing_if = "TextMap::is_empty")]
        annotations: &'a TextMap,
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u16>,
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
    }
    let body = Stop {
        actor_ref: actor,
        annotations,
        count,
        host_id,
    };
    Request::command(lattice, host_id, Verb::StopActor, &body)
}

/// Tells a host to exchange the code of an actor. OTP hosts do not read the key, which
/// may be empty for them.
pub fn update_actor(
    lattice: &LatticeId,
    host_id: &HostId,
    actor: Option<&ActorId>,
    annotations: &TextMap,
    new_actor_ref: &str,
) -> Result<Request, Error> {
    #[derive(Serialize)]
    struct Update<'a> {
        actor_id: &'a str,
        #[serde(skip_serializing_if = "TextMap::is_empty")]
        annotations: &'a TextMap,
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
        new_actor_ref: &'a str,
    }
    let body = Update {
        actor_id: actor.map_or("", ActorId::as_str),
        annotations,
        host_id,
        new_actor_ref,
    };
    Request::command(lattice, host_id, Verb::UpdateActor, &body)
}

/// Tells a host to start a provider, which gets the configuration as it is.
pub fn start_provider(
    lattice: &LatticeId,
    host_id: &HostId,
    provider_ref: &str,
    link_name: &LinkName,
    configuration: Option<&str>,
    annotations: &TextMap,
) -> Result<Request, Error> {
    #[derive(Serialize)]
    struct Start<'a> {
        #[serde(skip_serializing_if = "TextMap::is_empty")]
        annotations: &'a TextMap,
        #[serde(skip_serializing_if = "Option::is_none")]
        configuration: Option<&'a str>,
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
        #[serde(serialize_with = "display")]
        link_name: &'a LinkName,
        provider_ref: &'a str,
    }
    let body = Start {
        annotations,
        configuration,
        host_id,
        link_name,
        provider_ref,
    };
    Request::command(lattice, host_id, Verb::StartProvider, &body)
}

/// Tells a host to stop a provider. Hosts log the contract id at most; it may be empty.
pub fn stop_provider(
    lattice: &LatticeId,
    host_id: &HostId,
    provider: &ProviderId,
    link_name: &LinkName,
    contract_id: &str,
    annotations: &TextMap,
) -> Result<Request, Error> {
    /// `provider_ref` holds the public key, in spite of its name. `contract_id` is never
    /// absent: some Rust hosts may require the member.
    #[derive(Serialize)]
    struct Stop<'a> {
        #[serde(skip_serializing_if = "TextMap::is_empty")]
        annotations: &'a TextMap,
        contract_id: &'a str,
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
        #[serde(serialize_with = "display")]
        link_name: &'a LinkName,
        #[serde(serialize_with = "display")]
        provider_ref: &'a ProviderId,
    }
    let body = Stop {
        annotations,
        contract_id,
        host_id,
        link_name,
        provider_ref: provider,
    };
    Request::command(lattice, host_id, Verb::StopProvider, &body)
}

/// Tells a host to stop, within so many seconds where it looks at that.
pub fn stop_host(
    lattice: &LatticeId,
    host_id: &HostId,
    seconds: Option<u64>,
) -> Result<Request, Error> {
    /// `timeout` is in **milliseconds** (trap T4).
    #[derive(Serialize)]
    struct Stop<'a> {
        #[serde(serialize_with = "display")]
        host_id: &'a HostId,
        #[serde(skip_serializing_if = "Option::is_none")]
        timeout: Option<u64>,
    }
    let body = Stop {
        host_id,
        timeout: seconds.map(|seconds| seconds.saturating_mul(1000)),
    };
    Request::command(lattice, host_id, Verb::StopHost, &body)
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, output: S) -> Result<S::Ok, S::Error> {
    output.collect_str(value)
}

fn display_some<T: std::fmt::Display, S: Serializer>(
    value: &Option<T>,
    output: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => output.collect_str(value),
        None => output.serialize_none(),
    }
}
