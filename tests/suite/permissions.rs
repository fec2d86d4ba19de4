//! A missing permission is reported as such, and at once: it must not look like
//! silent hosts or an empty lattice.

use crate::support;
use crate::support::eventually;
use crate::support::host::Generation;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::provider::Provider;
use crate::support::time::assert_under;
use crate::support::world::{World, ctx};
use wasmbus_rpc::error::RpcError;
use wasmcloud_interface_lattice_control::{GetHostInventoryRequest, LatticeController as _};

/// Starts a lattice of one host whose credentials have these permissions.
async fn permitted(permissions: &str) -> Operated {
    let config = format!(
        "no_auth_user: home
        authorization {{ users = [
            {{ user: home, password: pw }}
            {{ user: lattice, password: pw, permissions: {{ {permissions} }} }}
        ] }}"
    );
    Operated::with_user(&config, &[(Generation::G2b, &[])]).await
}

/// Returns the text of an error that the provider sent.
fn text(error: RpcError) -> String {
    match error {
        RpcError::Rpc(text) => text,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn answers_are_heard_as_soon_as_the_permission_is_mended() {
    let user = |permissions: &str| {
        format!(
            "authorization {{ users: [ \
             {{ user: u, password: pw, permissions: {{ {permissions} }} }}, \
             {{ user: host, password: pw }} ] }}"
        )
    };
    let mut remote = NatsServer::with_config(&user(r#"subscribe: { deny: "_INBOX.>" }"#));
    let world = World::start().await;
    let host = nkeys::KeyPair::new(nkeys::KeyPairType::Server).public_key();
    let options = async_nats::ConnectOptions::with_user_and_password("host".into(), "pw".into());
    let hosts = options.connect(remote.url()).await.unwrap();
    let subject = format!("wasmbus.ctl.x.get.{host}.inv");
    let inventory = serde_json::json!({
        "host_id": host, "labels": {}, "actors": [], "providers": [], "issuer": "",
    });
    let inventory = vec![inventory.to_string().into_bytes()];
    let _host = support::respond(&hosts, &subject, inventory).await;
    let ping = serde_json::json!({ "id": host, "version": "0.78.0", "uptime_seconds": 1 });
    let ping = vec![ping.to_string().into_bytes()];
    let _pings = support::respond(&hosts, "wasmbus.ctl.x.ping.hosts", ping).await;
    let url = format!("nats://u:pw@{}", remote.address());
    world.set_lattice("x", &url).await;
    let request = GetHostInventoryRequest {
        lattice_id: "x".into(),
        host_id: host,
    };
    let client = world.actor.lattice();
    let ask = || async { client.get_host_inventory(&ctx(), &request).await };
    // The second time the provider knows of it and says so at once.
    for _ in 0..2 {
        let error = ask().await.unwrap_err().to_string();
        assert!(error.contains("may not subscribe to _INBOX."), "{error}");
    }
    remote.reload(&user("")).await;
    eventually("an answer to be heard", || async { ask().await.ok() }).await;
}

#[tokio::test]
async fn hosts_that_may_not_be_asked_are_not_no_hosts() {
    for (permissions, expected) in [
        (
            r#"publish: { deny: "wasmbus.ctl.default.ping.hosts" }"#,
            "may not publish to wasmbus.ctl.default.ping.hosts",
        ),
        (
            r#"subscribe: { deny: "_INBOX.>" }"#,
            "may not subscribe to _INBOX.",
        ),
    ] {
        let lattice = permitted(permissions).await;
        let error = text(lattice.get_hosts().await.unwrap_err());
        assert!(error.contains(expected), "{error}");
        let error = text(lattice.auction_actor(&[]).await.unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn however_many_lattices_may_not_be_asked_at_once_none_is_empty() {
    let operator = support::jwt::Operator::new();
    let remote = NatsServer::with_config_without_jetstream(&operator.server_config());
    let world = World::start().await;
    let denied = serde_json::json!({ "pub": { "deny": ["wasmbus.ctl.>"] } });
    let user = operator.user_with(&denied);
    for number in 0..200 {
        let lattice = format!("x{number}");
        world.set_user(&lattice, &remote.url(), &user).await;
    }
    let world = &world;
    let asked = (0..200).map(|number| async move { world.hosts(&format!("x{number}")).await });
    for hosts in futures::future::join_all(asked).await {
        let error = hosts.unwrap_err();
        assert!(
            error.contains("may not publish") || error.contains("refused something"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_auction_that_may_not_be_held_is_not_without_bids() {
    let lattice = permitted(r#"publish: { deny: "wasmbus.ctl.*.auction.>" }"#).await;
    let error = text(lattice.auction_actor(&[]).await.unwrap_err());
    assert!(
        error.contains("may not publish to wasmbus.ctl.default.auction.actor"),
        "{error}"
    );
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_order_that_may_not_be_given_was_not_accepted() {
    let lattice = permitted(r#"publish: { deny: "wasmbus.ctl.default.cmd.>" }"#).await;
    let host = &lattice.hosts[0];
    refused(
        lattice.stop_host(&host.id, None).await,
        "may not publish to",
    );
    assert!(host.received_on(".stop").is_empty());
}

#[tokio::test]
async fn credentials_for_these_hosts_alone_are_enough() {
    // The subjects of 1.x hosts are not among them.
    let lattice =
        permitted(r#"publish: ["wasmbus.ctl.default.>", "_INBOX.>"], subscribe: ["_INBOX.>"]"#)
            .await;
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 1);
    assert_eq!(lattice.auction_actor(&[]).await.unwrap().len(), 1);
    accepted(
        lattice
            .start_actor(&lattice.hosts[0].id, 1, &Annotations::new())
            .await,
    );
    assert!(lattice.links().await.is_ok());
}

#[tokio::test]
async fn a_bucket_that_may_not_be_read_leaves_the_hosts_to_ask() {
    for refused in [
        "$JS.API.STREAM.INFO.>",
        "$JS.API.CONSUMER.CREATE.>",
        "$JS.API.>",
    ] {
        let lattice = permitted(&format!("publish: {{ deny: \"{refused}\" }}")).await;
        accepted(
            lattice
                .start_actor(&lattice.hosts[0].id, 1, &Annotations::new())
                .await,
        );
        for _ in 0..2 {
            assert!(lattice.links().await.unwrap().is_empty(), "{refused}");
            assert_eq!(lattice.claims().await.unwrap().len(), 2, "{refused}");
        }
    }
}

#[tokio::test]
async fn a_link_that_may_not_be_written_was_not_accepted() {
    let lattice = permitted(r#"publish: { deny: "$KV.>" }"#).await;
    refused(
        lattice.advertise_link().await,
        "may not publish to $KV.LATTICEDATA_default.",
    );
    refused(
        lattice.remove_link().await,
        "may not publish to $KV.LATTICEDATA_default.",
    );
}

#[tokio::test]
async fn a_large_bucket_that_may_not_be_read_on_is_an_error_that_says_why() {
    let lattice = permitted(r#"publish: { deny: "$JS.FC.>" }"#).await;
    let values = serde_json::json!({ "x": "y".repeat(100_000) });
    lattice.sim.put_links(40, &values).await;
    let error = text(lattice.links().await.unwrap_err());
    let expected = "may not publish to $JS.FC.KV_LATTICEDATA_default.";
    assert!(error.contains(expected), "{error}");
}

// --- the provider's own user, and the bucket of credentials ---

/// Starts a provider whose own user may do everything except publish to these
/// subjects. Its server lets everybody else in.
async fn at_home_without(refused: &str) -> World {
    let nats = NatsServer::with_config(&format!(
        "no_auth_user: home
        authorization {{ users = [
            {{ user: home, password: pw }}
            {{ user: provider, password: pw, permissions: {{
                publish: {{ deny: \"{refused}\" }} }} }}
        ] }}"
    ));
    let url = format!("nats://provider:pw@{}", nats.address());
    World::start_on(nats, |data| data["lattice_rpc_url"] = url.into()).await
}

#[tokio::test]
async fn a_bucket_of_credentials_that_may_not_be_opened_leaves_them_in_memory() {
    for refused in [
        "$JS.API.STREAM.INFO.>",
        "$JS.API.STREAM.CREATE.>",
        "$JS.API.CONSUMER.CREATE.>",
    ] {
        let world = at_home_without(refused).await;
        world
            .provider
            .logged("credentials are kept in memory only")
            .await;
        // The server's error names the missing permission.
        let subject = refused.trim_end_matches('>');
        world
            .provider
            .logged(&format!("Publish to \\\"{subject}"))
            .await;
        world.set_lattice("x", &world.nats.url()).await;
        let client = world.actor.lattice();
        assert!(client.get_hosts(&ctx(), "x").await.is_ok(), "{refused}");
        let error = text(client.get_hosts(&ctx(), "y").await.unwrap_err());
        assert!(error.contains("is unknown"), "{error}");
    }
}

#[tokio::test]
async fn a_bucket_of_credentials_that_may_not_be_written_is_not_said_to_be() {
    let world = at_home_without("$KV.>").await;
    let kept = world.provider.logged("credentials are kept in JetStream");
    kept.await;
    let started = std::time::Instant::now();
    let ack = world.try_set_lattice("x", &world.nats.url()).await.unwrap();
    assert!(!ack.accepted);
    for part in [
        "did not take the credentials",
        r#"Publish to \"$KV.LATTICECREDS_"#,
    ] {
        assert!(ack.error.contains(part), "{}", ack.error);
    }
    // This comes at once: the server reports it without delay.
    assert_under(std::time::Duration::from_secs(1), started.elapsed());
    world
        .provider
        .logged(r#"Publish to \"$KV.LATTICECREDS_"#)
        .await;
}

#[tokio::test]
async fn a_bucket_of_credentials_that_may_not_be_asked_makes_no_lattice_unknown() {
    let world = at_home_without("$JS.API.STREAM.MSG.GET.>").await;
    let kept = world.provider.logged("credentials are kept in JetStream");
    kept.await;
    world.set_lattice("x", &world.nats.url()).await;
    // When it is set again it is written again, since the provider cannot see
    // whether it is stored.
    world.set_lattice("x", &world.nats.url()).await;
    let client = world.actor.lattice();
    assert!(client.get_hosts(&ctx(), "x").await.is_ok());
    let error = text(client.get_hosts(&ctx(), "y").await.unwrap_err());
    let expected = "is not known here, and the store of credentials cannot be read";
    assert!(error.contains(expected), "{error}");
    let missing = r#"Publish to \"$JS.API.STREAM.MSG.GET.KV_LATTICECREDS_"#;
    world.provider.logged(missing).await;
}

#[tokio::test]
async fn a_large_bucket_of_credentials_that_may_not_be_read_on_leaves_them_in_memory() {
    let mut world = at_home_without("$JS.FC.>").await;
    let kept = world.provider.logged("credentials are kept in JetStream");
    kept.await;
    let bucket = async_nats::jetstream::new(world.nats.client().await)
        .get_key_value(format!("LATTICECREDS_{}", world.identity.lattice))
        .await
        .unwrap();
    let (provider, link) = (&world.identity.provider_key, &world.identity.link_name);
    for entry in 0..40 {
        let key = format!("{provider}.{link}.x{entry}");
        bucket.put(key, vec![b'x'; 100_000].into()).await.unwrap();
    }
    let mut data = world.identity.host_data("");
    data["lattice_rpc_url"] = format!("nats://provider:pw@{}", world.nats.address()).into();
    world.provider = Provider::start(&data);
    world.provider.logged("takes too long").await;
    let lattice = &world.identity.lattice;
    let missing = format!(r#"Publish to \"$JS.FC.KV_LATTICECREDS_{lattice}."#);
    world.provider.logged(&missing).await;
}
