//! Elixir hosts: instances, the oldest first.
//!
//! - `scale` knows no annotations: it starts instances without any, and stops the
//!   oldest of any. So instances are added by `la`, and taken away by `sa`.
//! - `sa` ends the actor's subscription for calls on that host where its count is
//!   0 or reaches the end of the list, and what then still runs hears no calls. It
//!   is never sent so while others run.
//! - Up to 0.55.0 `sa` looks at no annotations; up to 0.59 it takes the first so
//!   many that match; from 0.60 on it takes the first so many, and stops those of
//!   them that match.

use crate::error::quoted;
use crate::lattice::dialect::quirks::{StopOrder, Traits};
use crate::lattice::dialect::v0::plan::{
    After, Order, Plan, Refusal, Running, cannot, contains, total,
};
use crate::lattice::dialect::v0::wire::TextMap;

/// Starts commute: the host adds up whatever comes in whichever order.
///
/// Where an update left the old reference in the host's list, it takes no start
/// from the new one, and one from the old one starts old code.
pub(super) fn start(
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    if let Some(listed) = &running.listed {
        return Err(cannot(format!(
            "since its update it lists the actor under {}: it starts no more of it from the new \
             reference, and old code from that one; stop the actor and start it from {}",
            quoted(listed),
            quoted(image_ref)
        )));
    }
    let start = Order::Start {
        annotations: wanted.clone(),
        count,
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![start], After::AllButStarts))
}

pub(super) fn scale(
    traits: &Traits,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    if !traits.shows_annotations() {
        return scale_untold(running, wanted, count, image_ref);
    }
    let sum = total(&running.matching(wanted));
    let count = u32::from(count);
    if count < sum {
        let surplus = match count {
            0 => 0,
            count => u16::try_from(sum - count).unwrap_or(u16::MAX),
        };
        return stop(traits, running, wanted, surplus);
    }
    if count == sum {
        return Ok(Plan::nothing());
    }
    running.one_reference(image_ref)?;
    let more = u16::try_from(count - sum).unwrap_or(u16::MAX);
    // How many are missing is known once the earlier ones are there.
    Ok(Plan {
        after: After::Everything,
        ..start(running, wanted, more, image_ref)?
    })
}

/// Up to 0.54 no inventory shows annotations: what runs is one group.
fn scale_untold(
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    if !wanted.is_empty() {
        return Err(cannot(
            "it does not tell annotations, so that nobody can count by them",
        ));
    }
    let sum = total(&running.matching(wanted));
    let count = u32::from(count);
    if count == sum {
        return Ok(Plan::nothing());
    }
    if count > sum {
        running.one_reference(image_ref)?;
    }
    let scale = Order::Scale {
        annotations: TextMap::new(),
        count: Some(count),
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![scale], After::Everything))
}

pub(super) fn stop(
    traits: &Traits,
    running: &Running,
    wanted: &TextMap,
    count: u16,
) -> Result<Plan, Refusal> {
    let matching = running.matching(wanted);
    let sum = total(&matching);
    let some = match count {
        0 => sum,
        count => u32::from(count).min(sum),
    };
    let order = |annotations: &TextMap, count| Order::Stop {
        annotations: annotations.clone(),
        count: Some(count),
    };
    let order = if matching.len() == running.groups.len() {
        // Never 0, all, where N was asked: others may start more.
        order(wanted, count)
    } else {
        match traits.stop_order() {
            StopOrder::First => {
                return Err(cannot("it cannot select instances by annotations"));
            }
            StopOrder::FirstThatMatch if some == sum => return Err(unheard()),
            StopOrder::FirstThatMatch => order(wanted, u16::try_from(some).unwrap_or(u16::MAX)),
            StopOrder::ThoseOfTheFirst
                if reach(running, wanted, some) >= running.sequence.len() =>
            {
                return Err(unheard());
            }
            StopOrder::ThoseOfTheFirst => Order::StopFirst {
                annotations: wanted.clone(),
                count: some,
                matching: sum,
            },
        }
    };
    Ok(Plan::of(vec![order], After::Everything))
}

/// How far into the list the host must go to stop so many that match.
fn reach(running: &Running, wanted: &TextMap, count: u32) -> usize {
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

fn unheard() -> Refusal {
    cannot(
        "with the last instance that it would have to stop it ends the actor's subscription for \
         calls, and instances with other annotations would run unheard; stop those, too, or stop \
         fewer",
    )
}
