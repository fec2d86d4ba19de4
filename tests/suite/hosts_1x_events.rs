//! What hosts of wasmCloud 1.x say by themselves, in lattices of them and of both kinds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::support;
use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::time::assert_under;
use crate::support::world::{World, ctx};
use serde_json::json;
use wasmcloud_interface_lattice_control::{LatticeController as _, ProviderAuctionRequest};

/// Slower than the grace and the stall, so that the pings of calls alone would never find
/// the host.
const SLOWER_THAN_GRACE: Duration = Duration::from_millis(600);

async fn found(lattice: &Operated) -> Vec<String> {
    let hosts = lattice.get_hosts().await.unwrap();
    let mut ids: Vec<String> = hosts.into_iter().map(|host| host.id).collect();
    ids.sort();
    ids
}

/// Waits until calls find these hosts.
async fn come_to_find(lattice: &Operated, hosts: &[&str]) {
    let mut hosts: Vec<String> = hosts.iter().map(|id| (*id).to_owned()).collect();
    hosts.sort();
    eventually("these hosts", || async {
        (found(lattice).await == hosts).then_some(())
    })
    .await;
}

/// A lattice with a host of each kind, and of 0.x with this generation.
async fn of_both(generation: Generation) -> (Operated, SimHostV1) {
    let lattice = Operated::one(generation).await;
    let host = SimHostV1::start(&lattice.sim, Version::V192, &[]).await;
    (lattice, host)
}

#[tokio::test]
async fn a_slow_host_of_1x_that_starts_is_known_from_its_event() {
    let lattice = Operated::one(Generation::G2b).await;
    found(&lattice).await;
    lattice.world.provider.logged("ended=Deadline").await;
    let late = SimHostV1::start(&lattice.sim, Version::V192, &[]).await;
    late.answer_after(SLOWER_THAN_GRACE);
    come_to_find(&lattice, &[&lattice.hosts[0].id, &late.id]).await;
}

#[tokio::test]
async fn a_slow_host_of_1x_that_was_not_there_is_known_from_its_heartbeat() {
    let (lattice, late) = of_both(Generation::G2b).await;
    late.fall_silent_on("host.ping");
    found(&lattice).await;
    lattice.world.provider.logged("ended=Deadline").await;
    come_to_find(&lattice, &[&lattice.hosts[0].id]).await;
    late.speak_again();
    late.answer_after(SLOWER_THAN_GRACE);
    late.beat().await;
    come_to_find(&lattice, &[&lattice.hosts[0].id, &late.id]).await;
}

#[tokio::test]
async fn a_host_of_1x_that_says_it_stops_is_not_waited_for() {
    let (lattice, host) = of_both(Generation::G3b).await;
    come_to_find(&lattice, &[&lattice.hosts[0].id, &host.id]).await;
    accepted(lattice.stop_host(&host.id, None).await);
    let complete = "ended=Complete hosts=1 silent=[]";
    eventually("a complete gather of one host", || async {
        assert_eq!(found(&lattice).await, [lattice.hosts[0].id.clone()]);
        lattice
            .world
            .provider
            .log()
            .contains(complete)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_a_host_of_0_82_says_on_the_subjects_of_1x_is_no_news() {
    let lattice = Operated::one(Generation::G3b).await;
    found(&lattice).await;
    let id = &lattice.hosts[0].id;
    accepted(lattice.start_provider(id).await);
    // The host compares references as they are written, and bids. Its events say that it
    // runs the provider.
    let auction = async || {
        let request = ProviderAuctionRequest {
            lattice_id: LATTICE.into(),
            provider_ref: format!("oci://{PROVIDER_REF}"),
            link_name: "default".into(),
            constraints: HashMap::new(),
        };
        let bids = lattice.client().auction_provider(&ctx(), &request).await;
        assert!(bids.unwrap().is_empty());
    };
    auction().await;
    let nats = lattice.world.nats.client().await;
    for kind in ["host_heartbeat", "provider_stopped", "host_stopped"] {
        let event = format!(
            r#"{{"type":"com.wasmcloud.lattice.{kind}","source":"{id}",
                "data":{{"provider_id":"{PROVIDER}","version":"0.82.0","providers":[]}}}}"#
        );
        let subject = format!("wasmbus.evt.{LATTICE}.{kind}");
        nats.publish(subject, event.into()).await.unwrap();
    }
    support::fence(&nats).await;
    let asked = || lattice.hosts[0].received_on(".inv").len();
    let before = asked();
    auction().await;
    assert_eq!(asked(), before, "nothing is doubted");
    assert_eq!(found(&lattice).await, std::slice::from_ref(id));
}

#[tokio::test]
async fn hosts_that_may_not_be_pinged_cost_nothing_when_they_are_heard() {
    let config = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: { publish: { deny: "wasmbus.ctl.v1.>" } } }
        ] }"#;
    let world = World::start_on(NatsServer::with_config(config), |data| {
        let patient = json!({ "grace_ms": 1500, "stall_ms": 1500 });
        data["config_json"] = patient.to_string().into();
    })
    .await;
    let lattice = Operated::in_world(world, &[(Generation::G3b, &[])]).await;
    let host = SimHostV1::start(&lattice.sim, Version::V192, &[]).await;
    let url = format!("nats://lattice:pw@{}", lattice.world.nats.address());
    lattice.world.set_lattice(LATTICE, &url).await;
    let of_0x = &lattice.hosts[0];
    let gather = async || {
        let began = Instant::now();
        assert_eq!(found(&lattice).await, std::slice::from_ref(&of_0x.id));
        began.elapsed()
    };
    let provider = &lattice.world.provider;
    gather().await;
    // The first ping in the background: from then on, who came would have been heard.
    provider.logged("ended=Deadline").await;
    eventually("gathers that wait for nobody", || async {
        of_0x.beat().await;
        let fast = Duration::from_millis(700);
        (gather().await < fast && gather().await < fast).then_some(())
    })
    .await;
    let refused = || provider.log().matches("v1.default.host.ping").count();
    let before = refused();
    for _ in 0..5 {
        host.beat().await;
        assert_under(Duration::from_millis(700), gather().await);
    }
    // The refusal is remembered.
    assert_eq!(refused(), before);
}

