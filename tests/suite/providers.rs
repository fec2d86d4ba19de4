//! Commands for providers: image references in any spelling, link names with
//! dots, and commands that hosts would acknowledge and not carry out.

use crate::support::host::Generation;
use crate::support::operator::*;
use crate::support::world::ctx;
use serde_json::json;
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::*;

use Generation::{G1a, G1b, G2b};

/// Has the provider of the fixtures started under the name `provider_ref`.
fn start(lattice: &Operated, provider_ref: &str, link_name: &str) -> StartProviderCommand {
    StartProviderCommand {
        lattice_id: LATTICE.into(),
        host_id: lattice.hosts[0].id.clone(),
        provider_ref: provider_ref.into(),
        link_name: link_name.into(),
        annotations: None,
        configuration: None,
    }
}

fn stop(lattice: &Operated, link_name: &str) -> StopProviderCommand {
    StopProviderCommand {
        lattice_id: LATTICE.into(),
        host_id: lattice.hosts[0].id.clone(),
        provider_id: PROVIDER.into(),
        link_name: link_name.into(),
        contract_id: CONTRACT.into(),
        annotations: None,
    }
}

async fn bids(lattice: &Operated, provider_ref: &str, link_name: &str) -> usize {
    let request = ProviderAuctionRequest {
        lattice_id: LATTICE.into(),
        provider_ref: provider_ref.into(),
        link_name: link_name.into(),
        constraints: Default::default(),
    };
    let bids = lattice.client().auction_provider(&ctx(), &request).await;
    bids.unwrap().len()
}

#[tokio::test]
async fn a_provider_that_runs_is_known_however_its_image_is_written() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let client = lattice.client();
        accepted(lattice.start_provider(&lattice.hosts[0].id).await);
        for spelling in [
            PROVIDER_REF.to_owned(),
            format!("oci://{PROVIDER_REF}"),
            format!("https://{PROVIDER_REF}"),
            PROVIDER_REF.replace("wasmcloud.azurecr.io", "WasmCloud.AzureCR.io"),
        ] {
            assert_eq!(bids(&lattice, &spelling, "default").await, 0, "{spelling}");
            let again = start(&lattice, &spelling, "default");
            refused(client.start_provider(&ctx(), &again).await, "runs on");
        }
        assert_eq!(lattice.hosts[0].received_on(".lp").len(), 1);
        // Another tag and another link name stand for another provider.
        let other = PROVIDER_REF.to_uppercase();
        assert_eq!(bids(&lattice, &other, "default").await, 1, "{other}");
        assert_eq!(bids(&lattice, PROVIDER_REF, "other").await, 1);
    }
}

#[tokio::test]
async fn a_provider_under_a_link_name_with_dots_is_started_sought_and_stopped() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let (client, host) = (lattice.client(), &lattice.hosts[0]);
        let name = "eu.west-1.main";
        assert_eq!(bids(&lattice, PROVIDER_REF, name).await, 1);
        let start = start(&lattice, PROVIDER_REF, name);
        accepted(client.start_provider(&ctx(), &start).await);
        assert!(host.runs_provider(PROVIDER, name));
        assert_eq!(bids(&lattice, PROVIDER_REF, name).await, 0);
        accepted(client.stop_provider(&ctx(), &stop(&lattice, name)).await);
        assert!(!host.runs_provider(PROVIDER, name));
    }
}

#[tokio::test]
async fn no_provider_starts_where_another_ones_orders_go() {
    let lattice = Operated::one(G2b).await;
    let (client, host) = (lattice.client(), &lattice.hosts[0]);
    for name in ["a.shutdown", "a.b.health", "a.linkdefs.put"] {
        let start = start(&lattice, PROVIDER_REF, name);
        refused(
            client.start_provider(&ctx(), &start).await,
            "cannot be used",
        );
        // A provider that another client started there can be stopped.
        let stop = stop(&lattice, name);
        refused(client.stop_provider(&ctx(), &stop).await, "does not run");
    }
    assert!(host.received_on(".lp").is_empty());
}

#[tokio::test]
async fn a_provider_stops_without_its_contract_id() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_provider(&host.id).await);
        // No inventory has the contract id, so an actor may leave it out.
        let arguments = rmp_serde::to_vec_named(&json!({ "latticeId": LATTICE,
            "hostId": host.id, "providerId": PROVIDER, "linkName": "default" }));
        let method = "LatticeController.StopProvider";
        let reply = lattice.world.actor.call_raw(method, arguments.unwrap());
        let reply = reply.await.unwrap();
        accepted(Ok(rmp_serde::from_slice(&reply).unwrap()));
        assert!(!host.runs_provider(PROVIDER, "default"), "{generation:?}");
        assert_eq!(host.only(".sp").json()["contract_id"], "");
    }
}

#[tokio::test]
async fn a_configuration_that_otp_hosts_would_drop_is_refused() {
    for generation in [G1a, G1b, G2b] {
        let lattice = Operated::one(generation).await;
        let (client, host) = (lattice.client(), &lattice.hosts[0]);
        let mut command = start(&lattice, "file:///opt/x.par.gz", "default");
        command.configuration = Some("{}".into());
        let started = client.start_provider(&ctx(), &command).await;
        match generation.is_otp() {
            true => {
                refused(started, "without their configuration");
                assert!(host.received_on(".lp").is_empty());
            }
            false => accepted(started),
        }
        command.configuration = None;
        accepted(client.start_provider(&ctx(), &command).await);
        assert!(!host.received_on(".lp").is_empty());
    }
}

#[tokio::test]
async fn a_stop_that_an_otp_host_answers_late_says_that_it_is_carried_out_all_the_same() {
    for generation in [G1a, G1b, G2b] {
        let settings = json!({ "call_budget_ms": 500 });
        let lattice = Operated::configured(&[(generation, &[])], settings).await;
        let host = &lattice.hosts[0];
        accepted(lattice.start_provider(&host.id).await);
        // As a host does whose provider does not answer the shutdown request
        // (docs/hosts.md#provider-stop-is-answered-late).
        host.answer_after_on(".sp", std::time::Duration::from_millis(2300));
        let error = lattice.stop_provider(&host.id, &Annotations::new()).await;
        let Err(RpcError::Rpc(error)) = error else {
            panic!("{generation:?}: {error:?}");
        };
        assert!(error.contains("it is unknown whether"), "{error}");
        for said in ["2.3 s all the same", "WASMCLOUD_RPC_TIMEOUT_MS"] {
            assert_eq!(error.contains(said), generation.is_otp(), "{error}");
        }
    }
}
