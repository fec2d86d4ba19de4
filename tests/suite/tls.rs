//! TLS to lattices and to our own NATS server: what is checked, which
//! certificate is shown, and what an error says.

use crate::support::actor::Actor;
use crate::support::certs::{Certs, Pair};
use crate::support::eventually;
use crate::support::jwt::Operator;
use crate::support::nats::NatsServer;
use crate::support::provider::{Identity, Provider, health};
use crate::support::secrets::plant;
use crate::support::tls_proxy::TlsFirst;
use crate::support::world::World;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// Starts a provider with these settings, whose own NATS server has no TLS.
async fn world(settings: &Value) -> World {
    World::start_on(NatsServer::without_jetstream(), |data| {
        data["config_json"] = settings.to_string().into();
    })
    .await
}

fn trusting(certs: &Certs) -> Value {
    json!({ "tls_ca_file": certs.ca() })
}

fn server(config: &str) -> NatsServer {
    NatsServer::with_config_without_jetstream(config)
}

fn websocket(pair: &Pair) -> String {
    format!(
        "websocket {{ listen: \"127.0.0.1:-1\"\n{} }}\n",
        pair.config()
    )
}

/// Asserts that the actor is told that TLS failed and why, and that a command
/// is certainly not carried out.
async fn refused(world: &World, url: &str, why: &str) {
    world.set_lattice("x", url).await;
    let answers = [
        world.hosts("x").await.unwrap_err(),
        world.order_refused("x").await,
    ];
    for answer in answers {
        assert!(
            answer.contains("(TLS: ") && answer.contains(why),
            "{url}: {answer}"
        );
    }
}

