//! Events that hosts of 1.x publish, as far as they say who is there, what runs, and what
//! came of orders.
//!
//! Hosts 0.81 and 0.82 publish theirs on these subjects, too, a second time. What such an
//! event has that is another thing in 1.x is passed over.

use serde::Deserialize;

use crate::error::cut;
use crate::lattice::dialect::event::{Envelope, data};
use crate::lattice::dialect::v1::ids::DEFAULT_LINK_NAME;
use crate::lattice::dialect::v1::inventory::LINK_NAME;
use crate::lattice::model::lenient::{
    optional_text, optional_text_map, text_map, text_or_empty, whole_list,
};
use crate::lattice::model::{HostEvent, HostNews, ProviderSeen, TextMap};

/// What a heartbeat says: the inventory of the host.
#[derive(Deserialize)]
struct Beat {
    #[serde(default, deserialize_with = "optional_text")]
    version: Option<String>,
    #[serde(default, deserialize_with = "whole_list")]
    providers: Option<Vec<Listed>>,
}

/// A provider in a heartbeat.
#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default, deserialize_with = "optional_text")]
    image_ref: Option<String>,
    #[serde(default, deserialize_with = "text_map")]
    annotations: TextMap,
    #[serde(default, deserialize_with = "optional_text")]
    link_name: Option<String>,
}

/// What an event says of a component.
#[derive(Deserialize)]
struct Component {
    component_id: String,
    #[serde(default, deserialize_with = "text_or_empty")]
    image_ref: String,
    max_instances: u32,
    #[serde(default, deserialize_with = "text_map")]
    annotations: TextMap,
    #[serde(default, deserialize_with = "optional_text")]
    public_key: Option<String>,
    #[serde(default, deserialize_with = "text_or_empty")]
    error: String,
}

/// What an event says of a provider. Its `public_key` is the id once more.
#[derive(Deserialize)]
struct Provider {
    provider_id: String,
    #[serde(default, deserialize_with = "optional_text")]
    image_ref: Option<String>,
    #[serde(default, deserialize_with = "optional_text")]
    provider_ref: Option<String>,
    #[serde(default, deserialize_with = "optional_text_map")]
    annotations: Option<TextMap>,
    #[serde(default, deserialize_with = "optional_text")]
    link_name: Option<String>,
    #[serde(default, deserialize_with = "text_or_empty")]
    error: String,
}

/// Returns the link name of a provider: hosts say the default of every one, and what we
/// start under another has it in an annotation.
fn link_name(annotations: &TextMap, said: Option<String>) -> String {
    let kept = annotations.get(LINK_NAME).cloned();
    kept.or(said)
        .unwrap_or_else(|| DEFAULT_LINK_NAME.to_owned())
}

impl From<Listed> for ProviderSeen {
    fn from(listed: Listed) -> Self {
        Self {
            key: listed.id,
            link_name: link_name(&listed.annotations, listed.link_name),
            image_ref: listed.image_ref,
        }
    }
}

impl From<Provider> for ProviderSeen {
    fn from(said: Provider) -> Self {
        Self {
            key: said.provider_id,
            link_name: link_name(&said.annotations.unwrap_or_default(), said.link_name),
            image_ref: said.image_ref.or(said.provider_ref),
        }
    }
}

/// Reads an event of a host. Returns `None` for what is no event.
pub fn read(payload: &[u8]) -> Option<HostEvent> {
    let envelope = Envelope::read(payload)?;
    let news = match envelope.kind()? {
        "host_heartbeat" => {
            let Beat { version, providers } = data(payload)?;
            HostNews::Beats {
                version,
                providers: providers.map(|all| all.into_iter().map(Into::into).collect()),
            }
        }
        "host_started" => HostNews::Started,
        "host_stopped" => HostNews::Stopped,
        "component_scaled" => {
            component(payload).map_or(HostNews::Other, |said| HostNews::ComponentScaled {
                id: said.component_id,
                image_ref: said.image_ref,
                maximum: said.max_instances,
                annotations: said.annotations,
                // That of a stop is the key of the image that the order names, whatever ran
                // (docs/hosts.md#event-tells-of-the-order).
                public_key: said.public_key.filter(|_| said.max_instances > 0),
            })
        }
        "component_scale_failed" => {
            component(payload).map_or(HostNews::Other, |said| HostNews::ComponentFailed {
                id: said.component_id,
                image_ref: said.image_ref,
                maximum: said.max_instances,
                annotations: said.annotations,
                reason: cut(&said.error),
            })
        }
        "provider_started" => provider(payload).map_or(HostNews::Other, |said| {
            HostNews::ProviderStarted(said.into())
        }),
        "provider_stopped" => provider(payload).map_or(HostNews::Other, |said| {
            let ProviderSeen { key, link_name, .. } = said.into();
            HostNews::ProviderStopped { key, link_name }
        }),
        "provider_start_failed" => {
            provider(payload).map_or(HostNews::Other, |said| HostNews::ProviderFailed {
                reason: cut(&said.error),
                key: Some(said.provider_id),
                image_ref: said.provider_ref,
            })
        }
        _ => HostNews::Other,
    };
    Some(HostEvent {
        host: envelope.host(),
        news,
    })
}

fn component(payload: &[u8]) -> Option<Component> {
    data(payload)
}

