//! What runs of one actor on one host.

use std::collections::BTreeSet;

use crate::lattice::model::text_map::{TextMap, contains};

/// What runs of an actor under one set of annotations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The annotations.
    pub annotations: TextMap,
    /// Instances, or the maximum on hosts that keep one.
    pub count: u32,
    /// Where it was started from.
    pub image_ref: String,
}

/// What runs of one actor on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Running {
    /// One for each set of annotations.
    pub groups: Vec<Group>,
    /// The group of each instance, in the order of the inventory. OTP hosts list
    /// the oldest first.
    pub sequence: Vec<usize>,
    /// Every revision that is listed.
    pub revisions: BTreeSet<i32>,
    /// The reference that the host lists, where it still lists the one from before an
    /// update: the groups have the reference that runs.
    pub listed: Option<String>,
}

impl Running {
    /// Returns the groups that match, the one with exactly these annotations first.
    pub fn matching(&self, wanted: &TextMap) -> Vec<&Group> {
        let fits = |group: &&Group| contains(&group.annotations, wanted);
        let mut found: Vec<&Group> = self.groups.iter().filter(fits).collect();
        found.sort_by_key(|group| group.annotations != *wanted);
        found
    }

    /// Returns how many run under exactly these annotations.
    pub fn under(&self, annotations: &TextMap) -> u32 {
        let same = |group: &&Group| group.annotations == *annotations;
        self.groups.iter().find(same).map_or(0, |group| group.count)
    }

    /// Returns another reference than this from which something runs.
    pub fn other_reference(&self, image_ref: &str) -> Option<&str> {
        let other = |group: &&Group| group.image_ref != image_ref;
        let other = self.groups.iter().find(other)?;
        Some(&other.image_ref)
    }

    /// Sets how many run under these annotations, from this reference where nothing ran.
    pub fn set(&mut self, annotations: &TextMap, count: u32, image_ref: &str) {
        let same = |group: &&mut Group| group.annotations == *annotations;
        match self.groups.iter_mut().find(same) {
            Some(group) => group.count = count,
            None => self.groups.push(Group {
                annotations: annotations.clone(),
                count,
                image_ref: image_ref.to_owned(),
            }),
        }
        // Which places they will have in the list is not known.
        self.groups.retain(|group| group.count > 0);
        self.sequence.clear();
    }
}

/// Adds up what groups have.
pub fn total(groups: &[&Group]) -> u32 {
    let counts = groups.iter().map(|group| group.count);
    counts.fold(0, u32::saturating_add)
}
