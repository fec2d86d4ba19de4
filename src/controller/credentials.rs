//! SetLatticeCredentials, SetRegistryCredentials. Nothing here formats a request: the
//! generated types would print their secrets.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::contract::{
    RegistryCredential, SetLatticeCredentialsRequest, SetRegistryCredentialsRequest,
};
use crate::controller::execution::Execution;
use crate::controller::limits;
use crate::credentials::{Credentials, GivenCredentials};
use crate::deadline::unix_time;
use crate::error::{Error, quoted};
use crate::lattice::model::RegistryLogin;
use crate::lattice::upkeep::learn;
use crate::name::{JsDomain, present, required};
use crate::nats::{LoginMembers, LoginTextError, is_armoured};

/// The members of `SetLatticeCredentialsRequest` that are a login.
const MEMBERS: LoginMembers = LoginMembers {
    jwt: "userJwt",
    seed: "userSeed",
};

/// Checks what an actor gives for a lattice, and sets it.
pub(super) async fn of_lattice(
    call: &Execution<'_>,
    arg: &SetLatticeCredentialsRequest,
) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    limits::text("natsUrl", arg.nats_url.as_deref(), limits::MAX_URLS)?;
    let settings = &call.controller.settings;
    let most = settings.lattices.limits.jwt_bytes;
    limits::jwt("userJwt", arg.user_jwt.as_deref(), most)?;
    limits::jwt("userSeed", arg.user_seed.as_deref(), most)?;
    let urls = match present(arg.nats_url.as_deref()) {
        Some(urls) => urls.into(),
        None => settings.default_lattice_url.clone(),
    };
    let (jwt, seed) = login(arg)?;
    // Blank is absent: "" would make the API prefix `$JS..API`
    // (docs/hosts.md#blank-domain-is-none).
    let js_domain = present(arg.js_domain.as_deref())
        .map(JsDomain::parse)
        .transpose()?;
    let given = GivenCredentials {
        lattice,
        actor: call.actor().to_owned(),
        set_at: unix_time().as_millis() as u64,
        urls,
        jwt,
        seed,
        js_domain,
    };
    let controller = call.controller;
    let lattice = given.lattice.clone();
    let changed = controller.credentials.set(given, call.deadline()).await?;
    if let Some(route) = changed {
        learn::begin(
            &controller.connections,
            &controller.rosters,
            lattice,
            &route,
            call.actor(),
        );
    }
    Ok(())
}

/// Reads a user's JWT and seed. A mistake in the seed is reported first: the JWT may
/// be checked with it.
fn login(
    arg: &SetLatticeCredentialsRequest,
) -> Result<(Option<SecretString>, Option<SecretString>), Error> {
    let seed = MEMBERS.seed(arg.user_seed.as_deref().unwrap_or_default());
    let seed = seed.map_err(invalid)?;
    if let Some(seed) = &seed {
        Credentials::check_seed(seed)?;
    }
    let jwt = arg.user_jwt.as_deref().unwrap_or_default();
    if seed.is_none() && present(Some(jwt)).is_some() && !is_armoured(jwt) {
        return Err(Error::invalid(Credentials::NO_SEED));
    }
    let jwt = MEMBERS.jwt(jwt).map_err(invalid)?;
    Ok((jwt, seed))
}

fn invalid(error: LoginTextError) -> Error {
    Error::invalid(error.to_string()).caused_by(error)
}

