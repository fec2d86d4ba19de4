//! Anything that comes from a lattice is read or passed over, at a bounded
//! cost: answers of hosts of every generation, events, and entries of the
//! bucket.

use std::collections::BTreeSet;
use std::time::Duration;

use lattice_controller::internals::controller::hosts::described;
use lattice_controller::internals::lattice::dialect::Dialect;
use lattice_controller::internals::lattice::dialect::quirks::Quirks;
use lattice_controller::internals::lattice::dialect::v0::events;
use lattice_controller::internals::lattice::dialect::v0::plan::{self, Command};
use lattice_controller::internals::lattice::dialect::v0::replies::{
    self, Ack, Bid, ClaimsReply, LinksReply,
};
use lattice_controller::internals::lattice::dialect::v1;
use lattice_controller::internals::lattice::gather::{Harvest, Reply};
use lattice_controller::internals::lattice::model::lenient::parse;
use lattice_controller::internals::lattice::model::{
    ActorInstance, Claims, FromHost, Host, Inventory, Link, Protocol, Running, TextMap,
};
use lattice_controller::internals::lattice::roster::Roster;
use lattice_controller::internals::name::{ComponentId, HostId};
use nkeys::KeyPairType;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Versions of hosts that differ, and a text that is no version.
const VERSIONS: [Option<&str>; 9] = [
    None,
    Some("0.57.1"),
    Some("0.63.0"),
    Some("0.78.0"),
    Some("0.79.2"),
    Some("0.81.0"),
    Some("0.82.0"),
    Some("1.0.0"),
    Some("nightly"),
];

/// Checks the promise. The input is the body of a message.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    read::<Host>(input);
    read::<v1::replies::Pong>(input);
    read::<v1::replies::Bid>(input);
    read::<v1::replies::InventoryReply>(input);
    read::<v1::replies::ClaimsReply>(input);
    read::<Bid>(input);
    read::<Link>(input);
    read::<LinksReply>(input);
    read::<Claims>(input);
    read::<ClaimsReply>(input);
    match Ack::parse(input) {
        Ok(Ack::Accepted) => {}
        Ok(Ack::Refused(words)) => super::check_message(&words, 1001),
        Err(problem) => super::check_message(&problem.to_string(), 300),
    }
    assert_eq!(
        replies::refusal(input).is_some(),
        matches!(Ack::parse(input), Ok(Ack::Refused(_)))
    );
    match v1::replies::Ack::parse(input) {
        Ok(v1::replies::Ack::Accepted) => {}
        Ok(v1::replies::Ack::OtherCode(words) | v1::replies::Ack::Refused(words)) => {
            super::check_message(&words, 1001);
        }
        Err(problem) => super::check_message(&problem.to_string(), 300),
    }
    check_lists(input);
    if let Some(event) = v1::events::read(input) {
        let _ = HostId::parse(&event.host);
    }
    if let Ok(v1::replies::InventoryReply(inventory)) = parse(input) {
        check_v1_inventory(input, inventory);
    }
    if let Some(event) = events::read(input) {
        let _ = HostId::parse(&event.host);
    }
    for protocol in [Protocol::V0, Protocol::V1] {
        take(|| Reply::to_auction(input, protocol));
        take(|| Reply::to_ping(input, protocol));
    }
    let pings = take(|| Reply::to_ping(input, Protocol::V0));
    let roster = Roster::default();
    for answer in &pings.answers {
        roster.note_ping_reply(&answer.host, &answer.said, Duration::from_secs(3));
        assert!(roster.knows(&answer.host));
        assert_eq!(roster.labels(&answer.host), answer.said.labels);
    }
    if let Ok(inventory) = parse::<Inventory>(input) {
        check_inventory(input, inventory);
    }
}

