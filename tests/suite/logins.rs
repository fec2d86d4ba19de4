//! Every way to log in to a lattice, with right and wrong credentials, at the
//! start of a connection and while it lasts. Other files have some of it:
//! `secrets.rs` (JWTs, user info in URLs), `pasted_credentials.rs` (JWTs and
//! seeds as people paste them), `connections.rs` (passwords, tokens),
//! `permissions.rs`.

use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::jwt::{Account, Operator, now};
use crate::support::nats::NatsServer;
use crate::support::secrets::plant;
use crate::support::time::assert_under;
use crate::support::world::World;

const REJECTED: &str = "rejected the credentials";

/// A second, with room for a busy machine.
const A_SECOND: Duration = Duration::from_secs(3);

fn server_of(operator: &Operator) -> NatsServer {
    NatsServer::with_config_without_jetstream(&operator.server_config())
}

/// Asserts that the actor gets this reason, and that a command is certainly not
/// carried out.
async fn refused(world: &World, lattice: &str, expected: &[&str]) {
    let answers = [
        world.hosts(lattice).await.unwrap_err(),
        world.order_refused(lattice).await,
    ];
    for answer in answers {
        for part in expected {
            assert!(answer.contains(part), "{answer}");
        }
    }
}

/// Waits until the actor is told that the credentials were rejected, and
/// returns how long that took.
async fn rejected(world: &World, lattice: &str) -> Duration {
    let started = Instant::now();
    eventually("a rejection", || async {
        let error = world.hosts(lattice).await.err()?;
        error.contains(REJECTED).then_some(())
    })
    .await;
    let took = started.elapsed();
    refused(world, lattice, &[REJECTED]).await;
    took
}

