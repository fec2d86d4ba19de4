//! `make bench`: real nats-servers, simulated hosts, the release provider as a
//! process, a calling actor, and how long things take. Each is measured beside
//! the least that is possible, its floor, in the same run and interleaved with
//! it; the table shows medians. Ends with 0 only if every promise was kept.
//!
//! - [`gathers`]: questions to 50 hosts
//! - [`lists`]: links from the bucket
//! - [`capacity`]: what calls, connections and lattices cost the provider

mod capacity;
mod gathers;
mod lists;
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;

use std::process::ExitCode;

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
    let mut table = Table::default();
    gathers::measure(&mut table).await;
    lists::measure(&mut table).await;
    let costs = capacity::measure().await;
    println!("\n{table}\n{costs}");
    match table.kept() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
