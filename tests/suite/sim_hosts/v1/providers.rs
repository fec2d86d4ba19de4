//! Providers: what differs between the versions, as the source of each tag says.

use std::time::Duration;

use super::super::Outcome;
use super::{PROVIDER, Run};
use crate::support::host_v1::Version;

use Version::{V110, V130, V150, V151, V160, V192};

const START_KV: &str =
    r#"{"provider_id":"kv","provider_ref":"file:///srv/kv.par","host_id":"{h}"}"#;
const STOP_KV: &str = r#"{"provider_id":"kv","host_id":"{h}"}"#;

#[tokio::test]
async fn a_wrong_host_in_the_body_kills_providers_from_1_6_on() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        run.told("provider.start.{h}", START_KV).await.unwrap();
        assert!(run.host.runs_provider("kv"));
        run.said().await;
        let begun = std::time::Instant::now();
        run.told("provider.stop.{h}", r#"{"provider_id":"kv"}"#)
            .await
            .unwrap();
        let believes = version >= V160;
        assert!(!believes || begun.elapsed() > Duration::from_millis(250));
        let (name, data) = run.said().await.remove(0);
        assert_eq!(name, "provider_stopped");
        let named = if believes { "" } else { run.host.id.as_str() };
        assert_eq!(data["host_id"], named, "{version:?}");
        assert_eq!(run.host.meant_harm().is_some(), believes, "{version:?}");
        assert!(!run.host.runs_provider("kv"));
    }
}

#[tokio::test]
async fn providers_start_as_each_version_does_it() {
    for version in Version::ALL {
        let mut run = Run::start(version).await;
        run.said().await;
        let no_config = START_KV.replace("\"kv\"", "\"kv\",\"config\":[\"nope\"]");
        let told = run.told("provider.start.{h}", &no_config).await;
        let early = version < V110;
        assert_eq!(told.is_err(), early, "{version:?}");
        let expected: &[&str] = if early {
            &[]
        } else {
            &["provider_start_failed"]
        };
        let said = run.said().await;
        let names: Vec<_> = said.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, expected, "{version:?}");
        let with_host = said.iter().any(|(_, data)| data.get("host_id").is_some());
        assert_eq!(with_host, version >= V151, "{version:?}");
        let told = run.told("provider.start.{h}", START_KV).await.unwrap();
        assert_eq!(told.is_empty(), version < V130, "{version:?}");
        let listed = run.inventory().await["providers"][0]["image_ref"].clone();
        let bare = PROVIDER.trim_start_matches("file://");
        assert_eq!(
            listed,
            if version >= V150 { bare } else { PROVIDER },
            "{version:?}"
        );
        let again = run.told("provider.start.{h}", START_KV).await;
        assert_eq!(
            again,
            Err("provider with that ID is already running".into())
        );
        let builtin = r#"{"provider_id":"b","provider_ref":"wasmcloud+builtin://http-server","host_id":"{h}"}"#;
        let patience = match version {
            V192 => Duration::from_millis(100),
            _ => Duration::from_secs(5),
        };
        let told = run.ask_for("provider.start.{h}", builtin, patience).await;
        assert_eq!(told == Outcome::Silence, version >= V192, "{version:?}");
    }
}

#[tokio::test]
async fn a_provider_that_exited_counts_as_running_up_to_1_5() {
    for version in Version::ALL {
        let run = Run::start(version).await;
        run.told("provider.start.{h}", START_KV).await.unwrap();
        run.host.exit_provider("kv");
        let restarts = version >= V160;
        assert_eq!(run.host.runs_provider("kv"), restarts, "{version:?}");
        assert_eq!(run.inventory().await["providers"][0]["id"], "kv");
        assert!(run.told("provider.start.{h}", START_KV).await.is_err());
        run.told("provider.stop.{h}", STOP_KV).await.unwrap();
        run.told("provider.start.{h}", START_KV).await.unwrap();
        assert!(run.host.runs_provider("kv"), "{version:?}");
    }
}
