//! The provider on real hosts: `make real`, on the host of tools/host, or
//! `make real HOSTS="/path/to/wasmcloud-0.82.0 /path/to/wasmcloud-1.9.2 …"`.
//!
//! Which protocol a host speaks is found out once, by the ping that it answers. Each
//! goes through a walk of all operations and through random commands, once with the
//! provider as an archive that the host itself starts, and once with the provider
//! beside it. In the second way it also bids in auctions, and no bid may be missing.
//! On hosts of 1.x the provider only stands beside them: it cannot run there yet.
//! Nothing here builds or fetches a host.
//!
//! There are `SEEDS` (3) runs of `ORDERS` (40) commands. `REAL_SEED` is the
//! first seed, and with `SEEDS=1` the only one. `ARCHIVE` names the provider's
//! archive.

mod auctions;
mod beside;
mod host;
mod modules;
#[allow(dead_code, reason = "a part of what tests use")]
#[path = "../orders/mod.rs"]
mod orders;
mod registry;
mod report;
mod site;
mod stand_in;
#[allow(dead_code, reason = "a part of what tests use")]
#[path = "../support/mod.rs"]
mod support;
mod walk;
mod walk_1x;
mod wrpc;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt as _;
use lattice_controller::internals::lattice::model::Protocol;
use tokio::signal::unix::{SignalKind, signal};

use auctions::auctions;
use beside::beside;
use host::Binary;
use orders::run::{Plan, run};
use report::{Row, Walked};
use site::{Archive, LATTICE, Site, Way};
use support::world::set;

const NEEDS: &str = "\
`make real` takes programs of wasmCloud hosts for this machine, and without any builds
that of tools/host, which is host 1.9:
  make real HOSTS=\"/path/to/wasmcloud-0.82.0 /path/to/wasmcloud-1.9.2\"

Each is version 0.78 to 0.82 or 1.x, as you built or downloaded it. It is started here
with a server, a folder and keys of its own, and ended again.
  SEEDS=3       so many runs of random orders
  ORDERS=40     so many orders in each
  REAL_SEED=1   the first seed; with SEEDS=1 the only one, to repeat a run
  WAYS=alone    standing alone only, or `archive`, which hosts of 1.x skip; both
                where it is not set
";

/// What to do.
struct Settings {
    hosts: Vec<Binary>,
    seeds: std::ops::Range<u64>,
    orders: usize,
    ways: Vec<Way>,
}

impl Settings {
    async fn read() -> Result<Self, String> {
        let paths: Vec<String> = std::env::args().skip(1).collect();
        let mut paths = paths;
        paths.retain(|path| !path.starts_with('-') && !path.is_empty());
        if paths.is_empty() {
            return Err(NEEDS.into());
        }
        let archive = std::env::var("ARCHIVE")
            .ok()
            .filter(|path| !path.is_empty());
        let archive = archive.unwrap_or_else(|| "build/lattice-controller.par.gz".into());
        let archive = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(archive);
        let mut hosts = Vec::new();
        for path in &paths {
            let mut host = Binary::at(path).await?;
            if host.protocol == Protocol::V0 {
                host.archive = Some(Archive::at(&archive).await?);
            }
            hosts.push(host);
        }
        let ways = std::env::var("WAYS").unwrap_or_default();
        let chosen = Way::BOTH.into_iter().filter(|way| match ways.as_str() {
            "archive" => *way == Way::Archive,
            "alone" => *way == Way::Alone,
            _ => true,
        });
        let first = number("REAL_SEED", 1)?;
        Ok(Self {
            hosts,
            seeds: first..first + number("SEEDS", 3)?,
            orders: number("ORDERS", 40)? as usize,
            ways: chosen.collect(),
        })
    }
}

impl Settings {
    fn plan(&self, seed: u64) -> Plan {
        Plan {
            seed,
            orders: self.orders,
            go_on: true,
            quiet: Duration::from_millis(150),
        }
    }
}

/// Reads a number from the environment.
fn number(name: &str, default: u64) -> Result<u64, String> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            let number = text.parse();
            number.map_err(|_| format!("{name}={text} is no number"))
        }
        _ => Ok(default),
    }
}

