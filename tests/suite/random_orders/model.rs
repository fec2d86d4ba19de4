//! The contract of `tests/orders` itself: which outcomes it counts as right.

use crate::orders::contract::{
    Answer, Groups, Kind, Order, State, after, may_refuse, must_refuse, step,
};

const NONE: usize = 0;
const A: usize = 1;
const AB: usize = 2;
const C: usize = 3;

/// Returns what runs after these starts, one after the other.
fn started(kind: Kind, starts: &[(usize, u16)]) -> State {
    starts.iter().fold(State::default(), |state, (set, count)| {
        let order = Order::Start {
            set: *set,
            count: *count,
            revision: 1,
        };
        after(kind, &state, order).remove(0)
    })
}

fn groups(states: &[State]) -> Vec<Groups> {
    let mut groups: Vec<Groups> = states.iter().map(State::groups).collect();
    groups.sort_unstable();
    groups
}

fn scale(set: usize, count: u16) -> Order {
    Order::Scale {
        set,
        count,
        revision: 1,
    }
}

fn stop(set: usize, count: u16) -> Order {
    Order::Stop { set, count }
}

#[test]
fn a_scale_counts_all_that_match_and_adds_to_the_group_it_names() {
    let state = started(Kind::Rust, &[(NONE, 2), (A, 1), (AB, 3)]);
    let grown = after(Kind::Rust, &state, scale(A, 6));
    assert_eq!(groups(&grown), [[2, 3, 3, 0]]);
    // It is open which of the matching instances go; the others stay.
    let shrunk = after(Kind::Rust, &state, scale(A, 2));
    assert_eq!(groups(&shrunk), [[2, 0, 2, 0], [2, 1, 1, 0]]);
    let gone = after(Kind::Rust, &state, scale(NONE, 0));
    assert_eq!(groups(&gone), [[0, 0, 0, 0]]);
    let untouched = after(Kind::Rust, &state, scale(C, 0));
    assert_eq!(groups(&untouched), [[2, 1, 3, 0]]);
}

#[test]
fn a_stop_takes_as_many_as_match_and_is_refused_where_none_do() {
    let state = started(Kind::Rust, &[(NONE, 1), (AB, 3)]);
    assert_eq!(
        groups(&after(Kind::Rust, &state, stop(A, 2))),
        [[1, 0, 1, 0]]
    );
    assert_eq!(
        groups(&after(Kind::Rust, &state, stop(A, 0))),
        [[1, 0, 0, 0]]
    );
    assert_eq!(
        groups(&after(Kind::Rust, &state, stop(A, 9))),
        [[1, 0, 0, 0]]
    );
    assert!(must_refuse(Kind::Rust, &state, stop(C, 1)).is_some());
}

#[test]
fn an_update_is_of_everything_or_refused() {
    let state = started(Kind::Rust, &[(A, 1), (AB, 3)]);
    let update = |set| Order::Update { set, revision: 2 };
    for all in [NONE, A] {
        let updated = after(Kind::Rust, &state, update(all)).remove(0);
        assert_eq!((updated.groups(), updated.revision), ([0, 1, 3, 0], 2));
    }
    for some in [AB, C] {
        assert!(must_refuse(Kind::Rust, &state, update(some)).is_some());
    }
    assert!(must_refuse(Kind::Rust, &State::default(), update(NONE)).is_some());
}

#[test]
fn another_reference_of_what_runs_is_not_started() {
    let state = started(Kind::Rust, &[(A, 1)]);
    let other = Order::Start {
        set: C,
        count: 1,
        revision: 2,
    };
    assert!(must_refuse(Kind::Rust, &state, other).is_some());
    assert!(after(Kind::Rust, &State::default(), other)[0].revision == 2);
}

#[test]
fn only_hosts_that_would_cut_off_the_others_may_refuse_a_stop() {
    let ways = |kind, starts: &[_], order| may_refuse(kind, &started(kind, starts), order);
    let newest_stays = [(A, 2), (NONE, 1)];
    let newest_goes = [(NONE, 1), (A, 2)];
    assert!(ways(Kind::Rust, &newest_goes, stop(A, 0)).is_none());
    assert!(ways(Kind::Otp59, &newest_stays, stop(A, 0)).is_some());
    assert!(ways(Kind::Otp60, &newest_stays, stop(A, 0)).is_none());
    assert!(ways(Kind::Otp60, &newest_goes, stop(A, 0)).is_some());
    // The command is possible where some matching instances stay, or nothing
    // stays.
    for kind in [Kind::Otp59, Kind::Otp60] {
        assert!(ways(kind, &newest_goes, stop(A, 1)).is_none());
        assert!(ways(kind, &newest_goes, scale(A, 1)).is_none());
        assert!(ways(kind, &newest_goes, stop(NONE, 0)).is_none());
    }
    assert!(ways(Kind::Otp54, &newest_goes, stop(A, 1)).is_some());
    assert!(ways(Kind::Otp54, &newest_goes, stop(NONE, 1)).is_none());
}

#[test]
fn the_version_tells_what_a_host_can_do() {
    let kinds = [
        "0.54.6", "0.55.0", "0.55.1", "0.59.0", "0.60.0", "0.63.2", "0.78.0",
    ];
    let kinds = kinds.map(Kind::of);
    let (old, middle, new) = (Kind::Otp54, Kind::Otp59, Kind::Otp60);
    assert_eq!(kinds, [old, old, middle, middle, new, new, Kind::Rust]);
}

#[test]
fn a_refusal_without_a_reason_is_wrong_and_one_with_a_reason_changes_nothing() {
    let before = [started(Kind::Rust, &[(A, 1)])];
    let refused = Answer::Refused("busy".into());
    assert!(step(Kind::Rust, &before, stop(A, 1), &refused).is_empty());
    assert_eq!(step(Kind::Rust, &before, stop(C, 1), &refused), before);
    assert!(step(Kind::Rust, &before, stop(C, 1), &Answer::Accepted).is_empty());
}
