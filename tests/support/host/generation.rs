//! The versions of hosts that are simulated.

/// A version of host, as far as the versions differ in tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    /// OTP 0.51.0: its pings have no name, and it takes other commands
    /// (docs/hosts.md#old-hosts-take-other-commands).
    Otp51,
    /// OTP 0.54.0: its pings have no version and labels, it has no bucket, and
    /// its inventory repeats actors.
    G1a,
    /// OTP 0.59.0: the last one without a bucket.
    Otp59,
    /// OTP 0.60.0: the first one with a bucket.
    Otp60,
    /// OTP 0.63.2.
    G1b,
    /// Rust 0.78.0: counts are instances.
    G2a,
    /// Rust 0.80.0: counts are "max concurrent" per set of annotations.
    G2b,
    /// Rust 0.81.0: as 0.80.0, without `la`
    /// (docs/hosts.md#no-command-to-start-actors).
    G3a,
    /// Rust 0.82.0: as 0.81.0, counts of 32 bits, never absent.
    G3b,
}

impl Generation {
    /// One of each kind that the provider serves.
    pub const ALL: [Self; 6] = [
        Self::G1a,
        Self::G1b,
        Self::G2a,
        Self::G2b,
        Self::G3a,
        Self::G3b,
    ];

    /// Every simulated version, also the one that is too old to be served.
    pub const EVERY: [Self; 9] = [
        Self::Otp51,
        Self::G1a,
        Self::Otp59,
        Self::Otp60,
        Self::G1b,
        Self::G2a,
        Self::G2b,
        Self::G3a,
        Self::G3b,
    ];

    pub fn version(self) -> &'static str {
        match self {
            Self::Otp51 => "0.51.0",
            Self::G1a => "0.54.0",
            Self::Otp59 => "0.59.0",
            Self::Otp60 => "0.60.0",
            Self::G1b => "0.63.2",
            Self::G2a => "0.78.0",
            Self::G2b => "0.80.0",
            Self::G3a => "0.81.0",
            Self::G3b => "0.82.0",
        }
    }

    pub fn is_otp(self) -> bool {
        self <= Self::G1b
    }

    pub fn is_g3(self) -> bool {
        self >= Self::G3a
    }

    /// Returns whether it keeps a maximum for each annotation set.
    pub fn counts_maximum(self) -> bool {
        self >= Self::G2b
    }

    /// Returns whether it keeps links and claims in the bucket.
    pub fn keeps_bucket(self) -> bool {
        self >= Self::Otp60
    }

    /// Returns whether it keeps the annotations of actors (OTP hosts do from
    /// 0.54.5 on).
    pub fn keeps_annotations(self) -> bool {
        self >= Self::Otp59
    }

    /// Returns whether a stop can end the subscription for an actor's calls
    /// (docs/hosts.md#stop-ends-call-subscription).
    pub fn ends_subscriptions(self) -> bool {
        self.is_otp() && self >= Self::Otp59
    }
}
