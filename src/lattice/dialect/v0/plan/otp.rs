//! Elixir hosts: instances, the oldest first.
//!
//! - `scale` ignores annotations: it starts instances without any, and stops the
//!   oldest, whatever theirs are. So instances are added by `la` and stopped by `sa`.
//! - `sa` ends the actor's subscription for calls on that host where its count is
//!   0 or reaches the end of the list. Instances that then still run hear no calls, so
//!   that it is never sent in this way while instances are to stay.
//! - Which instances `sa` takes differs: see [`StopTakes`].

use crate::error::quoted;
use crate::lattice::dialect::quirks::{Quirks, StopTakes};
use crate::lattice::dialect::v0::plan::command::{After, Command, Objection, Plan, cannot};
use crate::lattice::dialect::v0::plan::groups::one_reference;
use crate::lattice::model::{Running, TextMap, contains, total};

/// Starts may come in any order: the host adds them up.
///
/// Where the host still lists the reference from before an update, it refuses starts
/// from the new one, and a start from the old one starts old code.
pub(super) fn start(
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    if let Some(listed) = &running.listed {
        return Err(cannot(format!(
            "since its update it lists the actor under {}: it starts no more of it from the new \
             reference, and old code from that one; stop the actor and start it from {}",
            quoted(listed),
            quoted(image_ref)
        )));
    }
    let start = Command::Start {
        annotations: wanted.clone(),
        count,
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![start], After::AllButStarts))
}

pub(super) fn scale(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    if !quirks.shows_annotations {
        return scale_without_annotations(running, wanted, count, image_ref);
    }
    let sum = total(&running.matching(wanted));
    let count = u32::from(count);
    if count < sum {
        let surplus = match count {
            0 => 0,
            count => u16::try_from(sum - count).unwrap_or(u16::MAX),
        };
        return stop(quirks, running, wanted, surplus);
    }
    if count == sum {
        return Ok(Plan::nothing());
    }
    one_reference(running, image_ref)?;
    let more = u16::try_from(count - sum).unwrap_or(u16::MAX);
    // How many are missing is known once the starts in flight are there.
    Ok(Plan {
        after: After::Everything,
        ..start(running, wanted, more, image_ref)?
    })
}

/// Scales where inventories do not show annotations: whatever runs is one group.
fn scale_without_annotations(
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    if !wanted.is_empty() {
        return Err(cannot(
            "it does not show annotations, so that instances cannot be counted by them",
        ));
    }
    let sum = total(&running.matching(wanted));
    let count = u32::from(count);
    if count == sum {
        return Ok(Plan::nothing());
    }
    if count > sum {
        one_reference(running, image_ref)?;
    }
    let scale = Command::Scale {
        annotations: TextMap::new(),
        count: Some(count),
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![scale], After::Everything))
}

pub(super) fn stop(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
) -> Result<Plan, Objection> {
    let matching = running.matching(wanted);
    let sum = total(&matching);
    let some = match count {
        0 => sum,
        count => u32::from(count).min(sum),
    };
    let stop = |annotations: &TextMap, count| Command::Stop {
        annotations: annotations.clone(),
        count: Some(count),
    };
    let command = if matching.len() == running.groups.len() {
        // Never 0 for all, where a number was asked for: somebody else may start more.
        stop(wanted, count)
    } else {
        match quirks.stop_takes {
            StopTakes::First => {
                return Err(cannot("it cannot select instances by annotations"));
            }
            StopTakes::FirstThatMatch if some == sum => return Err(would_end_calls()),
            StopTakes::FirstThatMatch => stop(wanted, u16::try_from(some).unwrap_or(u16::MAX)),
            StopTakes::MatchingAmongFirst
                if last_place(running, wanted, some) >= running.sequence.len() =>
            {
                return Err(would_end_calls());
            }
            StopTakes::MatchingAmongFirst => Command::StopAmongFirst {
                annotations: wanted.clone(),
                count: some,
                matching: sum,
            },
        }
    };
    Ok(Plan::of(vec![command], After::Everything))
}

/// Returns how many instances of its list the host must take to stop `count` that match.
fn last_place(running: &Running, wanted: &TextMap, count: u32) -> usize {
    let matches = |group: &usize| {
        let group = running.groups.get(*group);
        group.is_some_and(|group| contains(&group.annotations, wanted))
    };
    let mut left = count;
    for (place, group) in running.sequence.iter().enumerate() {
        left -= u32::from(matches(group));
        if left == 0 {
            return place + 1;
        }
    }
    usize::MAX
}

fn would_end_calls() -> Objection {
    cannot(
        "with the last instance that it would have to stop it ends the actor's subscription for \
         calls, and instances with other annotations would get no calls; stop those, too, or stop \
         fewer",
    )
}
