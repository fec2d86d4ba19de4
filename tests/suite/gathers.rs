//! Gathers, which query all hosts: they are complete, and end as soon as they
//! are. How a gather ended is in the provider's log; how long it took is in the
//! benches.

use crate::support;
use std::time::Duration;

use crate::support::eventually;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::OURS;
use crate::support::operator::*;
use crate::support::provider::Provider;
use serde_json::json;

use Generation::{G1b, G2b, G3b};

const ALONE: &[(&str, &str)] = &[];

pub fn ids(hosts: &[SimHost]) -> Vec<String> {
    let mut ids: Vec<_> = hosts.iter().map(|host| host.id.clone()).collect();
    ids.sort();
    ids
}

async fn found(lattice: &Operated) -> Vec<String> {
    let hosts = lattice.get_hosts().await.unwrap();
    let mut ids: Vec<_> = hosts.into_iter().map(|host| host.id).collect();
    ids.sort();
    ids
}

/// Returns how many gathers ended like this, with so many hosts. Only gathers
/// of calls end as complete: those in the background wait for unknown hosts.
fn ended(provider: &Provider, how: &str, hosts: usize) -> usize {
    let text = format!("ended={how} hosts={hosts} ");
    let log = provider.log();
    let lines = log.lines().filter(|line| line.contains("gather ended"));
    lines.filter(|line| line.contains(&text)).count()
}

/// Waits until the log has a gather that ended like this.
async fn comes_to_log(lattice: &Operated, how: &str, hosts: usize) {
    let provider = &lattice.world.provider;
    eventually("the end of a gather in the log", || async {
        (ended(provider, how, hosts) > 0).then_some(())
    })
    .await;
}

/// Calls until a gather was complete with so many hosts, and returns what the
/// last call found.
async fn complete(lattice: &Operated, hosts: usize) -> Vec<String> {
    let provider = &lattice.world.provider;
    let before = ended(provider, "Complete", hosts);
    eventually(&format!("a complete gather of {hosts} hosts"), || async {
        let found = found(lattice).await;
        (ended(provider, "Complete", hosts) > before).then_some(found)
    })
    .await
}

/// Waits for the first ping in the background, which waits for the slowest
/// host. The next ping comes half a minute later.
async fn pinged_in_the_background(lattice: &Operated) {
    lattice.world.provider.logged("ended=Deadline").await;
}

/// Returns the provider's subscriptions on its connections to lattices. Clients
/// of the test have inboxes, too.
fn subscribed(lattice: &Operated) -> Vec<String> {
    let connections = lattice.world.nats.monitoring("/connz?subs=1")["connections"].take();
    let connections = connections.as_array().into_iter().flatten();
    let ours = connections.filter(|c| c["name"].as_str().is_some_and(|n| n.contains(OURS)));
    let subjects = ours.filter_map(|c| c["subscriptions_list"].as_array());
    let subjects = subjects.flatten().filter_map(|subject| subject.as_str());
    // The inbox that all requests share is left out.
    let others = subjects.filter(|subject| !subject.ends_with(".*"));
    others.map(str::to_owned).collect()
}

#[tokio::test]
async fn hosts_that_are_known_end_a_gather() {
    let lattice = Operated::with(&[(G1b, ALONE), (G2b, ALONE), (G3b, ALONE)]).await;
    assert_eq!(found(&lattice).await, ids(&lattice.hosts));
    comes_to_log(&lattice, "Stall", 3).await;
    assert_eq!(complete(&lattice, 3).await, ids(&lattice.hosts));
}

#[tokio::test]
async fn nobody_there_is_known_at_once() {
    let lattice = Operated::with(&[]).await;
    assert!(found(&lattice).await.is_empty());
    assert!(lattice.auction_actor(&[]).await.unwrap().is_empty());
    comes_to_log(&lattice, "NoResponders", 0).await;
    assert_eq!(ended(&lattice.world.provider, "Deadline", 0), 0);
}

#[tokio::test]
async fn a_lattice_is_watched_from_its_first_host_on() {
    let lattice = Operated::with(&[]).await;
    assert!(found(&lattice).await.is_empty());
    assert!(lattice.auction_actor(&[]).await.unwrap().is_empty());
    // An empty lattice leaves nothing behind.
    let events = "wasmbus.evt.default".to_owned();
    let nothing = || async { subscribed(&lattice).is_empty().then_some(()) };
    eventually("no subscription", nothing).await;
    let late = SimHost::start(&lattice.sim, G2b, &[]).await;
    assert_eq!(found(&lattice).await, std::slice::from_ref(&late.id));
    eventually("the event subscription", || async {
        subscribed(&lattice).contains(&events).then_some(())
    })
    .await;
    pinged_in_the_background(&lattice).await;
}

