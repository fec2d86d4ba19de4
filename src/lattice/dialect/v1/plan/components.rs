//! Operations on actors, for a host of 1.x: it keeps one maximum, one reference and one set
//! of annotations for each component.

use crate::lattice::dialect::v1::behaviour::Behaviour;
use crate::lattice::dialect::v1::ids::is_same_reference;
use crate::lattice::dialect::v1::inventory::{Component, UNLIMITED, is_managed_by_wadm};
use crate::lattice::dialect::v1::plan::refusal::Refusal;
use crate::lattice::dialect::v1::plan::scale::Scale;
use crate::lattice::model::{TextMap, contains};
use crate::name::ComponentId;

/// What a host is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: all is as wanted.
    Nothing,
    /// To start what does not run.
    Start(Scale),
    /// To go on running it, with another maximum.
    Change(Scale),
    /// To stop it.
    Stop(Scale),
    /// To replace the code, where an update does that: with the reference of the new
    /// revision, and all else as it is.
    Update(Scale),
    /// To stop it and start it from another reference.
    Replace(Replacement),
}

/// A component that is stopped and started from another reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replacement {
    running: Scale,
    new_reference: String,
}

impl Replacement {
    /// Returns the first order, which stops what runs. The host must show that before the
    /// next one: it would go on with the code that it has.
    pub fn stop(&self) -> Scale {
        Scale {
            count: 0,
            ..self.running.clone()
        }
    }

    /// Returns the second order, which starts as many from the new reference.
    pub fn start(&self) -> Scale {
        Scale {
            reference: self.new_reference.clone(),
            ..self.running.clone()
        }
    }

    /// Returns the order that starts what ran before, for where the new reference fails.
    pub fn back(&self) -> Scale {
        self.running.clone()
    }
}

impl Decision {
    /// Tells whether the host takes its named configs from a component that goes on
    /// running, or runs again.
    pub fn takes_configuration(&self) -> bool {
        matches!(self, Self::Change(_) | Self::Replace(_))
    }
}

/// Decides StartActor: `count` more than may run now, at least 1.
///
/// # Errors
/// `ManagedByWadm`, `OtherReference`, `OtherAnnotations`, `TooMany`.
pub fn start(
    running: Option<&Component>,
    reference: &str,
    count: u16,
    annotations: &TextMap,
) -> Result<Decision, Refusal> {
    let count = u32::from(count.max(1));
    let Some(running) = running else {
        return Ok(Decision::Start(new(reference, count, annotations)));
    };
    not_of_wadm(running)?;
    same_reference(running, reference)?;
    if running.annotations != *annotations {
        return Err(Refusal::OtherAnnotations);
    }
    let new = u64::from(running.max_instances) + u64::from(count);
    match u32::try_from(new) {
        _ if running.max_instances == UNLIMITED => Ok(Decision::Nothing),
        Ok(new) if new < UNLIMITED => Ok(Decision::Change(Scale::of(running, new))),
        _ => Err(Refusal::TooMany(new)),
    }
}

/// Decides ScaleActor: `count` in all.
///
/// # Errors
/// `ManagedByWadm`, `OtherReference`, `OtherAnnotations`.
pub fn scale(
    running: Option<&Component>,
    reference: &str,
    count: u16,
    annotations: &TextMap,
) -> Result<Decision, Refusal> {
    let count = u32::from(count);
    let Some(running) = running else {
        return Ok(match count {
            0 => Decision::Nothing,
            count => Decision::Start(new(reference, count, annotations)),
        });
    };
    not_of_wadm(running)?;
    same_reference(running, reference)?;
    if !contains(&running.annotations, annotations) {
        return Err(Refusal::OtherAnnotations);
    }
    Ok(match count {
        0 => Decision::Stop(Scale::of(running, 0)),
        count if count == running.max_instances => Decision::Nothing,
        count => Decision::Change(Scale::of(running, count)),
    })
}

/// Decides StopActor: `count` fewer than may run now, and all of them for 0.
///
/// # Errors
/// `NotRunning`, `NoSuchKey`, `ManagedByWadm`, `NothingMatches`, `WithoutLimit`.
pub fn stop(
    id: &ComponentId,
    running: Option<&Component>,
    count: u16,
    annotations: &TextMap,
) -> Result<Decision, Refusal> {
    let running = matching(id, running, annotations)?;
    let left = match count {
        0 => 0,
        _ if running.max_instances == UNLIMITED => return Err(Refusal::WithoutLimit),
        count => running.max_instances.saturating_sub(u32::from(count)),
    };
    Ok(match left {
        0 => Decision::Stop(Scale::of(running, 0)),
        left => Decision::Change(Scale::of(running, left)),
    })
}

/// Decides UpdateActor. The reference that is listed already is no reason to do nothing:
/// the code may be another (docs/hosts.md#scale-keeps-old-code-under-new-reference).
///
/// # Errors
/// `NotRunning`, `NoSuchKey`, `ManagedByWadm`, `NothingMatches`.
pub fn update(
    behaviour: &Behaviour,
    id: &ComponentId,
    running: Option<&Component>,
    new_reference: &str,
    annotations: &TextMap,
) -> Result<Decision, Refusal> {
    let running = matching(id, running, annotations)?;
    let replacement = Replacement {
        running: Scale::of(running, running.max_instances),
        new_reference: new_reference.to_owned(),
    };
    Ok(match behaviour.update_runs_new_code {
        true => Decision::Update(replacement.start()),
        false => Decision::Replace(replacement),
    })
}

/// Has so many of what does not run.
fn new(reference: &str, count: u32, annotations: &TextMap) -> Scale {
    Scale {
        reference: reference.to_owned(),
        count,
        annotations: annotations.clone(),
        limits: None,
    }
}

/// Returns what runs, where it is ours to change and the annotations select it.
fn matching<'a>(
    id: &ComponentId,
    running: Option<&'a Component>,
    annotations: &TextMap,
) -> Result<&'a Component, Refusal> {
    let running = running.ok_or_else(|| Refusal::not_running(id))?;
    not_of_wadm(running)?;
    match contains(&running.annotations, annotations) {
        true => Ok(running),
        false => Err(Refusal::NothingMatches),
    }
}

fn not_of_wadm(running: &Component) -> Result<(), Refusal> {
    match is_managed_by_wadm(&running.annotations) {
        true => Err(Refusal::ManagedByWadm),
        false => Ok(()),
    }
}

/// Checks that a reference is the one that is listed: the host would go on with the code
/// that it has (docs/hosts.md#scale-keeps-old-code-under-new-reference).
fn same_reference(running: &Component, reference: &str) -> Result<(), Refusal> {
    match is_same_reference(&running.image_ref, reference) {
        true => Ok(()),
        false => Err(Refusal::OtherReference(running.image_ref.clone())),
    }
}
