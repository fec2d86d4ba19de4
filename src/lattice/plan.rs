//! From what an operation means to what a host must be told, by generation.
//!
//! Plain functions from an inventory to orders: nothing here talks to anybody.
//! Source: control-interface reference, 1.7, 1.8, 1.11 and 1.14, traps T3, T20,
//! T21, T23 and T29.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::generation::Traits;
use super::wire::{Inventory, TextMap};
use crate::error::quoted;

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

/// One thing to tell a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// `la`: so many more.
    Start {
        /// Annotations of the new instances.
        annotations: TextMap,
        /// How many.
        count: u16,
    },
    /// `scale`: so many.
    Scale {
        /// The set of annotations.
        annotations: TextMap,
        /// How many.
        count: u32,
        /// Reference to name.
        image_ref: String,
    },
    /// `sa`: stop instances.
    Stop {
        /// Annotations they have.
        annotations: TextMap,
        /// How many, 0 for all; hosts with a maximum have no such member.
        count: Option<u16>,
    },
    /// `upd`: another revision.
    Update {
        /// Annotations of the instances.
        annotations: TextMap,
    },
    /// `sa` again and again: OTP hosts take the first so many instances and
    /// stop those of them that match, so that one order may stop too few.
    StopFirst {
        /// Annotations they have.
        annotations: TextMap,
        /// How many.
        count: u32,
        /// How many match.
        matching: u32,
    },
}

/// Why nothing can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No instance matches.
    NothingRuns,
    /// This host would do something else.
    Cannot(String),
}

fn cannot(why: impl Into<String>) -> Refusal {
    Refusal::Cannot(why.into())
}

/// Every group of an actor, selected by its key or by an image reference.
pub fn groups(
    traits: &Traits,
    inventory: &Inventory,
    is: impl Fn(&str, &str) -> bool,
) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    // Where each is. Not looked for one by one: a host can send many.
    let mut places = HashMap::new();
    for actor in &inventory.actors {
        let actor_ref = actor.image_ref.as_deref().unwrap_or_default();
        for instance in &actor.instances {
            let image_ref = instance.image_ref.as_deref().unwrap_or(actor_ref);
            if !is(&actor.id, image_ref) {
                continue;
            }
            let annotations = instance.annotations.clone().unwrap_or_default();
            let count = match traits.generation.counts_maximum() {
                true => instance.maximum().unwrap_or(1),
                false => 1,
            };
            let sorted: BTreeMap<&str, &str> = instance
                .annotations
                .iter()
                .flatten()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            match places.entry(sorted) {
                Entry::Occupied(place) => {
                    let group: &mut Group = &mut groups[*place.get()];
                    group.count = group.count.saturating_add(count);
                }
                Entry::Vacant(place) => {
                    place.insert(groups.len());
                    groups.push(Group {
                        annotations,
                        count,
                        image_ref: image_ref.to_owned(),
                    });
                }
            }
        }
    }
    groups
}

/// Whether `all` has every pair of `some`.
pub fn contains(all: &TextMap, some: &TextMap) -> bool {
    some.iter()
        .all(|(name, value)| all.get(name) == Some(value))
}

/// Groups that match, the one with exactly these annotations first.
fn matching<'a>(groups: &'a [Group], wanted: &TextMap) -> Vec<&'a Group> {
    let mut found: Vec<&Group> = groups
        .iter()
        .filter(|group| contains(&group.annotations, wanted))
        .collect();
    found.sort_by_key(|group| group.annotations != *wanted);
    found
}

fn total(groups: &[&Group]) -> u32 {
    groups
        .iter()
        .fold(0, |sum, group| sum.saturating_add(group.count))
}