#[tokio::test]
async fn a_silent_host_costs_itself_only_and_is_forgotten() {
    let lattice = Operated::with(&[(G2b, ALONE); 5]).await;
    assert_eq!(found(&lattice).await.len(), 5);
    lattice.hosts[4].fall_silent_on("ping.hosts");
    let others = ids(&lattice.hosts[..4]);
    assert_eq!(found(&lattice).await, others);
    assert_eq!(complete(&lattice, 4).await, others);
    // The host is known again with its first answer.
    lattice.hosts[4].speak_again();
    eventually("the host to be back", || async {
        (found(&lattice).await == ids(&lattice.hosts)).then_some(())
    })
    .await;
    assert_eq!(complete(&lattice, 5).await, ids(&lattice.hosts));
}

#[tokio::test]
async fn a_slow_host_is_found_in_the_background_and_waited_for_from_then_on() {
    // OTP hosts send heartbeats when they are pinged, which must not make up for
    // the ping that finds the slow one (docs/hosts.md#ping-causes-heartbeat).
    for generation in [G1b, G2b] {
        let lattice = Operated::with(&[(generation, ALONE), (generation, ALONE)]).await;
        // The answer comes two stalls after the first one.
        lattice.hosts[1].answer_after(Duration::from_millis(700));
        assert_eq!(found(&lattice).await, [lattice.hosts[0].id.clone()]);
        lattice.auction_actor(&[]).await.unwrap();
        assert_eq!(complete(&lattice, 2).await, ids(&lattice.hosts));
    }
}

#[tokio::test]
async fn an_auction_goes_before_its_ping() {
    let lattice = Operated::one(G2b).await;
    lattice.auction_actor(&[]).await.unwrap();
    let received = lattice.hosts[0].received();
    let subjects: Vec<_> = received.iter().map(|m| m.subject.as_str()).collect();
    let auction = subjects.iter().position(|s| *s == "auction.actor").unwrap();
    assert_eq!(subjects[auction + 1], "ping.hosts");
}

#[tokio::test]
async fn an_auction_ends_with_the_ping_when_nobody_bids() {
    let eu: &[(&str, &str)] = &[("zone", "eu")];
    let lattice = Operated::with(&[(G1b, eu), (G1b, eu)]).await;
    found(&lattice).await;
    assert!(
        lattice
            .auction_actor(&[("zone", "us")])
            .await
            .unwrap()
            .is_empty()
    );
    comes_to_log(&lattice, "Complete", 2).await;
}

#[tokio::test]
async fn a_bid_after_the_grace_does_not_count_and_is_logged() {
    let lattice = Operated::with(&[(G2b, ALONE), (G2b, ALONE)]).await;
    found(&lattice).await;
    lattice.hosts[1].answer_after_on("auction.actor", Duration::from_millis(250));
    let bids = lattice.auction_actor(&[]).await.unwrap();
    assert_eq!(bids, [lattice.hosts[0].id.clone()]);
    let provider = &lattice.world.provider;
    provider
        .logged("bids came after their auction had ended")
        .await;
    let log = provider.log();
    let line = log.lines().find(|l| l.contains("bids came after")).unwrap();
    assert!(
        line.contains("late=1") && line.contains(&lattice.hosts[1].id),
        "{line}"
    );
}

#[tokio::test]
async fn a_longer_grace_waits_for_late_bids() {
    let settings = json!({ "grace_ms": 900, "stall_ms": 1000 });
    let lattice = Operated::configured(&[(G2b, ALONE), (G2b, ALONE)], settings).await;
    found(&lattice).await;
    lattice.hosts[1].answer_after_on("auction.actor", Duration::from_millis(250));
    assert_eq!(
        lattice.auction_actor(&[]).await.unwrap(),
        ids(&lattice.hosts)
    );
}

#[tokio::test]
async fn a_gather_leaves_no_subscription_behind() {
    let lattice = Operated::with(&[(G1b, ALONE), (G2b, ALONE), (G3b, ALONE)]).await;
    let world = &lattice.world;
    world.set_lattice("nobody", &world.nats.url()).await;
    let subscriptions = || world.nats.monitoring("/subsz")["num_subscriptions"].as_u64();
    let nobody = || async {
        let client = world.actor.lattice();
        use wasmcloud_interface_lattice_control::LatticeController as _;
        client.get_hosts(&support::world::ctx(), "nobody").await
    };
    // The first gather makes what stays: one event subscription for each
    // lattice with hosts.
    found(&lattice).await;
    nobody().await.unwrap();
    pinged_in_the_background(&lattice).await;
    // Gathers in flight at this moment must not count as what was there before.
    eventually("no inbox", || async {
        let mut subjects = subscribed(&lattice).into_iter();
        (!subjects.any(|subject| subject.starts_with("_INBOX"))).then_some(())
    })
    .await;
    let before = subscriptions();
    assert!(before.unwrap() > 0);
    // Gathers end in every way: complete, with no responders, with late bids,
    // in silence, with refusals.
    for round in 0..4 {
        found(&lattice).await;
        nobody().await.unwrap();
        lattice.auction_actor(&[]).await.unwrap();
        lattice.auction_actor(&[("zone", "nope")]).await.unwrap();
        lattice.auction_provider(&[]).await.unwrap();
        match round {
            0 => lattice.hosts[0].answer_after_on("auction.actor", Duration::from_millis(200)),
            1 => lattice.hosts[1].fall_silent_on("ping.hosts"),
            2 => lattice.hosts[0].fall_silent_on("ping.hosts"),
            _ => lattice.hosts[2].fall_silent_on("ping.hosts"),
        }
        // In the last round nobody answers, which takes the whole budget.
        found(&lattice).await;
    }
    let missing = "NAGASFIHF5SBGTNTZUOVWT3O63SJUMIFUL7BH52T3UAFKQW7PPP46KFU";
    lattice.inventory(missing).await.unwrap_err();
    eventually("the subscriptions of before", || async {
        (subscriptions() == before).then_some(())
    })
    .await;
}

