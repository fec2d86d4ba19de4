//! One thing that a host took on and may not show yet.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::commands::in_flight::{Subject, Wait};
use crate::lattice::dialect::v0::plan::{Group, Running};
use crate::lattice::dialect::v0::wire::TextMap;
use crate::name::{is_file, is_other_tag};

/// How long a host has to show what it took on. What it does not show by then is
/// taken to have failed: several versions say nothing of a failed download.
pub const SHOWN_WITHIN: Duration = Duration::from_secs(10);
/// How long after a host's event its inventory shows the same.
const SHOWN_AFTER_EVENT: Duration = Duration::from_millis(50);
/// What cannot be seen in an inventory has this time.
const UNSEEN_FOR: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Pending {
    pub(super) key: Option<String>,
    pub(super) image_ref: String,
    pub(super) annotations: TextMap,
    pub(super) aim: Aim,
    /// When the host said that it set the number.
    pub(super) came: Option<Instant>,
}

/// What the inventory will show of a set of annotations.
pub(super) enum Aim {
    /// So many.
    Total {
        count: u32,
        /// Whether that is more than before.
        grows: bool,
        since: Instant,
    },
    /// So many more than `base`, where that is known. Each with its time.
    More {
        base: Option<u32>,
        parts: Vec<(u32, Instant)>,
    },
    /// Something that no inventory shows: it counts for its time.
    Unseen { since: Instant },
    /// Something that the host was told and did not answer yet.
    UnderWay { since: Instant },
}

/// Whether two references are of one repository, or of files, which tell nothing.
pub(super) fn may_be_one(one: &str, other: &str) -> bool {
    (is_file(one) && is_file(other)) || is_other_tag(one, other)
}

impl Pending {
    pub(super) fn new(of: Subject<'_>, annotations: &TextMap, aim: Aim) -> Self {
        Self {
            key: of.key.map(str::to_owned),
            image_ref: of.image_ref.to_owned(),
            annotations: annotations.clone(),
            aim,
            came: None,
        }
    }

    pub(super) fn is(&self, of: Subject<'_>, annotations: &TextMap) -> bool {
        let same = match of.image_ref {
            "" => self.image_ref.is_empty() && self.key.as_deref() == of.key,
            image_ref => self.image_ref == image_ref,
        };
        same && self.annotations == *annotations
    }

    /// How many there will be, where that is known.
    pub(super) fn count(&self) -> Option<u32> {
        match &self.aim {
            Aim::Total { count, .. } => Some(*count),
            Aim::More { base, parts } => {
                let added = parts.iter().map(|(count, _)| *count);
                let added = added.fold(0, u32::saturating_add);
                base.map(|base| base.saturating_add(added))
            }
            Aim::Unseen { .. } | Aim::UnderWay { .. } => None,
        }
    }

    pub(super) fn is_shown_by(&self, running: &Running) -> bool {
        let here = running.under(&self.annotations);
        self.count().is_some_and(|count| match self.aim {
            Aim::Total { grows: false, .. } => here <= count,
            _ => here >= count,
        })
    }

    /// Whether the host said that it set the number before it was asked what runs:
    /// that may be another number by now, by another's order.
    pub(super) fn came_before(&self, asked: Instant) -> bool {
        self.came
            .is_some_and(|came| came + SHOWN_AFTER_EVENT < asked)
    }

    /// Whether it may be of an actor that has these references, or of which nothing
    /// is there, though nobody knows. Where only little speaks for it, that counts
    /// for a moment.
    pub(super) fn may_concern(&self, refs: &[&str], nothing_is_there: bool) -> bool {
        let lately = self.since().elapsed() < UNSEEN_FOR;
        let is_tag = |known: &&str| is_other_tag(&self.image_ref, known);
        let may_be = |known: &&str| may_be_one(&self.image_ref, known);
        // One that names no reference may be of any.
        let of_any = self.image_ref.is_empty();
        of_any
            || refs.iter().any(is_tag)
            || (lately && self.key.is_none() && (nothing_is_there || refs.iter().any(may_be)))
    }

    pub(super) fn wait(&self, annotations: Option<TextMap>) -> Wait {
        Wait {
            annotations,
            adds: matches!(self.aim, Aim::More { .. }),
            since: self.since(),
        }
    }

    /// Since when the host owes it.
    pub(super) fn since(&self) -> Instant {
        match &self.aim {
            Aim::Total { since, .. } | Aim::Unseen { since } | Aim::UnderWay { since } => *since,
            Aim::More { parts, .. } => parts.first().map_or_else(Instant::now, |part| part.1),
        }
    }

    pub(super) fn counts(&self) -> bool {
        let in_time = |since: &Instant, time: Duration| since.elapsed() < time;
        match &self.aim {
            Aim::Total { since, .. } | Aim::UnderWay { since } => in_time(since, SHOWN_WITHIN),
            Aim::More { base, parts } => {
                let time = match base {
                    Some(_) => SHOWN_WITHIN,
                    None => UNSEEN_FOR,
                };
                parts.iter().any(|(_, since)| in_time(since, time))
            }
            Aim::Unseen { since } => in_time(since, UNSEEN_FOR),
        }
    }

    /// Whether it still counts; starts that had their time do no more.
    pub(super) fn still_counts(&mut self) -> bool {
        if let Aim::More { parts, .. } = &mut self.aim {
            parts.retain(|(_, since)| since.elapsed() < SHOWN_WITHIN);
        }
        self.counts()
    }
}

impl Running {
    /// Takes that a set of annotations has so many, from this reference where it
    /// had none.
    pub(super) fn set(&mut self, annotations: &TextMap, count: u32, image_ref: &str) {
        let same = |group: &&mut Group| group.annotations == *annotations;
        match self.groups.iter_mut().find(same) {
            Some(group) => group.count = count,
            None => self.groups.push(Group {
                annotations: annotations.clone(),
                count,
                image_ref: image_ref.to_owned(),
            }),
        }
        // Which places they have in the list is not known.
        self.groups.retain(|group| group.count > 0);
        self.sequence.clear();
    }
}
