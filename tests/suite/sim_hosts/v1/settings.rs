//! Labels, links, configs and the stop of a host: what differs between the
//! versions, as the source of each tag says.

use std::time::Duration;

use serde_json::json;

use super::super::Outcome;
use super::Run;
use crate::support::host_v1::Version;

use Version::{V110, V130, V150, V192};

#[tokio::test]
async fn host_stop_checks_the_body_from_1_1_on() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        let checks = version >= V110;
        let stop = "host.stop.{h}";
        let wrong = run.told(stop, r#"{"host_id":"NX"}"#).await;
        assert_eq!(wrong.is_err(), checks, "{version:?}");
        if checks {
            assert_eq!(wrong, Err("invalid host_id [NX]".into()));
            assert!(!run.host.stopped());
            run.told(stop, r#"{"host_id":"{h}","timeout":1500}"#)
                .await
                .unwrap();
            assert_eq!(run.host.ends_within(), Some(Duration::from_millis(1500)));
        }
        assert!(run.host.stopped());
        assert!(run.names_said().await.contains(&"host_stopped".to_owned()));
        assert_eq!(run.ask("host.ping", "").await, Outcome::NoResponders);
        let run = Run::start(version).await;
        let empty = run.told(stop, "").await;
        let refusal = "failed to deserialize stop command".to_owned();
        assert_eq!(empty.err(), (!checks).then_some(refusal), "{version:?}");
    }
}

#[tokio::test]
async fn labels_links_and_configs_answer_as_each_version_does() {
    let link = r#"{"source_id":"a","target":"kv","wit_namespace":"wasi","wit_package":"keyvalue","interfaces":["store"]}"#;
    let second = link.replace("\"kv\"", "\"other\"");
    let no_config = link.replace('}', r#","target_config":["nope"]}"#);
    for version in Version::ALL {
        let run = Run::start(version).await;
        let prose = |words: &str| Ok(if version >= V130 { words } else { "" }.to_owned());
        let fixed = r#"{"key":"hostcore.os","value":"x"}"#;
        let told = run.told("label.put.{h}", fixed).await;
        assert_eq!(told.is_err(), version >= V192, "{version:?}");
        let told = run.told("label.del.{h}", r#"{"key":"zone"}"#).await;
        assert_eq!(told.is_err(), version <= V150, "{version:?}");
        assert_eq!(
            run.told("link.put", link).await,
            prose("successfully set link")
        );
        let told = run.told("link.put", &second).await;
        assert_eq!(told.is_err(), version >= V130, "{version:?}");
        assert_eq!(
            run.host.meant_harm().is_some(),
            version < V130,
            "{version:?}"
        );
        let told = run.told("link.put", &no_config).await.unwrap_err();
        let first = "failed to resolve link config for provider";
        assert_eq!(told == first, version < V110, "{version:?}");
        let told = run.told("config.put.c", r#"{"k":"v"}"#).await;
        assert_eq!(told, prose("successfully put config"));
        assert_eq!(run.response("config.get.c").await, json!({ "k": "v" }));
    }
}
