//! The contract: the right outcomes of a command for one actor on one host.
//!
//! These are pure functions from a state to the states that are right
//! afterwards. There are several of them where the contract leaves open which
//! instances go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::contract_1x;

/// Annotations as names and values.
pub type Annotations = BTreeMap<String, String>;

/// The annotation sets that commands name: none, one, two that contain the one,
/// and another. Everywhere else an annotation set is its number in this list.
pub const SETS: [&[(&str, &str)]; 4] =
    [&[], &[("a", "1")], &[("a", "1"), ("b", "2")], &[("c", "3")]];

/// A number in [`SETS`].
pub type Set = usize;

/// How many instances run of each annotation set.
pub type Groups = [u64; SETS.len()];

/// Returns the annotations of a set.
pub fn annotations(set: Set) -> Annotations {
    let pairs = SETS[set].iter();
    pairs.map(|(k, v)| (k.to_string(), v.to_string())).collect()
}

/// Returns whether `all` holds every pair of `some`.
pub fn contains(all: Set, some: Set) -> bool {
    SETS[some].iter().all(|pair| SETS[all].contains(pair))
}

/// A command for the actor on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Start { set: Set, count: u16, revision: u32 },
    Scale { set: Set, count: u16, revision: u32 },
    Stop { set: Set, count: u16 },
    Update { set: Set, revision: u32 },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Start {
                set,
                count,
                revision,
            } => {
                write!(f, "StartActor {} {count} of R{revision}", named(set))
            }
            Self::Scale {
                set,
                count,
                revision,
            } => {
                write!(f, "ScaleActor {} to {count} of R{revision}", named(set))
            }
            Self::Stop { set, count } => write!(f, "StopActor {} {count}", named(set)),
            Self::Update { set, revision } => {
                write!(f, "UpdateActor {} to R{revision}", named(set))
            }
        }
    }
}

/// `{a=1,b=2}`
fn named(set: Set) -> String {
    let pairs: Vec<_> = SETS[set].iter().map(|(k, v)| format!("{k}={v}")).collect();
    format!("{{{}}}", pairs.join(","))
}

impl Order {
    /// Returns the revision whose reference it names.
    pub fn revision(self) -> Option<u32> {
        match self {
            Self::Start { revision, .. }
            | Self::Scale { revision, .. }
            | Self::Update { revision, .. } => Some(revision),
            Self::Stop { .. } => None,
        }
    }

    /// Returns the same order of this revision; a stop names none.
    pub fn of(mut self, named: u32) -> Self {
        if let Self::Start { revision, .. }
        | Self::Scale { revision, .. }
        | Self::Update { revision, .. } = &mut self
        {
            *revision = named;
        }
        self
    }
}

/// The kind of host, as far as it limits what can be commanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OTP 0.52 to 0.55.0: neither shows annotations nor looks at them.
    Otp54,
    /// OTP 0.55.1 to 0.59: selects by annotations, then counts.
    Otp59,
    /// OTP 0.60 to 0.63: counts, then selects by annotations.
    Otp60,
    /// Rust hosts up to 0.82.
    Rust,
    /// Hosts of 1.x: a component has one set of annotations and one reference.
    V1,
}

impl Kind {
    /// Returns the kind of a 0.x host of this version, which is 0.52 to 0.82.
    pub fn of(version: &str) -> Self {
        let mut numbers = version
            .split('.')
            .skip(1)
            .map(|n| n.parse::<u32>().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        match (next(), next()) {
            (..=54, _) | (55, 0) => Self::Otp54,
            (55..=59, _) => Self::Otp59,
            (60..=63, _) => Self::Otp60,
            _ => Self::Rust,
        }
    }
}

/// What runs of the actor.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct State {
    /// The annotation set of each instance: the oldest first on OTP hosts,
    /// sorted elsewhere.
    instances: Vec<Set>,
    /// The revision that runs, or the last one that ran.
    pub revision: u32,
    /// Whether the host lists a reference that an update has replaced
    /// (docs/hosts.md#otp-lists-old-reference-after-update).
    relabelled: bool,
}

impl State {
    /// Returns how many instances run.
    pub fn total(&self) -> usize {
        self.instances.len()
    }

    /// Returns how many instances run of each annotation set.
    pub fn groups(&self) -> Groups {
        let mut groups = Groups::default();
        for set in &self.instances {
            groups[*set] += 1;
        }
        groups
    }

    /// Returns the annotation set that all have on hosts of 1.x, where any run.
    pub fn set(&self) -> Option<Set> {
        self.instances.first().copied()
    }

    fn matching(&self, wanted: Set) -> usize {
        let matches = |set: &&Set| contains(**set, wanted);
        self.instances.iter().filter(matches).count()
    }

    fn with(&self, kind: Kind, set: Set, count: usize, revision: u32) -> Self {
        let mut next = self.clone();
        if next.instances.is_empty() {
            (next.revision, next.relabelled) = (revision, false);
        }
        next.instances.extend(std::iter::repeat_n(set, count));
        if matches!(kind, Kind::Rust | Kind::V1) {
            next.instances.sort_unstable();
        }
        next
    }

    /// Returns every way to take away so many of the matching instances. Of
    /// equal ones the oldest go.
    fn without(&self, wanted: Set, count: usize) -> Vec<Self> {
        let mut states = BTreeSet::from([self.clone()]);
        for _ in 0..count {
            let fewer = states.iter().flat_map(|state| {
                let sets: BTreeSet<Set> = state.instances.iter().copied().collect();
                let sets = sets.into_iter().filter(|set| contains(*set, wanted));
                sets.map(|set| {
                    let mut fewer = state.clone();
                    let oldest = fewer.instances.iter().position(|s| *s == set);
                    fewer.instances.remove(oldest.unwrap());
                    fewer
                })
            });
            states = fewer.collect();
        }
        states.into_iter().collect()
    }
}

