//! From what an operation means to what a host must be told, by generation.
//!
//! Plain functions from what runs to orders: nothing here talks to anybody.
//!
//! - `maximum`: Rust hosts from 0.79.1 to 0.82, which keep a maximum for each
//!   set of annotations
//! - `instances`: Rust hosts 0.78.0 and 0.79.0, which keep instances
//! - `otp`: Elixir hosts
//!
//! Source: docs/hosts.md, which says what real hosts were seen to do.

mod instances;
mod maximum;
mod otp;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::error::quoted;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::wire::{ActorInstance, Inventory, TextMap};

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
    /// By set of annotations.
    pub groups: Vec<Group>,
    /// The group of each instance, in the order of the inventory. OTP hosts list
    /// the oldest first.
    pub sequence: Vec<usize>,
    /// Every revision that is listed.
    pub revisions: BTreeSet<i32>,
    /// The reference that the host lists, where an update left it behind: the
    /// groups have the one that runs.
    pub listed: Option<String>,
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
        /// Reference to name.
        image_ref: String,
    },
    /// `scale`: so many.
    Scale {
        /// The set of annotations.
        annotations: TextMap,
        /// How many; `None` is without limit.
        count: Option<u32>,
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
    /// `sa` again and again: OTP hosts from 0.60 on take the first so many
    /// instances and stop those of them that match.
    StopFirst {
        /// Annotations they have.
        annotations: TextMap,
        /// How many.
        count: u32,
        /// How many match.
        matching: u32,
    },
    /// `upd`: another revision.
    Update {
        /// Annotations of the instances.
        annotations: TextMap,
        /// Reference of the new revision.
        image_ref: String,
    },
}

/// What of the earlier orders must have taken effect before a plan is carried
/// out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// All but starts: the host adds those up by itself.
    AllButStarts,
    /// Those for these sets of annotations: others do not get in the way.
    Groups(Vec<TextMap>),
    /// All for this actor.
    Everything,
}

/// Commands that together do what an operation means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to tell the host, in this order; nothing where all is as wanted.
    pub orders: Vec<Order>,
    /// What must have happened before.
    pub after: After,
    /// Whether the host says yes before it knows whether it can, so that success
    /// is what the inventory shows.
    pub until_shown: bool,
}

impl Plan {
    fn of(orders: Vec<Order>, after: After) -> Self {
        Self {
            orders,
            after,
            until_shown: false,
        }
    }

    /// That all is as wanted already, once the earlier orders took effect.
    fn nothing() -> Self {
        Self::of(Vec::new(), After::Everything)
    }

    /// The same, and the answer waits until the host shows it.
    fn until_shown(self) -> Self {
        Self {
            until_shown: true,
            ..self
        }
    }
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

/// What an inventory shows of the actor with this key.
pub fn running(traits: &Traits, inventory: &Inventory, key: &str) -> Running {
    let mut running = Running::default();
    // Where each group is. Not looked for one by one: a host can send many.
    let mut places = HashMap::new();
    for entry in listed(inventory).filter(|entry| entry.key == key) {
        let instance = entry.instance;
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

/// An entry of an inventory: one instance, or one set of annotations.
#[derive(Clone, Copy)]
pub struct Listed<'a> {
    /// Public key of the actor.
    pub key: &'a str,
    /// Where it was started from, as the host says.
    pub image_ref: &'a str,
    /// Revision, as the host says.
    pub revision: i32,
    instance: &'a ActorInstance,
}

/// Every entry of an inventory.
pub fn listed(inventory: &Inventory) -> impl Iterator<Item = Listed<'_>> {
    inventory.actors.iter().flat_map(|actor| {
        actor.instances.iter().map(|instance| Listed {
            key: &actor.id,
            image_ref: instance
                .image_ref
                .as_deref()
                .or(actor.image_ref.as_deref())
                .unwrap_or_default(),
            revision: instance.revision,
            instance,
        })
    })
}

/// Whether `all` has every pair of `some`.
pub fn contains(all: &TextMap, some: &TextMap) -> bool {
    some.iter()
        .all(|(name, value)| all.get(name) == Some(value))
}

impl Running {
    /// Groups that match, the one with exactly these annotations first.
    fn matching(&self, wanted: &TextMap) -> Vec<&Group> {
        let fits = |group: &&Group| contains(&group.annotations, wanted);
        let mut found: Vec<&Group> = self.groups.iter().filter(fits).collect();
        found.sort_by_key(|group| group.annotations != *wanted);
        found
    }

    /// What runs under exactly these annotations.
    pub fn under(&self, annotations: &TextMap) -> u32 {
        let same = |group: &&Group| group.annotations == *annotations;
        self.groups.iter().find(same).map_or(0, |group| group.count)
    }

    /// The reference that groups run from, where one has another than this.
    fn other_reference(&self, image_ref: &str) -> Option<&str> {
        let other = |group: &&Group| group.image_ref != image_ref;
        let other = self.groups.iter().find(other)?;
        Some(&other.image_ref)
    }

