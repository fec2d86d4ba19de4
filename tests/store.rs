//! Credentials are kept: every instance has them at once and after a restart,
//! sealed, and nobody else has them.

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::kv;
use lattice_controller::pool::store::bucket;
use nkeys::{KeyPair, KeyPairType, XKey};
use serde_json::json;
use support::actor::Actor;
use support::eventually;
use support::host::lattice::SimLattice;
use support::host::{Generation, SimHost};
use support::instances::Instances;
use support::nats::NatsServer;
use support::provider::health;
use support::secrets::plant;
use support::world::{self, World, ctx, hosts};
use wasmcloud_interface_lattice_control::*;

async fn set(actor: &Actor, lattice: &str, url: &str) -> CtlOperationAck {
    world::set(actor, lattice, url).await.unwrap()
}

/// So many calls at once, of which none fails.
async fn none_fails(actor: &Actor, lattice: &str, calls: usize) {
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let (actor, lattice) = (actor.clone(), lattice.to_owned());
            tokio::spawn(async move { hosts(&actor, &lattice).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// The bucket of the lattice that the provider lives in.
async fn bucket_of(nats: &NatsServer, lattice: &str) -> kv::Store {
    let jetstream = jetstream::new(nats.client().await);
    let name = bucket::name(lattice);
    jetstream.get_key_value(name).await.unwrap()
}

/// The key of a lattice in it.
fn key(identity: &support::provider::Identity, lattice: &str) -> String {
    let (provider, link) = (&identity.provider_key, &identity.link_name);
    format!("{provider}.{link}.{lattice}")
}

const KEPT: &str = "credentials are kept in JetStream";
const IN_MEMORY: &str = "credentials are kept in memory only";
const UNOPENED: &str = "cannot be opened and are ignored";

#[tokio::test]
async fn credentials_that_are_set_once_are_known_to_every_instance_and_after_a_restart() {
    let remote = NatsServer::start();
    let mut two = Instances::start(2, |_, _| {}).await;
    assert!(set(&two.actor, "x", &remote.url()).await.accepted);
    none_fails(&two.actor, "x", 200).await;
    // Both were asked: each has a connection.
    assert_eq!(remote.open_connections("for lattices"), 2);
    two.restart().await;
    none_fails(&two.actor, "x", 200).await;
    // What is set again under another name comes over, too.
    assert!(set(&two.actor, "y", &remote.url()).await.accepted);
    none_fails(&two.actor, "y", 200).await;
}

/// A host of this name in lattice `x` that answers late, and says which server
/// it is on.
async fn host_at(nats: &NatsServer, id: &str, name: &str) -> SimHost {
    let sim = Arc::new(SimLattice::without_bucket(nats.client().await, "x"));
    let host = SimHost::start_as(&sim, Generation::G2b, &[("server", name)], id.to_owned()).await;
    host.answer_after_on(".inv", Duration::from_millis(700));
    host
}

#[tokio::test]
async fn a_rotation_reaches_every_instance_and_costs_no_call() {
    let (old, new) = (NatsServer::start(), NatsServer::start());
    let id = KeyPair::new(KeyPairType::Server).public_key();
    let _old_host = host_at(&old, &id, "old").await;
    let _new_host = host_at(&new, &id, "new").await;
    let two = Instances::start(2, |_, data| {
        data["default_rpc_timeout_ms"] = 30_000.into();
        data["config_json"] = json!({ "max_calls": 4000 }).to_string().into();
        // A line for every call is enough to tell.
        data["log_level"] = "debug".into();
    })
    .await;
    let actor = two.actor.clone().with_timeout(Duration::from_secs(30));
    assert!(set(&actor, "x", &old.url()).await.accepted);
    let call = |actor: Actor, host: String| async move {
        let started = Instant::now();
        let request = GetHostInventoryRequest {
            lattice_id: "x".into(),
            host_id: host,
        };
        let inventory = actor.lattice().get_host_inventory(&ctx(), &request).await;
        (started, inventory.unwrap().labels["server"].clone())
    };
    // Both know the host before the crowd comes.
    for _ in 0..8 {
        call(actor.clone(), id.clone()).await;
    }
    let mut calls: Vec<_> = (0..2000)
        .map(|_| tokio::spawn(call(actor.clone(), id.clone())))
        .collect();
    eventually("calls to be in flight", || async {
        (_old_host.received_on(".inv").len() > 1000).then_some(())
    })
    .await;
    assert!(set(&actor, "x", &new.url()).await.accepted);
    let acknowledged = Instant::now();
    while acknowledged.elapsed() < Duration::from_millis(400) {
        calls.push(tokio::spawn(call(actor.clone(), id.clone())));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut served = HashMap::new();
    for call in calls {
        let (started, server) = call.await.unwrap();
        *served.entry(server.clone()).or_insert(0) += 1;
        let late = started > acknowledged + Duration::from_millis(100);
        assert!(!late || server == "new", "{:?}", started - acknowledged);
    }
    assert!(served["old"] > 1000 && served["new"] > 100, "{served:?}");
    // At the instance that was told, not one call that started later.
    let logs = two.providers.iter().map(|provider| provider.log());
    let told = logs
        .filter_map(|log| Rotation::read(&log, &new.address()))
        .next()
        .unwrap();
    let later = || {
        told.calls
            .iter()
            .filter(|call| call.started > told.acknowledged)
    };
    assert!(later().count() > 0);
    let astray: Vec<_> = later()
        .filter(|call| call.used != told.fingerprint)
        .collect();
    assert!(astray.is_empty(), "{astray:?}");
}

/// What the log of an instance says that was told to rotate to a server. Times
/// are seconds of the day.
struct Rotation {
    fingerprint: String,
    acknowledged: f64,
    calls: Vec<Used>,
}

/// When a call started, and the fingerprint of what it used.
#[derive(Debug)]
struct Used {
    started: f64,
    used: String,
}

impl Rotation {
    fn read(log: &str, server: &str) -> Option<Self> {
        let field = |line: &str, name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}="))?;
            Some(rest.split(' ').next()?.trim_matches('"').to_owned())
        };
        let time = |line: &str| {
            let clock = line.split_once('T')?.1.split('Z').next()?;
            let parts: Vec<f64> = clock.split(':').map_while(|p| p.parse().ok()).collect();
            Some(parts[0] * 3600.0 + parts[1] * 60.0 + parts[2])
        };
        let lines = |parts: [&'static str; 2]| {
            let all = log.lines();
            all.filter(move |line| parts.iter().all(|part| line.contains(part)))
        };
        let set = lines([": credentials set ", ""]).find(|line| line.contains(server))?;
        let told = lines([": call ", "SetLatticeCredentials"]).next_back()?;
        let calls = lines([": call ", "GetHostInventory"]).filter_map(|line| {
            let ms: f64 = field(line, "ms")?.parse().ok()?;
            Some(Used {
                started: time(line)? - ms / 1000.0,
                used: field(line, "credentials")?,
            })
        });
        Some(Self {
            fingerprint: field(set, "fingerprint")?,
            acknowledged: time(told)?,
            calls: calls.collect(),
        })
    }
}

#[tokio::test]
async fn the_bucket_holds_no_plain_secret_and_opens_in_no_other_cluster() {
    let password = plant("pass-w0rd-in-the-store");
    let remote = NatsServer::with_config(&format!(
        "authorization {{ users: [ {{ user: operator-bob, password: \"{password}\" }} ] }}"
    ));
    let url = format!("nats://operator-bob:{password}@{}", remote.address());
    let home = World::start().await;
    home.provider.logged(KEPT).await;
    home.set_lattice("x", &url).await;
    assert!(hosts(&home.actor, "x").await.unwrap().is_empty());
    let bucket = bucket_of(&home.nats, &home.identity.lattice).await;
    let sealed = bucket.get(key(&home.identity, "x")).await.unwrap().unwrap();
    assert!(sealed.starts_with(b"xkv1"));
    assert!(
        home.nats.stores(&sealed),
        "the store keeps what the bucket shows"
    );
    for secret in [password.as_str(), "operator-bob", remote.address().as_str()] {
        assert!(!home.nats.stores(secret.as_bytes()), "{secret}");
    }
    // The same names elsewhere, another cluster.
    let elsewhere = NatsServer::start();
    let mut identity = home.identity.clone();
    identity.cluster = Arc::new(support::provider::signing_key(KeyPairType::Cluster));
    let first = support::provider::Provider::start(&identity.host_data(&elsewhere.url()));
    first.logged(KEPT).await;
    let copy = bucket_of(&elsewhere, &identity.lattice).await;
    for lattice in ["x", "y"] {
        copy.put(key(&identity, lattice), sealed.clone())
            .await
            .unwrap();
    }
    first.logged(UNOPENED).await;
    drop(first);
    let provider = support::provider::Provider::start(&identity.host_data(&elsewhere.url()));
    provider.logged(UNOPENED).await;
    assert!(provider.log().contains("count=2"), "{}", provider.log());
    assert!(
        provider.log().contains("credentials_key"),
        "{}",
        provider.log()
    );
    let actor = Actor::connect(&elsewhere.url(), &identity).await;
    let error = hosts(&actor, "x").await.unwrap_err();
    assert!(
        error.contains("is unknown") && error.contains("credentials_key"),
        "{error}"
    );
    // It is no hindrance: credentials are set anew over it.
    assert!(set(&actor, "x", &url).await.accepted);
    assert!(hosts(&actor, "x").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_entry_that_was_changed_or_moved_is_ignored_and_harms_no_other() {
    let mut world = Instances::start(1, |_, _| {}).await;
    world.logged(KEPT).await;
    for lattice in ["good", "bad", "cut", "moved"] {
        assert!(set(&world.actor, lattice, &world.nats.url()).await.accepted);
    }
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    let sealed = bucket
        .get(key(&world.identity, "bad"))
        .await
        .unwrap()
        .unwrap();
    let mut changed = sealed.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    for (lattice, value) in [
        ("bad", changed.as_slice()),
        ("cut", &sealed[..40]),
        ("moved", &sealed),
        ("no.lattice", b"x"),
    ] {
        let value = value.to_vec().into();
        bucket
            .put(key(&world.identity, lattice), value)
            .await
            .unwrap();
    }
    world.restart().await;
    world.logged(UNOPENED).await;
    let log = world.providers[0].log();
    assert_eq!(log.matches(UNOPENED).count(), 1, "one warning: {log}");
    assert!(log.contains("count=3"), "{log}");
    assert!(hosts(&world.actor, "good").await.is_ok());
    for lattice in ["bad", "cut", "moved"] {
        let error = hosts(&world.actor, lattice).await.unwrap_err();
        assert!(error.contains("is unknown"), "{error}");
    }
}

#[tokio::test]
async fn a_purged_lattice_is_unknown_to_every_instance_at_once() {
    let two = Instances::start(2, |_, _| {}).await;
    two.logged(KEPT).await;
    assert!(set(&two.actor, "x", &two.nats.url()).await.accepted);
    none_fails(&two.actor, "x", 50).await;
    let bucket = bucket_of(&two.nats, &two.identity.lattice).await;
    bucket.purge(key(&two.identity, "x")).await.unwrap();
    two.logged("credentials were removed from the store").await;
    for _ in 0..20 {
        let error = hosts(&two.actor, "x").await.unwrap_err();
        assert!(error.contains("is unknown"), "{error}");
    }
    // And known again once it is set again.
    assert!(set(&two.actor, "x", &two.nats.url()).await.accepted);
    none_fails(&two.actor, "x", 50).await;
}

#[tokio::test]
async fn instances_of_several_cluster_keys_share_what_one_credentials_key_seals() {
    let key = plant(XKey::new().seed().unwrap());
    let other = |number: usize, data: &mut serde_json::Value| {
        if number == 1 {
            let seed = KeyPair::new(KeyPairType::Cluster).seed().unwrap();
            data["invocation_seed"] = plant(seed).into();
        }
    };
    let two = Instances::start(2, |number, data| {
        other(number, data);
        data["config_json"] = json!({ "credentials_key": key }).to_string().into();
    })
    .await;
    two.logged(KEPT).await;
    assert!(set(&two.actor, "x", &two.nats.url()).await.accepted);
    none_fails(&two.actor, "x", 50).await;
    // Without it, each has a key of its own, and says so.
    let apart = Instances::start(2, other).await;
    apart.logged(KEPT).await;
    assert!(set(&apart.actor, "x", &apart.nats.url()).await.accepted);
    let complains = || async {
        let complain = |p: &support::provider::Provider| p.log().contains(UNOPENED);
        apart.providers.iter().any(complain).then_some(())
    };
    eventually("one to complain", complains).await;
}

#[tokio::test]
async fn without_jetstream_credentials_are_in_memory_with_one_warning_until_there_is_one() {
    let mut world = World::start_on(NatsServer::without_jetstream(), |_| {}).await;
    let remote = NatsServer::start();
    world.provider.logged(IN_MEMORY).await;
    world.set_lattice("x", &remote.url()).await;
    assert!(hosts(&world.actor, "x").await.unwrap().is_empty());
    assert!(
        health(&world.nats.client().await, &world.identity)
            .await
            .healthy
    );
    // What was set meanwhile is kept as soon as it can be.
    world.nats.restart_with_jetstream();
    world
        .provider
        .logged("credentials are now kept in JetStream")
        .await;
    assert_eq!(world.provider.log().matches(IN_MEMORY).count(), 1);
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    assert!(
        bucket
            .get(key(&world.identity, "x"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn what_was_acknowledged_without_a_store_outlives_what_the_store_had_before() {
    let (old, new) = (NatsServer::start(), NatsServer::start());
    let mut world = Instances::start(1, |_, _| {}).await;
    world.logged(KEPT).await;
    for lattice in ["x", "removed"] {
        assert!(set(&world.actor, lattice, &old.url()).await.accepted);
    }
    let bucket = bucket_of(&world.nats, &world.identity.lattice).await;
    bucket.purge(key(&world.identity, "removed")).await.unwrap();
    world
        .logged("credentials were removed from the store")
        .await;
    world.nats.restart_without_jetstream();
    world.restart().await;
    world.logged(IN_MEMORY).await;
    for lattice in ["x", "removed"] {
        let taken = || async {
            let ack = set(&world.actor, lattice, &new.url()).await;
            ack.accepted.then_some(())
        };
        eventually("credentials to be taken", taken).await;
    }
    world.nats.restart_with_jetstream();
    let kept = "credentials are now kept in JetStream";
    let both = || async { (world.providers[0].log().matches(kept).count() == 2).then_some(()) };
    eventually("both to be kept", both).await;
    world.restart().await;
    let before = new.open_connections("for lattices");
    for lattice in ["x", "removed"] {
        hosts(&world.actor, lattice).await.unwrap();
    }
    assert_eq!((old.open_connections("for lattices"), before), (0, 0));
    assert_eq!(new.open_connections("for lattices"), 1);
}

#[tokio::test]
async fn of_what_instances_took_without_a_store_the_later_stays() {
    let (old, new) = (NatsServer::start(), NatsServer::start());
    let nats = NatsServer::without_jetstream();
    let mut two = Instances::start_on(nats, 2, |_, _| {}).await;
    two.logged(IN_MEMORY).await;
    // Until each instance has its own, and the new ones are the last.
    let told = |log: &str| {
        let sets = log
            .lines()
            .filter(|line| line.contains(": credentials set "));
        sets.map(|line| line.contains(&new.address())).next_back()
    };
    let set_until_apart = || async {
        assert!(set(&two.actor, "x", &old.url()).await.accepted);
        assert!(set(&two.actor, "x", &new.url()).await.accepted);
        let logs: Vec<_> = two.providers.iter().map(|p| told(&p.log())).collect();
        (logs.contains(&Some(true)) && logs.contains(&Some(false))).then_some(())
    };
    eventually("each to have its own", set_until_apart).await;
    two.nats.restart_with_jetstream();
    two.logged(KEPT).await;
    let bucket = bucket_of(&two.nats, &two.identity.lattice).await;
    let kept = || async { bucket.get(key(&two.identity, "x")).await.ok().flatten() };
    eventually("the bucket to have them", kept).await;
    two.restart().await;
    none_fails(&two.actor, "x", 40).await;
    assert_eq!(old.open_connections("for lattices"), 0);
}

#[tokio::test]
async fn what_was_purged_without_a_mark_is_gone_after_a_reconnect() {
    let mut one = Instances::start(1, |_, _| {}).await;
    one.logged(KEPT).await;
    for lattice in ["x", "y"] {
        assert!(
            set(&one.actor, lattice, "nats://127.0.0.1:1")
                .await
                .accepted
        );
    }
    let bucket = bucket_of(&one.nats, &one.identity.lattice).await;
    let subject = format!("{}{}", bucket.prefix, key(&one.identity, "x"));
    bucket.stream.purge().filter(subject).await.unwrap();
    one.nats.restart();
    one.logged("credentials were removed from the store").await;
    let unknown = || async {
        let error = hosts(&one.actor, "x").await.err()?;
        error.contains("is unknown").then_some(())
    };
    eventually("it to be unknown", unknown).await;
    let error = hosts(&one.actor, "y").await.unwrap_err();
    assert!(!error.contains("is unknown"), "{error}");
}

#[tokio::test]
async fn a_store_that_is_required_and_missing_takes_no_credentials_and_is_unhealthy() {
    let required = |data: &mut serde_json::Value| {
        data["config_json"] = json!({ "credentials_store": "jetstream" })
            .to_string()
            .into();
    };
    let mut world = World::start_on(NatsServer::without_jetstream(), required).await;
    let nats = world.nats.client().await;
    let unhealthy = || async {
        let health = health(&nats, &world.identity).await;
        health.message.filter(|_| !health.healthy)
    };
    let why = eventually("it to be unhealthy", unhealthy).await;
    assert!(why.contains("credentials_store"), "{why}");
    let ack = world.try_set_lattice("x", &world.nats.url()).await.unwrap();
    assert!(
        !ack.accepted && ack.error.contains("credentials_store"),
        "{}",
        ack.error
    );
    let error = hosts(&world.actor, "x").await.unwrap_err();
    assert!(error.contains("credentials_store"), "{error}");
    world.nats.restart_with_jetstream();
    let heals = || async {
        let ack = world.try_set_lattice("x", &world.nats.url()).await.ok()?;
        ack.accepted.then_some(())
    };
    eventually("it to heal", heals).await;
    let nats = world.nats.client().await;
    assert!(health(&nats, &world.identity).await.healthy);
    // Lost again, it is unhealthy again.
    world.nats.restart_without_jetstream();
    let back = || async { world.try_set_lattice("y", "nats://h").await.ok() };
    eventually("our lattice to be back", back).await;
    let nats = world.nats.client().await;
    let unhealthy = || async {
        let health = health(&nats, &world.identity).await;
        (!health.healthy).then_some(())
    };
    eventually("it to be unhealthy again", unhealthy).await;
}

#[tokio::test]
async fn credentials_for_memory_are_nowhere_else() {
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = json!({ "credentials_store": "memory" }).to_string().into();
    })
    .await;
    world.set_lattice("x", &world.nats.url()).await;
    assert!(hosts(&world.actor, "x").await.is_ok());
    let jetstream = jetstream::new(world.nats.client().await);
    let stream = format!("KV_{}", bucket::name(&world.identity.lattice));
    assert!(jetstream.get_stream(stream).await.is_err());
    assert!(!world.provider.log().contains(IN_MEMORY));
}

#[tokio::test]
async fn a_bucket_that_is_lost_is_made_again_from_what_instances_know() {
    let mut world = Instances::start(1, |_, _| {}).await;
    world.logged(KEPT).await;
    assert!(set(&world.actor, "x", &world.nats.url()).await.accepted);
    let jetstream = jetstream::new(world.nats.client().await);
    let stream = format!("KV_{}", bucket::name(&world.identity.lattice));
    jetstream.delete_stream(&stream).await.unwrap();
    // The next one is not taken, and has it looked for.
    let taken = || async {
        let ack = set(&world.actor, "y", &world.nats.url()).await;
        ack.accepted.then_some(())
    };
    eventually("credentials to be taken again", taken).await;
    world.restart().await;
    for lattice in ["x", "y"] {
        assert!(hosts(&world.actor, lattice).await.is_ok(), "{lattice}");
    }
}

#[tokio::test]
async fn credentials_that_jetstream_does_not_take_are_not_acknowledged() {
    let mut world = World::start().await;
    world.provider.logged(KEPT).await;
    world.set_lattice("x", &world.nats.url()).await;
    // The server comes back without JetStream.
    world.nats.restart_without_jetstream();
    let refused = || async {
        let ack = world
            .try_set_lattice("x", "nats://127.0.0.1:1")
            .await
            .ok()?;
        assert!(
            !ack.accepted,
            "acknowledged, and lost with the next restart"
        );
        Some(ack.error)
    };
    let error = eventually("an answer", refused).await;
    assert!(error.contains("JetStream"), "{error}");
    // What is known is used on.
    assert!(hosts(&world.actor, "x").await.is_ok());
}
