//! No text makes a subject that differs from its template: one with other
//! tokens, with wildcards, or of another lattice.

use lattice_controller::internals::credentials::vault::bucket;
use lattice_controller::internals::lattice::dialect::v0::place::{Api, Origin, Place, Token};
use lattice_controller::internals::lattice::dialect::v0::subject::{self, Verb};
use lattice_controller::internals::lattice::dialect::v1;
use lattice_controller::internals::lattice::dialect::v1::configs::ConfigName;
use lattice_controller::internals::lattice::model::{Link, TextMap};
use lattice_controller::internals::metadata_bucket::BucketKey;
use lattice_controller::internals::name::{
    ActorId, ComponentId, HostId, JsDomain, LatticeId, LinkName, ProviderId, is_token,
};
use nkeys::KeyPairType;

/// Every public function of `lattice::dialect::v0::subject`, and the subject
/// that it makes.
pub const TEMPLATES: [(&str, &str); 19] = [
    ("ping", "wasmbus.ctl.{lattice}.ping.hosts"),
    ("auction_actor", "wasmbus.ctl.{lattice}.auction.actor"),
    ("auction_provider", "wasmbus.ctl.{lattice}.auction.provider"),
    ("events", "wasmbus.evt.{lattice}"),
    ("control", "wasmbus.ctl.{lattice}.>"),
    ("inventory", "wasmbus.ctl.{lattice}.get.{host}.inv"),
    ("command", "wasmbus.ctl.{lattice}.cmd.{host}.{verb}"),
    ("claims", "wasmbus.ctl.{lattice}.get.claims"),
    ("links", "wasmbus.ctl.{lattice}.get.links"),
    ("put_link", "wasmbus.ctl.{lattice}.linkdefs.put"),
    ("remove_link", "wasmbus.ctl.{lattice}.linkdefs.del"),
    ("registries", "wasmbus.ctl.{lattice}.registries.put"),
    ("bucket", "KV_LATTICEDATA_{lattice}"),
    ("bucket_info", "{api}.STREAM.INFO.KV_LATTICEDATA_{lattice}"),
    (
        "bucket_get",
        "{api}.STREAM.MSG.GET.KV_LATTICEDATA_{lattice}",
    ),
    (
        "bucket_read",
        "{api}.CONSUMER.CREATE.KV_LATTICEDATA_{lattice}",
    ),
    (
        "bucket_read_over",
        "{api}.CONSUMER.DELETE.KV_LATTICEDATA_{lattice}.{host}",
    ),
    ("bucket_flow", "$JS.FC.KV_LATTICEDATA_{lattice}"),
    ("bucket_entries", "$KV.LATTICEDATA_{lattice}."),
];

/// The remaining function, whose template depends on whether there is a domain.
pub const ENTRY: &str = "bucket_entry";

/// Every public function of `lattice::dialect::v1::subject` that makes a
/// subject, and the subject.
pub const V1_TEMPLATES: [(&str, &str); 12] = [
    ("ping", "wasmbus.ctl.v1.{lattice}.host.ping"),
    ("to_host", "wasmbus.ctl.v1.{lattice}.{verb}.{host}"),
    (
        "auction_component",
        "wasmbus.ctl.v1.{lattice}.component.auction",
    ),
    (
        "auction_provider",
        "wasmbus.ctl.v1.{lattice}.provider.auction",
    ),
    ("claims", "wasmbus.ctl.v1.{lattice}.claims.get"),
    (
        "put_config",
        "wasmbus.ctl.v1.{lattice}.config.put.{id}-{host}",
    ),
    (
        "delete_config",
        "wasmbus.ctl.v1.{lattice}.config.del.{id}-{host}",
    ),
    ("put_registries", "wasmbus.ctl.v1.{lattice}.registry.put"),
    ("control", "wasmbus.ctl.v1.{lattice}.>"),
    ("events", "wasmbus.evt.{lattice}.*"),
    ("configs", "KV_CONFIGDATA_{lattice}"),
    ("config_entries", "$KV.CONFIGDATA_{lattice}."),
];

