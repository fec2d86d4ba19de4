//! Requests that cannot work get a clear error in the way of the contract, and
//! nothing is sent to a lattice.

use crate::support;
use std::collections::HashMap;

use crate::support::operator::{accepted, refused};
use crate::support::world::{World, ctx};
use serde_json::{Value, json};
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::*;

const ACTOR: &str = "MBW3UGAIONCX3RIDDUGDCQIRGBQQOWS643CVICQ5EZ7SWNQPZLZTSQKU";
const PROVIDER: &str = "VAG3QITQQ2ODAOWB5TTQSDJ53XK3SHBEIFNK4AYJ5RKAX2UNSCAPHA5M";
const HOST: &str = "NAGASFIHF5SBGTNTZUOVWT3O63SJUMIFUL7BH52T3UAFKQW7PPP46KFU";

/// Returns valid arguments of every operation, as JSON with the member names of
/// the wire.
fn good_arguments() -> Vec<(&'static str, Value)> {
    let l = "default";
    let link = json!({ "actor_id": ACTOR, "provider_id": PROVIDER, "link_name": "default",
        "contract_id": "wasmcloud:httpserver", "values": {} });
    let credentials = json!({ "ghcr.io":
        { "registryType": "oci", "username": "u", "password": "p" } });
    vec![
        ("GetHosts", json!(l)),
        ("GetClaims", json!(l)),
        ("GetLinks", json!(l)),
        (
            "GetHostInventory",
            json!({ "latticeId": l, "hostId": HOST }),
        ),
        (
            "AuctionActor",
            json!({ "latticeId": l, "actorRef": "x", "constraints": {} }),
        ),
        (
            "AuctionProvider",
            json!({ "latticeId": l, "providerRef": "x", "linkName": "default", "constraints": {} }),
        ),
        (
            "StartActor",
            json!({ "latticeId": l, "hostId": HOST, "actorRef": "x", "count": 1 }),
        ),
        (
            "ScaleActor",
            json!({ "latticeId": l, "hostId": HOST, "actorRef": "x", "actorId": ACTOR, "count": 1 }),
        ),
        (
            "StopActor",
            json!({ "latticeId": l, "hostId": HOST, "actorId": ACTOR, "count": 1 }),
        ),
        (
            "UpdateActor",
            json!({ "latticeId": l, "hostId": HOST, "actorId": ACTOR, "newActorRef": "x" }),
        ),
        (
            "StartProvider",
            json!({ "latticeId": l, "hostId": HOST, "providerRef": "x", "linkName": "default" }),
        ),
        (
            "StopProvider",
            json!({ "latticeId": l, "hostId": HOST, "providerId": PROVIDER,
                "linkName": "default", "contractId": "c:d" }),
        ),
        ("StopHost", json!({ "latticeId": l, "hostId": HOST })),
        ("AdvertiseLink", json!({ "latticeId": l, "link": link })),
        (
            "RemoveLink",
            json!({ "latticeId": l, "actorId": ACTOR, "contractId": "c:d", "linkName": "default" }),
        ),
        (
            "SetRegistryCredentials",
            json!({ "latticeId": l, "credentials": credentials }),
        ),
        (
            "SetLatticeCredentials",
            json!({ "latticeId": l, "natsUrl": "127.0.0.1:4222" }),
        ),
    ]
}

/// Calls an operation and returns why it was refused, whether by an
/// acknowledgement or by an RPC error.
async fn refusal(world: &World, operation: &str, arguments: &Value) -> String {
    let method = format!("LatticeController.{operation}");
    let bytes = rmp_serde::to_vec_named(arguments).unwrap();
    match world.actor.call_raw(&method, bytes).await {
        Err(RpcError::Rpc(error)) => {
            assert!(
                !acknowledges(operation),
                "{operation} should acknowledge: {error}"
            );
            error
        }
        Err(error) => panic!("{operation}: {error}"),
        Ok(reply) => {
            let ack: CtlOperationAck = rmp_serde::from_slice(&reply)
                .unwrap_or_else(|_| panic!("{operation} was carried out: {arguments}"));
            assert!(!ack.accepted, "{operation} was accepted: {arguments}");
            ack.error
        }
    }
}

