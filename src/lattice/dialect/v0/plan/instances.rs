//! Rust hosts 0.78.0 and 0.79.0: instances, in groups of equal annotations.
//!
//! - `scale` counts the instances that contain the annotations, and starts what
//!   is missing. Where it would have to stop instances of several groups, the host's
//!   control interface ends.
//! - `sa` with a count stops instances of the group with exactly these
//!   annotations. A count larger than the group ends the control interface, too. With
//!   count 0 it stops the whole actor, whatever the annotations.

use crate::lattice::dialect::v0::plan::command::{After, Command, Objection, Plan};
use crate::lattice::dialect::v0::plan::groups::{one_reference, taken};
use crate::lattice::model::{Group, Running, TextMap, total};

/// Starts may come in any order: the host adds them up.
pub(super) fn start(wanted: &TextMap, count: u16, image_ref: &str) -> Plan {
    let start = Command::Start {
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
) -> Result<Plan, Objection> {
    let count = u32::from(count);
    let matching = running.matching(wanted);
    let sum = total(&matching);
    if count < sum {
        return Ok(stop_some(running, &matching, sum - count));
    }
    if count == 0 {
        return Ok(Plan::nothing());
    }
    one_reference(running, image_ref)?;
    if count == sum {
        return Ok(Plan::nothing());
    }
    let scale = Command::Scale {
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
    let commands = match everything {
        true => vec![stop_everything()],
        false => stop_by_group(matching, count),
    };
    Plan::of(commands, After::Everything)
}

/// Stops the whole actor.
pub(super) fn stop_everything() -> Command {
    Command::Stop {
        annotations: TextMap::new(),
        count: Some(0),
    }
}

/// Starts a group with the count that it had.
pub(super) fn start_group(group: &Group) -> Command {
    Command::Start {
        annotations: group.annotations.clone(),
        count: u16::try_from(group.count).unwrap_or(u16::MAX),
        image_ref: group.image_ref.clone(),
    }
}

/// Stops instances group by group: never more than a group has, and never 0. Either
/// would harm the host.
fn stop_by_group(groups: &[&Group], count: u32) -> Vec<Command> {
    let taken = taken(groups, count).into_iter();
    let commands = taken.map(|(group, count)| Command::Stop {
        annotations: group.annotations.clone(),
        count: Some(u16::try_from(count).unwrap_or(u16::MAX)),
    });
    commands.collect()
}
