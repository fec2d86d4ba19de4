//! Components: what differs between the versions, as the source of each tag
//! says.

use std::time::Duration;

use serde_json::json;

use super::super::Outcome;
use super::{R1, R2, Run};
use crate::support::host_v1::Version;

use Version::{V100, V101, V110, V130, V150, V151, V192};

const START: &str = r#"{"component_ref":"reg/shop:1","component_id":"shop","count":2,"annotations":{"a":"1"},"host_id":"{h}"}"#;
const STOP: &str =
    r#"{"component_ref":"reg/shop:1","component_id":"shop","count":0,"host_id":"{h}"}"#;
const UPDATE: &str = r#"{"component_id":"shop","new_component_ref":"reg/shop:2","annotations":{"a":"1"},"host_id":"{h}"}"#;

async fn scale(run: &Run, body: &str) -> String {
    run.told("component.scale.{h}", body).await.unwrap()
}

#[tokio::test]
async fn a_start_is_said_once_by_old_hosts_and_twice_by_later_ones() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        run.said().await;
        assert_eq!(scale(&run, START).await, "");
        let said = run.said().await;
        let times = if version >= V130 { 2 } else { 1 };
        assert_eq!(said.len(), times, "{version:?} {said:?}");
        let (name, data) = &said[0];
        assert_eq!(name, "component_scaled");
        assert_eq!(data["max_instances"], 2);
        assert_eq!(data["public_key"], "MSHOP");
        assert_eq!(data["host_id"], run.host.id);
        assert_eq!(run.host.runs("shop"), [1]);
        let listed = &run.inventory().await["components"][0];
        assert_eq!(listed["name"], "shop");
        assert_eq!(
            listed.get("limits").is_some(),
            version >= V192,
            "{version:?}"
        );
        scale(&run, STOP).await;
        assert_eq!(run.host.instances("shop"), 0);
        let times = if version == V100 { 2 } else { 1 };
        assert_eq!(run.said().await.len(), times, "{version:?}");
    }
}

#[tokio::test]
async fn failures_are_said_from_1_1_1_on() {
    let no_image = r#"{"component_ref":"reg/nope:1","component_id":"x","count":1,"host_id":"{h}"}"#;
    let no_config = r#"{"component_ref":"reg/shop:1","component_id":"x","count":1,"config":["nope"],"host_id":"{h}"}"#;
    let no_id = r#"{"component_ref":"reg/shop:1","component_id":"a b","count":1,"host_id":"{h}"}"#;
    let nothing = r#"{"component_ref":"reg/shop:1","component_id":"x","count":0,"host_id":"{h}"}"#;
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        let says = version >= V130;
        run.said().await;
        for (body, event, said) in [
            (no_image, "component_scale_failed", says),
            (no_config, "component_scale_failed", says),
            (no_id, "component_scale_failed", true),
            (nothing, "component_scaled", says),
        ] {
            assert_eq!(scale(&run, body).await, "");
            let expected: &[&str] = if said { &[event] } else { &[] };
            assert_eq!(run.names_said().await, expected, "{version:?} {body}");
            assert!(run.host.runs("x").is_empty());
        }
    }
}

#[tokio::test]
async fn a_stop_needs_the_image_up_to_1_5_0() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        scale(&run, START).await;
        run.said().await;
        run.sim.withdraw(R1);
        scale(&run, STOP).await;
        let stops = version >= V151;
        assert_eq!(run.host.runs("shop").is_empty(), stops, "{version:?}");
        let expected: &[&str] = match version {
            V100 | V101 | V110 => &[],
            V130 | V150 => &["component_scale_failed"],
            _ => &["component_scaled"],
        };
        assert_eq!(run.names_said().await, expected, "{version:?}");
    }
}

