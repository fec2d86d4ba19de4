//! Every setting of the provider and of a link: its key, unit, range, default,
//! example and meaning. Parsing reads this table; `config-schema.json` and the tables
//! in README.md are made from it (`tests/suite/settings_table.rs`).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::nats::{AllowedServers, Servers, Tls, TlsFileError};
use crate::settings::components::ComponentSettings;
use crate::settings::lattices::{Isolation, StoreMode, Unplaced};
use crate::settings::limits::{GRACE, STALL, TimeLimits};
use crate::settings::provider::ProviderSettings;

/// One row of the table.
pub struct Setting {
    /// Its name in the configuration.
    pub key: &'static str,
    /// What its values are, for people.
    pub unit: &'static str,
    /// What its values are, for the parser.
    pub kind: Kind,
    /// What counts where it is not set, in words; empty where `kind` has a default.
    pub otherwise: &'static str,
    /// A value as it stands in the configuration.
    pub example: &'static str,
    /// What it means, in Markdown.
    pub meaning: &'static str,
}

/// The least and the most that a setting takes.
pub type Range = (u64, u64);

/// A word that a setting takes, and what it sets.
pub(super) type Word = (&'static str, fn(&mut ProviderSettings));

/// The values that a setting takes, and where they go.
#[derive(Clone, Copy)]
pub enum Kind {
    /// Milliseconds, which a link may set, too. `default` is only shown: where nothing
    /// is set, [`TimeLimits::with_link`] fits it into what is.
    Time {
        /// What is taken.
        range: Range,
        /// What counts where nothing is set.
        default: Option<u64>,
        /// Stores it.
        set: fn(&mut TimeLimits, Duration),
    },
    /// A whole number.
    Number {
        /// What is taken.
        range: Range,
        /// What counts where nothing is set.
        default: Option<u64>,
        /// Stores it.
        set: fn(&mut ProviderSettings, u64),
    },
    /// One of these words; the first is the default.
    Words(&'static [Word]),
    /// Lattice ids, in which `*` may stand.
    Lattices,
    /// Operations and groups of them.
    Operations,
    /// A list of servers.
    Servers(fn(&mut ProviderSettings, Servers)),
    /// The path of a PEM file.
    File {
        /// Checks what is in the file.
        check: fn(&Path) -> Result<(), TlsFileError>,
        /// Stores the path.
        set: fn(&mut Tls, PathBuf),
    },
    /// The URLs of the servers of one lattice.
    Urls {
        /// What counts where nothing is set.
        default: &'static str,
    },
    /// The seed of an xkey.
    Seed,
    /// Ids of components and providers, by repository.
    Ids,
}

/// Lists the words that a setting takes.
pub(super) fn one_of(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    match words.split_last() {
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

const fn time(range: Range, default: Option<u64>, set: fn(&mut TimeLimits, Duration)) -> Kind {
    Kind::Time {
        range,
        default,
        set,
    }
}

const fn number(range: Range, default: Option<u64>, set: fn(&mut ProviderSettings, u64)) -> Kind {
    Kind::Number {
        range,
        default,
        set,
    }
}

/// How many of something there may be.
const fn count(default: Option<u64>, set: fn(&mut ProviderSettings, u64)) -> Kind {
    number((1, 100_000), default, set)
}

fn components(settings: &mut ProviderSettings) -> &mut ComponentSettings {
    Arc::make_mut(&mut settings.components)
}

const CALL_BUDGET: Kind = time((50, 600_000), None, |limits, time| {
    limits.call_budget = Some(time)
});
const REQUEST_LIMIT: Kind = time((10, 600_000), None, |limits, time| {
    limits.request = Some(time)
});
const GATHER_LIMIT: Kind = time((10, 600_000), None, |limits, time| {
    limits.gather = Some(time)
});
const STALL_LIMIT: Kind = time(
    (10, 60_000),
    Some(STALL.as_millis() as u64),
    |limits, time| limits.stall = Some(time),
);
const GRACE_LIMIT: Kind = time(
    (0, 10_000),
    Some(GRACE.as_millis() as u64),
    |limits, time| limits.grace = Some(time),
);

const MAX_LATTICES: u64 = 10_000;
const MAX_CREDENTIALS_BYTES: u64 = 64 << 20;

/// A setting that is part of another one and must not be larger: its key, that of the
/// other one, and what that counts as where it is not set. Without such a number it is
/// compared only where both are set: the default of the other one adapts.
pub(super) const PARTS: [(&str, &str, Option<u64>); 11] = [
    ("request_limit_ms", "call_budget_ms", None),
    ("gather_limit_ms", "call_budget_ms", None),
    ("stall_ms", "gather_limit_ms", None),
    ("stall_ms", "call_budget_ms", None),
    ("grace_ms", "stall_ms", None),
    ("grace_ms", "gather_limit_ms", None),
    ("grace_ms", "call_budget_ms", None),
    ("max_actor_calls", "max_calls", None),
    ("max_lattice_calls", "max_calls", None),
    ("max_actor_lattices", "max_lattices", Some(MAX_LATTICES)),
    (
        "max_actor_credentials_bytes",
        "max_credentials_bytes",
        Some(MAX_CREDENTIALS_BYTES),
    ),
];

/// Makes rows of `key, unit, otherwise, example, kind => meaning`.
macro_rules! rows {
    ($($key:literal, $unit:literal, $otherwise:literal, $example:literal,
        $kind:expr => $meaning:literal;)*) => {
        [$(Setting {
            key: $key,
            unit: $unit,
            kind: $kind,
            otherwise: $otherwise,
            example: $example,
            meaning: $meaning,
        }),*]
    };
}

/// The settings of the provider.
pub static PROVIDER: [Setting; 32] = rows! {
    "call_budget_ms", "ms", "the host's", "1200", CALL_BUDGET =>
        "longest time for a call, where it is less than the host allows";
    "request_limit_ms", "ms", "the call's", "800", REQUEST_LIMIT =>
        "longest wait for the answer of one host";
    "gather_limit_ms", "ms", "the call's", "800", GATHER_LIMIT =>
        "longest wait for the answers of all hosts";
    "stall_ms", "ms", "", "500", STALL_LIMIT =>
        "longest wait for one more answer while hosts are missing, or not all are known";
    "grace_ms", "ms", "", "60", GRACE_LIMIT =>
        "longest wait for hosts that are new, once every known host has answered, and for the bid \
         of a host that has";
    "default_lattice_url", "URL", "", r#""nats://10.0.0.1,nats://10.0.0.2""#,
        Kind::Urls { default: "nats://127.0.0.1:4222" } =>
        "servers of lattices whose credentials name none";
    "default_lattices", "list", "all", r#"["production","test-*"]"#, Kind::Lattices =>
        "lattices that actors may name whose links have no `lattices`: ids, in which `*` stands \
         for any characters, in a list or separated by commas";
    "default_operations", "list", "all", r#""read""#, Kind::Operations =>
        "operations that actors may call whose links have no `operations`: names of operations, \
         or `read`, `write`, `credentials` or `all`, in a list or separated by commas";
    "allowed_servers", "list", "all but link-local", r#"["*.nats.example", "10.0.0.0/8:4222"]"#,
        Kind::Servers(|to, servers| to.lattices.allowed = AllowedServers::these(servers)) =>
        "[servers](docs/operating.md#where-the-provider-may-connect-to) that lattices may be at: \
         names, in which `*` may stand, addresses and networks";
    "max_calls", "calls", "", "200",
        count(Some(1024), |to, calls| to.calls.all = calls as usize) =>
        "calls in flight, which actors [share](docs/operating.md#limits); further ones wait \
         shortly and are then refused as busy";
    "max_actor_calls", "calls", "half of max_calls", "50",
        count(None, |to, calls| to.calls.actor = Some(calls as usize)) =>
        "calls of one actor in flight";
    "max_lattice_calls", "calls", "half of max_calls", "50",
        count(None, |to, calls| to.calls.lattice = Some(calls as usize)) =>
        "calls to one lattice in flight, of which one actor may have fifteen sixteenths";
    "invocation_window_ms", "ms", "", "120000",
        // Less would refuse calls of hosts whose clocks are 30 s behind.
        number((30_000, 3_600_000), Some(60_000),
            |to, ms| to.calls.window = Duration::from_millis(ms)) =>
        "how old a [call](docs/operating.md#calls-that-come-again) may be";
    "credentials_store", "word", "", r#""jetstream""#,
        Kind::Words(&[
            ("auto", |to| to.lattices.store = StoreMode::Auto),
            ("jetstream", |to| to.lattices.store = StoreMode::Jetstream),
            ("memory", |to| to.lattices.store = StoreMode::Memory),
        ]) =>
        "where credentials of lattices are [kept](docs/operating.md#credentials-of-lattices): \
         `jetstream`, `memory`, or `auto`, which is the former where there is JetStream";
    "credentials_key", "xkey seed", "one derived from the cluster seed", r#""SX…""#, Kind::Seed =>
        "key that stored credentials are sealed with. Set it where hosts have no fixed cluster \
         seed, or different ones";
    "idle_limit_ms", "ms", "", "60000",
        number((100, 86_400_000), Some(600_000),
            |to, ms| to.lattices.limits.idle = Duration::from_millis(ms)) =>
        "how long a connection to a lattice stays open after the last call that used it";
    "isolation", "word", "", r#""actor""#,
        Kind::Words(&[
            ("none", |to| to.lattices.isolation = Isolation::None),
            ("actor", |to| to.lattices.isolation = Isolation::Actor),
        ]) =>
        "who may use the credentials of a lattice, and set others: every linked actor (`none`), \
         or the one that set them (`actor`)";
    "unplaced_credentials", "word", "", r#""refused""#,
        Kind::Words(&[
            ("accepted", |to| to.lattices.unplaced = Unplaced::Accepted),
            ("refused", |to| to.lattices.unplaced = Unplaced::Refused),
        ]) =>
        "what happens to stored entries that do not say where they belong, as [earlier \
         releases](docs/operating.md#entries-of-earlier-releases) wrote them: they are used and \
         written again (`accepted`), or ignored (`refused`)";
    "max_lattices", "lattices", "", "500",
        count(Some(MAX_LATTICES), |to, count| to.lattices.limits.lattices = count as usize) =>
        "lattices with credentials; those of further ones are not taken";
    "max_actor_lattices", "lattices", "half of max_lattices", "50",
        count(None, |to, count| to.lattices.limits.actor_lattices = Some(count as usize)) =>
        "lattices whose credentials one actor has set, where `isolation` is `actor`";
    "max_credentials_bytes", "bytes", "", "10000000",
        number((1024, 1 << 30), Some(MAX_CREDENTIALS_BYTES),
            |to, bytes| to.lattices.limits.credentials_bytes = bytes as usize) =>
        "bytes of all credentials together: URLs, JWTs, seeds and names";
    "max_actor_credentials_bytes", "bytes", "half of max_credentials_bytes", "1000000",
        number((1024, 1 << 30), None,
            |to, bytes| to.lattices.limits.actor_credentials_bytes = Some(bytes as usize)) =>
        "bytes of the credentials that one actor has set, where `isolation` is `actor`";
    "component_ids", "object", "derived from references", r#"{"registry.example/shop":"shop"}"#,
        Kind::Ids =>
        "[ids](docs/operating.md#ids-on-hosts-of-1x) of components and providers that are started on \
         hosts of wasmCloud 1.x, by the repository of their image reference, without tag";
    "configured_components", "word", "", r#""scaled""#,
        Kind::Words(&[
            ("refused", |to| components(to).may_lose_configuration = false),
            ("scaled", |to| components(to).may_lose_configuration = true),
        ]) =>
        "what happens to orders that may take the [named \
         configuration](docs/operating.md#components-with-configuration) of a component away, as hosts of 1.x \
         do when it is scaled: they are `refused`, or carried out (`scaled`)";
    "max_jwt_bytes", "bytes", "", "65536",
        // An entry must fit into a message of the bucket.
        number((1024, 256 << 10), Some(16 << 10),
            |to, bytes| to.lattices.limits.jwt_bytes = bytes as usize) =>
        "bytes of `userJwt`, and of `userSeed`; for NATS servers whose `max_control_line` is \
         larger as well";
    "max_connections", "connections", "", "200",
        count(Some(1000), |to, count| to.lattices.limits.connections = count as usize) =>
        "connections to lattices; idle ones give way to others";
    "max_dials", "connections", "", "16",
        count(Some(64), |to, count| to.lattices.limits.dials = count as usize) =>
        "connections that are made at the same time; actors [share them](docs/operating.md#connections)";
    "tls_ca_file", "PEM file", "the system's", r#""/etc/lattice-controller/ca.pem""#,
        Kind::File { check: Tls::check_ca, set: |tls, path| tls.ca_file = Some(path) } =>
        "authorities that certificates of servers are checked with";
    "tls_cert_file", "PEM file", "none", r#""/etc/lattice-controller/client.pem""#,
        Kind::File { check: Tls::check_cert, set: |tls, path| tls.cert_file = Some(path) } =>
        "certificate for the provider's own NATS where it asks for one, and for servers in \
         `tls_client_servers`; needs its key";
    "tls_client_servers", "list", "none", r#"["*.nats.example", "10.0.0.0/8:4222"]"#,
        Kind::Servers(|to, servers| to.tls.client_servers = servers) =>
        "servers of lattices that get the certificate where they ask; entries as in \
         `allowed_servers`, compared with [what the URL says](docs/operating.md#tls)";
    "tls_first_servers", "list", "none", r#"["nats.example:4222"]"#,
        Kind::Servers(|to, servers| to.tls.first_servers = servers) =>
        "servers, of lattices and the provider's own NATS, with which TLS comes before anything \
         else is said (`handshake_first`); entries as in `allowed_servers`";
    "tls_key_file", "PEM file", "none", r#""/etc/lattice-controller/client-key.pem""#,
        Kind::File { check: Tls::check_key, set: |tls, path| tls.key_file = Some(path) } =>
        "the key of the certificate";
};

/// The settings of a link.
pub static LINK: [Setting; 7] = rows! {
    "lattices", "list", "`default_lattices`", "production,test-*", Kind::Lattices =>
        "lattices that the actor may name, separated by commas; `*` stands for any characters";
    "operations", "list", "`default_operations`", "read,StartActor", Kind::Operations =>
        "operations that the actor may call, separated by commas: their names, or `read`, \
         `write`, `credentials` or `all`";
    "call_budget_ms", "ms", "the provider's", "500", CALL_BUDGET =>
        "longest time for a call, where it is less than the provider allows";
    "request_limit_ms", "ms", "the provider's", "400", REQUEST_LIMIT =>
        "longest wait for the answer of one host, where it is less than the provider's";
    "gather_limit_ms", "ms", "the provider's", "400", GATHER_LIMIT =>
        "longest wait for the answers of all hosts, where it is less than the provider's";
    "stall_ms", "ms", "the provider's", "200", STALL_LIMIT =>
        "longest wait for one more answer, where it is less than the provider's";
    "grace_ms", "ms", "the provider's", "20", GRACE_LIMIT =>
        "longest wait for hosts that are new, and for bids, where it is less than the provider's";
};
