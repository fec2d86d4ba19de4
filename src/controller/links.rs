//! GetLinks, AdvertiseLink, RemoveLink.

use crate::contract::{
    AdvertiseLinkRequest, EncodedLink, LinkEncoder, LinkFields, RemoveLinkDefinitionRequest,
};
use crate::controller::execution::Execution;
use crate::controller::limits;
use crate::error::{Error, Kind};
use crate::lattice::model::{Link, TextMap};
use crate::name::{ActorId, LinkName, ProviderId, required};

/// Lists the links of a lattice.
pub(super) async fn list(
    call: &Execution<'_>,
    lattice_id: &str,
) -> Result<Vec<EncodedLink>, Error> {
    let lattice = call.connect(call.lattice_id(lattice_id)?).await?;
    let mut encoder = LinkEncoder::default();
    let links = lattice.links(|link| {
        encoder.encode(&LinkFields {
            actor_id: &link.actor_id,
            provider_id: &link.provider_id,
            link_name: &link.link_name,
            contract_id: &link.contract_id,
            values: &link.values,
        })
    });
    let links = call.keep(links.await?).into_iter();
    let links: Result<_, _> = links.collect();
    links.map_err(|error| Error::new(Kind::Internal, format!("a link cannot be encoded: {error}")))
}

/// Puts a link.
pub(super) async fn advertise(
    call: &Execution<'_>,
    arg: &AdvertiseLinkRequest,
) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let sizes = arg
        .link
        .values
        .iter()
        .map(|(key, value)| key.len() + value.len());
    limits::values("values", sizes)?;
    // Hosts check none of these, and put provider and link name into subjects.
    let link = Link {
        actor_id: ActorId::parse(&arg.link.actor_id)?.to_string(),
        provider_id: ProviderId::parse(&arg.link.provider_id)?.to_string(),
        link_name: LinkName::parse_new(&arg.link.link_name)?.to_string(),
        contract_id: required("contractId", &arg.link.contract_id)?.to_owned(),
        values: arg.link.values.clone(),
    };
    call.connect(lattice).await?.put_link(&link).await
}

/// Removes a link.
pub(super) async fn remove(
    call: &Execution<'_>,
    arg: &RemoveLinkDefinitionRequest,
) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let key = Link {
        actor_id: ActorId::parse(&arg.actor_id)?.to_string(),
        provider_id: String::new(),
        link_name: LinkName::parse(&arg.link_name)?.to_string(),
        contract_id: required("contractId", &arg.contract_id)?.to_owned(),
        values: TextMap::new(),
    };
    call.connect(lattice).await?.remove_link(&key).await
}
