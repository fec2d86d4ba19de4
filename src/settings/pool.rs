//! How many lattices and connections there may be, and where credentials are
//! kept.

use std::time::Duration;

use nkeys::XKey;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::nats::Allowed;
use crate::settings::Mistakes;
use crate::settings::servers::servers;

/// How many lattices, connections and dials there may be, and how long an unused
/// connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// `max_lattices`: lattices with credentials.
    pub lattices: usize,
    /// `max_actor_lattices`: those of one actor, with `isolation`.
    pub actor_lattices: Option<usize>,
    /// `max_credentials_bytes`: bytes of all credentials together.
    pub credentials_bytes: usize,
    /// `max_actor_credentials_bytes`: those of one actor, with `isolation`.
    pub actor_credentials_bytes: Option<usize>,
    /// `max_jwt_bytes`: bytes of a user JWT, and of what stands for its seed.
    pub jwt_bytes: usize,
    /// `max_connections`: connections to lattices, open or being dialled.
    pub connections: usize,
    /// `max_dials`: connections being dialled.
    pub dials: usize,
    /// `idle_limit_ms`: after the end of its last use.
    pub idle: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            lattices: 10_000,
            actor_lattices: None,
            credentials_bytes: 64 * 1024 * 1024,
            actor_credentials_bytes: None,
            jwt_bytes: 16 * 1024,
            connections: 1_000,
            dials: 64,
            idle: Duration::from_secs(600),
        }
    }
}

impl PoolLimits {
    /// `max_actor_lattices`: half of all unless set, so that none can take every
    /// place.
    pub fn of_actor(&self) -> usize {
        self.actor_lattices.unwrap_or(self.lattices.div_ceil(2))
    }

    /// `max_actor_credentials_bytes`: the same for bytes.
    pub fn credentials_bytes_of_actor(&self) -> usize {
        let half = self.credentials_bytes.div_ceil(2);
        self.actor_credentials_bytes.unwrap_or(half)
    }

    /// Adds what could never count.
    pub(super) fn contradictions(&self, mistakes: &mut Mistakes) {
        let lattices = (self.of_actor(), self.lattices);
        let bytes = (self.credentials_bytes_of_actor(), self.credentials_bytes);
        for (key, all, (part, whole)) in [
            ("max_actor_lattices", "max_lattices", lattices),
            (
                "max_actor_credentials_bytes",
                "max_credentials_bytes",
                bytes,
            ),
        ] {
            if part > whole {
                mistakes.add(key, &format!("it must not be more than {all}"));
            }
        }
    }
}

/// `credentials_store`: where credentials are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StoreMode {
    /// In the bucket where JetStream answers, else in memory.
    #[default]
    Auto,
    /// In the bucket; without it none are taken.
    Jetstream,
    /// In memory.
    Memory,
}

/// `unplaced_credentials`: what becomes of entries of the store that do not say where
/// they belong, as earlier releases wrote them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unplaced {
    /// They are used, and written again with their places.
    #[default]
    Accepted,
    /// They are ignored: somebody may have moved them.
    Refused,
}

/// `isolation`: who may use, and replace, the credentials of a lattice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// Every linked actor, as with the predecessor.
    #[default]
    None,
    /// The actor that set them.
    Actor,
}

/// Settings of connections and of the store of credentials.
#[derive(Clone, Debug, Default)]
pub struct PoolSettings {
    /// The limits.
    pub limits: PoolLimits,
    /// Where credentials are kept.
    pub store: StoreMode,
    /// Whose credentials are whose.
    pub isolation: Isolation,
    /// What becomes of entries that do not say where they belong.
    pub unplaced: Unplaced,
    /// `credentials_key`: what they are sealed with, else a key that is derived
    /// from the cluster seed. Checked to be one.
    pub key: Option<SecretString>,
    /// `allowed_servers`: where connections may go.
    pub allowed: Allowed,
}

