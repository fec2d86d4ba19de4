//! What the contract adds for hosts of 1.x. Such a host keeps one reference, one
//! set of annotations and one number of instances for each component, so that
//! every command is about all that runs of it.

use super::contract::{Order, Set, State, contains};

/// A revision that no registry has.
pub const MISSING: u32 = 404;

/// Returns why a command must not be accepted by a host of 1.x, beside what must
/// not be accepted anywhere.
pub fn must_refuse(state: &State, order: Order) -> Option<&'static str> {
    match state.set() {
        Some(running) => must_refuse_beside(running, state.revision, order),
        None => must_refuse_alone(order),
    }
}

/// Says it for a component that runs with these annotations from this revision.
fn must_refuse_beside(running: Set, runs: u32, order: Order) -> Option<&'static str> {
    match order {
        Order::Start { revision, .. } | Order::Scale { revision, .. } if revision != runs => {
            Some("another reference of the actor runs: UpdateActor")
        }
        Order::Start { set, .. } if set != running => Some(ONE_SET),
        Order::Scale { set, count, .. } if count > 0 && !contains(running, set) => Some(ONE_SET),
        Order::Update { revision, .. } if revision == MISSING => Some(NO_IMAGE),
        _ => None,
    }
}

/// Says it for a component that does not run.
fn must_refuse_alone(order: Order) -> Option<&'static str> {
    let starts = match order {
        Order::Start { .. } => true,
        Order::Scale { count, .. } => count > 0,
        Order::Stop { .. } | Order::Update { .. } => false,
    };
    (starts && order.revision() == Some(MISSING)).then_some(NO_IMAGE)
}

const NO_IMAGE: &str = "the image does not exist";
const ONE_SET: &str = "hosts of 1.x keep one set of annotations";

/// Returns why a command may be refused though it has nothing to do: its
/// annotations select nothing of what runs.
pub fn may_refuse(state: &State, order: Order) -> Option<&'static str> {
    match (state.set(), order) {
        (Some(running), Order::Scale { set, .. }) if !contains(running, set) => Some(ONE_SET),
        _ => None,
    }
}

/// Returns the annotations of what a scale adds: those of what runs, also where
/// the command names a part of them.
pub fn of_more(state: &State, named: Set) -> Set {
    state.set().unwrap_or(named)
}
