//! A provider with all that it needs around it.

use serde_json::Value;
use wasmbus_rpc::common::Context;
use wasmbus_rpc::core::LinkDefinition;
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::{
    CtlOperationAck, Host, LatticeController as _, SetLatticeCredentialsRequest, StopHostCommand,
};

use super::actor::Actor;
use super::jwt::User;
use super::nats::NatsServer;
use super::provider::{Identity, Provider};

/// A server for everything, a provider, and its linked actor.
pub struct World {
    pub provider: Provider,
    pub identity: Identity,
    pub actor: Actor,
    pub nats: NatsServer,
}

/// Returns the context of a call, which the client ignores.
pub fn ctx() -> Context {
    Context::default()
}

impl World {
    /// Starts them without credentials of any lattice.
    pub async fn start() -> Self {
        Self::start_on(NatsServer::start(), |_| {}).await
    }

    /// Starts a provider on this server, with host data changed by `change`.
    pub async fn start_on(nats: NatsServer, change: impl FnOnce(&mut Value)) -> Self {
        Self::start_as(Identity::new(), nats, change).await
    }

    /// Does the same for an identity that the server's configuration names.
    pub async fn start_as(
        identity: Identity,
        nats: NatsServer,
        change: impl FnOnce(&mut Value),
    ) -> Self {
        let mut host_data = identity.host_data(&nats.url());
        change(&mut host_data);
        Self::around(Provider::start(&host_data), identity, nats).await
    }

    /// Puts a world around a provider that was started on this server.
    pub async fn around(provider: Provider, identity: Identity, nats: NatsServer) -> Self {
        provider.ready().await;
        let actor = Actor::connect(&nats.url(), &identity).await;
        Self {
            provider,
            identity,
            actor,
            nats,
        }
    }

    /// Starts them with anonymous credentials of lattice `default` on the same
    /// server.
    pub async fn with_lattice() -> Self {
        let world = Self::start().await;
        world.set_lattice("default", &world.nats.url()).await;
        world
    }

    /// Tells the provider of a link as hosts do; `kind` is `linkdefs.put` or
    /// `linkdefs.del`. The server has the message when this returns.
    pub async fn publish_link(&self, kind: &str, actor: &str, values: Value) {
        let mut link = LinkDefinition::default();
        link.actor_id = actor.into();
        link.provider_id = self.identity.provider_key.clone();
        link.link_name = self.identity.link_name.clone();
        link.contract_id = "wasmcloud:latticecontrol".into();
        link.values = serde_json::from_value(values).unwrap();
        let nats = self.nats.client().await;
        let body = rmp_serde::to_vec_named(&link).unwrap();
        let subject = self.identity.subject(kind);
        nats.publish(subject, body.into()).await.unwrap();
        super::fence(&nats).await;
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
        set(&self.actor, lattice, url).await
    }

    /// Sets credentials of a lattice: a JWT and its seed.
    pub async fn set_user(&self, lattice: &str, url: &str, user: &User) {
        let request = SetLatticeCredentialsRequest {
            lattice_id: lattice.into(),
            nats_url: Some(url.into()),
            user_jwt: Some(user.jwt.clone()),
            user_seed: Some(user.seed.clone()),
            js_domain: None,
        };
        let lattice = self.actor.lattice();
        let ack = lattice.set_lattice_credentials(&ctx(), &request).await;
        let ack = ack.unwrap();
        assert!(ack.accepted, "{}", ack.error);
    }

    /// Asks for the hosts of a lattice; the error is the text that the actor
    /// got.
    pub async fn hosts(&self, lattice: &str) -> Result<Vec<Host>, String> {
        hosts(&self.actor, lattice).await
    }

    /// Has a host of the lattice stopped, which must not be accepted, and
    /// returns the reason.
    pub async fn order_refused(&self, lattice: &str) -> String {
        let command = StopHostCommand {
            lattice_id: lattice.into(),
            host_id: nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key(),
            timeout: None,
        };
        let client = self.actor.lattice();
        let ack = client.stop_host(&ctx(), &command).await.unwrap();
        assert!(!ack.accepted);
        ack.error
    }
}

/// Has an actor set anonymous credentials of a lattice, or those in the URL.
pub async fn set(actor: &Actor, lattice: &str, url: &str) -> Result<CtlOperationAck, RpcError> {
    let request = SetLatticeCredentialsRequest {
        lattice_id: lattice.into(),
        nats_url: Some(url.into()),
        ..Default::default()
    };
    let client = actor.lattice();
    client.set_lattice_credentials(&ctx(), &request).await
}

/// Has an actor ask for the hosts of a lattice; the error is the text that it
/// got.
pub async fn hosts(actor: &Actor, lattice: &str) -> Result<Vec<Host>, String> {
    let hosts = actor.lattice().get_hosts(&ctx(), lattice).await;
    hosts.map_err(|error| error.to_string())
}

/// Has an actor set credentials, and returns the acknowledgement.
pub async fn set_acknowledged(actor: &Actor, lattice: &str, url: &str) -> CtlOperationAck {
    set(actor, lattice, url).await.unwrap()
}

/// Makes so many calls at once, none of which may fail.
pub async fn none_fails(actor: &Actor, lattice: &str, calls: usize) {
    let calls: Vec<_> = (0..calls)
        .map(|_| {
            let (actor, lattice) = (actor.clone(), lattice.to_owned());
            tokio::spawn(async move { hosts(&actor, &lattice).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}
