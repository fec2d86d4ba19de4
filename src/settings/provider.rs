//! Settings of the provider.

use secrecy::SecretString;
use serde_json::{Map, Value};

use crate::error::without_values;
use crate::nats::{Access, Login, Tls};
use crate::settings::{CallLimits, Mistakes, Policy, PoolSettings, TimeLimits, tls, wipe};

/// Settings of the provider: a JSON object in `config_json`.
#[derive(Clone, Debug)]
pub struct ProviderSettings {
    /// `default_lattice_url`: where a lattice is whose credentials name no URL.
    /// A secret: it may hold user info.
    pub default_lattice_url: SecretString,
    /// How many calls may be under way, and how old one may be.
    pub calls: CallLimits,
    /// `default_lattices`, `default_operations`: what actors may do whose links
    /// do not say.
    pub default_policy: Policy,
    /// How long things may take.
    pub limits: TimeLimits,
    /// Connections, and where credentials are kept.
    pub pool: PoolSettings,
    /// `tls_ca_file`, `tls_cert_file`, `tls_key_file`, `tls_client_servers`,
    /// `tls_first_servers`.
    pub tls: Tls,
}

impl Default for ProviderSettings {
    fn default() -> Self {
        Self {
            default_lattice_url: SecretString::from("nats://127.0.0.1:4222"),
            calls: CallLimits::default(),
            default_policy: Policy::default(),
            limits: TimeLimits::default(),
            pool: PoolSettings::default(),
            tls: Tls::default(),
        }
    }
}

impl ProviderSettings {
    /// Every key that [`ProviderSettings::parse`] knows.
    pub const KEYS: [&str; 30] = [
        "allowed_servers",
        "call_budget_ms",
        "credentials_key",
        "credentials_store",
        "default_lattice_url",
        "default_lattices",
        "default_operations",
        "gather_limit_ms",
        "grace_ms",
        "idle_limit_ms",
        "invocation_window_ms",
        "isolation",
        "max_actor_calls",
        "max_actor_credentials_bytes",
        "max_actor_lattices",
        "max_calls",
        "max_connections",
        "max_credentials_bytes",
        "max_dials",
        "max_jwt_bytes",
        "max_lattice_calls",
        "max_lattices",
        "request_limit_ms",
        "stall_ms",
        "tls_ca_file",
        "tls_cert_file",
        "tls_client_servers",
        "tls_first_servers",
        "tls_key_file",
        "unplaced_credentials",
    ];

    /// Reads settings; no text, or a blank one, gives the defaults.
    ///
    /// # Errors
    /// Every mistake, in one text, without the values.
    pub fn parse(config_json: Option<&str>) -> Result<Self, String> {
        let mut settings = Self::default();
        let text = bare(config_json);
        if text.is_empty() {
            return Ok(settings);
        }
        let members: Map<String, Value> = serde_json::from_str(text).map_err(|error| {
            let problem = without_values(&error.to_string());
            format!("the configuration is not a JSON object: {problem}")
        })?;
        let mut mistakes = Mistakes::default();
        let mut default_access = None;
        for (key, mut value) in members {
            match key.as_str() {
                "default_lattice_url" => match value.as_str() {
                    Some(url) => match Access::parse(url, Login::Anonymous) {
                        Ok(access) => {
                            settings.default_lattice_url = url.into();
                            default_access = Some(access);
                        }
                        Err(problem) => mistakes.add(&key, &problem),
                    },
                    None => mistakes.add(&key, "it must be text"),
                },
                "default_lattices" | "default_operations" => {
                    settings
                        .default_policy
                        .take_json(&key, &value, &mut mistakes);
                }
                _ if CallLimits::KEYS.contains(&key.as_str()) => {
                    settings.calls.take(&key, &value, &mut mistakes);
                }
                _ if PoolSettings::KEYS.contains(&key.as_str()) => {
                    settings.pool.take(&key, value.take(), &mut mistakes);
                }
                _ if TimeLimits::KEYS.contains(&key.as_str()) => {
                    settings.limits.take(&key, value.as_u64(), &mut mistakes);
                }
                _ if tls::KEYS.contains(&key.as_str()) => {
                    tls::take(&mut settings.tls, &key, &value, &mut mistakes);
                }
                _ => mistakes.unknown(&key, &Self::KEYS),
            }
            wipe(&mut value);
        }
        settings.calls.contradictions(&mut mistakes);
        settings.limits.contradictions(&mut mistakes);
        settings.pool.limits.contradictions(&mut mistakes);
        tls::contradictions(&settings.tls, &mut mistakes);
        let check = |access: Access| settings.pool.allowed.check(access.servers());
        if let Some(Err(problem)) = default_access.map(check) {
            mistakes.add("default_lattice_url", &problem.to_string());
        }
        mistakes.none().map(|()| settings)
    }

    /// The settings of TLS alone, whatever is wrong with others: what is wrong
    /// can be told only to those who can be reached.
    pub fn tls_at_least(config_json: Option<&str>) -> Tls {
        let read = serde_json::from_str(bare(config_json));
        let members: Map<String, Value> = read.unwrap_or_default();
        let (mut tls, mut mistakes) = (Tls::default(), Mistakes::default());
        for (key, mut value) in members {
            if tls::KEYS.contains(&key.as_str()) {
                tls::take(&mut tls, &key, &value, &mut mistakes);
            }
            wipe(&mut value);
        }
        tls
    }
}

/// The text of the settings, without the byte order mark that some editors put in
/// front.
fn bare(config_json: Option<&str>) -> &str {
    let text = config_json.unwrap_or_default();
    text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

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
    fn every_mistake_is_reported_at_once_without_values() {
        let problem = ProviderSettings::parse(Some(
            r#"{"default_lattice_url":"http://u:sekret@h","max_calls":0,"bogus":1,
                "default_operations":["sekret"],"default_lattices":"",
                "stall_ms":"sekret","gather_limit_ms":2000,"call_budget_ms":1000}"#,
        ))
        .unwrap_err();
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
                assert!(problem.contains("(allowed_servers)"), "{problem}");
                assert!(!problem.contains("sekret"), "{problem}");
            }
        }
        // One that nobody wrote is none.
        ProviderSettings::parse(Some(r#"{"allowed_servers":"*.example.com"}"#)).unwrap();
    }

    #[test]
    fn every_key_is_told() {
        let keys = TimeLimits::KEYS.iter().chain(&PoolSettings::KEYS);
        let keys = keys.chain(&CallLimits::KEYS);
        for key in keys.chain(&tls::KEYS) {
            assert!(ProviderSettings::KEYS.contains(key), "{key}");
        }
    }
}
