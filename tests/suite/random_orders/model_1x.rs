//! The contract of hosts of 1.x in `tests/orders`: which outcomes it counts as
//! right.

use crate::orders::contract::{Answer, Kind, Order, State, after, may_refuse, must_refuse, step};
use crate::orders::contract_1x::MISSING;

const NONE: usize = 0;
const A: usize = 1;
const AB: usize = 2;
const C: usize = 3;

const KIND: Kind = Kind::V1;

/// Returns what runs after one start from revision 1.
fn started(set: usize, count: u16) -> State {
    after(KIND, &State::default(), start(set, count, 1)).remove(0)
}

fn start(set: usize, count: u16, revision: u32) -> Order {
    Order::Start {
        set,
        count,
        revision,
    }
}

fn scale(set: usize, count: u16, revision: u32) -> Order {
    Order::Scale {
        set,
        count,
        revision,
    }
}

fn stop(set: usize, count: u16) -> Order {
    Order::Stop { set, count }
}

/// Returns how many run with the annotations of `AB` and of which revision, where
/// one outcome is right and nothing else runs.
fn of_ab(state: &State, order: Order) -> Option<(u64, u32)> {
    match after(KIND, state, order).as_slice() {
        [one] => {
            let groups = one.groups();
            assert_eq!(groups.iter().sum::<u64>(), groups[AB], "{order}");
            Some((groups[AB], one.revision))
        }
        [] => None,
        several => panic!("{order}: {several:?}"),
    }
}

#[test]
fn every_command_leaves_the_one_set_of_annotations() {
    let runs = started(AB, 3);
    for (order, count) in [
        (start(AB, 2, 1), 5),
        (start(AB, 0, 1), 4),
        (scale(A, 5, 1), 5),
        (scale(NONE, 2, 1), 2),
        (scale(AB, 0, 1), 0),
        (stop(A, 1), 2),
        (stop(NONE, 0), 0),
        (stop(AB, 9), 0),
    ] {
        assert_eq!(of_ab(&runs, order), Some((count, 1)), "{order}");
        assert!(may_refuse(KIND, &runs, order).is_none(), "{order}");
    }
    let update = Order::Update {
        set: A,
        revision: 2,
    };
    assert_eq!(of_ab(&runs, update), Some((3, 2)));
}

#[test]
fn what_would_give_a_component_a_second_set_or_reference_is_refused() {
    let runs = started(AB, 3);
    for order in [
        start(NONE, 1, 1),
        start(A, 1, 1),
        start(C, 1, 1),
        start(AB, 1, 2),
        scale(C, 1, 1),
        scale(AB, 5, 2),
        scale(AB, 1, 2),
        scale(AB, 0, 2),
        stop(C, 1),
        Order::Update {
            set: C,
            revision: 2,
        },
    ] {
        assert!(must_refuse(KIND, &runs, order).is_some(), "{order}");
        assert!(step(KIND, std::slice::from_ref(&runs), order, &Answer::Accepted).is_empty());
    }
    // It selects nothing, so that nothing is wrong with either answer.
    let nothing = scale(C, 0, 1);
    assert_eq!(of_ab(&runs, nothing), Some((3, 1)));
    assert!(may_refuse(KIND, &runs, nothing).is_some());
}

#[test]
fn an_image_that_does_not_exist_changes_nothing() {
    let (runs, idle) = (started(AB, 3), State::default());
    let update = Order::Update {
        set: NONE,
        revision: MISSING,
    };
    for (state, order) in [
        (&runs, update),
        (&idle, start(A, 1, MISSING)),
        (&idle, scale(A, 1, MISSING)),
    ] {
        let before = [state.clone()];
        let refused = Answer::Refused("no such image".into());
        assert!(step(KIND, &before, order, &Answer::Accepted).is_empty());
        assert_eq!(step(KIND, &before, order, &refused), before);
    }
    assert!(must_refuse(KIND, &idle, scale(A, 0, MISSING)).is_none());
}
