//! Turns an operation on an actor into commands for a host, by the quirks of the host.
//!
//! Plain functions from what runs to commands: nothing here talks to anybody.
//!
//! - `maximum`: Rust hosts from 0.79.1 to 0.82, which keep a maximum for each
//!   set of annotations
//! - `instances`: Rust hosts 0.78.0 and 0.79.0, which keep instances
//! - `otp`: Elixir hosts
//!
//! `docs/hosts.md` says what real hosts were seen to do.

mod command;
mod effect;
mod groups;
mod instances;
mod maximum;
mod otp;

pub use crate::lattice::dialect::v0::plan::command::{After, Command, Objection, Plan};
pub use crate::lattice::dialect::v0::plan::effect::effect;
pub use crate::lattice::dialect::v0::plan::groups::running;

use crate::lattice::dialect::quirks::{Counts, Quirks};
use crate::lattice::dialect::v0::plan::command::cannot;
use crate::lattice::dialect::v0::plan::groups::one_reference;
use crate::lattice::model::{Group, Running, TextMap};

/// Plans StartActor: `count` (at least 1) more than what runs of the actor.
///
/// # Errors
/// `Cannot`.
pub fn start(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    one_reference(running, image_ref)?;
    match quirks.counts {
        Counts::Maximums => maximum::start(quirks, running, wanted, count, image_ref),
        Counts::List => otp::start(running, wanted, count, image_ref),
        Counts::Groups => Ok(instances::start(wanted, count, image_ref)),
    }
}

/// Plans ScaleActor: `count` instances in all that match.
///
/// # Errors
/// `Cannot`.
pub fn scale(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Objection> {
    match quirks.counts {
        Counts::Maximums => maximum::scale(quirks, running, wanted, count, image_ref),
        Counts::List => otp::scale(quirks, running, wanted, count, image_ref),
        Counts::Groups => instances::scale(running, wanted, count, image_ref),
    }
}

/// Plans StopActor: `count` instances that match, 0 for all of them.
///
/// # Errors
/// `NothingRuns` where none matches, `Cannot`.
pub fn stop(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    count: u16,
) -> Result<Plan, Objection> {
    if running.matching(wanted).is_empty() {
        return Err(Objection::NothingRuns);
    }
    match quirks.counts {
        Counts::Maximums => maximum::stop(quirks, running, wanted, count),
        Counts::List => otp::stop(quirks, running, wanted, count),
        Counts::Groups => Ok(instances::stop(running, wanted, count)),
    }
}

/// Plans StopActor without annotations for a host that does not say what runs: all
/// instances match, so that it may stop any of them.
pub fn stop_without_inventory(count: u16) -> Plan {
    let stop = Command::Stop {
        annotations: TextMap::new(),
        count: Some(count),
    };
    Plan::of(vec![stop], After::Everything)
}

/// Plans the first command of UpdateActor, which has the host fetch the new revision.
/// OTP hosts need no other; on Rust hosts [`replace`] follows.
///
/// # Errors
/// `NothingRuns` where no instance matches; `Cannot` where only some do.
pub fn update(
    quirks: &Quirks,
    running: &Running,
    wanted: &TextMap,
    image_ref: &str,
) -> Result<Plan, Objection> {
    let matching = running.matching(wanted);
    let Some(first) = matching.first() else {
        return Err(Objection::NothingRuns);
    };
    if matching.len() < running.groups.len() {
        return Err(cannot(
            "it holds one revision of an actor, and some instances of it have other annotations; \
             update without annotations",
        ));
    }
    let annotations = match quirks.updates_all_annotations {
        true => wanted.clone(),
        // Others update the group with exactly these annotations.
        false => first.annotations.clone(),
    };
    let update = Command::Update {
        annotations,
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![update], After::Everything))
}

/// Plans the rest of UpdateActor on hosts that keep the first code: stop all of the
/// actor, then start every group from the new reference.
pub fn replace(quirks: &Quirks, groups: &[Group], image_ref: &str) -> (Command, Vec<Command>) {
    let are_maximums = quirks.counts == Counts::Maximums;
    let stop = match are_maximums {
        true => maximum::stop_everything(),
        false => instances::stop_everything(),
    };
    let started = groups.iter().map(|group| Group {
        image_ref: image_ref.to_owned(),
        ..group.clone()
    });
    let starts = started.map(|group| match are_maximums {
        true => maximum::start_group(quirks, &group),
        false => instances::start_group(&group),
    });
    (stop, starts.collect())
}

/// Plans to stop what a host with maximums started under a reference of another actor.
pub fn take_back(annotations: &TextMap, image_ref: &str) -> Plan {
    let back = Command::Scale {
        annotations: annotations.clone(),
        count: Some(0),
        image_ref: image_ref.to_owned(),
    };
    Plan::of(vec![back], After::Everything).until_shown()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
