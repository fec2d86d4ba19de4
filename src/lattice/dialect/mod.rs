//! How a host is talked to.
//!
//! A host of wasmCloud 0.x is talked to in the words of [`v0`], with the [`quirks`] of
//! its version. Hosts of 1.x have another control protocol, which would stand in a
//! folder `v1` beside it: a variant of [`Dialect`] then holds what it needs, and
//! functions that take the quirks of a host today take its dialect. Nothing above this
//! folder formats a subject, reads a body or compares versions.

pub mod quirks;
pub mod v0;
pub mod version;

use std::fmt;

use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::version::{Reported, Version};
use crate::lattice::model::Host;

/// How to talk to a host, by what it reports of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// In the control protocol of 0.x.
    V0(Software),
    /// In that of 1.x, which this provider does not speak.
    V1(Version),
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
        Self::new(host.version.as_deref(), host.friendly_name.is_some())
    }
}

impl Dialect {
    /// Chooses by the version in a heartbeat, which does not tell whether a host has a
    /// name.
    pub fn of_version(version: Option<&str>) -> Self {
        Self::new(version, true)
    }

    fn new(version: Option<&str>, has_name: bool) -> Self {
        match Reported::parse(version) {
            Reported::Version(version) if version >= Version::new(1, 0, 0) => Self::V1(version),
            reported => Self::V0(Software {
                reported,
                quirks: Quirks::of(reported, has_name),
            }),
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
            Self::V1(version) => Reported::Version(*version),
        }
    }
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
    fn hosts_of_another_protocol_are_known_as_such() {
        for version in ["1.0.0", "v1.9.2-rc.1", "2"] {
            let dialect = Dialect::of_version(Some(version));
            assert!(matches!(dialect, Dialect::V1(_)), "{version}");
        }
        for version in [None, Some(""), Some("0.99.0"), Some("nightly")] {
            let dialect = Dialect::of_version(version);
            assert!(matches!(dialect, Dialect::V0(_)), "{version:?}");
        }
    }

    #[test]
    fn heartbeats_of_a_host_without_a_name_are_those_of_any_old_host() {
        let ping = Dialect::from(&Host::default());
        assert!(ping.quirks().unwrap().is_too_old_for_commands);
        assert!(ping.has_version_of(&Dialect::of_version(None)));
        assert!(!ping.has_version_of(&Dialect::of_version(Some("nightly"))));
    }
}
