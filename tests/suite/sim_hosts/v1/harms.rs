//! Orders harm simulated hosts exactly where they harm real ones.

use super::Run;
use crate::support::host_v1::Version;

use Version::{V100, V101, V110, V130, V150, V151, V160, V192};

/// Requests to a host: subject and body.
type Orders = &'static [(&'static str, &'static str)];

const SCALE: &str = "component.scale.{h}";
const CONFIG: (&str, &str) = ("config.put.cc", r#"{"k":"v"}"#);
const START: (&str, &str) = (
    SCALE,
    r#"{"component_ref":"reg/shop:1","component_id":"shop","count":1,"annotations":{"a":"1"},"config":["cc"],"host_id":"{h}"}"#,
);
const START_KV: (&str, &str) = (
    "provider.start.{h}",
    r#"{"provider_id":"kv","provider_ref":"file:///srv/kv.par","config":["cc"],"host_id":"{h}"}"#,
);
const LINK: (&str, &str) = (
    "link.put",
    r#"{"source_id":"shop","target":"kv","wit_namespace":"wasi","wit_package":"keyvalue","interfaces":["store"],"target_config":["cc"]}"#,
);
const STOP: (&str, &str) = (
    SCALE,
    r#"{"component_ref":"reg/shop:1","component_id":"shop","count":0,"host_id":"{h}"}"#,
);
const NEW: (&str, &str) = (
    SCALE,
    r#"{"component_ref":"reg/shop:2","component_id":"shop","count":1,"annotations":{"a":"1"},"config":["cc"],"host_id":"{h}"}"#,
);

/// What harms hosts of these versions, the words of the harm, and the last
/// order.
const HARMFUL: &[(&str, &[Version], Orders)] = &[
    (
        "took the component's configuration away",
        &Version::ALL,
        &[
            CONFIG,
            START,
            (
                SCALE,
                r#"{"component_ref":"reg/shop:1","component_id":"shop","count":1,"annotations":{"a":"1"},"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "took annotations away",
        &Version::ALL,
        &[
            CONFIG,
            START,
            (
                SCALE,
                r#"{"component_ref":"reg/shop:1","component_id":"shop","count":2,"config":["cc"],"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "took annotations away",
        &Version::ALL,
        &[
            CONFIG,
            START,
            (
                "component.update.{h}",
                r#"{"component_id":"shop","new_component_ref":"reg/shop:2","host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "took the component's limits away",
        &[V192],
        &[
            (
                SCALE,
                r#"{"component_ref":"reg/shop:1","component_id":"shop","count":1,"component_limits":{"max_memory_limit":"1000"},"host_id":"{h}"}"#,
            ),
            (
                SCALE,
                r#"{"component_ref":"reg/shop:1","component_id":"shop","count":2,"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "whose code does not run",
        &Version::ALL,
        &[
            CONFIG,
            START,
            (
                SCALE,
                r#"{"component_ref":"reg/shop:2","component_id":"shop","count":2,"annotations":{"a":"1"},"config":["cc"],"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "left the old code running",
        &[V101, V110, V130, V150, V151, V160, V192],
        &[
            CONFIG,
            START,
            (
                "component.update.{h}",
                r#"{"component_id":"shop","new_component_ref":"reg/shop:2","annotations":{"a":"1"},"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "names another host",
        &[V160, V192],
        &[(
            SCALE,
            r#"{"component_ref":"reg/shop:1","component_id":"shop","count":1}"#,
        )],
    ),
    (
        "without its shutdown",
        &[V160, V192],
        &[
            CONFIG,
            START_KV,
            (
                "provider.stop.{h}",
                r#"{"provider_id":"kv","host_id":"NX"}"#,
            ),
        ],
    ),
    (
        "that something runs with",
        &Version::ALL,
        &[CONFIG, START_KV, ("config.del.cc", "")],
    ),
    (
        "took the calls of the first one",
        &[V100, V101, V110],
        &[
            CONFIG,
            LINK,
            (
                "link.put",
                r#"{"source_id":"shop","target":"other","wit_namespace":"wasi","wit_package":"keyvalue","interfaces":["store"]}"#,
            ),
        ],
    ),
];

const HARMLESS: &[(&str, &[Version], Orders)] = &[
    (
        "a scale that sends everything again",
        &Version::ALL,
        &[
            CONFIG,
            START,
            (
                SCALE,
                r#"{"component_ref":"reg/shop:1","component_id":"shop","count":5,"annotations":{"a":"1"},"config":["cc"],"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "a scale to the same count, which keeps annotations",
        &Version::ALL,
        &[
            CONFIG,
            START,
            (
                SCALE,
                r#"{"component_ref":"reg/shop:1","component_id":"shop","count":1,"config":["cc"],"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "a stop, and a start with new code",
        &Version::ALL,
        &[CONFIG, START, STOP, NEW],
    ),
    (
        "an update where it replaces code",
        &[V100],
        &[
            CONFIG,
            START,
            (
                "component.update.{h}",
                r#"{"component_id":"shop","new_component_ref":"reg/shop:2","annotations":{"a":"1"},"host_id":"{h}"}"#,
            ),
        ],
    ),
    (
        "an order without a host where only the subject counts",
        &[V100, V101, V110, V130, V150, V151],
        &[(
            SCALE,
            r#"{"component_ref":"reg/shop:1","component_id":"shop","count":1}"#,
        )],
    ),
    (
        "the end of a provider, and then of its config",
        &Version::ALL,
        &[
            CONFIG,
            START_KV,
            (
                "provider.stop.{h}",
                r#"{"provider_id":"kv","host_id":"{h}"}"#,
            ),
            ("config.del.cc", ""),
        ],
    ),
];

/// Gives these orders to a host, and returns the harm that they did.
async fn harm(version: Version, orders: Orders) -> Option<&'static str> {
    let run = Run::start(version).await;
    let (last, before) = orders.split_last().unwrap();
    for (subject, body) in before {
        run.told(subject, body).await.unwrap();
        assert_eq!(run.host.harm(), None, "{version:?} {subject} {body}");
    }
    let _ = run.told(last.0, last.1).await;
    run.host.meant_harm()
}

#[tokio::test]
async fn what_harms_real_1_x_hosts_harms_simulated_ones() {
    for (words, versions, orders) in HARMFUL {
        for version in *versions {
            let harm = harm(*version, orders).await;
            assert!(
                harm.is_some_and(|harm| harm.contains(words)),
                "{words} {version:?}: {harm:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_right_harms_no_simulated_1_x_host() {
    for (what, versions, orders) in HARMLESS {
        for version in *versions {
            assert_eq!(harm(*version, orders).await, None, "{what} {version:?}");
        }
    }
}

#[tokio::test]
#[should_panic = "took annotations away that it did not name; messages until then:"]
async fn harm_to_a_1_x_host_that_was_not_meant_fails_the_test() {
    let run = Run::start(V192).await;
    let start = START.1.replace("[\"cc\"]", "[]");
    run.told(SCALE, &start).await.unwrap();
    let more = start.replace("\"count\":1", "\"count\":2");
    let more = more.replace("{\"a\":\"1\"}", "{}");
    run.told(SCALE, &more).await.unwrap();
}
