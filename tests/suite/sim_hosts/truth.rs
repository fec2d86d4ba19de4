//! What tests can see of a simulated host, and what they can switch on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use serde_json::{Value, json};

use super::{Outcome, ask, ask_for};
use crate::support::host::lattice::SimLattice;
use crate::support::host::running::{Annotations, Running};
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::operator::{CONTRACT, PROVIDER, PROVIDER_REF};
use crate::support::{self, eventually};

use Generation::{G1b, G2b, G3b, Otp51, Otp59, Otp60};

const KEY: &str = "MKEY";

async fn host(generation: Generation) -> (SimHost, Arc<SimLattice>, Client, NatsServer) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let sim = SimLattice::with_bucket(client.clone(), "default").await;
    sim.publish_actor_as("r.io/a:1", KEY, "probe", 1).await;
    sim.publish_actor_as("r.io/a:2", KEY, "probe", 2).await;
    sim.publish_provider_as(PROVIDER_REF, PROVIDER, "provider", CONTRACT)
        .await;
    let sim = Arc::new(sim);
    (
        SimHost::start(&sim, generation, &[]).await,
        sim,
        client,
        nats,
    )
}

async fn order(client: &Client, host: &SimHost, verb: &str, body: Value) -> Outcome {
    let subject = format!("wasmbus.ctl.default.cmd.{}.{verb}", host.id);
    ask_for(client, &subject, &body.to_string(), Duration::from_secs(5)).await
}

async fn inventory(client: &Client, host: &SimHost) -> Value {
    let subject = format!("wasmbus.ctl.default.get.{}.inv", host.id);
    match ask_for(client, &subject, "", Duration::from_secs(5)).await {
        Outcome::Reply(inventory) => inventory,
        other => panic!("{other:?}"),
    }
}

fn running(annotations: &[(&str, &str)], count: u64, revision: i64) -> Running {
    let pairs = annotations
        .iter()
        .map(|(a, b)| (a.to_string(), b.to_string()));
    Running {
        annotations: pairs.collect::<Annotations>(),
        count,
        revision,
        heard: true,
        listed: true,
    }
}

#[tokio::test]
async fn lost_instances_run_on_and_are_told() {
    let (host, _sim, client, _nats) = host(G3b).await;
    for (annotations, count) in [(json!({}), 2), (json!({"a":"1"}), 3)] {
        let body = json!({"actor_ref":"r.io/a:1","count":count,"annotations":annotations});
        order(&client, &host, "scale", body).await;
    }
    let groups = vec![running(&[], 2, 1), running(&[("a", "1")], 3, 1)];
    assert_eq!(host.runs(KEY), groups);
    let body = json!({"actor_ref":KEY,"annotations":{"a":"1"}});
    order(&client, &host, "sa", body).await;
    let mut lost = running(&[], 2, 1);
    lost.listed = false;
    assert_eq!(host.runs(KEY), [lost.clone()]);
    assert_eq!(inventory(&client, &host).await["actors"], json!([]));
    // A start makes a second entry beside the lost one.
    let body = json!({"actor_ref":"r.io/a:1","count":1});
    order(&client, &host, "scale", body).await;
    assert_eq!(host.runs(KEY), [running(&[], 1, 1), lost]);
    assert!(host.meant_harm().is_some());
}

#[tokio::test]
async fn an_unheard_instance_is_heard_after_the_next_start() {
    let (host, _sim, client, _nats) = host(G1b).await;
    let start = || json!({"actor_ref":"r.io/a:1","count":1});
    order(&client, &host, "la", start()).await;
    assert!(host.runs(KEY)[0].heard);
    let to_none = json!({"actor_id":KEY,"actor_ref":"r.io/a:1","count":0});
    order(&client, &host, "scale", to_none).await;
    assert_eq!(host.runs(KEY), []);
    order(&client, &host, "la", start()).await;
    assert!(!host.runs(KEY)[0].heard);
    // Once the subscription has ended, the next start makes a new one.
    eventually("a start that is heard", || async {
        order(&client, &host, "la", start()).await;
        host.runs(KEY)[0].heard.then_some(())
    })
    .await;
    assert!(
        host.meant_harm()
            .is_some_and(|harm| harm.contains("docs/hosts.md#start-during-stop-is-unheard"))
    );
}

#[tokio::test]
async fn an_update_right_behind_a_scale_is_done_first() {
    let (host, _sim, client, _nats) = host(G3b).await;
    let scale = |count: u64| json!({"actor_ref":"r.io/a:1","count":count});
    order(&client, &host, "scale", scale(2)).await;
    assert_eq!(host.runs(KEY), [running(&[], 2, 1)]);
    order(&client, &host, "scale", scale(5)).await;
    let update = json!({"actor_id":KEY,"new_actor_ref":"r.io/a:2"});
    order(&client, &host, "upd", update).await;
    assert_eq!(host.runs(KEY), [running(&[], 2, 2)]);
    assert!(
        host.meant_harm()
            .is_some_and(|harm| harm.contains("docs/hosts.md#update-overtakes-scale"))
    );
}

