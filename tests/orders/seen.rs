//! What is seen of an actor on a host, and how it differs from a right state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use wasmcloud_interface_lattice_control::HostInventory;

use super::contract::{Annotations, Kind, SETS, State, annotations};

/// What an inventory lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub groups: BTreeMap<Annotations, u64>,
    pub revisions: BTreeSet<i64>,
}

impl Listing {
    /// Reads the provider's answer.
    pub fn of(inventory: &HostInventory, key: &str) -> Self {
        let mut listing = Self::default();
        let actors = inventory.actors.iter().filter(|actor| actor.id == key);
        for instance in actors.flat_map(|actor| &actor.instances) {
            let annotations = instance.annotations.clone().unwrap_or_default();
            listing.add(
                annotations.into_iter().collect(),
                1,
                instance.revision.into(),
            );
        }
        listing
    }

    /// Reads the provider's answer about a host of 1.x. The tag of the reference tells
    /// the revision: components need not be signed.
    pub fn of_1x(inventory: &HostInventory, id: &str) -> Self {
        let mut listing = Self::default();
        for actor in inventory.actors.iter().filter(|actor| actor.id == id) {
            let revision = tag(actor.image_ref.as_deref().unwrap_or_default());
            for instance in &actor.instances {
                let annotations = instance.annotations.clone().unwrap_or_default();
                listing.add(annotations.into_iter().collect(), 1, revision);
            }
        }
        listing
    }

    /// Reads the own answer of a host of 1.x.
    pub fn raw_1x(inventory: &Value, id: &str) -> Self {
        let mut listing = Self::default();
        let components = inventory["response"]["components"].as_array();
        let components = components.into_iter().flatten();
        for component in components.filter(|component| component["id"] == id) {
            let pairs = component["annotations"].as_object().into_iter().flatten();
            let pairs = pairs.map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_owned()));
            let maximum = component["max_instances"].as_u64().unwrap_or(0);
            let reference = component["image_ref"].as_str().unwrap_or_default();
            listing.add(pairs.collect(), maximum, tag(reference));
        }
        listing
    }

    /// Reads the host's own answer. Old hosts repeat an actor for each of its
    /// instances.
    pub fn raw(inventory: &Value, key: &str) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let mut listing = Self::default();
        let mut known = BTreeSet::new();
        let actors = list(&inventory["actors"]).into_iter();
        for actor in actors.filter(|actor| actor["id"] == key) {
            for instance in list(&actor["instances"]) {
                if !known.insert(instance["instance_id"].to_string()) {
                    continue;
                }
                let maximum = ["max_instances", "max_concurrent"];
                let count = maximum.iter().find_map(|name| instance[*name].as_u64());
                let pairs = instance["annotations"].as_object().into_iter().flatten();
                let pairs = pairs.map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_owned()));
                let revision = instance["revision"].as_i64().unwrap_or(-1);
                listing.add(pairs.collect(), count.unwrap_or(1), revision);
            }
        }
        listing
    }

    fn add(&mut self, annotations: Annotations, count: u64, revision: i64) {
        *self.groups.entry(annotations).or_default() += count;
        self.revisions.insert(revision);
    }
}

/// Returns the number that the tag of a reference is, or -1.
fn tag(reference: &str) -> i64 {
    let tag = reference.rsplit(':').next().unwrap_or_default();
    tag.parse().unwrap_or(-1)
}

/// Instances that really run, whatever is listed. This is known of simulated
/// hosts only.
#[derive(Clone, Debug)]
pub struct Running {
    pub annotations: Annotations,
    pub count: u64,
    pub revision: i64,
    /// Whether calls reach them.
    pub heard: bool,
    /// Whether the host knows of them, so that commands reach them.
    pub listed: bool,
}

