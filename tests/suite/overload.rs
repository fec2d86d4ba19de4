//! What calls may take of the provider: places, memory, and lines in its log. A
//! caller who takes more is refused at once, and other callers do not notice
//! it.

use crate::support;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::actor::Actor;
use crate::support::invocation::{bytes, mint, mint_by, mint_raw, send};
use crate::support::nats::NatsServer;
use crate::support::operator::{Annotations, map, refused};
use crate::support::provider::health;
use crate::support::time::{assert_under, timeout};
use crate::support::world::{World, ctx};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};
use wasmbus_rpc::core::{InvocationResponse, LinkDefinition};
use wasmcloud_interface_lattice_control::*;

/// Starts a provider with these settings. Its lattice `silent` receives
/// everything and answers nothing, and its lattice `other` is empty.
pub async fn with_silent(settings: Value, rpc_timeout_ms: u64) -> (World, async_nats::Subscriber) {
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = settings.to_string().into();
        data["default_rpc_timeout_ms"] = rpc_timeout_ms.into();
        // A log line for each of many calls would be most of their cost.
        data["log_level"] = "info".into();
    })
    .await;
    for lattice in ["silent", "other"] {
        world.set_lattice(lattice, &world.nats.url()).await;
    }
    let nats = world.nats.client().await;
    let requests = nats.subscribe("wasmbus.ctl.silent.>").await.unwrap();
    support::fence(&nats).await;
    (world, requests)
}

/// Links and connects another actor.
pub async fn another(world: &World) -> Actor {
    let (identity, nats) = (&world.identity, world.nats.client().await);
    let key = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
    let mut link = LinkDefinition::default();
    link.actor_id = key.clone();
    link.provider_id = identity.provider_key.clone();
    link.link_name = identity.link_name.clone();
    link.contract_id = "wasmcloud:latticecontrol".into();
    let link = rmp_serde::to_vec_named(&link).unwrap();
    let put = identity.subject("linkdefs.put");
    nats.publish(put, link.into()).await.unwrap();
    support::fence(&nats).await;
    let actor = Actor::connect_as(&world.nats.url(), identity, &key, &identity.cluster).await;
    support::eventually("the link", || async {
        actor.lattice().get_hosts(&ctx(), "other").await.ok()
    })
    .await;
    actor
}

