//! The subjects of the control interface of 1.x, of its events and of its configs. No
//! other file formats one. They are made from validated names only, so that a subject
//! always has the tokens that it should have, and belongs to the lattice that it is made
//! for.

use async_nats::Subject;

use crate::lattice::dialect::v1::configs::ConfigName;
use crate::metadata_bucket::{self, StreamName};
use crate::name::{HostId, LatticeId};
use crate::nats::text;

/// What one host is asked or told, by the tokens before its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Say what runs there.
    Inventory,
    /// Stop itself.
    StopHost,
    /// Set how many of a component may run: starts, scales and stops it.
    Scale,
    /// Replace a component.
    Update,
    /// Start a provider.
    StartProvider,
    /// Stop a provider.
    StopProvider,
}

impl Verb {
    fn tokens(self) -> &'static str {
        match self {
            Self::Inventory => "host.get",
            Self::StopHost => "host.stop",
            Self::Scale => "component.scale",
            Self::Update => "component.update",
            Self::StartProvider => "provider.start",
            Self::StopProvider => "provider.stop",
        }
    }
}

/// Asks every host what it is.
pub fn ping(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("host.ping"))
}

/// Asks or tells one host something.
pub fn to_host(lattice: &LatticeId, host: &HostId, verb: Verb) -> Subject {
    of(lattice, format_args!("{}.{host}", verb.tokens()))
}

/// Asks which hosts would run a component.
pub fn auction_component(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("component.auction"))
}

/// Asks which hosts would run a provider.
pub fn auction_provider(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("provider.auction"))
}

/// Asks any host for all claims.
pub fn claims(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("claims.get"))
}

/// Tells any host to store a named config.
pub fn put_config(lattice: &LatticeId, name: &ConfigName) -> Subject {
    of(lattice, format_args!("config.put.{name}"))
}

/// Tells any host to remove a named config.
pub fn delete_config(lattice: &LatticeId, name: &ConfigName) -> Subject {
    of(lattice, format_args!("config.del.{name}"))
}

/// Tells every host to add registry credentials.
pub fn put_registries(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("registry.put"))
}

/// Returns what all subjects of the control interface match, for messages to people.
pub fn control(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!(">"))
}

/// Returns where hosts publish events: each kind on a subject of its own. Hosts 0.81 and
/// 0.82 publish theirs there, too, beside those on the one subject of 0.x.
pub fn events(lattice: &LatticeId) -> Subject {
    Subject::from(format!("wasmbus.evt.{lattice}.*"))
}

/// Returns the name of the stream of the bucket in which hosts keep named configs.
pub fn configs(lattice: &LatticeId) -> StreamName {
    metadata_bucket::configs_stream(lattice)
}

/// Returns how the subjects of named configs begin in that stream.
pub fn config_entries(lattice: &LatticeId) -> String {
    format!("$KV.CONFIGDATA_{lattice}.")
}

/// Tells whether a subject is one of the control interface of 1.x, in any lattice.
pub fn is_of_v1(subject: &str) -> bool {
    subject.starts_with("wasmbus.ctl.v1.")
}

fn of(lattice: &LatticeId, rest: std::fmt::Arguments<'_>) -> Subject {
    // Room for an order to a host, so that it does not grow piece by piece.
    let room = 96 + lattice.as_str().len();
    Subject::from(text(room, format_args!("wasmbus.ctl.v1.{lattice}.{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::dialect::v0;
    use crate::name::ComponentId;

    const HOST: &str = "NBQMBNW3L3IZL2S7N7QIERCFOQCKFBQ7L5RYLJOR4MDPHBK4B2DIZI7Z";

    #[test]
    fn subjects_are_those_that_hosts_subscribe_to() {
        let lattice = LatticeId::parse("default").unwrap();
        let host = HostId::parse(HOST).unwrap();
        let id = ComponentId::parse("kv").unwrap();
        let config = ConfigName::of_provider(&id, &host);
        let told = |verb| to_host(&lattice, &host, verb);
        let expected = [
            (ping(&lattice), "host.ping".to_owned()),
            (auction_component(&lattice), "component.auction".to_owned()),
            (auction_provider(&lattice), "provider.auction".to_owned()),
            (claims(&lattice), "claims.get".to_owned()),
            (put_registries(&lattice), "registry.put".to_owned()),
            (
                put_config(&lattice, &config),
                format!("config.put.kv-{HOST}"),
            ),
            (
                delete_config(&lattice, &config),
                format!("config.del.kv-{HOST}"),
            ),
            (told(Verb::Inventory), format!("host.get.{HOST}")),
            (told(Verb::StopHost), format!("host.stop.{HOST}")),
            (told(Verb::Scale), format!("component.scale.{HOST}")),
            (told(Verb::Update), format!("component.update.{HOST}")),
            (told(Verb::StartProvider), format!("provider.start.{HOST}")),
            (told(Verb::StopProvider), format!("provider.stop.{HOST}")),
        ];
        for (subject, rest) in expected {
            assert_eq!(subject.as_str(), format!("wasmbus.ctl.v1.default.{rest}"));
            assert!(is_of_v1(&subject) && !v0::subject::is_of_v0(&subject));
        }
        assert!(!is_of_v1(&v0::subject::ping(&lattice)));
        assert_eq!(events(&lattice).as_str(), "wasmbus.evt.default.*");
    }
}
