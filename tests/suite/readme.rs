//! The statements of README.md are true.

use crate::support;
use std::collections::{BTreeMap, BTreeSet};

use lattice_controller::settings::{
    LinkSettings, OPERATIONS, Policy, ProviderSettings, StoreMode, TimeLimits, Unplaced,
};

fn readme() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap()
}

/// Returns the section under this heading.
fn section(heading: &str) -> String {
    let text = readme();
    let (_, rest) = text.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Returns the rows of the first table in `text` without its head.
fn rows(text: &str) -> Vec<Vec<String>> {
    text.lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect()
}

fn names(cell: &str) -> Vec<String> {
    let parts = cell.split(", ");
    parts
        .map(|name| name.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_setting_is_documented_with_unit_default_and_example() {
    for (heading, keys) in [
        ("Settings of the provider", &ProviderSettings::KEYS[..]),
        ("Settings of a link", &LinkSettings::KEYS[..]),
    ] {
        let rows = rows(&section(heading));
        let documented: BTreeSet<String> = rows.iter().flat_map(|row| names(&row[0])).collect();
        let expected: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(documented, expected, "{heading}");
        for row in rows {
            assert_eq!(row.len(), 5, "{row:?}");
            assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
        }
    }
}

#[test]
fn the_examples_of_settings_are_accepted_and_the_defaults_are_true() {
    use secrecy::ExposeSecret as _;
    let rows_of = |heading: &str| rows(&section(heading));
    let certs = support::certs::Certs::new();
    let mut members = Vec::new();
    for row in rows_of("Settings of the provider") {
        let member = format!("\"{}\": {}", names(&row[0])[0], row[3].trim_matches('`'));
        // The README shows no key that somebody might copy, so the test puts
        // one in.
        let member = member.replace("SX…", &nkeys::XKey::new().seed().unwrap());
        members.push(certs.in_place_of_documented(&member));
    }
    let alone = members.iter().filter(|member| !member.contains("\"tls_"));
    for member in alone {
        ProviderSettings::parse(Some(&format!("{{{member}}}"))).unwrap();
    }
    ProviderSettings::parse(Some(&format!("{{{}}}", members.join(",")))).unwrap();
    let defaults = ProviderSettings::default();
    let none = TimeLimits::default();
    assert_eq!(defaults.limits, none);
    assert_eq!(defaults.tls, lattice_controller::nats::Tls::default());
    let allowed = lattice_controller::nats::Allowed::default();
    assert_eq!(defaults.pool.allowed, allowed);
    let limits = none.with_link(&none);
    assert_eq!((limits.request, limits.gather), (None, None));
    assert_eq!(defaults.default_policy, Policy::default());
    let pool = defaults.pool.limits;
    assert_eq!(defaults.pool.store, StoreMode::Auto);
    assert!(defaults.pool.key.is_none());
    assert_eq!(defaults.pool.unplaced, Unplaced::Accepted);
    let expected = [
        ("allowed_servers", "all but link-local".to_owned()),
        ("call_budget_ms", "the host's".to_owned()),
        (
            "credentials_key",
            "one derived from the cluster seed".to_owned(),
        ),
        ("credentials_store", "auto".to_owned()),
        (
            "default_lattice_url",
            defaults.default_lattice_url.expose_secret().to_owned(),
        ),
        ("default_lattices", "all".to_owned()),
        ("default_operations", "all".to_owned()),
        ("gather_limit_ms", "the call's".to_owned()),
        ("grace_ms", limits.grace.as_millis().to_string()),
        (
            "invocation_window_ms",
            defaults.calls.window().as_millis().to_string(),
        ),
        ("isolation", "none".to_owned()),
        ("idle_limit_ms", pool.idle.as_millis().to_string()),
        ("max_actor_calls", "half of max_calls".to_owned()),
        (
            "max_actor_credentials_bytes",
            "half of max_credentials_bytes".to_owned(),
        ),
        ("max_actor_lattices", "half of max_lattices".to_owned()),
        ("max_calls", defaults.calls.all().to_string()),
        ("max_connections", pool.connections.to_string()),
        ("max_credentials_bytes", pool.credentials_bytes.to_string()),
        ("max_dials", pool.dials.to_string()),
        ("max_jwt_bytes", pool.jwt_bytes.to_string()),
        ("max_lattice_calls", "half of max_calls".to_owned()),
        ("max_lattices", pool.lattices.to_string()),
        ("request_limit_ms", "the call's".to_owned()),
        ("stall_ms", limits.stall.as_millis().to_string()),
        ("tls_ca_file", "the system's".to_owned()),
        ("tls_cert_file", "none".to_owned()),
        ("tls_client_servers", "none".to_owned()),
        ("tls_first_servers", "none".to_owned()),
        ("tls_key_file", "none".to_owned()),
        ("unplaced_credentials", "accepted".to_owned()),
    ];
    let expected = expected.map(|(key, default)| (key.to_owned(), default));
    let shown = rows_of("Settings of the provider");
    let shown = shown.iter().map(|row| {
        (
            names(&row[0])[0].clone(),
            row[2].trim_matches('`').to_owned(),
        )
    });
    assert_eq!(shown.collect::<BTreeMap<_, _>>(), BTreeMap::from(expected));
    for row in rows_of("Settings of a link") {
        let value = row[3].trim_matches('`').to_owned();
        LinkSettings::parse(&[(names(&row[0])[0].clone(), value)].into()).unwrap();
    }
}

#[test]
fn every_operation_is_in_the_table() {
    let rows = rows(&section("Operations"));
    let documented: BTreeSet<String> = rows.iter().flat_map(|row| names(&row[0])).collect();
    let expected: BTreeSet<String> = OPERATIONS.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(documented, expected);
}

#[test]
fn every_make_target_and_folder_it_names_exists() {
    let makefile = concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile");
    let makefile = std::fs::read_to_string(makefile).unwrap();
    let text = readme();
    for part in text.split("make ").skip(1) {
        let target: String = part.chars().take_while(char::is_ascii_lowercase).collect();
        let known = makefile.contains(&format!("\n{target}:"));
        assert!(known || target.is_empty(), "make {target}");
    }
    let folders = rows(section("Develop").split_once("| folder").unwrap().1);
    assert!(folders.len() > 4);
    for row in folders {
        for folder in names(&row[0]) {
            let path = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
            assert!(std::path::Path::new(&path).exists(), "{folder}");
        }
    }
}
