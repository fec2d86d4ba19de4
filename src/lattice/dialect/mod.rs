//! How a host is talked to.
//!
//! A host is talked to in the words of the control protocol on whose ping it answers: [`v0`]
//! with the [`quirks`] of its version, or [`v1`] with what hosts of its version do. Nothing
//! above this folder formats a subject, reads a body or compares versions.

mod event;
pub mod quirks;
pub mod request;
pub mod v0;
pub mod v1;
pub mod version;

use std::fmt;

use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::v1::behaviour::Behaviour;
use crate::lattice::dialect::version::Reported;
use crate::lattice::model::{ActorInstance, Host, Protocol};
use crate::name::HostId;

/// How to talk to a host, by what it reports of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// In the control protocol of 0.x.
    V0(Software),
    /// In that of 1.x.
    V1(Software1x),
}

/// What runs on a host of 1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Software1x {
    reported: Reported,
    /// What hosts of its version do.
    pub behaviour: &'static Behaviour,
}

/// What runs on a host of 0.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Software {
    reported: Reported,
    /// What hosts of its version do.
    pub quirks: &'static Quirks,
}

impl From<&Host> for Dialect {
    fn from(host: &Host) -> Self {
        let has_name = host.friendly_name.is_some();
        Self::new(host.protocol, host.version.as_deref(), has_name)
    }
}

impl Dialect {
    /// Chooses by the version in a heartbeat, which does not tell whether a host has a
    /// name.
    pub fn of_version(protocol: Protocol, version: Option<&str>) -> Self {
        Self::new(protocol, version, true)
    }

    fn new(protocol: Protocol, version: Option<&str>, has_name: bool) -> Self {
        let reported = Reported::parse(version);
        match protocol {
            Protocol::V0 => Self::V0(Software {
                reported,
                quirks: Quirks::of(reported, has_name),
            }),
            Protocol::V1 => Self::V1(Software1x {
                reported,
                behaviour: Behaviour::of(reported),
            }),
        }
    }

    /// Returns the protocol that the host speaks.
    pub fn protocol(&self) -> Protocol {
        match self {
            Self::V0(_) => Protocol::V0,
            Self::V1(_) => Protocol::V1,
        }
    }

    /// Tells whether the host takes no command in the words that this provider has.
    pub fn is_too_old_for_commands(&self) -> bool {
        self.quirks()
            .is_some_and(|quirks| quirks.is_too_old_for_commands)
    }

    /// Tells whether the host bids only where its labels meet the constraints.
    pub fn checks_constraints(&self) -> bool {
        self.quirks().is_none_or(|quirks| quirks.checks_constraints)
    }

    /// Returns how many instances an entry of an inventory stands for.
    pub fn instances_of(&self, entry: &ActorInstance) -> u32 {
        match self {
            Self::V0(software) => software.quirks.instances_of(entry),
            Self::V1(_) => v1::inventory::instances_of(entry),
        }
    }

    /// Returns the id of one of the instances that an entry of an inventory stands for.
    /// They count from 1.
    pub fn instance_id(
        &self,
        host: &HostId,
        actor: &str,
        entry: &ActorInstance,
        number: u32,
    ) -> String {
        match (self, number) {
            (Self::V1(_), _) => v1::inventory::instance_id(host.as_str(), actor, number - 1),
            (Self::V0(_), 1) => entry.instance_id.clone(),
            (Self::V0(_), _) => format!("{}#{number}", entry.instance_id),
        }
    }

    /// Tells whether the host does not bid for an actor in some auctions: those of which it
    /// does not meet the constraints. Others bid in any case
    /// (docs/hosts.md#constraints-ignored-by-rust-hosts).
    pub fn declines(&self) -> bool {
        self.quirks().is_none_or(|quirks| quirks.checks_constraints)
    }

    /// Returns the quirks of a 0.x host.
    pub fn quirks(&self) -> Option<&'static Quirks> {
        match self {
            Self::V0(software) => Some(software.quirks),
            Self::V1(_) => None,
        }
    }

    /// Tells whether both report the same version.
    pub fn has_version_of(&self, other: &Self) -> bool {
        self.reported() == other.reported()
    }

    fn reported(&self) -> Reported {
        match self {
            Self::V0(software) => software.reported,
            Self::V1(software) => software.reported,
        }
    }
}

/// Tells of which protocol a subject of the control interface is.
pub fn protocol_of(subject: &str) -> Option<Protocol> {
    if v1::subject::is_of_v1(subject) {
        return Some(Protocol::V1);
    }
    v0::subject::is_of_v0(subject).then_some(Protocol::V0)
}

impl fmt::Display for Software {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reported {
            Reported::Version(version) => write!(f, "wasmCloud {version}"),
            Reported::Nothing if self.quirks.is_too_old_for_commands => {
                f.write_str("wasmCloud 0.51 or older")
            }
            Reported::Nothing => f.write_str("wasmCloud 0.54 or older"),
            Reported::Unreadable => f.write_str("wasmCloud of a version that cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ping_on_which_a_host_answers_tells_its_protocol_and_not_its_version() {
        for version in [
            None,
            Some("0.27.1"),
            Some("0.82.0"),
            Some("1.9.2"),
            Some("x"),
        ] {
            for protocol in [Protocol::V0, Protocol::V1] {
                let dialect = Dialect::of_version(protocol, version);
                assert_eq!(dialect.protocol(), protocol, "{version:?}");
            }
        }
    }

    #[test]
    fn heartbeats_of_a_host_without_a_name_are_those_of_any_old_host() {
        let ping = Dialect::from(&Host::default());
        assert!(ping.quirks().unwrap().is_too_old_for_commands);
        assert!(ping.has_version_of(&Dialect::of_version(Protocol::V0, None)));
        assert!(!ping.has_version_of(&Dialect::of_version(Protocol::V0, Some("nightly"))));
    }
}