#[tokio::test]
async fn where_neither_kind_may_be_pinged_that_is_an_error() {
    let config = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: { publish: { deny: "wasmbus.ctl.>" } } }
        ] }"#;
    let world = World::start_on(NatsServer::with_config(config), |_| {}).await;
    let lattice = Operated::in_world(world, &[(Generation::G3b, &[])]).await;
    let _host = SimHostV1::start(&lattice.sim, Version::V192, &[]).await;
    let url = format!("nats://lattice:pw@{}", lattice.world.nats.address());
    lattice.world.set_lattice(LATTICE, &url).await;
    for _ in 0..3 {
        let error = lattice.get_hosts().await.unwrap_err().to_string();
        assert!(error.contains("may not publish to"), "{error}");
    }
}

#[tokio::test]
async fn a_host_that_comes_back_as_one_of_1x_is_told_in_its_words() {
    let mut lattice = Operated::one(Generation::G2b).await;
    let id = lattice.hosts[0].id.clone();
    assert_eq!(found(&lattice).await, std::slice::from_ref(&id));
    lattice.hosts.clear();
    let host = SimHostV1::start_as(&lattice.sim, Version::V192, &[], id.clone()).await;
    eventually("a start", || async {
        let started = lattice.start_actor(&id, 1, &none()).await;
        started.is_ok_and(|ack| ack.accepted).then_some(())
    })
    .await;
    assert!(!host.received_on("component.scale").is_empty());
    assert_eq!(found(&lattice).await, [id]);
}

#[tokio::test]
async fn hosts_of_0x_that_may_not_be_pinged_are_missed_again_once_no_others_are_there() {
    let config = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw,
              permissions: { publish: { deny: "wasmbus.ctl.default.>" } } }
        ] }"#;
    let world = World::start_on(NatsServer::with_config(config), |_| {}).await;
    let lattice = Operated::in_world(world, &[(Generation::G3b, &[])]).await;
    let host = SimHostV1::start(&lattice.sim, Version::V192, &[]).await;
    let url = format!("nats://lattice:pw@{}", lattice.world.nats.address());
    lattice.world.set_lattice(LATTICE, &url).await;
    for _ in 0..2 {
        assert_eq!(found(&lattice).await, std::slice::from_ref(&host.id));
    }
    drop(host);
    for _ in 0..3 {
        eventually("an error", || async {
            let error = lattice.get_hosts().await.err()?.to_string();
            assert!(error.contains("may not publish to"), "{error}");
            Some(())
        })
        .await;
    }
    let _host = SimHostV1::start(&lattice.sim, Version::V192, &[]).await;
    eventually("the host", || async {
        let hosts = lattice.get_hosts().await.ok()?;
        (hosts.len() == 1).then_some(())
    })
    .await;
}
