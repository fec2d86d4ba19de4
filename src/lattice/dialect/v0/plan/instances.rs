//! Rust hosts 0.78.0 and 0.79.0: instances, in groups of equal annotations.
//!
//! - `scale` counts the instances that contain the annotations, and starts what
//!   is missing; to take away over several groups ends the host's control
//!   interface.
//! - `sa` with a count stops instances of the group with exactly these
//!   annotations; with more than it has, it ends the control interface, too. With
//!   count 0 it stops the whole actor, whatever the annotations.

use crate::lattice::dialect::v0::plan::{
    After, Group, Order, Plan, Refusal, Running, taken, total,
};
use crate::lattice::dialect::v0::wire::TextMap;

/// Starts commute: the host adds up whatever comes in whichever order.
pub(super) fn start(wanted: &TextMap, count: u16, image_ref: &str) -> Plan {
    let start = Order::Start {
        annotations: wanted.clone(),
        count,
        image_ref: image_ref.to_owned(),
    };
    Plan::of(vec![start], After::AllButStarts)
}

pub(super) fn scale(
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    let count = u32::from(count);
    let matching = running.matching(wanted);
    let sum = total(&matching);
    if count < sum {
        return Ok(stop_some(running, &matching, sum - count));
    }
    if count == 0 {
        return Ok(Plan::nothing());
    }
    running.one_reference(image_ref)?;
    if count == sum {
        return Ok(Plan::nothing());
    }
    let scale = Order::Scale {
        annotations: wanted.clone(),
        count: Some(count),
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![scale], After::Everything))
}

pub(super) fn stop(running: &Running, wanted: &TextMap, count: u16) -> Plan {
    let matching = running.matching(wanted);
    let sum = total(&matching);
    let count = match count {
        0 => sum,
        count => u32::from(count).min(sum),
    };
    stop_some(running, &matching, count)
}

fn stop_some(running: &Running, matching: &[&Group], count: u32) -> Plan {
    let everything = matching.len() == running.groups.len() && count == total(matching);
    let orders = match everything {
        true => vec![stop_everything()],
        false => stop_by_group(matching, count),
    };
    Plan::of(orders, After::Everything)
}

/// `sa` for the whole actor.
pub(super) fn stop_everything() -> Order {
    Order::Stop {
        annotations: TextMap::new(),
        count: Some(0),
    }
}

/// Starts a group as it was.
pub(super) fn start_group(group: &Group) -> Order {
    Order::Start {
        annotations: group.annotations.clone(),
        count: u16::try_from(group.count).unwrap_or(u16::MAX),
        image_ref: group.image_ref.clone(),
    }
}

/// Never more than a group has, never 0: either harms the host.
fn stop_by_group(groups: &[&Group], count: u32) -> Vec<Order> {
    let taken = taken(groups, count).into_iter();
    let orders = taken.map(|(group, count)| Order::Stop {
        annotations: group.annotations.clone(),
        count: Some(u16::try_from(count).unwrap_or(u16::MAX)),
    });
    orders.collect()
}
