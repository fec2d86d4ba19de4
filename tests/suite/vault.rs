//! Credentials are stored sealed: every instance has them at once and after a
//! restart, and nobody else can read them.

use crate::support;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::actor::Actor;
use crate::support::eventually;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::instances::Instances;
use crate::support::nats::NatsServer;
use crate::support::secrets::plant;
use crate::support::store::{KEPT, UNOPENED, bucket_of, key};
use crate::support::time::scaled;
use crate::support::world::{World, ctx, hosts, none_fails, set_acknowledged as set};
use nkeys::{KeyPair, KeyPairType, XKey};
use serde_json::json;
use wasmcloud_interface_lattice_control::*;

#[tokio::test]
async fn credentials_that_are_set_once_are_known_to_every_instance_and_after_a_restart() {
    let remote = NatsServer::start();
    let mut two = Instances::start(2, |_, _| {}).await;
    assert!(set(&two.actor, "x", &remote.url()).await.accepted);
    none_fails(&two.actor, "x", 200).await;
    // Both instances got calls: each has a connection.
    assert_eq!(remote.open_connections("for lattices"), 2);
    two.restart().await;
    none_fails(&two.actor, "x", 200).await;
    // The same credentials under another lattice reach the other instance, too.
    assert!(set(&two.actor, "y", &remote.url()).await.accepted);
    none_fails(&two.actor, "y", 200).await;
}

/// Starts a host in lattice `x` that answers late, and whose name says which
/// server it is on.
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
        // One log line for each call is enough for this test.
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
    // Both instances know the host before the many calls come.
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
    while acknowledged.elapsed() < scaled(Duration::from_millis(400)) {
        calls.push(tokio::spawn(call(actor.clone(), id.clone())));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut served = HashMap::new();
    for call in calls {
        let (started, server) = call.await.unwrap();
        *served.entry(server.clone()).or_insert(0) += 1;
        let late = started > acknowledged + scaled(Duration::from_millis(100));
        assert!(!late || server == "new", "{:?}", started - acknowledged);
    }
    assert!(served["old"] > 1000 && served["new"] > 100, "{served:?}");
    // At the instance that set the credentials, no call that started later used
    // the old ones.
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

/// What an instance's log says of a change to a server's credentials. Times are
/// seconds of the day.
struct Rotation {
    fingerprint: String,
    acknowledged: f64,
    calls: Vec<Used>,
}

/// When a call started, and the fingerprint of the credentials that it used.
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
    // Another cluster with the same names on another server.
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
    // Such an entry is in nobody's way: credentials can be set over it.
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
    // The lattice is known again once its credentials are set again.
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
    // Without the setting, each instance has a key of its own and warns of it.
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
