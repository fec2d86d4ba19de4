//! Settings of a link.

use std::collections::HashMap;
use std::time::Duration;

use crate::settings::limits::TimeLimits;
use crate::settings::policy::Policy;
use crate::settings::reading::{Reading, SettingsError};
use crate::settings::table::{Kind, LINK};

/// Settings of a link: its values. Without any, the provider's defaults count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkSettings {
    /// `lattices`, `operations`: what the actor may do.
    pub policy: Policy,
    /// How long things may take, where that is less than the provider allows.
    pub limits: TimeLimits,
}

/// A value that wasmCloud's own provider test harness adds to every link; ignored.
const HARNESS_KEY: &str = "config_b64";

impl LinkSettings {
    /// Reads the values of a link. A blank value counts as absent.
    ///
    /// # Errors
    /// Every mistake.
    pub fn parse(values: &HashMap<String, String>) -> Result<Self, SettingsError> {
        let (mut settings, mut reading) = (Self::default(), Reading::default());
        for (key, value) in values.iter().filter(|(key, _)| *key != HARNESS_KEY) {
            let value = value.trim();
            let Some(setting) = reading.find(key, &LINK) else {
                continue;
            };
            let words: Vec<&str> = value.split(',').map(str::trim).collect();
            let taken = match setting.kind {
                _ if value.is_empty() => Ok(()),
                Kind::Time { range, set, .. } => reading
                    .number(setting.key, value.parse().ok(), range)
                    .map(|ms| set(&mut settings.limits, Duration::from_millis(ms))),
                Kind::Lattices => settings.policy.take_lattices(&words),
                _ => settings.policy.take_operations(&words),
            };
            if let Err(problem) = taken {
                reading.mistake(key, problem);
            }
        }
        reading.end().map(|()| settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Operation;

    fn link(values: &[(&str, &str)]) -> Result<LinkSettings, SettingsError> {
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
        .unwrap_err()
        .to_string();
        for part in ["operations", "call_budget_ms", "stall_ms", "\"y\""] {
            assert!(problem.contains(part), "{problem}");
        }
    }

    fn allows(link: &LinkSettings, lattice: &str, operation: Operation) -> bool {
        let provider = Policy::default();
        let allowed = provider.with_link(&link.policy);
        allowed.lattice(lattice).is_ok() && allowed.operation(operation).is_ok()
    }

    #[test]
    fn a_link_without_values_allows_everything() {
        for values in [&[][..], &[("lattices", " "), ("config_b64", "e30")]] {
            assert!(allows(&link(values).unwrap(), "x", Operation::StopHost));
        }
    }

    #[test]
    fn a_link_allows_what_it_names() {
        let settings = link(&[("lattices", "prod, test-*"), ("operations", "read")]).unwrap();
        for lattice in ["prod", "test-1"] {
            assert!(allows(&settings, lattice, Operation::GetHosts));
            assert!(!allows(&settings, lattice, Operation::StopHost));
        }
        for lattice in ["prod2", "xtest-1"] {
            assert!(!allows(&settings, lattice, Operation::GetHosts));
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
