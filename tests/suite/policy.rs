//! Threat: an actor calls an operation, or a lattice, that it may not call.
//! What it may call is in its link, else in the provider's settings.

use crate::support::eventually;
use crate::support::every_operation::every_operation;
use crate::support::host::Generation;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::world::{World, ctx};
use lattice_controller::internals::contract::Operation;
use serde_json::{Value, json};
use wasmcloud_interface_lattice_control::LatticeController as _;

/// Calls every operation, and returns why each was refused, if it was.
async fn all_operations(lattice: &Operated) -> Vec<(&'static str, String)> {
    let url = lattice.world.nats.url();
    let set = lattice.world.try_set_lattice(LATTICE, &url).await.unwrap();
    let mut all = vec![(
        "SetLatticeCredentials",
        (!set.accepted).then_some(set.error),
    )];
    all.extend(every_operation(lattice, &lattice.hosts[0].id).await);
    let mut names: Vec<_> = all.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(names, Operation::NAMES);
    let all = all.into_iter();
    all.map(|(name, why)| (name, why.unwrap_or_default()))
        .collect()
}

/// Gives the actor's link these values, and waits until calls are answered with
/// this text.
async fn relink(world: &World, values: Value, text: &str) {
    let actor = &world.identity.actor;
    world.publish_link("linkdefs.put", actor, values).await;
    answers(world, text).await;
}

async fn answers(world: &World, text: &str) {
    eventually(&format!("an answer with {text:?}"), || async {
        let answer = match world.hosts("another").await {
            Ok(hosts) => format!("{} hosts", hosts.len()),
            Err(error) => error,
        };
        answer.contains(text).then_some(())
    })
    .await;
}

/// Operations that answer with an acknowledgement.
fn acknowledges(name: &str) -> bool {
    let looks = ["Get", "Auction", "SetRegistry"];
    !looks.iter().any(|start| name.starts_with(start))
}

#[tokio::test]
async fn a_link_for_another_lattice_allows_no_operation_on_this_one() {
    let lattice = Operated::one(Generation::G2b).await;
    let values = json!({ "lattices": "another,other-*" });
    relink(&lattice.world, values, "is unknown").await;
    let actor = &lattice.world.identity.actor;
    let expected =
        format!("the link of actor {actor} does not allow lattice \"default\" (lattices)");
    for (name, why) in all_operations(&lattice).await {
        assert!(why.ends_with(&expected), "{name}: {why}");
        // The refusal is an acknowledgement whose error is this sentence alone,
        // or an RPC error.
        assert_eq!(why == expected, acknowledges(name), "{name}: {why}");
    }
    let received = lattice.hosts[0].received();
    assert!(received.is_empty(), "{received:?}");
    lattice.world.provider.logged("cause=\"lattice\"").await;
}

#[tokio::test]
async fn each_group_allows_its_operations_and_no_others() {
    let groups: [(&str, &[&str]); 4] = [
        (
            "read",
            &[
                "GetHosts",
                "GetHostInventory",
                "GetClaims",
                "GetLinks",
                "AuctionActor",
                "AuctionProvider",
            ],
        ),
        (
            "write",
            &[
                "StartActor",
                "ScaleActor",
                "StopActor",
                "UpdateActor",
                "StartProvider",
                "StopProvider",
                "StopHost",
                "AdvertiseLink",
                "RemoveLink",
            ],
        ),
        (
            "credentials",
            &["SetLatticeCredentials", "SetRegistryCredentials"],
        ),
        ("all", &Operation::NAMES),
    ];
    for (group, allowed) in groups {
        let lattice = Operated::one(Generation::G2b).await;
        let world = &lattice.world;
        let text = match allowed.contains(&"GetHosts") {
            true => "is unknown",
            false => "does not allow GetHosts",
        };
        relink(world, json!({ "operations": group, "lattices": "*" }), text).await;
        for (name, why) in all_operations(&lattice).await {
            let expected = format!("does not allow {name} (operations)");
            let refused = why.contains(&expected);
            assert_eq!(refused, !allowed.contains(&name), "{group} {name}: {why}");
            assert!(refused || !why.contains("allow"), "{group} {name}: {why}");
        }
        if group != "all" {
            world.provider.logged("cause=\"operation\"").await;
        }
    }
}

#[tokio::test]
async fn the_providers_defaults_count_for_what_a_link_does_not_say() {
    let settings = json!({
        "default_lattices": ["another", "x-*"], "default_operations": "read, SetLatticeCredentials",
    });
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = settings.to_string().into();
    })
    .await;
    let (url, actor) = (world.nats.url(), world.identity.actor.clone());
    // The link that came with the host data has no values.
    let ack = world.try_set_lattice(LATTICE, &url).await.unwrap();
    let expected = format!(
        "the provider does not allow lattice \"default\" to actor {actor}, whose link does not \
         say (default_lattices)"
    );
    assert_eq!((ack.accepted, ack.error), (false, expected));
    world.set_lattice("another", &url).await;
    assert!(world.hosts("another").await.unwrap().is_empty());
    let why = world.order_refused("another").await;
    assert!(why.contains("does not allow StopHost to actor"), "{why}");
    assert!(why.ends_with("(default_operations)"), "{why}");
    // A link that is put later with blank values counts as one without values,
    // too.
    relink(&world, json!({ "operations": "StopHost" }), "(operations)").await;
    let why = world.order_refused("another").await;
    assert!(!why.contains("allow"), "{why}");
    let why = world.order_refused(LATTICE).await;
    assert!(why.ends_with("(default_lattices)"), "{why}");
    let blank = json!({ "operations": " ", "lattices": "" });
    relink(&world, blank, "0 hosts").await;
    let why = world.order_refused("another").await;
    assert!(why.ends_with("(default_operations)"), "{why}");
    // A link may allow more than the provider's settings.
    let more = json!({ "operations": "all", "lattices": "default" });
    relink(&world, more, "(lattices)").await;
    let why = world.order_refused(LATTICE).await;
    assert!(why.contains("is unknown"), "{why}");
}

#[tokio::test]
async fn unknown_operations_are_no_secret_and_no_event() {
    let world = World::start().await;
    relink(&world, json!({ "operations": "read" }), "is unknown").await;
    let call = world.actor.call_raw("LatticeController.Nope", vec![]).await;
    assert!(call.unwrap_err().to_string().contains("not handled"));
    let client = world.actor.lattice();
    client.get_links(&ctx(), "another").await.unwrap_err();
    assert!(!world.provider.log().contains("cause="));
}