/// Gives registry credentials to the hosts of a lattice.
pub(super) async fn of_registries(
    call: &Execution<'_>,
    arg: &SetRegistryCredentialsRequest,
) -> Result<(), Error> {
    let lattice = call.lattice_id(&arg.lattice_id)?;
    if let Some(given) = &arg.credentials {
        limits::values("credentials", given.iter().map(size))?;
    }
    let mut entries = BTreeMap::new();
    let mut docker = None;
    for (registry, credential) in arg.credentials.iter().flatten() {
        let entry = entry(registry, credential)?;
        let key = required("the name of a registry", key(registry, credential))?;
        if key == DOCKERS_OWN_KEY && credential.registry_type == "oci" {
            docker = Some(entry);
        }
        if entries.insert(key, entry).is_some() {
            return Err(Error::invalid(format!(
                "credentials name the registry of {} more than once",
                quoted(registry)
            )));
        }
    }
    if let Some(entry) = docker {
        entries.entry(IN_IMAGES_OF_DOCKER).or_insert(entry);
    }
    if entries.is_empty() {
        return Err(Error::invalid(
            "credentials are missing: hosts add what they get to what they have, \
             and none can be told to forget any",
        ));
    }
    let lattice = call.connect(lattice).await?;
    lattice.put_registries(&entries).await
}

/// Under this name Docker's own tools keep the credentials of its registry
/// (`https://index.docker.io/v1/`), and image references have the other.
const DOCKERS_OWN_KEY: &str = "index.docker.io";
const IN_IMAGES_OF_DOCKER: &str = "docker.io";

/// Bytes of a registry and its credential.
fn size((registry, credential): (&String, &RegistryCredential)) -> usize {
    let secrets = [
        &credential.password,
        &credential.token,
        &credential.username,
    ];
    let secrets = secrets.into_iter().flatten().map(String::len);
    registry.len() + credential.registry_type.len() + secrets.sum::<usize>()
}

/// Returns the form of a registry that hosts of every generation know. OTP hosts
/// remove scheme and path themselves; Rust hosts compare with the text before the
/// first `/` of image references.
fn key<'a>(registry: &'a str, credential: &RegistryCredential) -> &'a str {
    let registry = registry.trim();
    if credential.registry_type == "bindle" {
        return registry;
    }
    let bare = registry
        .split_once("://")
        .map_or(registry, |(_, rest)| rest);
    bare.split('/').next().unwrap_or(bare)
}

fn entry<'a>(
    registry: &str,
    credential: &'a RegistryCredential,
) -> Result<RegistryLogin<'a>, Error> {
    required("the name of a registry", registry)?;
    // Any other value crashes OTP hosts
    // (docs/hosts.md#unknown-registry-type-ends-otp-hosts).
    if !matches!(credential.registry_type.as_str(), "oci" | "bindle") {
        return Err(Error::invalid(format!(
            "registryType of {} must be \"oci\" or \"bindle\", not {}",
            quoted(registry),
            quoted(&credential.registry_type)
        )));
    }
    let token = present(credential.token.as_deref());
    let basic = (
        present(credential.username.as_deref()),
        present(credential.password.as_deref()),
    );
    let token = match (token, basic) {
        // Every host that uses credentials uses these two then, whatever the token is.
        (_, (Some(_), Some(_))) => None,
        // docs/hosts.md#token-logs-in-nowhere.
        (Some(_), (None, None)) if credential.registry_type == "oci" => {
            return Err(Error::invalid(format!(
                "credentials for {} are a token, which no host uses with an \"oci\" registry: \
                 give a username and a password; most registries take a token as the password",
                quoted(registry)
            )));
        }
        (Some(_), (None, None)) => token,
        // Rust hosts treat any other mixture as no credentials.
        _ => {
            return Err(Error::invalid(format!(
                "credentials for {} must be a username and a password, or, for a \"bindle\" \
                 server, a token",
                quoted(registry)
            )));
        }
    };
    Ok(RegistryLogin {
        password: basic.1,
        registry_type: &credential.registry_type,
        token,
        username: basic.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_have_the_form_that_every_host_compares() {
        let of = |kind: &str| RegistryCredential {
            registry_type: kind.into(),
            ..Default::default()
        };
        for (given, expected) in [
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io/org/x", "ghcr.io"),
            ("oci://localhost:5000/x:1", "localhost:5000"),
        ] {
            assert_eq!(key(given, &of("oci")), expected);
        }
        let bindle = "x@https://bindle.example/v1";
        assert_eq!(key(bindle, &of("bindle")), bindle);
    }
}
