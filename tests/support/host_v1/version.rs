//! The versions of 1.x hosts that are simulated.

/// A version of 1.x host, as far as the versions differ on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// 1.0.0: the only one that replaces code in an update.
    V100,
    /// 1.0.1: the first one that keeps the old code running.
    V101,
    /// 1.1.0: the first one with `allow_update`; most failures show nowhere.
    V110,
    /// 1.3.0: the first one with prose in its answers; it says every failure.
    V130,
    /// 1.5.0: the last one that needs the image for a stop.
    V150,
    /// 1.5.1: stops without the image.
    V151,
    /// 1.6.0: the `host_id` in a body counts, and providers that exit are
    /// started again.
    V160,
    /// 1.9.2.
    V192,
}

impl Version {
    pub const ALL: [Self; 8] = [
        Self::V100,
        Self::V101,
        Self::V110,
        Self::V130,
        Self::V150,
        Self::V151,
        Self::V160,
        Self::V192,
    ];

    /// Returns what its hosts tell.
    pub fn number(self) -> &'static str {
        match self {
            Self::V100 => "1.0.0",
            Self::V101 => "1.0.1",
            Self::V110 => "1.1.0",
            Self::V130 => "1.3.0",
            Self::V150 => "1.5.0",
            Self::V151 => "1.5.1",
            Self::V160 => "1.6.0",
            Self::V192 => "1.9.2",
        }
    }

    /// Returns whether every failed scale has an event (from 1.1.1 on).
    pub fn says_every_failure(self) -> bool {
        self > Self::V110
    }

    /// Returns whether it can stop a component whose image is out of reach.
    pub fn stops_without_image(self) -> bool {
        self >= Self::V151
    }

    /// Returns whether the `host_id` in bodies counts.
    pub fn believes_bodies(self) -> bool {
        self >= Self::V160
    }

    /// Returns whether the code that ran before an update goes on running.
    pub fn keeps_old_code(self) -> bool {
        self >= Self::V101
    }

    /// Returns whether it takes the reference of a component auction for its
    /// id.
    pub fn mistakes_ref_for_id(self) -> bool {
        self >= Self::V130
    }

    /// Returns whether inventories list provider images without scheme.
    pub fn drops_schemes(self) -> bool {
        self >= Self::V150
    }
}