/// A list is never read as one of these, whatever is in it.
fn check_lists(input: &[u8]) {
    let list = [b"[", input, b"]"].concat();
    assert!(parse::<Host>(&list).is_err());
    assert!(parse::<v1::replies::Pong>(&list).is_err());
    assert!(parse::<v1::replies::Bid>(&list).is_err());
    assert!(parse::<v1::replies::InventoryReply>(&list).is_err());
    assert!(parse::<v1::replies::ClaimsReply>(&list).is_err());
    assert!(v1::replies::Ack::parse(&list).is_err());
    assert!(v1::events::read(&list).is_none());
    assert!(parse::<Bid>(&list).is_err());
    assert!(parse::<Inventory>(&list).is_err());
    assert!(parse::<Link>(&list).is_err());
    assert!(parse::<LinksReply>(&list).is_err());
    assert!(parse::<Claims>(&list).is_err());
    assert!(parse::<ClaimsReply>(&list).is_err());
    assert!(Ack::parse(&list).is_err());
    assert!(events::read(&list).is_none());
    if serde_json::from_slice::<IgnoredAny>(&list).is_ok() {
        let reply = [br#"{"links":["#, &list[..], b"]}"].concat();
        let links = parse::<LinksReply>(&reply).map(|reply| reply.links);
        // Or it is not readable at all: it may hold numbers that are out of
        // range.
        assert!(links.map_or(true, |links| links.is_empty()));
    }
}

fn read<'a, T: Deserialize<'a>>(input: &'a [u8]) {
    if let Err(problem) = parse::<T>(input) {
        super::check_message(&problem.to_string(), 300);
    }
}

/// Every message is counted once, in one way.
fn take<T: FromHost>(read: impl Fn() -> Reply<T>) -> Harvest<T> {
    let mut harvest = Harvest::<T>::default();
    let counts = harvest.take(read(), Duration::ZERO);
    assert_eq!(counts, harvest.answers.len() == 1);
    assert!(!harvest.take(read(), Duration::ZERO), "counted twice");
    let all = harvest.answers.len() + harvest.refusals + harvest.unreadable + harvest.duplicates;
    assert_eq!(all, 2);
    harvest
}

fn check_inventory(input: &[u8], inventory: Inventory) {
    let listed: usize = inventory
        .actors
        .iter()
        .map(|actor| actor.instances.len())
        .sum();
    let inventory = inventory.without_repetitions();
    let left: usize = inventory
        .actors
        .iter()
        .map(|actor| actor.instances.len())
        .sum();
    assert!(left <= listed);
    for version in VERSIONS {
        let Some(quirks) = Dialect::of_version(Protocol::V0, version).quirks() else {
            continue;
        };
        let keys = inventory.actors.iter().map(|actor| actor.id.as_str());
        for key in keys.collect::<BTreeSet<_>>().into_iter().take(3) {
            let running = plan::running(quirks, &inventory, key);
            assert!(running.groups.len() <= left);
            for (at, group) in running.groups.iter().enumerate().take(3) {
                let before = &running.groups[..at];
                assert!(!before.iter().any(|g| g.annotations == group.annotations));
                check_plans(quirks, &running, &group.annotations);
            }
            check_plans(quirks, &running, &TextMap::new());
        }
    }
    let host = HostId::parse(&super::key(KeyPairType::Server).public_key()).unwrap();
    let newest = Dialect::of_version(Protocol::V0, Some("0.82.0"));
    let answer = described(&host, &newest, inventory);
    let bytes = rmp_serde::to_vec_named(&answer).unwrap().len();
    let most = 32 * 1024 * 1024 + 20 * input.len();
    assert!(bytes <= most, "{bytes} bytes of {}", input.len());
}

/// What a 1.x host lists is decided on, and is shown as actors and providers.
fn check_v1_inventory(input: &[u8], inventory: v1::inventory::Inventory) {
    use v1::plan;
    let shop = ComponentId::parse("shop").unwrap();
    for component in inventory.components.iter().take(3) {
        let running = Some(component);
        for count in [0, 1, u16::MAX] {
            let (reference, annotations) = (&component.image_ref, &component.annotations);
            let _ = plan::start(running, reference, count, annotations);
            let _ = plan::scale(running, reference, count, annotations);
            let _ = plan::stop(&shop, running, count, annotations);
        }
        let _ = v1::ids::of_component(&v1::ids::IdsByRepository::new(), &component.image_ref);
    }
    let (components, providers) = (inventory.components.len(), inventory.providers.len());
    let shown = inventory.into_model("N1");
    assert_eq!(
        (shown.actors.len(), shown.providers.len()),
        (components, providers)
    );
    check_inventory(input, shown);
}

fn check_plans(quirks: &Quirks, running: &Running, wanted: &TextMap) {
    let first = running.groups.first();
    let image_ref = first.map_or("", |group| &group.image_ref);
    for count in [0, 1, 7, u16::MAX] {
        let plans = [
            plan::start(quirks, running, wanted, count.max(1), image_ref),
            plan::scale(quirks, running, wanted, count, image_ref),
            plan::stop(quirks, running, wanted, count),
            plan::update(quirks, running, wanted, image_ref),
        ];
        let commands = plans.into_iter().flatten().flat_map(|plan| plan.commands);
        for command in commands.take(20) {
            // Where a host gets 0, it stops everything, or starts two
            // (docs/hosts.md#count-zero-is-not-one).
            let zero = matches!(command, Command::Start { count: 0, .. });
            assert!(!zero, "{command:?}");
            let _ = plan::effect(quirks, running, &command);
        }
    }
    let _ = plan::replace(quirks, &running.groups, image_ref);
}

/// Returns an inventory of so many actors, with so many instances of one.
pub fn crowd(instances: usize) -> Vec<u8> {
    let host = super::key(KeyPairType::Server).public_key();
    let instance = |number: usize| {
        serde_json::json!({ "instance_id": number.to_string(), "max_instances": 1000,
                            "annotations": { "a": number.to_string() } })
    };
    let actors: Vec<_> = (0..instances)
        .map(|number| serde_json::json!({ "id": number.to_string(), "instances": [] }))
        .chain([serde_json::json!({
            "id": "M1", "instances": (0..instances).map(instance).collect::<Vec<_>>()
        })])
        .collect();
    serde_json::json!({ "host_id": host, "actors": actors })
        .to_string()
        .into_bytes()
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let _: fn(&ActorInstance) -> Option<u32> = ActorInstance::maximum;
    let host = super::key(KeyPairType::Server).public_key();
    let bodies = [
        serde_json::json!({ "id": host, "uptime_seconds": 1e300, "version": "0.82.0",
                            "labels": { "a": 1, "b": "c" } }),
        serde_json::json!({ "success": true, "response": { "id": host } }),
        serde_json::json!({ "success": true, "message": "ok", "response": {
            "components": [{ "id": "shop", "image_ref": "r:1", "max_instances": u32::MAX }],
            "providers": [{ "id": "kv", "annotations": { "a": "b" } }] } }),
        serde_json::json!({ "success": true, "response": [{ "sub": "M1", "tags": "a" }] }),
        serde_json::json!({ "success": false, "message": "x".repeat(1500) }),
        serde_json::json!({ "accepted": false, "error": "x".repeat(1500) }),
        serde_json::json!({ "host_id": host }),
        serde_json::json!([true, ""]),
        serde_json::json!(["M1", "V1", "default", "c", {}]),
        serde_json::json!([host, {}, [], []]),
    ];
    let bodies = bodies.iter().map(|body| body.to_string().into_bytes());
    super::fixtures()
        .into_iter()
        .chain(bodies)
        .chain([crowd(3)])
        .collect()
}
