//! Stops of some instances on hosts that would stop others with them or show it
//! too late; and instances without limit.

use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::operator::*;

use Generation::{G1b, G2b, G3a, G3b, Otp59, Otp60};

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
        // A stop of the whole actor needs no registry.
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

#[tokio::test]
async fn what_runs_without_limit_stays_so() {
    for generation in [G2b, G3a] {
        let lattice = Operated::one(generation).await;
        let nats = lattice.world.nats.client().await;
        let host = &lattice.hosts[0];
        let subject = format!("wasmbus.ctl.default.cmd.{}.scale", host.id);
        let body = serde_json::json!({ "actor_ref": ACTOR_REF, "count": null }).to_string();
        nats.request(subject, body.into()).await.unwrap();
        // The host does it a little after its acknowledgement.
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
