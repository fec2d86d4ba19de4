//! A guilty and an innocent actor at one provider: what each of them does, and how long the
//! calls of the innocent one take.

pub mod guilty;
pub mod innocent;
pub mod load;

use std::process::Command;
use std::sync::atomic::AtomicUsize;

use super::actor::Actor;
use super::fast_host::Host;
use super::nats::NatsServer;
use super::provider::{Identity, Provider, link_another, program};
use super::world::{World, set};

/// The lattice of the innocent actor that is connected.
const CONNECTED: &str = "connected";

/// A provider to which two actors are linked.
pub struct Neighbours {
    /// Its linked actor is the innocent one.
    pub world: World,
    /// The guilty actor, and what its calls are signed with.
    pub guilty: Actor,
    pub guilty_identity: Identity,
    /// The server of all lattices that are well. It takes any user as a login.
    pub remote: NatsServer,
    /// A host in each of these lattices.
    pub host: Host,
    /// How many lattices got credentials for a first call.
    unconnected: AtomicUsize,
}

impl Neighbours {
    /// Starts a provider that logs as in production.
    pub async fn start() -> Self {
        Self::start_by(Command::new(program())).await
    }

    /// Starts the provider by a command that executes it.
    pub async fn start_by(command: Command) -> Self {
        let (identity, nats) = (Identity::new(), NatsServer::start());
        let guilty_identity = Identity {
            actor: Identity::new().actor,
            ..identity.clone()
        };
        let mut host_data = identity.host_data(&nats.url());
        host_data["log_level"] = "info".into();
        link_another(&mut host_data, &guilty_identity.actor);
        let provider = Provider::start_by(command, &host_data);
        let world = World::around(provider, identity, nats).await;
        let remote = NatsServer::without_jetstream();
        let neighbours = Self {
            guilty: Actor::connect(&world.nats.url(), &guilty_identity).await,
            guilty_identity,
            host: Host::start(remote.client().await, "*").await,
            world,
            remote,
            unconnected: AtomicUsize::new(0),
        };
        let url = neighbours.url_of("innocent");
        neighbours.world.set_lattice(CONNECTED, &url).await;
        neighbours.command(CONNECTED.into()).await.unwrap();
        neighbours.get_hosts().await.unwrap();
        neighbours
    }

    /// Returns the URL of the server for a user, whose connection is its own.
    pub fn url_of(&self, user: &str) -> String {
        format!("nats://{user}:x@{}", self.remote.address())
    }

    /// Has the guilty actor set credentials.
    pub async fn set_by_guilty(&self, lattice: &str, url: &str) {
        let ack = set(&self.guilty, lattice, url).await.unwrap();
        assert!(ack.accepted, "{}", ack.error);
    }
}
