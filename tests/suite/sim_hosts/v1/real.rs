//! Every request of the transcripts of 1.0.0 and 1.9.2 apart from those named
//! here: the answers, the events, the entries of buckets, and which code
//! answered calls.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::transcripts::{Line, Step, lines, subject};
use super::{Run, artifact};
use crate::support::host::{Generation, SimHost};
use crate::support::host_v1::Version;
use crate::support::time::scaled;

use super::super::{Outcome, ask, without_values_of};

/// Events that simulated hosts do not publish, and those that come by the clock.
const UNSAID: [&str; 5] = [
    "health_check_passed",
    "health_check_failed",
    "health_check_status",
    "host_heartbeat",
    "host_started",
];

/// Members that differ from run to run, and the words of errors.
const CHANGING: [&str; 7] = [
    "friendly_name",
    "lattice",
    "ctl_host",
    "rpc_host",
    "uptime_human",
    "uptime_seconds",
    "error",
];

/// How long the test waits to see silence.
const SILENCE: Duration = Duration::from_millis(150);
/// A provider in the transcripts, and who signed it.
const SIGNED: &str = "VAMLKEUAIDGLHFBH4IHTQKGMPB7NR63AF6W2SIBWEPPUI4YXNGJ7JI6H";
const ISSUER: &str = "AAALXXABH6CHQU57TYQV2VH42FIMLRMPRW3Q5OEDM5ME6T2IVC7FR53P";

/// Returns a value as it is compared: the same in every run.
fn comparable(run: &Run, value: &Value) -> String {
    let text = without_values_of(&CHANGING, value).to_string();
    text.replace(&run.host.id, "{h}")
        .replace(&run.sim.issuer, ISSUER)
}

/// A replay, in a lattice whose host can start what the real one could.
struct Replay {
    run: Run,
    /// The component that was scaled last.
    component: String,
    real: Vec<String>,
    said: Vec<String>,
    compared: usize,
}

impl Replay {
    async fn start(version: Version) -> Self {
        let run = Run::start_with(version, |sim| {
            for name in ["c1", "other", "v1", "v2", "caller"] {
                sim.offer(&format!("file:///srv/{name}.wasm"), None);
            }
            let provider = artifact(SIGNED, "Dump", 7);
            sim.offer("file:///srv/prov.par.gz", Some(provider));
        });
        Self {
            run: run.await,
            component: String::new(),
            real: Vec::new(),
            said: Vec::new(),
            compared: 0,
        }
    }

    /// Replays a part of a transcript, and then compares its events.
    async fn play(&mut self, transcript: &str, part: &str) {
        self.run.said().await;
        for line in lines(transcript, part) {
            match line {
                Line::Event(name, Some(data)) if !UNSAID.contains(&name.as_str()) => {
                    self.real
                        .push(format!("{name} {}", comparable(&self.run, &data)));
                }
                Line::Event(..) => {}
                Line::Step(step) => {
                    self.step(&step).await;
                    self.compared += 1;
                }
                Line::Entry(key, value) => self.entry(&key, &value).await,
                Line::Calls(text) => self.calls(&text),
                Line::Listed(listed) => {
                    let inventory = self.run.inventory().await;
                    let components = inventory["components"].as_array().unwrap();
                    let cfg1 = components.iter().filter(|c| c["id"] == "cfg1");
                    assert_eq!(Value::from_iter(cfg1.cloned()), listed);
                }
                Line::Killed => self.run.host.exit_provider("lc"),
            }
        }
        self.hear().await;
        assert_eq!(self.said, self.real);
    }

    async fn hear(&mut self) {
        for (name, data) in self.run.said().await {
            // The transcript cuts the event with a long id.
            let id = data["component_id"].as_str().unwrap_or_default();
            if id.len() < 100 && !UNSAID.contains(&name.as_str()) {
                self.said
                    .push(format!("{name} {}", comparable(&self.run, &data)));
            }
        }
    }

