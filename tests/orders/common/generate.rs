//! Which orders come next: led by what runs, so that most can be carried out.

use super::contract::{Order, SETS, Set, State};
use super::random::Random;

/// What is ordered before the host is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// One order more, right behind the one before.
    Behind,
    /// One order, and then a look.
    Look,
    /// Two orders at once, by two callers, and then a look.
    Both,
}

/// How the next orders are given.
pub fn next(random: &mut Random) -> Next {
    match random.of(0..10) {
        0..=4 => Next::Behind,
        5..=8 => Next::Look,
        _ => Next::Both,
    }
}

/// The next order. `newest` is the newest revision that any order named.
/// `told_apart` says whether a provider can know that a reference which nobody
/// named before belongs to the actor that runs; only then one is started beside.
pub fn order(random: &mut Random, state: &State, newest: u32, told_apart: bool) -> Order {
    let set = set(random);
    let runs = state.total() > 0;
    let current = if runs { state.revision } else { newest };
    match random.of(0..10) {
        0..=2 => Order::Start {
            set,
            count: random.of(0..4) as u16,
            revision: match random.of(0..8) {
                0 if told_apart || !runs => newest + 1,
                1 if newest > 1 => newest - 1,
                _ => current,
            },
        },
        3..=5 => Order::Scale {
            set,
            count: random.of(0..6) as u16,
            revision: current,
        },
        6 | 7 => Order::Stop {
            set,
            count: random.of(0..5) as u16,
        },
        _ => Order::Update {
            set: if random.of(0..4) == 0 { set } else { 0 },
            revision: newest + 1,
        },
    }
}

fn set(random: &mut Random) -> Set {
    random.of(0..SETS.len() as u64) as Set
}
