//! Rust hosts from 0.79.1 to 0.82: one maximum for each set of annotations.
//!
//! - `scale` sets the maximum of the set with exactly these annotations, from the
//!   code that the actor was first started with. The host acknowledges, and then fetches
//!   the image, also for 0.
//! - `sa` takes the whole actor out of the host's table, and stops the sets that
//!   match. Other sets would go on running, and no command would reach them: it is sent
//!   only where every set matches.

use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::v0::plan::command::{After, Command, Objection, Plan, cannot};
use crate::lattice::dialect::v0::plan::groups::{one_reference, taken};
use crate::lattice::model::{Group, Running, TextMap, total};

pub(super) fn start(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    let here = running.under(wanted);
    if here >= quirks.unbounded_count {
        // It runs without limit already.
        return Ok(Plan::of(Vec::new(), one(wanted)));
    }
    let new = here.saturating_add(u32::from(count));
    if new >= quirks.unbounded_count {
        return Err(cannot(format!(
            "{new} instances are more than it can count"
        )));
    }
    // 0.81 and later have no subject to start actors. Before, the host reads and writes
    // its count after it acknowledged, so that starts in a row could be lost.
    Ok(Plan::of(
        vec![scale_to(wanted, new, image_ref)],
        one(wanted),
    ))
}

pub(super) fn scale(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    let count = u32::from(count);
    let unbounded = quirks.unbounded_count;
    if count >= unbounded {
        return Err(cannot(format!("{count} means \"without limit\" there")));
    }
    let matching = running.matching(wanted);
    if count == 0 {
        return Ok(match matching.is_empty() {
            true => Plan::nothing(),
            false => stop_all(running, &matching),
        });
    }
    one_reference(running, image_ref)?;
    let here = running.under(wanted);
    let alone = matching.iter().all(|group| group.annotations == *wanted);
    if alone {
        return Ok(match here == count {
            true => Plan::of(Vec::new(), one(wanted)),
            false => Plan::of(vec![scale_to(wanted, count, image_ref)], one(wanted)),
        });
    }
    if matching.iter().any(|group| group.count >= unbounded) {
        return Err(cannot(
            "a set of annotations that matches runs without limit there",
        ));
    }
    let sum = total(&matching);
    let mut sets: Vec<TextMap> = matching.iter().map(|g| g.annotations.clone()).collect();
    sets.push(wanted.clone());
    let commands = match count.checked_sub(sum) {
        Some(0) => Vec::new(),
        Some(more) => vec![scale_to(wanted, here.saturating_add(more), image_ref)],
        None => scale_down(&matching, sum - count),
    };
    Ok(Plan::of(commands, After::Groups(sets)))
}

pub(super) fn stop(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
) -> Result<Plan, Objection> {
    let matching = running.matching(wanted);
    let count = u32::from(count);
    let unbounded = quirks.unbounded_count;
    if count == 0 {
        return Ok(stop_all(running, &matching));
    }
    if matching.iter().any(|group| group.count >= unbounded) {
        return Err(cannot("it runs without limit there; scale it instead"));
    }
    if count >= total(&matching) {
        return Ok(stop_all(running, &matching));
    }
    one_reference(running, &matching[0].image_ref)?;
    let sets = matching.iter().map(|group| group.annotations.clone());
    let after = After::Groups(sets.collect());
    Ok(Plan::of(scale_down(&matching, count), after).until_shown())
}

/// Stops every group that matches: by one command where no other group would be lost.
fn stop_all(running: &Running, matching: &[&Group]) -> Plan {
    if matching.len() == running.groups.len() {
        return Plan::of(vec![stop_everything()], After::Everything);
    }
    let sets = matching.iter().map(|group| group.annotations.clone());
    let after = After::Groups(sets.collect());
    // A scale fetches the image, which may not be there any more.
    Plan::of(scale_down(matching, total(matching)), after).until_shown()
}

/// Stops the whole actor.
pub(super) fn stop_everything() -> Command {
    Command::Stop {
        annotations: TextMap::new(),
        count: None,
    }
}

/// Starts a group with the count that it had, also one without limit.
pub(super) fn start_group(quirks: &Quirks, group: &Group) -> Command {
    let limited = !quirks.missing_count_is_unbounded || group.count < quirks.unbounded_count;
    Command::Scale {
        annotations: group.annotations.clone(),
        count: limited.then_some(group.count),
        image_ref: group.image_ref.clone(),
    }
}

fn one(wanted: &TextMap) -> After {
    After::Groups(vec![wanted.clone()])
}

fn scale_to(annotations: &TextMap, count: u32, image_ref: &str) -> Command {
    Command::Scale {
        annotations: annotations.clone(),
        count: Some(count),
        image_ref: image_ref.to_owned(),
    }
}

/// Scales each group by itself, with the reference that it has.
fn scale_down(groups: &[&Group], count: u32) -> Vec<Command> {
    let taken = taken(groups, count).into_iter();
    let commands = taken
        .map(|(group, count)| scale_to(&group.annotations, group.count - count, &group.image_ref));
    commands.collect()
}
