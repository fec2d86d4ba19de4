//! Hosts of wasmCloud 1.x. 1.0.0 and 1.9.2 do what real ones did, by their
//! transcripts. What the tests say of the versions between them was read in the
//! source of each tag and never seen on a real host.

mod components;
mod handles;
mod harms;
mod providers;
mod real;
mod settings;
mod transcripts;
mod two_hosts;

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures::{FutureExt as _, StreamExt as _};
use serde_json::Value;

use super::{Outcome, ask_for};
use crate::support::host::lattice::{Artifact, SimLattice};
use crate::support::host_v1::{SimHostV1, Version};
use crate::support::nats::NatsServer;
use crate::support::{eventually, fence};

/// The component that the tests start: revision 1, and its revision 2.
const R1: &str = "reg/shop:1";
const R2: &str = "reg/shop:2";
const PROVIDER: &str = "file:///srv/kv.par";

/// A host in a lattice of its own, and what it publishes.
struct Run {
    host: SimHostV1,
    sim: Arc<SimLattice>,
    client: Client,
    events: Subscriber,
    _nats: NatsServer,
}

impl Run {
    /// Starts a host that can start [`R1`], [`R2`] and [`PROVIDER`].
    async fn start(version: Version) -> Self {
        Self::start_with(version, |sim| {
            sim.offer(R1, Some(artifact("MSHOP", "shop", 1)));
            sim.offer(R2, Some(artifact("MSHOP", "shop", 2)));
            sim.offer(PROVIDER, Some(artifact("VKV", "KV", 7)));
        })
        .await
    }

    async fn start_with(version: Version, fill: impl FnOnce(&SimLattice)) -> Self {
        let nats = NatsServer::start();
        let client = nats.client().await;
        let sim = SimLattice::with_bucket(client.clone(), "default").await;
        let sim = sim.with_new_claims();
        fill(&sim);
        let sim = Arc::new(sim);
        let subject = "wasmbus.evt.default.*";
        Self {
            events: client.subscribe(subject).await.unwrap(),
            host: SimHostV1::start(&sim, version, &[("zone", "eu")]).await,
            sim,
            client,
            _nats: nats,
        }
    }

    /// Sends a request, and lets the host finish what comes after the answer.
    /// `{h}` stands for the host.
    async fn ask(&self, subject: &str, body: &str) -> Outcome {
        self.ask_for(subject, body, Duration::from_secs(5)).await
    }

    async fn ask_for(&self, subject: &str, body: &str, patience: Duration) -> Outcome {
        let subject = format!("wasmbus.ctl.v1.default.{subject}").replace("{h}", &self.host.id);
        let body = body.replace("{h}", &self.host.id);
        let told = ask_for(&self.client, &subject, &body, patience).await;
        caught_up(&self.host).await;
        told
    }

    /// Returns the message of a success, or of a refusal as an error.
    async fn told(&self, subject: &str, body: &str) -> Result<String, String> {
        match self.ask(subject, body).await {
            Outcome::Reply(answer) => {
                let message = answer["message"].as_str().unwrap().to_owned();
                match answer["success"].as_bool().unwrap() {
                    true => Ok(message),
                    false => Err(message),
                }
            }
            other => panic!("{subject}: {other:?}"),
        }
    }

    /// Returns the response to a question.
    async fn response(&self, subject: &str) -> Value {
        match self.ask(subject, "").await {
            Outcome::Reply(answer) => answer["response"].clone(),
            other => panic!("{subject}: {other:?}"),
        }
    }

    async fn inventory(&self) -> Value {
        self.response("host.get.{h}").await
    }

    /// Returns what the host has published since the last time, each with its
    /// name and data.
    async fn said(&mut self) -> Vec<(String, Value)> {
        fence(&self.client).await;
        let mut said = Vec::new();
        while let Some(Some(message)) = self.events.next().now_or_never() {
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(event["source"], self.host.id);
            let name = message.subject.rsplit('.').next().unwrap();
            assert_eq!(event["type"], format!("com.wasmcloud.lattice.{name}"));
            said.push((name.to_owned(), event["data"].clone()));
        }
        said
    }

    /// Returns the names of the events that the host has published.
    async fn names_said(&mut self) -> Vec<String> {
        self.said()
            .await
            .into_iter()
            .map(|(name, _)| name)
            .collect()
    }
}

fn artifact(key: &str, name: &str, revision: i64) -> Artifact {
    Artifact {
        key: key.into(),
        name: name.into(),
        revision,
        contract_id: String::new(),
        version: Some("0.1.0".into()),
        call_alias: None,
    }
}

/// Waits until a host has done what it acknowledged.
async fn caught_up(host: &SimHostV1) {
    let done = || async { host.caught_up().then_some(()) };
    eventually("what was acknowledged", done).await;
}
