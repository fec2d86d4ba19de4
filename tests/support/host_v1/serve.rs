//! How a host receives messages and answers them, and when it does what it has
//! acknowledged.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subscriber};
use futures::StreamExt as _;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::host::Received;
use super::answers::{Answer, envelope, with};
use super::commands::{Scale, StartProvider, StopHost, Update, read};
use super::{Shared, Version};

/// How long a host takes for what it does after the answer.
const ORDINARY_LAG: Duration = Duration::from_millis(20);

/// An order that is acknowledged and not carried out yet.
pub enum Work {
    /// A scale, and whether an update comes after it.
    Scale(Scale, bool),
    Update(Update),
    StartProvider(StartProvider),
}

/// [`Work`] with the time when it is due.
pub struct Owed {
    due: Instant,
    work: Work,
}

impl Shared {
    /// Subscribes, and serves until the host ends.
    pub async fn listen(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let (client, id) = (&self.lattice.client, &self.id);
        let prefix = self.prefix();
        let mut subjects = vec![
            "registry.put".to_owned(),
            "host.ping".into(),
            format!("component.*.{id}"),
            format!("provider.*.{id}"),
            format!("label.*.{id}"),
            format!("host.*.{id}"),
        ];
        match self.version >= Version::V151 {
            true => subjects.extend(["component.auction".into(), "provider.auction".into()]),
            false => subjects.push("*.auction".into()),
        }
        let mut subscriptions = Vec::new();
        for subject in subjects {
            let subscription = client.subscribe(format!("{prefix}{subject}"));
            subscriptions.push(subscription.await.unwrap());
        }
        // One host of the lattice takes each of these.
        for (subject, group) in [
            ("link.*", "link"),
            ("claims.get", "claims"),
            ("config.>", "config"),
        ] {
            let (subject, group) = (format!("{prefix}{subject}"), format!("{prefix}{group}"));
            let subscription = client.queue_subscribe(subject, group);
            subscriptions.push(subscription.await.unwrap());
        }
        let bucket = format!("$KV.LATTICEDATA_{}.>", self.lattice.id);
        let bucket = client.subscribe(bucket).await.unwrap();
        super::super::fence(client).await;
        self.load().await;
        let serve = |messages| tokio::spawn(self.clone().serve(messages));
        let mut tasks: Vec<_> = subscriptions.into_iter().map(serve).collect();
        tasks.push(tokio::spawn(self.clone().follow(bucket)));
        tasks.push(tokio::spawn(self.clone().beat_on()));
        self.say_started().await;
        tasks
    }

    fn prefix(&self) -> String {
        format!("wasmbus.ctl.v1.{}.", self.lattice.id)
    }

