//! Any settings and link values are accepted or refused. Accepted ones are
//! within the bounds that the README names, and a refusal does not quote them.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use lattice_controller::internals::contract::Operation;
use lattice_controller::internals::front::wasmbus::decode;
use lattice_controller::internals::front::wasmbus::link_definition::WireLinkDefinition;
use lattice_controller::internals::serve::links::{LinkDefinition, LinkTable};
use lattice_controller::internals::settings::{LinkSettings, Policy, ProviderSettings, TimeLimits};
use serde_json::{Value, json};

/// The longest message: fifty mistakes, each with every key.
const LONGEST: usize = 50 * 700;

/// Checks the promise. The input is the provider's settings; texts that are
/// keys and values of a link in turn; and a link as hosts send it.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    let text = String::from_utf8_lossy(input);
    check_provider(&text);
    if let Ok(json) = serde_json::from_str::<Value>(&text) {
        check_provider(&without_files(super::marked(json)).to_string());
    }
    let texts = super::texts(input);
    let pairs = |mark: &str| -> HashMap<String, String> {
        let pairs = texts.chunks_exact(2);
        pairs
            .map(|pair| (pair[0].clone(), format!("{mark}{}", pair[1])))
            .collect()
    };
    check_link(&pairs(""));
    check_link(&pairs(&super::secret()));
    if let Ok(link) = decode::<WireLinkDefinition>(input) {
        check_definition(link.into());
    }
    if let Ok(link) = serde_json::from_slice::<WireLinkDefinition>(input) {
        check_definition(link.into());
    }
}

/// Paths may be shown.
fn without_files(mut json: Value) -> Value {
    if let Some(members) = json.as_object_mut() {
        members.retain(|key, _| !key.starts_with("tls_"));
    }
    json
}

fn check_provider(text: &str) {
    let _ = ProviderSettings::tls_at_least(Some(text));
    let settings = match ProviderSettings::parse(Some(text)) {
        Ok(settings) => settings,
        // Paths of three files may be shown, twice.
        Err(problem) => return super::check_message(&problem.to_string(), LONGEST + 6 * 1024),
    };
    check_limits(&settings.limits);
    let limits = &settings.lattices.limits;
    for number in [
        settings.calls.all(),
        limits.lattices,
        limits.connections,
        limits.dials,
        limits.of_actor(),
    ] {
        assert!((1..=100_000).contains(&number));
    }
    assert!(limits.of_actor() <= limits.lattices);
    let (own, all) = (
        limits.credentials_bytes_of_actor(),
        limits.credentials_bytes,
    );
    assert!(own <= all && (1024..=1 << 30).contains(&all));
    assert!((1024..=1 << 18).contains(&limits.jwt_bytes));
    assert_in(Some(limits.idle), 100..=86_400_000);
    let shown = format!("{settings:?}");
    assert!(!shown.contains(&super::secret()), "{shown}");
}

fn check_limits(limits: &TimeLimits) {
    assert_in(limits.call_budget, 50..=600_000);
    assert_in(limits.request, 10..=600_000);
    assert_in(limits.gather, 10..=600_000);
    assert_in(limits.stall, 10..=60_000);
    assert_in(limits.grace, 0..=10_000);
    for (ours, theirs) in [
        (limits, &TimeLimits::default()),
        (&TimeLimits::default(), limits),
    ] {
        let counts = ours.with_link(theirs);
        assert!(counts.grace <= counts.stall);
        assert!(counts.stall <= counts.gather.unwrap_or(Duration::MAX));
    }
}

fn assert_in(time: Option<Duration>, bounds: RangeInclusive<u128>) {
    let fits = time.is_none_or(|time| bounds.contains(&time.as_millis()));
    assert!(fits, "{time:?} is not in {bounds:?}");
}

fn check_link(values: &HashMap<String, String>) {
    let settings = match LinkSettings::parse(values) {
        Ok(settings) => settings,
        Err(problem) => return super::check_message(&problem.to_string(), LONGEST),
    };
    check_limits(&settings.limits);
    let nothing = Policy::default();
    let allowed = nothing.with_link(&settings.policy);
    let given = |key: &str| values.get(key).map_or("", |value| value.trim());
    // A list allows its entries, and without wildcards nothing else.
    let lattices = given("lattices");
    for lattice in lattices.split(',').map(str::trim) {
        let name = lattice.replace('*', "x");
        assert!(lattices.is_empty() || allowed.lattice(&name).is_ok());
    }
    let closed = !lattices.is_empty() && !lattices.contains('*');
    assert!(!closed || allowed.lattice("another.lattice").is_err());
    let operations = given("operations");
    let named = |operation: &str| operations.split(',').any(|name| name.trim() == operation);
    let may = allowed.operation(Operation::StopHost).is_ok();
    let group = named("write") || named("all");
    assert_eq!(may, operations.is_empty() || group || named("StopHost"));
}

fn check_definition(link: LinkDefinition) {
    check_link(&link.values);
    let table = LinkTable::new(&link.provider_id, &link.link_name);
    table.put(link.clone());
    let refused = LinkSettings::parse(&link.values).is_err() || link.actor_id.is_empty();
    assert_eq!(table.settings(&link.actor_id).is_err(), refused);
    table.delete(&link);
    assert!(table.settings(&link.actor_id).is_err());
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let seed = nkeys::XKey::new_from_raw([7; 32]).seed().unwrap();
    let provider = json!({
        "call_budget_ms": 2000, "credentials_key": seed, "credentials_store": "memory",
        "default_lattice_url": "nats://u:p@h:1,tls://u:p@i", "gather_limit_ms": 1000,
        "grace_ms": 30, "idle_limit_ms": 600_000, "isolation": "actor", "max_calls": 7,
        "max_connections": 7, "max_dials": 7, "max_lattices": 7, "request_limit_ms": 500,
        "max_actor_lattices": 5, "max_credentials_bytes": 9999, "max_jwt_bytes": 4096,
        "max_actor_credentials_bytes": 1024, "unplaced_credentials": "refused",
        "stall_ms": 300, "tls_ca_file": "/nowhere/ca.pem", "unknown": { "a": [1, null] },
    });
    let mut good = provider.clone();
    for member in ["tls_ca_file", "unknown"] {
        good.as_object_mut().unwrap().remove(member);
    }
    let link = json!({
        "actor_id": "M1", "provider_id": "V1", "link_name": "default", "contract_id": "c",
        "values": { "lattices": "a,b-*", "operations": "GetHosts", "stall_ms": "20", "x": null },
        "id": "x",
    });
    vec![
        provider.to_string().into_bytes(),
        good.to_string().into_bytes(),
        super::of_texts(&[
            "lattices",
            "prod, test-*",
            "operations",
            "GetHosts,StopHost",
            "stall_ms",
            "200",
            "grace_ms",
            "100",
            "gather_limit_ms",
            "300",
            "request_limit_ms",
            "400",
            "call_budget_ms",
            "600",
            "config_b64",
            "e30",
        ]),
        link.to_string().into_bytes(),
        rmp_serde::to_vec_named(&link).unwrap(),
        br#"{"tls_key_file":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}"#
            .to_vec(),
    ]
}