fn acknowledges(operation: &str) -> bool {
    !operation.starts_with("Get")
        && !operation.starts_with("Auction")
        && operation != "SetRegistryCredentials"
}

/// Starts a world and subscribes to everything that is published in its
/// lattice.
async fn watched() -> (World, async_nats::Subscriber) {
    let world = World::with_lattice().await;
    // What the change of its credentials caused is over.
    world.provider.logged("before the first call").await;
    let nats = world.nats.client().await;
    let watch = nats.subscribe("wasmbus.ctl.>").await.unwrap();
    support::fence(&nats).await;
    (world, watch)
}

/// Asserts that nothing was published: a message of the test's own is the first
/// to arrive.
async fn nothing_was_sent(world: &World, mut watch: async_nats::Subscriber) {
    use futures::StreamExt as _;
    let nats = world.nats.client().await;
    nats.publish("wasmbus.ctl.end", "".into()).await.unwrap();
    support::fence(&nats).await;
    let first = watch.next().await.unwrap();
    assert_eq!(first.subject.as_str(), "wasmbus.ctl.end");
}

#[tokio::test]
async fn every_operation_refuses_a_malformed_lattice_id() {
    let (world, watch) = watched().await;
    for (operation, good) in good_arguments() {
        for bad in [
            "",
            "a b",
            "a.b",
            "*",
            ">",
            "x\r\nPUB wasmbus.ctl.default.ping.hosts 0\r\n",
        ] {
            let mut arguments = good.clone();
            match arguments.as_object_mut() {
                Some(members) => members["latticeId"] = bad.into(),
                None => arguments = bad.into(),
            }
            let error = refusal(&world, operation, &arguments).await;
            assert!(error.contains("lattice id"), "{operation}: {error}");
        }
    }
    nothing_was_sent(&world, watch).await;
}

#[tokio::test]
async fn every_operation_refuses_a_lattice_whose_credentials_were_not_set() {
    let world = World::start().await;
    // The provider's own lattice is as unknown as any other.
    for lattice in ["elsewhere", &world.identity.lattice] {
        for (operation, mut arguments) in good_arguments() {
            if operation == "SetLatticeCredentials" {
                continue;
            }
            match arguments.as_object_mut() {
                Some(members) => members["latticeId"] = lattice.into(),
                None => arguments = lattice.into(),
            }
            let error = refusal(&world, operation, &arguments).await;
            assert!(error.contains("is unknown"), "{operation}: {error}");
            assert!(error.contains(lattice), "{operation}: {error}");
        }
    }
}

#[tokio::test]
async fn every_required_member_is_required() {
    let (world, watch) = watched().await;
    for (operation, good) in good_arguments() {
        let Some(members) = good.as_object() else {
            continue;
        };
        for member in members.keys() {
            // Arguments without these members do not decode, or the members are
            // optional.
            if ["constraints", "link", "natsUrl"].contains(&member.as_str()) {
                continue;
            }
            // Hosts do not read this member.
            if (operation, member.as_str()) == ("StopProvider", "contractId") {
                continue;
            }
            let mut arguments = good.clone();
            arguments.as_object_mut().unwrap().remove(member);
            let error = refusal(&world, operation, &arguments).await;
            assert!(
                error.contains("missing"),
                "{operation} without {member}: {error}"
            );
        }
    }
    for member in ["actor_id", "provider_id", "link_name", "contract_id"] {
        let mut arguments = good_arguments()
            .into_iter()
            .find_map(|(name, good)| (name == "AdvertiseLink").then_some(good))
            .unwrap();
        arguments["link"].as_object_mut().unwrap().remove(member);
        let error = refusal(&world, "AdvertiseLink", &arguments).await;
        assert!(error.contains("missing"), "link without {member}: {error}");
    }
    nothing_was_sent(&world, watch).await;
}

