//! An actor that calls the provider through the published client crates.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmbus_rpc::common::{Context, Message, SendOpts, Transport};
use wasmbus_rpc::core::WasmCloudEntity;
use wasmbus_rpc::error::RpcResult;
use wasmbus_rpc::rpc_client::RpcClient;
use wasmbus_rpc::wascap::prelude::KeyPair;
use wasmcloud_interface_lattice_control::LatticeControllerSender;

use super::provider::Identity;
use super::time::scaled;

/// An actor on a host of the provider's lattice.
#[derive(Clone)]
pub struct Actor {
    client: RpcClient,
    nats: wasmbus_rpc::async_nats::Client,
    key: Arc<KeyPair>,
    identity: Arc<Identity>,
    actor: String,
}

impl Actor {
    /// Connects as the linked actor.
    pub async fn connect(nats_url: &str, identity: &Identity) -> Self {
        Self::connect_as(nats_url, identity, &identity.actor, &identity.cluster).await
    }

    /// Connects as any actor; `key` signs its calls.
    pub async fn connect_as(
        nats_url: &str,
        identity: &Identity,
        actor: &str,
        key: &Arc<KeyPair>,
    ) -> Self {
        let nats = wasmbus_rpc::async_nats::connect(nats_url).await.unwrap();
        Self::over(nats, identity, actor, key)
    }

    /// Makes an actor that calls over this connection.
    pub fn over(
        nats: wasmbus_rpc::async_nats::Client,
        identity: &Identity,
        actor: &str,
        key: &Arc<KeyPair>,
    ) -> Self {
        let timeout = Some(scaled(Duration::from_millis(2000)));
        let host = identity.host_id.clone();
        Self {
            client: RpcClient::new(nats.clone(), host, timeout, key.clone()),
            nats,
            key: key.clone(),
            identity: Arc::new(identity.clone()),
            actor: actor.to_owned(),
        }
    }

    /// Returns the actor on a host that gives its calls this much time, scaled.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let (host, key) = (self.identity.host_id.clone(), self.key.clone());
        self.client = RpcClient::new(self.nats.clone(), host, Some(scaled(timeout)), key);
        self
    }

    /// Returns its public key.
    pub fn public_key(&self) -> &str {
        &self.actor
    }

    /// Returns the published client of the contract.
    pub fn lattice(&self) -> LatticeControllerSender<Self> {
        LatticeControllerSender::via(self.clone())
    }

    /// Calls an operation with any arguments.
    pub async fn call<A: Serialize, R: DeserializeOwned>(
        &self,
        operation: &str,
        argument: &A,
    ) -> RpcResult<R> {
        let argument = wasmbus_rpc::common::serialize(argument)?;
        let result = self.call_raw(operation, argument).await?;
        wasmbus_rpc::common::deserialize(&result)
    }

    /// Calls an operation with any bytes.
    pub async fn call_raw(&self, operation: &str, argument: Vec<u8>) -> RpcResult<Vec<u8>> {
        let message = Message {
            method: operation,
            arg: argument.into(),
        };
        self.send(&Context::default(), message, None).await
    }
}

#[async_trait]
impl Transport for Actor {
    async fn send(
        &self,
        _: &Context,
        message: Message<'_>,
        _: Option<SendOpts>,
    ) -> RpcResult<Vec<u8>> {
        let origin = WasmCloudEntity {
            public_key: self.actor.clone(),
            link_name: String::new(),
            contract_id: String::new(),
        };
        let target = WasmCloudEntity {
            public_key: self.identity.provider_key.clone(),
            link_name: self.identity.link_name.clone(),
            contract_id: "wasmcloud:latticecontrol".into(),
        };
        self.client
            .send(origin, target, &self.identity.lattice, message)
            .await
    }

    fn set_timeout(&self, _: Duration) {}
}