impl PoolSettings {
    /// Every key that [`PoolSettings::take`] knows.
    pub(super) const KEYS: [&str; 13] = [
        "allowed_servers",
        "credentials_key",
        "credentials_store",
        "idle_limit_ms",
        "isolation",
        "max_actor_credentials_bytes",
        "max_actor_lattices",
        "max_connections",
        "max_credentials_bytes",
        "max_dials",
        "max_jwt_bytes",
        "max_lattices",
        "unplaced_credentials",
    ];

    /// Takes what stands under `key`, one of [`PoolSettings::KEYS`].
    pub(super) fn take(&mut self, key: &str, value: Value, mistakes: &mut Mistakes) {
        let limits = &mut self.limits;
        match key {
            "allowed_servers" => match servers(&value) {
                Ok(servers) => self.allowed = Allowed::these(servers),
                Err(problems) => problems.iter().for_each(|it| mistakes.add(key, it)),
            },
            "credentials_key" => match value {
                Value::String(seed) => {
                    let seed = SecretString::from(seed);
                    match XKey::from_seed(seed.expose_secret()) {
                        Ok(_) => self.key = Some(seed),
                        Err(_) => mistakes.add(
                            key,
                            "it is not the seed of an xkey (SX…, made by `nk -gen curve`)",
                        ),
                    }
                }
                _ => mistakes.add(key, "it must be text"),
            },
            "credentials_store" => match value.as_str() {
                Some("auto") => self.store = StoreMode::Auto,
                Some("jetstream") => self.store = StoreMode::Jetstream,
                Some("memory") => self.store = StoreMode::Memory,
                _ => mistakes.add(key, "it must be auto, jetstream or memory"),
            },
            "isolation" => match value.as_str() {
                Some("none") => self.isolation = Isolation::None,
                Some("actor") => self.isolation = Isolation::Actor,
                _ => mistakes.add(key, "it must be none or actor"),
            },
            "unplaced_credentials" => match value.as_str() {
                Some("accepted") => self.unplaced = Unplaced::Accepted,
                Some("refused") => self.unplaced = Unplaced::Refused,
                _ => mistakes.add(key, "it must be accepted or refused"),
            },
            "max_actor_lattices" => {
                limits.actor_lattices = number(mistakes, key, &value, 1, 100_000);
            }
            "max_actor_credentials_bytes" => {
                limits.actor_credentials_bytes =
                    number(mistakes, key, &value, LEAST_BYTES, MOST_BYTES);
            }
            "max_credentials_bytes" => {
                if let Some(bytes) = number(mistakes, key, &value, LEAST_BYTES, MOST_BYTES) {
                    limits.credentials_bytes = bytes;
                }
            }
            "max_jwt_bytes" => {
                if let Some(bytes) = number(mistakes, key, &value, 1024, MOST_JWT_BYTES) {
                    limits.jwt_bytes = bytes;
                }
            }
            "idle_limit_ms" => {
                if let Some(ms) = mistakes.number(key, &value, 100, 86_400_000) {
                    limits.idle = Duration::from_millis(ms);
                }
            }
            _ => {
                let limit = match key {
                    "max_connections" => &mut limits.connections,
                    "max_dials" => &mut limits.dials,
                    "max_lattices" => &mut limits.lattices,
                    _ => return mistakes.unknown(key, &Self::KEYS),
                };
                if let Some(number) = number(mistakes, key, &value, 1, 100_000) {
                    *limit = number;
                }
            }
        }
    }
}

/// Bounds of what may be set for bytes of credentials.
const LEAST_BYTES: u64 = 1024;
const MOST_BYTES: u64 = 1024 * 1024 * 1024;
/// Longest JWT that may be allowed: an entry must fit into a message of the bucket.
const MOST_JWT_BYTES: u64 = 256 * 1024;

