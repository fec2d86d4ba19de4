//! What lattices in use cost the provider in memory, and what hostile ones do.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::non_nats_servers::saying;
use crate::support::eventually;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::hostile::{Hostile, Says};
use crate::support::nats::{NatsServer, OURS};
use crate::support::world::{World, ctx, hosts};
use futures::{StreamExt as _, stream};
use nkeys::{KeyPair, KeyPairType};
use serde_json::json;
use wasmcloud_interface_lattice_control::{
    GetHostInventoryRequest, HostInventory, LatticeController as _, StopHostCommand,
};

/// Sets credentials of so many lattices, and calls each once.
async fn call_each(world: &World, name: &str, count: usize) {
    let call = |number: usize| async move {
        let lattice = format!("{name}{number}");
        world.set_lattice(&lattice, &world.nats.url()).await;
        let hosts = world.actor.lattice().get_hosts(&ctx(), &lattice).await;
        assert!(hosts.unwrap().is_empty());
    };
    stream::iter(0..count).for_each_concurrent(8, call).await;
}

#[tokio::test]
async fn five_hundred_lattices_with_one_credential_are_one_connection_and_under_two_mebibytes() {
    let world = World::start().await;
    // What the first calls allocate once is allocated by now.
    call_each(&world, "warm", 20).await;
    let before = world.provider.resident();
    call_each(&world, "x", 500).await;
    let grown = world.provider.resident() - before;
    assert!(grown < 2048, "{grown} KiB");
    assert_eq!(world.nats.open_connections(OURS), 1);
}

/// The bounds that docs/scaling.md says.
const ROOM: i64 = 256 * 1024;
/// What else a flood may take for a moment, in KiB: buffers of connections, which double
/// when they are full, messages on their way to the calls, and answers on their way to the
/// actor.
const BESIDE: i64 = 384 * 1024;

/// Runs something, and returns by how many KiB the provider grew meanwhile, at most.
async fn growth<T>(world: &World, during: impl Future<Output = T>) -> (T, i64) {
    let before = world.provider.resident();
    let mut most = before;
    tokio::pin!(during);
    loop {
        tokio::select! {
            result = &mut during => return (result, most - before),
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                most = most.max(world.provider.resident());
            }
        }
    }
}

/// Starts a world whose calls may take some time, for a debug build.
async fn patient_world() -> World {
    World::start_on(NatsServer::start(), |data| {
        data["default_rpc_timeout_ms"] = json!(10_000);
    })
    .await
}

fn host_id() -> String {
    KeyPair::new(KeyPairType::Server).public_key()
}

/// The reply of a host to a ping, with one label.
fn ping_reply(host: &str, label: &str) -> Arc<Vec<u8>> {
    let reply = json!({ "id": host, "version": "0.82.0", "uptime_seconds": 7, "labels":
        { "label": label }, "friendly_name": "x" });
    Arc::new(reply.to_string().into_bytes())
}

/// Starts a world with a lattice `x`, whose only host says this to questions and orders whose
/// subjects end so.
async fn with_host_saying(host: &str, end: &'static str, answer: String) -> (World, Hostile) {
    let (ping, answer) = (ping_reply(host, "x"), Arc::new(answer.into_bytes()));
    let server = Hostile::start(move |subject| match subject {
        subject if subject.ends_with(end) => Says::Replies(vec![answer.clone()]),
        subject if subject.ends_with(".ping.hosts") => Says::Replies(vec![ping.clone()]),
        _ => Says::Nothing,
    })
    .await;
    let world = patient_world().await;
    world.set_lattice("x", &server.url()).await;
    assert_eq!(world.hosts("x").await.unwrap().len(), 1);
    (world, server)
}

/// Asks for the inventory of a host, patiently.
async fn inventory(world: &World, host: &str) -> Result<HostInventory, String> {
    let asked = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host.into(),
    };
    let actor = world.actor.clone().with_timeout(Duration::from_secs(20));
    let inventory = actor.lattice().get_host_inventory(&ctx(), &asked).await;
    inventory.map_err(|error| error.to_string())
}

/// Has so many calls made at the same time; returns the errors.
async fn refused<T, Fut: Future<Output = Result<T, String>>>(
    callers: usize,
    call: impl Fn() -> Fut,
) -> Vec<String> {
    let calls = (0..callers).map(|_| call());
    let answers = futures::future::join_all(calls).await;
    answers.into_iter().filter_map(Result::err).collect()
}

