//! The statements of README.md are true.

use crate::support;
use std::collections::BTreeSet;
use std::time::Duration;

use lattice_controller::internals::contract::Operation;
use lattice_controller::internals::settings::table::{LINK, PROVIDER, Setting};
use lattice_controller::internals::settings::{
    Isolation, LatticeLimits, LinkSettings, Policy, ProviderSettings, StoreMode, TimeLimits,
    Unplaced,
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
fn the_examples_of_settings_are_accepted() {
    let certs = support::certs::Certs::new();
    let mut members = Vec::new();
    for setting in &PROVIDER {
        let member = format!("\"{}\": {}", setting.key, setting.example);
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
    for Setting { key, example, .. } in &LINK {
        let value = ((*key).to_owned(), (*example).to_owned());
        LinkSettings::parse(&[value].into()).unwrap();
    }
}

/// What the table says in words of settings that are not set.
#[test]
fn the_defaults_that_are_told_in_words_are_true() {
    let defaults = ProviderSettings::default();
    let none = TimeLimits::default();
    assert_eq!(defaults.limits, none);
    let limits = none.with_link(&none);
    assert_eq!((limits.request, limits.gather), (None, None));
    assert_eq!(limits.stall.as_millis(), 300);
    assert_eq!(limits.grace.as_millis(), 30);
    assert_eq!(
        defaults.tls,
        lattice_controller::internals::nats::Tls::default()
    );
    let allowed = lattice_controller::internals::nats::AllowedServers::default();
    assert_eq!(defaults.lattices.allowed, allowed);
    assert_eq!(defaults.default_policy, Policy::default());
    assert!(defaults.lattices.key.is_none());
    let calls = defaults.calls;
    assert_eq!((calls.of_actor(), calls.to_lattice()), (512, 512));
    let limits = defaults.lattices.limits;
    assert_eq!(limits.of_actor(), limits.lattices / 2);
    assert_eq!(
        limits.credentials_bytes_of_actor(),
        limits.credentials_bytes / 2
    );
}

/// A default that changes by accident would change what deployed providers do.
#[test]
fn the_defaults_are_those_of_earlier_releases() {
    use secrecy::ExposeSecret as _;
    let defaults = ProviderSettings::default();
    let url = defaults.default_lattice_url.expose_secret();
    assert_eq!(url, "nats://127.0.0.1:4222");
    assert_eq!(defaults.calls.all(), 1024);
    assert_eq!(defaults.calls.window().as_millis(), 60_000);
    let expected = LatticeLimits {
        lattices: 10_000,
        actor_lattices: None,
        credentials_bytes: 67_108_864,
        actor_credentials_bytes: None,
        jwt_bytes: 16_384,
        connections: 1_000,
        dials: 64,
        idle: Duration::from_secs(600),
    };
    assert_eq!(defaults.lattices.limits, expected);
    assert_eq!(defaults.lattices.store, StoreMode::Auto);
    assert_eq!(defaults.lattices.isolation, Isolation::None);
    assert_eq!(defaults.lattices.unplaced, Unplaced::Accepted);
}

#[test]
fn every_operation_is_in_the_table() {
    let rows = rows(&section("Operations"));
    let documented: BTreeSet<String> = rows.iter().flat_map(|row| names(&row[0])).collect();
    let expected: BTreeSet<String> = Operation::NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
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