#[tokio::test]
async fn what_a_start_did_is_said_before_a_late_answer() {
    use futures::StreamExt as _;
    let (host, _sim, client, _nats) = host(G2b).await;
    let mut told = client.subscribe("wasmbus.evt.default").await.unwrap();
    support::fence(&client).await;
    let scale = json!({"actor_ref":"r.io/a:1","count":2});
    order(&client, &host, "scale", scale).await;
    host.runs(KEY);
    let update = json!({"actor_id":KEY,"new_actor_ref":"r.io/a:2"});
    order(&client, &host, "upd", update).await;
    let mut names = Vec::new();
    while names.last().is_none_or(|name| name != "actors_stopped") {
        let event = told.next().await.unwrap();
        let event: Value = serde_json::from_slice(&event.payload).unwrap();
        let name = event["type"].as_str().unwrap().rsplit('.').next().unwrap();
        names.push(name.to_owned());
    }
    let count = |wanted: &str| names.iter().filter(|name| *name == wanted).count();
    assert_eq!(
        (count("actors_started"), count("actor_started")),
        (2, 4),
        "{names:?}"
    );
    assert_eq!(count("actor_stopped"), 2, "{names:?}");
}

#[tokio::test]
async fn an_otp_host_is_busy_while_a_provider_does_not_end() {
    let (host, _sim, client, _nats) = host(G1b).await;
    let body = json!({"provider_ref":PROVIDER_REF,"link_name":"a.b"});
    order(&client, &host, "lp", body).await;
    host.mute_providers(true);
    let begun = Instant::now();
    let body = json!({"provider_ref":PROVIDER,"link_name":"a.b"});
    let stop = order(&client, &host, "sp", body);
    let look = async {
        eventually("the order", || async {
            (!host.received_on(".sp").is_empty()).then_some(())
        })
        .await;
        inventory(&client, &host).await;
        begun.elapsed()
    };
    let (stopped, looked) = futures::join!(stop, look);
    assert_eq!(stopped, Outcome::Reply(json!({"accepted":true,"error":""})));
    assert!(begun.elapsed() > Duration::from_millis(1900));
    assert!(looked > Duration::from_millis(1900), "{looked:?}");
    assert!(!host.runs_provider(PROVIDER, "a.b"));
}

#[tokio::test]
async fn the_uptime_goes_back_when_a_host_starts_again() {
    let (first, sim, client, _nats) = host(G2b).await;
    let uptime = || async {
        match ask(&client, "wasmbus.ctl.default.ping.hosts", "").await {
            Outcome::Reply(ping) => ping["uptime_seconds"].as_u64().unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert!(uptime().await >= 3733);
    let id = first.id.clone();
    drop(first);
    let _again = SimHost::start_as(&sim, G2b, &[], id).await;
    assert!(uptime().await < 3600);
}

#[tokio::test]
async fn hosts_write_what_they_know_into_the_bucket() {
    for (generation, refmap) in [(Otp60, true), (G1b, true), (G2b, false), (Otp59, false)] {
        let (host, _sim, client, _nats) = host(generation).await;
        let verb = if generation.is_otp() { "la" } else { "scale" };
        let body = json!({"actor_ref":"r.io/a:2","count":1});
        order(&client, &host, verb, body).await;
        let done = || async { host.caught_up().then_some(()) };
        eventually("what was acknowledged", done).await;
        let bucket = async_nats::jetstream::new(client.clone())
            .get_key_value("LATTICEDATA_default")
            .await
            .unwrap();
        let get = |key: String| {
            let bucket = &bucket;
            async move {
                let value = bucket.get(key).await.unwrap();
                value.map(|value| serde_json::from_slice::<Value>(&value).unwrap())
            }
        };
        let rev = if generation == Otp59 { "1" } else { "2" };
        let claims = get(format!("CLAIMS_{KEY}")).await.unwrap();
        assert_eq!(claims["rev"], rev, "{generation:?}");
        // "r.io/a:2" in base64.
        let mapped = get("REFMAP_ci5pby9hOjI".into()).await;
        let expected = json!({"oci_url":"r.io/a:2","public_key":KEY});
        assert_eq!(mapped, refmap.then_some(expected), "{generation:?}");
    }
}

#[tokio::test]
async fn a_host_that_is_too_old_is_known_by_its_ping() {
    let (host, _sim, client, _nats) = host(Otp51).await;
    let Outcome::Reply(ping) = ask(&client, "wasmbus.ctl.default.ping.hosts", "").await else {
        panic!("no ping");
    };
    let members: Vec<_> = ping.as_object().unwrap().keys().collect();
    assert_eq!(members, ["id", "uptime_seconds"]);
    let scale = json!({"actor_id":KEY,"actor_ref":"r.io/a:1","count":2});
    let refused = order(&client, &host, "scale", scale).await;
    let words = "Invalid scale actor JSON request";
    assert_eq!(
        refused,
        Outcome::Reply(json!({"accepted":false,"error":words}))
    );
    order(&client, &host, "la", json!({"actor_ref":"r.io/a:1"})).await;
    host.runs(KEY);
    let listed = &inventory(&client, &host).await["actors"][0];
    assert!(
        listed.get("instances").is_none() && listed["revision"] == 1,
        "{listed}"
    );
    let nobody = ask(&client, "wasmbus.ctl.default.registries.put", "{}").await;
    assert_eq!(nobody, Outcome::NoResponders);
}

#[tokio::test]
async fn nobody_logs_in_with_a_token() {
    for generation in Generation::EVERY {
        let (host, _sim, client, _nats) = host(generation).await;
        let subject = "wasmbus.ctl.default.registries.put";
        let token = r#"{"t.io":{"registryType":"oci","token":"t"}}"#;
        ask(&client, subject, token).await;
        let both = r#"{"u.io":{"registryType":"oci","username":"u","password":"p","token":"t"}}"#;
        ask(&client, subject, both).await;
        assert!(!host.logs_in("t.io"), "{generation:?}");
        assert_eq!(host.logs_in("u.io"), generation >= Otp59, "{generation:?}");
    }
}
