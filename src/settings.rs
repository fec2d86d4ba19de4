//! What can be configured: the provider's settings (`config_json` of the host
//! data) and a link's (its values). README.md documents every key.
//!
//! Unknown keys are refused, and one reading reports every mistake.

use std::collections::HashMap;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::error::without_values;
use crate::nats::{Access, Login};

/// Settings of the provider: a JSON object in `config_json`.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// `default_lattice_url`: where a lattice is whose credentials name no URL.
    /// A secret: it may hold user info.
    pub default_lattice_url: SecretString,
    /// `max_calls`: calls under way at once; further ones are refused as busy.
    pub max_calls: usize,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            default_lattice_url: SecretString::from("nats://127.0.0.1:4222"),
            max_calls: 1024,
        }
    }
}

impl ProviderSettings {
    /// Every key that [`ProviderSettings::parse`] knows.
    pub const KEYS: [&str; 2] = ["default_lattice_url", "max_calls"];

    /// Reads settings; no text, or a blank one, gives the defaults.
    ///
    /// # Errors
    /// Every mistake, in one text, without the values.
    pub fn parse(config_json: Option<&str>) -> Result<Self, String> {
        let mut settings = Self::default();
        let text = config_json.unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(settings);
        }
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let problem = without_values(&error.to_string());
            format!("the configuration is not a JSON object: {problem}")
        })?;
        let mut mistakes = Mistakes::default();
        for (key, value) in members {
            match key.as_str() {
                "default_lattice_url" => match value {
                    Value::String(url) => match Access::parse(&url, Login::Anonymous) {
                        Ok(_) => settings.default_lattice_url = url.into(),
                        Err(problem) => mistakes.add(&key, &problem),
                    },
                    _ => mistakes.add(&key, "it must be text"),
                },
                "max_calls" => match value.as_u64() {
                    Some(calls @ 1..=100_000) => settings.max_calls = calls as usize,
                    _ => mistakes.add(&key, "it must be a whole number from 1 to 100000"),
                },
                _ => mistakes.unknown(&key, &Self::KEYS),
            }
        }
        mistakes.none().map(|()| settings)
    }
}

/// Settings of a link: its values. Without any, everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// `lattices`: patterns of the lattice ids that the actor may name; empty
    /// allows all.
    lattices: Vec<String>,
    /// `operations`: the operations that the actor may call; empty allows all.
    operations: Vec<String>,
    /// `call_budget_ms`: longest time for one call; less than the host allows.
    pub call_budget: Option<Duration>,
}

/// The name of every operation of the contract.
pub const OPERATIONS: [&str; 17] = [
    "AdvertiseLink",
    "AuctionActor",
    "AuctionProvider",
    "GetClaims",
    "GetHostInventory",
    "GetHosts",
    "GetLinks",
    "RemoveLink",
    "ScaleActor",
    "SetLatticeCredentials",
    "SetRegistryCredentials",
    "StartActor",
    "StartProvider",
    "StopActor",
    "StopHost",
    "StopProvider",
    "UpdateActor",
];

impl LinkSettings {
    /// Every key that [`LinkSettings::parse`] knows.
    pub const KEYS: [&str; 3] = ["call_budget_ms", "lattices", "operations"];

    /// Added to every link by wasmCloud's own provider test harness; ignored.
    const HARNESS_KEY: &str = "config_b64";

    /// Reads the values of a link. A blank value counts as absent.
    ///
    /// # Errors
    /// Every mistake, in one text, without the values.
    pub fn parse(values: &HashMap<String, String>) -> Result<Self, String> {
        let mut settings = Self::default();
        let mut mistakes = Mistakes::default();
        for (key, value) in values {
            let value = value.trim();
            match key.as_str() {
                Self::HARNESS_KEY => {}
                _ if !Self::KEYS.contains(&key.as_str()) => mistakes.unknown(key, &Self::KEYS),
                _ if value.is_empty() => {}
                "call_budget_ms" => match value.parse() {
                    Ok(ms @ 50..=600_000) => {
                        settings.call_budget = Some(Duration::from_millis(ms));
                    }
                    _ => mistakes.add(key, "it must be a whole number from 50 to 600000"),
                },
                "lattices" => {
                    settings.lattices = words(value);
                    if !settings.lattices.iter().all(|word| is_pattern(word)) {
                        mistakes.add(key, "it must be lattice ids, in which * may stand");
                    }
                }
                "operations" => {
                    settings.operations = words(value);
                    let known = |name: &String| OPERATIONS.contains(&name.as_str());
                    if !settings.operations.iter().all(known) {
                        mistakes.add(key, "it names an operation that the contract does not have");
                    }
                }
                _ => {}
            }
        }
        mistakes.none().map(|()| settings)
    }