    async fn step(&mut self, step: &Step) {
        let name = &step.name;
        if name.starts_with("OLD ") {
            return;
        }
        let subject = subject(step);
        let order: Value = serde_json::from_str(&step.body).unwrap_or_default();
        if subject.starts_with("component.scale") || subject.starts_with("component.update") {
            self.component = order["component_id"].as_str().unwrap_or_default().into();
        }
        let patience = match step.outcome {
            Some(Outcome::Silence) => SILENCE,
            _ => Duration::from_secs(5),
        };
        let begun = Instant::now();
        let mut told = match name.as_str() {
            "old ping" => ask(&self.run.client, "wasmbus.ctl.default.ping.hosts", "").await,
            _ => self.run.ask_for(&subject, &step.body, patience).await,
        };
        let took = begun.elapsed().as_millis() as u64;
        let same = |told: &Outcome| match (told, &step.outcome) {
            (Outcome::Reply(told), Some(Outcome::Reply(real))) => {
                comparable(&self.run, told) == comparable(&self.run, real)
            }
            (Outcome::Reply(told), None) => told["success"] == true,
            (told, real) => Some(told) == real.as_ref(),
        };
        // Links are told from what the host has followed in the bucket.
        let until = Instant::now() + scaled(Duration::from_secs(2));
        while subject == "link.get" && !same(&told) && Instant::now() < until {
            told = self.run.ask(&subject, "").await;
        }
        assert!(same(&told), "{name}: {told:?}\nreal: {:?}", step.outcome);
        // The host waits for a provider that is named another host.
        if name.starts_with("provider.stop") && step.took > 250 {
            assert!(took > 250, "{name}: {took} ms, real: {} ms", step.took);
        }
        if subject == "host.stop.{h}" {
            assert_eq!(self.run.host.stopped(), told_success(&told), "{name}");
        }
    }

    /// Compares an entry of the bucket; one of old hosts is written first.
    async fn entry(&mut self, key: &str, value: &Value) {
        let bucket = |name: &str| {
            let context = async_nats::jetstream::new(self.run.client.clone());
            let name = name.to_owned();
            async move { context.get_key_value(name).await.unwrap() }
        };
        let data = bucket("LATTICEDATA_default").await;
        if *value == json!({ "actor_id": "a" }) {
            data.put(key, value.to_string().into()).await.unwrap();
        }
        let mut told = data.get(key).await.unwrap();
        if told.is_none() {
            told = bucket("CONFIGDATA_default").await.get(key).await.unwrap();
        }
        let told: Value = serde_json::from_slice(&told.unwrap()).unwrap();
        assert_eq!(
            comparable(&self.run, &told),
            comparable(&self.run, value),
            "{key}"
        );
    }

    /// Compares which code answers: `v1.wasm` answers 1, `v2.wasm` answers 2.
    fn calls(&mut self, text: &str) {
        let expected = ["01", "02"].map(|answer| (answer, text.contains(&format!("'{answer}'"))));
        let expected = expected.iter().filter(|(_, told)| *told);
        let expected: BTreeSet<String> = expected.map(|(answer, _)| answer.to_string()).collect();
        let answers = self.run.host.answers(&self.component).into_iter();
        let answers = answers.map(|image| image.replace("file:///srv/v", "0").replace(".wasm", ""));
        assert_eq!(answers.collect::<BTreeSet<_>>(), expected, "{text}");
    }
}

fn told_success(told: &Outcome) -> bool {
    matches!(told, Outcome::Reply(answer) if answer["success"] == true)
}

#[tokio::test]
async fn a_simulated_1_0_0_does_what_the_real_one_did() {
    let mut replay = Replay::start(Version::V100).await;
    replay.play("host-1.0.0", "").await;
    assert!(replay.compared > 35, "{}", replay.compared);
    // Transcripts do harm on purpose.
    assert!(replay.run.host.meant_harm().is_some());
}

