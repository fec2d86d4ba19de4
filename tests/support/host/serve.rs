//! How a host receives messages and answers them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, Subscriber};
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use super::bodies::{accepted, refused};
use super::orders::{Answer, Owed, Taken};
use super::table::State;
use super::{Generation, ORDINARY_LAG, Received, Shared};

/// How many of its last commands are shown of a host that was harmed.
const LAST_ORDERS: usize = 12;

impl Shared {
    /// Subscribes, and serves until the host ends.
    pub async fn listen(self: Arc<Self>) -> Vec<JoinHandle<()>> {
        let client = &self.lattice.client;
        let prefix = format!("wasmbus.ctl.{}", self.lattice.id);
        let mut subscriptions = Vec::new();
        for rest in [
            "ping.hosts".to_owned(),
            "auction.>".into(),
            format!("cmd.{}.*", self.id),
            format!("get.{}.inv", self.id),
        ] {
            subscriptions.push(client.subscribe(format!("{prefix}.{rest}")).await.unwrap());
        }
        if self.generation > Generation::Otp51 {
            // Hosts have it from 0.52.5 on.
            let subject = format!("{prefix}.registries.put");
            subscriptions.push(client.subscribe(subject).await.unwrap());
        }
        for (rest, group) in [("get.*", "get"), ("linkdefs.*", "linkdefs")] {
            let subject = format!("{prefix}.{rest}");
            subscriptions.push(match self.generation {
                // Every host of these versions carries it out and answers
                // (docs/hosts.md#every-host-answers-and-writes).
                Generation::G2a => client.subscribe(subject).await.unwrap(),
                otp if otp.is_otp() => {
                    let group = prefix.clone();
                    client.queue_subscribe(subject, group).await.unwrap()
                }
                _ => {
                    let group = format!("{prefix}.{group}");
                    client.queue_subscribe(subject, group).await.unwrap()
                }
            });
        }
        let bucket = format!("$KV.LATTICEDATA_{}.>", self.lattice.id);
        let bucket = client.subscribe(bucket).await.unwrap();
        super::super::fence(client).await;
        let serve = |messages| tokio::spawn(self.clone().serve(client.clone(), messages));
        let mut tasks: Vec<_> = subscriptions.into_iter().map(serve).collect();
        tasks.push(tokio::spawn(self.clone().follow(bucket)));
        tasks.push(tokio::spawn(self.clone().beat_on()));
        self.say_started().await;
        tasks
    }