/// However this ends, it ends what it started: all of that belongs to the
/// future of `all`, which is dropped here.
#[tokio::main]
async fn main() -> ExitCode {
    let settings = match Settings::read().await {
        Ok(settings) => settings,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut told_to_end = signal(SignalKind::terminate()).unwrap();
    let rows = tokio::select! {
        rows = all(&settings) => rows,
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
        _ = told_to_end.recv() => return ExitCode::from(143),
    };
    report::print(&rows);
    match rows.iter().all(Row::is_right) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

async fn all(settings: &Settings) -> Vec<Row> {
    let mut rows = Vec::new();
    for binary in &settings.hosts {
        for way in &settings.ways {
            let mut row = Row::new(binary, *way);
            if row.is_skipped {
                report::skipped(&row);
                rows.push(row);
                continue;
            }
            let walked = guarded(walked(binary, *way)).await;
            report::walked(&row, &walked);
            row.walked = walked;
            if *way == Way::Alone {
                let held = guarded(auctions(binary)).await;
                report::auctioned(&row, &held);
                row.auctions = Some(held);
            }
            for seed in settings.seeds.clone() {
                let plan = settings.plan(seed);
                let ordered = guarded(ordered(binary, *way, &plan)).await;
                report::ordered(&row, seed, &ordered);
                match ordered {
                    Ok(tally) => row.tally.add(tally),
                    Err(_) => row.broken += 1,
                }
            }
            rows.push(row);
        }
    }
    rows.extend(of_both(settings).await);
    rows
}

/// Has a host of each kind ordered about beside one of the other, where there are both.
async fn of_both(settings: &Settings) -> Vec<Row> {
    let of = |protocol| {
        settings
            .hosts
            .iter()
            .rfind(move |one| one.protocol == protocol)
    };
    let (Some(of_0x), Some(of_1x)) = (of(Protocol::V0), of(Protocol::V1)) else {
        return Vec::new();
    };
    let mut rows = Vec::new();
    for (told, other) in [(of_0x, of_1x), (of_1x, of_0x)] {
        let mut row = Row::beside(told);
        for seed in settings.seeds.clone() {
            let plan = settings.plan(seed);
            let (walked, ordered) = match guarded(beside(told, other, &plan)).await {
                Ok((walked, tally)) => (Ok(walked), Ok(tally)),
                Err(problem) => (Err(problem), Err(problem)),
            };
            report::walked(&row, &walked);
            report::ordered(&row, seed, &ordered);
            match ordered {
                Ok(tally) => row.tally.add(tally),
                Err(_) => row.broken += 1,
            }
            // The first wrong one is shown in the table.
            if row.is_walked_right() {
                row.walked = walked;
            }
        }
        rows.push(row);
    }
    rows
}

/// Returns the outcome, or that it panicked. Its message is printed by then.
async fn guarded<T>(future: impl Future<Output = T>) -> Result<T, &'static str> {
    let caught = AssertUnwindSafe(future).catch_unwind().await;
    caught.map_err(|_| "ended early, see above")
}

async fn walked(binary: &Binary, way: Way) -> Walked {
    let mut site = Site::start(binary, way).await;
    let mut walked = match binary.protocol {
        Protocol::V0 => walk::walk(&mut site).await,
        Protocol::V1 => walk_1x::walk(&mut site).await,
    };
    walked.log = (!walked.wrong.is_empty()).then(|| site.host.log());
    walked
}

async fn ordered(binary: &Binary, way: Way, plan: &Plan) -> orders::tally::Tally {
    let mut site = Site::start(binary, way).await;
    let url = site.nats.url();
    let ack = set(&site.callers[0], LATTICE, &url).await.unwrap();
    assert!(ack.accepted, "{}", ack.error);
    let tally = run(&mut site, plan).await;
    if !tally.wrong.is_empty() {
        keep_logs(&site, &format!("{}-seed-{}", binary.version, plan.seed));
    }
    tally
}

/// Keeps the logs of a run with something wrong, and says where.
fn keep_logs(site: &Site, name: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/real");
    std::fs::create_dir_all(&folder).unwrap();
    for (whose, log) in [
        ("host", site.host.whole_log()),
        ("provider", site.provider_log()),
    ] {
        let path = folder.join(format!("{name}-{whose}.log"));
        std::fs::write(&path, log).unwrap();
        println!("{}", path.display());
    }
}