fn provider(payload: &[u8]) -> Option<Provider> {
    data(payload)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lattice::dialect::v1::transcripts::events;

    fn event(kind: &str, data: &str) -> Option<HostNews> {
        let text =
            format!(r#"{{"type":"com.wasmcloud.lattice.{kind}","source":"N1","data":{data}}}"#);
        let event = read(text.as_bytes())?;
        assert_eq!(event.host, "N1");
        Some(event.news)
    }

    #[test]
    fn events_of_real_hosts_are_read() {
        let mut failed = Vec::new();
        let mut seen = [0; 6];
        for (kind, data) in events() {
            let news = event(&kind, &data).unwrap();
            let of_interest = match &news {
                HostNews::ComponentScaled { id, .. } => !id.is_empty() as usize,
                HostNews::ComponentFailed { id, maximum, .. } => {
                    failed.push((id.clone(), *maximum));
                    1
                }
                HostNews::ProviderStarted(said) => {
                    assert_eq!(
                        (said.key.as_str(), said.link_name.as_str()),
                        ("lc", "default")
                    );
                    2
                }
                HostNews::ProviderStopped { key, .. } => {
                    assert_eq!(key, "lc");
                    3
                }
                HostNews::ProviderFailed {
                    key,
                    image_ref,
                    reason,
                } => {
                    assert!(key.is_some() && image_ref.is_some() && !reason.is_empty());
                    4
                }
                HostNews::Started | HostNews::Stopped | HostNews::Beats { .. } => 5,
                _ => continue,
            };
            seen[of_interest] += 1;
        }
        assert!(failed.contains(&("c2".into(), 1)), "{failed:?}");
        assert!(seen[1..].iter().all(|count| *count > 0), "{seen:?}");
    }

    #[test]
    fn what_came_of_a_scale_is_read() {
        let said = r#"{"component_id":"shop","image_ref":"r:1","max_instances":3,
            "annotations":{"a":"b"},"host_id":"","public_key":"M1","error":"no"}"#;
        let annotations = TextMap::from([("a".into(), "b".into())]);
        let scaled = HostNews::ComponentScaled {
            id: "shop".into(),
            image_ref: "r:1".into(),
            maximum: 3,
            annotations: annotations.clone(),
            public_key: Some("M1".into()),
        };
        assert_eq!(event("component_scaled", said), Some(scaled));
        let stopped = event("component_scaled", &said.replace("3", "0"));
        let Some(HostNews::ComponentScaled { public_key, .. }) = stopped else {
            panic!("{stopped:?}");
        };
        assert_eq!(public_key, None);
        let failed = HostNews::ComponentFailed {
            id: "shop".into(),
            image_ref: "r:1".into(),
            maximum: 3,
            annotations,
            reason: "no".into(),
        };
        assert_eq!(event("component_scale_failed", said), Some(failed));
        let other = event("component_scaled", r#"{"component_id":7}"#);
        assert_eq!(other, Some(HostNews::Other));
    }

    #[test]
    fn providers_are_known_by_id_and_by_the_link_name_that_we_gave() {
        let seen = |key: &str, link_name: &str, image_ref: &str| ProviderSeen {
            key: key.into(),
            link_name: link_name.into(),
            image_ref: Some(image_ref.into()),
        };
        let ours = r#""annotations":{"lattice-controller/link-name":"a.b"}"#;
        let started = format!(
            r#"{{"provider_id":"kv-a_b","image_ref":"/srv/kv","link_name":"default",{ours}}}"#
        );
        let news = event("provider_started", &started);
        let ours_seen = seen("kv-a_b", "a.b", "/srv/kv");
        assert_eq!(news, Some(HostNews::ProviderStarted(ours_seen.clone())));
        let beat = format!(
            r#"{{"version":"1.9.2","components":[],"providers":[
                {{"id":"kv-a_b","image_ref":"/srv/kv",{ours}}},
                {{"id":"kv","image_ref":"r","annotations":{{}}}}]}}"#
        );
        let beats = HostNews::Beats {
            version: Some("1.9.2".into()),
            providers: Some(vec![ours_seen, seen("kv", "default", "r")]),
        };
        assert_eq!(event("host_heartbeat", &beat), Some(beats));
        let unread = event("host_heartbeat", r#"{"version":"1.9.2","providers":[7]}"#);
        let beats = HostNews::Beats {
            version: Some("1.9.2".into()),
            providers: None,
        };
        assert_eq!(unread, Some(beats));
    }

    #[test]
    fn events_of_0x_hosts_only_show_the_host() {
        let old = r#"{"public_key":"V1","link_name":"default","contract_id":"a:b"}"#;
        assert_eq!(event("provider_started", old), Some(HostNews::Other));
        assert_eq!(event("actor_scaled", old), Some(HostNews::Other));
        assert_eq!(
            read(br#"{"type":"host_stopped","source":"N1","data":{}}"#),
            None
        );
        assert_eq!(read(b""), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_as_an_event_is_read_or_passed_over(
            kind in "(host_heartbeat|component_scaled|provider_started|provider_start_failed)",
            data in "[\\[\\]{}:,\"a-z0-9 ]{0,60}",
        ) {
            let _ = event(&kind, &data);
            let _ = read(data.as_bytes());
        }
    }
}
