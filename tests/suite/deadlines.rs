//! Every call is answered before the actor gives up, with what is known by
//! then. Settings can make the answer come earlier.

use crate::support;
use std::time::{Duration, Instant};

use crate::support::every_operation::every_operation;
use crate::support::host::Generation;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::time::assert_under;
use crate::support::world::World;
use futures::future::join_all;
use serde_json::{Value, json};
use wasmbus_rpc::error::RpcError;

use Generation::{G1b, G2b, G3b};

const ALONE: &[(&str, &str)] = &[];

/// Operations that need a host's answer, and get none here.
const NEED_A_HOST: [&str; 9] = [
    "GetHostInventory",
    "StartActor",
    "ScaleActor",
    "UpdateActor",
    "StopActor",
    "StartProvider",
    "StopProvider",
    "StopHost",
    "SetRegistryCredentials",
];

#[tokio::test]
async fn hosts_that_answer_pings_only_are_named_by_every_operation() {
    // The budget is short, because each operation uses all of it.
    let settings = json!({ "call_budget_ms": 500 });
    let on = [G1b, G2b, G3b].map(|generation| {
        let hosts = [(generation, ALONE), (generation, ALONE)];
        let settings = settings.clone();
        async move { Operated::configured(&hosts, settings).await }
    });
    for (generation, lattice) in [G1b, G2b, G3b].into_iter().zip(join_all(on).await) {
        lattice.get_hosts().await.unwrap();
        let silent = &lattice.hosts[1].id;
        for host in &lattice.hosts {
            for end in [
                ".inv", ".la", ".scale", ".sa", ".upd", ".lp", ".sp", ".stop",
            ] {
                host.fall_silent_on(end);
            }
            for end in ["registries.put", "auction.actor", "auction.provider"] {
                host.fall_silent_on(end);
            }
        }
        for (operation, outcome) in every_operation(&lattice, silent).await {
            match outcome {
                None => assert!(
                    !NEED_A_HOST.contains(&operation),
                    "{generation:?} {operation}"
                ),
                Some(reason) => {
                    // The client's own time-out would name no host. Registry
                    // credentials go to all hosts.
                    let who = match operation {
                        "SetRegistryCredentials" => "the hosts of lattice \"default\"",
                        _ => silent,
                    };
                    assert!(reason.contains(who), "{generation:?} {operation}: {reason}");
                    assert!(NEED_A_HOST.contains(&operation), "{operation}: {reason}");
                }
            }
        }
    }
}

#[tokio::test]
async fn hosts_that_answer_nothing_at_all_do_not_keep_an_actor_waiting() {
    // Calls have the host's own time limit here, after which the client would
    // report only that it has passed.
    let each = [G1b, G2b, G3b].map(|generation| async move {
        let lattice = Operated::with(&[(generation, ALONE)]).await;
        let host = &lattice.hosts[0];
        host.fall_silent_on("");
        for (operation, outcome) in every_operation(&lattice, &host.id).await {
            // The reason is the provider's, not that of a client that gave up.
            let own = |reason: &String| {
                let who = reason.contains(&host.id) || reason.contains("lattice \"default\"");
                who && reason.len() > 40
            };
            let told = outcome.as_ref().is_none_or(own);
            assert!(told, "{generation:?} {operation}: {outcome:?}");
        }
    });
    join_all(each).await;
}

#[tokio::test]
async fn a_gather_that_is_cut_off_tells_what_came() {
    let settings = json!({ "gather_limit_ms": 600 });
    let lattice = Operated::configured(&[(G2b, ALONE); 3], settings).await;
    lattice.get_hosts().await.unwrap();
    // The host is known, so the gather would wait for it until the end of the
    // call.
    lattice.hosts[1].answer_after(Duration::from_millis(400));
    support::eventually("the slow host to be known as slow", || async {
        (lattice.get_hosts().await.unwrap().len() == 3).then_some(())
    })
    .await;
    for host in &lattice.hosts[1..] {
        host.answer_after(Duration::from_millis(5000));
    }
    lattice.hosts[0].answer_after(Duration::from_millis(400));
    let started = Instant::now();
    let found = lattice.get_hosts().await.unwrap();
    assert_under(EARLY, started.elapsed());
    assert_eq!(found.len(), 1);
}

#[tokio::test]
async fn a_gather_ends_at_its_limit_and_at_that_of_the_link() {
    let hosts = [(G2b, ALONE)];
    let provider = Operated::configured(&hosts, json!({ "gather_limit_ms": 150 })).await;
    let world = World::start_on(NatsServer::start(), |host_data| {
        host_data["link_definitions"][0]["values"] = json!({ "gather_limit_ms": "150" });
    })
    .await;
    world.set_lattice(LATTICE, &world.nats.url()).await;
    let link = Operated::in_world(world, &hosts).await;
    for lattice in [provider, link] {
        lattice.hosts[0].fall_silent_on("ping.hosts");
        let started = Instant::now();
        assert!(lattice.get_hosts().await.unwrap().is_empty());
        assert!(lattice.auction_actor(&[]).await.unwrap().len() < 2);
        assert_under(EARLY, started.elapsed());
    }
}

/// Starts a lattice of one host that does not answer requests for its
/// inventory.
async fn without_inventory(settings: Value) -> Operated {
    let lattice = Operated::configured(&[(G2b, ALONE)], settings).await;
    lattice.get_hosts().await.unwrap();
    lattice.hosts[0].fall_silent_on(".inv");
    lattice
}

/// Far less than a call's budget, and far more than the limits set here.
const EARLY: Duration = Duration::from_millis(1200);

#[tokio::test]
async fn limits_of_the_provider_end_requests_early() {
    for limit in ["request_limit_ms", "call_budget_ms"] {
        let lattice = without_inventory(json!({ limit: 150 })).await;
        let host = &lattice.hosts[0].id;
        let started = Instant::now();
        let error = lattice.inventory(host).await.unwrap_err();
        assert_under(EARLY, started.elapsed());
        let RpcError::Rpc(text) = error else {
            panic!("{limit}: {error}");
        };
        assert!(text.contains(host) && text.contains("in time"), "{text}");
    }
}

#[tokio::test]
async fn limits_that_contradict_each_other_are_refused() {
    let settings = json!({ "stall_ms": 500, "gather_limit_ms": 400, "call_budget_ms": 300 });
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] = settings.to_string().into();
    })
    .await;
    let url = world.nats.url();
    let refusal = world.try_set_lattice("default", &url).await.unwrap().error;
    for mistake in [
        "stall_ms: it must not be more than gather_limit_ms",
        "stall_ms: it must not be more than call_budget_ms",
        "gather_limit_ms: it must not be more than call_budget_ms",
    ] {
        assert!(refusal.contains(mistake), "{refusal}");
    }
}
