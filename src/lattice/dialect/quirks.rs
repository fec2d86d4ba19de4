//! How hosts of wasmCloud 0.x differ, in one table.
//!
//! All of them share subjects and the names of members, and differ in what they do
//! with the same request. Which row of the table a host has follows from the version
//! that it reports, never from trying. Code outside of this folder asks for a quirk by
//! its name and does not know versions. `docs/hosts.md` has the facts behind each.

use crate::lattice::dialect::version::{Reported, Version};
use crate::lattice::model::ActorInstance;

/// What sets hosts of a version apart. Each member says what such a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// What the counts in inventories and commands are.
    pub counts: Counts,
    /// The count that means "without limit".
    pub unbounded_count: u32,
    /// A command without a count means "without limit", too.
    pub missing_count_is_unbounded: bool,
    /// `scale` has a member for the key of the actor.
    pub scale_names_actor: bool,
    /// It acknowledges a scale when it is done. Other hosts acknowledge first, and
    /// then download the image.
    pub scale_is_done_when_acknowledged: bool,
    /// It adds what a start names to whatever runs by then, so that starts may come in
    /// any order and at the same time.
    pub adds_up_starts_itself: bool,
    /// It refuses to start an actor from another reference than the one that runs.
    pub refuses_starts_from_other_references: bool,
    /// Told to start an actor that runs under another tag, it starts the code that it
    /// has and lists it under the new reference.
    pub starts_old_code_under_new_references: bool,
    /// It keeps the code that an actor was first started with for whatever it starts
    /// later. An update lasts only where the actor is stopped and started again.
    pub keeps_first_code: bool,
    /// An update exchanges the code of every instance, whatever its annotations.
    pub updates_all_annotations: bool,
    /// Which instances it stops, when it is told a number and annotations.
    pub stop_takes: StopTakes,
    /// A stop can take half a second.
    pub stops_slowly: bool,
    /// Inventories contain the annotations of instances.
    pub shows_annotations: bool,
    /// It answers no question for its inventory while the claims of something that
    /// runs are missing from its cache.
    pub may_hide_inventory: bool,
    /// It bids only where its labels meet the constraints of an auction
    /// (docs/hosts.md#constraints-ignored-by-rust-hosts).
    pub checks_constraints: bool,
    /// It keeps links in the metadata bucket, and follows changes there.
    pub keeps_links_in_bucket: bool,
    /// It writes into the metadata bucket of which actor each image reference is, and
    /// goes by that.
    pub keeps_references_in_bucket: bool,
    /// It starts a provider from a file without the configuration that it is told.
    pub loses_configuration_for_files: bool,
    /// It acknowledges the stop of a provider after the provider has shut down, and
    /// answers nothing else meanwhile
    /// (docs/hosts.md#provider-stop-is-answered-late).
    pub answers_after_provider_shutdown: bool,
    /// It may be one of those that neither acknowledge registry credentials nor use
    /// them.
    pub may_ignore_registries: bool,
    /// It knows bindle servers (docs/hosts.md#bindle-unknown).
    pub knows_bindle: bool,
    /// It ignores counts, and needs other members than all later hosts
    /// (docs/hosts.md#old-hosts-take-other-commands).
    pub is_too_old_for_commands: bool,
}

/// What the counts of a host are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// Instances in one list, the oldest first.
    List,
    /// Instances, by set of annotations.
    Groups,
    /// The most instances that may run, for each set of annotations.
    Maximums,
}

/// Which instances an OTP host stops, told a number and annotations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopTakes {
    /// The first so many, whatever their annotations.
    First,
    /// The first so many of those that match.
    FirstThatMatch,
    /// Those that match among the first so many.
    MatchingAmongFirst,
}

