//! The subjects of the control interface. The only place that formats one, and
//! only from validated names: a subject always has the tokens it should have
//! and always belongs to the lattice it was made for.

use async_nats::Subject;

use crate::lattice::dialect::v0::place::{Api, Place, Token};
use crate::lattice::dialect::v0::wire::BucketKey;
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

/// Name of the stream of a lattice's metadata bucket.
pub fn bucket(lattice: &LatticeId) -> String {
    format!("KV_LATTICEDATA_{lattice}")
}

/// What a question about the bucket is published to, and what a server of the
/// domain makes of that before it looks at permissions.
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

/// JetStream says whether there is a bucket.
pub fn bucket_info(lattice: &LatticeId, domain: Option<&JsDomain>) -> [Subject; 2] {
    let bucket = bucket(lattice);
    about_bucket(domain, format_args!("STREAM.INFO.{bucket}"))
}

/// JetStream hands one entry of the bucket over.
pub fn bucket_get(lattice: &LatticeId, domain: Option<&JsDomain>) -> [Subject; 2] {
    let bucket = bucket(lattice);
    about_bucket(domain, format_args!("STREAM.MSG.GET.{bucket}"))
}

/// JetStream hands the bucket over.
pub fn bucket_read(lattice: &LatticeId, domain: Option<&JsDomain>) -> [Subject; 2] {
    let bucket = bucket(lattice);
    about_bucket(domain, format_args!("CONSUMER.CREATE.{bucket}"))
}

/// JetStream no longer hands the bucket over.
pub fn bucket_read_over(
    lattice: &LatticeId,
    domain: Option<&JsDomain>,
    consumer: &Token,
) -> Subject {
    let (api, bucket) = (Api::of(domain), bucket(lattice));
    Subject::from(format!("{api}.CONSUMER.DELETE.{bucket}.{consumer}"))
}

/// What the subjects begin with on which JetStream hears that it may go on.
pub fn bucket_flow(lattice: &LatticeId) -> String {
    format!("$JS.FC.{}", bucket(lattice))
}

/// What the subjects of its entries begin with, as the bucket has them.
pub fn bucket_entries(lattice: &LatticeId, place: &Place) -> String {
    match place {
        Place::Origin(origin) if !origin.renames => format!("$KV.{}.", origin.bucket),
        Place::Origin(_) | Place::Here => format!("$KV.LATTICEDATA_{lattice}."),
    }
}

/// What an entry of the bucket is published to, and what a server that takes it
/// makes of that before it looks at permissions.
pub fn bucket_entry(
    lattice: &LatticeId,
    domain: Option<&JsDomain>,
    place: &Place,
    key: &BucketKey,
) -> [Subject; 2] {
    let (plain, api) = match place {
        Place::Here => (format!("$KV.LATTICEDATA_{lattice}.{key}"), None),
        Place::Origin(origin) => (format!("$KV.{}.{key}", origin.bucket), origin.api.clone()),
    };
    let api = api.or_else(|| domain.map(|_| Api::of(domain)));
    let published = match api {
        Some(api) => format!("{api}.{plain}"),
        None => plain.clone(),
    };
    [published.into(), plain.into()]
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
    fn entries_are_written_where_they_come_from() {
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
