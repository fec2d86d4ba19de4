//! Makes calls as a linked actor's host does.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use lattice_controller::internals::error::without_values;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use wasmbus_rpc::common::{Message, deserialize, serialize};
use wasmbus_rpc::core::WasmCloudEntity;
use wasmbus_rpc::rpc_client::RpcClient;
use wasmbus_rpc::wascap::prelude::KeyPair;
use wasmcloud_interface_lattice_control::*;

use crate::{ProviderOptions, Result, login};

/// The call and the caller.
#[derive(Args)]
pub struct Options {
    /// Public key of an actor that is linked to the provider
    #[arg(long, value_name = "M…", env = "LATTICE_ACTOR")]
    actor: String,
    /// File with the cluster seed (SC…) of the provider's lattice; else the
    /// variable WASMCLOUD_CLUSTER_SEED
    #[arg(long, value_name = "FILE")]
    cluster_seed_file: Option<PathBuf>,
    /// Time for the call, as the host's RPC timeout
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout_ms: u64,
    /// One of the contract's operations, such as GetHosts
    operation: String,
    /// Its members as a JSON object, in camelCase as in smithy/; the lattice id for
    /// GetHosts, GetClaims and GetLinks; - reads it from standard input, from
    /// which credentials must come
    #[arg(value_name = "JSON")]
    argument: String,
}

/// Calls, and returns the answer as JSON.
pub async fn call(provider: &ProviderOptions, options: Options) -> Result<String> {
    let shape = shape(&options.operation)
        .ok_or_else(|| format!("the contract has no operation {:?}", options.operation))?;
    let argument = (shape.check)(argument(&options)?)?;
    let argument = serialize(&argument).map_err(|error| error.to_string())?;

    let seed = login::seed(
        options.cluster_seed_file.as_deref(),
        "WASMCLOUD_CLUSTER_SEED",
    )?;
    let seed =
        seed.ok_or("there is no cluster seed: set WASMCLOUD_CLUSTER_SEED, or name a file")?;
    let key = KeyPair::from_seed(seed.expose_secret())
        .map_err(|_| "the cluster seed cannot be used: it is not one (SC…)")?;
    let nats = login::connect_caller(provider).await?;
    let host = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
    let timeout = Duration::from_millis(options.timeout_ms);
    let client = RpcClient::new(nats, host, Some(timeout), Arc::new(key));
    let entity = |key: &str, link_name: &str, contract_id: &str| WasmCloudEntity {
        public_key: key.into(),
        link_name: link_name.into(),
        contract_id: contract_id.into(),
    };
    let message = Message {
        method: &format!("LatticeController.{}", options.operation),
        arg: argument.into(),
    };
    let origin = entity(&options.actor, "", "");
    let target = entity(
        &provider.provider,
        &provider.link_name,
        "wasmcloud:latticecontrol",
    );
    let answer = client.send(origin, target, &provider.home, message).await;
    let answer = (shape.read)(&answer.map_err(|error| error.to_string())?)?;
    let text = serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())?;
    match answer["accepted"].as_bool() {
        Some(false) => Err(format!("not accepted\n{text}")),
        _ => Ok(text),
    }
}

/// Reads the argument of the operation from the command line.
fn argument(options: &Options) -> Result<Value> {
    let operation = options.operation.as_str();
    let mut text = options.argument.clone();
    if text == "-" {
        text.clear();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map_err(|error| format!("standard input cannot be read: {error}"))?;
    } else if matches!(
        operation,
        "SetLatticeCredentials" | "SetRegistryCredentials"
    ) {
        return Err(
            "credentials in an argument are seen by everybody on this machine: give - and \
             write the JSON to standard input"
                .into(),
        );
    }
    if matches!(operation, "GetHosts" | "GetClaims" | "GetLinks") {
        return Ok(text.trim().into());
    }
    serde_json::from_str(&text).map_err(|error| {
        let problem = without_values(&error.to_string());
        format!("the argument is not JSON: {problem}")
    })
}

/// The types of an operation's argument and answer.
struct Shape {
    check: fn(Value) -> Result<Value>,
    read: fn(&[u8]) -> Result<Value>,
}

fn shape(operation: &str) -> Option<Shape> {
    Some(match operation {
        "AdvertiseLink" => of::<AdvertiseLinkRequest, CtlOperationAck>(),
        "AuctionActor" => of::<ActorAuctionRequest, ActorAuctionAcks>(),
        "AuctionProvider" => of::<ProviderAuctionRequest, ProviderAuctionAcks>(),
        "GetClaims" => of::<String, GetClaimsResponse>(),
        "GetHostInventory" => of::<GetHostInventoryRequest, HostInventory>(),
        "GetHosts" => of::<String, Hosts>(),
        "GetLinks" => of::<String, LinkDefinitionList>(),
        "RemoveLink" => of::<RemoveLinkDefinitionRequest, CtlOperationAck>(),
        "ScaleActor" => of::<ScaleActorCommand, CtlOperationAck>(),
        "SetLatticeCredentials" => of::<SetLatticeCredentialsRequest, CtlOperationAck>(),
        "SetRegistryCredentials" => of::<SetRegistryCredentialsRequest, ()>(),
        "StartActor" => of::<StartActorCommand, CtlOperationAck>(),
        "StartProvider" => of::<StartProviderCommand, CtlOperationAck>(),
        "StopActor" => of::<StopActorCommand, CtlOperationAck>(),
        "StopHost" => of::<StopHostCommand, CtlOperationAck>(),
        "StopProvider" => of::<StopProviderCommand, CtlOperationAck>(),
        "UpdateActor" => of::<UpdateActorCommand, CtlOperationAck>(),
        _ => return None,
    })
}

fn of<A: Serialize + DeserializeOwned, R: Serialize + DeserializeOwned>() -> Shape {
    Shape {
        check: check::<A>,
        read: read::<R>,
    }
}

/// Checks that the operation takes this argument. It is sent as it was given:
/// the types would make a missing number 0, which stops everything.
fn check<A: Serialize + DeserializeOwned>(given: Value) -> Result<Value> {
    let wrong = |error: serde_json::Error| {
        let problem = without_values(&error.to_string());
        format!("the argument has the wrong shape: {problem}")
    };
    let taken: A = serde_json::from_value(given.clone()).map_err(wrong)?;
    let taken = serde_json::to_value(&taken).map_err(wrong)?;
    match lost(&given, &taken) {
        Some(member) => Err(format!("the argument has no member {member:?}")),
        None => Ok(given),
    }
}

/// Returns the first given member that the operation does not have.
fn lost<'a>(given: &'a Value, taken: &Value) -> Option<&'a str> {
    let members = given.as_object()?.iter();
    members
        .filter(|(_, value)| !value.is_null())
        .find_map(|(name, value)| match taken.get(name) {
            None => Some(name.as_str()),
            Some(taken) => lost(value, taken),
        })
}

fn read<R: Serialize + DeserializeOwned>(answer: &[u8]) -> Result<Value> {
    let answer: R = deserialize(answer).map_err(|error| error.to_string())?;
    serde_json::to_value(answer).map_err(|error| error.to_string())
}
