//! Every operation on a lattice, one after the other.

use wasmbus_rpc::error::{RpcError, RpcResult};
use wasmcloud_interface_lattice_control::CtlOperationAck;

use super::operator::{Operated, none};

/// The operations that command hosts.
pub const ORDERS: [&str; 10] = [
    "StartActor",
    "ScaleActor",
    "UpdateActor",
    "StopActor",
    "StartProvider",
    "StopProvider",
    "AdvertiseLink",
    "RemoveLink",
    "SetRegistryCredentials",
    "StopHost",
];

/// Calls every operation on a lattice with arguments that could work. Each has
/// `None` where it was carried out, else the reason why not, whether it came as
/// `accepted: false` or as an RPC error.
pub async fn every_operation(
    operated: &Operated,
    host: &str,
) -> Vec<(&'static str, Option<String>)> {
    let said = |error: RpcError| Some(error.to_string());
    let ack = |ack: RpcResult<CtlOperationAck>| match ack {
        Ok(ack) if ack.accepted => None,
        Ok(ack) => Some(ack.error),
        Err(error) => Some(error.to_string()),
    };
    let none = none();
    vec![
        ("GetHosts", operated.get_hosts().await.err().and_then(said)),
        (
            "GetHostInventory",
            operated.inventory(host).await.err().and_then(said),
        ),
        ("GetClaims", operated.claims().await.err().and_then(said)),
        ("GetLinks", operated.links().await.err().and_then(said)),
        (
            "AuctionActor",
            operated.auction_actor(&[]).await.err().and_then(said),
        ),
        (
            "AuctionProvider",
            operated.auction_provider(&[]).await.err().and_then(said),
        ),
        (
            "StartActor",
            ack(operated.start_actor(host, 1, &none).await),
        ),
        (
            "ScaleActor",
            ack(operated.scale_actor(host, 2, &none).await),
        ),
        ("UpdateActor", ack(operated.update_actor(host, &none).await)),
        ("StopActor", ack(operated.stop_actor(host, 0, &none).await)),
        ("StartProvider", ack(operated.start_provider(host).await)),
        (
            "StopProvider",
            ack(operated.stop_provider(host, &none).await),
        ),
        ("AdvertiseLink", ack(operated.advertise_link().await)),
        ("RemoveLink", ack(operated.remove_link().await)),
        (
            "SetRegistryCredentials",
            operated
                .set_registry("ghcr.io", "oci")
                .await
                .err()
                .and_then(said),
        ),
        ("StopHost", ack(operated.stop_host(host, None).await)),
    ]
}
