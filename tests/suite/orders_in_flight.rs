//! Commands for actors while a host has not yet carried out what it
//! acknowledged: what they wait for, when they are refused, and what is
//! forgotten.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::operator::*;
use crate::support::time::{assert_under, scaled};

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b, Otp59};

const MISSING: &str = "wasmcloud.azurecr.io/missing:0.1.0";

/// How long hosts here lag behind what they acknowledged.
const LAG: Duration = Duration::from_millis(120);

async fn lagging(generation: Generation) -> Operated {
    let lattice = Operated::one(generation).await;
    lattice.hosts[0].lag_by(LAG);
    lattice
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
        Operated::ends_up_running(host, 8).await;
    }
}

#[tokio::test]
async fn a_stop_right_after_a_start_stops_as_many_as_it_says() {
    for generation in [G1b, G2a, G2b, G3a, G3b] {
        let lattice = lagging(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        Operated::ends_up_running(host, 2).await;
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        accepted(lattice.stop_actor(&host.id, 1, &none()).await);
        Operated::ends_up_running(host, 4).await;
    }
}

#[tokio::test]
async fn a_host_that_lags_is_not_harmed() {
    // Each of these commands in a row would panic a 0.78 or 0.79.0 if its
    // inventory were believed (docs/hosts.md#too-large-stop-ends-control).
    let lattice = lagging(G2a).await;
    let host = &lattice.hosts[0];
    accepted(lattice.start_actor(&host.id, 2, &map(&[("b", "1")])).await);
    Operated::ends_up_running(host, 2).await;
    accepted(lattice.start_actor(&host.id, 2, &map(&[("a", "1")])).await);
    accepted(lattice.scale_actor(&host.id, 1, &none()).await);
    Operated::ends_up_running(host, 1).await;
    accepted(lattice.scale_actor(&host.id, 5, &none()).await);
    accepted(lattice.scale_actor(&host.id, 2, &none()).await);
    accepted(lattice.stop_actor(&host.id, 1, &none()).await);
    Operated::ends_up_running(host, 1).await;
}

#[tokio::test]
async fn a_start_right_after_a_scale_to_0_starts_from_0() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = lagging(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        Operated::ends_up_running(host, 4).await;
        accepted(lattice.scale_actor(&host.id, 0, &none()).await);
        accepted(lattice.start_actor(&host.id, 1, &none()).await);
        Operated::ends_up_running(host, 1).await;
    }
}

// --- starts that fail, hosts that start again ---

#[tokio::test]
async fn a_retry_of_a_start_that_failed_starts_as_many_as_it_says() {
    for generation in [G1a, Otp59, G1b, G2a, G2b, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        // The provider hears events from the first call on.
        lattice.get_hosts().await.unwrap();
        accepted(lattice.start_from(&host.id, MISSING, 3, &none()).await);
        eventually("the failure", || async { host.caught_up().then_some(()) }).await;
        let key = lattice.sim.publish_actor(MISSING, "late", 1).await;
        // Where the host does not tell of the failure, starts are refused as
        // busy for a while.
        let until = Instant::now() + scaled(Duration::from_secs(20));
        loop {
            let ack = lattice
                .start_from(&host.id, MISSING, 3, &none())
                .await
                .unwrap();
            if ack.accepted {
                break;
            }
            assert!(ack.error.contains("does not show yet"), "{}", ack.error);
            assert!(Instant::now() < until, "{generation:?}: {}", ack.error);
        }
        eventually("three instances", || async {
            (host.instances(&key) > 0).then_some(())
        })
        .await;
        assert_eq!(host.instances(&key), 3, "{generation:?}");
    }
}

#[tokio::test]
async fn what_a_host_was_told_before_it_started_again_is_forgotten() {
    for generation in [G2b, G3b] {
        let mut lattice = Operated::one(generation).await;
        lattice.hosts[0].lag_by(Duration::from_secs(600));
        let id = lattice.hosts[0].id.clone();
        accepted(lattice.start_actor(&id, 3, &none()).await);
        lattice.hosts.clear();
        let again = SimHost::start_as(&lattice.sim, generation, &[], id.clone()).await;
        lattice.hosts.push(again);
        eventually("a start", || async {
            let ack = lattice.start_actor(&id, 2, &none()).await;
            ack.is_ok_and(|ack| ack.accepted).then_some(())
        })
        .await;
        Operated::comes_to_run(&lattice.hosts[0], 2).await;
    }
}

// --- which orders wait ---

#[tokio::test]
async fn an_order_that_names_an_actor_by_its_reference_does_not_wait_for_itself() {
    let lattice = Operated::one(G3b).await;
    let host = &lattice.hosts[0];
    let began = Instant::now();
    let ack = lattice.scale_from(&host.id, ACTOR, ACTOR, 1, &none()).await;
    assert!(ack.unwrap().accepted);
    assert_under(Duration::from_secs(1), began.elapsed());
}

#[tokio::test]
async fn an_update_right_behind_a_start_updates_what_was_started() {
    for generation in [G1b, G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        accepted(lattice.update_actor(&host.id, &none()).await);
        assert_eq!(
            Operated::revisions(host),
            BTreeSet::from([2]),
            "{generation:?}"
        );
        assert_eq!(host.instances(ACTOR), 3, "{generation:?}");
    }
}

#[tokio::test]
async fn what_a_slow_host_owes_is_waited_for_and_then_it_is_busy() {
    let lattice = Operated::one(G3b).await;
    let host = &lattice.hosts[0];
    accepted(lattice.start_actor(&host.id, 1, &none()).await);
    Operated::comes_to_run(host, 1).await;
    host.lag_by(Duration::from_secs(3));
    accepted(lattice.start_actor(&host.id, 1, &none()).await);
    // A start with other annotations does not depend on it.
    accepted(lattice.start_actor(&host.id, 1, &managed()).await);
    refused(
        lattice.start_actor(&host.id, 1, &none()).await,
        "does not show yet",
    );
    refused(
        lattice.update_actor(&host.id, &none()).await,
        "does not show yet",
    );
    Operated::comes_to_run(host, 3).await;
    assert_eq!(host.received_on(".scale").len(), 3);
}
