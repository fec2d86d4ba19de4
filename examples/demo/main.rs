//! `make demo` starts a nats-server, a lattice of four simulated hosts, the
//! real provider with host data on its standard input, and a linked actor that
//! walks through the contract. It exits with 0 only if every answer was as
//! expected.

#[allow(dead_code, reason = "a part of what tests use")]
#[path = "../../tests/support/mod.rs"]
mod support;
mod table;
mod walk;

use std::process::ExitCode;
use std::sync::Arc;

use support::actor::Actor;
use support::host::lattice::SimLattice;
use support::host::{Generation, SimHost};
use support::host_v1::{SimHostV1, Version};
use support::nats::NatsServer;
use support::provider::{Identity, Provider};

#[tokio::main]
async fn main() -> ExitCode {
    println!("\n  The lattice controller: a walk through a simulated lattice\n");

    let nats = NatsServer::start();
    println!("nats-server     {}", nats.url());

    let client = nats.client().await;
    let lattice = Arc::new(SimLattice::with_bucket(client, walk::LATTICE).await);
    let actor_key = lattice.publish_actor(walk::ACTOR_REF, "shop", 3).await;
    lattice
        .publish_actor_as(walk::NEW_ACTOR_REF, &actor_key, "shop", 4)
        .await;
    let provider_key = Identity::new().provider_key;
    lattice
        .publish_provider_as(
            walk::PROVIDER_REF,
            &provider_key,
            "HTTP Server",
            walk::CONTRACT,
        )
        .await;
    let mut hosts = Vec::new();
    for (generation, zone) in [
        (Generation::G1b, "eu"),
        (Generation::G2b, "eu"),
        (Generation::G3b, "us"),
    ] {
        hosts.push(SimHost::start(&lattice, generation, &[("zone", zone)]).await);
    }
    let _of_1x = SimHostV1::start(&lattice, Version::V192, &[("zone", "us")]).await;
    println!(
        "lattice         {:?}, {} simulated hosts, and one of wasmCloud 1.x",
        walk::LATTICE,
        hosts.len()
    );

    let identity = Identity::new();
    let mut host_data = identity.host_data(&nats.url());
    host_data["log_level"] = "info".into();
    let mut provider = Provider::start(&host_data);
    provider.ready().await;
    println!("provider        {}", identity.provider_key);
    let actor = Actor::connect(&nats.url(), &identity).await;
    println!("linked actor    {}", identity.actor);

    let walked = walk::Walk {
        client: actor.lattice(),
        url: nats.url(),
        actor_key,
        provider_key,
    }
    .all()
    .await;

    // The provider ends as by its host.
    let order = format!("{{\"host_id\":\"{}\"}}", identity.host_id);
    let control = nats.client().await;
    let ended = control
        .request(identity.subject("shutdown"), order.into())
        .await;
    let ended = ended.is_ok() && provider.ended().await.success();

    match walked {
        Ok(steps) if ended => {
            println!("\n  {steps} steps, all as expected; everything is stopped.\n");
            ExitCode::SUCCESS
        }
        Ok(_) => {
            eprintln!("\n  The provider did not end when it was told to.");
            ExitCode::FAILURE
        }
        Err(problem) => {
            eprintln!("\n  Not as expected: {problem}");
            eprintln!("\n--- log of the provider ---\n{}", provider.log());
            ExitCode::FAILURE
        }
    }
}
