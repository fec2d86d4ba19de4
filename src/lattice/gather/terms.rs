//! When a gather ends: the hosts that it waits for, and how long.

use std::collections::HashMap;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::lattice::model::Protocol;
use crate::name::HostId;

/// The hosts that a gather waits for.
#[derive(Clone, Debug, Default)]
pub struct ExpectedHosts {
    /// The hosts that are known.
    pub hosts: HashMap<HostId, Expectation>,
    /// What others there may be. The bid of one is waited for for the grace period after its
    /// answer to the ping.
    pub others: Others,
}

/// What hosts there may be beside those that are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Others {
    /// Any: the gather ends when no reply comes for the stall period.
    #[default]
    Any,
    /// Those that came since all were pinged: they have the grace period, once every
    /// known host has answered.
    Newcomers,
    /// None: one that came would have been heard. The gather ends with the answer of the
    /// last known host.
    None,
}

/// How long a host is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How long after the question it is waited for in any case.
    pub within: Duration,
    /// Whether it may be gone: then it is not waited for any longer than that.
    pub doubtful: bool,
    /// On which ping it answers.
    pub protocol: Protocol,
    /// How long after its answer to the ping its bid is waited for, where an auction is
    /// held: no longer than the grace period.
    pub bid_within: Duration,
}

/// Which replies a gather needs.
#[derive(Clone, Debug)]
pub enum Enough {
    /// One of every host.
    All,
    /// Any.
    First,
    /// That of this host.
    Host(HostId),
}

/// When a gather ends.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The moment at which it ends in any case.
    pub deadline: Deadline,
    /// How long after the last reply it ends while hosts are missing or not all are known.
    pub stall: Duration,
    /// How long newcomers are waited for after the last reply, once every expected host
    /// has answered. A bid is waited for no longer than this after its host's answer.
    pub grace: Duration,
    /// The hosts to wait for.
    pub expected: ExpectedHosts,
    /// Which replies are needed.
    pub enough: Enough,
}

/// Why a gather ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server said that nobody listens, to any of the pings.
    NoResponders,
    /// The reply that was needed came.
    Found,
    /// Every expected host answered, and the time of newcomers and of bids has passed.
    Complete,
    /// No further reply came for the stall period.
    Stall,
    /// The deadline passed.
    Deadline,
    /// More replies came than one gather takes.
    Limit,
}