/// OTP hosts up to 0.54.
const OTP: Quirks = Quirks {
    counts: Counts::List,
    unbounded_count: u32::MAX,
    missing_count_is_unbounded: true,
    scale_names_actor: true,
    scale_is_done_when_acknowledged: false,
    adds_up_starts_itself: true,
    refuses_starts_from_other_references: true,
    starts_old_code_under_new_references: false,
    keeps_first_code: false,
    updates_all_annotations: true,
    stop_takes: StopTakes::First,
    stops_slowly: true,
    shows_annotations: false,
    may_hide_inventory: true,
    checks_constraints: true,
    keeps_links_in_bucket: false,
    keeps_references_in_bucket: false,
    loses_configuration_for_files: true,
    answers_after_provider_shutdown: true,
    may_ignore_registries: false,
    knows_bindle: true,
    is_too_old_for_commands: false,
};

/// OTP 0.55.0.
const OTP_55_0: Quirks = Quirks {
    shows_annotations: true,
    ..OTP
};

/// OTP 0.55.1 to 0.59.
const OTP_55_1: Quirks = Quirks {
    stop_takes: StopTakes::FirstThatMatch,
    ..OTP_55_0
};

/// OTP 0.60 to 0.63.
const OTP_60: Quirks = Quirks {
    stop_takes: StopTakes::MatchingAmongFirst,
    keeps_links_in_bucket: true,
    keeps_references_in_bucket: true,
    ..OTP_55_1
};

/// Rust 0.78.
const RUST_78: Quirks = Quirks {
    counts: Counts::Groups,
    scale_is_done_when_acknowledged: true,
    refuses_starts_from_other_references: false,
    keeps_first_code: true,
    updates_all_annotations: false,
    stops_slowly: false,
    may_hide_inventory: false,
    checks_constraints: false,
    keeps_references_in_bucket: false,
    loses_configuration_for_files: false,
    answers_after_provider_shutdown: false,
    ..OTP_60
};

/// Rust 0.79.0.
const RUST_79_0: Quirks = Quirks {
    scale_is_done_when_acknowledged: false,
    ..RUST_78
};

/// Rust 0.79.1 and 0.80.0.
const RUST_79_1: Quirks = Quirks {
    counts: Counts::Maximums,
    unbounded_count: u16::MAX as u32,
    scale_names_actor: false,
    adds_up_starts_itself: false,
    starts_old_code_under_new_references: true,
    ..RUST_79_0
};

/// Rust 0.80.1 to 0.81. From 0.81 on there is no subject to start actors.
const RUST_80_1: Quirks = Quirks {
    knows_bindle: false,
    ..RUST_79_1
};

/// Rust 0.82: counts are 32 bits wide.
const RUST_82: Quirks = Quirks {
    unbounded_count: u32::MAX,
    missing_count_is_unbounded: false,
    ..RUST_80_1
};

/// What hosts do from a version on, until the next row.
static BY_VERSION: [(Version, Quirks); 9] = [
    (Version::new(0, 0, 0), OTP),
    (Version::new(0, 55, 0), OTP_55_0),
    (Version::new(0, 55, 1), OTP_55_1),
    (Version::new(0, 60, 0), OTP_60),
    (Version::new(0, 78, 0), RUST_78),
    (Version::new(0, 79, 0), RUST_79_0),
    (Version::new(0, 79, 1), RUST_79_1),
    (Version::new(0, 80, 1), RUST_80_1),
    (Version::new(0, 82, 0), RUST_82),
];

/// Hosts that report a version which cannot be read count as the newest.
static NEWEST: Quirks = RUST_82;

/// Hosts that report no version: OTP up to 0.54.
static UNTOLD: Quirks = Quirks {
    may_ignore_registries: true,
    ..OTP
};

/// Hosts that report neither a version nor a name: OTP up to 0.51. Names came with
/// 0.52.0, commands as they are sent here with 0.52.1; 0.52.0 cannot be told from it.
static NAMELESS: Quirks = Quirks {
    is_too_old_for_commands: true,
    ..UNTOLD
};

