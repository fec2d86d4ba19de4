//! Events that hosts publish, as far as they say who is there, which providers run, and
//! what came of starts: CloudEvents of types `com.wasmcloud.lattice.…`.

use serde::Deserialize;

use crate::error::cut;
use crate::lattice::dialect::event::{self, Envelope};
use crate::lattice::model::lenient::{optional_text, optional_text_map, whole_list};
use crate::lattice::model::{HostEvent, HostNews, ProviderSeen, TextMap};

/// What events contain; each kind of event has some of these members.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Data {
    #[serde(deserialize_with = "optional_text")]
    version: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    public_key: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    image_ref: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    actor_ref: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    provider_ref: Option<String>,
    #[serde(deserialize_with = "optional_text_map")]
    annotations: Option<TextMap>,
    #[serde(deserialize_with = "optional_text")]
    error: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    link_name: Option<String>,
    #[serde(deserialize_with = "whole_list")]
    providers: Option<Vec<Provider>>,
}

/// A provider in a heartbeat. On 0.82 it is as in an inventory, and has an `id` in the place
/// of its `public_key`.
#[derive(Deserialize)]
struct Provider {
    #[serde(alias = "id")]
    public_key: String,
    link_name: String,
    #[serde(default, deserialize_with = "optional_text")]
    image_ref: Option<String>,
}

impl From<Provider> for ProviderSeen {
    fn from(listed: Provider) -> Self {
        Self {
            key: listed.public_key,
            link_name: listed.link_name,
            image_ref: listed.image_ref,
        }
    }
}

