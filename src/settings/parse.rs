//! Reads the settings of the provider, as `table.rs` has them.

use std::time::Duration;

use nkeys::XKey;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};
use zeroize::Zeroize as _;

use crate::error::without_values;
use crate::nats::{Access, Login, Tls};
use crate::settings::calls::CallLimits;
use crate::settings::lattices::{LatticeLimits, LatticeSettings};
use crate::settings::limits::TimeLimits;
use crate::settings::policy::Policy;
use crate::settings::provider::ProviderSettings;
use crate::settings::reading::{Reading, SettingsError};
use crate::settings::table::{Kind, PROVIDER, Setting, one_of};
use crate::settings::tls;
use crate::settings::values::{ValueError, ids, path, servers, text, words};

/// The defaults of the table.
impl Default for ProviderSettings {
    fn default() -> Self {
        let mut settings = Self {
            default_lattice_url: SecretString::default(),
            calls: CallLimits::UNSET,
            default_policy: Policy::default(),
            limits: TimeLimits::default(),
            lattices: LatticeSettings::UNSET,
            components: Arc::default(),
            tls: Tls::default(),
        };
        for setting in &PROVIDER {
            match setting.kind {
                Kind::Number {
                    default: Some(number),
                    set,
                    ..
                } => set(&mut settings, number),
                Kind::Words([(_, set), ..]) => set(&mut settings),
                Kind::Urls { default } => settings.default_lattice_url = default.into(),
                _ => {}
            }
        }
        settings
    }
}

impl Default for LatticeSettings {
    fn default() -> Self {
        ProviderSettings::default().lattices
    }
}

impl Default for LatticeLimits {
    fn default() -> Self {
        LatticeSettings::default().limits
    }
}

impl Default for CallLimits {
    fn default() -> Self {
        ProviderSettings::default().calls
    }
}

impl ProviderSettings {
    /// Reads settings; no text, or a blank one, gives the defaults.
    ///
    /// # Errors
    /// Every mistake.
    pub fn parse(config_json: Option<&str>) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let text = bare(config_json);
        if text.is_empty() {
            return Ok(settings);
        }
        let members: Map<String, Value> = serde_json::from_str(text)
            .map_err(|error| SettingsError::NoObject(without_values(&error.to_string())))?;
        let url = members.get("default_lattice_url");
        let has_url = url.is_some_and(Value::is_string);
        let mut reading = Reading::default();
        settings.take_all(members, &mut reading);
        tls::contradictions(&settings.tls, &mut reading);
        let url = settings.default_lattice_url.expose_secret();
        if has_url
            && let Ok(access) = Access::parse(url, Login::Anonymous)
            && let Err(forbidden) = settings.lattices.allowed.check(access.servers())
        {
            reading.mistake("default_lattice_url", forbidden);
        }
        reading.end().map(|()| settings)
    }

    /// Reads the settings of TLS alone, whatever is wrong with others: a provider with
    /// wrong settings connects to its own NATS, to say what is wrong.
    pub fn tls_at_least(config_json: Option<&str>) -> Tls {
        let read = serde_json::from_str(bare(config_json));
        let members: Map<String, Value> = read.unwrap_or_default();
        let mut settings = Self::default();
        settings.take_all(members, &mut Reading::default());
        settings.tls
    }

    fn take_all(&mut self, members: Map<String, Value>, reading: &mut Reading) {
        for (key, mut value) in members {
            if let Some(setting) = reading.find(&key, &PROVIDER) {
                self.take(setting, &value, reading);
            }
            wipe(&mut value);
        }
    }

    fn take(&mut self, setting: &Setting, value: &Value, reading: &mut Reading) {
        let key = setting.key;
        let taken = match setting.kind {
            Kind::Time { range, set, .. } => reading
                .number(key, value.as_u64(), range)
                .map(|ms| set(&mut self.limits, Duration::from_millis(ms))),
            Kind::Number { range, set, .. } => reading
                .number(key, value.as_u64(), range)
                .map(|number| set(self, number)),
            Kind::Words(known) => match known.iter().find(|(word, _)| value == word) {
                Some((_, set)) => {
                    set(self);
                    Ok(())
                }
                None => Err(ValueError::NotOneOf(one_of(known))),
            },
            Kind::Lattices => {
                words(value).and_then(|words| self.default_policy.take_lattices(&words))
            }
            Kind::Operations => {
                words(value).and_then(|words| self.default_policy.take_operations(&words))
            }
            Kind::Servers(set) => match servers(value) {
                Ok(servers) => {
                    set(self, servers);
                    Ok(())
                }
                Err(problems) => {
                    return problems.iter().for_each(|it| reading.mistake(key, it));
                }
            },
            Kind::File { check, set } => path(value).and_then(|path| {
                let checked = check(&path);
                set(&mut self.tls, path);
                Ok(checked?)
            }),
            Kind::Urls { .. } => text(value).and_then(|urls| {
                self.default_lattice_url = urls.into();
                Access::parse(urls, Login::Anonymous)?;
                Ok(())
            }),
            Kind::Ids => ids(value).map(|ids| Arc::make_mut(&mut self.components).ids = ids),
            Kind::Seed => text(value).and_then(|seed| {
                self.lattices.key = Some(seed.into());
                let key = XKey::from_seed(seed);
                key.map(drop).map_err(|_| ValueError::NotXkey)
            }),
        };
        if let Err(problem) = taken {
            reading.mistake(key, problem);
        }
    }
}

