//! Orders to hosts of wasmCloud 1.x that meet what somebody else ordered, a host that is
//! slow, or what such hosts do not know.

use std::time::Duration;

use crate::hosts_1x::{HTTP, Lattice, SHOP};
use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::operator::*;
use crate::support::world::ctx;
use futures::StreamExt as _;
use futures::future::join;
use serde_json::{Value, json};
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::*;

impl Lattice {
    /// Has another client tell the first host something, and waits until that is done.
    async fn somebody_tells(&self, verb: &str, body: Value) {
        let nats = self.of_0x.world.nats.client().await;
        let subject = format!("wasmbus.ctl.v1.{LATTICE}.{verb}.{}", self.host().id);
        let answer = nats.request(subject, body.to_string().into()).await;
        let answer: Value = serde_json::from_slice(&answer.unwrap().payload).unwrap();
        assert_eq!(answer["success"], true, "{answer}");
        self.host().catches_up().await;
    }

    async fn somebody_scales(&self, count: u32) {
        let order = json!({ "component_id": SHOP, "component_ref": ACTOR_REF, "count": count,
            "host_id": self.host().id });
        self.somebody_tells("component.scale", order).await;
    }

    async fn somebody_updates(&self) {
        let order = json!({ "component_id": SHOP, "new_component_ref": NEW_ACTOR_REF,
            "host_id": self.host().id });
        self.somebody_tells("component.update", order).await;
    }
}

