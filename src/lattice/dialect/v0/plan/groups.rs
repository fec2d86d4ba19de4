//! What an inventory shows of an actor, by set of annotations, and what plans take out
//! of that.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use crate::error::quoted;
use crate::lattice::dialect::quirks::{Counts, Quirks};
use crate::lattice::dialect::v0::plan::command::{Objection, cannot};
use crate::lattice::model::{Group, Inventory, Running, listed};

/// Collects what an inventory shows of the actor with this key.
pub fn running(quirks: &Quirks, inventory: &Inventory, key: &str) -> Running {
    let mut running = Running::default();
    // Where each group is. Found by a map: a host can send very many.
    let mut places = HashMap::new();
    for entry in listed(inventory).filter(|entry| entry.key == key) {
        let instance = entry.instance;
        let count = match quirks.counts {
            Counts::Maximums => instance.maximum().unwrap_or(1),
            Counts::List | Counts::Groups => 1,
        };
        let sorted: BTreeMap<&str, &str> = instance
            .annotations
            .iter()
            .flatten()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let group = match places.entry(sorted) {
            Entry::Occupied(place) => {
                let group: &mut Group = &mut running.groups[*place.get()];
                group.count = group.count.saturating_add(count);
                *place.get()
            }
            Entry::Vacant(place) => {
                let group = running.groups.len();
                place.insert(group);
                running.groups.push(Group {
                    annotations: instance.annotations.clone().unwrap_or_default(),
                    count,
                    image_ref: entry.image_ref.to_owned(),
                });
                group
            }
        };
        running.sequence.push(group);
        running.revisions.insert(instance.revision);
    }
    running
}

/// Objects where the actor runs from another reference: hosts would start the code
/// they have under whatever reference they are told, or do nothing.
pub(super) fn one_reference(running: &Running, image_ref: &str) -> Result<(), Objection> {
    match running.other_reference(image_ref) {
        None => Ok(()),
        Some(other) => Err(cannot(format!(
            "the actor runs from {} there; use UpdateActor to replace it",
            quoted(other)
        ))),
    }
}

/// Takes `count` out of groups, from the first on, and returns what each of them gives.
pub(super) fn taken<'a>(groups: &[&'a Group], count: u32) -> Vec<(&'a Group, u32)> {
    let mut left = count;
    let mut taken = Vec::new();
    for group in groups {
        let from_here = group.count.min(left);
        if from_here > 0 {
            taken.push((*group, from_here));
            left -= from_here;
        }
    }
    taken
}
