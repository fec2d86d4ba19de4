//! `make bench`: real nats-servers, simulated hosts, the release provider as a
//! process, a calling actor, and how long things take. Each is measured beside
//! the least that is possible, its floor, in the same run and interleaved with
//! it; the table shows medians. Ends with 0 only if every promise was kept.
//!
//! `make bench BENCH="forwarding idle"` measures these parts only:
//!
//! - [`forwarding`]: an order to one host
//! - [`gathers`]: questions to 50 hosts
//! - [`lists`]: links from the bucket
//! - [`costs`]: what other calls, lattices and hosts cost the provider
//! - [`idle`]: what it takes where nothing happens
//! - [`cold`]: what happens for the first time

mod accounting;
mod cold;
mod costs;
mod forwarding;
mod gathers;
mod idle;
mod lists;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::json;

use support::nats::NatsServer;
use support::world::World;
use table::Table;

/// A provider that logs as in production, with its own nats-server.
async fn world() -> World {
    World::start_on(NatsServer::start(), |host_data| {
        host_data["log_level"] = "info".into();
    })
    .await
}

#[tokio::main]
async fn main() -> ExitCode {
    // Processes that it starts of itself.
    if let Some(url) = forwarding::counted::is_asked() {
        return forwarding::counted::run(&url).await;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = arguments.as_slice()
        && first == forwarding::relay::ARGUMENT
    {
        return forwarding::relay::run(rest).await;
    }
    // Cargo adds options of its own.
    let named: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let asked = |part: &str| named.is_empty() || named.iter().any(|name| *name == part);
    let mut table = Table::default();
    if asked("forwarding") {
        forwarding::measure(&mut table).await;
    }
    if asked("gathers") {
        gathers::measure(&mut table).await;
    }
    if asked("lists") {
        lists::measure(&mut table).await;
    }
    if asked("costs") {
        costs::measure(&mut table).await;
    }
    if asked("cold") {
        cold::measure(&mut table).await;
    }
    if asked("idle") {
        idle::measure(&mut table).await;
    }
    println!("\n{table}");
    let results = json!({ "machine": machine(), "rows": table.json() });
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

/// What was measured on.
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
