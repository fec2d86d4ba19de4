//! Limits that a server has for a user or an account. A call that reaches one
//! reports it in the server's words.

use crate::support;
use std::sync::Arc;

use crate::support::actor::Actor;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::jwt::{Account, Operator};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::provider::{Identity, Provider, health};
use crate::support::world::{World, ctx};
use crate::support::{eventually, fence};
use futures::future::join_all;
use serde_json::{Value, json};
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::{
    AdvertiseLinkRequest, CtlOperationAck, LatticeController as _,
};

/// Starts a lattice of one host on a server of its own, whose user has these
/// limits.
struct Limited {
    lattice: Operated,
    server: NatsServer,
}

impl Limited {
    async fn to(limits: Value, with_bucket: bool) -> Self {
        let operator = Operator::new();
        let account = Account {
            jetstream: with_bucket,
            ..Account::default()
        };
        let config = operator.server_config_with(&account);
        let server = match with_bucket {
            true => NatsServer::with_config(&config),
            false => NatsServer::with_config_without_jetstream(&config),
        };
        let client = operator.client(&server).await;
        let sim = Arc::new(match with_bucket {
            true => SimLattice::with_bucket(client, LATTICE).await,
            false => SimLattice::without_bucket(client, LATTICE),
        });
        let hosts = vec![SimHost::start(&sim, Generation::G2b, &[]).await];
        let world = World::start().await;
        let user = operator.user_with(&limits);
        world.set_user(LATTICE, &server.url(), &user).await;
        Self {
            lattice: Operated { hosts, sim, world },
            server,
        }
    }

    /// Puts a link with so many bytes of values.
    async fn link_of(&self, bytes: usize) -> RpcResult<CtlOperationAck> {
        let mut link = link();
        link.values = map(&[("text", &"x".repeat(bytes))]);
        let request = AdvertiseLinkRequest {
            lattice_id: LATTICE.into(),
            link,
        };
        let client = self.lattice.client();
        client.advertise_link(&ctx(), &request).await
    }
}

