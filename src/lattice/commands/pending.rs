//! One thing that a host acknowledged, or may have, and does not show yet.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::commands::target::Target;
use crate::lattice::model::{Running, TextMap};
use crate::name::{is_file, is_other_tag};

/// How long a host has to show what it acknowledged. What it does not show by then counts
/// as failed: several versions say nothing of a failed download.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// How long after a host's event its inventory shows the same.
const SHOWN_AFTER_EVENT: Duration = Duration::from_millis(50);
/// How long something counts that no inventory shows.
const UNSEEN_FOR: Duration = Duration::from_secs(2);

/// One thing in flight.
pub(super) struct Pending {
    pub(super) key: Option<String>,
    pub(super) image_ref: String,
    pub(super) annotations: TextMap,
    pub(super) aim: Aim,
    /// When the host confirmed the number in an event.
    pub(super) confirmed: Option<Instant>,
}

/// What the inventory will show under the annotations.
pub(super) enum Aim {
    /// So many instances.
    Count {
        count: u32,
        /// Whether these are more than before.
        grows: bool,
        since: Instant,
    },
    /// More instances than `base`, where that is known: how many, and since when.
    Starts {
        base: Option<u32>,
        parts: Vec<(u32, Instant)>,
    },
    /// Something that may have happened, and that no inventory shows.
    Unseen { since: Instant },
    /// Something that the host was told and has not acknowledged yet.
    Unacknowledged { since: Instant },
}

/// Something that a plan may have to wait for.
pub(super) struct Wait {
    /// The set of annotations; `None` where it may be of another actor.
    pub(super) annotations: Option<TextMap>,
    /// Whether it is a start that the host adds to what is there.
    pub(super) adds: bool,
    /// Since when the host should have shown it.
    pub(super) since: Instant,
}

/// Tells whether two references may be of one actor: they are tags of one repository, or
/// files, whose names say nothing.
pub(super) fn may_be_one(one: &str, other: &str) -> bool {
    (is_file(one) && is_file(other)) || is_other_tag(one, other)
}

impl Pending {
    pub(super) fn new(target: Target<'_>, annotations: &TextMap, aim: Aim) -> Self {
        Self {
            key: target.key.map(str::to_owned),
            image_ref: target.image_ref.to_owned(),
            annotations: annotations.clone(),
            aim,
            confirmed: None,
        }
    }

    /// Tells whether it is about this target and these annotations.
    pub(super) fn is(&self, target: Target<'_>, annotations: &TextMap) -> bool {
        let same = match target.image_ref {
            "" => self.image_ref.is_empty() && self.key.as_deref() == target.key,
            image_ref => self.image_ref == image_ref,
        };
        same && self.annotations == *annotations
    }

    /// Returns how many instances there will be, where that is known.
    pub(super) fn count(&self) -> Option<u32> {
        match &self.aim {
            Aim::Count { count, .. } => Some(*count),
            Aim::Starts { base, parts } => {
                let added = parts.iter().map(|(count, _)| *count);
                let added = added.fold(0, u32::saturating_add);
                base.map(|base| base.saturating_add(added))
            }
            Aim::Unseen { .. } | Aim::Unacknowledged { .. } => None,
        }
    }

    /// Tells whether an inventory shows it.
    pub(super) fn is_shown_by(&self, running: &Running) -> bool {
        let here = running.under(&self.annotations);
        self.count().is_some_and(|count| match self.aim {
            Aim::Count { grows: false, .. } => here <= count,
            _ => here >= count,
        })
    }

    /// Tells whether the host confirmed the number before it was asked for its inventory.
    /// If the inventory shows another number, somebody else has changed it since.
    pub(super) fn was_confirmed_before(&self, asked: Instant) -> bool {
        self.confirmed
            .is_some_and(|confirmed| confirmed + SHOWN_AFTER_EVENT < asked)
    }

    /// Tells whether it may be of an actor that has these references, or of one of which
    /// nothing runs. A weak sign of that counts only for a moment.
    pub(super) fn may_concern(&self, refs: &[&str], nothing_is_there: bool) -> bool {
        let lately = self.since().elapsed() < UNSEEN_FOR;
        let is_tag = |known: &&str| is_other_tag(&self.image_ref, known);
        let may_be = |known: &&str| may_be_one(&self.image_ref, known);
        // A command that names no reference may be of any actor.
        let of_any = self.image_ref.is_empty();
        of_any
            || refs.iter().any(is_tag)
            || (lately && self.key.is_none() && (nothing_is_there || refs.iter().any(may_be)))
    }

    /// Returns what a plan may have to wait for.
    pub(super) fn wait(&self, annotations: Option<TextMap>) -> Wait {
        Wait {
            annotations,
            adds: matches!(self.aim, Aim::Starts { .. }),
            since: self.since(),
        }
    }

    /// Returns since when the host should have shown it.
    pub(super) fn since(&self) -> Instant {
        match &self.aim {
            Aim::Count { since, .. } | Aim::Unseen { since } | Aim::Unacknowledged { since } => {
                *since
            }
            Aim::Starts { parts, .. } => parts.first().map_or_else(Instant::now, |part| part.1),
        }
    }

    /// Tells whether the host still has time to show it.
    pub(super) fn counts(&self) -> bool {
        let in_time = |since: &Instant, time: Duration| since.elapsed() < time;
        match &self.aim {
            Aim::Count { since, .. } | Aim::Unacknowledged { since } => {
                in_time(since, SHOWN_WITHIN)
            }
            Aim::Starts { base, parts } => {
                let time = match base {
                    Some(_) => SHOWN_WITHIN,
                    None => UNSEEN_FOR,
                };
                parts.iter().any(|(_, since)| in_time(since, time))
            }
            Aim::Unseen { since } => in_time(since, UNSEEN_FOR),
        }
    }

    /// Drops starts whose time is over, and tells whether it still counts.
    pub(super) fn still_counts(&mut self) -> bool {
        if let Aim::Starts { parts, .. } = &mut self.aim {
            parts.retain(|(_, since)| since.elapsed() < SHOWN_WITHIN);
        }
        self.counts()
    }
}
