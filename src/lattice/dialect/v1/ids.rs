//! What components and providers are called on hosts of 1.x.
//!
//! An id is an address of the whole lattice, for calls and for links, and whoever starts
//! something chooses it. Operations that start by reference have none to give: a setting
//! names it by repository, or else it is derived from the reference, so that every host,
//! version and caller comes to the same one.

use std::collections::HashMap;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, quoted};
use crate::name::{ComponentId, LinkName, is_file, is_same_image, repository};

/// The link name that hosts of 1.x give everything.
pub const DEFAULT_LINK_NAME: &str = "default";
/// Longest id.
const LONGEST: usize = 128;
/// How much of an id that would be too long stays, before `-` and the digits of its hash.
const KEPT: usize = 111;

/// Ids by repository, as an operator sets them: image references without tag.
pub type IdsByRepository = HashMap<String, ComponentId>;

/// Returns the id under which a component is started from a reference.
///
/// # Errors
/// `Invalid` where the reference is nothing but a scheme or a tag.
pub fn of_component(ids: &IdsByRepository, reference: &str) -> Result<ComponentId, Error> {
    match set(ids, reference) {
        Some(id) => Ok(id.clone()),
        None => id(reference, derived(reference)),
    }
}

/// Returns the id under which a provider is started from a reference. A link name other
/// than the default is part of it, so that one reference can run under several.
///
/// # Errors
/// As [`of_component`].
pub fn of_provider(
    ids: &IdsByRepository,
    reference: &str,
    link_name: &LinkName,
) -> Result<ComponentId, Error> {
    let base = of_component(ids, reference)?;
    match link_name.as_str() {
        DEFAULT_LINK_NAME => Ok(base),
        link_name => {
            // The whole of a derived id, not what was made of it where it is too long.
            let base = match set(ids, reference) {
                Some(id) => id.to_string(),
                None => derived(reference),
            };
            id(reference, format!("{base}-{}", plain(link_name)))
        }
    }
}

/// Tells whether two references name the same image. From 1.5 on, hosts list providers
/// without the scheme of their reference (docs/hosts.md#references-without-scheme).
pub fn is_same_reference(one: &str, other: &str) -> bool {
    let is_one_a_file = is_file(one) || is_file(other);
    let path = |reference: &str| {
        let path = reference.strip_prefix("file://");
        path.unwrap_or(reference).to_owned()
    };
    is_same_image(one, other) || is_one_a_file && path(one) == path(other)
}

/// Finds the id that is set for the repository of a reference.
fn set<'a>(ids: &'a IdsByRepository, reference: &str) -> Option<&'a ComponentId> {
    let is_named_by = |name: &str| match is_path(reference) {
        true => is_same_reference(name, reference),
        false => !is_path(name) && is_same_image(repository(name), repository(reference)),
    };
    let mut ids = ids.iter();
    ids.find(|(name, _)| is_named_by(name)).map(|(_, id)| id)
}

/// Makes a text of the characters of an id, of what a reference names.
fn derived(reference: &str) -> String {
    let named = match is_path(reference) {
        true => reference,
        false => repository(reference),
    };
    plain(named.split_once("://").map_or(named, |(_, rest)| rest))
}

/// Tells whether a reference is the path of a file, which has neither tag nor digest.
fn is_path(reference: &str) -> bool {
    is_file(reference) || reference.starts_with('/')
}

/// Writes a text in lower case, with `_` for each character but ASCII letters and digits.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c.to_ascii_lowercase() {
            c @ ('a'..='z' | '0'..='9') => c,
            _ => '_',
        })
        .collect()
}

