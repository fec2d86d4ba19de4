//! OTP hosts 0.54.0, 0.59.0, 0.60.0 and 0.63.2: for every request of their
//! transcripts, apart from those named here, the reply, how late it comes, and
//! the events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};

use super::transcripts::{Line, Real, Step, lines};
use super::{Outcome, ask_for};
use crate::support::host::lattice::{Artifact, SimLattice};
use crate::support::host::{Generation, SimHost};
use crate::support::nats::NatsServer;
use crate::support::time::scaled;
use crate::support::{eventually, fence};

/// The parts of transcripts that are not replayed, and why.
const NOT_REPLAYED: [(&str, &str); 2] = [
    (
        "two hosts in one lattice",
        "the replay has one host; see `of_two_hosts_…`",
    ),
    (
        "v1 subjects",
        "no simulated host listens there, which needs no test",
    ),
];

/// The requests that are not replayed, in every part or in this one, and why.
const LEFT_OUT: [(&str, &str, &str); 2] = [
    (
        "",
        "lp p5",
        "a provider that ends by itself is not simulated",
    ),
    (
        "registries",
        "registries.put {}",
        "the real 0.63.2 answered while it died of the request before; with its \
         simulation the death comes first",
    ),
];

/// Events that simulated hosts do not publish, because no command is judged by
/// them.
const UNSAID: [&str; 7] = [
    "linkdef_set",
    "linkdef_deleted",
    "health_check_passed",
    "health_check_failed",
    "health_check_status",
    "host_started",
    "host_heartbeat",
];

/// How many runs of a transcript are replayed: the first two. The others try
/// archives of this provider, other settings, a registry with a password, and
/// migrations, which are no commands.
const RUNS: usize = 2;

/// A value that the transcript names and does not show: a link without values.
const WITHOUT_VALUES: &str =
    r#"{"actor_id":"Mnv","contract_id":"kv:c","link_name":"default","provider_id":"Vkv"}"#;

/// How long the test waits to see silence, and for an answer.
const SILENCE: Duration = Duration::from_millis(150);
const ANSWER: Duration = Duration::from_secs(10);

fn scaled_ms(limit: u64) -> u64 {
    scaled(Duration::from_millis(limit)).as_millis() as u64
}

/// Returns the keys that stand for the names in a transcript.
fn names() -> BTreeMap<String, String> {
    let key = |letter: char, name: &str| {
        let key = format!("{letter}{name:A>55}").to_uppercase();
        assert_eq!(key.len(), 56);
        key
    };
    let actors = ["a", "b", "c"].map(|name| (name.to_owned(), key('M', name)));
    let providers = ["p1", "p2", "p3", "p4", "p5"].map(|name| (name.to_owned(), key('V', name)));
    let hosts = (1..13).map(|number| (format!("h{number}"), "{h}".to_owned()));
    actors.into_iter().chain(providers).chain(hosts).collect()
}

/// Fills the registry with what that of the transcripts had.
fn offer(sim: &SimLattice, names: &BTreeMap<String, String>) {
    let artifact = |key: &str, name: &str, revision, version: Option<&str>| Artifact {
        key: names[key].clone(),
        name: name.into(),
        revision,
        contract_id: String::new(),
        version: version.map(Into::into),
        call_alias: (key == "b").then(|| "ns/alias".into()),
    };
    for (image, artifact) in [
        ("a:1", artifact("a", "probe", 1, Some("0.1.0"))),
        ("a:2", artifact("a", "probe", 2, Some("0.2.0"))),
        ("a:3", artifact("a", "probe", 3, Some("0.3.0"))),
        ("b:1", artifact("b", "nover", 1, None)),
        ("c:1", artifact("c", "other", 1, Some("1.0.0"))),
    ] {
        let file = image.replace(':', "");
        sim.offer(&format!("127.0.0.1:15000/{image}"), Some(artifact.clone()));
        sim.offer(&format!("file:///srv/{file}.wasm"), Some(artifact));
    }
    sim.offer("127.0.0.1:15000/unsigned:1", None);
    sim.offer("file:///srv/unsigned.wasm", None);
    for (key, name, revision, version) in [
        ("p1", "prov good.py", 1, Some("0.1.0")),
        ("p2", "prov deaf.sh", 2, None),
        ("p4", "prov mute.py", 1, Some("0.1.0")),
    ] {
        let mut artifact = artifact(key, name, revision, version);
        artifact.contract_id = format!("wasmcloud:kv{}", &key[1..]);
        sim.offer(&format!("127.0.0.1:15000/{key}:1"), Some(artifact.clone()));
        sim.offer(&format!("file:///srv/{key}.par.gz"), Some(artifact));
    }
}

