//! What the actor gets: replies of real hosts of each generation, whole and
//! broken, in the shape of the contract.

use crate::support;
use crate::support::every_operation::every_operation;
use crate::support::host::Generation;
use crate::support::operator::*;
use crate::support::{fixtures, respond};
use serde_json::{Value, json};
use wasmcloud_interface_lattice_control::*;

const HOST: &str = "NAGASFIHF5SBGTNTZUOVWT3O63SJUMIFUL7BH52T3UAFKQW7PPP46KFU";
const GENERATIONS: [&str; 6] = [
    "G1-otp-0.54",
    "G1",
    "G2-rust-0.78",
    "G2",
    "G3-rust-0.81",
    "G3",
];

/// Starts a lattice of one host that answers with these bytes.
async fn answering(subject: &str, reply: String) -> (Operated, Vec<support::Responder>) {
    let lattice = Operated::without_bucket(&[]).await;
    let nats = lattice.world.nats.client().await;
    let ping = json!({ "id": HOST, "version": "0.80.0", "uptime_seconds": 1 }).to_string();
    let mut responders = vec![respond(&nats, subject, vec![reply.into()]).await];
    if subject != "wasmbus.ctl.default.ping.hosts" {
        let ping = respond(&nats, "wasmbus.ctl.default.ping.hosts", vec![ping.into()]);
        responders.push(ping.await);
    }
    let inventory = format!("wasmbus.ctl.default.get.{HOST}.inv");
    if subject != inventory {
        let empty = json!({ "actors": [], "providers": [] }).to_string();
        responders.push(respond(&nats, &inventory, vec![empty.into()]).await);
    }
    (lattice, responders)
}

/// Returns a member of a fixture as the contract has it: a text that is
/// present.
fn text(body: &Value, name: &str) -> Option<String> {
    body[name].as_str().map(str::to_owned)
}

#[tokio::test]
async fn pings_of_real_hosts_become_hosts() {
    for generation in GENERATIONS {
        let body = fixtures::json(&format!("{generation}/GetHosts.reply.json"));
        let subject = "wasmbus.ctl.default.ping.hosts";
        let (lattice, _answering) = answering(subject, body.to_string()).await;
        let hosts = lattice.get_hosts().await.unwrap();
        assert_eq!(hosts.len(), 1, "{generation}");
        let host = &hosts[0];
        assert_eq!(Some(&host.id), text(&body, "id").as_ref());
        assert_eq!(
            host.uptime_seconds,
            body["uptime_seconds"].as_u64().unwrap()
        );
        for (told, name) in [
            (&host.uptime_human, "uptime_human"),
            (&host.version, "version"),
            (&host.cluster_issuers, "cluster_issuers"),
            (&host.js_domain, "js_domain"),
            (&host.ctl_host, "ctl_host"),
            (&host.prov_rpc_host, "prov_rpc_host"),
            (&host.rpc_host, "rpc_host"),
            (&host.lattice_prefix, "lattice_prefix"),
        ] {
            assert_eq!(told, &text(&body, name), "{generation} {name}");
        }
        let labels: Option<Annotations> = serde_json::from_value(body["labels"].clone()).unwrap();
        assert_eq!(host.labels, labels, "{generation}");
    }
}

#[tokio::test]
async fn inventories_of_real_hosts_become_inventories() {
    for (generation, version, instances) in [
        ("G1-otp-0.54", None, 2),
        ("G1", Some("0.63.2"), 2),
        ("G2-rust-0.78", Some("0.78.0"), 2),
        ("G2", Some("0.80.0"), 5),
        ("G3-rust-0.81", Some("0.81.0"), 5),
        ("G3", Some("0.82.0"), 5),
    ] {
        let body = fixtures::json(&format!("{generation}/GetHostInventory.reply.json"));
        let lattice = Operated::without_bucket(&[]).await;
        let nats = lattice.world.nats.client().await;
        let mut ping = json!({ "id": HOST, "uptime_seconds": 1 });
        if let Some(version) = version {
            ping["version"] = version.into();
        }
        let subject = "wasmbus.ctl.default.ping.hosts";
        let _ping = respond(&nats, subject, vec![ping.to_string().into()]).await;
        let subject = format!("wasmbus.ctl.default.get.{HOST}.inv");
        let _inventory = respond(&nats, &subject, vec![body.to_string().into()]).await;
        let inventory = lattice.inventory(HOST).await.unwrap();
        let labels: Annotations = serde_json::from_value(body["labels"].clone()).unwrap();
        assert_eq!(
            (inventory.host_id.as_str(), inventory.labels),
            (HOST, labels)
        );
        // 0.54 lists the actor once for each of its instances
        // (docs/hosts.md#inventory-repeats-actors).
        assert_eq!(inventory.actors.len(), 1, "{generation}");
        let (told, sent) = (&inventory.actors[0], &body["actors"][0]);
        assert_eq!(Some(&told.id), text(sent, "id").as_ref());
        assert_eq!(told.image_ref, text(sent, "image_ref"));
        assert_eq!(told.name, text(sent, "name"));
        assert_eq!(told.instances.len(), instances, "{generation}");
        let (told, sent) = (&told.instances[0], &sent["instances"][0]);
        assert_eq!(Some(&told.instance_id), text(sent, "instance_id").as_ref());
        assert_eq!(i64::from(told.revision), sent["revision"].as_i64().unwrap());
        assert_eq!(json!(told.annotations), sent["annotations"]);
        let (told, sent) = (&inventory.providers[0], &body["providers"][0]);
        assert_eq!(Some(&told.id), text(sent, "id").as_ref());
        assert_eq!(Some(&told.link_name), text(sent, "link_name").as_ref());
        assert_eq!(told.image_ref, text(sent, "image_ref"));
        assert_eq!(told.name, text(sent, "name"));
        assert_eq!(i64::from(told.revision), sent["revision"].as_i64().unwrap());
    }
}

