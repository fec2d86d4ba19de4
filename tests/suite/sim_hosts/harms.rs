//! Commands harm simulated hosts exactly where they harm real ones.

use std::sync::Arc;
use std::time::Duration;

use super::{ask, ask_for};
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::{eventually, operator::PROVIDER};

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b, Otp51, Otp59, Otp60};

const OTP: &[Generation] = &[G1a, Otp59, Otp60, G1b];
const RUST: &[Generation] = &[G2a, G2b, G3a, G3b];
const MAXIMUM: &[Generation] = &[G2b, G3a, G3b];

/// Commands to a host. The test lets it finish each before the next, unless the
/// verb ends with `!`.
type Orders = &'static [(&'static str, &'static str)];

/// Gives commands to a host that can start `R1` and `R2`, which are revisions
/// of `KEY`, `OTHER`, and the provider `file:///p`. Returns the harm that they
/// did.
async fn harm(generation: Generation, orders: Orders) -> Option<&'static str> {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let sim = SimLattice::without_bucket(client.clone(), "default");
    sim.publish_actor_as("R1", "MKEY", "probe", 1).await;
    sim.publish_actor_as("R2", "MKEY", "probe", 2).await;
    sim.publish_actor_as("OTHER", "MOTHER", "other", 1).await;
    sim.publish_provider_as("file:///p", PROVIDER, "provider", "a:b")
        .await;
    let host = SimHost::start(&Arc::new(sim), generation, &[]).await;
    for (verb, body) in orders {
        let subject = match verb.trim_end_matches('!') {
            "registries" => "wasmbus.ctl.default.registries.put".into(),
            verb => format!("wasmbus.ctl.default.cmd.{}.{verb}", host.id),
        };
        // The latest answers come after half a second.
        ask_for(&client, &subject, body, Duration::from_secs(1)).await;
        if !verb.ends_with('!') {
            let done = || async { host.caught_up().then_some(()) };
            eventually("what was acknowledged", done).await;
        }
    }
    // A command that came right behind an acknowledgement is carried out now.
    host.runs("MKEY");
    host.meant_harm()
}

