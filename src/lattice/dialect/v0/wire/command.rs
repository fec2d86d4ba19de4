//! What we send: orders, auctions and registry credentials.

use serde::{Serialize, Serializer};

use crate::lattice::dialect::v0::wire::TextMap;
use crate::name::{ActorId, HostId, LinkName, ProviderId};

/// `auction.actor`. `constraints` is never absent: Rust hosts refuse null.
#[derive(Serialize)]
pub struct ActorAuction<'a> {
    /// Image reference.
    pub actor_ref: &'a str,
    /// Labels asked for.
    pub constraints: &'a TextMap,
}

/// `auction.provider`. `constraints` is never absent: Rust hosts refuse null.
#[derive(Serialize)]
pub struct ProviderAuction<'a> {
    /// Image reference.
    pub provider_ref: &'a str,
    /// Link name it would run under.
    #[serde(serialize_with = "display")]
    pub link_name: &'a LinkName,
    /// Labels asked for.
    pub constraints: &'a TextMap,
}

/// `cmd.{host}.la`.
#[derive(Serialize)]
pub struct StartActor<'a> {
    /// Image reference.
    pub actor_ref: &'a str,
    /// Annotations of the new instances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a TextMap>,
    /// Instances to add, at least 1: OTP hosts start two for 0.
    pub count: u16,
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
}

/// `cmd.{host}.scale`. The name is `count` on every generation and it is always
/// sent: a missing one stops the actor on some hosts (trap T21).
#[derive(Serialize)]
pub struct ScaleActor<'a> {
    /// Public key; only OTP hosts read it, and hosts from 0.79.1 on have no
    /// such member.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "display_some"
    )]
    pub actor_id: Option<&'a ActorId>,
    /// Image reference.
    pub actor_ref: &'a str,
    /// Annotations of the instances that count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a TextMap>,
    /// Instances that shall run; 16 bits wide before 0.82, where null is without
    /// limit from 0.79.1 on.
    pub count: Option<u32>,
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
}

/// `cmd.{host}.sa`. `actor_ref` holds the public key, in spite of its name.
#[derive(Serialize)]
pub struct StopActor<'a> {
    /// Public key.
    #[serde(serialize_with = "display")]
    pub actor_ref: &'a ActorId,
    /// Annotations of the instances to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a TextMap>,
    /// Instances to stop; 0 stops all. Hosts from 0.79.1 on have no such
    /// member.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u16>,
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
}

/// `cmd.{host}.upd`.
#[derive(Serialize)]
pub struct UpdateActor<'a> {
    /// Public key; OTP hosts do not read it.
    pub actor_id: &'a str,
    /// Annotations of the instances to update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a TextMap>,
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
    /// Image reference of the new revision.
    pub new_actor_ref: &'a str,
}

/// `cmd.{host}.lp`.
#[derive(Serialize)]
pub struct StartProvider<'a> {
    /// Annotations of the provider.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a TextMap>,
    /// Configuration that the provider receives as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub configuration: Option<&'a str>,
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
    /// Link name to run under.
    #[serde(serialize_with = "display")]
    pub link_name: &'a LinkName,
    /// Image reference.
    pub provider_ref: &'a str,
}

/// `cmd.{host}.sp`. `provider_ref` holds the public key, in spite of its name.
#[derive(Serialize)]
pub struct StopProvider<'a> {
    /// Annotations of the provider to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a TextMap>,
    /// Contract id, or nothing: hosts log it at most. Never absent: some Rust
    /// hosts may require the member.
    pub contract_id: &'a str,
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
    /// Link name it runs under.
    #[serde(serialize_with = "display")]
    pub link_name: &'a LinkName,
    /// Public key.
    #[serde(serialize_with = "display")]
    pub provider_ref: &'a ProviderId,
}

/// `cmd.{host}.stop`.
#[derive(Serialize)]
pub struct StopHost<'a> {
    /// The host; hosts go by the subject.
    #[serde(serialize_with = "display")]
    pub host_id: &'a HostId,
    /// Time for the shutdown in **milliseconds** (trap T4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
}

/// One value of the map that `registries.put` is. Holds secrets.
#[derive(Clone, Copy, Serialize)]
pub struct RegistryEntry<'a> {
    /// Password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<&'a str>,
    /// `oci` or `bindle` and nothing else: any other value crashes OTP hosts
    /// (trap T1).
    #[serde(rename = "registryType")]
    pub registry_type: &'a str,
    /// Token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<&'a str>,
    /// User name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<&'a str>,
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, output: S) -> Result<S::Ok, S::Error> {
    output.collect_str(value)
}

fn display_some<T: std::fmt::Display, S: Serializer>(
    value: &Option<T>,
    output: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => output.collect_str(value),
        None => output.serialize_none(),
    }
}
