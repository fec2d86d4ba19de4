//! Queries and orders to hosts of 1.x: each function makes the subject and the body of one
//! request. All fail with `Internal` where a body cannot be encoded.
//!
//! A host is chosen by the subject, and its id is in the body all the same: hosts take it
//! from there for events and for what they tell providers (docs/hosts.md#host-id-in-body).
//! No member is ever null: hosts refuse that of most.

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

/// Asks a host what runs there.
pub fn inventory(lattice: &LatticeId, host: &HostId) -> Request {
    Request::empty(subject::to_host(lattice, host, Verb::Inventory))
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

/// Tells a host to stop, within so many seconds. `timeout` is in **milliseconds**
/// (docs/hosts.md#stop-timeout-in-milliseconds).
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::lattice::dialect::v1::transcripts;

    const HOST: &str = "NBQMBNW3L3IZL2S7N7QIERCFOQCKFBQ7L5RYLJOR4MDPHBK4B2DIZI7Z";

    /// Makes one request of each kind, by what its subject ends with before the host.
    fn requests() -> Vec<(&'static str, Request)> {
        let lattice = LatticeId::parse("default").unwrap();
        let host = HostId::parse(HOST).unwrap();
        let id = ComponentId::parse("kv").unwrap();
        let (none, some) = (TextMap::new(), TextMap::from([("a".into(), "b".into())]));
        let order = Scale {
            reference: "r:1".into(),
            count: 3,
            annotations: some.clone(),
            limits: None,
        };
        let limited = Scale {
            limits: Some(some.clone()),
            annotations: none.clone(),
            ..order.clone()
        };
        let config = ConfigName::of_provider(&id, &host);
        let values = ConfigValues::parse(r#"{"k":"v"}"#).unwrap();
        vec![
            (
                "component.auction",
                auction_component(&lattice, "x", &none).unwrap(),
            ),
            (
                "provider.auction",
                auction_provider(&lattice, "x", &id, &some).unwrap(),
            ),
            (
                "component.scale",
                scale(&lattice, &host, &id, &order).unwrap(),
            ),
            (
                "component.scale",
                scale(&lattice, &host, &id, &limited).unwrap(),
            ),
            (
                "component.update",
                update(&lattice, &host, &id, "r:2", &some).unwrap(),
            ),
            (
                "provider.start",
                start_provider(&lattice, &host, &id, "r:1", Some(&config), &some).unwrap(),
            ),
            (
                "provider.start",
                start_provider(&lattice, &host, &id, "r:1", None, &none).unwrap(),
            ),
            (
                "provider.stop",
                stop_provider(&lattice, &host, &id).unwrap(),
            ),
            ("host.stop", stop_host(&lattice, &host, Some(3)).unwrap()),
            ("host.stop", stop_host(&lattice, &host, None).unwrap()),
            (
                "config.put",
                put_config(&lattice, &config, &values).unwrap(),
            ),
            (
                "registry.put",
                put_registries(&lattice, &json!({})).unwrap(),
            ),
        ]
    }

    fn body(request: &Request) -> Value {
        serde_json::from_slice(&request.body).unwrap()
    }

    #[test]
    fn bodies_have_every_member_that_hosts_need_and_no_null() {
        let bodies: Vec<Value> = requests()
            .iter()
            .map(|(_, request)| body(request))
            .collect();
        let unused = bodies[0]["component_id"].clone();
        let config = format!("kv-{HOST}");
        let expected = [
            json!({ "component_ref": "x", "component_id": unused, "constraints": {} }),
            json!({ "provider_ref": "x", "provider_id": "kv", "constraints": { "a": "b" } }),
            json!({ "component_ref": "r:1", "component_id": "kv", "count": 3,
                    "annotations": { "a": "b" }, "config": [], "host_id": HOST }),
            json!({ "component_ref": "r:1", "component_id": "kv", "count": 3, "annotations": {},
                    "config": [], "component_limits": { "a": "b" }, "host_id": HOST }),
            json!({ "component_id": "kv", "new_component_ref": "r:2",
                    "annotations": { "a": "b" }, "host_id": HOST }),
            json!({ "provider_id": "kv", "provider_ref": "r:1", "config": [config],
                    "annotations": { "a": "b" }, "host_id": HOST }),
            json!({ "provider_id": "kv", "provider_ref": "r:1", "config": [],
                    "annotations": {}, "host_id": HOST }),
            json!({ "provider_id": "kv", "host_id": HOST }),
            json!({ "host_id": HOST, "timeout": 3000 }),
            json!({ "host_id": HOST }),
            json!({ "k": "v" }),
            json!({}),
        ];
        assert_eq!(bodies, expected);
    }

    #[test]
    fn the_id_in_an_auction_of_a_component_is_one_that_nobody_has() {
        let [one, other] = [requests(), requests()].map(|mut all| body(&all.remove(0).1));
        let id = one["component_id"].as_str().unwrap();
        assert!(ComponentId::parse(id).is_ok() && id.len() == 36, "{id}");
        assert_ne!(one["component_id"], other["component_id"]);
    }

    #[test]
    fn members_have_the_types_of_those_that_real_hosts_took() {
        let taken: Vec<(String, Value)> = transcripts::exchanges()
            .into_iter()
            .filter(|exchange| exchange.reply.contains(r#""success":true"#))
            .filter_map(|exchange| {
                let (request, body) = exchange.request.split_once(" <- ")?;
                Some((request.to_owned(), serde_json::from_str(body).ok()?))
            })
            .collect();
        let kind = |value: &Value| std::mem::discriminant(value);
        let mut compared = 0;
        for (verb, request) in requests() {
            let body = body(&request);
            for (_, real) in taken.iter().filter(|(said, _)| said.contains(verb)) {
                for (name, value) in body.as_object().unwrap() {
                    if let Some(real) = real.get(name) {
                        assert_eq!(kind(value), kind(real), "{verb} {name}");
                        compared += 1;
                    }
                }
            }
        }
        assert!(compared > 50, "{compared}");
    }
}
