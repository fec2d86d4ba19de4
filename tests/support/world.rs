//! A provider with everything around it.

use serde_json::Value;
use wasmbus_rpc::common::Context;
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::{
    CtlOperationAck, LatticeController as _, SetLatticeCredentialsRequest,
};

use super::actor::Actor;
use super::nats::NatsServer;
use super::provider::{Identity, Provider};

/// One server for everything, a provider, its linked actor.
pub struct World {
    pub provider: Provider,
    pub identity: Identity,
    pub actor: Actor,
    pub nats: NatsServer,
}

/// Context of a call; the client ignores it.
pub fn ctx() -> Context {
    Context::default()
}

impl World {
    /// Starts them; no lattice is known.
    pub async fn start() -> Self {
        Self::start_on(NatsServer::start(), |_| {}).await
    }

    /// Starts a provider on this server, with host data changed by `change`.
    pub async fn start_on(nats: NatsServer, change: impl FnOnce(&mut Value)) -> Self {
        let identity = Identity::new();
        let mut host_data = identity.host_data(&nats.url());
        change(&mut host_data);
        let provider = Provider::start(&host_data);
        provider.ready().await;
        let actor = Actor::connect(&nats.url(), &identity).await;
        Self {
            provider,
            identity,
            actor,
            nats,
        }
    }

    /// The same, with lattice `default` on the same server.
    pub async fn with_lattice() -> Self {
        let world = Self::start().await;
        world.set_lattice("default", &world.nats.url()).await;
        world
    }

    /// Sets anonymous credentials of a lattice.
    pub async fn set_lattice(&self, lattice: &str, url: &str) {
        let ack = self.try_set_lattice(lattice, url).await.unwrap();
        assert!(ack.accepted, "{}", ack.error);
    }

    pub async fn try_set_lattice(
        &self,
        lattice: &str,
        url: &str,
    ) -> Result<CtlOperationAck, RpcError> {
        let request = SetLatticeCredentialsRequest {
            lattice_id: lattice.into(),
            nats_url: Some(url.into()),
            ..Default::default()
        };
        let lattice = self.actor.lattice();
        lattice.set_lattice_credentials(&ctx(), &request).await
    }
}
