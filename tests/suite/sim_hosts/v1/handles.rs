//! What tests can see of a simulated 1.x host, and what they can switch on it.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::Outcome;
use super::{Run, caught_up};
use crate::support::host::running::Annotations;
use crate::support::host_v1::Version;

use Version::V192;

const SCALE: &str = "component.scale.{h}";
const START: &str = r#"{"component_ref":"reg/shop:1","component_id":"shop","count":2,"annotations":{"a":"1"},"config":["cc"],"host_id":"{h}"}"#;

/// How late an answer is in these tests.
const LATE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_host_can_be_late_and_silent() {
    let run = Run::start(V192).await;
    let took = |subject: &'static str| {
        let run = &run;
        async move {
            let begun = Instant::now();
            run.ask(subject, "").await;
            begun.elapsed()
        }
    };
    run.host.answer_after_on("host.ping", LATE);
    assert!(took("host.ping").await >= LATE);
    assert!(took("claims.get").await < LATE);
    run.host.answer_after(LATE);
    assert!(took("claims.get").await >= LATE);
    run.host.answer_after(Duration::ZERO);
    run.host.fall_silent_on("claims.get");
    let patience = Duration::from_millis(100);
    let told = run.ask_for("claims.get", "", patience).await;
    assert_eq!(told, Outcome::Silence);
    run.host.speak_again();
    assert!(took("claims.get").await < LATE);
    assert_eq!(run.host.received().len(), 5);
    assert_eq!(run.host.received_on("claims.get").len(), 4);
}

#[tokio::test]
async fn orders_are_answered_before_the_work() {
    let run = Run::start(V192).await;
    run.told("config.put.cc", "{}").await.unwrap();
    run.host.lag_by(LATE);
    let subject = SCALE.replace("{h}", &run.host.id);
    let subject = format!("wasmbus.ctl.v1.default.{subject}");
    let body = START.replace("{h}", &run.host.id);
    let begun = Instant::now();
    super::super::ask(&run.client, &subject, &body).await;
    assert!(begun.elapsed() < LATE);
    assert!(!run.host.caught_up());
    assert_eq!(run.host.instances("shop"), 0);
    caught_up(&run.host).await;
    assert!(begun.elapsed() >= LATE);
    let group = Annotations::from([("a".into(), "1".into())]);
    assert_eq!(run.host.groups("shop"), [(group, 2)].into());
    assert_eq!(run.host.configs("shop"), ["cc"]);
    assert_eq!(run.host.answers("shop"), ["reg/shop:1"]);
}

#[tokio::test]
async fn a_later_order_can_overtake_an_earlier_one() {
    let run = Run::start(V192).await;
    run.told("config.put.cc", "{}").await.unwrap();
    run.told(SCALE, START).await.unwrap();
    run.host.lag_by(2 * LATE);
    let subject = format!(
        "wasmbus.ctl.v1.default.{}",
        SCALE.replace("{h}", &run.host.id)
    );
    let to = |count: &str| START.replace(":2,", count).replace("{h}", &run.host.id);
    super::super::ask(&run.client, &subject, &to(":5,")).await;
    run.host.lag_by(Duration::ZERO);
    super::super::ask(&run.client, &subject, &to(":3,")).await;
    caught_up(&run.host).await;
    assert_eq!(run.host.instances("shop"), 5);
}

#[tokio::test]
async fn a_host_that_compiles_answers_no_inventory() {
    let run = Run::start(V192).await;
    run.told("config.put.cc", "{}").await.unwrap();
    run.host.compile_for(2 * LATE);
    let subject = format!(
        "wasmbus.ctl.v1.default.{}",
        SCALE.replace("{h}", &run.host.id)
    );
    let body = START.replace("{h}", &run.host.id);
    super::super::ask(&run.client, &subject, &body).await;
    // The order is taken up 20 ms later.
    crate::support::eventually("a start that compiles", || async {
        let patience = Duration::from_millis(100);
        let look = format!("wasmbus.ctl.v1.default.host.get.{}", run.host.id);
        let told = super::super::ask_for(&run.client, &look, "", patience).await;
        (told == Outcome::Silence).then_some(())
    })
    .await;
    assert_eq!(run.inventory().await["components"][0]["id"], "shop");
}

