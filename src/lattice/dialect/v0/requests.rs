//! Queries and commands to hosts: each function makes the subject and the body of one
//! request. All fail with `Internal` where a body cannot be encoded.

use serde::Serialize;

use crate::error::Error;
use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::request::Body;
use crate::lattice::dialect::v0::subject::{self, Verb};
use crate::lattice::model::{Link, TextMap};
use crate::name::{ActorId, HostId, LatticeId, LinkName, ProviderId};

pub use crate::lattice::dialect::request::{Request, encoded};

/// Tells any host to store a link.
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

/// Asks every host whether it would run an actor. `constraints` is never absent: Rust hosts
/// refuse null.
pub fn auction_actor(
    lattice: &LatticeId,
    actor_ref: &str,
    constraints: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("actor_ref", actor_ref)?
        .with("constraints", constraints)?;
    Ok(body.on(subject::auction_actor(lattice)))
}

/// Asks every host whether it would run a provider. `constraints` is never absent, as for
/// actors.
pub fn auction_provider(
    lattice: &LatticeId,
    provider_ref: &str,
    link_name: &LinkName,
    constraints: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("provider_ref", provider_ref)?
        .with("link_name", link_name.as_str())?
        .with("constraints", constraints)?;
    Ok(body.on(subject::auction_provider(lattice)))
}

/// Tells a host to start `count` more instances of an actor, at least 1: OTP hosts
/// start two for 0.
pub fn start_actor(
    lattice: &LatticeId,
    host: &HostId,
    actor_ref: &str,
    annotations: &TextMap,
    count: u16,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("actor_ref", actor_ref)?
        .annotated(annotations)?
        .with("count", &count)?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::command(lattice, host, Verb::StartActor)))
}

/// Tells a host how many instances of an actor shall run. `count` has this name on every
/// host, is 16 bits wide before 0.82, and is always there, if only as null for "without
/// limit": a missing one stops the actor on some hosts
/// (docs/hosts.md#missing-count-differs).
pub fn scale_actor(
    lattice: &LatticeId,
    host: &HostId,
    quirks: &Quirks,
    actor: Option<&ActorId>,
    actor_ref: &str,
    annotations: &TextMap,
    count: Option<u32>,
) -> Result<Request, Error> {
    let actor = actor.filter(|_| quirks.scale_names_actor);
    let body = Body::new()
        .with_some("actor_id", actor.map(ActorId::as_str).as_ref())?
        .with("actor_ref", actor_ref)?
        .annotated(annotations)?
        .with("count", &count)?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::command(lattice, host, Verb::ScaleActor)))
}

/// Tells a host to stop `count` instances of an actor, 0 for all of them. Hosts that
/// count maximums have no such member. `actor_ref` holds the public key, in spite of its
/// name.
pub fn stop_actor(
    lattice: &LatticeId,
    host: &HostId,
    actor: &ActorId,
    annotations: &TextMap,
    count: Option<u16>,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("actor_ref", actor.as_str())?
        .annotated(annotations)?
        .with_some("count", count.as_ref())?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::command(lattice, host, Verb::StopActor)))
}

/// Tells a host to exchange the code of an actor. OTP hosts do not read the key, which
/// may be empty for them.
pub fn update_actor(
    lattice: &LatticeId,
    host: &HostId,
    actor: Option<&ActorId>,
    annotations: &TextMap,
    new_actor_ref: &str,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("actor_id", actor.map_or("", ActorId::as_str))?
        .annotated(annotations)?
        .with("host_id", host.as_str())?
        .with("new_actor_ref", new_actor_ref)?;
    Ok(body.on(subject::command(lattice, host, Verb::UpdateActor)))
}

/// Tells a host to start a provider, which gets the configuration as it is.
pub fn start_provider(
    lattice: &LatticeId,
    host: &HostId,
    provider_ref: &str,
    link_name: &LinkName,
    configuration: Option<&str>,
    annotations: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .annotated(annotations)?
        .with_some("configuration", configuration.as_ref())?
        .with("host_id", host.as_str())?
        .with("link_name", link_name.as_str())?
        .with("provider_ref", provider_ref)?;
    Ok(body.on(subject::command(lattice, host, Verb::StartProvider)))
}

/// Tells a host to stop a provider. Hosts log the contract id at most. It may be empty, and
/// is never absent, because some Rust hosts may require it. `provider_ref` holds the public
/// key, in spite of its name.
pub fn stop_provider(
    lattice: &LatticeId,
    host: &HostId,
    provider: &ProviderId,
    link_name: &LinkName,
    contract_id: &str,
    annotations: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .annotated(annotations)?
        .with("contract_id", contract_id)?
        .with("host_id", host.as_str())?
        .with("link_name", link_name.as_str())?
        .with("provider_ref", provider.as_str())?;
    Ok(body.on(subject::command(lattice, host, Verb::StopProvider)))
}

/// Tells a host to stop, within so many seconds where it looks at that. `timeout` is in
/// **milliseconds** (docs/hosts.md#stop-timeout-in-milliseconds).
pub fn stop_host(
    lattice: &LatticeId,
    host: &HostId,
    seconds: Option<u64>,
) -> Result<Request, Error> {
    let timeout = seconds.map(|seconds| seconds.saturating_mul(1000));
    let body = Body::new()
        .with("host_id", host.as_str())?
        .with_some("timeout", timeout.as_ref())?;
    Ok(body.on(subject::command(lattice, host, Verb::StopHost)))
}
