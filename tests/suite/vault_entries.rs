//! Threat: somebody who may write into buckets copies a sealed entry to another
//! place. An entry opens only in its own place. Entries of earlier releases do
//! not name their place: they are read and written again with it, or refused
//! where a setting says so.

use crate::support::actor::Actor;
use crate::support::eventually;
use crate::support::instances::Instances;
use crate::support::nats::NatsServer;
use crate::support::operator::accepted;
use crate::support::provider::{Identity, Provider};
use crate::support::secrets::plant;
use crate::support::store::{KEPT, UNOPENED, bucket_of, key, last_written};
use crate::support::world::{self, hosts};
use bytes::Bytes;
use data_encoding::BASE64;
use lattice_controller::internals::credentials::vault::key::SealingKey;
use lattice_controller::internals::credentials::vault::place::Places;
use lattice_controller::internals::credentials::vault::sealed::Sealer;
use lattice_controller::internals::name::LatticeId;
use lattice_controller::internals::settings::Unplaced;
use nkeys::XKey;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

/// Entries that commit 9dee31c sealed, when they did not yet name their place,
/// with their contents.
fn earlier() -> Value {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/store/unplaced.json"
    );
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    BASE64.decode(text(value).as_bytes()).unwrap()
}

fn lattice_of(entry: &Value) -> LatticeId {
    LatticeId::parse(text(&entry["lattice"])).unwrap()
}

fn sealer<'a>(key: &'a SealingKey, places: &'a Places) -> Sealer<'a> {
    Sealer {
        key,
        places,
        unplaced: Unplaced::Accepted,
    }
}

/// The places of a provider of no test.
fn places() -> Places {
    Places::new("home", "V1", "default")
}

/// Opens an entry with the code of the previous release, to the letter.
#[derive(serde::Deserialize)]
struct EarlierPlain {
    version: u32,
    lattice: String,
    actor: String,
    set_at: u64,
    urls: String,
    #[serde(default)]
    jwt: Option<String>,
    #[serde(default)]
    seed: Option<String>,
    #[serde(default)]
    js_domain: Option<String>,
}

