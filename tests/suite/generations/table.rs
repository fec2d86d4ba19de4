//! Makes the README's table of operations by generation from what simulated
//! hosts do. `UPDATE=1 cargo test --locked --test suite generations::` writes
//! it into the README; without `UPDATE` the two are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use lattice_controller::internals::contract::Operation;
use serde_json::Value;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::CtlOperationAck;

use crate::support::eventually;
use crate::support::every_operation::every_operation;
use crate::support::host::{Generation, Received, SimHost};
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::operator::*;
use crate::support::time::{SHORTLY, timeout};

use super::table_1x;

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b, Otp59, Otp60};

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

/// The columns for hosts, each with the simulated versions that it is made of.
const COLUMNS: [(&str, &[Generation]); 6] = [
    ("OTP 0.52.1-0.59", &[G1a, Otp59]),
    ("OTP 0.60-0.63", &[Otp60, G1b]),
    ("0.78, 0.79.0", &[G2a]),
    ("0.79.1, 0.80", &[G2b]),
    ("0.81", &[G3a]),
    ("0.82", &[G3b]),
];

/// The column for hosts of 1.x, and the simulated versions that it is made of.
const COLUMN_1X: (&str, [Version; 4]) = (
    "1.0-1.9",
    [Version::V100, Version::V110, Version::V151, Version::V192],
);

/// The hosts of the lattice that the last column is made of, beside one of 1.x.
const MIXED: [Generation; 3] = [G1b, G2a, G3b];

/// The rows, in the order of the README.
const ROWS: [&str; 17] = [
    "SetLatticeCredentials",
    "GetHosts",
    "GetHostInventory",
    "AuctionActor",
    "AuctionProvider",
    "StartActor",
    "ScaleActor",
    "StopActor",
    "UpdateActor",
    "StartProvider",
    "StopProvider",
    "StopHost",
    "AdvertiseLink",
    "RemoveLink",
    "GetLinks",
    "GetClaims",
    "SetRegistryCredentials",
];

/// The notes under the table, by their numbers there.
pub(super) mod note {
    pub const TELLS_NO_VERSION: u8 = 1;
    pub const SHOWS_NO_ANNOTATIONS: u8 = 2;
    pub const LISTS_A_MAXIMUM: u8 = 3;
    pub const BIDS_WHATEVER_IS_ASKED: u8 = 4;
    pub const ORDERS_REST_ON_THE_INVENTORY: u8 = 5;
    pub const SCALES_BY_OTHER_MEANS: u8 = 6;
    pub const SOME_STOPS_ARE_REFUSED: u8 = 7;
    pub const UPDATES_WHILE_IT_RUNS: u8 = 8;
    pub const STOPS_PROVIDERS_SLOWLY: u8 = 9;
    pub const IGNORES_THE_TIMEOUT: u8 = 10;
    pub const COMPARES_REGISTRIES_BY_NAME: u8 = 11;
    pub const UPDATES_BY_A_RESTART: u8 = 12;
    pub const HAS_AN_ID: u8 = 13;
    pub const KEEPS_ONE_SET: u8 = 14;
    pub const IS_STOPPED_AND_STARTED: u8 = 15;
    pub const HAS_A_CONFIG: u8 = 16;
}

/// What was seen of an operation.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// Whether it did what it should.
    pub works: bool,
    /// Whether it was sent to one host, on a subject with that host's id.
    pub to_one_host: bool,
    pub notes: BTreeSet<u8>,
}

/// What was seen of each operation.
pub(super) type AllSeen = BTreeMap<&'static str, Seen>;

/// Joins what was seen on several versions. An operation works where it works
/// on one of them, and has the notes of all.
fn joined<'a>(versions: impl IntoIterator<Item = &'a AllSeen>) -> AllSeen {
    let mut all = AllSeen::new();
    for seen in versions {
        for (operation, more) in seen {
            let seen = all.entry(operation).or_default();
            seen.works |= more.works;
            seen.to_one_host |= more.to_one_host;
            seen.notes.extend(&more.notes);
        }
    }
    all
}

/// What was seen of a host so far.
#[derive(Default)]
pub(super) struct Looks {
    /// How many messages to the host were looked at.
    looked_at: usize,
    pub all: AllSeen,
}

impl Looks {
    /// Returns what the host received since the last time, of all that it received.
    fn since(&mut self, mut received: Vec<Received>) -> Vec<Received> {
        let new = received.split_off(self.looked_at);
        self.looked_at += new.len();
        new
    }

    /// Notes whether an operation worked, and returns what the host with this id received
    /// for it, of all that it received.
    pub fn saw(
        &mut self,
        operation: &'static str,
        works: bool,
        received: Vec<Received>,
        id: &str,
    ) -> Vec<Received> {
        let received = self.since(received);
        let seen = self.all.entry(operation).or_default();
        seen.works |= works;
        seen.to_one_host |= received.iter().any(|to| to.subject.contains(id));
        received
    }

