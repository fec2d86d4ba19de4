//! `make bench` measures how long things take, with real nats-servers,
//! simulated hosts, the release provider as a process and a calling actor.
//! Where there is a least possible time, the floor, it is measured in the same
//! run and interleaved. The table shows medians. It exits with 0 only if every
//! promise was kept.
//!
//! `make bench BENCH="forwarding idle"` measures these parts only:
//!
//! - [`forwarding`]: a command to one host
//! - [`gathers`]: queries of 50 hosts
//! - [`lists`]: links from the bucket
//! - [`costs`]: the cost of other calls, of lattices and of hosts
//! - [`refusals`]: the cost of calls that are refused
//! - [`idle`]: what an idle provider uses
//! - [`cold`]: starts and first calls
//! - [`neighbours`]: the calls of an actor beside one that takes all it can get
//! - [`scale`]: 1,000 lattices of 100 hosts beside 10, only where it is named

mod accounting;
mod cold;
mod costs;
mod forwarding;
mod gathers;
mod idle;
mod lists;
mod neighbours;
mod refusals;
mod scale;
#[allow(dead_code, reason = "a part of what tests use")]
#[path = "../../tests/support/mod.rs"]
mod support;
#[allow(dead_code, reason = "the bench of allocations uses the rest")]
mod table;

use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::json;

use support::nats::NatsServer;
use support::world::World;
use table::Table;

/// The parts that are measured where none is named.
const PARTS: [&str; 8] = [
    "forwarding",
    "gathers",
    "lists",
    "costs",
    "refusals",
    "cold",
    "idle",
    "neighbours",
];
/// The part that takes longer than all others, and is measured where it is named.
const SCALE: &str = "scale";

/// Starts a provider that logs as in production, with its own nats-server.
async fn world() -> World {
    World::start_on(NatsServer::start(), |host_data| {
        host_data["log_level"] = "info".into();
    })
    .await
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // The relay, which is this program in another role.
    if let [first, rest @ ..] = arguments.as_slice()
        && first == forwarding::relay::ARGUMENT
    {
        return forwarding::relay::run(rest).await;
    }
    // Cargo adds options of its own.
    let named: Vec<&str> = arguments
        .iter()
        .map(String::as_str)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_known = |name: &str| PARTS.contains(&name) || name == SCALE;
    if let Some(unknown) = named.iter().find(|name| !is_known(name)) {
        let parts = PARTS.join(", ");
        eprintln!("{unknown:?} is no part; there are {parts}, {SCALE}");
        return ExitCode::from(64);
    }
    let parts = match named.is_empty() {
        true => PARTS.to_vec(),
        false => named,
    };
    let mut table = Table::default();
    for part in &parts {
        match *part {
            "forwarding" => forwarding::measure(&mut table).await,
            "gathers" => gathers::measure(&mut table).await,
            "lists" => lists::measure(&mut table).await,
            "costs" => costs::measure(&mut table).await,
            "refusals" => refusals::measure(&mut table).await,
            "cold" => cold::measure(&mut table).await,
            "neighbours" => neighbours::measure(&mut table).await,
            SCALE => scale::measure(&mut table).await,
            _ => idle::measure(&mut table).await,
        }
    }
    println!("\n{table}");
    let results = json!({ "machine": machine(), "parts": parts, "rows": table.json() });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.json");
    let written = std::fs::create_dir_all(file.with_file_name(""))
        .and_then(|()| std::fs::write(&file, format!("{results:#}\n")));
    if let Err(error) = written {
        eprintln!("{}: {error}", file.display());
        return ExitCode::FAILURE;
    }
    println!("The same as JSON: {}", file.display());
    match table.kept() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Describes the machine.
fn machine() -> serde_json::Value {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let cpu = model.and_then(|line| line.split(": ").nth(1));
    let server = Command::new(support::nats::program())
        .arg("--version")
        .output();
    let server = server.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    json!({
        "cpu": cpu,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "nats_server": server.unwrap_or_default(),
        "lattice_controller": env!("CARGO_PKG_VERSION"),
    })
}