/// Returns the states that are right after the command was accepted; none where
/// it must be refused.
pub fn after(kind: Kind, state: &State, order: Order) -> Vec<State> {
    if must_refuse(kind, state, order).is_some() {
        return Vec::new();
    }
    match order {
        Order::Start {
            set,
            count,
            revision,
        } => {
            vec![state.with(kind, set, count.max(1).into(), revision)]
        }
        Order::Scale {
            set,
            count,
            revision,
        } => {
            let (have, wanted) = (state.matching(set), usize::from(count));
            let set = match kind {
                Kind::V1 => contract_1x::of_more(state, set),
                _ => set,
            };
            match wanted.checked_sub(have) {
                Some(more) => vec![state.with(kind, set, more, revision)],
                None => state.without(set, have - wanted),
            }
        }
        Order::Stop { set, .. } => state.without(set, leaving(state, order).unwrap_or(0)),
        Order::Update { revision, .. } => {
            let mut next = state.clone();
            next.revision = revision;
            next.relabelled = matches!(kind, Kind::Otp59 | Kind::Otp60);
            vec![next]
        }
    }
}

/// Returns how many instances a command takes away, if it does so.
fn leaving(state: &State, order: Order) -> Option<usize> {
    match order {
        Order::Stop { set, count: 0 } => Some(state.matching(set)),
        Order::Stop { set, count } => Some(state.matching(set).min(count.into())),
        Order::Scale { set, count, .. } => state.matching(set).checked_sub(count.into()),
        _ => None,
    }
}

/// Returns whether a command adds instances.
fn grows(state: &State, order: Order) -> bool {
    match order {
        Order::Start { .. } => true,
        Order::Scale { set, count, .. } => usize::from(count) > state.matching(set),
        Order::Stop { .. } | Order::Update { .. } => false,
    }
}

/// Returns why a command must not be accepted.
pub fn must_refuse(kind: Kind, state: &State, order: Order) -> Option<&'static str> {
    match order {
        Order::Start { revision, .. } if state.total() > 0 && revision != state.revision => {
            Some("another reference of the actor runs: UpdateActor")
        }
        Order::Scale { revision, .. }
            if grows(state, order) && state.total() > 0 && revision != state.revision =>
        {
            Some("another reference of the actor runs: UpdateActor")
        }
        Order::Stop { set, .. } if state.matching(set) == 0 => Some("nothing to stop"),
        Order::Update { .. } if state.total() == 0 => Some("nothing to update"),
        Order::Update { set, .. } if state.matching(set) == 0 => Some("nothing to update"),
        Order::Update { set, .. } if state.matching(set) < state.total() => {
            Some("an update of some groups only")
        }
        _ if kind == Kind::V1 => contract_1x::must_refuse(state, order),
        _ => None,
    }
}

/// Returns why a command may be refused: the contract or the host does not
/// allow it.
pub fn may_refuse(kind: Kind, state: &State, order: Order) -> Option<&'static str> {
    must_refuse(kind, state, order).or_else(|| cannot(kind, state, order))
}

/// Returns why a host of this kind cannot carry out a command that the contract
/// allows.
fn cannot(kind: Kind, state: &State, order: Order) -> Option<&'static str> {
    let (Order::Start { set, .. }
    | Order::Scale { set, .. }
    | Order::Stop { set, .. }
    | Order::Update { set, .. }) = order;
    let starts = matches!(order, Order::Start { .. });
    if kind == Kind::V1 {
        return contract_1x::may_refuse(state, order);
    }
    if kind == Kind::Otp54 && set != 0 && !starts {
        return Some("the host shows no annotations");
    }
    if grows(state, order) && state.total() > 0 && state.relabelled {
        return Some(
            "the host lists the reference from before an update \
             (docs/hosts.md#otp-lists-old-reference-after-update)",
        );
    }
    let other = matches!(order, Order::Scale { revision, .. } if revision != state.revision);
    if other && state.total() > 0 {
        return Some("a scale of another reference than the one that runs");
    }
    let older = matches!(order, Order::Update { revision, .. } if revision <= state.revision);
    if kind != Kind::Rust && older {
        return Some("the host takes newer revisions only");
    }
    let gone = leaving(state, order).unwrap_or(0);
    let all_matching = gone > 0 && gone == state.matching(set);
    let others_stay = gone < state.total();
    let newest_goes = state.instances.last().is_some_and(|s| contains(*s, set));
    let unheard = match kind {
        Kind::Otp59 => all_matching && others_stay,
        Kind::Otp60 => all_matching && others_stay && newest_goes,
        Kind::Otp54 | Kind::Rust | Kind::V1 => false,
    };
    unheard.then_some(
        "the instances that stay would get no calls \
         (docs/hosts.md#stop-ends-call-subscription)",
    )
}

/// The outcome of a command, by its acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused(String),
    /// Whether it was carried out is unknown.
    Unknown(String),
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Unknown(why) => write!(f, "unknown: {why}"),
        }
    }
}

/// Returns the states that are right after the command and its answer, for the
/// states that may have been before it. None where the answer itself is wrong.
pub fn step(kind: Kind, before: &[State], order: Order, answer: &Answer) -> Vec<State> {
    let accepted = || before.iter().flat_map(|state| after(kind, state, order));
    let states: BTreeSet<State> = match answer {
        Answer::Accepted => accepted().collect(),
        Answer::Refused(_) => {
            let allowed = |state: &&State| may_refuse(kind, state, order).is_some();
            before.iter().filter(allowed).cloned().collect()
        }
        Answer::Unknown(_) => accepted().chain(before.iter().cloned()).collect(),
    };
    states.into_iter().collect()
}