async fn answered(world: &World, url: &str) {
    world.set_lattice("x", url).await;
    let hosts = world.hosts("x").await;
    assert!(hosts.unwrap().is_empty(), "{url}");
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_accepted_however_the_url_is_written() {
    let certs = Certs::new();
    let pair = certs.server();
    let password = plant("a-password-over-tls");
    let remote = server(&format!(
        "{}{}authorization {{ users: [ {{ user: alice, password: \"{password}\" }} ] }}",
        pair.config(),
        websocket(&pair)
    ));
    let world = world(&trusting(&certs)).await;
    let (address, websocket) = (remote.address(), remote.websocket_address());
    let named = address.replace("127.0.0.1", "localhost");
    for url in [
        format!("nats://alice:{password}@{address}"),
        format!("tls://alice:{password}@{address}"),
        format!("tls://alice:{password}@{named}"),
        format!("wss://alice:{password}@{websocket}"),
    ] {
        answered(&world, &url).await;
    }
    world.set_lattice("y", &format!("tls://{address}")).await;
    let error = world.hosts("y").await.unwrap_err();
    assert!(error.contains("rejected the credentials"), "{error}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let (certs, others) = (Certs::new(), Certs::new());
    let pair = certs.server();
    let remote = server(&format!("{}{}", pair.config(), websocket(&pair)));
    // Our authority is not one of the system's.
    for settings in [trusting(&others), json!({})] {
        let world = world(&settings).await;
        for url in [
            remote.url(),
            format!("tls://{}", remote.address()),
            format!("wss://{}", remote.websocket_address()),
        ] {
            refused(&world, &url, "UnknownIssuer").await;
        }
    }
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_of_another_name_is_refused() {
    let certs = Certs::new();
    let (expired, other) = (
        certs.expired_server(),
        certs.issue("other", &["nats.example"]),
    );
    let world = world(&trusting(&certs)).await;
    for (pair, why) in [
        (&expired, "certificate expired"),
        (&other, "not valid for name"),
    ] {
        let remote = server(&format!("{}{}", pair.config(), websocket(pair)));
        refused(&world, &remote.url(), why).await;
        let websocket = format!("wss://{}", remote.websocket_address());
        refused(&world, &websocket, why).await;
    }
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_not_spoken_to_where_the_url_insists() {
    let certs = Certs::new();
    let password = plant("never-sent-in-the-clear");
    let remote = server("");
    let world = world(&trusting(&certs)).await;
    let url = format!("tls://alice:{password}@{}", remote.address());
    refused(&world, &url, "received corrupt message").await;
    answered(&world, &remote.url()).await;
    // Such a server gets only the beginning of TLS.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = std::sync::mpsc::channel();
    let accepting = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let info =
                b"INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1000}\r\n";
            stream.write_all(info).await.unwrap();
            let mut heard = vec![0; 1000];
            let read = stream.read(&mut heard).await.unwrap();
            let _ = stream
                .write_all(b"-ERR 'Unknown Protocol Operation'\r\n")
                .await;
            let _ = stream.shutdown().await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let _ = tell.send([&heard[..read], &rest].concat());
        }
    });
    world
        .set_lattice("y", &format!("tls://alice:{password}@{address}"))
        .await;
    let error = world.hosts("y").await.unwrap_err();
    assert!(error.contains("(TLS: "), "{error}");
    let all = || async {
        let all: Vec<Vec<u8>> = heard.try_iter().collect();
        (!all.is_empty()).then_some(all)
    };
    for heard in eventually("what was said", all).await {
        const HANDSHAKE: u8 = 22;
        assert_eq!(heard[0], HANDSHAKE);
        let heard = String::from_utf8_lossy(&heard);
        assert!(!heard.contains("CONNECT") && !heard.contains(&password));
    }
    accepting.abort();
}

/// Starts a provider with a certificate for these servers of lattices, if any.
fn with_certificate(certs: &Certs, client: &Pair, servers: Option<Value>) -> Value {
    let mut settings = trusting(certs);
    settings["tls_cert_file"] = json!(client.cert);
    settings["tls_key_file"] = json!(client.key);
    if let Some(servers) = servers {
        settings["tls_client_servers"] = servers;
    }
    settings
}

/// Asserts that a server which asks for a certificate gets none, and that the
/// actor is told which setting decides that.
async fn gets_no_certificate(world: &World, lattice: &str) {
    // The server may close the connection before its words are read.
    eventually("the server's words", || async {
        let error = world.hosts(lattice).await.unwrap_err();
        assert!(error.contains("no connection"), "{error}");
        assert!(error.contains("tls_client_servers"), "{error}");
        (error.contains("(TLS: ") && error.contains("ertificate")).then_some(())
    })
    .await;
    world.order_refused(lattice).await;
}

#[tokio::test]
async fn the_providers_certificate_is_for_servers_that_the_settings_name() {
    let certs = Certs::new();
    let (pair, client) = (certs.server(), certs.issue("client", &[]));
    let operator = Operator::new();
    let asking = || {
        let verify = pair.config_for_clients_of(&certs);
        server(&format!(
            "{verify}{}{}",
            websocket(&pair),
            operator.server_config()
        ))
    };
    let (remote, other) = (asking(), asking());
    let user = operator.user(0);
    // Every actor that may set credentials would log in with the certificate
    // where a server maps certificates to users.
    let unnamed = world(&with_certificate(&certs, &client, None)).await;
    unnamed.set_user("x", &remote.url(), &user).await;
    gets_no_certificate(&unnamed, "x").await;
    let named = json!([format!("127.0.0.1:{}", remote.port())]);
    let world = world(&with_certificate(&certs, &client, Some(named))).await;
    for url in [remote.url(), format!("tls://{}", remote.address())] {
        world.set_user("x", &url, &user).await;
        assert!(world.hosts("x").await.unwrap().is_empty(), "{url}");
    }
    let by_name = format!("nats://localhost:{}", remote.port());
    for url in [other.url(), by_name] {
        world.set_user("y", &url, &user).await;
        gets_no_certificate(&world, "y").await;
    }
    // Each server of a list is judged by itself, whichever is tried first.
    for lattice in ["a", "b", "c", "d"] {
        let both = format!("{},{}", other.url(), remote.url());
        world.set_user(lattice, &both, &user).await;
        assert!(world.hosts(lattice).await.unwrap().is_empty());
    }
    assert_eq!(other.open_connections("for lattices"), 0);
}

#[tokio::test]
async fn our_own_nats_gets_our_certificate_where_it_asks() {
    let certs = Certs::new();
    let client = certs.issue("client", &[]);
    let home = server(&certs.server().config_for_clients_of(&certs));
    let identity = Identity::new();
    let mut data = identity.host_data(&home.url());
    let settings = with_certificate(&certs, &client, None);
    data["config_json"] = settings.to_string().into();
    let provider = Provider::start(&data);
    provider.ready().await;
}

#[tokio::test]
async fn renewed_files_count_from_the_next_connection() {
    let (certs, renewed) = (Certs::new(), Certs::new());
    let mut remote = server(&certs.server().config());
    let world = world(&trusting(&certs)).await;
    answered(&world, &remote.url()).await;
    remote.reconfigure(&renewed.server().config());
    eventually("the connection to break", || async {
        world.hosts("x").await.err()
    })
    .await;
    std::fs::copy(renewed.ca(), certs.ca()).unwrap();
    eventually("the renewed certificate to be accepted", || async {
        world.hosts("x").await.ok()
    })
    .await;
}

/// Connects an actor to a NATS server with TLS.
async fn actor(home: &NatsServer, certs: &Certs, identity: &Identity) -> Actor {
    let nats = wasmbus_rpc::async_nats::ConnectOptions::new()
        .add_root_certificates(certs.ca())
        .connect(home.url());
    Actor::over(
        nats.await.unwrap(),
        identity,
        &identity.actor,
        &identity.cluster,
    )
}

#[tokio::test]
async fn our_own_nats_is_reached_over_tls() {
    let certs = Certs::new();
    let home = server(&certs.server().config());
    let identity = Identity::new();
    for url in [home.url(), format!("tls://{}", home.address())] {
        let mut data = identity.host_data(&url);
        data["config_json"] = trusting(&certs).to_string().into();
        let provider = Provider::start(&data);
        provider.ready().await;
        let world = World {
            provider,
            identity: identity.clone(),
            actor: actor(&home, &certs, &identity).await,
            nats: server(""),
        };
        // The same authority is valid for lattices.
        answered(&world, &home.url()).await;
    }
}

#[tokio::test]
async fn wrong_settings_are_told_over_tls() {
    let certs = Certs::new();
    let home = server(&certs.server().config());
    let identity = Identity::new();
    let mut data = identity.host_data(&home.url());
    let mut settings = trusting(&certs);
    settings["tls_cert_file"] = json!("/nowhere/client.pem");
    data["config_json"] = settings.to_string().into();
    let provider = Provider::start(&data);
    provider.ready().await;
    let nats = async_nats::ConnectOptions::new().add_root_certificates(certs.ca());
    let nats = nats.connect(home.url()).await.unwrap();
    let health = health(&nats, &identity).await;
    let problem = health.message.unwrap();
    for part in [
        "tls_cert_file: /nowhere/client.pem cannot be read",
        "tls_key_file: it is missing",
    ] {
        assert!(!health.healthy && problem.contains(part), "{problem}");
    }
}

#[tokio::test]
async fn a_server_that_begins_with_tls_is_reached_where_the_settings_name_it() {
    let certs = Certs::new();
    let pair = certs.server();
    let token = plant("a-token-behind-tls");
    let plain = server(&format!("authorization {{ token: \"{token}\" }}"));
    let first = TlsFirst::to(&plain.address(), &pair).await;
    let mut settings = trusting(&certs);
    let without = world(&settings).await;
    for scheme in ["nats", "tls"] {
        let url = format!("{scheme}://{token}@{}", first.address());
        without.set_lattice("x", &url).await;
        eventually("the reason", || async {
            let error = without.hosts("x").await.unwrap_err();
            assert!(error.contains("tls_first_servers"), "{error}");
            error
                .contains("it closed the connection and had said nothing")
                .then_some(())
        })
        .await;
    }
    settings["tls_first_servers"] = json!([first.address()]);
    let with = world(&settings).await;
    for scheme in ["nats", "tls"] {
        let url = format!("{scheme}://{token}@{}", first.address());
        answered(&with, &url).await;
    }
    // Other servers are spoken to as before, also in the same list.
    for lattice in ["a", "b", "c", "d"] {
        let dead = NatsServer::free_port();
        let both = format!("{token}@{},127.0.0.1:{dead}", plain.address());
        with.set_lattice(lattice, &format!("{both},{}", first.address()))
            .await;
        assert!(with.hosts(lattice).await.unwrap().is_empty());
    }
    assert!(with.hosts("x").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_server_that_is_said_to_begin_with_tls_and_does_not_is_not_logged_in_to() {
    let certs = Certs::new();
    let remote = server(&certs.server().config());
    let mut settings = trusting(&certs);
    settings["tls_first_servers"] = json!(remote.address());
    let world = world(&settings).await;
    refused(&world, &remote.url(), "is in tls_first_servers").await;
}

#[tokio::test]
async fn our_own_nats_may_begin_with_tls() {
    let certs = Certs::new();
    let home = server("");
    let first = TlsFirst::to(&home.address(), &certs.server()).await;
    let identity = Identity::new();
    let mut data = identity.host_data(&format!("nats://{}", first.address()));
    let mut settings = trusting(&certs);
    settings["tls_first_servers"] = json!([first.address()]);
    // This holds whatever else is wrong with the settings.
    settings["max_calls"] = json!(0);
    data["config_json"] = settings.to_string().into();
    let provider = Provider::start(&data);
    provider.ready().await;
    let nats = home.client().await;
    let health = health(&nats, &identity).await;
    assert!(health.message.unwrap().contains("max_calls"));
}

#[tokio::test]
async fn a_host_that_asks_for_tls_has_no_login_sent_without() {
    const TOKEN: &str = "a-token-of-our-own-lattice";
    plant(TOKEN);
    let certs = Certs::new();
    let token = format!("authorization {{ token: \"{TOKEN}\" }}");
    let home = server(&format!("{}{token}", certs.server().config()));
    let identity = Identity::new();
    // As OTP hosts write it.
    let data = |address: &str, asks: Value| {
        let mut data = identity.host_data(&format!("{TOKEN}@{address}"));
        data["lattice_rpc_tls"] = asks;
        data["config_json"] = trusting(&certs).to_string().into();
        data
    };
    for asks in [json!(1), json!(true), json!(0), json!(false)] {
        let provider = Provider::start(&data(&home.address(), asks));
        provider.ready().await;
    }
    for asks in [json!(1), json!(true)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let _provider = Provider::start(&data(&address, asks));
        let (mut stream, _) = listener.accept().await.unwrap();
        let info = b"INFO {\"server_id\":\"x\",\"version\":\"2.9.10\",\"max_payload\":1000}\r\n";
        stream.write_all(info).await.unwrap();
        let mut heard = vec![0; 3];
        stream.read_exact(&mut heard).await.unwrap();
        // The first bytes of a TLS handshake.
        assert_eq!(heard[..2], [22, 3]);
    }
}