#[tokio::test]
async fn updates_keep_the_old_code_running_from_1_0_1_on() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        let update = |id: &str| {
            let body = UPDATE.replace("shop\",\"new", &format!("{id}\",\"new"));
            let run = &run;
            async move { run.told("component.update.{h}", &body).await }
        };
        let unknown = update("zzz").await;
        scale(&run, START).await;
        let told = update("shop").await.unwrap();
        let again = update("shop").await.unwrap();
        let listed = run.inventory().await["components"][0].clone();
        assert_eq!(listed["image_ref"], R2);
        assert_eq!(
            (&listed["revision"], &listed["max_instances"]),
            (&2.into(), &2.into())
        );
        if version == V100 {
            assert_eq!(
                (unknown, told, again),
                (Ok("".into()), "".into(), "".into())
            );
            assert_eq!(run.host.runs("shop"), [2]);
            assert_eq!(run.host.harm(), None);
            continue;
        }
        assert_eq!(unknown, Err("component zzz not found".into()));
        assert_eq!(
            told,
            "component shop updating from reg/shop:1 to reg/shop:2"
        );
        assert_eq!(again, "component shop already updated to reg/shop:2");
        assert_eq!(run.host.runs("shop"), [1], "{version:?}");
        let more = START.replace(":2,", ":3,").replace("shop:1", "shop:2");
        scale(&run, &more).await;
        assert_eq!(run.host.runs("shop"), [2, 1], "{version:?}");
        assert_eq!(run.host.instances("shop"), 5);
        scale(&run, &STOP.replace("shop:1", "shop:2")).await;
        assert_eq!(run.host.runs("shop"), [1], "{version:?}");
        assert_eq!(run.inventory().await["components"], json!([]));
        assert!(
            run.host
                .meant_harm()
                .is_some_and(|harm| harm.contains("old code"))
        );
        // One update spoils the id for as long as the host lives.
        scale(&run, &more).await;
        assert_eq!(run.host.runs("shop"), [2, 1], "{version:?}");
        // Nothing is said of an update that cannot fetch its image.
        scale(&run, &START.replace("\"shop\"", "\"other\"")).await;
        run.said().await;
        let gone = UPDATE
            .replace("\"shop\"", "\"other\"")
            .replace("shop:2", "nope:1");
        run.told("component.update.{h}", &gone).await.unwrap();
        assert_eq!(run.said().await, []);
        assert_eq!(run.host.runs("other"), [1]);
    }
}

#[tokio::test]
async fn a_scale_to_another_reference_lists_it_and_keeps_the_code() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        scale(&run, START).await;
        let other = START.replace(":2,", ":3,").replace("shop:1", "shop:2");
        let told = scale(&run, &other).await;
        assert!(told.starts_with("Requested to scale existing component to a different"));
        // Later hosts tell the claims of the image that the order names, beside
        // the reference of what runs.
        let (_, event) = run.said().await.pop().unwrap();
        assert_eq!(event["image_ref"], R1);
        let revision = if version >= V130 { 2 } else { 1 };
        assert_eq!(event["claims"]["revision"], revision, "{version:?}");
        assert_eq!(run.inventory().await["components"][0]["image_ref"], R2);
        assert_eq!(run.host.runs("shop"), [1]);
        assert!(run.host.meant_harm().is_some(), "{version:?}");
        // `allow_update` with the same count is an update, as harmful as one.
        scale(&run, &START.replace("shop\",", "new\",")).await;
        let allowed = START
            .replace("shop:1", "shop:2")
            .replace("shop\",", "new\",\"allow_update\":true,");
        let told = scale(&run, &allowed).await;
        let knows = version >= V110;
        assert_eq!(
            told.starts_with("Requested to scale existing component, with"),
            knows
        );
        assert_eq!(run.host.runs("new"), [1]);
        let listed = run.inventory().await["components"].clone();
        let new = listed
            .as_array()
            .unwrap()
            .iter()
            .find(|c| c["id"] == "new")
            .unwrap();
        assert_eq!(new["image_ref"], if knows { R2 } else { R1 }, "{version:?}");
        assert_eq!(run.host.meant_harm().is_some(), knows, "{version:?}");
        // With another count, the scale lists the new reference already, and
        // the update does nothing.
        scale(&run, &START.replace("shop\",", "third\",")).await;
        let allowed = allowed.replace("new\",", "third\",").replace(":2,", ":3,");
        scale(&run, &allowed).await;
        assert_eq!(run.host.runs("third"), [1]);
        scale(&run, &STOP.replace("shop\",", "third\",")).await;
        assert_eq!(run.host.instances("third"), 0, "{version:?}");
        assert!(run.host.meant_harm().is_some());
    }
}

#[tokio::test]
async fn auctions_mistake_the_reference_for_the_id_from_1_3_on() {
    for version in Version::ALL {
        let run = Run::start(version).await;
        scale(&run, START).await;
        let auction = |reference: &str, id: &str, bids: bool| {
            let patience = match bids {
                true => Duration::from_secs(5),
                false => Duration::from_millis(100),
            };
            let body = json!({ "component_ref": reference, "component_id": id,
                "constraints": { "zone": "eu" } });
            let run = &run;
            async move {
                let body = body.to_string();
                match run.ask_for("component.auction", &body, patience).await {
                    Outcome::Reply(bid) => Some(bid["response"]["component_id"].clone()),
                    _ => None,
                }
            }
        };
        let mistakes = version >= V130;
        let running = auction("r", "shop", mistakes).await;
        let new = auction("shop", "new", !mistakes).await;
        let expected = match mistakes {
            true => (Some(json!("r")), None),
            false => (None, Some(json!("new"))),
        };
        assert_eq!((running, new), expected, "{version:?}");
    }
}