/// Checks the promise. Each text of the input is tried as every name; a text
/// that is no name stands for the one before.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    let texts = super::texts(input);
    for pair in texts.windows(2).take(8) {
        let same = bucket::name(&pair[0]) == bucket::name(&pair[1]);
        assert_eq!(same, pair[0] == pair[1], "one bucket for {pair:?}");
    }
    let mut lattice = LatticeId::parse("default").unwrap();
    let mut host = HostId::parse(&super::key(KeyPairType::Server).public_key()).unwrap();
    let mut domain = None;
    let mut id = ComponentId::parse("id").unwrap();
    for (at, text) in texts.iter().enumerate().take(8) {
        check_names(text);
        lattice = LatticeId::parse(text).unwrap_or(lattice);
        host = HostId::parse(text).unwrap_or(host);
        domain = JsDomain::parse(text).ok().or(domain);
        id = ComponentId::parse(text).unwrap_or(id);
        let other = |by: usize| texts[(at + by) % texts.len()].clone();
        let link = Link {
            actor_id: text.clone(),
            provider_id: other(1),
            link_name: other(2),
            contract_id: other(3),
            values: TextMap::new(),
        };
        check_subjects(&lattice, &host, domain.as_ref(), &link);
        check_v1_subjects(&lattice, &host, &id);
        check_mirror(&lattice, text, &other(1), &link);
    }
}

fn key_of(link: &Link) -> BucketKey {
    BucketKey::of_link(&link.actor_id, &link.contract_id, &link.link_name)
}

/// The origin that a server names for a mirror is accepted where it makes a
/// subject that can be published to and that contains all of it.
fn check_mirror(lattice: &LatticeId, bucket: &str, api: &str, link: &Link) {
    let taken = Token::parse(bucket);
    assert_eq!(taken.is_some(), is_token(bucket));
    let (Some(bucket), Some(api)) = (taken, Api::parse(api)) else {
        return;
    };
    let made = format!("{api}.$KV.{bucket}.{}", key_of(link));
    let place = Place::Origin(Origin {
        bucket,
        api: Some(api),
        renames: false,
    });
    let [published, _] = subject::bucket_entry(lattice, None, &place, &key_of(link));
    assert_eq!(published.as_str(), made);
    assert!(made.split('.').all(is_one_token), "{made:?}");
}

/// An accepted name is one token, unchanged; a link name is one or several with
/// dots in between.
fn check_names(text: &str) {
    let taken = [
        LatticeId::parse(text).map(|name| name.to_string()),
        JsDomain::parse(text).map(|name| name.to_string()),
        LinkName::parse_new(text).map(|name| name.to_string()),
        HostId::parse(text).map(|name| name.to_string()),
        ActorId::parse(text).map(|name| name.to_string()),
        ProviderId::parse(text).map(|name| name.to_string()),
        ComponentId::parse(text).map(|name| name.to_string()),
    ];
    for name in taken {
        match name {
            Ok(name) => {
                assert_eq!(name, text);
                let mut tokens = text.split('.');
                assert!(tokens.all(|token| is_one_token(token) && is_token(token)));
                assert!(text.len() <= 128);
                assert!(LinkName::parse(text).is_ok());
            }
            // It is quoted and escaped, and has at most 80 characters.
            Err(error) => super::check_message(&error.to_string(), 900),
        }
    }
    let bucket = bucket::name(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    assert!(bucket.chars().all(plain), "{bucket:?}");
}

fn check_subjects(lattice: &LatticeId, host: &HostId, domain: Option<&JsDomain>, link: &Link) {
    let key = key_of(link);
    let digits = key.to_string();
    let digits = digits.strip_prefix("LINKDEF_").unwrap();
    assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()));
    for (name, template) in TEMPLATES {
        let verbs: &[_] = match name {
            "command" => &VERBS,
            _ => &VERBS[..1],
        };
        for (verb, token) in verbs {
            let made = made(name, lattice, host, domain, *verb);
            check_one(&made, template, lattice, host, domain, token);
        }
    }
    let template = match domain {
        Some(_) => "{api}.$KV.LATTICEDATA_{lattice}.{key}",
        None => "$KV.LATTICEDATA_{lattice}.{key}",
    };
    let template = template.replace("{key}", &key.to_string());
    let made = subject::bucket_entry(lattice, domain, &Place::Here, &key);
    check_one(&made[0], &template, lattice, host, domain, "");
}

const VERBS: [(Verb, &str); 7] = [
    (Verb::StartActor, "la"),
    (Verb::ScaleActor, "scale"),
    (Verb::StopActor, "sa"),
    (Verb::UpdateActor, "upd"),
    (Verb::StartProvider, "lp"),
    (Verb::StopProvider, "sp"),
    (Verb::StopHost, "stop"),
];

