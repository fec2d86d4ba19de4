//! Carries out calls: which function carries out which operation.

use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use tracing::info;

use crate::contract::{Request, Response};
use crate::controller::execution::Execution;
use crate::controller::{
    Controller, actors, auctions, claims, credentials, hosts, links, providers,
};
use crate::error::Error;
use crate::nats::OwnLattice;
use crate::serve::{Call, Operations};

impl Operations for Controller {
    async fn carry_out(&self, call: &Call<'_>, request: Request) -> Result<Response, Error> {
        let execution = Execution::new(self, call);
        let result = dispatch(&execution, &request).await;
        execution.ended(&result);
        result
    }

    fn begin(&self, home: OwnLattice) {
        crate::credentials::follow(&self.credentials, home);
    }

    async fn finish(&self) {
        self.duties.close();
        if !self.duties.is_empty() {
            info!(
                duties = self.duties.len(),
                "commands are carried out to their end"
            );
        }
        self.duties.wait().await;
    }

    fn health(&self) -> Result<(), String> {
        self.credentials.health()
    }
}

/// Returns the future that carries out a call. It is on the heap in the size that its
/// operation needs.
fn dispatch<'a>(
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
