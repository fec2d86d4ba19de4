//! What an idle provider uses, with 100 lattices of 100 different credentials,
//! all connected and called a moment ago, each with a host that sends
//! heartbeats.

use std::sync::Arc;
use std::time::Duration;

use wasmcloud_interface_lattice_control::LatticeController as _;

use crate::accounting::Process;
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::world::ctx;
use crate::table::{KIB_OF_MIB, Promise, Row, Table, Unit};

const LATTICES: usize = 100;
const MEASURED_FOR: Duration = Duration::from_secs(60);
/// How often its memory is read meanwhile.
const READINGS: u32 = 5;

pub async fn measure(table: &mut Table) {
    let world = crate::world().await;
    let process = Process::from(&world.provider);
    let remote = NatsServer::without_jetstream();
    let client = remote.client().await;
    let lattice = world.actor.lattice();
    let mut hosts = Vec::new();
    for number in 0..LATTICES {
        let name = format!("x{number}");
        let sim = SimLattice::without_bucket(client.clone(), &name);
        let host = SimHost::start(&Arc::new(sim), Generation::G2b, &[]).await;
        hosts.push(host);
        let url = format!("nats://user{number}:x@{}", remote.address());
        world.set_lattice(&name, &url).await;
        assert_eq!(lattice.get_hosts(&ctx(), &name).await.unwrap().len(), 1);
    }
    let beating = tokio::spawn(async move {
        loop {
            for host in &hosts {
                host.beat().await;
                tokio::time::sleep(Duration::from_secs(30) / LATTICES as u32).await;
            }
        }
    });
    let mut memory = Row::new(
        "memory, 100 lattices, 100 credentials",
        Unit::MiB,
        Promise::Under(16.0),
    );
    let before = process.cpu();
    for _ in 0..READINGS {
        tokio::time::sleep(MEASURED_FOR / READINGS).await;
        memory.note(world.provider.resident() as f64 / KIB_OF_MIB);
    }
    let used = (process.cpu() - before).as_secs_f64() / MEASURED_FOR.as_secs_f64();
    beating.abort();
    let connections = remote.monitoring("/connz")["num_connections"].as_u64();
    // The provider's connections, and that of the hosts.
    assert_eq!(connections, Some(LATTICES as u64 + 1));
    let mut cpu = Row::new(
        "CPU, 100 lattices, 100 credentials, nothing called",
        Unit::Percent,
        Promise::Under(0.2),
    );
    cpu.note(used * 100.0);
    table.add(cpu);
    table.add(memory);
}