#[tokio::test]
async fn gathers_at_once_need_no_subscription_each() {
    let limited = Limited::to(json!({ "subs": 10 }), false).await;
    let asked = (0..16).map(|_| limited.lattice.get_hosts());
    for hosts in join_all(asked).await {
        assert_eq!(hosts.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn one_subscription_is_enough() {
    for with_bucket in [false, true] {
        let limited = Limited::to(json!({ "subs": 1 }), with_bucket).await;
        let lattice = &limited.lattice;
        for _ in 0..3 {
            let asked = (0..4).map(|_| lattice.get_hosts());
            for hosts in join_all(asked).await {
                assert_eq!(hosts.unwrap().len(), 1);
            }
        }
        assert_eq!(lattice.auction_actor(&[]).await.unwrap().len(), 1);
        accepted(lattice.advertise_link().await);
        // Links come from hosts where no subscription is left for the bucket.
        assert_eq!(lattice.links().await.unwrap().len(), 1, "{with_bucket}");
        accepted(lattice.remove_link().await);
        assert!(lattice.links().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn where_no_answer_can_be_heard_the_servers_words_are_the_answer() {
    let limited = Limited::to(json!({ "subs": 0 }), false).await;
    let words = "maximum subscriptions exceeded";
    // The second time the provider knows of it and says so at once.
    for _ in 0..2 {
        let error = limited.lattice.get_hosts().await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        let host = &limited.lattice.hosts[0].id;
        refused(limited.lattice.stop_host(host, None).await, words);
    }
}

#[tokio::test]
async fn a_message_that_is_too_large_for_a_user_was_not_carried_out() {
    for with_bucket in [false, true] {
        let limited = Limited::to(json!({ "payload": 600 }), with_bucket).await;
        accepted(limited.link_of(10).await);
        refused(limited.link_of(1000).await, "Maximum Payload Violation");
        refused(limited.link_of(1000).await, "nothing was ");
        // The provider knows the limit now, so no later call breaks the
        // connection.
        eventually("the connection", || async {
            limited.lattice.get_hosts().await.ok()
        })
        .await;
        let dials = limited.server.dials();
        refused(limited.link_of(2000).await, "Maximum Payload Violation");
        accepted(limited.link_of(20).await);
        assert_eq!(limited.server.dials(), dials);
        let links = limited.lattice.links().await.unwrap();
        assert_eq!(links[0].values["text"].len(), 20, "{with_bucket}");
    }
}

#[tokio::test]
async fn a_message_that_is_far_too_large_is_told_from_a_broken_connection() {
    let limited = Limited::to(json!({ "payload": 600 }), false).await;
    refused(limited.link_of(100_000).await, "Maximum Payload Violation");
}

#[tokio::test]
async fn an_order_that_a_host_has_is_never_said_to_be_too_large() {
    let operator = Operator::new();
    let config = operator.server_config();
    let server = NatsServer::with_config_without_jetstream(&config);
    let client = operator.client(&server).await;
    let sim = Arc::new(SimLattice::without_bucket(client, LATTICE));
    let hosts = vec![SimHost::start(&sim, Generation::G1b, &[]).await];
    let world = World::start().await;
    let user = operator.user(0);
    world.set_user(LATTICE, &server.url(), &user).await;
    let lattice = Operated { hosts, sim, world };
    let host = &lattice.hosts[0];
    host.fall_silent_on(".la");
    let none = Annotations::new();
    let first = lattice.start_actor(&host.id, 1, &none);
    let second = async {
        eventually("the first order", || async {
            (!host.received_on(".la").is_empty()).then_some(())
        })
        .await;
        // While the call waits for its answer, the limit goes down to what
        // hosts' answers need.
        let low = Account {
            payload: Some(1000),
            ..Account::default()
        };
        operator.update(&server, &low).await;
        let large = map(&[("text", &"x".repeat(2000))]);
        lattice.start_from(&host.id, NEW_ACTOR_REF, 1, &large).await
    };
    let (first, second) = futures::join!(first, second);
    let error = first.unwrap_err().to_string();
    assert!(error.contains("it is unknown whether"), "{error}");
    assert!(error.contains("Maximum Payload Violation"), "{error}");
    // This holds whether or not the limit is known.
    assert!(second.map_or(true, |ack| !ack.accepted));
}

#[tokio::test]
async fn links_are_read_where_the_question_for_the_bucket_is_too_large() {
    let limited = Limited::to(json!({ "payload": 300 }), true).await;
    let links = || async { limited.lattice.links().await.ok() };
    assert!(eventually("links", links).await.is_empty());
    // From then on links come from hosts, and no call breaks the connection.
    let dials = limited.server.dials();
    assert!(limited.lattice.links().await.is_ok() && limited.lattice.claims().await.is_ok());
    assert_eq!(limited.server.dials(), dials);
}

#[tokio::test]
async fn what_was_too_large_is_tried_again_when_credentials_are_set_again() {
    let operator = Operator::new();
    let low = Account {
        payload: Some(600),
        ..Account::default()
    };
    let server = NatsServer::with_config_without_jetstream(&operator.server_config_with(&low));
    let sim = Arc::new(SimLattice::without_bucket(
        operator.client(&server).await,
        LATTICE,
    ));
    let hosts = vec![SimHost::start(&sim, Generation::G2b, &[]).await];
    let world = World::start().await;
    let user = operator.user(0);
    world.set_user(LATTICE, &server.url(), &user).await;
    let lattice = Operated { hosts, sim, world };
    let limited = Limited { lattice, server };
    refused(limited.link_of(1000).await, "Maximum Payload Violation");
    operator.update(&limited.server, &Account::default()).await;
    let world = &limited.lattice.world;
    world.set_user(LATTICE, &limited.server.url(), &user).await;
    eventually("the link", || async {
        let ack = limited.link_of(1000).await.unwrap();
        // This lasts until the connection is back.
        assert!(!ack.error.contains("lately took none"), "{}", ack.error);
        ack.accepted.then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_for_the_providers_own_user_is_said_to_be() {
    let operator = Operator::new();
    let nats = NatsServer::with_config_without_jetstream(&operator.server_config());
    let (identity, user) = (
        Identity::new(),
        operator.user_with(&json!({ "payload": 4000 })),
    );
    let mut host_data = identity.host_data(&nats.url());
    host_data["lattice_rpc_user_jwt"] = user.jwt.into();
    host_data["lattice_rpc_user_seed"] = user.seed.into();
    let provider = Provider::start(&host_data);
    provider.ready().await;
    let remote = NatsServer::without_jetstream();
    let sim = Arc::new(SimLattice::without_bucket(remote.client().await, "x"));
    let mut hosts = Vec::new();
    for _ in 0..16 {
        hosts.push(SimHost::start(&sim, Generation::G2b, &[]).await);
    }
    let caller = operator.user(0);
    let key = Arc::new(nkeys::KeyPair::from_seed(&caller.seed).unwrap());
    let options = wasmbus_rpc::async_nats::ConnectOptions::with_jwt(caller.jwt, move |nonce| {
        let key = key.clone();
        async move {
            let signed = key.sign(&nonce);
            signed.map_err(wasmbus_rpc::async_nats::AuthError::new)
        }
    });
    let client = options.connect(nats.url()).await.unwrap();
    let actor = Actor::over(client, &identity, &identity.actor, &identity.cluster);
    let ack = support::world::set(&actor, "x", &remote.url()).await;
    assert!(ack.unwrap().accepted);
    // The first of them breaks the connection, and no other does.
    for _ in 0..2 {
        let error = support::world::hosts(&actor, "x").await.unwrap_err();
        assert!(error.contains("Maximum Payload Violation"), "{error}");
    }
    let connects = provider.log().matches("connected to our lattice").count();
    assert_eq!(connects, 2);
}

#[tokio::test]
async fn a_provider_that_may_not_subscribe_to_all_it_needs_is_unhealthy_until_it_may() {
    let operator = Operator::new();
    let few = Account {
        subscriptions: Some(4),
        ..Account::default()
    };
    let mut nats = NatsServer::with_config_without_jetstream(&operator.server_config_with(&few));
    let (identity, user) = (Identity::new(), operator.user(0));
    let mut host_data = identity.host_data(&nats.url());
    host_data["lattice_rpc_user_jwt"] = user.jwt.into();
    host_data["lattice_rpc_user_seed"] = user.seed.into();
    let provider = Provider::start(&host_data);
    let client = operator.client(&nats).await;
    fence(&client).await;
    let well = |expected: bool| {
        let (client, identity) = (client.clone(), identity.clone());
        move || {
            let (client, identity) = (client.clone(), identity.clone());
            async move {
                let asked = client.request(identity.subject("health"), "".into()).await;
                asked.ok()?;
                let health = health(&client, &identity).await;
                (health.healthy == expected).then_some(health.message.unwrap_or_default())
            }
        }
    };
    let message = eventually("it to be unhealthy", well(false)).await;
    assert!(
        message.contains("maximum subscriptions exceeded"),
        "{message}"
    );
    operator.update(&nats, &Account::default()).await;
    eventually("it to be healthy", well(true)).await;
    provider.ready().await;
    // The second time it gets no more subscriptions than the first time.
    let name = format!(
        "lattice-controller {} {}",
        identity.provider_key, identity.link_name
    );
    nats.restart();
    let found = || provider.log().matches("are too many").count() > 1;
    eventually("the limit", || async { found().then_some(()) }).await;
    operator.update(&nats, &Account::default()).await;
    eventually("it to be healthy", well(true)).await;
    let ours = identity.subject("");
    let count = || {
        nats.subscriptions(&name)
            .iter()
            .filter(|one| one.starts_with(&ours))
            .count()
    };
    assert!(count() <= 6, "{:?}", nats.subscriptions(&name));
    // It receives what it could not receive before.
    let shutdown = json!({ "host_id": identity.host_id }).to_string();
    let stopped = client.request(identity.subject("shutdown"), shutdown.into());
    assert_eq!(stopped.await.unwrap().payload, "shutting down");
}
