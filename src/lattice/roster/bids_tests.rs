//! How long bids are waited for.

use super::*;

/// Makes a ping of a host that declines in some auctions.
fn otp() -> Host {
    ping("0.63.0")
}

fn bid_within(roster: &Roster, host: &HostId) -> Duration {
    roster.expected(1).hosts[host].bid_within
}

#[tokio::test(start_paused = true)]
async fn a_bid_is_waited_for_as_late_as_those_of_its_host_come() {
    let (often, never) = (host(), host());
    let roster = Roster::default();
    let hear = || {
        for host in [&often, &never] {
            roster.note_ping_reply(host, &otp(), MS);
        }
    };
    hear();
    // Nobody has bid: as long as a bid is ever waited for.
    assert_eq!(bid_within(&roster, &often), Duration::MAX);
    roster.note_bid(&often, 2 * MS);
    let first = bid_within(&roster, &often);
    assert!(first > 4 * MS && first < 20 * MS, "{first:?}");
    assert_eq!(bid_within(&roster, &never), first);
    // A late one widens it at once, for minutes.
    roster.note_bid(&often, 100 * MS);
    assert!(bid_within(&roster, &often) > 200 * MS);
    roster.note_bid(&often, MS);
    assert!(bid_within(&roster, &often) > 200 * MS);
    for _ in 0..2 {
        advance(Duration::from_secs(300)).await;
        hear();
        roster.note_bid(&often, MS);
    }
    assert!(bid_within(&roster, &often) < first);
    // It outlives answers to pings.
    hear();
    assert!(bid_within(&roster, &often) < first);
    // While a provider starts or stops, bids may be late.
    roster.provider_moves(&often);
    assert_eq!(bid_within(&roster, &often), Duration::MAX);
    assert!(bid_within(&roster, &never) < first);
    advance(Duration::from_secs(60)).await;
    assert!(bid_within(&roster, &often) < first);
}

#[tokio::test(start_paused = true)]
async fn a_bid_that_was_late_long_ago_counts_no_more() {
    let (late, other) = (host(), host());
    let roster = Roster::default();
    let hear = || {
        for host in [&late, &other] {
            roster.note_ping_reply(host, &otp(), MS);
        }
    };
    hear();
    roster.note_bid(&late, 400 * MS);
    roster.note_bid(&other, MS);
    assert!(bid_within(&roster, &late) > 800 * MS);
    for _ in 0..2 {
        advance(Duration::from_secs(300)).await;
        hear();
        roster.note_bid(&other, MS);
    }
    // It has that of the other now.
    assert!(bid_within(&roster, &late) < 20 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_bids_in_any_case_is_waited_for_as_long_as_any() {
    let (rust, otp_host) = (host(), host());
    let roster = Roster::default();
    roster.note_ping_reply(&rust, &ping("0.82.0"), MS);
    roster.note_ping_reply(&otp_host, &otp(), MS);
    for host in [&rust, &otp_host] {
        roster.note_bid(host, MS);
    }
    assert_eq!(bid_within(&roster, &rust), Duration::MAX);
    assert!(bid_within(&roster, &otp_host) < 20 * MS);
}