/// Asserts that calls to another lattice go on until `flood` ends; returns its result.
async fn unharmed<T>(world: &World, flood: impl Future<Output = T>) -> T {
    let sim = SimLattice::without_bucket(world.nats.client().await, "good");
    let _host = SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await;
    world.set_lattice("good", &world.nats.url()).await;
    let call = || async { assert_eq!(world.hosts("good").await.unwrap().len(), 1) };
    call().await;
    tokio::pin!(flood);
    loop {
        tokio::select! {
            result = &mut flood => return result,
            () = call() => {}
        }
    }
}

#[tokio::test]
async fn a_host_with_a_huge_inventory_has_its_lattices_room_and_others_have_theirs() {
    const CALLERS: usize = 32;
    let host = host_id();
    let name = "x".repeat(32 << 20);
    let answer = json!({ "host_id": host, "actors": [], "labels": { "a": name } });
    let (world, _server) = with_host_saying(&host, ".inv", answer.to_string()).await;
    let call = || inventory(&world, &host);
    let flood = unharmed(&world, refused(CALLERS, call));
    let (errors, grown) = growth(&world, flood).await;
    let full = |error: &&String| error.contains("there is no room for it");
    let full = errors.iter().filter(full).count();
    assert!(full > 0, "{errors:?}");
    assert!(grown < ROOM + BESIDE, "{grown} KiB");
    // All is given back.
    call().await.unwrap();
}

#[tokio::test]
async fn gathers_of_huge_answers_have_no_more_room_than_others() {
    // Each counts as 4 MiB.
    let label = ":".repeat(64 * 1024);
    let replies: Vec<_> = (0..10).map(|_| ping_reply(&host_id(), &label)).collect();
    let server = Hostile::start(move |subject| match subject {
        subject if subject.ends_with(".ping.hosts") => Says::Replies(replies.clone()),
        _ => Says::Nothing,
    })
    .await;
    let world = patient_world().await;
    world.set_lattice("x", &server.url()).await;
    let actor = world.actor.clone().with_timeout(Duration::from_secs(20));
    let flood = unharmed(&world, refused(24, || hosts(&actor, "x")));
    let (errors, grown) = growth(&world, flood).await;
    let full = |error: &&String| error.contains("there is no room for it");
    assert!(errors.iter().filter(full).count() > 0, "{errors:?}");
    assert!(grown < ROOM + BESIDE, "{grown} KiB");
    // Ten hosts, and none is left out.
    assert_eq!(world.hosts("x").await.unwrap().len(), 10);
}

