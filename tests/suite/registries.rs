//! Registry credentials: silence is never success, and credentials that no host
//! would use are refused.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::host::Generation;
use crate::support::operator::*;
use crate::support::secrets::plant;
use crate::support::world::ctx;
use serde_json::json;
use wasmbus_rpc::error::{RpcError, RpcResult};
use wasmcloud_interface_lattice_control::*;

use Generation::{G1a, G1b, G2b, G3b};

/// Makes credentials of a registry with these parts, each of which may be
/// empty.
fn credential(kind: &str, user: &str, password: &str, token: &str) -> RegistryCredential {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    RegistryCredential {
        username: some(user),
        password: some(password).map(plant),
        token: some(token).map(plant),
        registry_type: kind.into(),
    }
}

async fn set(lattice: &Operated, credentials: &[(&str, RegistryCredential)]) -> RpcResult<()> {
    let credentials = credentials.iter().cloned();
    let request = SetRegistryCredentialsRequest {
        lattice_id: LATTICE.into(),
        credentials: Some(credentials.map(|(name, c)| (name.into(), c)).collect()),
    };
    let client = lattice.client();
    client.set_registry_credentials(&ctx(), &request).await
}

#[track_caller]
fn said(outcome: RpcResult<()>) -> String {
    match outcome {
        Err(RpcError::Rpc(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn alice(password: &str) -> RegistryCredential {
    credential("oci", "alice", password, "")
}

#[tokio::test]
async fn credentials_that_nobody_confirms_may_not_have_arrived() {
    for generation in [G1b, G2b, G3b] {
        let settings = json!({ "call_budget_ms": 700 });
        let lattice = Operated::configured(&[(generation, &[])], settings).await;
        lattice.hosts[0].fall_silent_on("registries.put");
        let error = said(set(&lattice, &[("ghcr.io", alice("pw-unheard"))]).await);
        assert!(error.contains("did not answer in time"), "{error}");
        assert!(error.contains("it is unknown whether"), "{error}");
        assert!(!error.contains("0.54.4"), "{error}");
    }
}

#[tokio::test]
async fn hosts_that_use_no_credentials_are_said_to() {
    let settings = json!({ "call_budget_ms": 700 });
    let lattice = Operated::configured(&[(G1a, &[])], settings).await;
    let error = said(set(&lattice, &[("ghcr.io", alice("pw-unused"))]).await);
    assert!(error.contains("up to 0.54.4"), "{error}");
    assert!(error.contains("it is unknown whether"), "{error}");
}

#[tokio::test]
async fn a_confirmation_is_waited_for_as_long_as_the_call_may_take() {
    let lattice = Operated::one(G2b).await;
    lattice.hosts[0].answer_after_on("registries.put", Duration::from_millis(900));
    set(&lattice, &[("ghcr.io", alice("pw-late"))])
        .await
        .unwrap();
}

#[tokio::test]
async fn one_host_that_confirms_is_enough() {
    let lattice = Operated::with(&[(G1a, &[]), (G1b, &[])]).await;
    lattice.hosts[0].fall_silent_on("registries.put");
    set(&lattice, &[("ghcr.io", alice("pw-enough"))])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_token_alone_is_for_bindle_servers_only() {
    let lattice = Operated::one(G1b).await;
    let token = |kind| credential(kind, "", "", "a-token-of-a-registry");
    let error = said(set(&lattice, &[("ghcr.io", token("oci"))]).await);
    assert!(error.contains("which no host uses"), "{error}");
    assert!(error.contains("a token as the password"), "{error}");
    assert!(lattice.hosts[0].received_on("registries.put").is_empty());
    let bindle = "b@https://bindle.example";
    set(&lattice, &[(bindle, token("bindle"))]).await.unwrap();
    let body = lattice.hosts[0].only("registries.put").json();
    let sent = json!({ "registryType": "bindle", "token": "a-token-of-a-registry" });
    assert_eq!(body, json!({ bindle: sent }));
}

#[tokio::test]
async fn a_token_beside_name_and_password_does_not_matter() {
    for generation in [G1b, G3b] {
        let lattice = Operated::one(generation).await;
        let all = credential("oci", "alice", "pw-beside", "token-beside");
        set(&lattice, &[("ghcr.io", all)]).await.unwrap();
        let body = lattice.hosts[0].only("registries.put").json();
        let sent = json!({ "registryType": "oci", "username": "alice", "password": "pw-beside" });
        assert_eq!(body, json!({ "ghcr.io": sent }));
    }
    let lattice = Operated::one(G2b).await;
    for (user, password, token) in [
        ("alice", "", "token-alone"),
        ("", "pw-alone", ""),
        ("alice", "", ""),
    ] {
        let part = credential("oci", user, password, token);
        let error = said(set(&lattice, &[("ghcr.io", part)]).await);
        assert!(error.contains("must be a username and"), "{error}");
    }
}

#[tokio::test]
async fn dockers_own_key_reaches_images_of_docker() {
    for key in ["https://index.docker.io/v1/", "index.docker.io"] {
        let lattice = Operated::one(G2b).await;
        set(&lattice, &[(key, alice("pw-docker"))]).await.unwrap();
        assert_eq!(
            lattice.hosts[0].registries(),
            ["docker.io", "index.docker.io"]
        );
    }
    // An entry for docker.io itself takes precedence.
    let lattice = Operated::one(G2b).await;
    let both = [
        ("docker.io", credential("oci", "bob", "pw-bob", "")),
        ("https://index.docker.io/v1/", alice("pw-alice")),
    ];
    set(&lattice, &both).await.unwrap();
    let body = lattice.hosts[0].only("registries.put").json();
    let users: HashMap<_, _> = body.as_object().unwrap().iter().collect();
    assert_eq!(users[&"docker.io".to_owned()]["username"], "bob");
    assert_eq!(users[&"index.docker.io".to_owned()]["username"], "alice");
}

#[tokio::test]
async fn setting_registry_credentials_answers_with_not_one_byte() {
    let lattice = Operated::one(G2b).await;
    let arguments = serde_json::json!({
        "latticeId": LATTICE,
        "credentials": { "ghcr.io":
            { "registryType": "oci", "username": "u", "password": "a-password" } },
    });
    let arguments = wasmbus_rpc::common::serialize(&arguments).unwrap();
    let answer = lattice
        .world
        .actor
        .call_raw("LatticeController.SetRegistryCredentials", arguments)
        .await;
    assert!(answer.unwrap().is_empty());
}
