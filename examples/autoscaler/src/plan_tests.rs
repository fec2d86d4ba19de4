use super::*;

const A: &str = "NA";
const B: &str = "NB";
const C: &str = "NC";

/// Returns a zone whose hosts run so many instances and have all bid.
fn zone(runners: &[(&str, u16)]) -> Zone {
    let runner = |instances| Runner {
        instances,
        by_annotations: true,
    };
    Zone {
        runners: runners
            .iter()
            .map(|(host, instances)| (host.to_string(), runner(*instances)))
            .collect(),
        auction: Auction::Bids(runners.iter().map(|(host, _)| host.to_string()).collect()),
    }
}

fn state(zones: &[(&str, Zone)]) -> State {
    let zones = zones
        .iter()
        .map(|(name, zone)| (name.to_string(), zone.clone()));
    State {
        zones: zones.collect(),
        unseen: Vec::new(),
    }
}

fn desired(zones: &[(&str, u16)]) -> Desired {
    Desired::new("default", "M", "registry.example/shop:0.3.0", zones).unwrap()
}

/// Plans for a zone of these hosts, and returns the commands as (host, from,
/// to) and what is missing.
fn told(zone: Zone, wanted: u16) -> (Vec<(String, u16, u16)>, Option<Lack>) {
    let (mut orders, mut lack) = (Vec::new(), None);
    for step in plan(&state(&[("eu", zone)]), &desired(&[("eu", wanted)])) {
        match step {
            Step::Order(order) => orders.push((order.host, order.from, order.to)),
            Step::Lack(found) => assert_eq!(lack.replace(found), None),
        }
    }
    (orders, lack)
}

fn orders(zone: Zone, wanted: u16) -> Vec<(String, u16, u16)> {
    let (orders, lack) = told(zone, wanted);
    assert_eq!(lack, None);
    orders
}

fn order(host: &str, from: u16, to: u16) -> (String, u16, u16) {
    (host.to_owned(), from, to)
}

#[test]
fn instances_are_spread_evenly_over_hosts_that_run_none() {
    let three = || zone(&[(A, 0), (B, 0), (C, 0)]);
    assert_eq!(
        orders(three(), 5),
        [order(A, 0, 2), order(B, 0, 2), order(C, 0, 1)]
    );
    assert_eq!(orders(three(), 2), [order(A, 0, 1), order(B, 0, 1)]);
}

#[test]
fn instances_are_added_where_fewest_run() {
    let some = zone(&[(A, 3), (B, 0), (C, 1)]);
    assert_eq!(orders(some, 6), [order(B, 0, 2)]);
}

#[test]
fn instances_are_stopped_where_most_run() {
    let some = zone(&[(A, 1), (B, 5), (C, 2)]);
    assert_eq!(orders(some.clone(), 5), [order(B, 5, 2)]);
    assert_eq!(orders(some, 4), [order(B, 5, 2), order(C, 2, 1)]);
    let all = zone(&[(A, 2), (B, 0), (C, 1)]);
    assert_eq!(orders(all, 0), [order(A, 2, 0), order(C, 1, 0)]);
}

#[test]
fn what_runs_as_desired_is_left_as_it_is_however_uneven() {
    assert_eq!(orders(zone(&[(A, 4), (B, 0)]), 4), []);
    assert_eq!(plan(&state(&[]), &desired(&[("eu", 0)])), []);
}

#[test]
fn a_lattice_that_did_what_it_was_told_is_told_nothing_more() {
    for wanted in 0..9 {
        for before in [[0, 0, 0], [5, 0, 1], [2, 2, 2], [0, 7, 0]] {
            let hosts = [A, B, C];
            let runners: Vec<_> = hosts.into_iter().zip(before).collect();
            let mut after = zone(&runners);
            for (host, from, to) in orders(after.clone(), wanted) {
                let runner = after.runners.get_mut(&host).unwrap();
                assert_eq!(runner.instances, from);
                runner.instances = to;
            }
            assert_eq!(after.running(), u32::from(wanted));
            assert_eq!(orders(after, wanted), [], "{before:?} {wanted}");
        }
    }
}

/// Hosts acknowledge and then download, so the next run may see a state in
/// between.
#[test]
fn orders_that_are_half_done_are_given_again_and_no_others() {
    let hosts = [A, B, C];
    for (before, wanted) in [([0, 0, 0], 7), ([1, 0, 4], 8), ([6, 6, 1], 3)] {
        let runners: Vec<_> = hosts.into_iter().zip(before).collect();
        let given = orders(zone(&runners), wanted);
        for (done, (host, from, to)) in given.iter().enumerate() {
            let mut half = zone(&runners);
            let runner = half.runners.get_mut(host).unwrap();
            assert_eq!(runner.instances, *from);
            runner.instances = *to;
            let mut rest = given.clone();
            rest.remove(done);
            assert_eq!(orders(half, wanted), rest, "{before:?} {wanted}");
        }
    }
}

#[test]
fn hosts_that_do_not_bid_get_none() {
    let mut some = zone(&[(A, 0), (B, 0)]);
    some.auction = Auction::Bids([B.to_owned(), "NX".into()].into());
    assert_eq!(orders(some, 3), [order(B, 0, 3)]);
}

#[test]
fn hosts_that_run_some_take_more_without_a_bid() {
    for auction in [
        Auction::Bids(BTreeSet::new()),
        Auction::Failed("denied".into()),
    ] {
        let mut some = zone(&[(A, 0), (B, 1)]);
        some.auction = auction;
        assert_eq!(orders(some, 3), [order(B, 1, 3)]);
    }
}

#[test]
fn what_finds_no_place_is_told_with_the_reason() {
    let lack = |missing, reason| {
        Some(Lack {
            zone: "eu".into(),
            missing,
            reason,
        })
    };
    let (none, found) = told(zone(&[]), 2);
    assert_eq!((none, found), (vec![], lack(2, Reason::NoHost)));
    let mut unwilling = zone(&[(A, 0)]);
    unwilling.auction = Auction::Bids(BTreeSet::new());
    assert_eq!(told(unwilling.clone(), 2).1, lack(2, Reason::NoBid));
    unwilling.auction = Auction::Failed("denied".into());
    let why = Reason::NoAuction("denied".into());
    assert_eq!(told(unwilling, 2).1, lack(2, why));
}

#[test]
fn a_zone_that_lacks_something_keeps_nothing_from_the_others() {
    let state = state(&[("eu", zone(&[])), ("us", zone(&[(A, 0)]))]);
    let steps = plan(&state, &desired(&[("eu", 1), ("us", 1), ("ap", 1)]));
    let lacking = |step: &&Step| matches!(step, Step::Lack(_));
    assert_eq!(steps.iter().filter(lacking).count(), 2);
    assert_eq!(steps.len(), 3);
}

#[test]
fn zones_that_are_not_named_are_left_alone() {
    let state = state(&[("eu", zone(&[(A, 1)])), ("us", zone(&[(B, 5)]))]);
    assert_eq!(plan(&state, &desired(&[("eu", 1)])), []);
}