    /// Hosts start the code they have under whatever reference they are told, or
    /// do nothing, where an actor runs from another one.
    fn one_reference(&self, image_ref: &str) -> Result<(), Refusal> {
        match self.other_reference(image_ref) {
            None => Ok(()),
            Some(other) => Err(cannot(format!(
                "the actor runs from {} there; use UpdateActor to replace it",
                quoted(other)
            ))),
        }
    }
}

fn total(groups: &[&Group]) -> u32 {
    let counts = groups.iter().map(|group| group.count);
    counts.fold(0, u32::saturating_add)
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

/// StartActor: `count` (at least 1) more than what runs of the actor.
///
/// # Errors
/// `Cannot` where this host would do something else.
pub fn start(
    traits: &Traits,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    running.one_reference(image_ref)?;
    if traits.generation.counts_maximum() {
        maximum::start(traits, running, wanted, count, image_ref)
    } else if traits.generation.is_otp() {
        otp::start(running, wanted, count, image_ref)
    } else {
        Ok(instances::start(wanted, count, image_ref))
    }
}

/// ScaleActor: `count` instances in all that match.
///
/// # Errors
/// `Cannot` where this host would do something else.
pub fn scale(
    traits: &Traits,
    running: &Running,
    wanted: &TextMap,
    count: u16,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    if traits.generation.counts_maximum() {
        maximum::scale(traits, running, wanted, count, image_ref)
    } else if traits.generation.is_otp() {
        otp::scale(traits, running, wanted, count, image_ref)
    } else {
        instances::scale(running, wanted, count, image_ref)
    }
}

/// StopActor: `count` instances that match, 0 for all of them.
///
/// # Errors
/// `NothingRuns` where none matches; `Cannot` where this host would do something
/// else.
pub fn stop(
    traits: &Traits,
    running: &Running,
    wanted: &TextMap,
    count: u16,
) -> Result<Plan, Refusal> {
    if running.matching(wanted).is_empty() {
        return Err(Refusal::NothingRuns);
    }
    if traits.generation.counts_maximum() {
        maximum::stop(traits, running, wanted, count)
    } else if traits.generation.is_otp() {
        otp::stop(traits, running, wanted, count)
    } else {
        Ok(instances::stop(running, wanted, count))
    }
}

/// StopActor without annotations on a host that does not tell what runs: all
/// match, so that whatever it stops is meant.
pub fn stop_untold(count: u16) -> Plan {
    let stop = Order::Stop {
        annotations: TextMap::new(),
        count: Some(count),
    };
    Plan::of(vec![stop], After::Everything)
}

/// UpdateActor, as far as one order goes: the one that has the host fetch the
/// new revision. OTP hosts are done with it; on Rust hosts [`replace`] follows.
///
/// # Errors
/// `NothingRuns` where no instance matches; `Cannot` where only some do.
pub fn update(
    traits: &Traits,
    running: &Running,
    wanted: &TextMap,
    image_ref: &str,
) -> Result<Plan, Refusal> {
    let matching = running.matching(wanted);
    let Some(first) = matching.first() else {
        return Err(Refusal::NothingRuns);
    };
    if matching.len() < running.groups.len() {
        return Err(cannot(
            "it holds one revision of an actor, and some instances of it have other annotations; \
             update without annotations",
        ));
    }
    let annotations = match traits.generation.is_otp() {
        // They update every instance, whatever the annotations.
        true => wanted.clone(),
        // These update the group with exactly these annotations.
        false => first.annotations.clone(),
    };
    let update = Order::Update {
        annotations,
        image_ref: image_ref.to_owned(),
    };
    Ok(Plan::of(vec![update], After::Everything))
}

/// The rest of UpdateActor on Rust hosts, which keep the code that an actor was
/// first started with for all that is started later: stop all of it, then start
/// every group from the new reference.
pub fn replace(traits: &Traits, groups: &[Group], image_ref: &str) -> (Order, Vec<Order>) {
    let stop = match traits.generation.counts_maximum() {
        true => maximum::stop_everything(),
        false => instances::stop_everything(),
    };
    let started = groups.iter().map(|group| Group {
        image_ref: image_ref.to_owned(),
        ..group.clone()
    });
    let starts = started.map(|group| match traits.generation.counts_maximum() {
        true => maximum::start_group(traits, &group),
        false => instances::start_group(&group),
    });
    (stop, starts.collect())
}

/// Stops what a host with a maximum started under a reference that is of an actor
/// which runs from another one.
pub fn take_back(annotations: &TextMap, image_ref: &str) -> Plan {
    let back = Order::Scale {
        annotations: annotations.clone(),
        count: Some(0),
        image_ref: image_ref.to_owned(),
    };
    Plan::of(vec![back], After::Everything).until_shown()
}

/// What runs of the actor after an order, by set of annotations: only the sets
/// that the order changes.
pub fn effect(traits: &Traits, running: &Running, order: &Order) -> Vec<(TextMap, u32)> {
    let here = |annotations: &TextMap| running.under(annotations);
    match order {
        Order::Start {
            annotations, count, ..
        } => {
            let new = here(annotations).saturating_add(u32::from(*count));
            vec![(annotations.clone(), new)]
        }
        Order::Scale {
            annotations, count, ..
        } => {
            let count = count.unwrap_or_else(|| traits.generation.unbounded());
            if traits.generation.counts_maximum() {
                return vec![(annotations.clone(), count)];
            }
            let matching = running.matching(annotations);
            let others = total(&matching).saturating_sub(here(annotations));
            match (matching.as_slice(), count.checked_sub(others)) {
                ([only], _) if count <= only.count => vec![(only.annotations.clone(), count)],
                (_, Some(new)) => vec![(annotations.clone(), new)],
                (_, None) => Vec::new(),
            }
        }
        Order::Stop {
            annotations,
            count: None | Some(0),
        } => {
            let matching = running.matching(annotations).into_iter();
            let gone = matching.map(|group| (group.annotations.clone(), 0));
            gone.collect()
        }
        Order::Stop {
            annotations,
            count: Some(count),
        } => match running.matching(annotations).as_slice() {
            [only] => {
                let left = only.count.saturating_sub(u32::from(*count));
                vec![(only.annotations.clone(), left)]
            }
            // Which of them stop is the host's choice.
            _ => Vec::new(),
        },
        Order::Update { .. } | Order::StopFirst { .. } => Vec::new(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
