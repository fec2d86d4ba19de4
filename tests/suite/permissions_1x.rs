//! The permissions for hosts of 1.x that docs/permissions.md names are those that operations
//! need there, and a missing one is reported.

use std::collections::BTreeSet;

use crate::docs::block;
use crate::support::every_operation::every_operation;
use crate::support::host::Generation;
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::world::World;
use serde_json::{Value, json};

/// What this release does not do on hosts of 1.x.
const LINKS: [&str; 3] = ["GetLinks", "AdvertiseLink", "RemoveLink"];

/// Starts a lattice with one host of 1.x, whose credentials are those of the user `lattice`.
async fn lattice_of(
    config: &str,
    others: &[Generation],
    version: Version,
    settings: Value,
) -> (Operated, SimHostV1) {
    let mut settings = settings;
    settings["component_ids"] = json!({
        "wasmcloud.azurecr.io/kvcounter": ACTOR,
        "wasmcloud.azurecr.io/httpserver": PROVIDER,
    });
    let world = World::start_on(NatsServer::with_config(config), |data| {
        data["config_json"] = settings.to_string().into();
    })
    .await;
    let others: Vec<(Generation, &[(&str, &str)])> =
        others.iter().map(|one| (*one, &[][..])).collect();
    let lattice = Operated::in_world(world, &others).await;
    let host = SimHostV1::start(&lattice.sim, version, &[]).await;
    let url = format!("nats://lattice:pw@{}", lattice.world.nats.address());
    lattice.world.set_lattice(LATTICE, &url).await;
    (lattice, host)
}

/// Returns a configuration in which the user `lattice` may publish these subjects only.
fn publishing(subjects: impl IntoIterator<Item = String>) -> String {
    let subjects: Vec<String> = subjects.into_iter().map(|one| format!("{one:?}")).collect();
    format!(
        r#"no_auth_user: home
        authorization {{ users = [
            {{ user: home, password: pw }}
            {{ user: lattice, password: pw, permissions: {{
                publish: [ {} ], subscribe: [ "_INBOX.>" ] }} }}
        ] }}"#,
        subjects.join(", ")
    )
}

/// Returns the subjects of the page's table of hosts of 1.x, as NATS has them, without what
/// all of them begin with.
fn table() -> BTreeSet<String> {
    let page = include_str!("../../docs/permissions.md");
    let (_, section) = page.split_once("\n### Hosts of 1.x\n").unwrap();
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = rows.map(|row| row.split('|').nth(2).unwrap());
    let subjects = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    subjects.map(|one| one.replace("{h}", "*")).collect()
}

/// Returns the subjects of JetStream that the page names, for both buckets.
fn buckets() -> impl Iterator<Item = String> {
    let read = |bucket: &str| {
        [
            format!("$JS.API.CONSUMER.CREATE.KV_{bucket}_default"),
            format!("$JS.API.CONSUMER.DELETE.KV_{bucket}_default.*"),
            format!("$JS.FC.KV_{bucket}_default.>"),
        ]
    };
    let look = "$JS.API.STREAM.INFO.KV_LATTICEDATA_default".to_owned();
    let both = [read("LATTICEDATA"), read("CONFIGDATA")].concat();
    both.into_iter().chain([look])
}

fn in_full(subject: &str) -> String {
    format!("wasmbus.ctl.v1.default.{subject}")
}

/// Has a client with all permissions tell the host something.
async fn somebody_tells(lattice: &Operated, host: &SimHostV1, verb: &str, body: Value) {
    let nats = lattice.world.nats.client().await;
    let subject = in_full(&format!("{verb}.{}", host.id));
    nats.request(subject, body.to_string().into())
        .await
        .unwrap();
    host.catches_up().await;
}

async fn somebody_starts_a_component(lattice: &Operated, host: &SimHostV1) {
    let order = json!({ "component_id": ACTOR, "component_ref": ACTOR_REF, "count": 1,
        "host_id": host.id });
    somebody_tells(lattice, host, "component.scale", order).await;
}

#[tokio::test]
async fn all_operations_need_what_the_table_says_and_nothing_else() {
    let mut sent = BTreeSet::new();
    for version in [Version::V100, Version::V110, Version::V192] {
        let config = publishing(table().iter().map(|one| in_full(one)).chain(buckets()));
        let (lattice, host) = lattice_of(&config, &[], version, json!({})).await;
        let mut works = 0;
        for (operation, outcome) in every_operation(&lattice, &host.id).await {
            if !LINKS.contains(&operation) {
                assert_eq!(outcome, None, "{version:?} {operation}");
                works += 1;
            }
        }
        assert_eq!(works, 13);
        let log = lattice.world.provider.log();
        assert!(!log.contains("a config was not removed"), "{version:?}");
        for received in host.received() {
            let subject = received.subject;
            let mut tokens: Vec<&str> = subject.split('.').collect();
            if tokens.len() > 2 {
                tokens[2] = "*";
            }
            sent.insert(tokens.join("."));
        }
    }
    // The bucket has the claims.
    sent.insert("claims.get".to_owned());
    assert_eq!(sent, table());
}

