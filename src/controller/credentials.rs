//! SetLatticeCredentials, SetRegistryCredentials. Nothing here formats a
//! request: the generated types would print what they hold.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;

use super::call::Call;
use crate::contract::{
    RegistryCredential, SetLatticeCredentialsRequest, SetRegistryCredentialsRequest,
};
use crate::error::{Error, quoted};
use crate::lattice::wire::RegistryEntry;
use crate::name::{JsDomain, present, required};
use crate::pool::Credentials;

/// Binds a lattice to what it is reached with.
pub(super) fn of_lattice(call: &Call<'_>, arg: &SetLatticeCredentialsRequest) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let urls = match present(arg.nats_url.as_deref()) {
        Some(urls) => urls,
        None => call
            .controller
            .settings()?
            .default_lattice_url
            .expose_secret(),
    };
    let credentials = Credentials::new(
        urls,
        present(arg.user_jwt.as_deref()),
        present(arg.user_seed.as_deref()),
    )?;
    // Blank is absent: "" would make the API prefix `$JS..API` (trap T8).
    let js_domain = present(arg.js_domain.as_deref())
        .map(JsDomain::parse)
        .transpose()?;
    call.controller.pool.bind(lattice, credentials, js_domain);
    Ok(())
}

/// Gives the hosts of a lattice registry credentials.
pub(super) async fn of_registries(
    call: &Call<'_>,
    arg: &SetRegistryCredentialsRequest,
) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    let entries = arg
        .credentials
        .iter()
        .flatten()
        .map(|(registry, credential)| Ok((registry.as_str(), entry(registry, credential)?)))
        .collect::<Result<BTreeMap<_, _>, Error>>()?;
    if entries.is_empty() {
        return Err(Error::invalid(
            "credentials are missing: hosts add what they get to what they have, \
             and none can be told to forget any",
        ));
    }
    let lattice = call.connect(lattice).await?;
    lattice.put_registries(&entries).await
}

fn entry<'a>(
    registry: &str,
    credential: &'a RegistryCredential,
) -> Result<RegistryEntry<'a>, Error> {
    required("the name of a registry", registry)?;
    // Any other value crashes OTP hosts (trap T1).
    if !matches!(credential.registry_type.as_str(), "oci" | "bindle") {
        return Err(Error::invalid(format!(
            "registryType of {} must be \"oci\" or \"bindle\", not {}",
            quoted(registry),
            quoted(&credential.registry_type)
        )));
    }
    Ok(RegistryEntry {
        password: present(credential.password.as_deref()),
        registry_type: &credential.registry_type,
        token: present(credential.token.as_deref()),
        username: present(credential.username.as_deref()),
    })
}
