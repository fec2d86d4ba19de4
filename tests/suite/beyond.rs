//! What no table shows: lattices of hosts that are too new, orders at the same
//! time, counts without limit.

use crate::support;
use std::time::Duration;

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::operator::*;
use crate::support::world::ctx;
use wasmcloud_interface_lattice_control::*;

use Generation::{G1b, G2a, G2b, G3a, G3b};

fn none() -> Annotations {
    Annotations::new()
}

#[tokio::test]
async fn a_lattice_of_1_x_hosts_is_refused_by_every_operation() {
    let lattice = Operated::without_bucket(&[]).await;
    let nats = lattice.world.nats.client().await;
    let reply = support::fixtures::text("G4/GetHosts.reply.json");
    let ping = "wasmbus.ctl.v1.default.host.ping";
    let _host = support::respond(&nats, ping, vec![reply.into()]).await;
    let host = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
    for (operation, outcome) in every_operation(&lattice, &host).await {
        let reason = outcome.unwrap_or_else(|| panic!("{operation} was carried out"));
        assert!(
            reason.contains("wasmCloud 1.0.0 only"),
            "{operation}: {reason}"
        );
    }
}

#[tokio::test]
async fn without_hosts_no_link_is_written() {
    let lattice = Operated::with(&[]).await;
    let world = &lattice.world;
    let sim = support::host::lattice::SimLattice::with_bucket(world.nats.client().await, LATTICE);
    sim.await;
    refused(lattice.advertise_link().await, "nobody listens");
    refused(lattice.remove_link().await, "nobody listens");
    assert!(lattice.links().await.unwrap().is_empty());
}

/// How long hosts lag behind what they acknowledged here.
const LAG: Duration = Duration::from_millis(120);

async fn lagging(generation: Generation) -> Operated {
    let lattice = Operated::one(generation).await;
    lattice.hosts[0].lag_by(LAG);
    lattice
}

/// Once the host has done all that it acknowledged, so many instances run.
async fn comes_to_run(host: &SimHost, count: usize) {
    let caught_up = || async { host.caught_up().then_some(()) };
    eventually("the host to catch up", caught_up).await;
    assert_eq!(host.instances(ACTOR), count);
}

#[tokio::test]
async fn starts_at_the_same_time_all_count() {
    for generation in Generation::ALL {
        // Hosts acknowledge before the inventory shows it.
        let lattice = lagging(generation).await;
        let host = &lattice.hosts[0];
        let none = none();
        let starts = (0..8).map(|_| lattice.start_actor(&host.id, 1, &none));
        for ack in futures::future::join_all(starts).await {
            accepted(ack);
        }
        comes_to_run(host, 8).await;
    }
}

#[tokio::test]
async fn a_stop_right_after_a_start_stops_as_many_as_it_says() {
    for generation in [G1b, G2a, G2b, G3a, G3b] {
        let lattice = lagging(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        comes_to_run(host, 2).await;
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        accepted(lattice.stop_actor(&host.id, 1, &none()).await);
        comes_to_run(host, 4).await;
    }
}

#[tokio::test]
async fn a_host_that_lags_is_not_harmed() {
    // Each of these in a row panics a 0.78 or 0.79.0 that is taken at its
    // inventory's word (T3).
    let lattice = lagging(G2a).await;
    let host = &lattice.hosts[0];
    accepted(lattice.start_actor(&host.id, 2, &map(&[("b", "1")])).await);
    comes_to_run(host, 2).await;
    accepted(lattice.start_actor(&host.id, 2, &map(&[("a", "1")])).await);
    accepted(lattice.scale_actor(&host.id, 1, &none()).await);
    comes_to_run(host, 1).await;
    accepted(lattice.scale_actor(&host.id, 5, &none()).await);
    accepted(lattice.scale_actor(&host.id, 2, &none()).await);
    accepted(lattice.stop_actor(&host.id, 1, &none()).await);
    comes_to_run(host, 1).await;
}

#[tokio::test]
async fn a_start_right_after_a_scale_to_0_starts_from_0() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = lagging(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        comes_to_run(host, 4).await;
        accepted(lattice.scale_actor(&host.id, 0, &none()).await);
        accepted(lattice.start_actor(&host.id, 1, &none()).await);
        comes_to_run(host, 1).await;
    }
}

