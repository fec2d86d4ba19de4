//! Which generation a host is, and what follows.
//!
//! Hosts share subjects and names up to 0.82, and differ in what the same
//! request means. The generation comes from the version a host reports in its
//! ping, never from trying. Source: control-interface reference, section 0.2.

use std::fmt;

use super::wire::HostPing;

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
}

impl From<&HostPing> for Traits {
    fn from(ping: &HostPing) -> Self {
        Self::of(ping.version.as_deref())
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
            },
            Some(text) => {
                let version = Version::parse(text);
                Self {
                    generation: version.map_or(Generation::G3b, Version::generation),
                    version,
                }
            }
        }
    }

    /// Whether the host reports this version or a later one. Those that report
    /// none are older than 0.55.
    pub fn at_least(&self, major: u32, minor: u32, patch: u32) -> bool {
        let since = Version {
            major,
            minor,
            patch,
        };
        match self.version {
            Some(version) => version >= since,
            None => !self.generation.is_otp(),
        }
    }

    /// Whether inventories tell annotations: not those of OTP hosts up to 0.54.
    pub fn shows_annotations(&self) -> bool {
        self.at_least(0, 55, 0)
    }

    /// Which instances an OTP host takes when it is told to stop some.
    pub fn stop_order(&self) -> StopOrder {
        if self.at_least(0, 60, 0) {
            StopOrder::ThoseOfTheFirst
        } else if self.at_least(0, 55, 1) {
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
            None => f.write_str("wasmCloud 0.54 or older"),
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
