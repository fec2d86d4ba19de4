//! AuctionActor, AuctionProvider.

use crate::contract::{
    ActorAuctionAck, ActorAuctionAcks, ActorAuctionRequest, ProviderAuctionAck,
    ProviderAuctionAcks, ProviderAuctionRequest,
};
use crate::controller::execution::Execution;
use crate::controller::limits;
use crate::error::Error;
use crate::name::{LinkName, required};

/// Asks which hosts would run an actor.
pub(super) async fn for_actor(
    call: &Execution<'_>,
    arg: &ActorAuctionRequest,
) -> Result<ActorAuctionAcks, Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    limits::labels("constraints", &arg.constraints)?;
    let actor_ref = required("actorRef", &arg.actor_ref)?;
    let lattice = call.connect(lattice).await?;
    let bids = lattice.auction_actor(actor_ref, &arg.constraints).await?;
    Ok(bids
        .into_iter()
        .map(|host| ActorAuctionAck {
            actor_ref: arg.actor_ref.clone(),
            host_id: host.to_string(),
        })
        .collect())
}

/// Asks which hosts would run a provider.
pub(super) async fn for_provider(
    call: &Execution<'_>,
    arg: &ProviderAuctionRequest,
) -> Result<ProviderAuctionAcks, Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let link_name = LinkName::parse(&arg.link_name)?;
    limits::labels("constraints", &arg.constraints)?;
    let provider_ref = required("providerRef", &arg.provider_ref)?;
    let lattice = call.connect(lattice).await?;
    let bids = lattice
        .auction_provider(provider_ref, &link_name, &arg.constraints)
        .await?;
    Ok(bids
        .into_iter()
        .map(|host| ProviderAuctionAck {
            provider_ref: arg.provider_ref.clone(),
            link_name: arg.link_name.clone(),
            host_id: host.to_string(),
        })
        .collect())
}
