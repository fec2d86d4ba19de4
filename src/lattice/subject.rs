//! The subjects of the control interface. The only place that formats one, and
//! only from validated names: a subject always has the tokens it should have
//! and always belongs to the lattice it was made for.

use async_nats::Subject;

use super::wire::BucketKey;
use crate::name::{HostId, JsDomain, LatticeId};
use crate::nats::text;

/// What a host can be told to do, by the last token of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Start an actor.
    StartActor,
    /// Set the number of instances of an actor.
    ScaleActor,
    /// Stop an actor.
    StopActor,
    /// Replace an actor.
    UpdateActor,
    /// Start a provider.
    StartProvider,
    /// Stop a provider.
    StopProvider,
    /// Stop itself.
    StopHost,
}

impl Verb {
    fn token(self) -> &'static str {
        match self {
            Self::StartActor => "la",
            Self::ScaleActor => "scale",
            Self::StopActor => "sa",
            Self::UpdateActor => "upd",
            Self::StartProvider => "lp",
            Self::StopProvider => "sp",
            Self::StopHost => "stop",
        }
    }
}

/// Every host answers with what it is.
pub fn ping(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("ping.hosts"))
}

/// Every 1.x host answers; they speak another protocol, and no other is asked
/// of them.
pub fn ping_v1(lattice: &LatticeId) -> Subject {
    Subject::from(format!("wasmbus.ctl.v1.{lattice}.host.ping"))
}

/// Every host that would run the actor answers.
pub fn auction_actor(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("auction.actor"))
}

/// Every host that would run the provider answers.
pub fn auction_provider(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("auction.provider"))
}

/// Every host tells of itself and what runs on it: hosts up to 0.82 all on this
/// one, those from 0.81 on beside others.
pub fn events(lattice: &LatticeId) -> Subject {
    Subject::from(format!("wasmbus.evt.{lattice}"))
}

/// All that hosts listen to, for messages.
pub fn control(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!(">"))
}

/// A host answers with what runs on it.
pub fn inventory(lattice: &LatticeId, host: &HostId) -> Subject {
    of(lattice, format_args!("get.{host}.inv"))
}

/// A host does something and acknowledges it.
pub fn command(lattice: &LatticeId, host: &HostId, verb: Verb) -> Subject {
    of(lattice, format_args!("cmd.{host}.{}", verb.token()))
}

/// A host answers with all claims.
pub fn claims(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("get.claims"))
}

/// A host answers with all links.
pub fn links(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("get.links"))
}

/// A host stores a link.
pub fn put_link(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("linkdefs.put"))
}

/// A host removes a link.
pub fn remove_link(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("linkdefs.del"))
}

/// Every host adds registry credentials.
pub fn registries(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("registries.put"))
}

/// The JetStream API, in a domain where there is one.
fn jetstream(domain: Option<&JsDomain>) -> String {
    match domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    }
}

/// Name of the stream of a lattice's metadata bucket.
pub fn bucket(lattice: &LatticeId) -> String {
    format!("KV_LATTICEDATA_{lattice}")
}

/// JetStream says whether there is a bucket.
pub fn bucket_info(lattice: &LatticeId, domain: Option<&JsDomain>) -> Subject {
    let (api, bucket) = (jetstream(domain), bucket(lattice));
    Subject::from(format!("{api}.STREAM.INFO.{bucket}"))
}

/// JetStream hands one entry of the bucket over.
pub fn bucket_get(lattice: &LatticeId, domain: Option<&JsDomain>) -> Subject {
    let (api, bucket) = (jetstream(domain), bucket(lattice));
    Subject::from(format!("{api}.STREAM.MSG.GET.{bucket}"))
}

/// What the subjects begin with on which JetStream is asked to hand the bucket
/// over.
pub fn bucket_read(lattice: &LatticeId, domain: Option<&JsDomain>) -> String {
    let (api, bucket) = (jetstream(domain), bucket(lattice));
    format!("{api}.CONSUMER.CREATE.{bucket}")
}

/// What the subjects begin with on which JetStream hears that it may go on.
pub fn bucket_flow(lattice: &LatticeId) -> String {
    format!("$JS.FC.{}", bucket(lattice))
}

/// Entries of the bucket, as JetStream hands them over.
pub fn bucket_entries(lattice: &LatticeId) -> String {
    format!("$KV.LATTICEDATA_{lattice}.")
}

/// An entry of the bucket is written.
pub fn bucket_entry(lattice: &LatticeId, domain: Option<&JsDomain>, key: &BucketKey) -> Subject {
    let entries = bucket_entries(lattice);
    Subject::from(match domain {
        Some(_) => format!("{}.{entries}{key}", jetstream(domain)),
        None => format!("{entries}{key}"),
    })
}

fn of(lattice: &LatticeId, rest: std::fmt::Arguments<'_>) -> Subject {
    // Room for the longest, so that it does not grow piece by piece.
    let room = 96 + lattice.as_str().len();
    Subject::from(text(room, format_args!("wasmbus.ctl.{lattice}.{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "NAGASFIHF5SBGTNTZUOVWT3O63SJUMIFUL7BH52T3UAFKQW7PPP46KFU";

    #[test]
    fn subjects_are_those_that_hosts_subscribe_to() {
        let lattice = LatticeId::parse("default").unwrap();
        let host = HostId::parse(HOST).unwrap();
        let expected = [
            (ping(&lattice), "ping.hosts".to_owned()),
            (auction_actor(&lattice), "auction.actor".to_owned()),
            (auction_provider(&lattice), "auction.provider".to_owned()),
            (claims(&lattice), "get.claims".to_owned()),
            (links(&lattice), "get.links".to_owned()),
            (put_link(&lattice), "linkdefs.put".to_owned()),
            (remove_link(&lattice), "linkdefs.del".to_owned()),
            (registries(&lattice), "registries.put".to_owned()),
            (inventory(&lattice, &host), format!("get.{HOST}.inv")),
            (
                command(&lattice, &host, Verb::StartActor),
                format!("cmd.{HOST}.la"),
            ),
            (
                command(&lattice, &host, Verb::ScaleActor),
                format!("cmd.{HOST}.scale"),
            ),
            (
                command(&lattice, &host, Verb::StopActor),
                format!("cmd.{HOST}.sa"),
            ),
            (
                command(&lattice, &host, Verb::UpdateActor),
                format!("cmd.{HOST}.upd"),
            ),
            (
                command(&lattice, &host, Verb::StartProvider),
                format!("cmd.{HOST}.lp"),
            ),
            (
                command(&lattice, &host, Verb::StopProvider),
                format!("cmd.{HOST}.sp"),
            ),
            (
                command(&lattice, &host, Verb::StopHost),
                format!("cmd.{HOST}.stop"),
            ),
        ];
        for (subject, rest) in expected {
            assert_eq!(subject.as_str(), format!("wasmbus.ctl.default.{rest}"));
        }
    }
}
