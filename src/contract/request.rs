//! A call's arguments and its answer, as the types of the contract.

use zeroize::Zeroizing;

use crate::contract::{
    ActorAuctionAcks, ActorAuctionRequest, AdvertiseLinkRequest, EncodedLink, GetClaimsResponse,
    GetHostInventoryRequest, HostInventory, Hosts, ProviderAuctionAcks, ProviderAuctionRequest,
    RemoveLinkDefinitionRequest, ScaleActorCommand, SetLatticeCredentialsRequest,
    SetRegistryCredentialsRequest, StartActorCommand, StartProviderCommand, StopActorCommand,
    StopHostCommand, StopProviderCommand, UpdateActorCommand,
};

/// The arguments of a call, one variant for each operation.
///
/// In `Counted`, a `count` that the caller left out can be told from 0. Secrets are
/// overwritten when they are dropped.
#[allow(missing_docs, reason = "the contract documents each under its name")]
pub enum Request {
    AdvertiseLink(AdvertiseLinkRequest),
    AuctionActor(ActorAuctionRequest),
    AuctionProvider(ProviderAuctionRequest),
    /// The lattice.
    GetClaims(String),
    GetHostInventory(GetHostInventoryRequest),
    /// The lattice.
    GetHosts(String),
    /// The lattice.
    GetLinks(String),
    RemoveLink(RemoveLinkDefinitionRequest),
    ScaleActor(Counted<ScaleActorCommand>),
    SetLatticeCredentials(Zeroizing<SetLatticeCredentialsRequest>),
    SetRegistryCredentials(Zeroizing<SetRegistryCredentialsRequest>),
    StartActor(Counted<StartActorCommand>),
    StartProvider(StartProviderCommand),
    StopActor(Counted<StopActorCommand>),
    StopHost(StopHostCommand),
    StopProvider(StopProviderCommand),
    UpdateActor(UpdateActorCommand),
}

/// Arguments with a `count`, which decodes as 0 where the caller left it out. That would
/// mean "all" or "one".
pub struct Counted<T> {
    /// The arguments. Their own `count` is not for use.
    pub arguments: T,
    /// The count, if the caller gave one.
    pub count: Option<u16>,
}

/// What a call that was carried out answers with.
#[allow(missing_docs, reason = "the contract documents each under its name")]
pub enum Response {
    /// Nothing more than that it was carried out.
    Done,
    ActorAuction(ActorAuctionAcks),
    Claims(GetClaimsResponse),
    HostInventory(HostInventory),
    Hosts(Hosts),
    Links(Vec<EncodedLink>),
    ProviderAuction(ProviderAuctionAcks),
}