#[tokio::test]
async fn a_simulated_1_9_2_does_what_the_real_one_did() {
    let mut replay = Replay::start(Version::V192).await;
    replay.play("host-1.9.2", "").await;
    assert!(replay.compared > 35, "{}", replay.compared);
    assert!(replay.run.host.meant_harm().is_some());
}

#[tokio::test]
async fn another_reference_that_is_out_of_reach_does_what_it_did_on_real_hosts() {
    // The third part of that transcript is about a component that keeps its
    // host busy, which is not simulated.
    for (version, part) in [
        (Version::V100, "== 1.0.0, unreachable other ref"),
        (Version::V192, "== 1.9.2, unreachable other ref"),
    ] {
        let mut replay = Replay::start(version).await;
        let part = lines("host-v1-extra", part);
        // That host had no label of its own.
        replay
            .run
            .ask("label.del.{h}", r#"{"key":"zone","value":""}"#)
            .await;
        for line in part {
            if let Line::Step(step) = line {
                replay.step(&step).await;
                replay.compared += 1;
            }
        }
        assert_eq!(replay.compared, 5);
        let harmed = replay.run.host.meant_harm().is_some();
        assert_eq!(harmed, version == Version::V192);
    }
}

#[tokio::test]
async fn a_simulated_1_9_2_runs_the_code_that_the_real_one_ran() {
    let mut replay = Replay::start(Version::V192).await;
    replay.play("host-1.9.2-provider", "##### 1.").await;
    assert!(replay.compared > 20, "{}", replay.compared);
    assert!(replay.run.host.meant_harm().is_some());
}

#[tokio::test]
async fn a_simulated_1_9_2_takes_ids_configs_and_stops_as_the_real_one_did() {
    let mut replay = Replay::start(Version::V192).await;
    // What ran on that host before.
    for (subject, body) in [
        ("config.put.pcfg", r#"{"k":"v"}"#),
        (
            "component.scale.{h}",
            r#"{"component_ref":"file:///srv/caller.wasm","component_id":"caller","count":1,"host_id":"{h}"}"#,
        ),
        (
            "component.scale.{h}",
            r#"{"component_ref":"file:///srv/v2.wasm","component_id":"c2","count":1,"host_id":"{h}"}"#,
        ),
        (
            "provider.start.{h}",
            r#"{"provider_id":"lc","provider_ref":"file:///srv/prov.par.gz","config":["pcfg"],"annotations":{"x":"y"},"host_id":"{h}"}"#,
        ),
    ] {
        replay.run.told(subject, body).await.unwrap();
    }
    replay.play("host-1.9.2-provider", "##### 2.").await;
    assert!(replay.compared > 40, "{}", replay.compared);
    assert!(replay.run.host.meant_harm().is_some());
}

#[tokio::test]
async fn hosts_of_both_kinds_share_a_lattice_as_real_ones_did() {
    let mut replay = Replay::start(Version::V192).await;
    let old = SimHost::start(&replay.run.sim, Generation::G3b, &[]).await;
    let mut compared = 0;
    for line in lines("host-1.9.2-provider", "##### 3.") {
        match line {
            Line::Step(step) if step.name.starts_with("OLD ") => {
                // Pings are told with the other fixtures, and no simulated 0.x
                // host has configs.
                let rest = step.name.trim_start_matches("OLD ");
                if rest.starts_with("ping") || rest.starts_with("config") {
                    continue;
                }
                let subject = format!("wasmbus.ctl.default.{rest}");
                let told = ask(&replay.run.client, &subject, &step.body).await;
                assert_eq!(Some(told), step.outcome, "{rest}");
                compared += 1;
            }
            Line::Step(step) => replay.step(&step).await,
            Line::Entry(key, value) => replay.entry(&key, &value).await,
            _ => {}
        }
    }
    assert_eq!(compared, 3);
    assert_eq!(old.harm(), None);
}
