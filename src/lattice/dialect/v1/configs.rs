//! Named configs: maps of texts that hosts of 1.x keep in the bucket `CONFIGDATA_{lattice}`.
//!
//! A provider that is started with a configuration gets one of its own, whose name tells
//! that it is ours. Which configs a component was started with can be read nowhere, and a
//! scale takes them away (docs/hosts.md#scale-takes-configuration): a config that nothing
//! is known to use may be that of any component.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::json;
use crate::lattice::model::lenient::{Text, list, parse};
use crate::name::{ComponentId, HostId};

/// How names begin that hosts from 1.1 on take for references to secrets.
const OF_SECRETS: &str = "SECRET";

/// Name of a config: one token of a subject and of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigName(String);

impl ConfigName {
    /// Returns the name of the config of a provider that is started on a host.
    pub fn of_provider(id: &ComponentId, host: &HostId) -> Self {
        Self(format!("{id}-{host}"))
    }

    /// Tells whether hosts take it for the name of a reference to a secret, whatever is
    /// stored under it (docs/hosts.md#secret-names).
    pub fn is_of_secret(&self) -> bool {
        self.0.starts_with(OF_SECRETS)
    }

    /// Returns the name as it is on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConfigName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The values of a config. They may be secrets, and cannot be printed.
#[derive(Serialize, PartialEq, Eq)]
pub struct ConfigValues(HashMap<String, Zeroizing<String>>);

/// The configuration of a provider is not what hosts of 1.x take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("hosts of wasmCloud 1.x take configuration as a JSON object of texts")]
pub struct NoObjectOfTexts;

impl ConfigValues {
    /// Reads the configuration of a provider: a JSON object of texts, numbers and
    /// booleans. Numbers and booleans become what stands there.
    ///
    /// # Errors
    /// Where it is anything else.
    pub fn parse(configuration: &str) -> Result<Self, NoObjectOfTexts> {
        let members: HashMap<String, &RawValue> =
            json::from_slice(configuration.as_bytes()).map_err(|_| NoObjectOfTexts)?;
        let members = members.into_iter().map(|(name, value)| {
            let value = value.get();
            let text = match value.as_bytes().first() {
                Some(b'"') => json::from_slice(value.as_bytes()).map_err(|_| NoObjectOfTexts)?,
                None | Some(b'{' | b'[' | b'n') => return Err(NoObjectOfTexts),
                Some(_) => value.to_owned(),
            };
            Ok((name, Zeroizing::new(text)))
        });
        Ok(Self(members.collect::<Result<_, _>>()?))
    }
}

impl fmt::Debug for ConfigValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What an entry of the metadata bucket says of a component or provider and its links.
#[derive(Deserialize)]
struct Entry {
    #[serde(default, deserialize_with = "list")]
    links: Vec<Ends>,
}

/// The configs of a link, by its ends.
#[derive(Deserialize)]
struct Ends {
    #[serde(default, deserialize_with = "list")]
    source_config: Vec<Text>,
    #[serde(default, deserialize_with = "list")]
    target_config: Vec<Text>,
}

/// Returns the names of the configs that links use, of an entry `COMPONENT_{id}` of the
/// metadata bucket; nothing of what cannot be read.
pub fn used_by_links(entry: &[u8]) -> Vec<String> {
    let links = parse::<Entry>(entry).map_or(Vec::new(), |entry| entry.links);
    let names = links
        .into_iter()
        .flat_map(|link| link.source_config.into_iter().chain(link.target_config));
    names.filter_map(|name| name.0).collect()
}

/// Finds a config that neither a link nor a provider that we started is known to use: a
/// component may have been started with it.
pub fn of_nothing_known<'a>(
    names: impl IntoIterator<Item = &'a str>,
    used_by_links: &HashSet<String>,
) -> Option<&'a str> {
    let mut names = names.into_iter();
    names.find(|name| !used_by_links.contains(*name) && !is_of_our_provider(name))
}

/// Tells whether a name is one that [`ConfigName::of_provider`] makes.
fn is_of_our_provider(name: &str) -> bool {
    name.rsplit_once('-')
        .is_some_and(|(id, host)| ComponentId::parse(id).is_ok() && HostId::parse(host).is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOST: &str = "NBQMBNW3L3IZL2S7N7QIERCFOQCKFBQ7L5RYLJOR4MDPHBK4B2DIZI7Z";

    fn written(configuration: &str) -> Option<serde_json::Value> {
        let values = ConfigValues::parse(configuration).ok()?;
        Some(serde_json::to_value(values).unwrap())
    }

    #[test]
    fn configuration_becomes_texts() {
        let object = r#" {"url":"redis://","pool":12,"rate":1.50,"tls":true,"q":"a\"b"} "#;
        let expected = serde_json::json!({
            "url": "redis://", "pool": "12", "rate": "1.50", "tls": "true", "q": "a\"b"
        });
        assert_eq!(written(object), Some(expected));
        assert_eq!(written("{}"), Some(serde_json::json!({})));
        for other in [
            "",
            "redis://",
            "[]",
            r#"["a"]"#,
            r#""a""#,
            r#"{"a":null}"#,
            r#"{"a":{}}"#,
            r#"{"a":[1]}"#,
            r#"{"a":"b"} {}"#,
        ] {
            assert_eq!(written(other), None, "{other}");
        }
    }

    #[test]
    fn the_values_of_a_config_cannot_be_printed() {
        let values = ConfigValues::parse(r#"{"password":"sekret"}"#).unwrap();
        let printed = format!("{values:?}");
        assert!(printed.contains("password") && !printed.contains("sekret"));
    }

    #[test]
    fn configs_of_links_and_of_our_providers_are_known() {
        let entry = br#"{"url":"","links":[
            {"source_id":"a","target":"b","source_config":["one"],"target_config":["two",null]},
            {"source_id":"a"},7]}"#;
        let used: HashSet<String> = used_by_links(entry).into_iter().collect();
        assert_eq!(used, ["one", "two"].map(str::to_owned).into());
        let id = ComponentId::parse("k-v").unwrap();
        let ours = ConfigName::of_provider(&id, &HostId::parse(HOST).unwrap());
        let known = ["one", ours.as_str(), "two"];
        assert_eq!(of_nothing_known(known, &used), None);
        for other in ["three", "SECRET_x", HOST, &format!("-{HOST}"), "a-b"] {
            let names = known.into_iter().chain([other]);
            assert_eq!(of_nothing_known(names, &used), Some(other));
        }
    }

    proptest! {
        #[test]
        fn the_name_of_a_providers_config_is_known_as_ours(id in "[A-Za-z0-9_-]{1,128}") {
            let id = ComponentId::parse(&id).unwrap();
            let name = ConfigName::of_provider(&id, &HostId::parse(HOST).unwrap());
            prop_assert_eq!(of_nothing_known([name.as_str()], &HashSet::new()), None);
        }

        #[test]
        fn any_text_is_a_configuration_or_none(text in "\\PC*", value in "\\PC*") {
            let _ = written(&text);
            let _ = used_by_links(text.as_bytes());
            let object = serde_json::json!({ text: value });
            prop_assert_eq!(written(&object.to_string()), Some(object));
        }
    }
}