/// The text of the settings, without the byte order mark that some editors put in
/// front.
fn bare(config_json: Option<&str>) -> &str {
    let text = config_json.unwrap_or_default();
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// Overwrites what may be secrets.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        _ => {}
    }
}

/// Reads settings as tests have them.
#[cfg(test)]
pub(super) fn of(pairs: &[(&str, Value)]) -> Result<ProviderSettings, SettingsError> {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    let members: Map<_, _> = pairs.collect();
    ProviderSettings::parse(Some(&Value::Object(members).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_configuration_gives_the_defaults() {
        for none in [None, Some(""), Some("  "), Some("{}"), Some("\u{feff}")] {
            let settings = ProviderSettings::parse(none).unwrap();
            assert_eq!(
                settings.default_lattice_url.expose_secret(),
                "nats://127.0.0.1:4222"
            );
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_configuration() {
        let text = "\u{feff}\r\n{\"max_calls\":7}\r\n";
        let settings = ProviderSettings::parse(Some(text)).unwrap();
        assert_eq!(settings.calls.all(), 7);
    }

    #[test]
    fn a_url_of_the_wrong_type_is_one_mistake() {
        let text = r#"{"default_lattice_url":[],"allowed_servers":"10.0.0.0/8"}"#;
        let error = ProviderSettings::parse(Some(text)).unwrap_err();
        assert_eq!(error.to_string(), "default_lattice_url: it must be text");
    }

    #[test]
    fn every_mistake_is_reported_at_once_without_values() {
        let problem = ProviderSettings::parse(Some(
            r#"{"default_lattice_url":"http://u:sekret@h","max_calls":0,"bogus":1,
                "default_operations":["sekret"],"default_lattices":"",
                "stall_ms":"sekret","gather_limit_ms":2000,"call_budget_ms":1000}"#,
        ))
        .unwrap_err()
        .to_string();
        for part in [
            "default_lattice_url",
            "max_calls",
            "bogus",
            "default_operations",
            "default_lattices",
            "stall_ms",
            "gather_limit_ms: it must not be more than call_budget_ms",
        ] {
            assert!(problem.contains(part), "{problem}");
        }
        assert!(!problem.contains("sekret"), "{problem}");
        assert!(problem.contains("unknown setting \"bogus\"; known: allowed_servers, call_"));
    }

    #[test]
    fn a_default_that_is_not_allowed_is_a_mistake() {
        for (allowed, good) in [("10.0.0.0/8", true), ("*.example.com", false)] {
            let text = format!(
                r#"{{"default_lattice_url":"u:sekret@10.0.0.1","allowed_servers":"{allowed}"}}"#
            );
            let read = ProviderSettings::parse(Some(&text));
            assert_eq!(read.is_ok(), good, "{allowed}");
            if let Err(problem) = read {
                let problem = problem.to_string();
                assert!(problem.contains("(allowed_servers)"), "{problem}");
                assert!(!problem.contains("sekret"), "{problem}");
            }
        }
        // One that nobody wrote is none.
        ProviderSettings::parse(Some(r#"{"allowed_servers":"*.example.com"}"#)).unwrap();
    }
}
