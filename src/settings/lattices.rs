//! Settings of credentials and connections: how many there may be, where credentials are
//! kept, and where connections may go.

use std::time::Duration;

use secrecy::SecretString;

use crate::nats::AllowedServers;

/// How many lattices, connections and dials there may be, and how long an unused
/// connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatticeLimits {
    /// `max_lattices`: lattices with credentials.
    pub lattices: usize,
    /// `max_actor_lattices`: those of one actor, with `isolation`.
    pub actor_lattices: Option<usize>,
    /// `max_credentials_bytes`: bytes of all credentials together.
    pub credentials_bytes: usize,
    /// `max_actor_credentials_bytes`: those of one actor, with `isolation`.
    pub actor_credentials_bytes: Option<usize>,
    /// `max_jwt_bytes`: bytes of a user JWT, and of its seed.
    pub jwt_bytes: usize,
    /// `max_connections`: connections to lattices, open or being dialled.
    pub connections: usize,
    /// `max_dials`: connections being dialled.
    pub dials: usize,
    /// `idle_limit_ms`: how long a connection stays open after the end of its last use.
    pub idle: Duration,
}

impl LatticeLimits {
    /// Before the defaults of the table are filled in.
    const UNSET: Self = Self {
        lattices: 0,
        actor_lattices: None,
        credentials_bytes: 0,
        actor_credentials_bytes: None,
        jwt_bytes: 0,
        connections: 0,
        dials: 0,
        idle: Duration::ZERO,
    };

    /// `max_actor_lattices`: half of all unless set, so that no actor can take every
    /// place.
    pub fn of_actor(&self) -> usize {
        self.actor_lattices.unwrap_or(self.lattices.div_ceil(2))
    }

    /// `max_actor_credentials_bytes`: half of all unless set, for the same reason.
    pub fn credentials_bytes_of_actor(&self) -> usize {
        let half = self.credentials_bytes.div_ceil(2);
        self.actor_credentials_bytes.unwrap_or(half)
    }
}

/// `credentials_store`: where credentials are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// In the bucket where JetStream answers, else in memory.
    Auto,
    /// In the bucket; without it, no credentials are accepted.
    Jetstream,
    /// In memory.
    Memory,
}

/// `unplaced_credentials`: what happens to stored entries that do not say where they
/// belong, as earlier releases wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplaced {
    /// They are used, and written again with the lattice that they belong to.
    Accepted,
    /// They are ignored: somebody may have moved them.
    Refused,
}

/// `isolation`: who may use, and replace, the credentials of a lattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Every linked actor, as with the predecessor.
    None,
    /// The actor that set them.
    Actor,
}

/// Settings of credentials and connections.
#[derive(Clone, Debug)]
pub struct LatticeSettings {
    /// `max_…` and `idle_limit_ms`.
    pub limits: LatticeLimits,
    /// `credentials_store`.
    pub store: StoreMode,
    /// `isolation`.
    pub isolation: Isolation,
    /// `unplaced_credentials`.
    pub unplaced: Unplaced,
    /// `credentials_key`: the seed of the key that they are sealed with. Without it, the
    /// key is derived from the cluster seed.
    pub key: Option<SecretString>,
    /// `allowed_servers`: where connections may go.
    pub allowed: AllowedServers,
}

impl LatticeSettings {
    /// Before the defaults of the table are filled in.
    pub(super) const UNSET: Self = Self {
        limits: LatticeLimits::UNSET,
        store: StoreMode::Auto,
        isolation: Isolation::None,
        unplaced: Unplaced::Accepted,
        key: None,
        allowed: AllowedServers::ALL_BUT_LINK_LOCAL,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::parse;
    use serde_json::{Value, json};

    fn read(pairs: &[(&str, Value)]) -> Result<LatticeSettings, String> {
        let read = parse::of(pairs);
        read.map(|it| it.lattices)
            .map_err(|error| error.to_string())
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
        assert_eq!(settings.allowed, AllowedServers::default());
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