#[tokio::test]
async fn a_login_of_any_kind_that_is_wrong_or_missing_is_said_to_be_rejected() {
    let (token, password) = (plant("the-token-of-a-server"), plant("the-p%40ssword"));
    let with_token = NatsServer::with_config(&format!("authorization {{ token: \"{token}\" }}"));
    let with_password = NatsServer::with_config(
        "authorization { users: [ { user: alice, password: \"the-p@ssword\" } ] }",
    );
    let operator = Operator::new();
    let with_jwt = server_of(&operator);
    let world = World::start().await;
    let wrong = plant("another-token");
    for (server, user_info) in [
        (&with_token, String::new()),
        (&with_token, format!("{wrong}@")),
        (&with_token, format!("alice:{password}@")),
        (&with_password, String::new()),
        (&with_password, format!("alice:{wrong}@")),
        (&with_password, format!("bob:{password}@")),
        (&with_jwt, String::new()),
        (&with_jwt, format!("{token}@")),
    ] {
        let url = format!("nats://{user_info}{}", server.address());
        world.set_lattice("x", &url).await;
        refused(&world, "x", &[REJECTED]).await;
    }
    for (server, user_info) in [
        (&with_token, format!("{token}@")),
        (&with_password, format!("alice:{password}@")),
    ] {
        let url = format!("nats://{user_info}{}", server.address());
        world.set_lattice("x", &url).await;
        assert!(world.hosts("x").await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_jwt_of_an_issuer_whom_the_server_does_not_know_is_rejected() {
    let (operator, stranger) = (Operator::new(), Operator::new());
    let server = server_of(&operator);
    let world = World::start().await;
    world.set_user("x", &server.url(), &stranger.user(0)).await;
    refused(&world, "x", &[REJECTED]).await;
    world.set_user("x", &server.url(), &operator.user(0)).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_jwt_that_expires_while_it_is_used_is_rejected_from_then_on() {
    let operator = Operator::new();
    let server = server_of(&operator);
    let world = World::start().await;
    let expires = now() + 3;
    world
        .set_user("x", &server.url(), &operator.user(expires))
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    rejected(&world, "x").await;
    assert!(now() >= expires);
    world.set_user("x", &server.url(), &operator.user(0)).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_user_who_is_revoked_while_connected_is_rejected_within_a_second() {
    let operator = Operator::new();
    let server = server_of(&operator);
    let world = World::start().await;
    let (user, other) = (operator.user(0), operator.user(0));
    for (lattice, user) in [("x", &user), ("y", &other)] {
        world.set_user(lattice, &server.url(), user).await;
        assert!(world.hosts(lattice).await.unwrap().is_empty());
    }
    let account = Account {
        revoked: &[&user.key],
        ..Account::default()
    };
    operator.update(&server, &account).await;
    let took = rejected(&world, "x").await;
    assert_under(A_SECOND, took);
    assert!(world.hosts("y").await.unwrap().is_empty());
    // A connection of its own is rejected at once.
    let url = format!("nats://localhost:{}", server.port());
    world.set_user("z", &url, &user).await;
    refused(&world, "z", &[REJECTED]).await;
    // A revoked user can log in again once it is allowed.
    operator.update(&server, &Account::default()).await;
    eventually("the user to be let in", || async {
        world.hosts("x").await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_password_that_is_changed_while_connected_is_rejected() {
    let (old, new) = (plant("the-old-password"), plant("the-new-password"));
    let config = |password: &str| {
        format!("authorization {{ users: [ {{ user: alice, password: \"{password}\" }} ] }}")
    };
    let mut server = NatsServer::with_config_without_jetstream(&config(&old));
    let world = World::start().await;
    let address = server.address();
    world
        .set_lattice("x", &format!("nats://alice:{old}@{address}"))
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    server.reload(&config(&new)).await;
    let took = rejected(&world, "x").await;
    assert_under(A_SECOND, took);
    world
        .set_lattice("x", &format!("nats://alice:{new}@{address}"))
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_account_without_room_for_a_connection_rejects_with_the_reason() {
    const FULL: &str = "maximum account active connections exceeded";
    let operator = Operator::new();
    let one = Account {
        connections: Some(1),
        ..Account::default()
    };
    let server = NatsServer::with_config_without_jetstream(&operator.server_config_with(&one));
    let world = World::start().await;
    world.set_user("x", &server.url(), &operator.user(0)).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    world.set_user("y", &server.url(), &operator.user(0)).await;
    refused(&world, "y", &[REJECTED, FULL]).await;
    // There is no room any more for connected users either.
    let none = Account {
        connections: Some(0),
        ..Account::default()
    };
    operator.update(&server, &none).await;
    eventually("a rejection", || async {
        let error = world.hosts("x").await.err()?;
        (error.contains(REJECTED) && error.contains(FULL)).then_some(())
    })
    .await;
    operator.update(&server, &Account::default()).await;
    for lattice in ["x", "y"] {
        eventually("room", || async { world.hosts(lattice).await.ok() }).await;
    }
}

#[tokio::test]
async fn a_server_without_room_for_a_connection_is_said_to_be_full() {
    let server = NatsServer::with_config_without_jetstream("max_connections: 1");
    let other = server.client().await;
    let world = World::start().await;
    world.set_lattice("x", &server.url()).await;
    let expected = ["no connection to", "(\"maximum connections exceeded\")"];
    refused(&world, "x", &expected).await;
    drop(other);
    eventually("room", || async { world.hosts("x").await.ok() }).await;
}

#[tokio::test]
async fn of_several_servers_one_that_lives_is_enough() {
    let token = plant("the-token-of-two-servers");
    let config = format!("authorization {{ token: \"{token}\" }}");
    let server = NatsServer::with_config_without_jetstream(&config);
    let dead = NatsServer::free_port();
    let world = World::start().await;
    // The servers are tried in any order.
    for number in 0..8 {
        let lattice = format!("x{number}");
        let more = "127.0.0.1:1,".repeat(number);
        let url = format!("{token}@127.0.0.1:{dead},{more}nats://{}", server.address());
        world.set_lattice(&lattice, &url).await;
        assert!(world.hosts(&lattice).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn servers_that_a_cluster_tells_of_are_not_followed() {
    let (mut one, two) = NatsServer::cluster("").await;
    let world = World::start().await;
    world.set_lattice("x", &one.url()).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    one.kill();
    let down = || async {
        let error = world.hosts("x").await.err()?;
        error.contains("being made again").then_some(())
    };
    eventually("the break to be noticed", down).await;
    assert_eq!(two.open_connections("for lattices"), 0);
    one.restart();
    eventually("the one to be found again", || async {
        world.hosts("x").await.ok()
    })
    .await;
    assert_eq!(two.open_connections("for lattices"), 0);
}

#[tokio::test]
async fn what_a_jwt_does_not_permit_is_named() {
    let operator = Operator::new();
    let server = server_of(&operator);
    let world = World::start().await;
    let denied = serde_json::json!({ "pub": { "deny": ["wasmbus.ctl.x.ping.hosts"] } });
    let user = operator.user_with(&denied);
    world.set_user("x", &server.url(), &user).await;
    let error = world.hosts("x").await.unwrap_err();
    let expected = "may not publish to wasmbus.ctl.x.ping.hosts";
    assert!(error.contains(expected), "{error}");
    world.set_user("y", &server.url(), &user).await;
    assert!(world.hosts("y").await.unwrap().is_empty());
}

#[tokio::test]
async fn websockets_carry_every_login() {
    const WEBSOCKET: &str = "websocket { listen: \"127.0.0.1:-1\", no_tls: true }\n";
    let operator = Operator::new();
    let password = plant("a-password-over-websocket");
    let with_jwt = format!("{WEBSOCKET}{}", operator.server_config());
    let with_jwt = NatsServer::with_config_without_jetstream(&with_jwt);
    let with_password = NatsServer::with_config_without_jetstream(&format!(
        "{WEBSOCKET}authorization {{ users: [ {{ user: alice, password: \"{password}\" }} ] }}"
    ));
    let world = World::start().await;
    let url = format!("ws://{}", with_jwt.websocket_address());
    world.set_user("x", &url, &operator.user(0)).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    world.set_user("x", &url, &Operator::new().user(0)).await;
    refused(&world, "x", &[REJECTED]).await;
    let address = with_password.websocket_address();
    world
        .set_lattice("x", &format!("ws://alice:{password}@{address}"))
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    world.set_lattice("x", &format!("ws://{address}")).await;
    refused(&world, "x", &[REJECTED]).await;
}

#[tokio::test]
async fn a_user_whose_password_is_empty_logs_in() {
    let server = NatsServer::with_config_without_jetstream(
        "authorization { users: [ { user: alice, password: \"\" } ] }",
    );
    let world = World::start().await;
    for scheme in ["", "nats://"] {
        let url = format!("{scheme}alice:@{}", server.address());
        world.set_lattice("x", &url).await;
        assert!(world.hosts("x").await.unwrap().is_empty(), "{url}");
    }
    world
        .set_lattice("x", &format!("alice@{}", server.address()))
        .await;
    refused(&world, "x", &[REJECTED]).await;
}

#[tokio::test]
async fn a_websocket_is_asked_for_under_its_path() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    const WEBSOCKET: &str = "websocket { listen: \"127.0.0.1:-1\", no_tls: true }";
    let server = NatsServer::with_config_without_jetstream(WEBSOCKET);
    // A server that routes by paths, one of which leads to NATS.
    let router = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = router.local_addr().unwrap();
    let behind = server.websocket_address();
    let routing = tokio::spawn(async move {
        loop {
            let (mut client, _) = router.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let length = client.read(&mut asked).await.unwrap();
            if !asked.starts_with(b"GET /nats/a HTTP/1.1\r\n") {
                let _ = client.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n").await;
                continue;
            }
            let mut server = tokio::net::TcpStream::connect(&behind).await.unwrap();
            server.write_all(&asked[..length]).await.unwrap();
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    let world = World::start().await;
    world
        .set_lattice("x", &format!("ws://{address}/nats/a"))
        .await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    // Another path leads to another server.
    world
        .set_lattice("y", &format!("ws://{address}/nats/b"))
        .await;
    refused(&world, "y", &["what answers there is no NATS server"]).await;
    assert!(world.hosts("x").await.unwrap().is_empty());
    for (url, expected) in [
        ("nats://h/a", "only websockets have a path"),
        ("ws://h/a?token=sekret", "before ? and #"),
    ] {
        let ack = world.try_set_lattice("z", url).await.unwrap();
        assert!(
            !ack.accepted && ack.error.contains(expected),
            "{}",
            ack.error
        );
    }
    routing.abort();
}