    async fn serve(self: Arc<Self>, mut messages: Subscriber) {
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.ended.cancelled() => None,
            };
            let Some(message) = message else {
                return;
            };
            let prefix = self.prefix();
            let Some(subject) = message.subject.strip_prefix(&prefix) else {
                continue;
            };
            self.received.lock().unwrap().push(Received {
                subject: subject.into(),
                body: message.payload.to_vec(),
            });
            // What changes links and configs overlaps, as on a real host. Other
            // messages on one subscription come one after the other.
            if subject.starts_with("link.") || subject.starts_with("config.") {
                let (host, subject) = (self.clone(), subject.to_owned());
                tokio::spawn(async move {
                    let answer = host.take(&subject, &message.payload).await;
                    host.reply(message, answer);
                });
            } else {
                let answer = self.take(subject, &message.payload).await;
                self.clone().reply(message, answer);
            }
            if self.state.lock().unwrap().stopped {
                self.ended.cancel();
            }
        }
    }

    /// Replies as late as a test wants it.
    fn reply(self: Arc<Self>, message: Message, answer: Option<Answer>) {
        let Some((to, answer)) = message.reply.zip(answer) else {
            return;
        };
        tokio::spawn(async move {
            let subject = message.subject.as_str();
            let mut delay = *self.delay.lock().unwrap();
            for (end, more) in self.delays.lock().unwrap().iter() {
                if subject.ends_with(end.as_str()) {
                    delay = *more;
                }
            }
            let silent = {
                let silent = self.silent.lock().unwrap();
                silent.iter().any(|end| subject.ends_with(end))
            };
            tokio::time::sleep(delay).await;
            if !silent {
                let client = &self.lattice.client;
                let body = envelope(answer).to_string();
                client.publish(to, body.into()).await.unwrap();
                let _ = client.flush().await;
            }
        });
    }

    /// Returns the answer to a message, if there is one.
    async fn take(self: &Arc<Self>, subject: &str, body: &[u8]) -> Option<Answer> {
        let parts: Vec<&str> = subject.split('.').collect();
        Some(match parts.as_slice() {
            ["host", "ping"] => with(self.ping()),
            ["host", "get", _] => {
                let _compiles = self.compiling.read().await;
                let _stops = self.stopping.read().await;
                with(self.inventory())
            }
            ["host", "stop", _] => self.stop(body).await,
            ["component", "auction"] => {
                let _compiles = self.compiling.read().await;
                return self.bid_for_component(body);
            }
            ["component", "scale", _] => match self.take_scale(body).await {
                Ok((answer, work)) => self.owe(work, answer),
                Err(words) => Err(words),
            },
            ["component", "update", _] => match self.take_update(body).await {
                Ok((answer, Some(work))) => self.owe(work, answer),
                Ok((answer, None)) => answer,
                Err(words) => Err(words),
            },
            ["provider", "auction"] => {
                let _stops = self.stopping.read().await;
                return self.bid_for_provider(body);
            }
            ["provider", "start", _] => match self.take_provider(body).await {
                Ok(Some((answer, work))) => self.owe(work, answer),
                Ok(None) => return None,
                Err(words) => Err(words),
            },
            ["provider", "stop", _] => self.stop_provider(body).await,
            ["link", "put"] => self.put_link(body).await,
            ["link", "del"] => self.remove_link(body).await,
            ["link", "get"] => self.links(),
            ["claims", "get"] => with(self.claims()),
            ["config", "put", name] => self.put_config(name, body).await,
            ["config", "get", name] => self.get_config(name).await,
            ["config", "del", name] => self.remove_config(name).await,
            ["registry", "put"] => self.put_registries(body),
            ["label", "put", _] => self.put_label(body).await,
            ["label", "del", _] => self.remove_label(body).await,
            _ => Err("unsupported subject".into()),
        })
    }

    /// Answers `host.stop`. Providers are killed without a shutdown request.
    async fn stop(&self, body: &[u8]) -> Answer {
        let checks = self.version >= Version::V110;
        let order = match body.is_empty() && checks {
            true => StopHost {
                host_id: String::new(),
                timeout: None,
            },
            false => read(body, "stop command")?,
        };
        if checks && !order.host_id.is_empty() && order.host_id != self.id {
            return Err(format!("invalid host_id [{}]", order.host_id));
        }
        let labels = {
            let state = &mut *self.state.lock().unwrap();
            state.stopped = true;
            state.ends_within = order.timeout.map(Duration::from_millis);
            state.components.clear();
            state.left.clear();
            state.providers.clear();
            state.labels.clone()
        };
        let data = serde_json::json!({ "labels": labels });
        self.publish("host_stopped", data).await;
        self.prose("successfully handled stop host")
    }

    /// Acknowledges an order, and carries it out a little later, in the order of
    /// arrival.
    fn owe(self: &Arc<Self>, work: Work, answer: Answer) -> Answer {
        let lag = self.lag.lock().unwrap().unwrap_or(ORDINARY_LAG);
        let due = Instant::now() + lag;
        self.owed.lock().unwrap().push(Owed { due, work });
        let host = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(due).await;
            let _one_at_a_time = host.working.lock().await;
            while let Some(work) = host.next_due() {
                match work {
                    Work::Scale(order, update) => host.scale(&order, update).await,
                    Work::Update(order) => host.update(&order).await,
                    Work::StartProvider(order) => host.start_provider(&order).await,
                }
                host.busy.store(false, std::sync::atomic::Ordering::Relaxed);
            }
        });
        answer
    }

    /// Takes the oldest order that is due, unless the host has ended.
    fn next_due(&self) -> Option<Work> {
        let mut owed = self.owed.lock().unwrap();
        if self.ended.is_cancelled() {
            owed.clear();
        }
        let at = owed.iter().position(|owed| owed.due <= Instant::now())?;
        self.busy.store(true, std::sync::atomic::Ordering::Relaxed);
        Some(owed.remove(at).work)
    }
}