/// Takes `count` out of groups, first come first: each with what it gives.
fn taken<'a>(groups: &[&'a Group], count: u32) -> Vec<(&'a Group, u32)> {
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

/// Hosts with a maximum do nothing, silently, where an instance of the actor
/// runs from another image reference than the one they are told.
fn one_reference(groups: &[Group], image_ref: &str) -> Result<(), Refusal> {
    match groups.iter().find(|group| group.image_ref != image_ref) {
        None => Ok(()),
        Some(other) => Err(cannot(format!(
            "the actor runs from {} there; use UpdateActor to replace it",
            quoted(&other.image_ref)
        ))),
    }
}

/// What runs under exactly these annotations.
fn running_under(groups: &[Group], annotations: &TextMap) -> u32 {
    groups
        .iter()
        .find(|group| group.annotations == *annotations)
        .map_or(0, |group| group.count)
}

/// StartActor: `count` (at least 1) more than what runs of the actor.
pub fn start(
    traits: &Traits,
    groups: &[Group],
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Vec<Order>, Refusal> {
    let generation = traits.generation;
    if !generation.counts_maximum() {
        return Ok(vec![Order::Start {
            annotations: wanted.clone(),
            count,
        }]);
    }
    one_reference(groups, image_ref)?;
    let running = running_under(groups, wanted);
    if running >= generation.unbounded() {
        // It runs without limit already.
        return Ok(Vec::new());
    }
    let new = running.saturating_add(u32::from(count));
    if new >= generation.unbounded() {
        return Err(cannot(format!(
            "{new} instances are more than it can count"
        )));
    }
    // 0.81 and later have no subject to start actors; before, it reads and
    // writes after the acknowledgement, so that starts in a row could be lost.
    Ok(vec![Order::Scale {
        annotations: wanted.clone(),
        count: new,
        image_ref: image_ref.to_owned(),
    }])
}

/// ScaleActor: `count` instances in all that match.
pub fn scale(
    traits: &Traits,
    groups: &[Group],
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Vec<Order>, Refusal> {
    let generation = traits.generation;
    let count = u32::from(count);
    let simple = || {
        Ok(vec![Order::Scale {
            annotations: wanted.clone(),
            count,
            image_ref: image_ref.to_owned(),
        }])
    };
    if generation.is_otp() {
        return simple();
    }
    if generation.counts_maximum() && count >= generation.unbounded() {
        return Err(cannot(format!("{count} means \"without limit\" there")));
    }
    let matching = matching(groups, wanted);
    let same = matching.iter().find(|group| group.annotations == *wanted);
    if count > 0 {
        one_reference(groups, image_ref)?;
    }
    let others = matching.len() - usize::from(same.is_some());
    let running = total(&matching);
    if !generation.counts_maximum() {
        // 0.78 and 0.79.0 panic on scaling down over several groups (T3).
        return match matching.len() {
            0 | 1 => simple(),
            _ if count >= running => simple(),
            _ => Ok(stop_by_group(&matching, running - count)),
        };
    }
    if others == 0 {
        return simple();
    }
    if count == 0 {
        return Ok(vec![Order::Stop {
            annotations: wanted.clone(),
            count: None,
        }]);
    }
    if matching
        .iter()
        .any(|group| group.count >= generation.unbounded())
    {
        return Err(cannot(
            "a set of annotations that matches runs without limit there",
        ));
    }
    if count >= running {
        let here = running_under(groups, wanted);
        return Ok(vec![Order::Scale {
            annotations: wanted.clone(),
            count: here + (count - running),
            image_ref: image_ref.to_owned(),
        }]);
    }
    Ok(scale_down(&matching, running - count))
}

/// StopActor: `count` instances that match, 0 for all of them.
pub fn stop(
    traits: &Traits,
    groups: &[Group],
    wanted: &TextMap,
    count: u16,
) -> Result<Vec<Order>, Refusal> {
    let generation = traits.generation;
    let matching = matching(groups, wanted);
    let running = total(&matching);
    if running == 0 {
        return Err(Refusal::NothingRuns);
    }
    let every_group = matching.len() == groups.len();
    let all = count == 0 || u32::from(count) >= running;
    if generation.counts_maximum() {
        let without_limit = matching.iter().any(|g| g.count >= generation.unbounded());
        return match (all && (count == 0 || !without_limit), without_limit) {
            (true, _) => Ok(vec![Order::Stop {
                annotations: wanted.clone(),
                count: None,
            }]),
            (false, true) => Err(cannot("it runs without limit there; scale it instead")),
            (false, false) => {
                one_reference(groups, &matching[0].image_ref)?;
                Ok(scale_down(&matching, u32::from(count)))
            }
        };
    }
    if generation.is_otp() {
        if !every_group && !traits.stop_selects_by_annotations() {
            return Err(cannot("it cannot select instances by annotations"));
        }
        // Never 0, all, where N was asked: more may be starting.
        return Ok(vec![if count == 0 || every_group {
            Order::Stop {
                annotations: wanted.clone(),
                count: Some(count),
            }
        } else {
            Order::StopFirst {
                annotations: wanted.clone(),
                count: u32::from(count).min(running),
                matching: running,
            }
        }]);
    }
    Ok(match (all, every_group) {
        // With count 0 these hosts ignore annotations.
        (true, true) => vec![Order::Stop {
            annotations: TextMap::new(),
            count: Some(0),
        }],
        (true, false) => stop_by_group(&matching, running),
        (false, _) => stop_by_group(&matching, u32::from(count)),
    })
}

/// UpdateActor: every instance that matches.
pub fn update(traits: &Traits, groups: &[Group], wanted: &TextMap) -> Result<Vec<Order>, Refusal> {
    let matching = matching(groups, wanted);
    if matching.is_empty() {
        return Err(Refusal::NothingRuns);
    }
    if traits.generation.is_otp() {
        // They update every instance, whatever the annotations (T23).
        return match matching.len() == groups.len() {
            true => Ok(vec![Order::Update {
                annotations: wanted.clone(),
            }]),
            false => Err(cannot(
                "it updates every instance, and some have other annotations",
            )),
        };
    }
    // The others update the group with exactly these annotations.
    Ok(matching
        .into_iter()
        .map(|group| Order::Update {
            annotations: group.annotations.clone(),
        })
        .collect())
}

/// What runs of the actor after an order, by set of annotations: only the sets
/// that the order changes. For hosts whose inventory lags behind what they were
/// told.
pub fn effect(traits: &Traits, groups: &[Group], order: &Order) -> Vec<(TextMap, u32)> {
    let here = |annotations: &TextMap| running_under(groups, annotations);
    match order {
        Order::Start { annotations, count } => {
            let new = here(annotations).saturating_add(u32::from(*count));
            vec![(annotations.clone(), new)]
        }
        Order::Scale {
            annotations, count, ..
        } if traits.generation.counts_maximum() => vec![(annotations.clone(), *count)],
        Order::Scale {
            annotations, count, ..
        } => {
            let matching = matching(groups, annotations);
            let others = total(&matching) - here(annotations);
            match (matching.as_slice(), count.checked_sub(others)) {
                ([only], _) if *count <= only.count => vec![(only.annotations.clone(), *count)],
                (_, Some(new)) => vec![(annotations.clone(), new)],
                (_, None) => Vec::new(),
            }
        }
        Order::Stop {
            annotations,
            count: None | Some(0),
        } => matching(groups, annotations)
            .into_iter()
            .map(|group| (group.annotations.clone(), 0))
            .collect(),
        Order::Stop {
            annotations,
            count: Some(count),
        } => {
            let left = here(annotations).saturating_sub(u32::from(*count));
            vec![(annotations.clone(), left)]
        }
        Order::Update { .. } | Order::StopFirst { .. } => Vec::new(),
    }
}

/// Never more than a group has, never 0: either harms 0.78 and 0.79.0.
fn stop_by_group(groups: &[&Group], count: u32) -> Vec<Order> {
    taken(groups, count)
        .into_iter()
        .map(|(group, count)| Order::Stop {
            annotations: group.annotations.clone(),
            count: Some(u16::try_from(count).unwrap_or(u16::MAX)),
        })
        .collect()
}

fn scale_down(groups: &[&Group], count: u32) -> Vec<Order> {
    taken(groups, count)
        .into_iter()
        .map(|(group, count)| Order::Scale {
            annotations: group.annotations.clone(),
            count: group.count - count,
            image_ref: group.image_ref.clone(),
        })
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
