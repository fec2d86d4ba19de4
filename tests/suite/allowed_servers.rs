//! The provider connects only to servers that `allowed_servers` allows,
//! whatever URL an actor sets, and checks that before it sends anything.

use crate::support;
use crate::support::eventually;
use crate::support::instances::Instances;
use crate::support::nats::{NatsServer, OURS};
use crate::support::time::{SHORTLY, timeout};
use crate::support::world::World;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const SETTING: &str = "(allowed_servers)";

/// Starts a provider that may connect to these servers only.
async fn allowing(entries: Value) -> World {
    World::start_on(NatsServer::start(), |data| {
        data["config_json"] = json!({ "allowed_servers": entries }).to_string().into();
    })
    .await
}

/// Sets this URL, which must not be accepted, and returns the reason.
async fn refused(world: &World, lattice: &str, url: &str) -> String {
    let ack = world.try_set_lattice(lattice, url).await.unwrap();
    assert!(!ack.accepted, "{url}");
    assert!(ack.error.contains(SETTING), "{url}: {}", ack.error);
    let error = world.hosts(lattice).await.unwrap_err();
    assert!(error.contains("is unknown"), "{error}");
    ack.error
}

#[tokio::test]
async fn link_local_addresses_are_refused_unless_they_are_named() {
    let world = World::start().await;
    for url in [
        "nats://169.254.169.254:80",
        "nats://[fe80::1]",
        "nats://[::ffff:169.254.1.1]",
        "nats://0xA9FEA9FE:80",
        "ws://2852039166/",
        "nats://127.0.0.1@169.254.169.254",
    ] {
        refused(&world, "x", url).await;
    }
    let both = format!("{},169.254.169.254", world.nats.address());
    let error = refused(&world, "x", &both).await;
    assert!(error.contains("server 2 of 2"), "{error}");
    // The log tells the operator which actor tried it.
    world.provider.logged("cause=\"server\"").await;
    let log = world.provider.log();
    let line = log.lines().find(|line| line.contains("cause=\"server\""));
    assert!(line.unwrap().contains(&world.identity.actor), "{line:?}");
    // Other servers are still accepted.
    world.set_lattice("x", &world.nats.url()).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    let world = allowing(json!(["169.254.0.0/16"])).await;
    world.set_lattice("x", "nats://169.254.169.254:80").await;
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_refused_before_anything_is_sent() {
    let remote = NatsServer::without_jetstream();
    let (port, dead) = (remote.port(), NatsServer::free_port());
    // An actor may not use the provider's own NATS server.
    let world = allowing(json!(["10.0.0.0/8"])).await;
    for (lattice, url, server) in [
        ("there", format!("nats://localhost:{port}"), "localhost:"),
        ("away", format!("nats://localhost:{dead}"), "localhost:"),
        (
            "list",
            format!("nats://10.255.255.1:1,nats://localhost:{port}"),
            "server 2 of 2, localhost:",
        ),
    ] {
        // A name may lead anywhere until it is looked up.
        world.set_lattice(lattice, &url).await;
        let why = world.hosts(lattice).await.unwrap_err();
        let told = format!("may not connect to {server}");
        assert!(why.contains(&told) && why.contains(SETTING), "{why}");
        // The error does not say where the name leads, nor whether a server is
        // there.
        assert!(
            !why.contains("127.0.0.1") && !why.contains("refused"),
            "{why}"
        );
        let order = world.order_refused(lattice).await;
        assert!(order.contains(&told), "{order}");
    }
    assert_eq!(remote.dials(), 0);
    world.provider.logged("it is at 127.0.0.1").await;
    // Where the server is allowed, the answer is about the network again.
    world.set_lattice("there", "nats://10.255.255.1:1").await;
    let error = world.hosts("there").await.unwrap_err();
    assert!(error.contains("no connection to"), "{error}");
}

#[tokio::test]
async fn names_ports_and_schemes_say_what_is_allowed() {
    let config = "websocket { listen: \"127.0.0.1:-1\", no_tls: true }";
    let remote = NatsServer::with_config_without_jetstream(config);
    let (port, websocket) = (remote.port(), remote.websocket_address());
    let entries = [
        format!("local*:{port}"),
        "ws://127.0.0.0/8".into(),
        "tls://*.example.com".into(),
    ];
    let world = allowing(json!(entries)).await;
    for url in [
        format!("nats://localhost:{port}"),
        format!("LOCALHOST:{port}"),
        format!("ws://{websocket}"),
    ] {
        world.set_lattice("x", &url).await;
        assert!(world.hosts("x").await.unwrap().is_empty(), "{url}");
    }
    world.set_lattice("x", "tls://nats.example.com").await;
    let before = remote.dials();
    for url in [
        format!("nats://127.0.0.1:{port}"),
        format!("ws://0.0.0.0:{port}"),
        format!("wss://{websocket}"),
        "nats://nats.example.com".into(),
        "tls://nats.example.com.evil.example".into(),
        format!("nats://localhost:{port}@127.0.0.1:{port}"),
        format!("nats://localhost:{port},nats://localhost:1"),
    ] {
        refused(&world, "y", &url).await;
    }
    assert_eq!(remote.dials(), before);
}

#[tokio::test]
async fn what_another_instance_took_is_checked_before_it_is_used() {
    let remote = NatsServer::without_jetstream();
    let mut two = Instances::start(2, |number, data| {
        if number == 1 {
            data["config_json"] = json!({ "allowed_servers": "10.0.0.0/8" })
                .to_string()
                .into();
        }
    })
    .await;
    two.logged("credentials are kept in JetStream").await;
    let client = two.actor.lattice();
    use wasmcloud_interface_lattice_control::*;
    let request = SetLatticeCredentialsRequest {
        lattice_id: "x".into(),
        nats_url: Some(remote.url()),
        ..Default::default()
    };
    let ctx = support::world::ctx();
    // The provider dials either of them.
    eventually("the one without the setting to take it", || async {
        let ack = client.set_lattice_credentials(&ctx, &request).await.ok()?;
        ack.accepted.then_some(())
    })
    .await;
    let connected = || async { (remote.open_connections(OURS) == 1).then_some(()) };
    eventually("it to connect", connected).await;
    let dials = remote.dials();
    drop(two.providers.remove(0));
    eventually("the other one to refuse", || async {
        let error = client.get_hosts(&ctx, "x").await.err()?.to_string();
        error.contains(SETTING).then_some(())
    })
    .await;
    assert_eq!(remote.dials(), dials);
}

#[tokio::test]
async fn a_server_cannot_send_the_provider_elsewhere() {
    let (server, other) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    );
    let address = server.local_addr().unwrap().to_string();
    let world = allowing(json!([address, other.local_addr().unwrap().to_string()])).await;
    world.set_lattice("x", &address).await;
    let info = json!({ "server_id": "x", "version": "2.10.0", "proto": 1, "headers": true,
        "max_payload": 1_048_576, "connect_urls": [other.local_addr().unwrap().to_string()] });
    let info = format!("INFO {info}\r\n");
    let calls = async {
        loop {
            let _ = world.hosts("x").await;
        }
    };
    // This server tells of the other one, lets the provider in, and hangs up.
    let thrice = async {
        for _ in 0..3 {
            let (mut stream, _) = server.accept().await.unwrap();
            stream.write_all(info.as_bytes()).await.unwrap();
            let mut heard = Vec::new();
            while !heard.ends_with(b"PING\r\n") {
                assert!(stream.read_buf(&mut heard).await.unwrap() > 0);
            }
            stream.write_all(b"PONG\r\n").await.unwrap();
        }
    };
    tokio::select! {
        () = calls => {}
        done = timeout(SHORTLY * 50, thrice) => done.unwrap(),
    }
    drop(server);
    assert!(world.hosts("x").await.is_err());
    let led = timeout(SHORTLY, other.accept()).await;
    assert!(led.is_err(), "{led:?}");
}

#[tokio::test]
async fn entries_that_mean_nothing_are_refused_all_at_once() {
    let world = allowing(json!(["10.*", "http://x", "*.example.com", "10.0.0.1/8"])).await;
    let error = world.hosts("x").await.unwrap_err();
    for part in ["entry 1", "entry 2", "entry 4"] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains("entry 3"), "{error}");
}