/// What was seen at one moment.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What the provider's GetHostInventory lists.
    pub told: Listing,
    /// What the host's own inventory lists.
    pub listed: Listing,
    /// The answers to calls, each with how often it came.
    pub answers: Option<BTreeMap<String, usize>>,
    /// What really runs.
    pub running: Option<Vec<Running>>,
    /// The requests that failed, and why.
    pub failures: Vec<String>,
}

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The command was refused, though contract and host allow it.
    Refused,
    /// The command was accepted, though it had to be refused.
    Accepted,
    /// It stayed unknown whether the command was carried out.
    Unknown,
    /// The inventory lists other groups or numbers.
    Listed,
    /// The inventory lists another revision.
    ListedRevision,
    /// The provider lists something else than the host.
    Told,
    /// Another revision answers calls.
    Answers,
    /// Nothing answers though something runs, or the other way round.
    Silence,
    /// Other groups, numbers or revisions run.
    Running,
    /// Something runs that gets no calls.
    Unheard,
    /// Something runs that no command reaches any more.
    Lost,
    /// A query was not answered.
    Unasked,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused though allowed",
            Self::Accepted => "accepted though to be refused",
            Self::Unknown => "outcome unknown",
            Self::Listed => "other instances listed",
            Self::ListedRevision => "other revision listed",
            Self::Told => "the provider tells another inventory than the host",
            Self::Answers => "other revision answers",
            Self::Silence => "answered though nothing runs, or not answered",
            Self::Running => "other instances run",
            Self::Unheard => "runs without getting calls",
            Self::Lost => "runs out of reach of orders",
            Self::Unasked => "could not be looked at",
        })
    }
}

/// Returns what is wrong if this state is the right one.
pub fn differences(kind: Kind, right: &State, seen: &Seen) -> Vec<(Fault, String)> {
    let mut found = Vec::new();
    let mut differ = |fault, is: String, should: String| {
        if is != should {
            found.push((fault, format!("{fault}: {is}, not {should}")));
        }
    };
    let runs = right.total() > 0;
    let revision = i64::from(right.revision);
    let revisions: BTreeSet<i64> = runs.then_some(revision).into_iter().collect();
    // Compares with what runs and with what a host of this kind shows of that.
    let all = groups(right);
    let shown = match kind {
        Kind::Otp54 => merged(&all),
        _ => all.clone(),
    };
    if let Some(answers) = &seen.answers {
        let should = runs.then(|| format!("R{revision}"));
        let fault = match runs == answers.is_empty() {
            true => Fault::Silence,
            false => Fault::Answers,
        };
        let is: Vec<&String> = answers.keys().collect();
        let right: Vec<&String> = should.iter().collect();
        differ(fault, format!("{is:?}"), format!("{right:?}"));
    }
    if let Some(running) = &seen.running {
        let mut really = BTreeMap::new();
        let mut of = BTreeSet::new();
        for some in running {
            *really.entry(some.annotations.clone()).or_default() += some.count;
            of.insert(some.revision);
        }
        differ(Fault::Running, text(&really), text(&all));
        differ(Fault::Running, format!("{of:?}"), format!("{revisions:?}"));
        let unheard = running.iter().filter(|some| !some.heard).count();
        differ(Fault::Unheard, unheard.to_string(), "0".into());
        let lost = running.iter().filter(|some| !some.listed).count();
        differ(Fault::Lost, lost.to_string(), "0".into());
    }
    differ(Fault::Listed, text(&seen.listed.groups), text(&shown));
    let listed = format!("{:?}", seen.listed.revisions);
    differ(Fault::ListedRevision, listed, format!("{revisions:?}"));
    let listing = |listing: &Listing| format!("{} {:?}", text(&listing.groups), listing.revisions);
    differ(Fault::Told, listing(&seen.told), listing(&seen.listed));
    for failure in &seen.failures {
        differ(Fault::Unasked, failure.clone(), "answered".into());
    }
    found
}

fn groups(state: &State) -> BTreeMap<Annotations, u64> {
    let counts = state.groups();
    let sets = (0..SETS.len()).filter(|set| counts[*set] > 0);
    sets.map(|set| (annotations(set), counts[set])).collect()
}

fn merged(groups: &BTreeMap<Annotations, u64>) -> BTreeMap<Annotations, u64> {
    let total = groups.values().sum();
    let shown = (total > 0).then(|| (Annotations::new(), total));
    shown.into_iter().collect()
}

/// `{}:3 {a=1,b=2}:1`
fn text(groups: &BTreeMap<Annotations, u64>) -> String {
    let group = |(annotations, count): (&Annotations, &u64)| {
        let pairs: Vec<_> = annotations
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        format!("{{{}}}:{count}", pairs.join(","))
    };
    let groups: Vec<_> = groups.iter().map(group).collect();
    match groups.is_empty() {
        true => "nothing".into(),
        false => groups.join(" "),
    }
}

/// Describes what runs.
pub fn describe(state: &State) -> String {
    format!("{} of R{}", text(&groups(state)), state.revision)
}
