//! How hosts of 1.x differ, as far as orders depend on it, in one table.
//!
//! That a host is one of 1.x follows from the subject on which it answers, not from its
//! version: a host that is part of another program tells the version that this program
//! chose, such as 0.27 or 0.82. `docs/hosts.md` has the facts behind each member.

use crate::lattice::dialect::version::{Reported, Version};

/// What sets hosts of a version apart. Each member says what such a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// An update has the host run the new code. Later hosts list the new reference and go
    /// on running the old code (docs/hosts.md#update-keeps-old-code).
    pub update_runs_new_code: bool,
    /// The host publishes an event for every scale that fails
    /// (docs/hosts.md#failed-scale-without-event).
    pub tells_all_failures: bool,
    /// A provider whose process ended stays in the inventory, and its id must be stopped
    /// before it can be started again. Later hosts start it again themselves
    /// (docs/hosts.md#ended-provider-is-listed).
    pub lists_ended_providers: bool,
}

/// Hosts 1.0.0.
const V1_0_0: Behaviour = Behaviour {
    update_runs_new_code: true,
    tells_all_failures: false,
    lists_ended_providers: true,
};

/// Hosts 1.0.1 to 1.1.0.
const V1_0_1: Behaviour = Behaviour {
    update_runs_new_code: false,
    ..V1_0_0
};

/// Hosts 1.1.1 to 1.5.
const V1_1_1: Behaviour = Behaviour {
    tells_all_failures: true,
    ..V1_0_1
};

/// Hosts from 1.6.0 on.
const V1_6_0: Behaviour = Behaviour {
    lists_ended_providers: false,
    ..V1_1_1
};

/// What hosts do from a version on, until the next row.
static BY_VERSION: [(Version, Behaviour); 4] = [
    (Version::new(1, 0, 0), V1_0_0),
    (Version::new(1, 0, 1), V1_0_1),
    (Version::new(1, 1, 1), V1_1_1),
    (Version::new(1, 6, 0), V1_6_0),
];

/// Hosts that tell no version, one below 1 or one that cannot be read count as the newest.
static NEWEST: Behaviour = V1_6_0;

impl Behaviour {
    /// Finds what 1.x hosts do that report this.
    pub fn of(reported: Reported) -> &'static Self {
        let Reported::Version(version) = reported else {
            return &NEWEST;
        };
        let mut rows = BY_VERSION.iter().rev();
        let row = rows.find(|(since, _)| version >= *since);
        row.map_or(&NEWEST, |(_, behaviour)| behaviour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_a_1x_host_chooses_what_it_does() {
        for (version, behaviour) in [
            ("1.0.0", V1_0_0),
            ("1.0.0-rc.1", V1_0_0),
            ("1.0.1", V1_0_1),
            ("1.1.0", V1_0_1),
            ("1.1.1", V1_1_1),
            ("1.5.1", V1_1_1),
            ("1.6.0", V1_6_0),
            ("1.9.2", V1_6_0),
            ("2.0.0", V1_6_0),
            ("0.82.0", V1_6_0),
            ("0.27.1", V1_6_0),
            ("", V1_6_0),
            ("nightly", V1_6_0),
        ] {
            let reported = Reported::parse(Some(version));
            assert_eq!(*Behaviour::of(reported), behaviour, "{version:?}");
        }
        assert_eq!(*Behaviour::of(Reported::Nothing), V1_6_0);
    }
}
