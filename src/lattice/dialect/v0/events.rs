//! Events that hosts publish, as far as they say who is there and what came of
//! starts: CloudEvents of types `com.wasmcloud.lattice.…`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::error::cut;
use crate::lattice::model::lenient::{optional_text, optional_text_map, parse};
use crate::lattice::model::{HostEvent, HostNews, TextMap};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Heartbeat {
    data: HeartbeatData,
}

#[derive(Deserialize)]
struct HeartbeatData {
    #[serde(default, deserialize_with = "optional_text")]
    version: Option<String>,
}

#[derive(Deserialize)]
struct OfActor {
    data: OfActorData,
}

/// Members of events about actors; each kind of event has some of them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct OfActorData {
    #[serde(deserialize_with = "optional_text")]
    public_key: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    image_ref: Option<String>,
    #[serde(deserialize_with = "optional_text")]
    actor_ref: Option<String>,
    #[serde(deserialize_with = "optional_text_map")]
    annotations: Option<TextMap>,
    #[serde(deserialize_with = "optional_text")]
    error: Option<String>,
}

/// Reads an event. Returns `None` for what is no event, and for events about providers
/// and links, which come on the same subject.
pub fn read(payload: &[u8]) -> Option<HostEvent> {
    let envelope: Envelope<'_> = parse(payload).ok()?;
    let of_actor = || parse::<OfActor>(payload).ok().map(|event| event.data);
    let news = match envelope.kind.strip_prefix("com.wasmcloud.lattice.")? {
        "host_heartbeat" => HostNews::Beats {
            version: parse::<Heartbeat>(payload).ok()?.data.version,
        },
        "host_started" => HostNews::Started,
        "host_stopped" => HostNews::Stopped,
        // `actor_scaled` names the reference of what was stopped, too.
        "actor_started" | "actors_started" => {
            let data = of_actor()?;
            HostNews::ActorStarted {
                key: data.public_key?,
                image_ref: data.image_ref?,
                annotations: data.annotations,
            }
        }
        "actor_start_failed" | "actors_start_failed" | "actor_scale_failed" => {
            let data = of_actor()?;
            HostNews::ActorFailed {
                image_ref: data.image_ref.or(data.actor_ref)?,
                annotations: data.annotations,
                reason: cut(&data.error.unwrap_or_default()),
            }
        }
        _ => return None,
    };
    Some(HostEvent {
        host: envelope.source.into_owned(),
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
            br#"{"type":"com.wasmcloud.lattice.linkdef_set","source":"n/a","data":{}}"#,
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
        let news = HostNews::Beats { version: None };
        let host = "N1".to_owned();
        assert_eq!(event, Some(HostEvent { host, news }));
    }
}
