//! Chooses the next commands by what runs, so that most can be carried out.

use std::collections::BTreeSet;

use super::contract::{Kind, Order, SETS, Set, State};
use super::contract_1x::MISSING;
use super::random::Random;

/// What is commanded before the host is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// One more command, right behind the one before.
    Behind,
    /// One command, and then a look.
    Look,
    /// Two commands at once, by two callers, and then a look.
    Both,
}

/// Chooses how the next commands are given.
pub fn next(random: &mut Random) -> Next {
    match random.of(0..10) {
        0..=4 => Next::Behind,
        5..=8 => Next::Look,
        _ => Next::Both,
    }
}

/// What commands can name.
pub struct Choice<'a> {
    /// What runs.
    pub state: &'a State,
    /// The newest revision that a command has named.
    pub newest: u32,
    /// The revisions that have run.
    pub ran: &'a BTreeSet<u32>,
    /// Whether the provider can find out the actor of any reference. Otherwise
    /// only references are started that it has seen with the actor's key.
    pub tells_apart: bool,
    /// The kind of host that is commanded.
    pub kind: Kind,
    /// Whether the host says that it does not find an image. Otherwise only such
    /// are named as there are.
    pub says_failures: bool,
}

/// Chooses the next command.
pub fn order(random: &mut Random, choice: &Choice<'_>) -> Order {
    let order = of_what_is_there(random, choice);
    if choice.kind != Kind::V1 {
        return order;
    }
    match order {
        Order::Scale { set, count, .. } if random.of(0..10) == 0 => Order::Scale {
            set,
            count,
            revision: choice.newest + 1,
        },
        order if choice.says_failures && random.of(0..8) == 0 => order.of(MISSING),
        order => order,
    }
}

fn of_what_is_there(random: &mut Random, choice: &Choice<'_>) -> Order {
    let Choice { state, newest, .. } = *choice;
    // On hosts of 1.x all that runs has one set, which most commands must name.
    let set = match state.set().filter(|_| choice.kind == Kind::V1) {
        Some(kept) if random.of(0..4) > 0 => kept,
        _ => set(random),
    };
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