/// Two groups: `{}` with two instances and `{"a":"1"}` with two.
const TWO: [(&str, &str); 2] = [
    ("scale", r#"{"actor_id":"MKEY","actor_ref":"R1","count":2}"#),
    (
        "scale",
        r#"{"actor_id":"MKEY","actor_ref":"R1","count":2,"annotations":{"a":"1"}}"#,
    ),
];
const LA_TWO: [(&str, &str); 2] = [
    ("la", r#"{"actor_ref":"R1","count":2}"#),
    (
        "la",
        r#"{"actor_ref":"R1","count":2,"annotations":{"a":"1"}}"#,
    ),
];
const UPD: (&str, &str) = ("upd", r#"{"actor_id":"MKEY","new_actor_ref":"R2"}"#);
const STOP_ALL: (&str, &str) = ("sa", r#"{"actor_ref":"MKEY","count":0}"#);
const START_OLD: (&str, &str) = ("la", r#"{"actor_ref":"R1","count":1}"#);
const SCALE_NEW: (&str, &str) = ("scale", r#"{"actor_id":"MKEY","actor_ref":"R2","count":5}"#);

const HARMFUL: &[(&str, &[Generation], Orders)] = &[
    (
        "docs/hosts.md#unknown-registry-type-ends-otp-hosts",
        &[Otp59, Otp60, G1b],
        &[(
            "registries",
            r#"{"r":{"registryType":"","username":"a","password":"b"}}"#,
        )],
    ),
    (
        "docs/hosts.md#too-large-stop-ends-control",
        &[G2a],
        &[LA_TWO[0], ("sa", r#"{"actor_ref":"MKEY","count":3}"#)],
    ),
    (
        "docs/hosts.md#too-large-stop-ends-control",
        &[G2a],
        &[
            LA_TWO[0],
            LA_TWO[1],
            ("scale", r#"{"actor_id":"MKEY","actor_ref":"R1","count":1}"#),
        ],
    ),
    (
        "docs/hosts.md#unmatched-stop-loses-actor",
        MAXIMUM,
        &[
            TWO[0],
            ("sa", r#"{"actor_ref":"MKEY","annotations":{"zz":"1"}}"#),
        ],
    ),
    (
        "docs/hosts.md#partial-stop-loses-others",
        MAXIMUM,
        &[
            TWO[0],
            TWO[1],
            ("sa", r#"{"actor_ref":"MKEY","annotations":{"a":"1"}}"#),
        ],
    ),
    (
        "docs/hosts.md#stop-ends-call-subscription",
        &[Otp59, Otp60, G1b],
        &[
            LA_TWO[0],
            LA_TWO[1],
            (
                "sa",
                r#"{"actor_ref":"MKEY","count":0,"annotations":{"a":"1"}}"#,
            ),
        ],
    ),
    // A stop that matches nothing counts as one that leaves none.
    (
        "docs/hosts.md#stop-ends-call-subscription",
        &[Otp59],
        &[
            LA_TWO[0],
            (
                "sa",
                r#"{"actor_ref":"MKEY","count":1,"annotations":{"zz":"1"}}"#,
            ),
        ],
    ),
    // The stop reaches the last instance, and the first two do not match.
    (
        "docs/hosts.md#stop-ends-call-subscription",
        &[Otp60, G1b],
        &[
            LA_TWO[0],
            LA_TWO[1],
            (
                "sa",
                r#"{"actor_ref":"MKEY","count":4,"annotations":{"a":"1"}}"#,
            ),
        ],
    ),
    (
        "docs/hosts.md#start-during-stop-is-unheard",
        &[Otp59, Otp60, G1b],
        &[
            LA_TWO[0],
            ("scale", r#"{"actor_id":"MKEY","actor_ref":"R1","count":0}"#),
            START_OLD,
        ],
    ),
    // A harm that a later command repairs is still one.
    (
        "docs/hosts.md#start-during-stop-is-unheard",
        &[G1b],
        &[
            LA_TWO[0],
            (
                "scale!",
                r#"{"actor_id":"MKEY","actor_ref":"R1","count":0}"#,
            ),
            ("la!", r#"{"actor_ref":"R1","count":1}"#),
            START_OLD,
        ],
    ),
    (
        "docs/hosts.md#rust-hosts-keep-old-code",
        MAXIMUM,
        &[TWO[0], UPD, SCALE_NEW],
    ),
    // A new group after an update of the only one.
    (
        "docs/hosts.md#rust-hosts-keep-old-code",
        MAXIMUM,
        &[
            TWO[0],
            UPD,
            (
                "scale",
                r#"{"actor_ref":"R2","count":1,"annotations":{"b":"1"}}"#,
            ),
        ],
    ),
    // A new group of a new reference, without any update.
    (
        "docs/hosts.md#rust-hosts-keep-old-code",
        MAXIMUM,
        &[
            TWO[0],
            (
                "scale",
                r#"{"actor_ref":"R2","count":1,"annotations":{"b":"1"}}"#,
            ),
        ],
    ),
    (
        "docs/hosts.md#rust-hosts-keep-old-code",
        &[G2a],
        &[TWO[0], UPD, START_OLD],
    ),
    (
        "docs/hosts.md#otp-lists-old-reference-after-update",
        &[Otp59, Otp60, G1b],
        &[LA_TWO[0], UPD, START_OLD],
    ),
    (
        "docs/hosts.md#update-overtakes-scale",
        MAXIMUM,
        &[TWO[0], ("scale!", r#"{"actor_ref":"R1","count":5}"#), UPD],
    ),
    (
        "docs/hosts.md#odd-annotations-poison-an-actor",
        &[Otp59, Otp60, G1b],
        &[("la", r#"{"actor_ref":"R1","count":1,"annotations":"x"}"#)],
    ),
    (
        "docs/hosts.md#counts-are-not-checked-on-otp",
        OTP,
        &[("la", r#"{"actor_ref":"R1","count":-1}"#)],
    ),
    (
        "docs/hosts.md#counts-are-not-checked-on-otp",
        OTP,
        &[
            LA_TWO[0],
            (
                "scale",
                r#"{"actor_id":"MKEY","actor_ref":"R1","count":-1}"#,
            ),
        ],
    ),
    (
        "docs/hosts.md#scale-starts-the-references-actor",
        OTP,
        &[
            LA_TWO[0],
            (
                "scale",
                r#"{"actor_id":"MKEY","actor_ref":"OTHER","count":3}"#,
            ),
        ],
    ),
    (
        "docs/hosts.md#old-hosts-take-other-commands",
        &[Otp51],
        &[("la", r#"{"actor_ref":"R1","count":3}"#)],
    ),
    (
        "docs/hosts.md#null-credentials-break-downloads",
        &[Otp59, Otp60, G1b],
        &[(
            "registries",
            r#"{"r":{"registryType":"oci","username":null,"password":null}}"#,
        )],
    ),
    (
        "docs/hosts.md#otp-drops-configuration-from-files",
        OTP,
        &[(
            "lp",
            r#"{"provider_ref":"file:///p","link_name":"default","configuration":"{}"}"#,
        )],
    ),
];

const HARMLESS: &[(&str, &[Generation], Orders)] = &[
    ("a stop of everything", RUST, &[TWO[0], TWO[1], STOP_ALL]),
    (
        "a stop of everything",
        OTP,
        &[LA_TWO[0], LA_TWO[1], STOP_ALL],
    ),
    (
        "a scale to 0 of one group",
        MAXIMUM,
        &[
            TWO[0],
            TWO[1],
            (
                "scale",
                r#"{"actor_ref":"R1","count":0,"annotations":{"a":"1"}}"#,
            ),
        ],
    ),
    (
        "an update, a stop of the whole actor, and its start anew",
        RUST,
        &[TWO[0], TWO[1], UPD, ("sa!", STOP_ALL.1), SCALE_NEW],
    ),
    (
        "a start after the stop was acknowledged late",
        &[Otp59, Otp60, G1b],
        &[LA_TWO[0], ("sa!", STOP_ALL.1), START_OLD],
    ),
    (
        "a scale to a smaller number",
        OTP,
        &[
            LA_TWO[0],
            LA_TWO[1],
            ("scale", r#"{"actor_id":"MKEY","actor_ref":"R1","count":1}"#),
        ],
    ),
    (
        "a refused start of another reference",
        OTP,
        &[LA_TWO[0], ("la", r#"{"actor_ref":"R2","count":1}"#)],
    ),
    (
        "credentials with a token only",
        OTP,
        &[("registries", r#"{"r":{"registryType":"oci","token":"t"}}"#)],
    ),
];

#[tokio::test]
async fn what_harms_real_hosts_harms_simulated_ones() {
    for (trap, generations, orders) in HARMFUL {
        for generation in *generations {
            let harm = harm(*generation, orders).await;
            assert!(harm.is_some(), "{trap} {generation:?} {orders:?}");
        }
    }
}

#[tokio::test]
async fn what_is_right_harms_no_simulated_host() {
    for (what, generations, orders) in HARMLESS {
        for generation in *generations {
            let harm = harm(*generation, orders).await;
            assert_eq!(harm, None, "{what} {generation:?} {orders:?}");
        }
    }
}

#[tokio::test]
#[should_panic = "nobody hears their calls"]
async fn harm_that_was_not_meant_fails_the_test() {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let sim = SimLattice::without_bucket(client.clone(), "default");
    sim.publish_actor_as("R1", "MKEY", "probe", 1).await;
    let host = SimHost::start(&Arc::new(sim), G1b, &[]).await;
    for (verb, body) in [
        ("la", r#"{"actor_ref":"R1","count":2}"#),
        (
            "sa",
            r#"{"actor_ref":"MKEY","count":0,"annotations":{"zz":"1"}}"#,
        ),
    ] {
        let subject = format!("wasmbus.ctl.default.cmd.{}.{verb}", host.id);
        ask(&client, &subject, body).await;
        host.runs("MKEY");
    }
}