#[tokio::test]
async fn malformed_ids_and_link_names_are_refused() {
    let (world, watch) = watched().await;
    let bad = [
        ("hostId", "NHOST", "host id"),
        ("hostId", "*", "host id"),
        ("hostId", ACTOR, "host id"),
        ("actorId", "ghcr.io/x/y:1", "id \"ghcr.io/x/y:1\""),
        ("providerId", "ghcr.io/x/y:1", "id \"ghcr.io/x/y:1\""),
        ("linkName", "a b", "link name"),
        ("linkName", "a..b", "link name"),
        ("linkName", "a.", "link name"),
        ("linkName", "a.*", "link name"),
        ("linkName", ">", "link name"),
    ];
    for (operation, good) in good_arguments() {
        for (member, value, expected) in bad {
            if good.get(member).is_none() {
                continue;
            }
            let mut arguments = good.clone();
            arguments[member] = value.into();
            let error = refusal(&world, operation, &arguments).await;
            assert!(
                error.contains(expected),
                "{operation} {member}={value}: {error}"
            );
        }
    }
    nothing_was_sent(&world, watch).await;
}

#[tokio::test]
async fn a_configuration_over_500000_bytes_is_refused() {
    let (world, watch) = watched().await;
    let command = |length: usize| StartProviderCommand {
        lattice_id: "default".into(),
        host_id: HOST.into(),
        provider_ref: "x".into(),
        link_name: "default".into(),
        annotations: None,
        configuration: Some("x".repeat(length)),
    };
    let lattice = world.actor.lattice();
    refused(
        lattice.start_provider(&ctx(), &command(500_001)).await,
        "500001 bytes",
    );
    nothing_was_sent(&world, watch).await;
    let ack = lattice
        .start_provider(&ctx(), &command(500_000))
        .await
        .unwrap();
    assert!(ack.error.contains("nobody listens"), "{}", ack.error);
}

#[tokio::test]
async fn registry_credentials_that_harm_or_do_nothing_are_refused() {
    let (world, watch) = watched().await;
    for kind in ["", "OCI", "docker"] {
        let arguments = json!({ "latticeId": "default",
            "credentials": { "ghcr.io":
                { "registryType": kind, "username": "u", "password": "p" } } });
        let error = refusal(&world, "SetRegistryCredentials", &arguments).await;
        // An absent member decodes as "".
        assert!(error.contains("registryType"), "{kind}: {error}");
    }
    for nothing in [json!({}), Value::Null] {
        let arguments = json!({ "latticeId": "default", "credentials": nothing });
        let error = refusal(&world, "SetRegistryCredentials", &arguments).await;
        assert!(error.contains("none can be told to forget"), "{error}");
    }
    nothing_was_sent(&world, watch).await;
}

#[tokio::test]
async fn unknown_operations_are_rpc_errors() {
    let world = World::with_lattice().await;
    for operation in [
        "LatticeController.Nope",
        "GetHosts",
        "Other.GetHosts",
        "LatticeController.getHosts",
        "",
    ] {
        let argument = rmp_serde::to_vec(&"default").unwrap();
        let error = world.actor.call_raw(operation, argument).await.unwrap_err();
        assert!(
            error.to_string().contains("method not handled"),
            "{operation}: {error}"
        );
    }
}

#[tokio::test]
async fn arguments_that_do_not_decode_are_rpc_errors_without_their_values() {
    let world = World::with_lattice().await;
    let secret = support::secrets::plant("an-undecodable-secret");
    for (operation, _) in good_arguments() {
        let method = format!("LatticeController.{operation}");
        for argument in [
            vec![],
            vec![0xc1],
            rmp_serde::to_vec(&json!([[secret.clone()]])).unwrap(),
            rmp_serde::to_vec(&json!({ "latticeId": 5, "userSeed": secret })).unwrap(),
        ] {
            let error = world.actor.call_raw(&method, argument).await.unwrap_err();
            let error = error.to_string();
            assert!(error.contains("deserialization"), "{operation}: {error}");
            assert!(!error.contains(&secret), "{operation}: {error}");
        }
    }
    let argument =
        json!({ "latticeId": "default", "hostId": HOST, "actorId": ACTOR, "count": 70000 });
    let method = "LatticeController.StopActor";
    let bytes = rmp_serde::to_vec_named(&argument).unwrap();
    let error = world.actor.call_raw(method, bytes).await.unwrap_err();
    assert!(error.to_string().contains("deserialization"), "{error}");
}