    pub fn note(&mut self, operation: &'static str, note: u8, is_so: bool) {
        if is_so {
            self.all.entry(operation).or_default().notes.insert(note);
        }
    }
}

/// One host in a lattice, and what was seen of it so far.
struct Watch {
    lattice: Operated,
    looks: Looks,
}

impl Watch {
    async fn start(generation: Generation) -> Self {
        let lattice = Operated::with(&[(generation, &[("zone", "eu")])]).await;
        lattice.get_hosts().await.unwrap();
        let mut watch = Self {
            lattice,
            looks: Looks::default(),
        };
        watch.received();
        watch
    }

    fn host(&self) -> &SimHost {
        &self.lattice.hosts[0]
    }

    /// Returns what the host received since the last time.
    fn received(&mut self) -> Vec<Received> {
        let received = self.host().received();
        self.looks.since(received)
    }

    fn saw(&mut self, operation: &'static str, works: bool) -> Vec<Received> {
        let host = &self.lattice.hosts[0];
        self.looks.saw(operation, works, host.received(), &host.id)
    }

    fn note(&mut self, operation: &'static str, note: u8, is_so: bool) {
        self.looks.note(operation, note, is_so);
    }

    /// Calls the operations that go to all hosts of a lattice.
    async fn whole_lattice(&mut self) {
        let url = self.lattice.world.nats.url();
        let set = self.lattice.world.try_set_lattice(LATTICE, &url).await;
        self.saw("SetLatticeCredentials", took(set));
        let hosts = self.lattice.get_hosts().await.unwrap();
        self.saw("GetHosts", hosts.len() == 1);
        let no_version = hosts[0].version.is_none() && hosts[0].labels.is_none();
        self.note("GetHosts", note::TELLS_NO_VERSION, no_version);
        let claims = self.lattice.claims().await.unwrap();
        self.saw("GetClaims", claims.len() == 2);

        let advertised = took(self.lattice.advertise_link().await);
        self.saw("AdvertiseLink", advertised);
        let links = self.lattice.links().await.unwrap();
        self.saw("GetLinks", links == [link()]);
        let removed = took(self.lattice.remove_link().await);
        let links = self.lattice.links().await.unwrap();
        self.saw("RemoveLink", removed && links.is_empty());

        let set = self.lattice.set_registry("https://ghcr.io/org/x", "oci");
        let set = set.await.is_ok();
        let told = self.saw("SetRegistryCredentials", set);
        let told = told.iter().find(|to| to.subject == "registries.put");
        let by_name = told.unwrap().json().get("ghcr.io").is_some();
        let note = note::COMPARES_REGISTRIES_BY_NAME;
        self.note("SetRegistryCredentials", note, by_name);
    }

    async fn auctions(&mut self) {
        let met = self.lattice.auction_actor(&[("zone", "eu")]).await.unwrap();
        let unmet = self.lattice.auction_actor(&[("zone", "us")]).await.unwrap();
        self.saw("AuctionActor", met.len() == 1 && unmet.is_empty());
        let met = self.lattice.auction_provider(&[("zone", "eu")]);
        let met = met.await.unwrap();
        let unmet = self.lattice.auction_provider(&[("zone", "us")]);
        let unmet = unmet.await.unwrap();
        self.saw("AuctionProvider", met.len() == 1 && unmet.is_empty());

        let nats = self.lattice.world.nats.client().await;
        for (operation, kind) in [("AuctionActor", "actor"), ("AuctionProvider", "provider")] {
            let body = serde_json::json!({ "actor_ref": ACTOR_REF, "provider_ref": PROVIDER_REF,
                "link_name": "default", "constraints": { "zone": "us" } });
            let subject = format!("wasmbus.ctl.{LATTICE}.auction.{kind}");
            let bid = nats.request(subject, body.to_string().into());
            let bids = timeout(SHORTLY, bid).await.is_ok();
            self.note(operation, note::BIDS_WHATEVER_IS_ASKED, bids);
        }
        self.received();
    }

    /// Starts three instances without annotations, and reads them back.
    async fn start_and_look(&mut self) {
        let id = self.host().id.clone();
        let first = took(self.lattice.start_actor(&id, 2, &none()).await);
        self.saw("StartActor", false);
        // The first start of a reference reads the inventory on every version.
        let second = took(self.lattice.start_actor(&id, 1, &none()).await);
        let runs = self.host().instances(ACTOR);
        let told = self.saw("StartActor", first && second && runs == 3);
        let note = note::ORDERS_REST_ON_THE_INVENTORY;
        self.note("StartActor", note, read_first(&told));

        let listed = self.lattice.listed(&id).await;
        self.saw("GetHostInventory", listed == 3);
        let nats = self.lattice.world.nats.client().await;
        let subject = format!("wasmbus.ctl.{LATTICE}.get.{id}.inv");
        let raw = nats.request(subject, "".into()).await.unwrap();
        let raw: Value = serde_json::from_slice(&raw.payload).unwrap();
        let entries = raw["actors"][0]["instances"].as_array().unwrap().len();
        self.note("GetHostInventory", note::LISTS_A_MAXIMUM, entries < listed);
        self.received();
    }