    /// Whether the actor may name this lattice.
    pub fn allows_lattice(&self, lattice: &str) -> bool {
        self.lattices.is_empty() || self.lattices.iter().any(|pattern| fits(pattern, lattice))
    }

    /// Whether the actor may call this operation.
    pub fn allows_operation(&self, operation: &str) -> bool {
        self.operations.is_empty() || self.operations.iter().any(|name| name == operation)
    }
}

/// The parts between commas. One that is empty stays, and is a mistake: a list
/// without words would allow everything.
fn words(value: &str) -> Vec<String> {
    value
        .split(',')
        .map(|word| word.trim().to_owned())
        .collect()
}

fn is_pattern(word: &str) -> bool {
    !word.is_empty()
        && word
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'*'))
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, key: &str, problem: &str) {
        self.0.push(format!("{key}: {problem}"));
    }

    fn unknown(&mut self, key: &str, known: &[&str]) {
        let key: String = key.chars().take(40).collect();
        self.0.push(format!(
            "{key:?} is no setting; there are {}",
            known.join(", ")
        ));
    }

    fn none(mut self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort();
        Err(self.0.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn link(values: &[(&str, &str)]) -> Result<LinkSettings, String> {
        let values = values.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        LinkSettings::parse(&values.collect())
    }

    #[test]
    fn no_configuration_gives_the_defaults() {
        for none in [None, Some(""), Some("  "), Some("{}")] {
            let settings = ProviderSettings::parse(none).unwrap();
            assert_eq!(
                settings.default_lattice_url.expose_secret(),
                "nats://127.0.0.1:4222"
            );
        }
    }

    #[test]
    fn every_mistake_is_reported_at_once_without_values() {
        let problem = ProviderSettings::parse(Some(
            r#"{"default_lattice_url":"http://u:sekret@h","max_calls":0,"bogus":1}"#,
        ))
        .unwrap_err();
        for part in ["default_lattice_url", "max_calls", "bogus"] {
            assert!(problem.contains(part), "{problem}");
        }
        assert!(!problem.contains("sekret"), "{problem}");
        let problem = link(&[("operations", "Nope"), ("call_budget_ms", "x"), ("y", "")]);
        let problem = problem.unwrap_err();
        for part in ["operations", "call_budget_ms", "\"y\""] {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_link_without_values_allows_everything() {
        for values in [&[][..], &[("lattices", " "), ("config_b64", "e30")]] {
            let settings = link(values).unwrap();
            assert!(settings.allows_lattice("x") && settings.allows_operation("StopHost"));
        }
    }

    #[test]
    fn a_link_allows_what_it_names() {
        let settings = link(&[("lattices", "prod, test-*"), ("operations", "GetHosts")]).unwrap();
        assert!(settings.allows_lattice("prod") && settings.allows_lattice("test-1"));
        assert!(!settings.allows_lattice("prod2") && !settings.allows_lattice("xtest-1"));
        assert!(settings.allows_operation("GetHosts") && !settings.allows_operation("StopHost"));
    }

    #[test]
    fn a_list_without_words_does_not_allow_everything() {
        for list in [",", " , ", "a,,b", "a;b"] {
            assert!(link(&[("lattices", list)]).is_err(), "{list}");
            assert!(link(&[("operations", list)]).is_err(), "{list}");
        }
    }

    #[test]
    fn patterns_fit_as_a_whole() {
        for (pattern, text) in [("*", ""), ("a*", "a"), ("a*b*c", "a1b2bc"), ("*x", "axx")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a*b", "abc"), ("", "a"), ("a*a", "a")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
