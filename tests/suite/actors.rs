//! Orders for actors, beyond what the tables show: what they wait for, what they
//! refuse, and what they leave behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::operator::*;
use serde_json::json;

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b, Otp51, Otp59, Otp60};

const MISSING: &str = "wasmcloud.azurecr.io/missing:0.1.0";
const OTHER_REF: &str = "wasmcloud.azurecr.io/echo:0.1.0";

fn none() -> Annotations {
    Annotations::new()
}

/// Another actor, which runs there.
async fn with_another(lattice: &Operated) -> String {
    let host = &lattice.hosts[0];
    let other = lattice.sim.publish_actor(OTHER_REF, "echo", 1).await;
    accepted(lattice.start_from(&host.id, OTHER_REF, 1, &none()).await);
    eventually("the other", || async {
        (host.instances(&other) == 1).then_some(())
    })
    .await;
    other
}

// --- what cannot come true ---

#[tokio::test]
async fn a_retry_of_a_start_that_failed_starts_as_many_as_it_says() {
    for generation in [G1a, Otp59, G1b, G2a, G2b, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        // Events are heard from the first call on.
        lattice.get_hosts().await.unwrap();
        accepted(lattice.start_from(&host.id, MISSING, 3, &none()).await);
        eventually("the failure", || async { host.caught_up().then_some(()) }).await;
        let key = lattice.sim.publish_actor(MISSING, "late", 1).await;
        // Where the host says nothing of it, it is busy for a while.
        let until = Instant::now() + Duration::from_secs(20);
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

// --- stops ---

#[tokio::test]
async fn a_stop_of_some_groups_without_their_image_says_that_it_is_not_shown() {
    for generation in [G2b, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        Operated::comes_to_run(host, 4).await;
        lattice.sim.withdraw(ACTOR_REF);
        let unknown = lattice.stop_actor(&host.id, 0, &managed()).await;
        let error = unknown.unwrap_err().to_string();
        assert!(error.contains("does not show it yet"), "{error}");
        assert!(error.contains("unknown whether"), "{error}");
        assert_eq!(host.instances(ACTOR), 4, "{generation:?}");
        // The whole actor needs no registry.
        eventually("the stop", || async {
            let ack = lattice.scale_actor(&host.id, 0, &none()).await;
            ack.is_ok_and(|ack| ack.accepted).then_some(())
        })
        .await;
        assert_eq!(host.instances(ACTOR), 0);
    }
}

#[tokio::test]
async fn a_stop_that_would_leave_others_unheard_is_refused_and_changes_nothing() {
    for generation in [Otp59, Otp60, G1b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        Operated::comes_to_run(host, 2).await;
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        Operated::comes_to_run(host, 4).await;
        refused(
            lattice.stop_actor(&host.id, 0, &managed()).await,
            "get no calls",
        );
        refused(
            lattice.scale_actor(&host.id, 0, &managed()).await,
            "get no calls",
        );
        assert_eq!(host.instances(ACTOR), 4);
        accepted(lattice.stop_actor(&host.id, 1, &managed()).await);
        assert_eq!(host.instances(ACTOR), 3);
        assert!(host.runs(ACTOR).iter().all(|running| running.heard));
    }
}

// --- the order of orders ---

#[tokio::test]
async fn an_order_that_names_an_actor_by_its_reference_does_not_wait_for_itself() {
    let lattice = Operated::one(G3b).await;
    let host = &lattice.hosts[0];
    let began = Instant::now();
    let ack = lattice.scale_from(&host.id, ACTOR, ACTOR, 1, &none()).await;
    assert!(ack.unwrap().accepted);
    assert!(began.elapsed() < Duration::from_secs(1));
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
    // Another set of annotations does not depend on it.
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

// --- what is listed, and what runs ---

#[tokio::test]
async fn a_host_that_would_start_other_code_than_it_lists_is_not_told_to() {
    for generation in [G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        Operated::comes_to_run(host, 3).await;
        let body = json!({ "actor_id": ACTOR, "new_actor_ref": NEW_ACTOR_REF });
        lattice.another_tells("upd", body).await;
        let odd = "may start other code";
        refused(
            lattice
                .start_from(&host.id, NEW_ACTOR_REF, 1, &none())
                .await,
            odd,
        );
        refused(
            lattice
                .scale_from(&host.id, ACTOR, NEW_ACTOR_REF, 5, &none())
                .await,
            odd,
        );
        refused(lattice.stop_actor(&host.id, 1, &none()).await, odd);
        assert_eq!(Operated::revisions(host), BTreeSet::from([2]));
        // As the message says.
        accepted(lattice.update_actor(&host.id, &none()).await);
        accepted(
            lattice
                .scale_from(&host.id, ACTOR, NEW_ACTOR_REF, 5, &none())
                .await,
        );
        Operated::comes_to_run(host, 5).await;
        assert_eq!(
            Operated::revisions(host),
            BTreeSet::from([2]),
            "{generation:?}"
        );
    }
}

#[tokio::test]
async fn revisions_side_by_side_are_not_added_to() {
    let lattice = Operated::one(G2a).await;
    let host = &lattice.hosts[0];
    accepted(lattice.start_actor(&host.id, 2, &none()).await);
    Operated::comes_to_run(host, 2).await;
    let body = json!({ "actor_id": ACTOR, "new_actor_ref": NEW_ACTOR_REF });
    lattice.another_tells("upd", body).await;
    let body = json!({ "actor_ref": ACTOR_REF, "count": 1 });
    lattice.another_tells("la", body).await;
    Operated::comes_to_run(host, 3).await;
    refused(
        lattice.start_from(&host.id, ACTOR_REF, 1, &none()).await,
        "side by side",
    );
    accepted(lattice.update_actor(&host.id, &none()).await);
    assert_eq!(Operated::revisions(host), BTreeSet::from([2]));
    host.meant_harm();
}

#[tokio::test]
async fn a_newer_revision_on_another_host_is_no_sign_against_this_one() {
    for generation in [G2b, G3b] {
        let lattice = Operated::with(&[(generation, &[]), (generation, &[])]).await;
        let [one, two] = &lattice.hosts[..] else {
            panic!("two hosts")
        };
        accepted(lattice.start_actor(&one.id, 1, &none()).await);
        accepted(lattice.start_actor(&two.id, 1, &none()).await);
        Operated::comes_to_run(one, 1).await;
        Operated::comes_to_run(two, 1).await;
        accepted(lattice.update_actor(&one.id, &none()).await);
        accepted(lattice.scale_actor(&two.id, 4, &none()).await);
        Operated::comes_to_run(two, 4).await;
        assert_eq!(Operated::revisions(two), BTreeSet::from([1]));
    }
}

#[tokio::test]
async fn another_tag_of_what_runs_is_refused() {
    for generation in [Otp59, G1b, G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        lattice.get_hosts().await.unwrap();
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        Operated::comes_to_run(host, 2).await;
        // Whose it is, nobody knows yet.
        let ack = lattice
            .start_from(&host.id, NEW_ACTOR_REF, 1, &map(&[("a", "1")]))
            .await;
        refused(ack, "");
        // Now it is known, and the old one is another tag.
        accepted(lattice.update_actor(&host.id, &none()).await);
        let ack = lattice
            .start_from(&host.id, ACTOR_REF, 1, &map(&[("a", "1")]))
            .await;
        refused(ack, "use UpdateActor");
        assert_eq!(host.instances(ACTOR), 2);
        assert_eq!(
            Operated::revisions(host),
            BTreeSet::from([2]),
            "{generation:?}"
        );
    }
}

#[tokio::test]
async fn a_reference_that_turns_out_to_be_of_what_runs_is_taken_back() {
    for generation in [G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        Operated::comes_to_run(host, 2).await;
        let odd = "registry.example/renamed:1";
        lattice
            .sim
            .publish_actor_as(odd, ACTOR, "kvcounter", 3)
            .await;
        let ack = lattice
            .start_from(&host.id, odd, 1, &map(&[("a", "1")]))
            .await;
        refused(ack, "taken back");
        Operated::comes_to_run(host, 2).await;
        // Nothing of it is in the way.
        accepted(lattice.scale_actor(&host.id, 3, &none()).await);
        Operated::comes_to_run(host, 3).await;
        assert!(host.meant_harm().is_some());
    }
}

#[tokio::test]
async fn an_otp_host_starts_no_old_code_after_an_update() {
    for generation in [Otp59, Otp60, G1b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        Operated::comes_to_run(host, 2).await;
        accepted(lattice.update_actor(&host.id, &none()).await);
        let ack = lattice.start_from(&host.id, ACTOR_REF, 1, &none()).await;
        refused(ack, "use UpdateActor");
        let ack = lattice
            .start_from(&host.id, NEW_ACTOR_REF, 1, &none())
            .await;
        refused(ack, "since its update");
        let ack = lattice
            .scale_from(&host.id, ACTOR, NEW_ACTOR_REF, 5, &none())
            .await;
        refused(ack, "since its update");
        accepted(
            lattice
                .scale_from(&host.id, ACTOR, NEW_ACTOR_REF, 1, &none())
                .await,
        );
        accepted(lattice.stop_actor(&host.id, 0, &none()).await);
        accepted(
            lattice
                .start_from(&host.id, NEW_ACTOR_REF, 3, &none())
                .await,
        );
        Operated::comes_to_run(host, 3).await;
        assert_eq!(
            Operated::revisions(host),
            BTreeSet::from([2]),
            "{generation:?}"
        );
    }
}

#[tokio::test]
async fn a_scale_with_the_image_of_another_actor_is_refused_where_the_lattice_knows() {
    for generation in [Otp59, G1b, G2b, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        let other = with_another(&lattice).await;
        let ack = lattice
            .scale_from(&host.id, ACTOR, OTHER_REF, 4, &none())
            .await;
        refused(ack, &format!("is of actor {other}"));
        assert_eq!(host.instances(&other), 1);
    }
}

#[tokio::test]
async fn what_the_bucket_knows_of_a_reference_counts_where_no_host_lists_it() {
    let lattice = Operated::one(G1b).await;
    let host = &lattice.hosts[0];
    let other = lattice.sim.publish_actor(OTHER_REF, "echo", 1).await;
    // Before the first call: the provider hears of it neither in events nor in an
    // inventory.
    let body = json!({ "actor_ref": OTHER_REF, "count": 1 });
    lattice.another_tells("la", body).await;
    eventually("the other", || async {
        (host.instances(&other) == 1).then_some(())
    })
    .await;
    let body = json!({ "actor_ref": other, "count": 0 });
    lattice.another_tells("sa", body).await;
    let ack = lattice
        .scale_from(&host.id, ACTOR, OTHER_REF, 4, &none())
        .await;
    refused(ack, &format!("is of actor {other}"));
    assert_eq!(host.instances(&other), 0);
}

#[tokio::test]
async fn hosts_that_are_too_old_are_told_nothing() {
    let lattice = Operated::one(Otp51).await;
    let host = &lattice.hosts[0].id;
    for (operation, outcome) in every_operation(&lattice, host).await {
        let asks = ["GetHosts", "GetHostInventory", "GetClaims", "GetLinks"];
        if asks.contains(&operation) || operation.starts_with("Auction") {
            continue;
        }
        let reason = outcome.unwrap_or_else(|| panic!("{operation} was carried out"));
        assert!(reason.contains("0.5"), "{operation}: {reason}");
    }
    for verb in ["la", "scale", "sa", "upd", "lp", "sp", "stop"] {
        assert!(lattice.hosts[0].received_on(&format!(".{verb}")).is_empty());
    }
}