impl Quirks {
    /// Finds the quirks of 0.x hosts that report this version, and a name or none.
    pub(super) fn of(reported: Reported, has_name: bool) -> &'static Self {
        match reported {
            Reported::Nothing if has_name => &UNTOLD,
            Reported::Nothing => &NAMELESS,
            Reported::Unreadable => &NEWEST,
            Reported::Version(version) => {
                let mut rows = BY_VERSION.iter().rev();
                let row = rows.find(|(since, _)| version >= *since);
                row.map_or(&NEWEST, |(_, quirks)| quirks)
            }
        }
    }

    /// Returns how many instances an entry of an inventory stands for. One that may run
    /// without limit counts as one.
    pub fn instances_of(&self, entry: &ActorInstance) -> u32 {
        match (self.counts, entry.maximum()) {
            (Counts::Maximums, Some(maximum)) if maximum < self.unbounded_count => maximum,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: &str) -> &'static Quirks {
        Quirks::of(Reported::parse(Some(version)), true)
    }

    #[test]
    fn the_version_chooses_the_row() {
        for (version, quirks) in [
            ("", UNTOLD),
            ("0.50.0", OTP),
            ("0.55.0", OTP_55_0),
            ("0.55.1", OTP_55_1),
            ("0.59.0", OTP_55_1),
            ("0.60.0", OTP_60),
            ("0.63.2", OTP_60),
            ("0.78.0", RUST_78),
            ("0.79.0", RUST_79_0),
            ("0.79.1", RUST_79_1),
            ("0.80.0", RUST_79_1),
            ("0.80.1", RUST_80_1),
            ("v0.81.0-rc1", RUST_80_1),
            ("0.82.0", RUST_82),
            ("0.83", RUST_82),
            ("nightly", RUST_82),
        ] {
            assert_eq!(*of(version), quirks, "{version:?}");
        }
    }

    #[test]
    fn hosts_differ_in_what_their_counts_are_and_in_the_largest() {
        for (version, counts, unbounded) in [
            ("0.63.2", Counts::List, u32::MAX),
            ("0.78.0", Counts::Groups, u32::MAX),
            ("0.79.0", Counts::Groups, u32::MAX),
            ("0.79.1", Counts::Maximums, 65535),
            ("0.81.0", Counts::Maximums, 65535),
            ("0.82.0", Counts::Maximums, u32::MAX),
            ("nightly", Counts::Maximums, u32::MAX),
        ] {
            let quirks = of(version);
            assert_eq!(quirks.counts, counts, "{version:?}");
            assert_eq!(quirks.unbounded_count, unbounded, "{version:?}");
        }
        assert!(of("0.78.0").scale_is_done_when_acknowledged);
        assert!(!of("0.79.0").scale_is_done_when_acknowledged);
    }

    #[test]
    fn only_hosts_without_version_and_name_are_too_old_for_commands() {
        let is_too_old = |version, has_name| {
            Quirks::of(Reported::parse(version), has_name).is_too_old_for_commands
        };
        assert!(is_too_old(None, false));
        assert!(!is_too_old(None, true));
        assert!(!is_too_old(Some("0.63.2"), false));
        assert!(!is_too_old(Some("nightly"), false));
    }

    #[test]
    fn otp_hosts_differ_in_what_they_stop_first() {
        for (version, takes, shows) in [
            ("", StopTakes::First, false),
            ("0.55.0", StopTakes::First, true),
            ("0.55.1", StopTakes::FirstThatMatch, true),
            ("0.59.0", StopTakes::FirstThatMatch, true),
            ("0.60.0", StopTakes::MatchingAmongFirst, true),
            ("0.63.2", StopTakes::MatchingAmongFirst, true),
        ] {
            assert_eq!(of(version).stop_takes, takes, "{version:?}");
            assert_eq!(of(version).shows_annotations, shows, "{version:?}");
        }
    }
}