#[tokio::test]
async fn an_inventory_waits_while_a_provider_does_not_end() {
    let run = Run::start(V192).await;
    let start = r#"{"provider_id":"kv","provider_ref":"file:///srv/kv.par","host_id":"{h}"}"#;
    run.told("provider.start.{h}", start).await.unwrap();
    run.host.mute_providers(true);
    let begun = Instant::now();
    let stop = run.told(
        "provider.stop.{h}",
        r#"{"provider_id":"kv","host_id":"{h}"}"#,
    );
    let look = async {
        crate::support::eventually("the order", || async {
            (!run.host.received_on("provider.stop").is_empty()).then_some(())
        })
        .await;
        run.inventory().await;
        begun.elapsed()
    };
    let (stopped, looked) = futures::join!(stop, look);
    assert_eq!(stopped, Ok("successfully stopped provider".into()));
    assert!(looked > Duration::from_millis(280), "{looked:?}");
    assert_eq!(run.host.harm(), None);
}

#[tokio::test]
async fn a_heartbeat_is_the_inventory() {
    let mut run = Run::start(V192).await;
    run.told("config.put.cc", "{}").await.unwrap();
    run.told(SCALE, START).await.unwrap();
    run.said().await;
    run.host.beat().await;
    let (name, data) = run.said().await.remove(0);
    assert_eq!(name, "host_heartbeat");
    let inventory = run.inventory().await;
    assert_eq!(data["components"], inventory["components"]);
    assert_eq!(data["host_id"], run.host.id);
}

#[tokio::test]
async fn an_embedded_host_tells_another_version() {
    let run = Run::start(V192).await;
    assert_eq!(run.response("host.ping").await["version"], "1.9.2");
    run.host.call_itself("0.27.1");
    let ping = run.response("host.ping").await;
    assert_eq!(ping["version"], "0.27.1");
    assert!(ping["uptime_seconds"].as_u64() >= Some(3733));
    assert!(ping["uptime_human"].as_str().unwrap().starts_with("1h 2m"));
}

#[tokio::test]
async fn registries_take_a_user_name_with_a_password_only() {
    for version in Version::ALL {
        let run = Run::start(version).await;
        let body = json!({ "u.io": { "username": "u", "password": "p" },
            "t.io": { "token": "t" }, "b.io": { "registryType": "bindle", "username": "u" } });
        run.told("registry.put", &body.to_string()).await.unwrap();
        let more = r#"{"u.io":{"username":"u2","password":"p2"}}"#;
        run.told("registry.put", more).await.unwrap();
        assert!(
            run.host.logs_in("u.io") && !run.host.logs_in("t.io"),
            "{version:?}"
        );
        assert!(!run.host.logs_in("b.io"), "{version:?}");
        let none = run.told("registry.put", r#"{"x":"y"}"#).await;
        assert_eq!(
            none,
            Err("failed to deserialize registries put command".into())
        );
    }
}

#[tokio::test]
async fn claims_are_those_of_the_bucket_of_both_kinds() {
    let run = Run::start(V192).await;
    run.sim.publish_actor("reg/old:1", "old", 4).await;
    run.told("config.put.cc", "{}").await.unwrap();
    run.told(SCALE, START).await.unwrap();
    let mut names: Vec<_> = Vec::new();
    crate::support::eventually("the claims", || async {
        let claims = run.response("claims.get").await;
        let claims = claims.as_array().unwrap();
        let told = claims.iter().map(|c| (c["name"].clone(), c["rev"].clone()));
        let told: Vec<_> = told.collect();
        (told.len() == 2).then_some(told)
    })
    .await
    .into_iter()
    .for_each(|told| names.push(told));
    names.sort_by_key(|(name, _)| name.to_string());
    assert_eq!(
        names,
        [(json!("old"), json!("4")), (json!("shop"), json!("1"))]
    );
}
