//! After an UpdateActor, either the new revision runs and nothing else, or what
//! ran before.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::operator::*;
use crate::support::time::assert_under;
use crate::support::world::ctx;
use nix::sys::signal::Signal;
use serde_json::json;
use wasmcloud_interface_lattice_control::*;

use Generation::{G2a, G2b, G3a, G3b};

const MISSING: &str = "wasmcloud.azurecr.io/missing:0.1.0";
const OTHER_REF: &str = "wasmcloud.azurecr.io/echo:0.1.0";

#[tokio::test]
async fn an_update_lasts_whoever_scales_later() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        accepted(lattice.start_actor(&host.id, 2, &managed()).await);
        Operated::comes_to_run(host, 5).await;
        let groups: BTreeMap<_, _> = host.groups(ACTOR);
        accepted(lattice.update_actor(&host.id, &none()).await);
        assert_eq!(host.groups(ACTOR), groups, "{generation:?}");
        // Another client scales it under the new reference.
        let body = json!({ "actor_id": ACTOR, "actor_ref": NEW_ACTOR_REF, "count": 9 });
        lattice.another_tells("scale", body).await;
        eventually("the scale", || async {
            (host.instances(ACTOR) > 5).then_some(())
        })
        .await;
        assert_eq!(
            Operated::revisions(host),
            BTreeSet::from([2]),
            "{generation:?}"
        );
    }
}

#[tokio::test]
async fn an_update_to_an_image_that_is_not_there_changes_nothing() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        Operated::comes_to_run(host, 3).await;
        refused(
            lattice.update_to(&host.id, MISSING, &none()).await,
            "failed to fetch",
        );
        assert_eq!(host.received_on(".sa").len(), 0);
        assert_eq!(Operated::revisions(host), BTreeSet::from([1]));
        assert_eq!(host.instances(ACTOR), 3);
        accepted(lattice.update_actor(&host.id, &none()).await);
        assert_eq!(Operated::revisions(host), BTreeSet::from([2]));
    }
}

#[tokio::test]
async fn an_update_that_takes_longer_than_its_call_goes_on() {
    for generation in [G2a, G2b, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        Operated::comes_to_run(host, 3).await;
        host.answer_after_on(".upd", Duration::from_millis(4500));
        let unknown = lattice.update_actor(&host.id, &none()).await;
        let error = unknown.unwrap_err().to_string();
        assert!(error.contains("the update goes on"), "{error}");
        assert_eq!(host.received_on(".sa").len(), 0);
        // Other commands wait for it.
        refused(lattice.scale_actor(&host.id, 1, &none()).await, "under way");
        eventually("the new revision everywhere", || async {
            let stopped = !host.received_on(".sa").is_empty();
            let all =
                host.instances(ACTOR) == 3 && Operated::revisions(host) == BTreeSet::from([2]);
            (stopped && all).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_update_to_the_image_of_another_actor_is_taken_back() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        let key = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
        lattice
            .sim
            .publish_actor_as(OTHER_REF, &key, "echo", 7)
            .await;
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        Operated::comes_to_run(host, 3).await;
        refused(
            lattice.update_to(&host.id, OTHER_REF, &none()).await,
            "is of actor",
        );
        assert_eq!(host.received_on(".sa").len(), 0);
        assert_eq!(
            Operated::revisions(host),
            BTreeSet::from([1]),
            "{generation:?}"
        );
        assert_eq!(host.instances(&key), 0);
        // The host ran the other actor for a moment.
        assert!(host.meant_harm().is_some());
    }
}

#[tokio::test]
async fn what_an_update_stopped_is_started_before_the_provider_ends() {
    for generation in [G2a, G3b] {
        let mut lattice = Operated::one(generation).await;
        let id = lattice.hosts[0].id.clone();
        accepted(lattice.start_actor(&id, 3, &none()).await);
        Operated::comes_to_run(&lattice.hosts[0], 3).await;
        lattice.hosts[0].answer_after_on(".sa", Duration::from_millis(700));
        let call = lattice.client();
        let command = UpdateActorCommand {
            lattice_id: LATTICE.into(),
            host_id: id.clone(),
            actor_id: ACTOR.into(),
            new_actor_ref: NEW_ACTOR_REF.into(),
            annotations: None,
        };
        let called = tokio::spawn(async move { call.update_actor(&ctx(), &command).await });
        eventually("the stop", || async {
            lattice.hosts[0].received_on(".sa").pop()
        })
        .await;
        lattice.world.provider.signal(Signal::SIGTERM);
        accepted(called.await.unwrap());
        assert!(lattice.world.provider.ended().await.success());
        Operated::comes_to_run(&lattice.hosts[0], 3).await;
        assert_eq!(Operated::revisions(&lattice.hosts[0]), BTreeSet::from([2]));
    }
}

#[tokio::test]
async fn without_events_an_update_is_of_the_right_actor_all_the_same() {
    let config = "no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: { subscribe: { deny: [\"wasmbus.evt.>\"] } } }
        ] }";
    for generation in [G2a, G2b, G3b] {
        let lattice = Operated::with_user(config, &[(generation, &[])]).await;
        let host = &lattice.hosts[0];
        let key = nkeys::KeyPair::new(nkeys::KeyPairType::Module).public_key();
        let sim = &lattice.sim;
        sim.publish_actor_as(OTHER_REF, &key, "echo", 7).await;
        accepted(lattice.start_actor(&host.id, 3, &none()).await);
        Operated::comes_to_run(host, 3).await;
        refused(
            lattice.update_to(&host.id, OTHER_REF, &none()).await,
            "it is not known whether",
        );
        assert_eq!(host.received_on(".sa").len(), 0);
        assert_eq!(host.instances(&key), 0);
        assert_eq!(Operated::revisions(host), BTreeSet::from([1]));
        assert!(host.meant_harm().is_some());
        // The claims in the lattice are of this actor.
        accepted(lattice.update_actor(&host.id, &none()).await);
        assert_eq!(Operated::revisions(host), BTreeSet::from([2]));
        assert_eq!(host.instances(ACTOR), 3, "{generation:?}");
    }
}

#[tokio::test]
async fn what_is_started_while_an_update_fails_is_back_soon() {
    let lattice = Operated::one(G3b).await;
    let host = &lattice.hosts[0];
    accepted(lattice.start_actor(&host.id, 3, &Annotations::new()).await);
    Operated::comes_to_run(host, 3).await;
    host.answer_after_on(".sa", Duration::from_millis(300));
    let none = none();
    let updated = lattice.update_actor(&host.id, &none);
    let gone = async {
        eventually("the stop", || async { host.received_on(".sa").pop() }).await;
        lattice.sim.withdraw(NEW_ACTOR_REF);
        eventually("a start", || async {
            host.received_on(".scale").get(1).cloned()
        })
        .await;
        eventually("the failure", || async { host.caught_up().then_some(()) }).await;
        let sim = &lattice.sim;
        sim.publish_actor_as(NEW_ACTOR_REF, ACTOR, "kvcounter", 2)
            .await;
    };
    let began = std::time::Instant::now();
    let (_, ()) = tokio::join!(updated, gone);
    Operated::comes_to_run(host, 3).await;
    assert_under(Duration::from_secs(5), began.elapsed());
    assert_eq!(Operated::revisions(host), BTreeSet::from([2]));
}
