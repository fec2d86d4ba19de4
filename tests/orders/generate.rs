//! Which orders come next: led by what runs, so that most can be carried out.

use std::collections::BTreeSet;

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

/// What orders can be about.
pub struct Choice<'a> {
    /// What runs.
    pub state: &'a State,
    /// The newest revision that any order named.
    pub newest: u32,
    /// Revisions that ran.
    pub ran: &'a BTreeSet<u32>,
    /// Whether the provider can tell of any reference which actor it is of. Else
    /// only references are started that it has met with the actor's key.
    pub tells_apart: bool,
}

/// The next order.
pub fn order(random: &mut Random, choice: &Choice<'_>) -> Order {
    let Choice { state, newest, .. } = *choice;
    let set = set(random);
    let current = match (state.total() > 0, choice.tells_apart) {
        (true, _) => state.revision,
        (false, true) => newest,
        (false, false) => choice.ran.last().copied().unwrap_or(1),
    };
    let another = match choice.tells_apart {
        true => (newest > 1).then(|| newest - 1),
        false => choice
            .ran
            .iter()
            .rev()
            .find(|ran| **ran != current)
            .copied(),
    };
    match random.of(0..10) {
        0..=2 => Order::Start {
            set,
            count: random.of(0..4) as u16,
            revision: match random.of(0..8) {
                0 if choice.tells_apart => newest + 1,
                0 | 1 => another.unwrap_or(current),
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
