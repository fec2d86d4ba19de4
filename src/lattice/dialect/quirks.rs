//! Which generation a host is, and what follows.
//!
//! Hosts share subjects and names up to 0.82, and differ in what the same
//! request means. The generation comes from the version a host reports in its
//! ping, never from trying. Source: control-interface reference, section 0.2.

use std::fmt;

use crate::lattice::dialect::v0::wire::Host;

/// The generations that differ for a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// OTP 0.50 to 0.59: no bucket, and up to 0.54 no version in pings.
    G1a,
    /// OTP 0.60 to 0.63.
    G1b,
    /// Rust 0.78.0 and 0.79.0: counts are instances.
    G2a,
    /// Rust 0.79.1 and 0.80: counts are a maximum for each set of annotations.
    G2b,
    /// Rust 0.81: as G2b, without a subject to start actors.
    G3a,
    /// Rust 0.82: as 0.81, counts are 32 bits wide.
    G3b,
    /// 1.0 and later: another protocol, which this provider does not speak.
    V1,
}

impl Generation {
    /// Elixir hosts.
    pub fn is_otp(self) -> bool {
        matches!(self, Self::G1a | Self::G1b)
    }

    /// Hosts that keep one maximum for each set of annotations instead of
    /// instances.
    pub fn counts_maximum(self) -> bool {
        matches!(self, Self::G2b | Self::G3a | Self::G3b)
    }

    /// The count that means "without limit" on this generation.
    pub fn unbounded(self) -> u32 {
        match self {
            Self::G2b | Self::G3a => u32::from(u16::MAX),
            _ => u32::MAX,
        }
    }
}

/// A version as far as it tells generations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    /// Reads `0.79.1`, also with a suffix such as `-rc1`; parts that are
    /// missing are 0.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.trim().trim_start_matches('v');
        let plain = plain.split(['-', '+']).next()?;
        let mut parts = plain.split('.').map(|part| part.parse().ok());
        let major = parts.next()??;
        let mut next = || parts.next().map_or(Some(0), |part| part);
        Some(Self {
            major,
            minor: next()?,
            patch: next()?,
        })
    }

    /// The generation of hosts of this version.
    pub fn generation(self) -> Generation {
        match (self.major, self.minor, self.patch) {
            (0, ..=59, _) => Generation::G1a,
            (0, 60..=77, _) => Generation::G1b,
            (0, 78, _) | (0, 79, 0) => Generation::G2a,
            (0, 79..=80, _) => Generation::G2b,
            (0, 81, _) => Generation::G3a,
            (0, _, _) => Generation::G3b,
            _ => Generation::V1,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a host's version says about it. None is reported by OTP up to 0.54.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// The generation.
    pub generation: Generation,
    version: Option<Version>,
    /// Before 0.52.0, as its ping shows; a heartbeat does not.
    nameless: bool,
}

impl From<&Host> for Traits {
    fn from(ping: &Host) -> Self {
        let traits = Self::of(ping.version.as_deref());
        Self {
            // Names came with 0.52.0, orders as they are sent here with 0.52.1
            // (trap T47).
            nameless: traits.version_is_untold() && ping.friendly_name.is_none(),
            ..traits
        }
    }
}

impl Traits {
    /// From the version that a host reports. One that cannot be read counts as
    /// the newest we know, as nightly builds report.
    pub fn of(version: Option<&str>) -> Self {
        match version.map(str::trim).filter(|text| !text.is_empty()) {
            None => Self {
                generation: Generation::G1a,
                version: None,
                nameless: false,
            },
            Some(text) => {
                let version = Version::parse(text);
                Self {
                    generation: version.map_or(Generation::G3b, Version::generation),
                    version,
                    nameless: false,
                }
            }
        }
    }

    /// Whether it is of this version or a later one. One that tells no version is
    /// older than 0.55.0, the first that does; one whose version cannot be read
    /// counts as the newest.
    pub fn is_at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        let since = Version {
            major,
            minor,
            patch,
        };
        match self.version {
            Some(version) => version >= since,
            None => !self.version_is_untold(),
        }
    }

    /// Whether it tells no version: OTP before 0.55.0.
    pub fn version_is_untold(&self) -> bool {
        self.version.is_none() && self.generation == Generation::G1a
    }

    /// Whether it is known to take orders in another way than all later hosts
    /// (trap T47). 0.52.0 does, too, and cannot be told from 0.52.1.
    pub fn is_too_old(&self) -> bool {
        self.nameless
    }

    /// Whether a host that said the one says the other in a heartbeat.
    pub fn beats_as(&self, heartbeat: &Self) -> bool {
        (self.generation, self.version) == (heartbeat.generation, heartbeat.version)
    }

    /// Whether inventories tell annotations: not those of OTP hosts up to 0.54.
    pub fn shows_annotations(&self) -> bool {
        self.is_at_least(0, 55, 0)
    }

    /// Which instances an OTP host takes when it is told to stop some.
    pub fn stop_order(&self) -> StopOrder {
        if self.is_at_least(0, 60, 0) {
            StopOrder::ThoseOfTheFirst
        } else if self.is_at_least(0, 55, 1) {
            StopOrder::FirstThatMatch
        } else {
            StopOrder::First
        }
    }
}

