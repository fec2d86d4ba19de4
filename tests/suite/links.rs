//! Commands for links: names with dots, hosts that keep what was removed, and
//! lattices without JetStream or without hosts.

use crate::support;
use std::time::{Duration, Instant};

use crate::support::host::Generation;
use crate::support::host::lattice::SimLattice;
use crate::support::operator::*;
use crate::support::time::assert_under;
use crate::support::world::ctx;
use serde_json::json;
use wasmbus_rpc::error::{RpcError, RpcResult};
use wasmcloud_interface_lattice_control::*;

use Generation::{G1a, G1b, G2b};

async fn put(lattice: &Operated, link_name: &str) -> RpcResult<CtlOperationAck> {
    let mut link = link();
    link.link_name = link_name.into();
    let request = AdvertiseLinkRequest {
        lattice_id: LATTICE.into(),
        link,
    };
    lattice.client().advertise_link(&ctx(), &request).await
}

async fn remove(lattice: &Operated, link_name: &str) -> RpcResult<CtlOperationAck> {
    let request = RemoveLinkDefinitionRequest {
        lattice_id: LATTICE.into(),
        actor_id: ACTOR.into(),
        contract_id: CONTRACT.into(),
        link_name: link_name.into(),
    };
    lattice.client().remove_link(&ctx(), &request).await
}

#[tokio::test]
async fn a_link_name_with_dots_is_put_and_removed() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        accepted(put(&lattice, "eu.west-1").await);
        let links = lattice.links().await.unwrap();
        assert_eq!(links[0].link_name, "eu.west-1");
        accepted(remove(&lattice, "eu.west-1").await);
        assert!(lattice.links().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn no_link_is_put_whose_calls_would_be_orders_for_a_provider() {
    let lattice = Operated::one(G2b).await;
    for name in ["a.shutdown", "a.health", "a.linkdefs.put", "a.linkdefs.del"] {
        refused(put(&lattice, name).await, "cannot be used");
        // A link that another client put can be removed.
        accepted(remove(&lattice, name).await);
    }
    assert!(lattice.links().await.unwrap().is_empty());
}

/// A link that hosts still list after its removal.
async fn kept(lattice: &Operated) -> support::Responder {
    let nats = lattice.world.nats.client().await;
    let reply = json!({ "links": [{ "actor_id": ACTOR, "provider_id": PROVIDER,
        "link_name": "default", "contract_id": CONTRACT, "id": "an-id-of-its-own" }] });
    lattice.hosts[0].fall_silent_on("get.links");
    let subject = "wasmbus.ctl.default.get.links";
    support::respond(&nats, subject, vec![reply.to_string().into_bytes()]).await
}

#[tokio::test]
async fn a_link_that_hosts_keep_is_not_said_to_be_removed() {
    for generation in [G1a, G1b] {
        let lattice = Operated::one(generation).await;
        accepted(lattice.advertise_link().await);
        let _kept = kept(&lattice).await;
        match lattice.remove_link().await {
            Err(RpcError::Rpc(error)) => {
                assert!(error.contains("list it all the same"), "{error}");
                assert!(error.contains("lattice \"default\""), "{error}");
            }
            other => panic!("{generation:?}: {other:?}"),
        }
        // Other links can be removed.
        accepted(remove(&lattice, "other").await);
    }
}

#[tokio::test]
async fn a_removal_does_not_depend_on_hosts_that_tell_no_links() {
    let lattice = Operated::one(G2b).await;
    accepted(lattice.advertise_link().await);
    lattice.hosts[0].fall_silent_on("get.links");
    let started = Instant::now();
    accepted(lattice.remove_link().await);
    assert_under(Duration::from_millis(1700), started.elapsed());
    assert!(lattice.links().await.unwrap().is_empty());
}

#[tokio::test]
async fn links_of_hosts_without_a_bucket_need_no_permission_for_one() {
    let config = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: {
                publish: [
                    "wasmbus.ctl.default.ping.hosts", "wasmbus.ctl.default.linkdefs.*"
                    "wasmbus.ctl.v1.default.host.ping", "wasmbus.ctl.default.get.links"
                ], subscribe: ["_INBOX.>"] } }
        ] }"#;
    let lattice = Operated::with_user(config, &[(G1a, &[])]).await;
    accepted(lattice.advertise_link().await);
    assert_eq!(lattice.hosts[0].links().len(), 1);
    accepted(lattice.remove_link().await);
    assert!(lattice.hosts[0].links().is_empty());
    // Where a host uses the bucket, the provider must look for it.
    let lattice = Operated::with_user(config, &[(G1a, &[]), (G1b, &[])]).await;
    refused(lattice.advertise_link().await, "cannot be looked up");
}

#[tokio::test]
async fn without_hosts_no_link_is_written() {
    let lattice = Operated::with(&[]).await;
    let world = &lattice.world;
    SimLattice::with_bucket(world.nats.client().await, LATTICE).await;
    refused(lattice.advertise_link().await, "nobody listens");
    refused(lattice.remove_link().await, "nobody listens");
    assert!(lattice.links().await.unwrap().is_empty());
}
