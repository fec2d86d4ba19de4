//! Settings of a link.

use std::collections::HashMap;

use super::{Mistakes, OPERATIONS, TimeLimits};
use crate::name::fits;

/// Settings of a link: its values. Without any, everything is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// `lattices`: patterns of the lattice ids that the actor may name; empty
    /// allows all.
    lattices: Vec<String>,
    /// `operations`: the operations that the actor may call; empty allows all.
    operations: Vec<String>,
    /// How long things may take, where that is less than the provider allows.
    pub limits: TimeLimits,
}

impl LinkSettings {
    /// Every key that [`LinkSettings::parse`] knows.
    pub const KEYS: [&str; 7] = [
        "call_budget_ms",
        "gather_limit_ms",
        "grace_ms",
        "lattices",
        "operations",
        "request_limit_ms",
        "stall_ms",
    ];

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
                key => settings.limits.take(key, value.parse().ok(), &mut mistakes),
            }
        }
        settings.limits.contradictions(&mut mistakes);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn link(values: &[(&str, &str)]) -> Result<LinkSettings, String> {
        let values = values.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        LinkSettings::parse(&values.collect())
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let problem = link(&[
            ("operations", "Nope"),
            ("call_budget_ms", "x"),
            ("stall_ms", "200"),
            ("gather_limit_ms", "100"),
            ("y", ""),
        ])
        .unwrap_err();
        for part in ["operations", "call_budget_ms", "stall_ms", "\"y\""] {
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn every_key_is_told() {
        for key in TimeLimits::KEYS {
            assert!(LinkSettings::KEYS.contains(&key), "{key}");
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
