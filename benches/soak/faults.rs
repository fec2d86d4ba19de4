//! Kills servers and starts them again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::sleep;
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::LatticeController as _;

use crate::callers::Scene;
use crate::random::Random;
use crate::support::actor::Actor;
use crate::support::nats::NatsServer;
use crate::support::world::ctx;

/// Restarts a server of lattices every now and then until the soak is over, and
/// returns the servers.
pub async fn of_lattices(
    scene: Arc<Scene>,
    mut servers: Vec<NatsServer>,
    mut random: Random,
) -> Vec<NatsServer> {
    while pause(&scene, random.of(1500..5000)).await {
        let number = random.of(0..servers.len() as u64) as usize;
        restart(&mut servers[number], random.of(0..1200)).await;
        scene.tally.restarts.fetch_add(1, Relaxed);
    }
    servers
}

/// Restarts our own server, less often. Calls in flight may be cut off.
pub async fn of_home(
    scene: Arc<Scene>,
    mut server: NatsServer,
    actors: Vec<Actor>,
    mut random: Random,
) -> NatsServer {
    while pause(&scene, random.of(10_000..25_000)).await {
        scene.tally.goes_away();
        restart(&mut server, random.of(0..1200)).await;
        for actor in &actors {
            served(actor, &scene).await;
        }
        scene.tally.is_back();
        scene.tally.home_restarts.fetch_add(1, Relaxed);
    }
    server
}

/// Waits until calls of this actor are answered.
async fn served(actor: &Actor, scene: &Scene) {
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let client = actor.lattice();
        match client.get_hosts(&ctx(), "no lattice").await {
            Err(RpcError::Rpc(_)) => return,
            _ if Instant::now() > until => {
                return scene
                    .tally
                    .wrong("no call was served 10 s after our own server was back".into());
            }
            _ => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn restart(server: &mut NatsServer, away: u64) {
    server.kill();
    sleep(Duration::from_millis(away)).await;
    tokio::task::block_in_place(|| server.restart());
}

/// Waits so many milliseconds, and returns whether the soak goes on.
async fn pause(scene: &Scene, ms: u64) -> bool {
    let until = Instant::now() + Duration::from_millis(ms);
    while Instant::now() < until && !scene.over.load(Relaxed) {
        sleep(Duration::from_millis(50)).await;
    }
    !scene.over.load(Relaxed)
}