#[tokio::test]
async fn the_documented_users_may_do_on_hosts_of_both_kinds_what_is_said() {
    let config = block("nats permissions=all");
    let (lattice, host) = lattice_of(&config, &[Generation::G3b], Version::V192, json!({})).await;
    // Links need a host of 0.x, and the last operation stops the host.
    for id in [&host.id, &lattice.hosts[0].id] {
        for (operation, outcome) in every_operation(&lattice, id).await {
            assert_eq!(outcome, None, "{operation}");
        }
    }
    // Optional ones are among them. That it may not publish to its inbox is how the provider
    // finds out that the server reports such things.
    let log = lattice.world.provider.log();
    let refusals = log
        .lines()
        .filter(|line| line.contains("Permissions Violation"));
    for refusal in refusals {
        assert!(refusal.contains("_INBOX."), "{refusal}");
    }
}

#[tokio::test]
async fn who_may_only_read_changes_nothing_on_a_host_of_1x() {
    let config = block("nats permissions=read");
    let (lattice, host) = lattice_of(&config, &[], Version::V192, json!({})).await;
    let id = &host.id;
    somebody_starts_a_component(&lattice, &host).await;
    let none = none();
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 1);
    assert_eq!(lattice.inventory(id).await.unwrap().actors.len(), 1);
    assert_eq!(lattice.auction_actor(&[]).await.unwrap().len(), 1);
    assert_eq!(lattice.auction_provider(&[]).await.unwrap().len(), 1);
    assert!(lattice.claims().await.is_ok());
    let before = host.received_on("component.").len();
    let unread = "the configs (CONFIGDATA) of";
    refused(lattice.start_actor(id, 1, &none).await, unread);
    refused(lattice.scale_actor(id, 3, &none).await, unread);
    refused(lattice.update_actor(id, &none).await, unread);
    let why = "may not publish to wasmbus.ctl.v1.default.";
    refused(lattice.stop_actor(id, 0, &none).await, why);
    refused(lattice.start_provider(id).await, why);
    refused(lattice.stop_host(id, None).await, why);
    let error = lattice.set_registry("ghcr.io", "oci").await.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
    let order = json!({ "provider_id": PROVIDER, "provider_ref": PROVIDER_REF,
        "host_id": id, "annotations": {} });
    somebody_tells(&lattice, &host, "provider.start", order).await;
    refused(lattice.stop_provider(id, &none).await, why);
    assert_eq!(host.received_on("component.").len(), before);
    assert!(host.runs_provider(PROVIDER));
    assert_eq!(host.instances(ACTOR), 1);
}

#[tokio::test]
async fn who_may_scale_may_update_on_a_host_of_1x_and_nothing_else() {
    let config = block("nats permissions=scheduler");
    let (lattice, host) = lattice_of(&config, &[], Version::V192, json!({})).await;
    let allowed = ["StartActor", "ScaleActor", "StopActor", "UpdateActor"];
    let other = ["StartProvider", "SetRegistryCredentials", "StopHost"];
    for (operation, outcome) in every_operation(&lattice, &host.id).await {
        if allowed.contains(&operation) {
            assert_eq!(outcome, None, "{operation}");
        } else if other.contains(&operation) {
            let why = outcome.unwrap();
            assert!(why.contains("may not publish to"), "{operation}: {why}");
        }
    }
}

#[tokio::test]
async fn configs_that_may_not_be_read_are_not_none() {
    for (settings, is_scaled) in [
        (json!({}), false),
        (json!({ "configured_components": "scaled" }), true),
    ] {
        let config = publishing(
            table()
                .iter()
                .map(|one| in_full(one))
                .chain(buckets().filter(|one| !one.contains("CONFIGDATA"))),
        );
        let (lattice, host) = lattice_of(&config, &[], Version::V192, settings).await;
        somebody_starts_a_component(&lattice, &host).await;
        let scaled = lattice.scale_actor(&host.id, 3, &none()).await;
        if is_scaled {
            accepted(scaled);
        } else {
            refused(scaled, "the configs (CONFIGDATA) of");
        }
        // A stop needs none.
        accepted(lattice.stop_actor(&host.id, 0, &none()).await);
        host.catches_up().await;
        assert_eq!(host.instances(ACTOR), 0);
    }
}

#[tokio::test]
async fn where_only_hosts_of_1x_may_be_asked_nobody_there_is_an_error() {
    let config = publishing([in_full(">")]);
    let world = World::start_on(NatsServer::with_config(&config), |_| {}).await;
    let lattice = Operated::in_world(world, &[(Generation::G3b, &[])]).await;
    let url = format!("nats://lattice:pw@{}", lattice.world.nats.address());
    lattice.world.set_lattice(LATTICE, &url).await;
    for _ in 0..2 {
        let error = lattice.get_hosts().await.unwrap_err().to_string();
        let expected = "may not publish to wasmbus.ctl.default.ping.hosts";
        assert!(error.contains(expected), "{error}");
    }
}