// --- what hosts say unasked ---

#[tokio::test]
async fn a_host_that_says_it_stops_is_not_waited_for() {
    for generation in [G1b, G2b, G3b] {
        let lattice = Operated::with(&[(generation, ALONE); 3]).await;
        found(&lattice).await;
        accepted(lattice.stop_host(&lattice.hosts[2].id, None).await);
        assert_eq!(complete(&lattice, 2).await, ids(&lattice.hosts[..2]));
        let provider = &lattice.world.provider;
        assert_eq!(ended(provider, "Stall", 2), 0, "{generation:?}");
    }
}

/// Slower than the grace and the stall, so that the pings of calls alone would
/// never find the host.
const SLOWER_THAN_GRACE: Duration = Duration::from_millis(600);

/// Waits until calls find these hosts and keep finding them.
async fn come_to_find(lattice: &Operated, mut hosts: Vec<String>) {
    hosts.sort();
    eventually("all hosts", || async {
        (found(lattice).await == hosts).then_some(())
    })
    .await;
    assert_eq!(complete(lattice, hosts.len()).await, hosts);
}

#[tokio::test]
async fn a_slow_host_that_starts_is_known_from_its_event() {
    let lattice = Operated::one(G2b).await;
    found(&lattice).await;
    pinged_in_the_background(&lattice).await;
    let late = SimHost::start(&lattice.sim, G2b, &[]).await;
    late.answer_after(SLOWER_THAN_GRACE);
    come_to_find(&lattice, vec![lattice.hosts[0].id.clone(), late.id.clone()]).await;
}

#[tokio::test]
async fn a_slow_host_that_was_not_there_is_known_from_its_heartbeat() {
    let lattice = Operated::with(&[(G2b, ALONE), (G2b, ALONE)]).await;
    let late = &lattice.hosts[1];
    late.fall_silent_on("ping.hosts");
    found(&lattice).await;
    pinged_in_the_background(&lattice).await;
    assert_eq!(complete(&lattice, 1).await.len(), 1);
    late.speak_again();
    late.answer_after(SLOWER_THAN_GRACE);
    late.beat().await;
    come_to_find(&lattice, ids(&lattice.hosts)).await;
}

#[tokio::test]
async fn a_slow_host_said_to_have_stopped_by_somebody_else_is_still_found() {
    let lattice = Operated::with(&[(G2b, ALONE), (G2b, ALONE)]).await;
    lattice.hosts[1].answer_after(Duration::from_millis(250));
    found(&lattice).await;
    complete(&lattice, 2).await;
    let nats = lattice.world.nats.client().await;
    for kind in ["host_stopped", "host_started", "host_heartbeat"] {
        let event = json!({ "type": format!("com.wasmcloud.lattice.{kind}"),
            "source": lattice.hosts[1].id, "data": { "version": "0.99.0" } });
        nats.publish("wasmbus.evt.default", event.to_string().into())
            .await
            .unwrap();
        support::fence(&nats).await;
        for _ in 0..3 {
            assert_eq!(found(&lattice).await, ids(&lattice.hosts), "{kind}");
        }
    }
}

#[tokio::test]
async fn a_refused_event_subscription_changes_nothing_but_freshness() {
    let config = r#"no_auth_user: home
        authorization { users = [
            { user: home, password: pw }
            { user: lattice, password: pw, permissions: { subscribe: { deny: "wasmbus.evt.>" } } }
        ] }"#;
    let lattice = Operated::with_user(config, &[(G2b, ALONE), (G3b, ALONE)]).await;
    assert_eq!(found(&lattice).await, ids(&lattice.hosts));
    assert_eq!(complete(&lattice, 2).await, ids(&lattice.hosts));
    lattice.hosts[1].fall_silent_on("ping.hosts");
    assert_eq!(complete(&lattice, 1).await, ids(&lattice.hosts[..1]));
    let provider = &lattice.world.provider;
    provider.logged("do not allow something").await;
    let log = provider.log();
    let refused = log
        .lines()
        .filter(|line| line.contains("do not allow something"));
    assert_eq!(refused.filter(|line| line.contains("INFO")).count(), 1);
}
