//! Image references and the code behind them. A command is refused where the
//! host would not start the code that the reference names, or would list
//! another than it starts.

use std::collections::BTreeSet;

use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::operator::*;
use serde_json::json;

use Generation::{G1b, G2a, G2b, G3a, G3b, Otp59, Otp60};

const OTHER_REF: &str = "wasmcloud.azurecr.io/echo:0.1.0";

/// Starts another actor on the host.
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
        // What the message recommends works.
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
        // Nobody knows yet which actor this reference is of.
        let ack = lattice
            .start_from(&host.id, NEW_ACTOR_REF, 1, &map(&[("a", "1")]))
            .await;
        refused(ack, "");
        // After the update it is known, and the old reference is the other tag.
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
        // It leaves nothing that would block later commands.
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
    // This happens before the first call, so the provider sees it neither in
    // events nor in an inventory.
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
async fn what_a_host_would_ignore_is_refused() {
    // After an update of some instances, two references run on the host.
    for generation in [G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 2, &none()).await);
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        Operated::ends_up_running(host, 4).await;
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
        // Each group has its own reference, and a stop of one does not lose the
        // other.
        accepted(lattice.stop_actor(&host.id, 0, &managed()).await);
        Operated::ends_up_running(host, 2).await;
    }
}

#[tokio::test]
async fn another_reference_is_refused_instead_of_ignored() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = lattice.hosts[0].id.clone();
        accepted(lattice.start_actor(&host, 1, &none()).await);
        let ack = lattice
            .scale_from(&host, ACTOR, NEW_ACTOR_REF, 3, &none())
            .await;
        refused(ack, "use UpdateActor");
    }
}
