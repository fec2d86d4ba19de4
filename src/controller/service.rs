//! The contract's service trait: which function carries out which operation,
//! and how each says no.

use async_trait::async_trait;
use wasmbus_rpc::common::{Context, Message, MessageDispatch};
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::contract::{
    ActorAuctionAcks, ActorAuctionRequest, AdvertiseLinkRequest, CtlOperationAck,
    GetClaimsResponse, GetHostInventoryRequest, HostInventory, Hosts, LatticeController,
    LatticeControllerReceiver, LinkDefinitionList, ProviderAuctionAcks, ProviderAuctionRequest,
    RemoveLinkDefinitionRequest, ScaleActorCommand, SetLatticeCredentialsRequest,
    SetRegistryCredentialsRequest, StartActorCommand, StartProviderCommand, StopActorCommand,
    StopHostCommand, StopProviderCommand, UpdateActorCommand,
};
use crate::controller::call::Call;
use crate::controller::wiped::Wiped;
use crate::controller::{actors, auctions, claims, credentials, hosts, links, providers};
use crate::error::{Error, without_values};

#[async_trait]
impl MessageDispatch for Call<'_> {
    /// Decodes the arguments, calls the operation and encodes its result.
    async fn dispatch(&self, ctx: &Context, message: Message<'_>) -> RpcResult<Vec<u8>> {
        let result = match message.method {
            "SetLatticeCredentials" => match Wiped::decode(&message) {
                Ok(arg) => {
                    let ack = self.set_lattice_credentials(ctx, &arg.0).await;
                    ack.and_then(|ack| wasmbus_rpc::common::serialize(&ack))
                }
                Err(error) => Err(error),
            },
            "SetRegistryCredentials" => match Wiped::decode(&message) {
                Ok(arg) => {
                    let set = self.set_registry_credentials(ctx, &arg.0).await;
                    set.map(|()| Vec::new())
                }
                Err(error) => Err(error),
            },
            _ => LatticeControllerReceiver::dispatch(self, ctx, message).await,
        };
        result.map_err(|error| match error {
            // What cannot be decoded may be a secret in the wrong place.
            RpcError::Deser(text) => RpcError::Deser(without_values(&text)),
            error => error,
        })
    }
}

impl LatticeControllerReceiver for Call<'_> {}

impl Call<'_> {
    fn ack(&self, result: Result<(), Error>) -> RpcResult<CtlOperationAck> {
        match result {
            Ok(()) => Ok(CtlOperationAck {
                accepted: true,
                error: String::new(),
            }),
            Err(error) => {
                self.failed(&error);
                error.into_ack()
            }
        }
    }

    fn answer<T>(&self, result: Result<T, Error>) -> RpcResult<T> {
        result.map_err(|error| {
            self.failed(&error);
            error.into_rpc()
        })
    }
}

#[async_trait]
impl LatticeController for Call<'_> {
    async fn auction_provider(
        &self,
        _: &Context,
        arg: &ProviderAuctionRequest,
    ) -> RpcResult<ProviderAuctionAcks> {
        self.answer(auctions::for_provider(self, arg).await)
    }

    async fn auction_actor(
        &self,
        _: &Context,
        arg: &ActorAuctionRequest,
    ) -> RpcResult<ActorAuctionAcks> {
        self.answer(auctions::for_actor(self, arg).await)
    }

    async fn get_hosts<TS: ToString + ?Sized + Sync>(
        &self,
        _: &Context,
        arg: &TS,
    ) -> RpcResult<Hosts> {
        self.answer(hosts::list(self, &arg.to_string()).await)
    }

    async fn get_host_inventory(
        &self,
        _: &Context,
        arg: &GetHostInventoryRequest,
    ) -> RpcResult<HostInventory> {
        self.answer(hosts::inventory(self, arg).await)
    }

    async fn get_claims<TS: ToString + ?Sized + Sync>(
        &self,
        _: &Context,
        arg: &TS,
    ) -> RpcResult<GetClaimsResponse> {
        self.answer(claims::list(self, &arg.to_string()).await)
    }

    async fn scale_actor(
        &self,
        _: &Context,
        arg: &ScaleActorCommand,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(actors::scale(self, arg).await)
    }

    async fn start_actor(
        &self,
        _: &Context,
        arg: &StartActorCommand,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(actors::start(self, arg).await)
    }

    async fn advertise_link(
        &self,
        _: &Context,
        arg: &AdvertiseLinkRequest,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(links::advertise(self, arg).await)
    }

    async fn remove_link(
        &self,
        _: &Context,
        arg: &RemoveLinkDefinitionRequest,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(links::remove(self, arg).await)
    }

    async fn get_links<TS: ToString + ?Sized + Sync>(
        &self,
        _: &Context,
        arg: &TS,
    ) -> RpcResult<LinkDefinitionList> {
        self.answer(links::list(self, &arg.to_string()).await)
    }

    async fn update_actor(
        &self,
        _: &Context,
        arg: &UpdateActorCommand,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(actors::update(self, arg).await)
    }

    async fn start_provider(
        &self,
        _: &Context,
        arg: &StartProviderCommand,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(providers::start(self, arg).await)
    }

    async fn stop_provider(
        &self,
        _: &Context,
        arg: &StopProviderCommand,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(providers::stop(self, arg).await)
    }

    async fn stop_actor(&self, _: &Context, arg: &StopActorCommand) -> RpcResult<CtlOperationAck> {
        self.ack(actors::stop(self, arg).await)
    }

    async fn stop_host(&self, _: &Context, arg: &StopHostCommand) -> RpcResult<CtlOperationAck> {
        self.ack(hosts::stop(self, arg).await)
    }

    async fn set_lattice_credentials(
        &self,
        _: &Context,
        arg: &SetLatticeCredentialsRequest,
    ) -> RpcResult<CtlOperationAck> {
        self.ack(credentials::of_lattice(self, arg).await)
    }

    async fn set_registry_credentials(
        &self,
        _: &Context,
        arg: &SetRegistryCredentialsRequest,
    ) -> RpcResult<()> {
        let result = credentials::of_registries(self, arg).await;
        result.map_err(|error| {
            self.failed(&error);
            error.into_rpc_of_order()
        })
    }
}