#[tokio::test]
async fn claims_and_links_of_real_hosts_are_told() {
    for generation in ["G1-otp-0.54", "G1", "G2", "G3"] {
        let body = fixtures::json(&format!("{generation}/GetClaims.reply.json"));
        let subject = "wasmbus.ctl.default.get.claims";
        let (lattice, _answering) = answering(subject, body.to_string()).await;
        assert_eq!(
            json!(lattice.claims().await.unwrap()),
            body["claims"],
            "{generation}"
        );

        let body = fixtures::json(&format!("{generation}/GetLinks.reply.json"));
        let subject = "wasmbus.ctl.default.get.links";
        let (lattice, _answering) = answering(subject, body.to_string()).await;
        assert_eq!(lattice.links().await.unwrap(), [link()], "{generation}");
    }
}

#[tokio::test]
async fn a_claim_without_version_does_not_cost_the_list() {
    let reply = fixtures::text("G1/GetClaims.reply-null-version.json");
    let (lattice, _answering) = answering("wasmbus.ctl.default.get.claims", reply).await;
    let claims = lattice.claims().await.unwrap();
    assert_eq!(claims[0]["sub"], ACTOR);
    assert!(!claims[0].contains_key("version"));
}

#[tokio::test]
async fn every_refusal_of_real_hosts_reaches_the_actor() {
    for generation in ["G1", "G2", "G3"] {
        for case in fixtures::json(&format!("{generation}/errors.json"))
            .as_array()
            .unwrap()
        {
            let (words, reply) = (case["reply"]["error"].as_str().unwrap(), &case["reply"]);
            let subject = format!("wasmbus.ctl.default.cmd.{HOST}.stop");
            let (lattice, _answering) = answering(&subject, reply.to_string()).await;
            let ack = lattice.stop_host(HOST, None).await.unwrap();
            assert!(
                !ack.accepted && ack.error.contains(words),
                "{words}: {}",
                ack.error
            );
            assert!(ack.error.contains(HOST), "{}", ack.error);
        }
    }
}

#[tokio::test]
async fn a_refusal_that_is_not_json_keeps_the_hosts_words() {
    let words = fixtures::text("G2/errors.not-json.txt");
    let subject = format!("wasmbus.ctl.default.cmd.{HOST}.stop");
    let (lattice, _answering) = answering(&subject, words.trim().into()).await;
    refused(lattice.stop_host(HOST, None).await, "Some(\"denied\")");
}

#[tokio::test]
async fn a_refusal_where_an_answer_was_asked_is_an_error_in_the_hosts_words() {
    let refusal = json!({ "accepted": false, "error": "claims unknown" }).to_string();
    let subject = format!("wasmbus.ctl.default.get.{HOST}.inv");
    let (lattice, _answering) = answering(&subject, refusal).await;
    let error = lattice.inventory(HOST).await.unwrap_err().to_string();
    assert!(
        error.contains("claims unknown") && error.contains(HOST),
        "{error}"
    );
}