/// Members that differ from run to run or are written "as before".
const CHANGING: [&str; 11] = [
    "issuer",
    "iss",
    "cluster_issuers",
    "friendly_name",
    "instance_id",
    "labels",
    "lattice_prefix",
    "uptime_human",
    "uptime_seconds",
    "caps",
    "tags",
];

fn same_in_every_run(value: &Value) -> Value {
    super::without_values_of(&CHANGING, value)
}

/// Returns events in the form in which they are compared: sorted, without
/// claims and the words of errors, and with `host_stopped` once.
fn comparable(events: &[(String, Value)]) -> Vec<String> {
    let told = events
        .iter()
        .filter(|(name, _)| !UNSAID.contains(&name.as_str()));
    let mut told: Vec<String> = told
        .map(|(name, data)| {
            let mut data = same_in_every_run(data);
            for changing in ["claims", "error"] {
                if data.get(changing).is_some() {
                    data[changing] = json!("…");
                }
            }
            format!("{name} {data}")
        })
        .collect();
    told.sort();
    told.dedup_by(|a, b| a == b && a.starts_with("host_stopped"));
    told
}

/// A host under test, in the lattice of a run.
struct Run {
    client: Client,
    generation: Generation,
    sim: Arc<SimLattice>,
    host: SimHost,
    events: async_nats::Subscriber,
    /// The last replies to requests on a subject.
    last: BTreeMap<String, Value>,
}

impl Run {
    async fn start(client: &Client, generation: Generation, lattice: &str) -> Self {
        let sim = match generation.keeps_bucket() {
            true => SimLattice::with_bucket(client.clone(), lattice).await,
            false => SimLattice::without_bucket(client.clone(), lattice),
        };
        offer(&sim, &names());
        let sim = Arc::new(sim);
        let subject = format!("wasmbus.evt.{lattice}");
        Self {
            events: client.subscribe(subject).await.unwrap(),
            host: SimHost::start(&sim, generation, &[("zone", "eu")]).await,
            client: client.clone(),
            generation,
            sim,
            last: BTreeMap::new(),
        }
    }

    async fn restart(&mut self) {
        let host = SimHost::start(&self.sim, self.generation, &[("zone", "eu")]).await;
        let old = std::mem::replace(&mut self.host, host);
        old.meant_harm();
    }

    /// Returns what the host has published since the last time.
    async fn said(&mut self) -> Vec<(String, Value)> {
        let done = || async { self.host.caught_up().then_some(()) };
        eventually("the host to have done what it acknowledged", done).await;
        fence(&self.client).await;
        let mut said = Vec::new();
        while let Some(Some(message)) = self.events.next().now_or_never() {
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let name = event["type"].as_str().unwrap().rsplit('.').next().unwrap();
            said.push((name.to_owned(), event["data"].clone()));
        }
        said
    }

    async fn put_into_bucket(&self, step: &Step) {
        let mut headers = async_nats::HeaderMap::new();
        if let Some(operation) = &step.operation {
            headers.insert("KV-Operation", operation.as_str());
        }
        let body = step.body.clone().into();
        let context = async_nats::jetstream::new(self.client.clone());
        let ack = context.publish_with_headers(step.subject.clone(), headers, body);
        ack.await.unwrap().await.unwrap();
    }

