//! What lattices in use cost the provider in memory.

use crate::support::nats::OURS;
use crate::support::world::{World, ctx};
use futures::{StreamExt as _, stream};
use wasmcloud_interface_lattice_control::LatticeController as _;

/// Sets credentials of so many lattices, and calls each once.
async fn call_each(world: &World, name: &str, count: usize) {
    let call = |number: usize| async move {
        let lattice = format!("{name}{number}");
        world.set_lattice(&lattice, &world.nats.url()).await;
        let hosts = world.actor.lattice().get_hosts(&ctx(), &lattice).await;
        assert!(hosts.unwrap().is_empty());
    };
    stream::iter(0..count).for_each_concurrent(8, call).await;
}

#[tokio::test]
async fn five_hundred_lattices_with_one_credential_are_one_connection_and_under_two_mebibytes() {
    let world = World::start().await;
    // What the first calls allocate once is allocated by now.
    call_each(&world, "warm", 20).await;
    let before = world.provider.resident();
    call_each(&world, "x", 500).await;
    let grown = world.provider.resident() - before;
    assert!(grown < 2048, "{grown} KiB");
    assert_eq!(world.nats.open_connections(OURS), 1);
}