#[tokio::test]
async fn an_answer_counts_as_what_it_takes_once_it_is_read() {
    let host = host_id();
    // 4 MiB, which would become 160 MiB.
    let instances = "{},".repeat(1_400_000);
    let answer = format!(r#"{{"actors":[{{"id":"M","instances":[{instances}{{}}]}}]}}"#);
    let (world, _server) = with_host_saying(&host, ".inv", answer).await;
    let (answer, grown) = growth(&world, inventory(&world, &host)).await;
    let error = answer.unwrap_err();
    assert!(error.contains("there is no room for it"), "{error}");
    assert!(grown < 64 * 1024, "{grown} KiB");
}

#[tokio::test]
async fn a_huge_answer_of_jetstream_is_not_read() {
    let ping = ping_reply(&host_id(), "x");
    let info = json!({ "config": { "description": "x".repeat(100_000) } });
    let info = Arc::new(info.to_string().into_bytes());
    let links = Arc::new(br#"{"links":[]}"#.to_vec());
    let server = Hostile::start(move |subject| match subject {
        subject if subject.starts_with("$JS.") => Says::Replies(vec![info.clone()]),
        subject if subject.ends_with(".ping.hosts") => Says::Replies(vec![ping.clone()]),
        subject if subject.ends_with(".get.links") => Says::Replies(vec![links.clone()]),
        _ => Says::Nothing,
    })
    .await;
    let world = World::start().await;
    world.set_lattice("x", &server.url()).await;
    let links = world.actor.lattice().get_links(&ctx(), "x").await;
    assert!(links.unwrap().links.is_empty());
    world
        .provider
        .logged("the answer cannot be read: it has 1000")
        .await;
}

#[tokio::test]
async fn an_order_whose_acknowledgement_finds_no_room_may_have_been_carried_out() {
    let host = host_id();
    // It would take 65 times its bytes if it were read.
    let ack = format!(
        r#"{{"accepted":true,"error":"","x":"{}"}}"#,
        ":".repeat(4 << 20)
    );
    let (world, _server) = with_host_saying(&host, ".stop", ack).await;
    let command = StopHostCommand {
        lattice_id: "x".into(),
        host_id: host,
        timeout: None,
    };
    let stopped = world.actor.lattice().stop_host(&ctx(), &command).await;
    let error = stopped.unwrap_err().to_string();
    assert!(error.contains("there is no room for it"), "{error}");
    assert!(error.contains("it is unknown whether"), "{error}");
}

#[tokio::test]
async fn long_words_of_a_server_are_not_kept() {
    let line = format!(
        "-ERR 'Permissions Violation for Publish to \"{}\"'\r\n",
        "x".repeat(64 * 1024)
    );
    let lines = line.repeat(500).into_bytes();
    let reply = ping_reply(&host_id(), "x");
    let head = Arc::new(Mutex::new(Some(lines)));
    let server = Hostile::start(move |subject| {
        let first = head.lock().unwrap().take();
        match (first, subject.ends_with(".ping.hosts")) {
            (Some(lines), _) => Says::Raw(lines),
            (None, true) => Says::Replies(vec![reply.clone()]),
            (None, false) => Says::Nothing,
        }
    })
    .await;
    let world = patient_world().await;
    world.set_lattice("x", &server.url()).await;
    let calls = refused(64, || world.hosts("x"));
    let (_, grown) = growth(&world, calls).await;
    // They are 32 MiB.
    assert!(grown < 24 * 1024, "{grown} KiB");
    world.hosts("x").await.unwrap();
}

#[tokio::test]
async fn a_server_that_says_more_than_servers_say_in_a_dial_is_none() {
    let info = json!({ "server_id": "x".repeat(1 << 20), "version": "2.10.0", "max_payload": 9 });
    let server = saying(format!("INFO {info}\r\nPONG\r\n").into_bytes()).await;
    let world = World::start().await;
    let url = format!("nats://{}", server.address);
    world.set_lattice("x", &url).await;
    let error = world.hosts("x").await.unwrap_err();
    assert!(
        error.contains("what answers there is no NATS server"),
        "{error}"
    );
}

#[tokio::test]
async fn long_references_in_events_are_not_kept() {
    let world = World::with_lattice().await;
    let sim = SimLattice::without_bucket(world.nats.client().await, "default");
    let host = SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await;
    assert_eq!(world.hosts("default").await.unwrap().len(), 1);
    let nats = world.nats.client().await;
    let subject = "wasmbus.evt.default";
    let actor = KeyPair::new(KeyPairType::Module).public_key();
    let events = async {
        for number in 0..1500 {
            let event = json!({
                "type": "com.wasmcloud.lattice.actor_started", "source": host.id, "data": {
                    "public_key": actor, "image_ref": format!("{number:0>60000}"),
                },
            });
            let sent = nats.publish(subject, event.to_string().into());
            sent.await.unwrap();
            // Fewer than are ignored.
            tokio::time::sleep(Duration::from_micros(700)).await;
        }
        crate::support::fence(&nats).await;
        world.hosts("default").await.unwrap();
    };
    let ((), grown) = growth(&world, events).await;
    // They are 86 MiB.
    assert!(grown < 24 * 1024, "{grown} KiB");
}

#[tokio::test]
async fn a_message_that_never_ends_closes_its_connection() {
    let server = Hostile::start(move |subject| match subject {
        subject if subject.ends_with(".ping.hosts") => {
            Says::WithoutEnd(b"MSG x 1 10000000000\r\n".to_vec(), vec![b'x'; 256 * 1024])
        }
        _ => Says::Nothing,
    })
    .await;
    let world = patient_world().await;
    world.set_lattice("x", &server.url()).await;
    let flood = unharmed(&world, world.hosts("x"));
    let (answer, grown) = growth(&world, flood).await;
    let error = answer.unwrap_err();
    assert!(error.contains("MiB that are no whole message"), "{error}");
    assert!(grown < 8 * ROOM, "{grown} KiB");
    let closed = || async { (server.ended() > 0).then_some(()) };
    eventually("the end of the connection", closed).await;
}

/// The client looks through an unfinished line anew with each packet, so that it falls
/// behind its server, which then decides when the order to close is read (SECURITY.md).
#[tokio::test]
async fn a_line_without_end_harms_no_other_lattice() {
    let server = Hostile::start(move |subject| match subject {
        subject if subject.ends_with(".ping.hosts") => {
            Says::WithoutEnd(b"-ERR 'x".to_vec(), vec![b'x'; 256 * 1024])
        }
        _ => Says::Nothing,
    })
    .await;
    let world = World::start().await;
    world.set_lattice("x", &server.url()).await;
    let flood = unharmed(&world, world.hosts("x"));
    let (answer, grown) = growth(&world, flood).await;
    assert!(answer.is_err());
    assert!(grown < 8 * ROOM, "{grown} KiB");
}