/// Which instances an OTP host stops, told a number and annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopOrder {
    /// The first so many, whatever their annotations.
    First,
    /// The first so many of those that match.
    FirstThatMatch,
    /// Those that match among the first so many.
    ThoseOfTheFirst,
}

impl fmt::Display for Traits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "wasmCloud {version}"),
            None if self.nameless => f.write_str("wasmCloud 0.51 or older"),
            None if self.version_is_untold() => f.write_str("wasmCloud 0.54 or older"),
            None => f.write_str("wasmCloud of a version that cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_the_generation() {
        for (version, generation) in [
            (None, Generation::G1a),
            (Some(""), Generation::G1a),
            (Some("0.55.0"), Generation::G1a),
            (Some("0.59.0"), Generation::G1a),
            (Some("0.60.0"), Generation::G1b),
            (Some("0.63.2"), Generation::G1b),
            (Some("0.78.0"), Generation::G2a),
            (Some("0.79.0"), Generation::G2a),
            (Some("0.79.1"), Generation::G2b),
            (Some("0.80.0"), Generation::G2b),
            (Some("v0.81.0-rc1"), Generation::G3a),
            (Some("0.82.0"), Generation::G3b),
            (Some("0.83"), Generation::G3b),
            (Some("nightly"), Generation::G3b),
            (Some("1.0.0"), Generation::V1),
            (Some("1.9.2"), Generation::V1),
        ] {
            assert_eq!(Traits::of(version).generation, generation, "{version:?}");
        }
    }

    #[test]
    fn hosts_without_version_and_name_are_too_old_for_orders() {
        let ping = |version: Option<&str>, name: Option<&str>| {
            Traits::from(&Host {
                version: version.map(Into::into),
                friendly_name: name.map(Into::into),
                ..Host::default()
            })
        };
        assert!(ping(None, None).is_too_old());
        assert!(!ping(None, Some("silent-river-1021")).is_too_old());
        assert!(!ping(Some("0.63.2"), None).is_too_old());
        assert!(!ping(Some("nightly"), None).is_too_old());
        // Its heartbeats look like those of any other old host.
        assert!(ping(None, None).beats_as(&Traits::of(None)));
    }

    #[test]
    fn a_host_that_tells_no_version_is_older_than_the_first_that_does() {
        for (version, is) in [
            (None, false),
            (Some("0.55.0"), true),
            (Some("0.63.2"), true),
            (Some("nightly"), true),
        ] {
            assert_eq!(Traits::of(version).is_at_least(0, 55, 0), is, "{version:?}");
        }
        assert!(Traits::of(Some("0.57.2")).is_at_least(0, 57, 2));
        assert!(!Traits::of(Some("0.57.1")).is_at_least(0, 57, 2));
        assert!(Traits::of(Some("0.60.0")).is_at_least(0, 57, 2));
    }

    #[test]
    fn otp_hosts_differ_in_what_they_stop_first() {
        for (version, order, shows) in [
            (None, StopOrder::First, false),
            (Some("0.55.0"), StopOrder::First, true),
            (Some("0.55.1"), StopOrder::FirstThatMatch, true),
            (Some("0.59.0"), StopOrder::FirstThatMatch, true),
            (Some("0.60.0"), StopOrder::ThoseOfTheFirst, true),
            (Some("0.63.2"), StopOrder::ThoseOfTheFirst, true),
        ] {
            let traits = Traits::of(version);
            assert_eq!(traits.stop_order(), order, "{version:?}");
            assert_eq!(traits.shows_annotations(), shows, "{version:?}");
        }
    }
}
