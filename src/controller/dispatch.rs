//! Which function carries out which operation.

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};

use crate::contract::{Request, Response};
use crate::controller::execution::Execution;
use crate::controller::{actors, auctions, claims, credentials, hosts, links, providers};
use crate::error::Error;

/// Returns the future that carries out a call. It is on the heap in the size that its
/// operation needs.
pub(super) fn dispatch<'a>(
    call: &'a Execution<'_>,
    request: &'a Request,
) -> BoxFuture<'a, Result<Response, Error>> {
    use Response::{
        ActorAuction, Claims, Done, HostInventory, Hosts, Links, ProviderAuction as ProviderBids,
    };
    let done = |()| Done;
    match request {
        Request::AdvertiseLink(arg) => links::advertise(call, arg).map_ok(done).boxed(),
        Request::AuctionActor(arg) => auctions::for_actor(call, arg).map_ok(ActorAuction).boxed(),
        Request::AuctionProvider(arg) => auctions::for_provider(call, arg)
            .map_ok(ProviderBids)
            .boxed(),
        Request::GetClaims(lattice) => claims::list(call, lattice).map_ok(Claims).boxed(),
        Request::GetHostInventory(arg) => hosts::inventory(call, arg).map_ok(HostInventory).boxed(),
        Request::GetHosts(lattice) => hosts::list(call, lattice).map_ok(Hosts).boxed(),
        Request::GetLinks(lattice) => links::list(call, lattice).map_ok(Links).boxed(),
        Request::RemoveLink(arg) => links::remove(call, arg).map_ok(done).boxed(),
        Request::ScaleActor(arg) => actors::scale(call, arg).map_ok(done).boxed(),
        Request::SetLatticeCredentials(arg) => {
            credentials::of_lattice(call, arg).map_ok(done).boxed()
        }
        Request::SetRegistryCredentials(arg) => {
            credentials::of_registries(call, arg).map_ok(done).boxed()
        }
        Request::StartActor(arg) => actors::start(call, arg).map_ok(done).boxed(),
        Request::StartProvider(arg) => providers::start(call, arg).map_ok(done).boxed(),
        Request::StopActor(arg) => actors::stop(call, arg).map_ok(done).boxed(),
        Request::StopHost(arg) => hosts::stop(call, arg).map_ok(done).boxed(),
        Request::StopProvider(arg) => providers::stop(call, arg).map_ok(done).boxed(),
        Request::UpdateActor(arg) => actors::update(call, arg).map_ok(done).boxed(),
    }
}