fn number(
    mistakes: &mut Mistakes,
    key: &str,
    value: &Value,
    least: u64,
    most: u64,
) -> Option<usize> {
    let number = mistakes.number(key, value, least, most)?;
    Some(number as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(pairs: &[(&str, Value)]) -> Result<PoolSettings, String> {
        let (mut settings, mut mistakes) = (PoolSettings::default(), Mistakes::default());
        for (key, value) in pairs {
            settings.take(key, value.clone(), &mut mistakes);
        }
        settings.limits.contradictions(&mut mistakes);
        mistakes.none().map(|()| settings)
    }

    #[test]
    fn no_actor_has_room_for_all_unless_it_is_said() {
        let limits = read(&[
            ("max_lattices", json!(5)),
            ("max_credentials_bytes", json!(4097)),
        ]);
        let limits = limits.unwrap().limits;
        let shares = (limits.of_actor(), limits.credentials_bytes_of_actor());
        assert_eq!(shares, (3, 2049));
        let both = [("max_lattices", json!(5)), ("max_actor_lattices", json!(5))];
        assert_eq!(read(&both).unwrap().limits.of_actor(), 5);
        for (key, all, part) in [
            ("max_actor_lattices", "max_lattices", 6),
            ("max_actor_credentials_bytes", "max_credentials_bytes", 1025),
        ] {
            let whole = if part == 6 { 5 } else { 1024 };
            let problem = read(&[(all, json!(whole)), (key, json!(part))]).unwrap_err();
            assert!(problem.contains(&format!("{key}: it must not be more than {all}")));
        }
        assert!(read(&[("unplaced_credentials", "Refused".into())]).is_err());
        assert!(read(&[("max_jwt_bytes", json!(262_145))]).is_err());
    }

    #[test]
    fn a_key_that_seals_nothing_and_a_store_that_is_none_are_mistakes() {
        let cluster = nkeys::KeyPair::new(nkeys::KeyPairType::Cluster).seed();
        let problem = read(&[
            ("credentials_key", cluster.as_deref().unwrap().into()),
            ("credentials_store", "redis".into()),
            ("max_dials", json!(0)),
            ("idle_limit_ms", json!("x")),
        ])
        .unwrap_err();
        for key in [
            "credentials_key",
            "credentials_store",
            "max_dials",
            "idle_limit_ms",
        ] {
            assert!(problem.contains(key), "{problem}");
        }
        assert!(!problem.contains(&cluster.unwrap()), "{problem}");
        let xkey = nkeys::XKey::new().seed().unwrap();
        let settings = read(&[
            ("credentials_key", xkey.into()),
            ("credentials_store", "jetstream".into()),
            ("max_connections", json!(7)),
            ("isolation", "actor".into()),
        ])
        .unwrap();
        assert_eq!(settings.allowed, Allowed::default());
        assert!(settings.key.is_some());
        assert_eq!(settings.store, StoreMode::Jetstream);
        assert_eq!(settings.limits.connections, 7);
        assert_eq!(settings.isolation, Isolation::Actor);
        assert!(read(&[("isolation", "Actor".into())]).is_err());
    }

    #[test]
    fn allowed_servers_are_a_list_or_a_text_with_commas() {
        let read = |value: Value| read(&[("allowed_servers", value)]).map(|it| it.allowed);
        let list = read(json!(["*.example.com", "tls://*"])).unwrap();
        assert_eq!(read(json!("*.example.com, tls://*")).unwrap(), list);
        for (wrong, expected) in [
            (json!([]), "no entry"),
            (json!(""), "entry 1"),
            (json!(["a", 1]), "each entry must be text"),
            (json!(7), "a list of texts"),
        ] {
            let problem = read(wrong).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        // All at once, without quoting what may be a secret.
        let problem = read(json!(["sekret@h", "http://a", "b", "10.0.0.1/8"])).unwrap_err();
        for part in ["entry 1: ", "entry 2: ", "entry 4: "] {
            assert!(problem.contains(part), "{problem}");
        }
        assert!(
            !problem.contains("sekret") && !problem.contains("entry 3"),
            "{problem}"
        );
    }
}