#[tokio::test]
async fn a_blank_optional_member_counts_as_absent() {
    // TinyGo actors send "" for an absent member.
    let world = World::start().await;
    let request = SetLatticeCredentialsRequest {
        lattice_id: "default".into(),
        nats_url: Some(world.nats.address()),
        js_domain: Some(String::new()),
        user_jwt: Some(" ".into()),
        user_seed: Some(String::new()),
    };
    let lattice = world.actor.lattice();
    accepted(lattice.set_lattice_credentials(&ctx(), &request).await);
    assert!(
        lattice
            .get_hosts(&ctx(), "default")
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn credentials_that_cannot_work_are_refused_when_they_are_set() {
    let world = World::start().await;
    let user = nkeys::KeyPair::new(nkeys::KeyPairType::User);
    let seed = support::secrets::plant(user.seed().unwrap());
    let request = |url: &str, jwt: Option<&str>, seed: Option<&str>| SetLatticeCredentialsRequest {
        lattice_id: "default".into(),
        nats_url: Some(url.into()),
        js_domain: None,
        user_jwt: jwt.map(Into::into),
        user_seed: seed.map(Into::into),
    };
    let lattice = world.actor.lattice();
    for (wrong, expected) in [
        (request("http://u:sekret-in-url@h", None, None), "natsUrl"),
        (request("nats://", None, None), "natsUrl"),
        (request("h", Some("a.b.c"), None), "userSeed is missing"),
        (request("h", None, Some(&seed)), "userJwt is missing"),
        (request("h", Some("a.b.c"), Some(&seed)), "userJwt"),
        (request("h", Some("a.b.c"), Some("SUX")), "userSeed"),
    ] {
        let ack = lattice
            .set_lattice_credentials(&ctx(), &wrong)
            .await
            .unwrap();
        assert!(
            !ack.accepted && ack.error.contains(expected),
            "{expected}: {}",
            ack.error
        );
        assert!(!ack.error.contains("sekret"), "{}", ack.error);
    }
    // None of these calls set credentials of the lattice.
    let error = lattice
        .get_hosts(&ctx(), "default")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("is unknown"), "{error}");
}

#[tokio::test]
async fn a_bad_domain_is_refused() {
    let world = World::start().await;
    let request = SetLatticeCredentialsRequest {
        lattice_id: "default".into(),
        js_domain: Some("a.b>".into()),
        ..Default::default()
    };
    let lattice = world.actor.lattice();
    refused(
        lattice.set_lattice_credentials(&ctx(), &request).await,
        "domain",
    );
}

#[tokio::test]
async fn a_wrong_domain_is_reported_as_such() {
    let world = World::start().await;
    let request = SetLatticeCredentialsRequest {
        lattice_id: "default".into(),
        nats_url: Some(world.nats.url()),
        js_domain: Some("nowhere".into()),
        ..Default::default()
    };
    let lattice = world.actor.lattice();
    lattice
        .set_lattice_credentials(&ctx(), &request)
        .await
        .unwrap();
    let error = lattice
        .get_links(&ctx(), "default")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("JetStream domain \"nowhere\""), "{error}");
}

#[tokio::test]
async fn the_default_url_is_the_providers_setting() {
    let nats = support::nats::NatsServer::start();
    let url = nats.url();
    let world = World::start_on(nats, |host_data| {
        host_data["config_json"] = json!({ "default_lattice_url": url }).to_string().into();
    })
    .await;
    for blank in [None, Some(String::new())] {
        let request = SetLatticeCredentialsRequest {
            lattice_id: "default".into(),
            nats_url: blank,
            ..Default::default()
        };
        let lattice = world.actor.lattice();
        accepted(lattice.set_lattice_credentials(&ctx(), &request).await);
        assert!(
            lattice
                .get_hosts(&ctx(), "default")
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn an_empty_map_of_constraints_is_allowed() {
    let world = World::with_lattice().await;
    let request = ActorAuctionRequest {
        lattice_id: "default".into(),
        actor_ref: "x".into(),
        constraints: HashMap::new(),
    };
    let bids = world
        .actor
        .lattice()
        .auction_actor(&ctx(), &request)
        .await
        .unwrap();
    assert!(bids.is_empty());
}