#[tokio::test]
async fn what_another_client_updated_is_refused_until_its_host_ends() {
    for version in [Version::V110, Version::V192] {
        let mut lattice = Lattice::one(version).await;
        accepted(lattice.start(1, &none()).await);
        lattice.caught_up().await;
        lattice.somebody_updates().await;
        // The host goes on running the old code, which is what this is about.
        assert!(lattice.host().meant_harm().is_some());
        let why = "another client updated component";
        refused(lattice.update(SHOP, ACTOR_REF).await, why);
        refused(lattice.stop(SHOP, 0).await, why);
        refused(lattice.scale(SHOP, 3).await, why);
        assert_eq!(lattice.host().received_on("component.scale").len(), 1);
        let id = lattice.host().id.clone();
        accepted(lattice.of_0x.stop_host(&id, None).await);
        let host = SimHostV1::start_as(&lattice.of_0x.sim, version, &[], id).await;
        lattice.hosts[0] = host;
        eventually("a start", || async {
            let started = lattice.start(1, &none()).await;
            started.is_ok_and(|ack| ack.accepted).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_another_client_stops_and_starts_is_no_update() {
    let lattice = Lattice::one(Version::V192).await;
    accepted(lattice.start(1, &none()).await);
    for _ in 0..5 {
        lattice.somebody_scales(2).await;
        lattice.somebody_scales(0).await;
        lattice.somebody_scales(1).await;
        accepted(lattice.scale(SHOP, 3).await);
        lattice.caught_up().await;
        assert_eq!(lattice.host().instances(SHOP), 3);
    }
}

#[tokio::test]
async fn a_key_is_found_by_the_event_of_what_was_started() {
    let lattice = Lattice::one(Version::V192).await;
    let host = lattice.host();
    refused(lattice.stop(ACTOR, 0).await, "no component");
    accepted(lattice.start(4, &none()).await);
    lattice.caught_up().await;
    // The event of a stop has the key of the image that it names, whatever runs.
    let order = json!({ "component_id": "other", "component_ref": ACTOR_REF, "count": 0,
        "host_id": host.id });
    lattice.somebody_tells("component.scale", order).await;
    eventually("the key to be known", || async {
        let stopped = lattice.stop(ACTOR, 1).await;
        stopped.is_ok_and(|ack| ack.accepted).then_some(())
    })
    .await;
    lattice.caught_up().await;
    assert_eq!(host.instances(SHOP), 3);
    accepted(lattice.scale(ACTOR, 5).await);
    lattice.caught_up().await;
    assert_eq!(host.instances(SHOP), 5);
    accepted(lattice.update(ACTOR, NEW_ACTOR_REF).await);
    lattice.caught_up().await;
    assert_eq!(host.answers(SHOP), [NEW_ACTOR_REF]);
    assert_eq!((host.instances(ACTOR), host.instances("other")), (0, 0));
}

#[tokio::test]
async fn a_provider_that_still_starts_is_waited_for() {
    let settings = json!({ "call_budget_ms": 4000 });
    let lattice = Lattice::of(&[Version::V192], &[], settings).await;
    lattice.host().lag_by(Duration::from_millis(1500));
    accepted(lattice.start_provider("default", r#"{"a":"b"}"#).await);
    assert!(!lattice.host().runs_provider(HTTP));
    // It would start behind the stop, and its config would be another's.
    accepted(lattice.stop_provider(HTTP, "default").await);
    lattice.caught_up().await;
    assert!(!lattice.host().runs_provider(HTTP));
    accepted(lattice.start_provider("default", "{}").await);
    refused(
        lattice.start_provider("default", r#"{"a":"c"}"#).await,
        "is already running there",
    );
}

#[tokio::test]
async fn a_start_that_lost_to_another_leaves_its_config() {
    let lattice = Lattice::one(Version::V192).await;
    let config = format!("{HTTP}-{}", lattice.host().id);
    let put = format!("config.put.{config}");
    lattice
        .host()
        .answer_after_on(&put, Duration::from_millis(300));
    let another = async {
        eventually("a config", || async {
            let puts = lattice.host().received_on("config.put");
            (!puts.is_empty()).then_some(())
        })
        .await;
        let order = json!({ "provider_id": HTTP, "provider_ref": PROVIDER_REF,
            "host_id": lattice.host().id });
        lattice.somebody_tells("provider.start", order).await;
    };
    let (started, ()) = join(lattice.start_provider("default", r#"{"a":"b"}"#), another).await;
    refused(started, "already running");
    assert!(lattice.host().runs_provider(HTTP));
    assert!(lattice.host().received_on("config.del").is_empty());
}

#[tokio::test]
async fn an_update_goes_on_when_the_host_is_slow() {
    let settings = json!({ "call_budget_ms": 1500 });
    let lattice = Lattice::of(&[Version::V192], &[], settings).await;
    accepted(lattice.start(2, &none()).await);
    lattice.caught_up().await;
    lattice.host().lag_by(Duration::from_millis(1300));
    let error = lattice.update(SHOP, NEW_ACTOR_REF).await.unwrap_err();
    assert!(error.to_string().contains("the update goes on"), "{error}");
    // Nothing else about it is decided meanwhile.
    refused(lattice.scale(SHOP, 5).await, "nothing was sent");
    eventually("the new revision", || async {
        (lattice.host().answers(SHOP) == [NEW_ACTOR_REF]).then_some(())
    })
    .await;
    assert_eq!(lattice.host().instances(SHOP), 2);
}

#[tokio::test]
async fn an_update_of_which_no_answer_came_goes_on() {
    let settings = json!({ "request_limit_ms": 500 });
    let lattice = Lattice::of(&[Version::V192], &[], settings).await;
    accepted(lattice.start(2, &none()).await);
    lattice.caught_up().await;
    // The host carries out what it is told, and its answers come too late.
    let late = Duration::from_secs(60);
    lattice.host().answer_after_on("component.scale", late);
    accepted(lattice.update(SHOP, NEW_ACTOR_REF).await);
    lattice.caught_up().await;
    assert_eq!(lattice.host().answers(SHOP), [NEW_ACTOR_REF]);
    assert_eq!(lattice.host().instances(SHOP), 2);
}

#[tokio::test]
async fn links_are_refused_where_there_are_hosts_of_1x_only() {
    let lattice = Lattice::one(Version::V192).await;
    let why = "does not control their links";
    refused(lattice.of_0x.advertise_link().await, why);
    refused(lattice.of_0x.remove_link().await, why);
    let listed = lattice.of_0x.client().get_links(&ctx(), LATTICE).await;
    let error = listed.unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

#[tokio::test]
async fn credentials_of_a_bindle_server_are_refused_where_no_host_knows_it() {
    let of = |versions: &'static [Version], others: &'static [Generation]| {
        Lattice::of(versions, others, json!({}))
    };
    let bindle = "b@https://bindle.example";
    for (versions, others) in [
        (&[Version::V192][..], &[][..]),
        (&[Version::V192], &[Generation::G3b]),
        (&[], &[Generation::G3a]),
    ] {
        let lattice = of(versions, others).await;
        match lattice.of_0x.set_registry(bindle, "bindle").await {
            Err(RpcError::Rpc(text)) => {
                assert!(text.contains("know OCI registries only"), "{text}")
            }
            other => panic!("{other:?}"),
        }
    }
    let lattice = of(&[Version::V192], &[Generation::G1b]).await;
    lattice.of_0x.set_registry(bindle, "bindle").await.unwrap();
    // It would take them for those of an OCI registry.
    assert!(lattice.host().received_on("registry.put").is_empty());
}

#[tokio::test]
async fn hosts_of_a_kind_that_is_not_there_are_sent_a_ping_and_nothing_else() {
    for (versions, others, expected) in [
        (
            &[][..],
            &[Generation::G2b][..],
            ["auction.actor", "ping.hosts", "v1.host.ping"],
        ),
        (
            &[Version::V192],
            &[],
            ["ping.hosts", "v1.component.auction", "v1.host.ping"],
        ),
    ] {
        let lattice = Lattice::of(versions, others, json!({})).await;
        let nats = lattice.of_0x.world.nats.client().await;
        // All hosts are known, and their events are heard.
        eventually("an auction with three messages", || async {
            let mut sent = nats.subscribe("wasmbus.ctl.>").await.unwrap();
            nats.flush().await.unwrap();
            assert_eq!(lattice.of_0x.auction_actor(&[]).await.unwrap().len(), 1);
            nats.publish("wasmbus.ctl.end", "".into()).await.unwrap();
            let mut seen = Vec::new();
            loop {
                let subject = sent.next().await.unwrap().subject.to_string();
                if subject.ends_with(".end") {
                    break;
                }
                let rest = subject.strip_prefix("wasmbus.ctl.").unwrap();
                seen.push(rest.replace("default.", ""));
            }
            seen.sort();
            (seen == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_auction_is_held_again_where_hosts_of_another_kind_turn_up() {
    let lattice = Lattice::of(&[], &[Generation::G2b], json!({})).await;
    let of_0x = lattice.of_0x.hosts[0].id.clone();
    for _ in 0..3 {
        assert_eq!(
            lattice.of_0x.auction_actor(&[]).await.unwrap(),
            std::slice::from_ref(&of_0x)
        );
    }
    // Its events are not heard.
    let host = SimHostV1::start(&lattice.of_0x.sim, Version::V192, &[]).await;
    let mut expected = vec![of_0x, host.id.clone()];
    expected.sort();
    assert_eq!(lattice.of_0x.auction_actor(&[]).await.unwrap(), expected);
}

#[tokio::test]
async fn an_update_on_1_0_0_counts_before_the_next_order() {
    let lattice = Lattice::one(Version::V100).await;
    accepted(lattice.start(2, &map(&[("a", "b")])).await);
    lattice.caught_up().await;
    lattice.host().lag_by(Duration::from_millis(300));
    accepted(lattice.update(SHOP, NEW_ACTOR_REF).await);
    refused(lattice.scale(SHOP, 5).await, "use UpdateActor");
    let annotations = map(&[("a", "b")]);
    let host = &lattice.host().id;
    let started = lattice
        .of_0x
        .start_from(host, NEW_ACTOR_REF, 1, &annotations);
    accepted(started.await);
    lattice.caught_up().await;
    assert_eq!(lattice.host().answers(SHOP), [NEW_ACTOR_REF]);
    assert_eq!(lattice.host().instances(SHOP), 3);
}

#[tokio::test]
async fn credentials_for_registries_wait_until_nothing_is_downloaded() {
    let lattice = Lattice::one(Version::V192).await;
    lattice.host().lag_by(Duration::from_millis(1500));
    accepted(lattice.start(1, &none()).await);
    let error = lattice.of_0x.set_registry("ghcr.io", "oci").await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("may still download"), "{error}");
    assert!(lattice.host().received_on("registry.put").is_empty());
    lattice.caught_up().await;
    lattice.of_0x.set_registry("ghcr.io", "oci").await.unwrap();
    assert!(lattice.host().logs_in("ghcr.io"));
}
