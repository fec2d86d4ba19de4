//! How long auctions wait for bids, and what they ask bidders.

use crate::gathers::ids;
use crate::newcomers::{GRACE, heard, settings};
use crate::support::host::{Generation, SimHost};
use crate::support::operator::*;
use crate::support::time::assert_under;
use crate::support::{eventually, fence};
use serde_json::json;
use std::time::{Duration, Instant};

use Generation::{G1b, G2b, G3b};

const ALONE: &[(&str, &str)] = &[];
const ALL: [(Generation, &[(&str, &str)]); 3] = [(G1b, ALONE), (G2b, ALONE), (G3b, ALONE)];
/// Hosts that decline where they do not meet the constraints.
const OTP: [(Generation, &[(&str, &str)]); 3] = [(G1b, ALONE); 3];

/// Returns who bids, in order.
async fn bidders(lattice: &Operated) -> Vec<String> {
    lattice.auction_actor(&[]).await.unwrap()
}

/// Returns who would run the provider, in order.
async fn free_for_provider(lattice: &Operated) -> Vec<String> {
    lattice.auction_provider(&[]).await.unwrap()
}

#[tokio::test]
async fn an_auction_waits_as_long_as_bids_usually_take() {
    let lattice = Operated::configured(&OTP, settings()).await;
    heard(&lattice).await;
    // Nobody has bid yet.
    assert_eq!(bidders(&lattice).await, ids(&lattice.hosts));
    lattice.hosts[1].answer_after_on("auction.actor", Duration::from_millis(60));
    lattice.hosts[2].fall_silent_on("auction.actor");
    for round in 0..5 {
        let started = Instant::now();
        let found = bidders(&lattice).await;
        assert_under(GRACE / 2, started.elapsed());
        // Once, the bid came later than it had before.
        if round > 0 {
            assert_eq!(found, ids(&lattice.hosts[..2]));
        } else {
            let log = "bids came after their auction had ended";
            lattice.world.provider.logged(log).await;
        }
    }
}

#[tokio::test]
async fn hosts_that_never_bid_are_waited_for_for_the_whole_grace_period() {
    let lattice = Operated::configured(&OTP, settings()).await;
    lattice.hosts[1].answer_after_on("auction.actor", GRACE / 2);
    for host in [&lattice.hosts[0], &lattice.hosts[2]] {
        host.fall_silent_on("auction.actor");
    }
    heard(&lattice).await;
    assert_eq!(bidders(&lattice).await, [lattice.hosts[1].id.clone()]);
}

#[tokio::test]
async fn a_host_that_bids_in_any_case_may_bid_late() {
    let lattice = Operated::configured(&ALL, settings()).await;
    heard(&lattice).await;
    for _ in 0..2 {
        assert_eq!(bidders(&lattice).await, ids(&lattice.hosts));
        assert_eq!(free_for_provider(&lattice).await, ids(&lattice.hosts));
    }
    // Somebody else starts a provider there; the event of that comes later.
    for kind in ["auction.actor", "auction.provider"] {
        lattice.hosts[2].answer_after_on(kind, GRACE / 2);
    }
    assert_eq!(bidders(&lattice).await, ids(&lattice.hosts));
    assert_eq!(free_for_provider(&lattice).await, ids(&lattice.hosts));
}

#[tokio::test]
async fn a_host_of_which_a_provider_starts_or_stops_may_bid_late() {
    let lattice = Operated::configured(&ALL, settings()).await;
    heard(&lattice).await;
    for _ in 0..2 {
        assert_eq!(free_for_provider(&lattice).await, ids(&lattice.hosts));
    }
    // One that we start, and one that somebody else starts.
    accepted(lattice.start_provider(&lattice.hosts[0].id).await);
    let late = GRACE / 2;
    let nats = lattice.world.nats.client().await;
    let started = json!({ "type": "com.wasmcloud.lattice.provider_started",
        "source": lattice.hosts[1].id, "data": { "public_key": "V1", "link_name": "other",
        "image_ref": "r:1", "contract_id": "a:b" } });
    let event = started.to_string().into();
    nats.publish("wasmbus.evt.default", event).await.unwrap();
    fence(&nats).await;
    // The event came before the answers to this, over the same connection.
    lattice.get_hosts().await.unwrap();
    for host in &lattice.hosts[..2] {
        host.answer_after_on("auction.actor", late);
    }
    assert_eq!(bidders(&lattice).await, ids(&lattice.hosts));
}

fn inventories(lattice: &Operated) -> usize {
    let asked = |host: &SimHost| {
        host.received()
            .iter()
            .filter(|m| m.subject.ends_with("inv"))
            .count()
    };
    lattice.hosts.iter().map(asked).sum()
}

#[tokio::test]
async fn bidders_for_a_provider_are_asked_once_what_they_run() {
    let lattice = Operated::configured(&ALL, settings()).await;
    heard(&lattice).await;
    assert_eq!(free_for_provider(&lattice).await, ids(&lattice.hosts));
    let asked = inventories(&lattice);
    assert!(asked >= 1);
    for _ in 0..5 {
        heard(&lattice).await;
        assert_eq!(free_for_provider(&lattice).await, ids(&lattice.hosts));
    }
    assert_eq!(inventories(&lattice), asked);
}

#[tokio::test]
async fn a_host_that_is_known_to_run_the_provider_is_left_out_and_not_waited_for() {
    let lattice = Operated::configured(&ALL, settings()).await;
    heard(&lattice).await;
    accepted(lattice.start_provider(&lattice.hosts[1].id).await);
    let mut others = ids(&lattice.hosts);
    others.retain(|id| *id != lattice.hosts[1].id);
    let free = async || assert_eq!(free_for_provider(&lattice).await, others);
    free().await;
    // Its inventory and its heartbeats say so from here on.
    eventually("an auction that waits for nobody", || async {
        for host in &lattice.hosts {
            host.beat().await;
        }
        let (started, asked) = (Instant::now(), inventories(&lattice));
        free().await;
        (started.elapsed() < GRACE && inventories(&lattice) == asked).then_some(())
    })
    .await;
}
