//! What no table shows: lattices of hosts that are too new, orders at the same
//! time, counts without limit.

mod support;

use support::host::Generation;
use support::operator::*;
use support::world::ctx;
use wasmcloud_interface_lattice_control::*;

use Generation::{G2a, G2b, G3a, G3b};

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

#[tokio::test]
async fn starts_at_the_same_time_all_count() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let host = lattice.hosts[0].id.clone();
        // Hosts acknowledge before the inventory shows it.
        lattice.hosts[0].answer_after(std::time::Duration::from_millis(5));
        let none = none();
        let starts = (0..8).map(|_| lattice.start_actor(&host, 1, &none));
        for ack in futures::future::join_all(starts).await {
            accepted(ack);
        }
        assert_eq!(lattice.hosts[0].instances(ACTOR), 8, "{generation:?}");
    }
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
