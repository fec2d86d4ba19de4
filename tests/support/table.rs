//! What the README says of each operation on each generation.

/// The README's table: each operation on each generation and on a mixed
/// lattice. A number refers to a note under the table.
pub const TABLE: [(&str, [&str; 7]); 17] = [
    (
        "SetLatticeCredentials",
        ["yes", "yes", "yes", "yes", "yes", "yes", "yes"],
    ),
    (
        "GetHosts",
        ["yes (1)", "yes", "yes", "yes", "yes", "yes", "yes"],
    ),
    (
        "GetHostInventory",
        [
            "yes (2)", "yes", "yes", "yes (3)", "yes (3)", "yes (3)", "per host",
        ],
    ),
    (
        "AuctionActor",
        [
            "yes", "yes", "yes (4)", "yes (4)", "yes (4)", "yes (4)", "per host",
        ],
    ),
    (
        "AuctionProvider",
        [
            "yes", "yes", "yes (4)", "yes (4)", "yes (4)", "yes (4)", "per host",
        ],
    ),
    (
        "StartActor",
        [
            "yes", "yes", "yes (5)", "yes (5)", "yes (5)", "yes (5)", "per host",
        ],
    ),
    (
        "ScaleActor",
        [
            "yes (6)", "yes (6)", "yes (5)", "yes (5)", "yes (5)", "yes (5)", "per host",
        ],
    ),
    (
        "StopActor",
        [
            "yes (7)", "yes (7)", "yes (5)", "yes (5)", "yes (5)", "yes (5)", "per host",
        ],
    ),
    (
        "UpdateActor",
        [
            "yes (8)", "yes (8)", "yes (12)", "yes (12)", "yes (12)", "yes (12)", "per host",
        ],
    ),
    (
        "StartProvider",
        ["yes", "yes", "yes", "yes", "yes", "yes", "per host"],
    ),
    (
        "StopProvider",
        ["yes (9)", "yes (9)", "yes", "yes", "yes", "yes", "per host"],
    ),
    (
        "StopHost",
        [
            "yes (10)", "yes (10)", "yes", "yes", "yes", "yes", "per host",
        ],
    ),
    (
        "AdvertiseLink",
        ["yes", "yes", "yes", "yes", "yes", "yes", "yes"],
    ),
    (
        "RemoveLink",
        ["yes", "yes", "yes", "yes", "yes", "yes", "yes"],
    ),
    (
        "GetLinks",
        ["yes", "yes", "yes", "yes", "yes", "yes", "yes"],
    ),
    (
        "GetClaims",
        ["yes", "yes", "yes", "yes", "yes", "yes", "yes"],
    ),
    (
        "SetRegistryCredentials",
        [
            "yes (11)", "yes (11)", "yes (11)", "yes (11)", "yes (11)", "yes (11)", "yes (11)",
        ],
    ),
];