    async fn serve(self: Arc<Self>, client: Client, mut messages: Subscriber) {
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = self.ended.cancelled() => None,
            };
            let Some(message) = message else {
                return;
            };
            self.record(&message);
            let answer = self.clone().take(&message).await;
            // Its events go out before its answer, on the same connection.
            self.flush().await;
            if self.generation.is_otp() && message.subject.ends_with("ping.hosts") {
                self.beat().await;
            }
            if self.state.lock().unwrap().ended() {
                self.ended.cancel();
            }
            let reply = answer.body.map(|body| body.to_string());
            let host = self.clone();
            let client = client.clone();
            tokio::spawn(async move {
                let subject = message.subject.as_str();
                let mut delay = *host.delay.lock().unwrap();
                for (end, more) in host.delays.lock().unwrap().iter() {
                    if subject.ends_with(end.as_str()) {
                        delay = *more;
                    }
                }
                let silent = host
                    .silent
                    .lock()
                    .unwrap()
                    .iter()
                    .any(|end| subject.ends_with(end));
                tokio::time::sleep(delay.max(answer.late)).await;
                if let (Some(to), Some(reply), false) = (message.reply, reply, silent) {
                    client.publish(to, reply.into()).await.unwrap();
                    let _ = client.flush().await;
                }
            });
        }
    }

    fn record(&self, message: &Message) {
        let prefix = format!("wasmbus.ctl.{}.", self.lattice.id);
        let subject = message.subject.strip_prefix(&prefix);
        self.received.lock().unwrap().push(Received {
            subject: subject.unwrap_or_default().to_owned(),
            body: message.payload.to_vec(),
        });
    }

    async fn take(self: Arc<Self>, message: &Message) -> Answer {
        let prefix = format!("wasmbus.ctl.{}.", self.lattice.id);
        let Some(subject) = message.subject.strip_prefix(&prefix) else {
            return Answer::silence();
        };
        let parts: Vec<&str> = subject.split('.').collect();
        let body = &message.payload;
        match parts.as_slice() {
            ["ping", "hosts"] => Answer::now(self.ping()),
            ["auction", kind] => self.bid(kind, body).map(Answer::now).unwrap_or_default(),
            ["registries", "put"] => self.registries(body),
            ["get", "claims"] => Answer::now(self.claims_reply()),
            ["get", "links"] => Answer::now(self.links_reply()),
            ["get", _, "inv"] => {
                // It waits while a provider is being stopped
                // (docs/hosts.md#provider-stop-is-answered-late).
                let busy = self.state.lock().unwrap().busy_until;
                let busy = busy.map_or(Duration::ZERO, |until| {
                    until.saturating_duration_since(Instant::now())
                });
                Answer::late(self.inventory(), busy)
            }
            ["linkdefs", "put"] => self.put_link(body).await,
            ["linkdefs", "del"] => self.remove_link(body).await,
            ["cmd", _, verb] => self.obey(verb, body).await,
            _ if self.generation.is_g3() => Answer::now(refused("unsupported subject")),
            _ => Answer::silence(),
        }
    }

    /// Carries out a command, or acknowledges it and carries it out a little
    /// later.
    async fn obey(self: Arc<Self>, verb: &str, body: &[u8]) -> Answer {
        let lag = *self.lag.lock().unwrap();
        if let (Generation::G2a, "scale", Some(lag)) = (self.generation, verb, lag) {
            // It takes nothing else meanwhile
            // (docs/hosts.md#one-command-at-a-time).
            tokio::time::sleep(lag).await;
        }
        let taken = self.order(verb, body);
        self.note_harm(&self.state.lock().unwrap());
        let body = match taken {
            Taken::Answered(answer) => return answer,
            Taken::Owed(body) => body,
        };
        let since = {
            let mut state = self.state.lock().unwrap();
            let since = state.tick();
            self.owed.lock().unwrap().push(Owed {
                verb: verb.into(),
                body,
                since,
                ordinary: lag.is_none(),
            });
            since
        };
        tokio::spawn(async move {
            tokio::time::sleep(lag.unwrap_or(ORDINARY_LAG)).await;
            self.carry_out_owed(|owed| owed.since == since);
            self.flush().await;
            if self.state.lock().unwrap().ended() {
                self.ended.cancel();
            }
        });
        Answer::now(accepted())
    }

    /// Keeps the commands that came before it was first harmed, for the message
    /// of a failing test.
    fn note_harm(&self, state: &State) {
        let story = &mut *self.story.lock().unwrap();
        if state.harm.is_none() || story.is_some() {
            return;
        }
        let received = self.received.lock().unwrap();
        let orders = received.iter().filter(|r| r.subject.starts_with("cmd."));
        let orders: Vec<String> = orders
            .map(|r| {
                let verb = r.subject.rsplit('.').next().unwrap_or_default();
                format!("{verb} {}", String::from_utf8_lossy(&r.body))
            })
            .collect();
        *story = Some(orders[orders.len().saturating_sub(LAST_ORDERS)..].join("\n"));
    }

    /// Carries out what it owes of these, unless it has ended meanwhile.
    fn carry_out_owed(&self, which: impl Fn(&Owed) -> bool) {
        let state = &mut *self.state.lock().unwrap();
        let owed = std::mem::take(&mut *self.owed.lock().unwrap());
        let (now, later): (Vec<_>, Vec<_>) = owed.into_iter().partition(which);
        for owed in now {
            if !state.ended() && !self.ended.is_cancelled() {
                self.carry_out(state, &owed);
                self.note_harm(state);
            }
        }
        *self.owed.lock().unwrap() = later;
    }

    /// Carries out at once what it owes, unless a test makes it lag. A test
    /// that looks at what runs need not wait for a host's ordinary pause.
    pub fn settle(&self) {
        self.carry_out_owed(|owed| owed.ordinary);
    }
}