#[test]
fn entries_of_the_release_before_are_read_and_what_is_written_is_read_by_it() {
    let earlier = earlier();
    let (cluster, xkey) = (
        text(&earlier["cluster_seed"]),
        text(&earlier["credentials_key"]),
    );
    let of_cluster = SealingKey::of_cluster(&cluster.into()).unwrap();
    let of_xkey = SealingKey::from_seed(&xkey.into()).unwrap();
    let raw = XKey::from_seed(xkey).unwrap();
    let entries = earlier["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 3);
    for expected in entries {
        let lattice = lattice_of(expected);
        for (key, sealed) in [
            (&of_cluster, &expected["sealed_by_cluster"]),
            (&of_xkey, &expected["sealed_by_key"]),
        ] {
            let opened = sealer(key, &places())
                .open(&lattice, &bytes(sealed))
                .unwrap();
            let entry = opened.given;
            let secret = |secret: &Option<secrecy::SecretString>| {
                json!(secret.as_ref().map(|secret| secret.expose_secret()))
            };
            assert!(!opened.is_placed);
            assert_eq!(
                json!([
                    entry.actor,
                    entry.set_at,
                    entry.urls.expose_secret(),
                    secret(&entry.jwt),
                    secret(&entry.seed),
                    entry.js_domain.as_ref().map(|domain| domain.as_str()),
                ]),
                json!([
                    expected["actor"],
                    expected["set_at"],
                    expected["urls"],
                    expected["jwt"],
                    expected["seed"],
                    expected["js_domain"],
                ])
            );
            // Opens an entry as this release does, and compares it with what
            // the previous release reads.
            let again = sealer(&of_xkey, &places()).seal(&entry).unwrap();
            let plain = raw.open(&again, &raw).unwrap();
            let read: EarlierPlain = serde_json::from_slice(&plain).unwrap();
            assert_eq!(
                json!({
                    "version": read.version, "lattice": read.lattice, "actor": read.actor,
                    "set_at": read.set_at, "urls": read.urls, "jwt": read.jwt,
                    "seed": read.seed, "js_domain": read.js_domain,
                }),
                json!({
                    "version": 1, "lattice": expected["lattice"], "actor": expected["actor"],
                    "set_at": expected["set_at"], "urls": expected["urls"],
                    "jwt": expected["jwt"], "seed": expected["seed"],
                    "js_domain": expected["js_domain"],
                })
            );
        }
    }
}

/// Seals an entry for this server as the previous release did.
fn unplaced(xkey: &str, lattice: &str, actor: &str, url: &str) -> Bytes {
    let key = XKey::from_seed(xkey).unwrap();
    let plain = json!({
        "version": 1, "lattice": lattice, "actor": actor, "set_at": 1_700_000_000_000_u64,
        "urls": url,
    });
    key.seal(plain.to_string().as_bytes(), &key).unwrap().into()
}

/// Starts instances with this key and these settings, on a bucket with entries
/// of the previous release for these lattices.
async fn over_earlier(count: usize, lattices: &[&str], settings: Value) -> (Instances, String) {
    let xkey = plant(XKey::new().seed().unwrap());
    let mut settings = settings;
    settings["credentials_key"] = xkey.as_str().into();
    let mut instances = Instances::start(count, |_, data| {
        data["config_json"] = settings.to_string().into();
    })
    .await;
    instances.logged(KEPT).await;
    instances.providers.clear();
    let bucket = bucket_of(&instances.nats, &instances.identity.lattice).await;
    let (identity, url) = (&instances.identity, instances.nats.url());
    for lattice in lattices {
        let sealed = unplaced(&xkey, lattice, &identity.actor, &url);
        bucket.put(key(identity, lattice), sealed).await.unwrap();
    }
    instances.restart().await;
    instances.logged(KEPT).await;
    (instances, xkey)
}

const PLACED: &str = "credentials of an earlier release are bound to their places";

#[tokio::test]
async fn what_the_release_before_wrote_is_used_and_written_once_more_by_one_of_many() {
    let lattices: Vec<String> = (0..30).map(|number| format!("x{number}")).collect();
    let lattices: Vec<&str> = lattices.iter().map(String::as_str).collect();
    let (four, xkey) = over_earlier(4, &lattices, json!({})).await;
    let bucket = bucket_of(&four.nats, &four.identity.lattice).await;
    let identity = &four.identity;
    let of_key = SealingKey::from_seed(&xkey.as_str().into()).unwrap();
    let places = Places::new(
        &identity.lattice,
        &identity.provider_key,
        &identity.link_name,
    );
    for lattice in &lattices {
        let id = LatticeId::parse(lattice).unwrap();
        let placed = || async {
            let sealed = bucket.get(key(identity, lattice)).await.unwrap().unwrap();
            let opened = sealer(&of_key, &places).open(&id, &sealed).unwrap();
            opened.is_placed.then_some(opened.given)
        };
        let entry = eventually("it to be placed", placed).await;
        assert_eq!(
            (entry.actor, entry.set_at),
            (identity.actor.clone(), 1_700_000_000_000)
        );
        assert!(hosts(&four.actor, lattice).await.unwrap().is_empty());
    }
    // Each entry was written once, by whichever instance.
    assert_eq!(last_written(&bucket).await, 60);
    let told = || async {
        let tells = |one: &Provider| one.log().contains(PLACED);
        four.providers.iter().any(tells).then_some(())
    };
    eventually("an instance to tell of it", told).await;
    // An entry that an instance of the previous release writes meanwhile is
    // written again, too.
    let sealed = unplaced(&xkey, "late", &identity.actor, &four.nats.url());
    bucket.put(key(identity, "late"), sealed).await.unwrap();
    let written = || async { (last_written(&bucket).await == 62).then_some(()) };
    eventually("it to be placed", written).await;
    // No instance writes it a second time.
    let mut four = four;
    four.restart().await;
    four.logged(KEPT).await;
    assert!(hosts(&four.actor, "late").await.is_ok());
    assert_eq!(last_written(&bucket).await, 62);
}

#[tokio::test]
async fn entries_without_a_place_can_be_refused_and_are_set_anew() {
    let (one, xkey) = over_earlier(1, &["x"], json!({ "unplaced_credentials": "refused" })).await;
    one.logged("why=Unplaced").await;
    let error = hosts(&one.actor, "x").await.unwrap_err();
    assert!(error.contains("cannot be opened"), "{error}");
    let bucket = bucket_of(&one.nats, &one.identity.lattice).await;
    assert_eq!(last_written(&bucket).await, 1);
    accepted(world::set(&one.actor, "x", &one.nats.url()).await);
    assert!(hosts(&one.actor, "x").await.is_ok());
    // An old entry that is put back afterwards takes no effect.
    let sealed = unplaced(&xkey, "x", &one.identity.actor, "nats://127.0.0.1:1");
    let name = key(&one.identity, "x");
    bucket.put(name, sealed).await.unwrap();
    eventually("the second one", || async {
        let log = one.providers[0].log();
        (log.matches("why=Unplaced").count() == 2).then_some(())
    })
    .await;
    assert!(hosts(&one.actor, "x").await.is_ok());
}

/// Starts a provider with this identity and this key on this server.
async fn provider(nats: &NatsServer, identity: &Identity, xkey: &str) -> (Provider, Actor) {
    let mut data = identity.host_data(&nats.url());
    data["config_json"] = json!({ "credentials_key": xkey }).to_string().into();
    let provider = Provider::start(&data);
    provider.logged(KEPT).await;
    (provider, Actor::connect(&nats.url(), identity).await)
}

#[tokio::test]
async fn an_entry_that_was_copied_to_another_key_or_bucket_is_not_opened() {
    let nats = NatsServer::start();
    let xkey = plant(XKey::new().seed().unwrap());
    let ours = Identity::new();
    let (_provider, actor) = provider(&nats, &ours, &xkey).await;
    accepted(world::set(&actor, "x", &nats.url()).await);
    let bucket = bucket_of(&nats, &ours.lattice).await;
    let sealed = bucket.get(key(&ours, "x")).await.unwrap().unwrap();
    let of = |change: fn(&mut Identity)| {
        let mut identity = ours.clone();
        change(&mut identity);
        identity
    };
    // All of these providers have the key that the entry was sealed with.
    for theirs in [
        of(|identity| identity.link_name = "other".into()),
        of(|identity| identity.provider_key = Identity::new().provider_key),
        of(|identity| identity.lattice = "home2".into()),
    ] {
        let (provider, actor) = provider(&nats, &theirs, &xkey).await;
        let bucket = bucket_of(&nats, &theirs.lattice).await;
        bucket.put(key(&theirs, "x"), sealed.clone()).await.unwrap();
        provider.logged(UNOPENED).await;
        provider.logged("why=Moved").await;
        let error = hosts(&actor, "x").await.unwrap_err();
        assert!(error.contains("cannot be opened"), "{error}");
    }
    assert!(hosts(&actor, "x").await.is_ok());
}