#[tokio::test]
async fn one_bad_reply_costs_that_reply_only() {
    let lattice =
        Operated::with(&[(Generation::G2b, &[("zone", "eu")]), (Generation::G1b, &[])]).await;
    lattice.hosts[1].answer_after(std::time::Duration::from_millis(50));
    let nats = lattice.world.nats.client().await;
    let bad = vec![
        b"".to_vec(),
        b"garbage".to_vec(),
        br#"{"accepted":false,"error":"failed to deserialize actor auction command"}"#.to_vec(),
        br#"{"host_id":"","id":""}"#.to_vec(),
    ];
    let _ping = respond(&nats, "wasmbus.ctl.default.ping.hosts", bad.clone()).await;
    let _auction = respond(&nats, "wasmbus.ctl.default.auction.>", bad).await;
    assert_eq!(lattice.get_hosts().await.unwrap().len(), 2);
    assert_eq!(lattice.auction_actor(&[]).await.unwrap().len(), 2);
    assert_eq!(lattice.auction_provider(&[]).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_list_where_an_object_belongs_is_not_read_by_position() {
    let order = format!("wasmbus.ctl.default.cmd.{HOST}.stop");
    for reply in [r#"[true,""]"#, r#"[false,"no"]"#, r#"["x"]"#, "[]"] {
        let (lattice, _answering) = answering(&order, reply.into()).await;
        let error = lattice.stop_host(HOST, None).await.unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{reply}: {error}");
    }
    // A list in the place of an entry costs that entry only.
    let links = json!({ "links": [["M1", "V1", "default", "c", {}], [1]] }).to_string();
    let (lattice, _answering) = answering("wasmbus.ctl.default.get.links", links).await;
    assert!(lattice.links().await.unwrap().is_empty());
    let inventory = json!([HOST, {}, [], []]).to_string();
    let subject = format!("wasmbus.ctl.default.get.{HOST}.inv");
    let (lattice, _answering) = answering(&subject, inventory).await;
    let error = lattice.inventory(HOST).await.unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
    let ping = json!([HOST, 1, null, {}, "name", "0.80.0"]).to_string();
    let (lattice, _answering) = answering("wasmbus.ctl.default.ping.hosts", ping).await;
    assert!(lattice.get_hosts().await.unwrap_or_default().is_empty());
}

#[tokio::test]
async fn an_auction_that_every_host_refuses_is_an_error() {
    let refusal = json!({ "accepted": false, "error": "cannot read this" }).to_string();
    let (lattice, _answering) = answering("wasmbus.ctl.default.auction.actor", refusal).await;
    let error = lattice.auction_actor(&[]).await.unwrap_err().to_string();
    assert!(error.contains("cannot read this"), "{error}");
}

#[tokio::test]
async fn nobody_there_is_no_hosts_and_no_such_host() {
    let lattice = Operated::without_bucket(&[]).await;
    for (operation, outcome) in every_operation(&lattice, HOST).await {
        match operation {
            "GetHosts" | "AuctionActor" | "AuctionProvider" => {
                assert_eq!(outcome, None, "{operation}");
            }
            _ => {
                let reason = outcome.unwrap();
                assert!(reason.contains("nobody listens"), "{operation}: {reason}");
            }
        }
    }
}

#[tokio::test]
async fn a_silent_host_is_named_before_the_actor_gives_up() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0];
        lattice.get_hosts().await.unwrap();
        host.fall_silent_on(".stop");
        let error = lattice
            .stop_host(&host.id, None)
            .await
            .unwrap_err()
            .to_string();
        let named = error.contains(&host.id) && error.contains("unknown whether");
        assert!(named, "{generation:?}: {error}");
    }
}

#[tokio::test]
async fn a_host_silent_before_an_order_is_no_unknown_outcome() {
    let lattice = Operated::one(Generation::G3b).await;
    let host = &lattice.hosts[0];
    lattice.get_hosts().await.unwrap();
    host.fall_silent_on(".inv");
    refused(
        lattice.start_actor(&host.id, 1, &Annotations::new()).await,
        "nothing was sent",
    );
    assert!(host.received_on(".scale").is_empty());
}

#[tokio::test]
async fn an_otp_host_that_cannot_tell_its_inventory_can_be_told_to_stop_things() {
    // It answers nothing while claims of what runs are not in its cache
    // (docs/hosts.md#inventory-silent-without-claims).
    for generation in [Generation::G1a, Generation::G1b] {
        let lattice = Operated::one(generation).await;
        let (host, none) = (&lattice.hosts[0], Annotations::new());
        accepted(lattice.start_actor(&host.id, 3, &none).await);
        accepted(lattice.start_provider(&host.id).await);
        host.fall_silent_on(".inv");
        accepted(lattice.stop_actor(&host.id, 2, &none).await);
        assert_eq!(host.instances(ACTOR), 1);
        accepted(lattice.stop_provider(&host.id, &none).await);
        assert!(!host.runs_provider(PROVIDER, "default"));
        // A command that depends on the inventory is still refused.
        refused(
            lattice.stop_provider(&host.id, &managed()).await,
            "nothing was sent",
        );
        refused(
            lattice.update_actor(&host.id, &managed()).await,
            "nothing was sent",
        );
    }
}

#[tokio::test]
async fn a_host_that_answers_no_ping_is_not_commanded() {
    let lattice = Operated::with(&[(Generation::G2b, &[]), (Generation::G2b, &[])]).await;
    let host = &lattice.hosts[0];
    host.fall_silent_on("ping.hosts");
    let ack: CtlOperationAck = lattice.stop_host(&host.id, None).await.unwrap();
    assert!(
        !ack.accepted && ack.error.contains("does not answer pings"),
        "{}",
        ack.error
    );
    assert!(host.received_on(".stop").is_empty());
}

#[tokio::test]
async fn a_question_too_large_for_the_server_is_said_to_be_that() {
    let nats = support::nats::NatsServer::with_config("max_payload: 16384");
    let home = support::nats::NatsServer::start();
    let world = support::world::World::start_on(home, |_| {}).await;
    world.set_lattice(LATTICE, &nats.url()).await;
    let request = ActorAuctionRequest {
        lattice_id: LATTICE.into(),
        actor_ref: "x".into(),
        constraints: [("zone".to_owned(), "x".repeat(20_000))].into(),
    };
    let client = world.actor.lattice();
    let error = client.auction_actor(&support::world::ctx(), &request).await;
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("larger than their NATS server takes"),
        "{error}"
    );
}
