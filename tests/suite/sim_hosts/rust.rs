//! Rust hosts 0.78.0, 0.80.0 and 0.82.0: every reply of their transcripts.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Outcome, ask};
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::time::scaled;
use crate::support::{self, eventually};

use Generation::{G2a, G2b, G3b};

const PROBE: &str = "MBK7MNL3FXSBTPMNLKMFEWOMUONM54UVXAHA6UI7ZO75YYDN2YRDYYAV";

/// A request of a transcript, and what the real host did.
struct Step {
    name: String,
    body: String,
    outcome: Outcome,
}

fn steps(transcript: &str) -> Vec<Step> {
    let text = support::fixtures::text(&format!("real/{transcript}.txt"));
    let lines: Vec<&str> = text.lines().collect();
    lines
        .windows(2)
        .filter_map(|pair| {
            let (name, body) = pair[0].split_once(" <- ")?;
            let (_, outcome) = pair[1].trim().strip_prefix("=> [")?.split_once("] ")?;
            let outcome = match outcome {
                silence if silence.starts_with("TIMEOUT") => Outcome::Silence,
                error if error.starts_with("ERR no responders") => Outcome::NoResponders,
                reply => {
                    let json = reply.rsplit_once(" headers=").unwrap().0;
                    Outcome::Reply(serde_json::from_str(json).unwrap())
                }
            };
            Some(Step {
                name: name.into(),
                body: body.trim().into(),
                outcome,
            })
        })
        .collect()
}

/// Returns the subject of the step with this name.
fn subject(step: &str, host: &str) -> String {
    let word = step.split_whitespace().next().unwrap();
    let rest = match word {
        "inv" => format!("get.{host}.inv"),
        "ping" => "ping.hosts".into(),
        "claims" | "links" => format!("get.{word}"),
        "registries" => "registries.put".into(),
        "la" | "scale" | "sa" | "upd" | "lp" | "sp" | "stop" | "bogus" => {
            format!("cmd.{host}.{word}")
        }
        word => word.to_owned(),
    };
    format!("wasmbus.ctl.real.{rest}")
}

/// Members that differ from run to run: keys, ids, times.
const CHANGING: [&str; 19] = [
    "issuer",
    "iss",
    "cluster_issuers",
    "friendly_name",
    "instance_id",
    "host_id",
    "id",
    "labels",
    "lattice",
    "lattice_prefix",
    "ctl_host",
    "rpc_host",
    "prov_rpc_host",
    "uptime_human",
    "uptime_seconds",
    "caps",
    "capabilities",
    "tags",
    "contract_id",
];

fn same_in_every_run(reply: &Value) -> Value {
    super::without_values_of(&CHANGING, reply)
}

async fn replay(generation: Generation, transcript: &str) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let mut sim = SimLattice::with_bucket(client.clone(), "real").await;
    if generation.is_g3() {
        sim = sim.with_new_claims();
    }
    sim.publish_actor_as("file:///srv/a1.wasm", PROBE, "probe", 1)
        .await;
    let sim = Arc::new(sim);
    let host = SimHost::start(&sim, generation, &[]).await;
    let steps = steps(transcript);
    assert!(steps.len() > 35, "{}", steps.len());
    for step in steps {
        if step.name == "links after PURGE" {
            let link: Value = sim.bucket_links().into_values().next().unwrap();
            sim.remove_link(&link, "PURGE", true).await;
        }
        let mut told = ask(&client, &subject(&step.name, &host.id), &step.body).await;
        // In the transcript, the next step came when this one was done.
        let done = || async { host.caught_up().then_some(()) };
        eventually("what was acknowledged", done).await;
        // An answer that depends on the bucket, or on a crash, takes a moment
        // to be right.
        let in_time = step.name.starts_with("links") || step.name.starts_with("ping");
        let until = tokio::time::Instant::now() + scaled(Duration::from_secs(2));
        let same = |told: &Outcome| match (told, &step.outcome) {
            (Outcome::Reply(told), Outcome::Reply(real)) => {
                same_in_every_run(told) == same_in_every_run(real)
            }
            (told, real) => told == real,
        };
        while in_time && !same(&told) && tokio::time::Instant::now() < until {
            told = ask(&client, &subject(&step.name, &host.id), &step.body).await;
        }
        assert!(
            same(&told),
            "{}: {told:?}\nreal: {:?}",
            step.name,
            step.outcome
        );
    }
    // The transcripts do harm on purpose.
    assert!(host.meant_harm().is_some());
}

#[tokio::test]
async fn a_simulated_0_78_answers_as_the_real_one() {
    replay(G2a, "host-0.78").await;
}

#[tokio::test]
async fn a_simulated_0_80_answers_as_the_real_one() {
    replay(G2b, "host-0.80").await;
}

#[tokio::test]
async fn a_simulated_0_82_answers_as_the_real_one() {
    replay(G3b, "host-0.82").await;
}
