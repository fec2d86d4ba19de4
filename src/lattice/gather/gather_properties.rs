//! What holds of every gather.

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

use super::*;

/// Returns the first answer of each host, in order.
fn first_answers(case: &Case) -> Vec<(HostId, u64)> {
    let mut first: Vec<(HostId, u64)> = Vec::new();
    for (at, sent) in &case.messages {
        if let Some(host) = sent.host()
            && first.iter().all(|(known, _)| known != host)
        {
            first.push((host.clone(), *at));
        }
    }
    first
}

/// Returns the first bid of each host, in order.
fn first_bids(case: &Case) -> Vec<(HostId, u64)> {
    let mut first: Vec<(HostId, u64)> = Vec::new();
    let messages = case.messages.iter().filter(|_| case.auction);
    for (at, sent) in messages {
        if let Sent::Bid(host) = sent
            && first.iter().all(|(known, _)| *known != HOSTS[*host])
        {
            first.push((HOSTS[*host].clone(), *at));
        }
    }
    first
}

/// Returns how long after its answer the bid of a host is waited for.
fn bid_within(case: &Case, host: &HostId) -> u64 {
    if !case.auction {
        return 0;
    }
    let mut known = case.expected.iter().map(|(host, ..)| *host);
    let within = match known.find(|known| HOSTS[*known] == *host) {
        Some(known) => case.bid_within[known],
        None => case.grace,
    };
    within.min(case.grace)
}

fn counts() -> impl Strategy<Value = Sent> {
    prop_oneof![
        (0..12usize).prop_map(Sent::Good),
        (0..12usize).prop_map(Sent::Odd)
    ]
}

fn counts_not() -> impl Strategy<Value = Sent> {
    prop_oneof![
        Just(Sent::Refusal),
        Just(Sent::UnescapedRefusal),
        Just(Sent::Rubbish(Vec::new())),
        Just(Sent::Rubbish(b"{}".to_vec())),
        Just(Sent::Rubbish(b"{\"id\":\"N1\"}".to_vec())),
        Just(Sent::Rubbish(b"{\"id\":null}".to_vec())),
        vec(any::<u8>(), 0..40).prop_map(Sent::Rubbish),
    ]
}

fn expected() -> impl Strategy<Value = Vec<(usize, u64, bool)>> {
    let hosts = btree_set(0..12usize, 0..12);
    let rest = vec((1..1500u64, prop::bool::weighted(0.2)), 12);
    (hosts, rest).prop_map(|(hosts, rest)| {
        let hosts = hosts.into_iter().zip(rest);
        hosts
            .map(|(host, (within, doubtful))| (host, within, doubtful))
            .collect()
    })
}

prop_compose! {
    fn cases()(
        good in vec((0..2500u64, counts()), 0..30),
        bad in vec((0..2500u64, counts_not()), 0..20),
        deadline in 1..2200u64,
        stall in 1..600u64,
        grace in 0..100u64,
        bids in vec((0..2500u64, (0..12usize).prop_map(Sent::Bid)), 0..10),
        expected in expected(),
        bid_within in vec(0..150u64, 12),
        others in prop_oneof![Just(Others::Any), Just(Others::Newcomers), Just(Others::None)],
        auction in any::<bool>(),
    ) -> Case {
        let mut messages = [good, bad, bids].concat();
        messages.sort_by_key(|(at, _)| *at);
        Case { messages, deadline, stall, grace, expected, bid_within, others, auction }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_hosts_are_exactly_the_good_ones_that_came_in_time(case in cases()) {
        let outcome = run(&case);
        let in_time = first_answers(&case);
        let in_time = in_time.into_iter().filter(|(_, at)| *at <= outcome.took);
        prop_assert_eq!(&outcome.hosts, &in_time.collect::<Vec<_>>());
        let bids = first_bids(&case).into_iter().filter(|(_, at)| *at <= outcome.took);
        prop_assert_eq!(&outcome.bids, &bids.map(|(host, _)| host).collect::<Vec<_>>());
    }

    #[test]
    fn it_never_takes_longer_than_the_deadline(case in cases()) {
        prop_assert!(run(&case).took <= case.deadline);
    }

    #[test]
    fn it_ends_early_only_for_a_reason(case in cases()) {
        let outcome = run(&case);
        let last = outcome.hosts.last().map(|(_, at)| *at);
        let answered = |host: usize| outcome.hosts.iter().any(|(id, _)| *id == HOSTS[host]);
        let missing = case.expected.iter().filter(|(host, ..)| !answered(*host));
        let complete = case.others != Others::Any && missing.clone().all(|(.., doubtful)| *doubtful);
        let slowest = missing.map(|(_, within, _)| *within).max().unwrap_or_default();
        // A bid that is waited for may come, and end the wait, before its time is over.
        let declined = outcome.hosts.iter().filter(|(host, _)| !outcome.bids.contains(host));
        let declined = declined.map(|(host, at)| at + bid_within(&case, host)).max();
        let last_bid = first_bids(&case).into_iter();
        let last_bid = last_bid.filter(|(_, at)| *at <= outcome.took).map(|(_, at)| at).max();
        let (least, most) = match last {
            None => (case.deadline, case.deadline),
            Some(last) => {
                let over = last + match (complete, case.others) {
                    (false, _) => case.stall,
                    (true, Others::None) => 0,
                    (true, _) => case.grace,
                };
                let least = over.max(slowest).max(declined.unwrap_or_default());
                (least, least.max(last_bid.unwrap_or_default()))
            }
        };
        prop_assert!(outcome.took >= least.min(case.deadline), "{} < {least}", outcome.took);
        prop_assert!(outcome.took <= most.min(case.deadline), "{} > {most}", outcome.took);
        match outcome.ended {
            Ended::Complete => prop_assert!(complete && last.is_some()),
            Ended::Stall => prop_assert!(!complete && outcome.took < case.deadline),
            Ended::Deadline => prop_assert_eq!(outcome.took, case.deadline),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn what_does_not_count_changes_nothing(case in cases(), more in vec((0..2500u64, counts_not()), 0..30)) {
        let mut disturbed = case.clone();
        disturbed.messages.extend(more);
        // What has come already comes again.
        disturbed.messages.extend(case.messages.iter().map(|(at, sent)| (at + 1, sent.clone())));
        disturbed.messages.sort_by_key(|(at, _)| *at);
        prop_assert_eq!(run(&case), run(&disturbed));
    }

    #[test]
    fn nobody_there_ends_it_at_once(case in cases()) {
        let mut messages: Vec<_> = case.messages.iter().map(|(at, sent)| (at + 5, message(sent))).collect();
        messages.insert(0, (0, no_responders()));
        let outcome = run_messages(&case, messages);
        prop_assert_eq!(outcome, Outcome { hosts: Vec::new(), bids: Vec::new(), ended: Ended::NoResponders, took: 0 });
    }
}
