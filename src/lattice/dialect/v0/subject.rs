//! The subjects of the control interface and of the metadata bucket. No other file
//! formats one. They are made from validated names only, so that a subject always has
//! the tokens that it should have, and belongs to the lattice that it is made for.

use async_nats::Subject;

use crate::lattice::dialect::v0::place::{Api, Place, Token};
use crate::metadata_bucket::{self, BucketKey, StreamName};
use crate::name::{HostId, JsDomain, LatticeId};
use crate::nats::text;

/// What a host is told to do, by the last token of the subject.
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

/// Asks every host what it is.
pub fn ping(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("ping.hosts"))
}

/// Asks which hosts would run an actor.
pub fn auction_actor(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("auction.actor"))
}

/// Asks which hosts would run a provider.
pub fn auction_provider(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("auction.provider"))
}

/// Returns where hosts publish events: hosts up to 0.82 all on this subject, those from
/// 0.81 on also on others.
pub fn events(lattice: &LatticeId) -> Subject {
    Subject::from(format!("wasmbus.evt.{lattice}"))
}

/// Returns what all subjects of the control interface match, for messages to people.
pub fn control(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!(">"))
}

/// Asks a host what runs on it.
pub fn inventory(lattice: &LatticeId, host: &HostId) -> Subject {
    of(lattice, format_args!("get.{host}.inv"))
}

/// Tells a host to do something.
pub fn command(lattice: &LatticeId, host: &HostId, verb: Verb) -> Subject {
    of(lattice, format_args!("cmd.{host}.{}", verb.token()))
}

/// Asks any host for all claims.
pub fn claims(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("get.claims"))
}

/// Asks any host for all links.
pub fn links(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("get.links"))
}

/// Tells any host to store a link.
pub fn put_link(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("linkdefs.put"))
}

/// Tells any host to remove a link.
pub fn remove_link(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("linkdefs.del"))
}

/// Tells every host to add registry credentials.
pub fn registries(lattice: &LatticeId) -> Subject {
    of(lattice, format_args!("registries.put"))
}

/// Returns the name of the stream of the metadata bucket.
pub fn bucket(lattice: &LatticeId) -> StreamName {
    metadata_bucket::stream(lattice)
}

/// Returns what a question about the bucket is published to, and the subject that a
/// server of the domain makes of that before it checks permissions.
fn about_bucket(domain: Option<&JsDomain>, question: std::fmt::Arguments<'_>) -> [Subject; 2] {
    let plain = format!("$JS.API.{question}");
    match domain {
        Some(_) => [
            Subject::from(format!("{}.{question}", Api::of(domain))),
            plain.into(),
        ],
        None => [plain.clone().into(), plain.into()],
    }
}

/// Asks JetStream whether there is a bucket.
pub fn bucket_info(lattice: &LatticeId, domain: Option<&JsDomain>) -> [Subject; 2] {
    let bucket = bucket(lattice);
    about_bucket(domain, format_args!("STREAM.INFO.{bucket}"))
}

/// Asks JetStream for one entry of the bucket.
pub fn bucket_get(lattice: &LatticeId, domain: Option<&JsDomain>) -> [Subject; 2] {
    let bucket = bucket(lattice);
    about_bucket(domain, format_args!("STREAM.MSG.GET.{bucket}"))
}

/// Asks JetStream to deliver the stream of a bucket.
pub fn bucket_read(stream: &StreamName, domain: Option<&JsDomain>) -> [Subject; 2] {
    about_bucket(domain, format_args!("CONSUMER.CREATE.{stream}"))
}

/// Tells JetStream to deliver no more of the stream of a bucket.
pub fn bucket_read_over(
    stream: &StreamName,
    domain: Option<&JsDomain>,
    consumer: &Token,
) -> Subject {
    let api = Api::of(domain);
    Subject::from(format!("{api}.CONSUMER.DELETE.{stream}.{consumer}"))
}

/// Returns how the subjects begin on which JetStream is told to go on delivering a stream.
pub fn bucket_flow(stream: &StreamName) -> String {
    format!("$JS.FC.{stream}")
}

/// Returns how the subjects of the entries begin, as the bucket lists them.
pub fn bucket_entries(lattice: &LatticeId, place: &Place) -> String {
    match place {
        Place::Origin(origin) if !origin.renames => format!("$KV.{}.", origin.bucket),
        Place::Origin(_) | Place::Here => metadata_bucket::entries(lattice),
    }
}

/// Returns what an entry of the bucket is published to, and the subject that the server
/// makes of that before it checks permissions.
pub fn bucket_entry(
    lattice: &LatticeId,
    domain: Option<&JsDomain>,
    place: &Place,
    key: &BucketKey,
) -> [Subject; 2] {
    let (plain, api) = match place {
        Place::Here => (format!("{}{key}", metadata_bucket::entries(lattice)), None),
        Place::Origin(origin) => (format!("$KV.{}.{key}", origin.bucket), origin.api.clone()),
    };
    let api = api.or_else(|| domain.map(|_| Api::of(domain)));
    let published = match api {
        Some(api) => format!("{api}.{plain}"),
        None => plain.clone(),
    };
    [published.into(), plain.into()]
}

/// Tells whether a subject is one of the control interface of 0.x, in any lattice.
pub(crate) fn is_of_v0(subject: &str) -> bool {
    subject.starts_with("wasmbus.ctl.") && !subject.starts_with("wasmbus.ctl.v1.")
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

    #[test]
    fn entries_are_written_where_those_of_a_mirror_come_from() {
        let lattice = LatticeId::parse("x").unwrap();
        let hub = JsDomain::parse("hub").unwrap();
        let key = BucketKey::of_reference("r");
        let written = |domain, place: &Place| {
            let subjects = bucket_entry(&lattice, domain, place, &key);
            subjects.map(|subject| subject.replace(&key.to_string(), "k"))
        };
        let own = "$KV.LATTICEDATA_x.k";
        assert_eq!(written(None, &Place::Here), [own, own]);
        let there = format!("$JS.hub.API.{own}");
        assert_eq!(written(Some(&hub), &Place::Here), [there.as_str(), own]);
        let mirror = |api: Option<&str>| Place::of_mirror("OLD", api);
        let old = "$KV.OLD.k";
        assert_eq!(written(None, &mirror(None)), [old, old]);
        let there = format!("$JS.hub.API.{old}");
        assert_eq!(written(Some(&hub), &mirror(None)), [there.as_str(), old]);
        let elsewhere = mirror(Some("$JS.far.API"));
        for domain in [None, Some(&hub)] {
            assert_eq!(written(domain, &elsewhere), ["$JS.far.API.$KV.OLD.k", old]);
        }
        assert_eq!(bucket_entries(&lattice, &elsewhere), "$KV.OLD.");
        assert_eq!(bucket_entries(&lattice, &Place::Here), "$KV.LATTICEDATA_x.");
    }
}
