//! What runs after updates on Rust hosts: `tests/fixtures/real/updates-rust.txt`,
//! where an actor's answer is its revision.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Outcome, ask};
use crate::support::host::lattice::SimLattice;
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::{eventually, fixtures};

const KEY: &str = "MBK7MNL3FXSBTPMNLKMFEWOMUONM54UVXAHA6UI7ZO75YYDN2YRDYYAV";

/// Returns groups and references in the form of the transcript.
fn listed(inventory: &Value) -> (String, String) {
    let Some(actor) = inventory["actors"].as_array().unwrap().first() else {
        return ("{}".into(), "[]".into());
    };
    let mut groups: Vec<(Value, u64, String)> = Vec::new();
    for instance in actor["instances"].as_array().unwrap() {
        let max = instance
            .get("max_concurrent")
            .or(instance.get("max_instances"));
        let count = max.map_or(1, |max| max.as_u64().unwrap());
        let image = instance.get("image_ref").unwrap_or(&actor["image_ref"]);
        let image = image.as_str().unwrap().replace("file:///srv/tiny_", "");
        let annotations = &instance["annotations"];
        match groups.iter_mut().find(|(a, _, _)| a == annotations) {
            Some((_, all, _)) => *all += count,
            None => groups.push((annotations.clone(), count, image)),
        }
    }
    groups.sort_by_key(|(annotations, _, _)| annotations.as_object().unwrap().len());
    let written = |value: &Value| value.to_string().replace(':', ": ");
    let told = groups
        .iter()
        .map(|(a, n, _)| format!("{}: {n}", written(a)));
    let told: Vec<_> = told.collect();
    let images: Vec<_> = groups.iter().map(|(_, _, image)| image).collect();
    let images = json!(images).to_string().replace(',', ", ");
    (format!("{{{}}}", told.join(", ")), images)
}

/// Returns the revisions that answer calls.
fn answering(host: &SimHost) -> BTreeSet<String> {
    let runs = host.runs(KEY).into_iter().filter(|running| running.heard);
    runs.map(|running| format!("R{}", running.revision))
        .collect()
}

/// Returns the text of a transcript's line after this word, up to the next one.
fn part<'a>(line: &'a str, from: &str, to: &str) -> &'a str {
    let rest = line.split_once(from).unwrap().1;
    if to.is_empty() {
        rest
    } else {
        rest.split_once(to).unwrap().0
    }
}

async fn replay(generation: Generation) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let sim = SimLattice::with_bucket(client.clone(), "real").await;
    for revision in 1..6 {
        let image = format!("file:///srv/tiny_{revision}.wasm");
        sim.publish_actor_as(&image, KEY, "tiny", revision).await;
    }
    let host = SimHost::start(&Arc::new(sim), generation, &[]).await;
    let text = fixtures::text("real/updates-rust.txt");
    let mine = part(&text, &format!("## host {}\n", generation.version()), "");
    let mine = mine.split("\n## host").next().unwrap();
    let named = mine.replace("{key}", KEY).replace("{host}", &host.id);
    let (mut told, mut compared) = (Outcome::Silence, 0);
    for line in named.lines() {
        if let Some(real) = line.trim().strip_prefix("-> ") {
            let real: Value = serde_json::from_str(real).unwrap();
            assert_eq!(told, Outcome::Reply(real));
        } else if let Some(label) = line.strip_prefix("== ") {
            let done = || async { host.caught_up().then_some(()) };
            eventually("what was acknowledged", done).await;
            let subject = format!("wasmbus.ctl.real.get.{}.inv", host.id);
            let Outcome::Reply(inventory) = ask(&client, &subject, "").await else {
                panic!("{label}: no inventory");
            };
            let (groups, refs) = listed(&inventory);
            // Some labels contain the word.
            let state = part(label, ": groups ", "");
            assert_eq!(groups, state.split_once(" refs ").unwrap().0, "{label}");
            assert_eq!(refs, part(label, " refs ", " answers "), "{label}");
            let answers: Value = serde_json::from_str(part(label, " answers ", "")).unwrap();
            let answers = answers.as_object().unwrap().keys().cloned().collect();
            assert_eq!(answering(&host), answers, "{label}");
            compared += 1;
        } else if let Some((subject, body)) = line.split_once(' ') {
            told = ask(&client, subject, body).await;
        }
    }
    assert_eq!(compared, 13);
    // The transcript is about the old code, so this harm is meant.
    assert!(
        host.meant_harm()
            .is_some_and(|harm| harm.contains("docs/hosts.md#rust-hosts-keep-old-code"))
    );
}

#[tokio::test]
async fn the_code_that_runs_after_updates_is_that_of_a_real_0_78() {
    replay(Generation::G2a).await;
}

#[tokio::test]
async fn the_code_that_runs_after_updates_is_that_of_a_real_0_80() {
    replay(Generation::G2b).await;
}

#[tokio::test]
async fn the_code_that_runs_after_updates_is_that_of_a_real_0_82() {
    replay(Generation::G3b).await;
}
