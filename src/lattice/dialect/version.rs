//! The version of wasmCloud that a host reports.

use std::fmt;

/// A version as far as it tells hosts apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

impl Version {
    pub(super) const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads `0.79.1`, also with a suffix such as `-rc1`; missing parts are 0.
    fn parse(text: &str) -> Option<Self> {
        let plain = text.trim_start_matches('v');
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
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What a host reports of its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// Nothing: OTP hosts up to 0.54.
    Nothing,
    /// A text that is no version, as nightly builds do.
    Unreadable,
    /// This version.
    Version(Version),
}

impl Reported {
    /// Reads what a ping or a heartbeat says.
    pub fn parse(text: Option<&str>) -> Self {
        match text.map(str::trim).filter(|text| !text.is_empty()) {
            None => Self::Nothing,
            Some(text) => Version::parse(text).map_or(Self::Unreadable, Self::Version),
        }
    }
}