    /// Scales to two instances, then starts one with annotations and scales
    /// those.
    async fn scale(&mut self) {
        let id = self.host().id.clone();
        let up = took(self.lattice.scale_actor(&id, 5, &none()).await);
        let told_up = self.received();
        let down = took(self.lattice.scale_actor(&id, 2, &none()).await);
        let runs = self.host().instances(ACTOR);
        self.saw("ScaleActor", up && down && runs == 2);
        let start = self.lattice.start_actor(&id, 1, &managed()).await;
        accepted(start);
        eventually("what was started", || async {
            (self.lattice.listed(&id).await == 3).then_some(())
        })
        .await;
        let inventory = self.lattice.inventory(&id).await.unwrap();
        let instances = inventory.actors.iter().flat_map(|actor| &actor.instances);
        let shown = instances
            .flat_map(|i| &i.annotations)
            .any(|shown| *shown == managed());
        self.note("GetHostInventory", note::SHOWS_NO_ANNOTATIONS, !shown);
        let some = took(self.lattice.scale_actor(&id, 1, &managed()).await);
        self.received();
        let scaled = told_up.iter().any(|to| to.subject.ends_with(".scale"));
        let as_meant = scaled && some;
        self.note("ScaleActor", note::SCALES_BY_OTHER_MEANS, !as_meant);
        let note = note::ORDERS_REST_ON_THE_INVENTORY;
        self.note("ScaleActor", note, as_meant && read_first(&told_up));
    }

    /// Stops one instance without annotations, then all with annotations, one
    /// of which was started last.
    async fn stop_actors(&mut self) {
        let id = self.host().id.clone();
        let before = self.host().instances(ACTOR);
        let one = took(self.lattice.stop_actor(&id, 1, &none()).await);
        let told = self.saw(
            "StopActor",
            one && self.host().instances(ACTOR) + 1 == before,
        );
        let some = took(self.lattice.stop_actor(&id, 0, &managed()).await);
        self.received();
        self.note("StopActor", note::SOME_STOPS_ARE_REFUSED, !some);
        let note = note::ORDERS_REST_ON_THE_INVENTORY;
        self.note("StopActor", note, some && read_first(&told));
    }

    async fn update(&mut self) {
        let id = self.host().id.clone();
        let updated = took(self.lattice.update_actor(&id, &none()).await);
        let new = Operated::revisions(self.host()) == BTreeSet::from([2]);
        let told = self.saw("UpdateActor", updated && new);
        let stopped = told.iter().any(|to| to.subject.ends_with(".sa"));
        self.note("UpdateActor", note::UPDATES_WHILE_IT_RUNS, !stopped);
        self.note("UpdateActor", note::UPDATES_BY_A_RESTART, stopped);
    }

    async fn providers(&mut self) {
        let id = self.host().id.clone();
        let started = took(self.lattice.start_provider(&id).await);
        self.saw("StartProvider", started);
        let stopped = took(self.lattice.stop_provider(&id, &none()).await);
        let gone = !self.host().runs_provider(PROVIDER, "default");
        self.saw("StopProvider", stopped && gone);
        // A provider that does not end by itself.
        accepted(self.lattice.start_provider(&id).await);
        self.host().mute_providers(true);
        let in_time = took(self.lattice.stop_provider(&id, &none()).await);
        self.note("StopProvider", note::STOPS_PROVIDERS_SLOWLY, !in_time);
        self.received();
    }

    async fn stop_host(&mut self) {
        let id = self.host().id.clone();
        let stopped = took(self.lattice.stop_host(&id, Some(30)).await);
        self.saw("StopHost", stopped && self.host().stopped());
        let heeded = self.host().ends_within() == Some(Duration::from_secs(30));
        self.note("StopHost", note::IGNORES_THE_TIMEOUT, !heeded);
    }
}

/// Returns whether an order was accepted.
pub(super) fn took(ack: RpcResult<CtlOperationAck>) -> bool {
    ack.is_ok_and(|ack| ack.accepted)
}

/// Returns whether the inventory was read before an order was given.
fn read_first(told: &[Received]) -> bool {
    told.first().is_some_and(|to| to.subject.ends_with(".inv"))
}

