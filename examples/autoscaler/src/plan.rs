//! Plans commands from the state of a lattice. These are pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::Desired;

/// The state of an actor in the named zones of a lattice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The zones, by name.
    pub zones: BTreeMap<String, Zone>,
    /// The hosts that did not tell their inventory.
    pub unseen: Vec<Unseen>,
}

/// A zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// The hosts that told their inventory, by id.
    pub runners: BTreeMap<String, Runner>,
    /// Which other hosts would run the actor.
    pub auction: Auction,
}

impl Zone {
    /// Instances in the zone.
    pub fn running(&self) -> u32 {
        let runners = self.runners.values();
        runners.map(|runner| u32::from(runner.instances)).sum()
    }
}

/// A host that told its inventory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Instances of the actor that count.
    pub instances: u16,
    /// Whether it can scale and stop the instances with certain annotations.
    /// Other hosts scale all that they run of an actor, so all of it counts.
    pub by_annotations: bool,
}

/// The outcome of asking which hosts of a zone would run the actor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auction {
    /// No host was asked, since enough instances run.
    #[default]
    NotHeld,
    /// The hosts that bid.
    Bids(BTreeSet<String>),
    /// The auction failed for this reason.
    Failed(String),
}

/// A host whose inventory is unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// Its id.
    pub host: String,
    /// Why its inventory is unknown.
    pub why: String,
}

/// A part of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A command to a host.
    Order(Order),
    /// Something that cannot be done.
    Lack(Lack),
}

/// A host's new number of instances, where it runs another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The host's zone.
    pub zone: String,
    /// The host.
    pub host: String,
    /// How many instances it runs.
    pub from: u16,
    /// How many instances it shall run; 0 stops them.
    pub to: u16,
    /// As [`Runner::by_annotations`].
    pub by_annotations: bool,
}

/// Instances that no host of a zone can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The zone.
    pub zone: String,
    /// How many.
    pub missing: u32,
    /// Why.
    pub reason: Reason,
}

/// Why instances cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No host of the zone told its inventory.
    NoHost,
    /// There are hosts, and none of them would run the actor.
    NoBid,
    /// It is unknown which hosts would run it.
    NoAuction(String),
}

/// Plans how a lattice gets into the desired state. The plan is empty where it
/// is in that state.
///
/// A command has a number of instances and no difference, so that giving it
/// twice does no harm.
pub fn plan(state: &State, desired: &Desired) -> Vec<Step> {
    let empty = Zone::default();
    let zones = desired.zones.iter();
    zones
        .flat_map(|(name, wanted)| {
            let zone = state.zones.get(name).unwrap_or(&empty);
            in_zone(name, zone, u32::from(*wanted))
        })
        .collect()
}

/// A host, and how many instances it shall run.
struct Share<'a> {
    host: &'a str,
    runner: &'a Runner,
    to: u16,
    takes_more: bool,
}

fn in_zone(name: &str, zone: &Zone, wanted: u32) -> Vec<Step> {
    let mut shares: Vec<Share> = zone
        .runners
        .iter()
        .map(|(host, runner)| Share {
            host,
            runner,
            to: runner.instances,
            // A host that runs some would run more: auctions are not needed for
            // that.
            takes_more: runner.instances > 0
                || matches!(&zone.auction, Auction::Bids(bids) if bids.contains(host)),
        })
        .collect();
    let running = zone.running();
    let missing = add(&mut shares, wanted.saturating_sub(running));
    take_away(&mut shares, running.saturating_sub(wanted));
    let changed = shares
        .iter()
        .filter(|share| share.to != share.runner.instances);
    let orders = changed.map(|share| {
        Step::Order(Order {
            zone: name.to_owned(),
            host: share.host.to_owned(),
            from: share.runner.instances,
            to: share.to,
            by_annotations: share.runner.by_annotations,
        })
    });
    let lack = (missing > 0).then(|| {
        Step::Lack(Lack {
            zone: name.to_owned(),
            missing,
            reason: match &zone.auction {
                _ if shares.is_empty() => Reason::NoHost,
                Auction::Failed(why) => Reason::NoAuction(why.clone()),
                Auction::NotHeld | Auction::Bids(_) => Reason::NoBid,
            },
        })
    });
    orders.chain(lack).collect()
}

/// Adds instances one by one where fewest run, and returns how many found no
/// place.
fn add(shares: &mut [Share<'_>], count: u32) -> u32 {
    for left in (1..=count).rev() {
        let fewest = shares
            .iter_mut()
            .filter(|share| share.takes_more)
            .min_by_key(|share| share.to);
        match fewest {
            Some(share) => share.to = share.to.saturating_add(1),
            None => return left,
        }
    }
    0
}

/// Takes instances away one by one where most run.
fn take_away(shares: &mut [Share<'_>], count: u32) {
    for _ in 0..count {
        if let Some(share) = shares.iter_mut().max_by_key(|share| share.to) {
            share.to = share.to.saturating_sub(1);
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            zone,
            host,
            from,
            to,
            ..
        } = self;
        write!(f, "zone {zone:?}, host {host}: from {from} to {to}")
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (zone, missing) = (&self.zone, self.missing);
        write!(f, "zone {zone:?} lacks {missing}: {}", self.reason)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.write_str("no host there tells what it runs"),
            Self::NoBid => f.write_str("no host there would run it"),
            Self::NoAuction(why) => write!(f, "which hosts would run it is unknown: {why}"),
        }
    }
}

impl fmt::Display for Unseen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what host {} runs: {}", self.host, self.why)
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