/// Makes an id of a text, the end of which becomes a hash where it is too long.
fn id(reference: &str, whole: String) -> Result<ComponentId, Error> {
    let text = match whole.len() > LONGEST {
        true => {
            let hash = HEXLOWER.encode(&Sha256::digest(&whole)[..8]);
            let kept = whole.get(..KEPT).unwrap_or_default();
            format!("{kept}-{hash}")
        }
        false => whole,
    };
    ComponentId::parse(&text).map_err(|error| {
        let problem = format!("no id can be derived from reference {}", quoted(reference));
        Error::invalid(problem).caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn component(reference: &str) -> String {
        let id = of_component(&IdsByRepository::new(), reference);
        id.unwrap().to_string()
    }

    fn provider(ids: &IdsByRepository, reference: &str, link_name: &str) -> String {
        let link_name = LinkName::parse(link_name).unwrap();
        let id = of_provider(ids, reference, &link_name);
        id.unwrap().to_string()
    }

    #[test]
    fn an_id_is_derived_from_the_repository() {
        for (reference, id) in [
            (
                "registry.example:5000/acme/shop:0.3.0",
                "registry_example_5000_acme_shop",
            ),
            ("oci://GHCR.io/Acme/Shop@sha256:00", "ghcr_io_acme_shop"),
            ("ghcr.io/acme/shop:1@sha256:00", "ghcr_io_acme_shop"),
            ("https://ghcr.io/acme/shop", "ghcr_io_acme_shop"),
            ("localhost:5000/x", "localhost_5000_x"),
            ("shop:1", "shop"),
            ("file:///srv/C1:2.wasm", "_srv_c1_2_wasm"),
            ("/srv/C1:2.wasm", "_srv_c1_2_wasm"),
            ("wasmcloud+builtin://http-server", "http_server"),
            ("a/é", "a__"),
        ] {
            assert_eq!(component(reference), id, "{reference}");
        }
        let none = IdsByRepository::new();
        for nothing in ["", "oci://", ":1", "file://"] {
            let error = of_component(&none, nothing).unwrap_err().to_string();
            assert!(error.starts_with("no id can be derived"), "{error}");
        }
        assert_eq!(provider(&none, "r/kv:2", "default"), "r_kv");
        assert_eq!(provider(&none, "r/kv:2", "My.link"), "r_kv-my_link");
    }

    #[test]
    fn a_long_id_ends_with_the_hash_of_the_whole() {
        let long = |end: &str| format!("r/{}{end}", "x".repeat(130));
        let id = component(&long("a"));
        let whole = format!("r_{}a", "x".repeat(130));
        let hash = HEXLOWER.encode(&Sha256::digest(whole))[..16].to_owned();
        assert_eq!(id, format!("r_{}-{hash}", "x".repeat(109)));
        assert_eq!(id.len(), 128);
        assert_ne!(id, component(&long("b")));
        assert_eq!(
            component(&"x".repeat(128)),
            "x".repeat(128),
            "that long is allowed"
        );
        let none = IdsByRepository::new();
        let linked = provider(&none, &long("a"), "other");
        assert_ne!(linked, id);
        assert_eq!(linked.len(), 128);
    }

    #[test]
    fn an_operator_names_ids_by_repository() {
        let id = |text| ComponentId::parse(text).unwrap();
        let ids = IdsByRepository::from([
            ("registry.example/shop".to_owned(), id("Shop")),
            ("/srv/c1.wasm".to_owned(), id("c1")),
        ]);
        let found = |reference| of_component(&ids, reference).unwrap().to_string();
        assert_eq!(found("oci://Registry.Example/shop:0.3.0"), "Shop");
        assert_eq!(found("registry.example/shop"), "Shop");
        assert_eq!(found("registry.example/shop2:1"), "registry_example_shop2");
        assert_eq!(found("file:///srv/c1.wasm"), "c1");
        assert_eq!(provider(&ids, "registry.example/shop:1", "b"), "Shop-b");
    }

    #[test]
    fn references_are_compared_without_their_scheme() {
        for (one, other) in [
            ("file:///srv/kv.par", "/srv/kv.par"),
            ("oci://ghcr.io/a/kv:1", "GHCR.io/a/kv:1"),
            ("http://r/kv:1", "r/kv:1"),
            ("file:///srv/kv.par", "file:///srv/kv.par"),
        ] {
            assert!(is_same_reference(one, other) && is_same_reference(other, one));
        }
        for (one, other) in [
            ("file:///srv/kv.par", "/srv/KV.par"),
            ("ghcr.io/a/kv:1", "ghcr.io/a/kv:2"),
            ("file:///srv/kv.par", ""),
        ] {
            assert!(!is_same_reference(one, other) && !is_same_reference(other, one));
        }
    }

    proptest! {
        #[test]
        fn every_reference_has_one_id_or_none(reference in "\\PC{0,300}", tag in "[a-z0-9.]{1,9}") {
            let none = IdsByRepository::new();
            if let Ok(id) = of_component(&none, &reference) {
                let kept = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c);
                prop_assert!(id.as_str().chars().all(kept));
                prop_assert_eq!(of_component(&none, &reference).unwrap(), id);
            }
            let name: String = reference.chars().filter(|c| !":@/".contains(*c)).collect();
            prop_assume!(!name.is_empty());
            let tagged = of_component(&none, &format!("r/{name}:{tag}")).unwrap();
            prop_assert_eq!(tagged, of_component(&none, &format!("r/{name}")).unwrap());
        }

        #[test]
        fn link_names_tell_providers_of_one_image_apart(
            reference in "[a-z./-]{1,200}", one in "[a-z0-9]{1,128}", other in "[a-z0-9]{1,128}",
        ) {
            let none = IdsByRepository::new();
            prop_assume!(one != other && of_component(&none, &reference).is_ok());
            prop_assert_ne!(provider(&none, &reference, &one), provider(&none, &reference, &other));
        }
    }
}
