//! Settings of a link.

use std::collections::HashMap;

use crate::settings::{Mistakes, Policy, TimeLimits};

/// Settings of a link: its values. Without any, the provider's defaults count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// `lattices`, `operations`: what the actor may do.
    pub policy: Policy,
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
                "lattices" | "operations" => settings.policy.take(key, value, &mut mistakes),
                key => settings.limits.take(key, value.parse().ok(), &mut mistakes),
            }
        }
        settings.limits.contradictions(&mut mistakes);
        mistakes.none().map(|()| settings)
    }
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

    fn allows(link: &LinkSettings, lattice: &str, operation: &str) -> bool {
        let provider = Policy::default();
        let allowed = provider.with_link(&link.policy);
        allowed.lattice(lattice).is_ok() && allowed.operation(operation).is_ok()
    }

    #[test]
    fn a_link_without_values_allows_everything() {
        for values in [&[][..], &[("lattices", " "), ("config_b64", "e30")]] {
            assert!(allows(&link(values).unwrap(), "x", "StopHost"));
        }
    }

    #[test]
    fn a_link_allows_what_it_names() {
        let settings = link(&[("lattices", "prod, test-*"), ("operations", "read")]).unwrap();
        for lattice in ["prod", "test-1"] {
            assert!(allows(&settings, lattice, "GetHosts"));
            assert!(!allows(&settings, lattice, "StopHost"));
        }
        for lattice in ["prod2", "xtest-1"] {
            assert!(!allows(&settings, lattice, "GetHosts"));
        }
    }

    #[test]
    fn a_list_without_words_does_not_allow_everything() {
        for list in [",", " , ", "a,,b", "a;b"] {
            assert!(link(&[("lattices", list)]).is_err(), "{list}");
            assert!(link(&[("operations", list)]).is_err(), "{list}");
        }
    }
}