/// Reads an event of a host. Returns `None` for what is no event.
pub fn read(payload: &[u8]) -> Option<HostEvent> {
    let envelope = Envelope::read(payload)?;
    let data = || event::data::<Data>(payload);
    let news = match envelope.kind()? {
        "host_heartbeat" => {
            let data = data()?;
            let providers = data.providers;
            HostNews::Beats {
                version: data.version,
                providers: providers.map(|all| all.into_iter().map(Into::into).collect()),
            }
        }
        "host_started" => HostNews::Started,
        "host_stopped" => HostNews::Stopped,
        // `actor_scaled` names the reference of what was stopped, too.
        "actor_started" | "actors_started" => {
            let data = data()?;
            HostNews::ActorStarted {
                key: data.public_key?,
                image_ref: data.image_ref?,
                annotations: data.annotations,
            }
        }
        "actor_start_failed" | "actors_start_failed" | "actor_scale_failed" => {
            let data = data()?;
            HostNews::ActorFailed {
                image_ref: data.image_ref.or(data.actor_ref)?,
                annotations: data.annotations,
                reason: cut(&data.error.unwrap_or_default()),
            }
        }
        "provider_started" => match data().unwrap_or_default() {
            Data {
                public_key: Some(key),
                link_name: Some(link_name),
                image_ref,
                ..
            } => HostNews::ProviderStarted(ProviderSeen {
                key,
                link_name,
                image_ref,
            }),
            _ => HostNews::ProvidersChanged,
        },
        "provider_stopped" => match data().unwrap_or_default() {
            Data {
                public_key: Some(key),
                link_name: Some(link_name),
                ..
            } => HostNews::ProviderStopped { key, link_name },
            _ => HostNews::ProvidersChanged,
        },
        "provider_start_failed" => {
            let data = data().unwrap_or_default();
            HostNews::ProviderFailed {
                key: data.public_key,
                image_ref: data.provider_ref,
                reason: cut(&data.error.unwrap_or_default()),
            }
        }
        _ => HostNews::Other,
    };
    Some(HostEvent {
        host: envelope.host(),
        news,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_news_of_a_host_is_passed_over() {
        for other in [
            &b""[..],
            b"null",
            br#"{"type":"com.wasmcloud.lattice.host_started"}"#,
            br#"{"type":"com.wasmcloud.lattice.host_heartbeat","source":"N1"}"#,
            br#"{"type":"host_stopped","source":"N1","data":{}}"#,
        ] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }

    #[test]
    fn what_came_of_a_start_is_read() {
        let failed = read(
            br#"{"type":"com.wasmcloud.lattice.actors_start_failed","source":"N1","data":
                {"annotations":{"a":"b"},"error":"no","host_id":"N1","image_ref":"r:1",
                 "public_key":"M1"}}"#,
        );
        let news = HostNews::ActorFailed {
            image_ref: "r:1".into(),
            annotations: Some(TextMap::from([("a".into(), "b".into())])),
            reason: "no".into(),
        };
        let host = "N1".to_owned();
        assert_eq!(failed, Some(HostEvent { host, news }));
        let old = br#"{"type":"com.wasmcloud.lattice.actor_start_failed","source":"N1",
            "data":{"actor_ref":"r:1","error":"no"}}"#;
        let Some(HostNews::ActorFailed { annotations, .. }) = read(old).map(|e| e.news) else {
            panic!("not read");
        };
        assert_eq!(annotations, None);
    }

    #[test]
    fn a_heartbeat_without_version_is_one_of_an_old_host() {
        let event = read(
            br#"{"type":"com.wasmcloud.lattice.host_heartbeat","source":"N1",
                "data":{"actors":[],"version":null}}"#,
        );
        let news = HostNews::Beats {
            version: None,
            providers: None,
        };
        let host = "N1".to_owned();
        assert_eq!(event, Some(HostEvent { host, news }));
    }

    #[test]
    fn what_a_heartbeat_says_of_providers_is_read_in_both_forms() {
        let providers = |list: &str| {
            let event = format!(
                r#"{{"type":"com.wasmcloud.lattice.host_heartbeat","source":"N1",
                    "data":{{"version":"0.80.0","providers":{list}}}}}"#
            );
            match read(event.as_bytes()).map(|event| event.news) {
                Some(HostNews::Beats { providers, .. }) => providers,
                other => panic!("{other:?}"),
            }
        };
        let seen = |image_ref: Option<&str>| ProviderSeen {
            key: "V1".into(),
            link_name: "default".into(),
            image_ref: image_ref.map(Into::into),
        };
        let short = r#"[{"public_key":"V1","link_name":"default","contract_id":"a:b"}]"#;
        assert_eq!(providers(short), Some(vec![seen(None)]));
        let inventory = r#"[{"id":"V1","link_name":"default","image_ref":"r:1","revision":0}]"#;
        assert_eq!(providers(inventory), Some(vec![seen(Some("r:1"))]));
        assert_eq!(providers("[]"), Some(vec![]));
        let without_link = r#"[{"public_key":"V1"}]"#;
        let many = format!("[{}7]", "{\"id\":\"V1\",\"link_name\":\"a\"},".repeat(300));
        for unknown in ["null", "{}", "[7]", "[{}]", without_link, &many] {
            assert_eq!(providers(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn events_of_providers_are_read_and_those_of_other_things_show_the_host() {
        let event = |kind: &str| {
            let event = format!(
                r#"{{"type":"com.wasmcloud.lattice.{kind}","source":"N1","data":{{"public_key":"V1",
                    "link_name":"default","image_ref":"r:1","contract_id":"a:b"}}}}"#
            );
            read(event.as_bytes()).unwrap().news
        };
        let (key, link_name) = ("V1".to_owned(), "default".to_owned());
        let stopped = HostNews::ProviderStopped {
            key: key.clone(),
            link_name: link_name.clone(),
        };
        let image_ref = Some("r:1".to_owned());
        let seen = ProviderSeen {
            key,
            link_name,
            image_ref,
        };
        assert_eq!(event("provider_started"), HostNews::ProviderStarted(seen));
        assert_eq!(event("provider_stopped"), stopped);
        let failed = event("provider_start_failed");
        assert!(matches!(failed, HostNews::ProviderFailed { .. }));
        assert_eq!(event("linkdef_set"), HostNews::Other);
        for kind in ["provider_started", "provider_stopped"] {
            let event = format!(
                r#"{{"type":"com.wasmcloud.lattice.{kind}","source":"N1","data":{{"x":1}}}}"#
            );
            let news = read(event.as_bytes()).unwrap().news;
            assert_eq!(news, HostNews::ProvidersChanged, "{kind}");
        }
    }
}