#[tokio::test]
async fn what_a_host_would_ignore_is_refused() {
    // After an update of some instances, two references run.
    for generation in [G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        comes_to_run(host, 4).await;
        let body = serde_json::json!({
            "actor_id": ACTOR, "new_actor_ref": NEW_ACTOR_REF, "annotations": managed(),
        });
        lattice.another_tells("upd", body).await;
        refused(
            lattice.start_actor(&host.id, 1, &none()).await,
            "use UpdateActor",
        );
        refused(
            lattice.scale_actor(&host.id, 9, &none()).await,
            "use UpdateActor",
        );
        refused(
            lattice.stop_actor(&host.id, 1, &none()).await,
            "use UpdateActor",
        );
        // Each group has its own reference, and another group is not lost.
        accepted(lattice.stop_actor(&host.id, 0, &managed()).await);
        comes_to_run(host, 2).await;
    }
}

#[tokio::test]
async fn hosts_that_are_gone_do_not_count_as_there() {
    let mut lattice = Operated::one(G2b).await;
    accepted(lattice.advertise_link().await);
    lattice.hosts.clear();
    // The server forgets them a moment later than they.
    eventually("nobody to answer", || async {
        lattice.get_hosts().await.unwrap().is_empty().then_some(())
    })
    .await;
    for _ in 0..3 {
        refused(lattice.advertise_link().await, "nobody listens");
    }
}

#[tokio::test]
async fn a_slow_host_among_quick_ones_is_commanded() {
    let lattice = Operated::with(&[(G2b, &[]), (G3b, &[])]).await;
    lattice.hosts[1].answer_after(Duration::from_millis(400));
    accepted(lattice.start_provider(&lattice.hosts[1].id).await);
}

#[tokio::test]
async fn what_runs_without_limit_stays_so() {
    for generation in [G2b, G3a] {
        let lattice = Operated::one(generation).await;
        let nats = lattice.world.nats.client().await;
        let host = &lattice.hosts[0];
        let subject = format!("wasmbus.ctl.default.cmd.{}.scale", host.id);
        let body = serde_json::json!({ "actor_ref": ACTOR_REF, "count": null }).to_string();
        nats.request(subject, body.into()).await.unwrap();
        // Done a little after the acknowledgement.
        assert_eq!(host.instances(ACTOR), 65_535);
        assert_eq!(lattice.listed(&host.id).await, 1);
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        assert_eq!(host.instances(ACTOR), 65_535);
        refused(
            lattice.stop_actor(&host.id, 2, &none()).await,
            "without limit",
        );
        accepted(lattice.scale_actor(&host.id, 3, &none()).await);
        assert_eq!(host.instances(ACTOR), 3);
    }
}

#[tokio::test]
async fn another_reference_is_refused_instead_of_ignored() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = lattice.hosts[0].id.clone();
        accepted(lattice.start_actor(&host, 1, &none()).await);
        let command = ScaleActorCommand {
            lattice_id: LATTICE.into(),
            host_id: host,
            actor_id: ACTOR.into(),
            actor_ref: NEW_ACTOR_REF.into(),
            annotations: None,
            count: 3,
        };
        let ack = lattice.client().scale_actor(&ctx(), &command).await;
        refused(ack, "use UpdateActor");
    }
}

#[tokio::test]
async fn setting_registry_credentials_answers_with_not_one_byte() {
    let lattice = Operated::one(G2b).await;
    let arguments = serde_json::json!({
        "latticeId": LATTICE,
        "credentials": { "ghcr.io":
            { "registryType": "oci", "username": "u", "password": "a-password" } },
    });
    let arguments = wasmbus_rpc::common::serialize(&arguments).unwrap();
    let answer = lattice
        .world
        .actor
        .call_raw("LatticeController.SetRegistryCredentials", arguments)
        .await;
    assert!(answer.unwrap().is_empty());
}
