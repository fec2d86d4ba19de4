//! Queries and orders to hosts of 1.x: each function makes the subject and the body of one
//! request. All fail with `Internal` where a body cannot be encoded.
//!
//! A host is chosen by the subject, and its id is in the body all the same: hosts take it
//! from there for events and for what they tell providers (docs/hosts.md#host-id-in-body).
//! No member is ever null: a host refuses that.

use serde::Serialize;
use uuid::Uuid;

use crate::error::{Error, Kind};
use crate::lattice::dialect::request::{Body, Request};
use crate::lattice::dialect::v1::configs::{ConfigName, ConfigValues};
use crate::lattice::dialect::v1::plan::Scale;
use crate::lattice::dialect::v1::subject::{self, Verb};
use crate::lattice::model::TextMap;
use crate::name::{ComponentId, HostId, LatticeId};

/// No config, and never null.
const NO_CONFIG: [&str; 0] = [];

/// Asks every host what it is.
pub fn ping(lattice: &LatticeId) -> Request {
    Request::empty(subject::ping(lattice))
}

/// Asks a host what runs there.
pub fn inventory(lattice: &LatticeId, host: &HostId) -> Request {
    Request::empty(subject::to_host(lattice, host, Verb::Inventory))
}

/// Asks any host for all claims.
pub fn claims(lattice: &LatticeId) -> Request {
    Request::empty(subject::claims(lattice))
}

/// Asks every host whether it would run a component. Hosts that run it already shall bid,
/// too: the id is one that nobody has.
///
/// # Errors
/// `Internal`, also where the operating system gives no random numbers.
pub fn auction_component(
    lattice: &LatticeId,
    reference: &str,
    constraints: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("component_ref", reference)?
        .with("component_id", &unused_id()?)?
        .with("constraints", constraints)?;
    Ok(body.on(subject::auction_component(lattice)))
}

/// Makes an id that nothing has.
fn unused_id() -> Result<String, Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        let problem = "the operating system gives no random numbers for the id of an auction";
        Error::new(Kind::Internal, problem).caused_by(error)
    })?;
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    Ok(Uuid::to_string(&id))
}

/// Asks every host whether it would run a provider. A host on which something runs under
/// this id does not bid.
pub fn auction_provider(
    lattice: &LatticeId,
    reference: &str,
    id: &ComponentId,
    constraints: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("provider_ref", reference)?
        .with("provider_id", id.as_str())?
        .with("constraints", constraints)?;
    Ok(body.on(subject::auction_provider(lattice)))
}

/// Tells a host how many of a component may run at once: starts it, changes that, or stops
/// it. `config` is empty, which takes the configs of a component that was started with any
/// (docs/hosts.md#scale-takes-configuration).
pub fn scale(
    lattice: &LatticeId,
    host: &HostId,
    id: &ComponentId,
    scale: &Scale,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("component_ref", &scale.reference)?
        .with("component_id", id.as_str())?
        .with("count", &scale.count)?
        .with("annotations", &scale.annotations)?
        .with("config", &NO_CONFIG)?
        .with_some("component_limits", scale.limits.as_ref())?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::to_host(lattice, host, Verb::Scale)))
}

/// Tells a host to replace a component that runs. The annotations replace those that it
/// has (docs/hosts.md#update-replaces-annotations).
pub fn update(
    lattice: &LatticeId,
    host: &HostId,
    id: &ComponentId,
    new_reference: &str,
    annotations: &TextMap,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("component_id", id.as_str())?
        .with("new_component_ref", new_reference)?
        .with("annotations", annotations)?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::to_host(lattice, host, Verb::Update)))
}

/// Tells a host to start a provider, with this named config.
pub fn start_provider(
    lattice: &LatticeId,
    host: &HostId,
    id: &ComponentId,
    reference: &str,
    config: Option<&ConfigName>,
    annotations: &TextMap,
) -> Result<Request, Error> {
    let config: Vec<&str> = config.into_iter().map(ConfigName::as_str).collect();
    let body = Body::new()
        .with("provider_id", id.as_str())?
        .with("provider_ref", reference)?
        .with("config", &config)?
        .with("annotations", annotations)?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::to_host(lattice, host, Verb::StartProvider)))
}

/// Tells a host to stop a provider.
pub fn stop_provider(
    lattice: &LatticeId,
    host: &HostId,
    id: &ComponentId,
) -> Result<Request, Error> {
    let body = Body::new()
        .with("provider_id", id.as_str())?
        .with("host_id", host.as_str())?;
    Ok(body.on(subject::to_host(lattice, host, Verb::StopProvider)))
}

/// Tells a host to stop, within so many seconds. `timeout` is in **milliseconds**.
pub fn stop_host(
    lattice: &LatticeId,
    host: &HostId,
    seconds: Option<u64>,
) -> Result<Request, Error> {
    let timeout = seconds.map(|seconds| seconds.saturating_mul(1000));
    let body = Body::new()
        .with("host_id", host.as_str())?
        .with_some("timeout", timeout.as_ref())?;
    Ok(body.on(subject::to_host(lattice, host, Verb::StopHost)))
}

/// Tells any host to store a named config.
pub fn put_config(
    lattice: &LatticeId,
    name: &ConfigName,
    values: &ConfigValues,
) -> Result<Request, Error> {
    Request::new(subject::put_config(lattice, name), values)
}

/// Tells any host to remove a named config.
pub fn delete_config(lattice: &LatticeId, name: &ConfigName) -> Request {
    Request::empty(subject::delete_config(lattice, name))
}

/// Tells every host to use these credentials, by registry.
pub fn put_registries(lattice: &LatticeId, logins: &impl Serialize) -> Result<Request, Error> {
    Request::new(subject::put_registries(lattice), logins)
}