/// Returns how a call ended, in a word.
fn outcome(response: &InvocationResponse) -> &'static str {
    match &response.error {
        None => "answered",
        Some(error) if error.contains("(max_calls)") => "provider busy",
        Some(error) if error.contains("more calls come") => "unread",
        Some(error) if error.contains("copies of this call") => "copies",
        Some(error) if error.contains("(max_actor_calls)") => "actor busy",
        Some(error) if error.contains("(max_lattice_calls)") => "lattice busy",
        Some(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn ten_thousand_calls_at_once_to_a_silent_lattice_cost_little_and_nobody_else() {
    const CALLS: usize = 10_000;
    const BUDGET: Duration = Duration::from_secs(8);
    let settings = json!({ "gather_limit_ms": 3000, "max_lattice_calls": 350 });
    let (world, _silent) = with_silent(settings, 8000).await;
    let other = another(&world).await;
    let nats = world.nats.client().await;
    let inbox = nats.new_inbox();
    let mut answers = nats.subscribe(format!("{inbox}.*")).await.unwrap();
    support::fence(&nats).await;
    let before = world.provider.resident();

    let call = mint(&world.identity, "GetHosts", &"silent", |_| {});
    let call = ::bytes::Bytes::from(bytes(&call));
    let start = Instant::now();
    let sent_at = Arc::new(std::sync::Mutex::new(Vec::new()));
    let times = sent_at.clone();
    let publisher = nats.clone();
    let subject = world.identity.subject("");
    tokio::spawn(async move {
        for number in 0..CALLS {
            let (subject, reply) = (subject.clone(), format!("{inbox}.{number}"));
            let sent = publisher.publish_with_reply(subject, reply, call.clone());
            times.lock().unwrap().push(Instant::now());
            sent.await.unwrap();
        }
    });
    let mut outcomes: HashMap<&str, usize> = HashMap::new();
    let (mut most, mut slowest) = (before, Duration::ZERO);
    for number in 1..=CALLS {
        let answer = timeout(BUDGET, answers.next()).await;
        let answer = answer.expect("an answer").unwrap();
        let (_, which) = answer.subject.rsplit_once('.').unwrap();
        let sent_at = sent_at.lock().unwrap()[which.parse::<usize>().unwrap()];
        slowest = slowest.max(sent_at.elapsed());
        let response = rmp_serde::from_slice(&answer.payload).unwrap();
        *outcomes.entry(outcome(&response)).or_default() += 1;
        if number % 500 == 0 {
            most = most.max(world.provider.resident());
        }
        if number == CALLS - 300 {
            // The other calls hang, and will do so for long.
            let asked = Instant::now();
            let hosts = other.lattice().get_hosts(&ctx(), "other").await;
            assert!(hosts.unwrap().is_empty());
            let own = world.actor.lattice().get_hosts(&ctx(), "other").await;
            assert!(own.unwrap().is_empty());
            println!("others: {:?} after {:?}", asked.elapsed(), start.elapsed());
            most = most.max(world.provider.resident());
        }
    }
    let grown = most.max(world.provider.resident()) - before;
    println!("{outcomes:?}, {grown} KiB more, each within {slowest:?}");
    assert_under(BUDGET, slowest);
    assert!(grown < 40 * 1024, "{grown} KiB");
    assert!(outcomes["answered"] >= 300, "{outcomes:?}");
    // The places are free again.
    let hosts = other.lattice().get_hosts(&ctx(), "other").await;
    assert!(hosts.unwrap().is_empty());
}

#[tokio::test]
async fn no_actor_and_no_lattice_takes_every_place() {
    for (settings, decides) in [
        (
            json!({ "max_calls": 8, "gather_limit_ms": 1500, "max_lattice_calls": 8 }),
            "actor busy",
        ),
        (
            json!({ "max_calls": 8, "gather_limit_ms": 1500, "max_actor_calls": 8 }),
            "lattice busy",
        ),
    ] {
        let (world, mut silent) = with_silent(settings, 4000).await;
        let other = another(&world).await;
        let nats = world.nats.client().await;
        let hanging = (0..7).map(|_| {
            let call = mint(&world.identity, "GetHosts", &"silent", |_| {});
            let (nats, identity) = (nats.clone(), world.identity.clone());
            tokio::spawn(async move { send(&nats, &identity, bytes(&call)).await })
        });
        let hanging: Vec<_> = hanging.collect();
        silent.next().await.unwrap();
        other.lattice().get_hosts(&ctx(), "other").await.unwrap();
        // A command is refused with `accepted: false`.
        let order = StopHostCommand {
            lattice_id: "silent".into(),
            host_id: world.identity.host_id.clone(),
            timeout: None,
        };
        let asked = Instant::now();
        refused(
            world.actor.lattice().stop_host(&ctx(), &order).await,
            "busy",
        );
        assert_under(Duration::from_millis(1000), asked.elapsed());
        let answers = join_all(hanging).await;
        let count = |what: &str| {
            let outcomes = answers
                .iter()
                .map(|answer| outcome(answer.as_ref().unwrap()));
            outcomes.filter(|outcome| *outcome == what).count()
        };
        assert_eq!((count("answered"), count(decides)), (4, 3), "{decides}");
        world.provider.logged("calls are refused as busy").await;
    }
}

#[tokio::test]
async fn a_place_that_is_free_shortly_is_waited_for() {
    let settings = json!({ "max_calls": 4, "max_actor_calls": 4, "max_lattice_calls": 4,
        "gather_limit_ms": 60 });
    let (world, _silent) = with_silent(settings, 2000).await;
    let calls = (0..5).map(|_| world.hosts("silent"));
    for answer in join_all(calls).await {
        assert!(answer.unwrap().is_empty());
    }
}

#[tokio::test]
async fn calls_that_prove_nothing_take_no_place_of_an_actor() {
    let settings = json!({ "max_calls": 8, "max_actor_calls": 1, "gather_limit_ms": 1500 });
    let (world, _silent) = with_silent(settings, 4000).await;
    let nats = world.nats.client().await;
    let mut forged = mint(&world.identity, "GetHosts", &"silent", |_| {});
    forged.msg = rmp_serde::to_vec(&"silenT").unwrap();
    let refused = (0..8).map(|_| send(&nats, &world.identity, bytes(&forged)));
    let mut answers = join_all(refused).await.into_iter();
    assert!(answers.all(|answer| answer.error.is_some()));
    world.hosts("other").await.unwrap();
}

// --- sizes ---

/// Returns the reason why a command was not accepted.
fn refusal(ack: wasmbus_rpc::error::RpcResult<CtlOperationAck>) -> String {
    let ack = ack.unwrap();
    assert!(!ack.accepted);
    ack.error
}

fn many(count: usize, length: usize) -> Annotations {
    let entries = (0..count).map(|n| (n.to_string(), "x".repeat(length)));
    entries.collect()
}

#[tokio::test]
async fn members_that_nobody_means_so_large_are_refused() {
    let world = World::with_lattice().await;
    let client = world.actor.lattice();
    let host = world.identity.host_id.clone();
    let start = |actor_ref: String, annotations: Annotations| StartActorCommand {
        lattice_id: "default".into(),
        host_id: host.clone(),
        actor_ref,
        annotations: Some(annotations),
        count: 1,
    };
    for (command, expected) in [
        (
            start("x".into(), many(257, 1)),
            "annotations of 257 entries",
        ),
        (
            start("x".into(), many(1, 70_000)),
            "annotations of 70001 bytes",
        ),
        (start("x".repeat(4097), map(&[])), "actorRef of 4097 bytes"),
    ] {
        let said = refusal(client.start_actor(&ctx(), &command).await);
        assert!(said.contains(expected), "{said}");
    }
    let auction = ActorAuctionRequest {
        lattice_id: "default".into(),
        actor_ref: "x".into(),
        constraints: many(300, 1),
    };
    let said = client.auction_actor(&ctx(), &auction).await.unwrap_err();
    assert!(
        said.to_string().contains("constraints of 300 entries"),
        "{said}"
    );
    let set = SetLatticeCredentialsRequest {
        lattice_id: "default".into(),
        nats_url: Some(["nats://127.0.0.1"; 1100].join(",")),
        ..Default::default()
    };
    let said = refusal(client.set_lattice_credentials(&ctx(), &set).await);
    assert!(said.contains("natsUrl of "), "{said}");
    let credential = RegistryCredential {
        token: Some("x".repeat(3000)),
        registry_type: "oci".into(),
        ..Default::default()
    };
    let registries = (0..200).map(|n| (format!("r{n}"), credential.clone()));
    let set = SetRegistryCredentialsRequest {
        lattice_id: "default".into(),
        credentials: Some(registries.collect()),
    };
    let said = client
        .set_registry_credentials(&ctx(), &set)
        .await
        .unwrap_err();
    assert!(said.to_string().contains("credentials of "), "{said}");
    let mut link = LinkDefinition::default();
    link.actor_id = support::operator::ACTOR.into();
    link.provider_id = support::operator::PROVIDER.into();
    link.link_name = "default".into();
    link.contract_id = "x".into();
    link.values = many(600, 1);
    let put = AdvertiseLinkRequest {
        lattice_id: "default".into(),
        link,
    };
    let said = refusal(client.advertise_link(&ctx(), &put).await);
    assert!(said.contains("values of 600 entries"), "{said}");
}

#[tokio::test]
async fn arguments_over_two_mebibytes_are_refused_however_they_come() {
    let world = World::start_on(NatsServer::with_config("max_payload: 8388608"), |_| {}).await;
    let command = |bytes: usize| StartProviderCommand {
        lattice_id: "default".into(),
        host_id: world.identity.host_id.clone(),
        provider_ref: "x".into(),
        link_name: "default".into(),
        annotations: None,
        configuration: Some("x".repeat(bytes)),
    };
    let client = world.actor.lattice();
    // These come through the object store.
    let said = refusal(client.start_provider(&ctx(), &command(2_200_000)).await);
    assert!(said.contains("bytes; 2097152 are allowed"), "{said}");
    let said = refusal(client.start_provider(&ctx(), &command(2_000_000)).await);
    assert!(said.contains("configuration of 2000000 bytes"), "{said}");
    // These come in the message.
    let nats = world.nats.client().await;
    for bytes_of in [2_200_000, 5_000_000] {
        let call = mint(&world.identity, "StartProvider", &command(bytes_of), |_| {});
        let response = send(&nats, &world.identity, bytes(&call)).await;
        assert_eq!(response.invocation_id, call.id);
        let ack: CtlOperationAck = rmp_serde::from_slice(&response.msg).unwrap();
        assert!(
            ack.error.contains("bytes; 2097152 are allowed"),
            "{}",
            ack.error
        );
    }
}

#[tokio::test]
async fn input_that_is_nested_deeply_is_refused_and_overflows_nothing() {
    let world = World::start().await;
    let nats = world.nats.client().await;
    let identity = &world.identity;
    let nested = |depth: usize| [&b"\x81\xa1x"[..], &vec![0x91; depth]].concat();
    for depth in [500, 5000, 900_000] {
        // In the call.
        let response = send(&nats, identity, nested(depth)).await;
        assert!(response.error.unwrap().contains("deserialization"));
        // In the arguments.
        for operation in [
            "StopHost",
            "GetHosts",
            "StartActor",
            "SetLatticeCredentials",
        ] {
            let call = mint_raw(identity, &identity.actor, operation, nested(depth), |_| {});
            let response = send(&nats, identity, bytes(&call)).await;
            let said = response.error.unwrap_or_else(|| {
                let ack: CtlOperationAck = rmp_serde::from_slice(&response.msg).unwrap();
                ack.error
            });
            assert!(said.contains("nested too deeply"), "{operation}: {said}");
        }
        // In a link.
        let put = identity.subject("linkdefs.put");
        nats.publish(put, nested(depth).into()).await.unwrap();
        // In a host's answer.
        let lattice = format!("deep{depth}");
        world.set_lattice(&lattice, &world.nats.url()).await;
        let ping = format!("wasmbus.ctl.{lattice}.ping.hosts");
        let reply = format!("{{\"x\":{}", "[".repeat(depth));
        let _host = support::respond(&nats, &ping, vec![reply.into_bytes()]).await;
        let hosts = world.hosts(&lattice).await;
        assert!(hosts.is_ok_and(|hosts| hosts.is_empty()));
    }
    assert!(health(&nats, identity).await.healthy);
}

// --- the log ---

#[tokio::test]
async fn whoever_sends_what_is_refused_does_not_fill_the_log() {
    let world = World::start_on(NatsServer::start(), |data| {
        data["log_level"] = "info".into();
    })
    .await;
    let nats = world.nats.client().await;
    let identity = &world.identity;
    let stranger = Arc::new(support::provider::signing_key(nkeys::KeyPairType::Cluster));
    let stranger = support::provider::Identity {
        cluster: stranger,
        ..identity.clone()
    };
    let old = mint(identity, "StopHost", &"x", |claims| {
        claims["iat"] = 1.into()
    });
    let unlinked = mint_by(identity, "MX", "GetHosts", &"x", |_| {});
    let messages = [
        ("", b"\xc1garbage".to_vec()),
        ("", bytes(&mint(&stranger, "GetHosts", &"x", |_| {}))),
        ("", bytes(&old)),
        ("", bytes(&unlinked)),
        ("linkdefs.put", b"\xc1garbage".to_vec()),
        (
            "linkdefs.del",
            rmp_serde::to_vec_named(&json!({ "actor_id": "M" })).unwrap(),
        ),
        ("shutdown", br#"{"host_id":"NX"}"#.to_vec()),
    ];
    let inbox = nats.new_inbox();
    for _ in 0..300 {
        for (subject, message) in &messages {
            let subject = identity.subject(subject);
            nats.publish_with_reply(subject, inbox.clone(), message.clone().into())
                .await
                .unwrap();
            nats.publish(identity.subject(""), "".into()).await.unwrap();
        }
    }
    // By then the provider has taken all earlier messages.
    support::eventually("an answer after them", || async {
        let response = send(&nats, identity, bytes(&unlinked)).await;
        response.error.filter(|error| error.contains("not linked"))
    })
    .await;
    assert!(health(&nats, identity).await.healthy);
    let lines = world.provider.log().lines().count();
    assert!((20..200).contains(&lines), "{lines} lines");
}
