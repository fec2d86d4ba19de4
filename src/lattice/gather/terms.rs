//! When a gather ends: the hosts that it waits for, and how long.

use std::collections::HashMap;
use std::time::Duration;

use crate::deadline::Deadline;
use crate::name::HostId;

/// The hosts that a gather waits for.
#[derive(Clone, Debug, Default)]
pub struct ExpectedHosts {
    /// The hosts that are known.
    pub hosts: HashMap<HostId, Expectation>,
    /// Whether these are all hosts, as far as is known: the gather ends when they have
    /// answered.
    pub are_all: bool,
}

/// How long a host is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// How long after the question it is waited for in any case.
    pub within: Duration,
    /// Whether it may be gone: then it is not waited for any longer than that.
    pub doubtful: bool,
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
    /// How long after the last reply it ends once every expected host has answered.
    pub grace: Duration,
    /// The hosts to wait for.
    pub expected: ExpectedHosts,
    /// Which replies are needed.
    pub enough: Enough,
}

/// Why a gather ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The server said that nobody listens.
    NoResponders,
    /// The reply that was needed came.
    Found,
    /// Every expected host answered, and the grace period passed.
    Complete,
    /// No further reply came for the stall period.
    Stall,
    /// The deadline passed.
    Deadline,
    /// More replies came than one gather takes.
    Limit,
}