    async fn replay(&mut self, step: &Step) {
        if step.subject.starts_with("$KV.") {
            return self.put_into_bucket(step).await;
        }
        // 0.54 waits also for a provider that does not listen.
        let deaf = self.generation == Generation::G1a && step.name.contains("(deaf)");
        if deaf || step.name.contains("(mute)") {
            self.host.mute_providers(true);
        }
        let subject = step.subject.replace("{h}", &self.host.id);
        let body = step.body.replace("{h}", &self.host.id);
        let real = match &step.outcome {
            Real::Told(outcome) => Some(outcome.clone()),
            Real::Shortened => None,
            Real::Again => Some(Outcome::Reply(self.last[&subject].clone())),
            Real::AgainWith(changed) => {
                let mut last = self.last[&subject].clone();
                let changed = changed.as_object().unwrap().clone();
                last.as_object_mut().unwrap().extend(changed);
                Some(Outcome::Reply(last))
            }
        };
        if let Some(Outcome::Reply(reply)) = &real {
            self.last.insert(subject.clone(), reply.clone());
        }
        let text = |value: &Value| value.to_string().replace("{h}", &self.host.id);
        let same = |told: &Outcome| match (told, &real) {
            (Outcome::Reply(told), Some(Outcome::Reply(real))) => {
                text(&same_in_every_run(told)) == text(&same_in_every_run(real))
            }
            (Outcome::Reply(_), None) => true,
            (told, real) => Some(told) == real.as_ref(),
        };
        let patience = match real {
            Some(Outcome::Silence) => SILENCE,
            _ => ANSWER,
        };
        let begun = Instant::now();
        let mut told = ask_for(&self.client, &subject, &body, patience).await;
        let took = begun.elapsed().as_millis() as u64;
        // An answer that depends on the bucket, or on the end of a host, takes
        // a moment to be right.
        let question = ["get.", "ping."].iter().any(|word| subject.contains(word));
        while question && !same(&told) && begun.elapsed() < scaled(Duration::from_secs(2)) {
            told = ask_for(&self.client, &subject, &body, patience).await;
        }
        let name = &step.name;
        assert!(same(&told), "{name}: {told:?}\nreal: {real:?}");
        self.host.mute_providers(false);
        // The answer comes half a second later where a subscription ends
        // (docs/hosts.md#stop-ends-call-subscription), still later where a
        // provider stops (docs/hosts.md#provider-stop-is-answered-late), and
        // else at once.
        if step.took > 250 {
            assert!(
                took > step.took - 60 && took < scaled_ms(step.took + 400),
                "{name}: {took} ms, real: {} ms",
                step.took
            );
        } else if !question && !matches!(real, Some(Outcome::Silence)) {
            assert!(
                took < scaled_ms(290),
                "{name}: {took} ms, real: {} ms",
                step.took
            );
        }
        let said = comparable(&self.said().await);
        let said: Vec<_> = said
            .iter()
            .map(|s| s.replace(&self.host.id, "{h}"))
            .collect();
        assert_eq!(said, comparable(&step.events), "events of {name}");
    }
}

async fn replay(generation: Generation, transcript: &str) {
    let nats = NatsServer::start();
    let client = nats.client().await;
    let mut run: Option<Run> = None;
    let (mut runs, mut skipped, mut steps) = (0, false, 0);
    let mut in_part = String::new();
    for line in lines(transcript, &names()) {
        match line {
            Line::Run(_) if runs == RUNS => break,
            Line::Run(text) => {
                let lattice = text.split("lattice ").nth(1).unwrap();
                let lattice = lattice.split(';').next().unwrap();
                if let Some(run) = run.replace(Run::start(&client, generation, lattice).await) {
                    run.host.meant_harm();
                }
                runs += 1;
                skipped = false;
            }
            Line::Part(part) => {
                skipped = NOT_REPLAYED.iter().any(|(name, _)| part == *name);
                if part == "link without values in KV" {
                    let run = run.as_ref().unwrap();
                    let key =
                        "LINKDEF_914020D1A1510427735E3F83709BA8AFE215237910830420FA62195ABE9A59FD";
                    run.sim.write(key, WITHOUT_VALUES.as_bytes()).await;
                }
                in_part = part;
            }
            Line::Restart if !skipped => run.as_mut().unwrap().restart().await,
            Line::Restart => {}
            Line::Step(step) => {
                let left_out = LEFT_OUT.iter().any(|(part, name, _)| {
                    (part.is_empty() || *part == in_part) && step.name.starts_with(name)
                });
                if !skipped && !left_out {
                    run.as_mut().unwrap().replay(&step).await;
                    steps += 1;
                }
            }
        }
    }
    run.unwrap().host.meant_harm();
    assert!(steps > 150, "{steps}");
}

#[tokio::test]
async fn a_simulated_0_54_does_what_the_real_one_did() {
    replay(Generation::G1a, "otp-0.54.0").await;
}

#[tokio::test]
async fn a_simulated_0_59_does_what_the_real_one_did() {
    replay(Generation::Otp59, "otp-0.59.0").await;
}

#[tokio::test]
async fn a_simulated_0_60_does_what_the_real_one_did() {
    replay(Generation::Otp60, "otp-0.60.0").await;
}

#[tokio::test]
async fn a_simulated_0_63_does_what_the_real_one_did() {
    replay(Generation::G1b, "otp-0.63.2").await;
}