fn made(
    name: &str,
    lattice: &LatticeId,
    host: &HostId,
    domain: Option<&JsDomain>,
    verb: Verb,
) -> String {
    match name {
        "ping" => subject::ping(lattice).to_string(),
        "auction_actor" => subject::auction_actor(lattice).to_string(),
        "auction_provider" => subject::auction_provider(lattice).to_string(),
        "events" => subject::events(lattice).to_string(),
        "control" => subject::control(lattice).to_string(),
        "inventory" => subject::inventory(lattice, host).to_string(),
        "command" => subject::command(lattice, host, verb).to_string(),
        "claims" => subject::claims(lattice).to_string(),
        "links" => subject::links(lattice).to_string(),
        "put_link" => subject::put_link(lattice).to_string(),
        "remove_link" => subject::remove_link(lattice).to_string(),
        "registries" => subject::registries(lattice).to_string(),
        "bucket" => subject::bucket(lattice).to_string(),
        "bucket_get" => subject::bucket_get(lattice, domain)[0].to_string(),
        "bucket_info" => subject::bucket_info(lattice, domain)[0].to_string(),
        "bucket_read" => subject::bucket_read(&subject::bucket(lattice), domain)[0].to_string(),
        "bucket_read_over" => {
            let consumer = Token::parse(host.as_str()).unwrap();
            subject::bucket_read_over(&subject::bucket(lattice), domain, &consumer).to_string()
        }
        "bucket_flow" => subject::bucket_flow(&subject::bucket(lattice)),
        "bucket_entries" => subject::bucket_entries(lattice, &Place::Here),
        other => panic!("{other} is not made here"),
    }
}

fn check_v1_subjects(lattice: &LatticeId, host: &HostId, id: &ComponentId) {
    use v1::subject::{self, Verb};
    let config = ConfigName::of_provider(id, host);
    for (name, template) in V1_TEMPLATES {
        let template = template.replace("{id}", id.as_str());
        let made = match name {
            "ping" => subject::ping(lattice).to_string(),
            "to_host" => {
                let verbs = [
                    (Verb::Inventory, "host.get"),
                    (Verb::StopHost, "host.stop"),
                    (Verb::Scale, "component.scale"),
                    (Verb::Update, "component.update"),
                    (Verb::StartProvider, "provider.start"),
                    (Verb::StopProvider, "provider.stop"),
                ];
                for (verb, tokens) in verbs {
                    let made = subject::to_host(lattice, host, verb);
                    let template = template.replace("{verb}", tokens);
                    check_one(&made, &template, lattice, host, None, "");
                }
                continue;
            }
            "auction_component" => subject::auction_component(lattice).to_string(),
            "auction_provider" => subject::auction_provider(lattice).to_string(),
            "claims" => subject::claims(lattice).to_string(),
            "put_config" => subject::put_config(lattice, &config).to_string(),
            "delete_config" => subject::delete_config(lattice, &config).to_string(),
            "put_registries" => subject::put_registries(lattice).to_string(),
            "control" => subject::control(lattice).to_string(),
            "events" => subject::events(lattice).to_string(),
            "configs" => subject::configs(lattice).to_string(),
            "config_entries" => subject::config_entries(lattice),
            other => panic!("{other} is not made here"),
        };
        check_one(&made, &template, lattice, host, None, "");
    }
}

/// Compares token by token: each is that of the template, and a name is exactly
/// one.
fn check_one(
    made: &str,
    template: &str,
    lattice: &LatticeId,
    host: &HostId,
    domain: Option<&JsDomain>,
    verb: &str,
) {
    let api = match domain {
        Some(_) => "$JS.{domain}.API",
        None => "$JS.API",
    };
    let template = template.replace("{api}", api);
    let expected: Vec<&str> = template.split('.').collect();
    let tokens: Vec<&str> = made.split('.').collect();
    assert_eq!(tokens.len(), expected.len(), "{made:?} is no {template}");
    for (token, expected) in tokens.iter().zip(expected) {
        let filled = expected
            .replace("{lattice}", lattice.as_str())
            .replace("{host}", host.as_str())
            .replace("{domain}", domain.map_or("", JsDomain::as_str))
            .replace("{verb}", verb);
        assert_eq!(**token, filled, "{made:?} is no {template}");
        let plain = is_one_token(token) || *token == expected;
        assert!(plain, "{token:?} in {made:?}");
    }
}

/// This is the rule of the protocol, not the provider's own check.
fn is_one_token(text: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || ".*>".contains(c);
    !text.is_empty() && !text.contains(bad)
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let key = |kind| super::key(kind).public_key();
    vec![
        super::of_texts(&[
            "default",
            "hub",
            &key(KeyPairType::Server),
            &key(KeyPairType::Module),
            &key(KeyPairType::Service),
            "my-link",
            "wasmcloud:latticecontrol",
        ]),
        super::of_texts(&["a.b", ">", "*", "a b", "a\r\nPUB x 0\r\n", "", "é", "\0"]),
        super::of_texts(&["a.b", "_612e62", "{host}", "{lattice}", &"x".repeat(129)]),
    ]
}
