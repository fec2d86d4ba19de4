//! What lattices in use cost the provider.

use crate::support::world::{World, ctx};
use futures::{StreamExt as _, stream};
use wasmcloud_interface_lattice_control::LatticeController as _;

/// Part of the name of the provider's connections to lattices.
const OURS: &str = "for lattices";

/// Binds so many lattices, and calls each once.
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
    // What the first calls need once is there, and freed for the others.
    call_each(&world, "warm", 20).await;
    let before = world.provider.resident();
    call_each(&world, "x", 500).await;
    let grown = world.provider.resident() - before;
    assert!(grown < 2048, "{grown} KiB");
    assert_eq!(world.nats.open_connections(OURS), 1);
}
