//! Links and claims from a lattice's metadata bucket: old and new shapes, some
//! of them broken, and a bucket that comes and goes.

use crate::support;
use std::time::Duration;

use crate::support::fixtures;
use crate::support::host::Generation;
use crate::support::host::lattice::SimLattice;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::world::World;
use serde_json::json;

#[tokio::test]
async fn the_bucket_tells_what_hosts_of_every_generation_wrote() {
    for generation in ["G1", "G2", "G3"] {
        let lattice = Operated::without_bucket(&[]).await;
        let client = lattice.world.nats.client().await;
        let sim = SimLattice::with_bucket(client, LATTICE).await;
        let folder = format!(
            "{}/tests/fixtures/{generation}/kv",
            env!("CARGO_MANIFEST_DIR")
        );
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != "stream-config.json" {
                let key = name.split('.').next().unwrap();
                let value = fixtures::text(&format!("{generation}/kv/{name}"));
                sim.write(key, value.as_bytes()).await;
            }
        }
        sim.write("CLAIMS_BAD", b"not json").await;
        sim.write("LINKDEF_BAD", b"[]").await;
        sim.write("LINKDEF_LIST", br#"["M1","V1","default","c",{}]"#)
            .await;
        sim.write("LINKDEF_ONE", b"[1]").await;
        assert_eq!(lattice.links().await.unwrap(), [link()], "{generation}");
        let claims = lattice.claims().await.unwrap();
        let mut keys: Vec<_> = claims.iter().map(|claims| claims["sub"].as_str()).collect();
        keys.sort_unstable();
        assert_eq!(keys, [ACTOR, PROVIDER], "{generation}");
        for claims in claims {
            assert!(
                !claims["iss"].is_empty() && !claims["rev"].is_empty(),
                "{generation}"
            );
        }
        lattice.world.provider.logged("cannot be read").await;
    }
}

#[tokio::test]
async fn a_bucket_that_comes_later_is_found() {
    // Every call looks for the bucket anew
    // (docs/hosts.md#bucket-can-come-later).
    let lattice = Operated::without_bucket(&[(Generation::G2b, &[])]).await;
    assert!(lattice.links().await.unwrap().is_empty());
    let asked = lattice.hosts[0].received_on("get.links").len();
    let sim = SimLattice::with_bucket(lattice.world.nats.client().await, LATTICE).await;
    let value = json!({ "actor_id": ACTOR, "provider_id": PROVIDER, "link_name": "default",
        "contract_id": CONTRACT, "values": { "address": "0.0.0.0:8080" } });
    sim.put_link(&value, value.to_string().as_bytes(), true)
        .await;
    assert_eq!(lattice.links().await.unwrap(), [link()]);
    assert_eq!(lattice.hosts[0].received_on("get.links").len(), asked);
}

#[tokio::test]
async fn a_link_that_changes_while_it_is_read_is_told_once() {
    let lattice = Operated::one(Generation::G2b).await;
    let nats = lattice.world.nats.client().await;
    let mut value = json!({ "actor_id": ACTOR, "provider_id": PROVIDER, "contract_id": CONTRACT,
        "values": {} });
    for number in 0..300 {
        value["link_name"] = format!("l{number}").into();
        let body = value.to_string();
        lattice.sim.put_link(&value, body.as_bytes(), true).await;
    }
    let writer = tokio::spawn(async move {
        for number in (0..300).cycle() {
            value["link_name"] = format!("l{number}").into();
            let key = support::host::lattice::link_key(&value);
            let subject = format!("$KV.LATTICEDATA_default.{key}");
            nats.publish(subject, value.to_string().into())
                .await
                .unwrap();
            if number % 20 == 0 {
                support::fence(&nats).await;
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        }
    });
    for _ in 0..10 {
        let mut names: Vec<_> = lattice
            .links()
            .await
            .unwrap()
            .into_iter()
            .map(|link| link.link_name)
            .collect();
        assert_eq!(names.len(), 300);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 300);
    }
    writer.abort();
}

#[tokio::test]
async fn ten_thousand_links_are_told() {
    // The debug build needs more than the usual time on a busy machine.
    let mut world = World::start_on(NatsServer::start(), |host_data| {
        host_data["default_rpc_timeout_ms"] = 9000.into();
    })
    .await;
    world.actor = world.actor.with_timeout(Duration::from_millis(9000));
    world.set_lattice(LATTICE, &world.nats.url()).await;
    let lattice = Operated::in_world(world, &[(Generation::G2b, &[])]).await;
    let values = json!({ "address": "0.0.0.0:8080" });
    lattice.sim.put_links(10_000, &values).await;
    // This is over 2 MB, and goes through the object store of the provider's
    // lattice.
    let links = lattice.links().await.unwrap();
    let names: std::collections::HashSet<_> = links.iter().map(|link| &link.link_name).collect();
    assert_eq!((links.len(), names.len()), (10_000, 10_000));
    assert!(names.contains(&"link-9999".to_owned()));
    // Claims are in the same bucket.
    assert_eq!(lattice.claims().await.unwrap().len(), 2);
}

#[tokio::test]
async fn reading_the_bucket_leaves_no_consumer_behind() {
    let lattice = Operated::one(Generation::G2b).await;
    for _ in 0..3 {
        lattice.links().await.unwrap();
    }
    let nats = lattice.world.nats.client().await;
    let jetstream = async_nats::jetstream::new(nats);
    support::eventually("no consumers", || async {
        let mut stream = jetstream
            .get_stream("KV_LATTICEDATA_default")
            .await
            .unwrap();
        (stream.info().await.unwrap().state.consumer_count == 0).then_some(())
    })
    .await;
}