/// Has a host of this generation go through every operation.
async fn see(generation: Generation) -> (Generation, AllSeen) {
    let mut watch = Watch::start(generation).await;
    watch.whole_lattice().await;
    watch.auctions().await;
    watch.start_and_look().await;
    watch.scale().await;
    watch.stop_actors().await;
    watch.update().await;
    watch.providers().await;
    watch.stop_host().await;
    (generation, watch.looks.all)
}

/// Returns the cell of an operation in a column for hosts.
fn cell(seen: &Seen) -> String {
    if !seen.works {
        return "no".into();
    }
    let notes: Vec<_> = seen.notes.iter().map(u8::to_string).collect();
    match notes.as_slice() {
        [] => "yes".into(),
        notes => format!("yes ({})", notes.join(", ")),
    }
}

/// Returns the cell of an operation on a lattice of several generations.
async fn mixed(
    seen: &BTreeMap<Generation, AllSeen>,
    of_1x: &AllSeen,
) -> BTreeMap<&'static str, String> {
    let labels: &[(&str, &str)] = &[];
    let hosts = MIXED.map(|generation| (generation, labels));
    let lattice = Operated::configured(&hosts, table_1x::ids()).await;
    let host_1x = SimHostV1::start(&lattice.sim, Version::V192, labels).await;
    let mut failed = BTreeSet::new();
    // That of 1.x first: in the end it would be alone, and there is nobody to have links.
    let ids = std::iter::once(&host_1x.id).chain(lattice.hosts.iter().map(|host| &host.id));
    for id in ids {
        let outcomes = every_operation(&lattice, id).await.into_iter();
        failed.extend(outcomes.filter_map(|(name, why)| why.map(|_| name)));
    }
    let of = |operation: &'static str| {
        let of_0x = MIXED.iter().map(|generation| &seen[generation][operation]);
        let each: Vec<&Seen> = of_0x.chain([&of_1x[operation]]).collect();
        let cells: BTreeSet<_> = each.iter().map(|seen| cell(seen)).collect();
        match cells.first() {
            _ if failed.contains(operation) => "no".into(),
            Some(cell) if cells.len() == 1 && !each[0].to_one_host => cell.clone(),
            _ => "per host".into(),
        }
    };
    ROWS.into_iter().map(|name| (name, of(name))).collect()
}

/// Makes the table from what is seen now.
async fn table() -> String {
    let versions: Vec<Generation> = COLUMNS.iter().flat_map(|(_, of)| *of).copied().collect();
    let seen = join_all(versions.into_iter().map(see)).await;
    let seen: BTreeMap<Generation, AllSeen> = seen.into_iter().collect();
    let columns = COLUMNS.map(|(_, of)| joined(of.iter().map(|version| &seen[version])));
    let of_1x = join_all(COLUMN_1X.1.map(table_1x::see)).await;
    let of_1x = joined(&of_1x);
    let mixed = mixed(&seen, &of_1x).await;
    let heads = COLUMNS.map(|(head, _)| head).join(" | ");
    let mut table = format!("| operation | {heads} | {} | mixed |\n", COLUMN_1X.0);
    table.push_str(&"| --- ".repeat(COLUMNS.len() + 3));
    table.push_str("|\n");
    for operation in ROWS {
        let cells = columns.each_ref().map(|column| cell(&column[operation]));
        let (cells, mixed) = (cells.join(" | "), &mixed[operation]);
        let of_1x = cell(&of_1x[operation]);
        table.push_str(&format!(
            "| `{operation}` | {cells} | {of_1x} | {mixed} |\n"
        ));
    }
    table
}

#[tokio::test]
async fn the_readmes_table_is_what_was_seen() {
    let rows = BTreeSet::from(ROWS);
    assert_eq!(rows, BTreeSet::from(Operation::NAMES));
    let table = table().await;
    let readme = std::fs::read_to_string(README).unwrap();
    let start = readme.find("| operation | OTP").unwrap();
    let end = start + readme[start..].find("\n\n").unwrap() + 1;
    if std::env::var_os("UPDATE").is_some() {
        let written = [&readme[..start], &table, &readme[end..]].concat();
        std::fs::write(README, written).unwrap();
    } else {
        let written = &readme[start..end];
        assert!(
            written == table,
            "seen:\n{table}README.md:\n{written}`UPDATE=1 cargo test --locked --test suite \
             generations::` writes what was seen"
        );
    }
    // Every note is referred to, and every reference has its note.
    let notes = readme[end..].split("\n## ").next().unwrap();
    let number = |line: &str| line.split_once(". ")?.0.parse::<u8>().ok();
    let notes: BTreeSet<u8> = notes.lines().filter_map(number).collect();
    let digits = table.split(['(', ')', ',']).map(str::trim);
    let referred: BTreeSet<u8> = digits.filter_map(|part| part.parse().ok()).collect();
    assert_eq!(referred, notes);
}
