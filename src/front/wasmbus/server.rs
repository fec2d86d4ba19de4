//! The provider on wasmbus RPC: connection, subscriptions, shutdown.
//!
//! ```text
//! wasmbus.rpc.{lattice}.{provider}.{link}                calls   (queue group rpc)
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.put   an actor is linked
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.del   an actor is unlinked
//! wasmbus.rpc.{lattice}.{provider}.{link}.health         is all well?
//! wasmbus.rpc.{lattice}.{provider}.{link}.shutdown       stop
//! ```
//! Source: wasmbus-abi reference, section B.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_nats::connection::State;
use async_nats::{Client, Event, Message};
use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::{timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use wasmbus_rpc::core::HealthCheckResponse;

use crate::error::without_values;
use crate::front::wasmbus::Handler;
use crate::front::wasmbus::arrivals::{MAX_BYTES, MOST_TOGETHER, Noise};
use crate::front::wasmbus::calls::MAX_LARGE;
use crate::front::wasmbus::chunks::Chunks;
use crate::front::wasmbus::decode::decode;
use crate::front::wasmbus::host_data::HostData;
use crate::front::wasmbus::invocation::Verifier;
use crate::front::wasmbus::lost::{Lost, mend_too_many};
use crate::front::wasmbus::missed::Missed;
use crate::front::wasmbus::oversize::Largest;
use crate::front::wasmbus::shutdown::{Order, Signals, is_for};
use crate::front::wasmbus::subscriptions::Listening;
use crate::json;
use crate::nats::OwnLattice;
use crate::nats::{ErrorFeed, Refusal, words};
use crate::serve::admission::Limiter;
use crate::serve::links::{LinkDefinition, LinkTable};
use crate::serve::replay::Repeats;
use crate::telemetry::LogLimiter;
use crate::telemetry::security::{self, Cause};

/// How long it takes there and back to a server that is well.
const FENCED_WITHIN: Duration = Duration::from_secs(1);
/// Queue group of every instance of a provider.
const QUEUE: &str = "rpc";

/// A provider on wasmbus RPC.
pub struct Server<H> {
    pub(super) handler: H,
    pub(super) client: Client,
    pub(super) chunks: Chunks,
    pub(super) links: Arc<LinkTable>,
    pub(super) home: OwnLattice,
    pub(super) verifier: Verifier,
    /// Subjects that are not heard.
    lost: Lost,
    host_id: String,
    test_mode: bool,
    /// Time for one call: what hosts give, less a margin for the way back.
    pub(super) budget: Duration,
    /// What hosts give beyond that, for the way back.
    pub(super) rest: Duration,
    pub(super) calls: TaskTracker,
    /// Places for calls, and how much their messages may have together.
    pub(super) places: Arc<Limiter>,
    pub(super) room: Arc<Semaphore>,
    /// Places for the calls of each actor, and for those whose bodies are fetched.
    pub(super) actors: Arc<Limiter>,
    pub(super) large: Arc<Limiter>,
    pub(super) repeats: Repeats,
    /// What may be too large for our NATS server.
    pub(super) largest: Largest,
    /// What is told now and then.
    pub(super) noise: Noise,
    /// New calls are refused from now on.
    pub(super) stopping: CancellationToken,
    /// Calls in flight are cut off now.
    pub(super) cut_off: CancellationToken,
}

/// Asks the task that takes calls to say when it took all that were delivered.
type Settled = mpsc::Sender<oneshot::Sender<()>>;

impl<H: Handler> Server<H> {
    /// Serves calls with `handler` until the host or a signal ends it. NATS may
    /// be away, now or later: it is waited for.
    ///
    /// # Errors
    /// Only what can never heal: credentials that no connection could be tried
    /// with, or signals that cannot be had.
    pub async fn run(host: HostData, handler: H) -> anyhow::Result<()> {
        let mut signals = Signals::install()?;
        let server = Arc::new(Self::new(host, handler).await?);
        let (order, mut orders) = mpsc::channel(1);
        // Before all else, so that a server that takes few subscriptions does not
        // keep the reason from those who ask.
        server.clone().serve_health().await;
        let settled = server.clone().serve_calls().await;
        server.clone().serve_links().await;
        server.clone().serve_shutdown(order).await;
        server.handler.at_home(server.home.clone());
        if let Some(missed) = Missed::new(&server.home, server.links.clone()) {
            tokio::spawn(missed.follow());
        }
        let heard = server.home.server_errors.subscribe();
        tokio::spawn(server.clone().answer_too_large(heard));
        tokio::spawn(mend_too_many(server.client.clone(), server.lost.clone()));
        let subscribed = server.clone();
        tokio::spawn(async move {
            if subscribed.fence().await {
                info!("ready");
            }
        });
        let order = tokio::select! {
            order = orders.recv() => order.ok_or_else(|| anyhow!("no more orders"))?,
            order = signals.order() => order,
        };
        server.stop(order, settled).await;
        Ok(())
    }

    async fn new(host: HostData, handler: H) -> anyhow::Result<Self> {
        info!(
            provider = host.provider_key,
            lattice = host.lattice,
            link_name = host.link_name,
            host = host.host_id,
            nats = host.access.address(),
            login = ?host.access.login(),
            links = host.links.len(),
            version = env!("CARGO_PKG_VERSION"),
            "starting"
        );
        let name = format!(
            "lattice-controller {} {}",
            host.provider_key, host.link_name
        );
        let address = host.access.address();
        let lost = Lost::new(&format!(
            "wasmbus.rpc.{}.{}.{}",
            host.lattice, host.provider_key, host.link_name
        ));
        let (lost_here, said) = (lost.clone(), ErrorFeed::default());
        let said_here = said.clone();
        let (complaints, slow) = (LogLimiter::default(), LogLimiter::default());
        let (connected, connects) = watch::channel(0);
        let client = host
            .access
            .options(name)
            .retry_on_initial_connect()
            .event_callback(move |event| {
                said_here.take(&event);
                if !Refusal::of(&event).is_some_and(|refusal| lost_here.refused(&refusal)) {
                    log(&address, &event, &complaints, &slow);
                }
                if matches!(event, Event::Connected) {
                    lost_here.connected();
                    connected.send_modify(|connects| *connects += 1);
                }
                std::future::ready(())
            })
            .connect(host.access.servers().to_vec())
            .await?;
        let links = Arc::new(LinkTable::new(&host.provider_key, &host.link_name));
        let test_mode = host.test_mode();
        for link in host.links {
            links.put(link);
        }
        let home = OwnLattice {
            client: client.clone(),
            connects,
            server_errors: said,
            requests: Arc::default(),
            js_domain: host.js_domain.clone(),
            lattice: host.lattice.clone(),
            provider_key: host.provider_key.clone(),
            link_name: host.link_name.clone(),
        };
        let allowed = budget(host.rpc_timeout);
        let limit = handler.call_budget().unwrap_or(allowed);
        Ok(Self {
            places: Limiter::new(handler.max_calls()),
            room: Arc::new(Semaphore::new(MAX_BYTES)),
            actors: Limiter::new(handler.max_actor_calls()),
            large: Limiter::new(MAX_LARGE),
            repeats: Repeats::new(handler.invocation_window()),
            largest: Largest::default(),
            noise: Noise::default(),
            handler,
            chunks: Chunks::new(&home),
            client,
            links,
            home,
            verifier: Verifier::new(&host.provider_key, &host.link_name, &host.cluster_issuers),
            lost,
            test_mode,
            host_id: host.host_id,
            budget: allowed.min(limit),
            rest: host.rpc_timeout.saturating_sub(allowed),
            calls: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut_off: CancellationToken::new(),
        })
    }

    // --- subscriptions ---

    /// Takes calls, to the very end: those that come too late are refused.
    async fn serve_calls(self: Arc<Self>) -> Settled {
        let (settled, mut asked) = mpsc::channel::<oneshot::Sender<()>>(1);
        let mut calls = self.listen("", Some(QUEUE)).await;
        tokio::spawn(async move {
            loop {
                // In this order: what was delivered is taken before anybody is
                // told that it was.
                tokio::select! {
                    biased;
                    came = calls.next_few(MOST_TOGETHER) => self.accept(came).await,
                    Some(told) = asked.recv() => drop(told.send(())),
                }
            }
        });
        settled
    }

    async fn serve_links(self: Arc<Self>) {
        let server = self.clone();
        let put = move |message| {
            if let Some(link) = server.link(&message) {
                server.links.put(link);
            }
        };
        self.clone().serve_subject("linkdefs.put", put).await;
        let server = self.clone();
        let delete = move |message| {
            if let Some(link) = server.link(&message) {
                server.links.delete(&link);
            }
        };
        self.serve_subject("linkdefs.del", delete).await;
    }

    async fn serve_health(self: Arc<Self>) {
        let server = self.clone();
        let answer = move |message| {
            let server = server.clone();
            // A slow connection must not keep the next question waiting.
            tokio::spawn(async move { server.answer_health(message).await });
        };
        self.serve_subject("health", answer).await;
    }

    async fn serve_shutdown(self: Arc<Self>, order: mpsc::Sender<Order>) {
        let server = self.clone();
        let stop = move |message: Message| {
            if is_for(&server.host_id, &message.payload) {
                // Full means that an order was given already.
                let _ = order.try_send(Order::of_host(message.reply));
            } else if server.noise.foreign.is_due() {
                warn!("an order to stop that is not for us was ignored");
            }
        };
        self.serve_subject("shutdown", stop).await;
    }

    /// Listens on one of the provider's subjects.
    async fn serve_subject(
        self: Arc<Self>,
        name: &'static str,
        mut each: impl FnMut(Message) + Send + 'static,
    ) {
        let mut messages = self.listen(name, None).await;
        tokio::spawn(async move {
            loop {
                each(messages.next().await);
            }
        });
    }

    async fn listen(&self, name: &str, queue: Option<&'static str>) -> Listening {
        Listening::on(&self.client, &self.lost, name, queue).await
    }

    fn link(&self, message: &Message) -> Option<LinkDefinition> {
        let read = if self.test_mode {
            json::from_slice(&message.payload).map_err(|error| without_values(&error.to_string()))
        } else {
            decode(&message.payload).map_err(|error| error.to_string())
        };
        read.map_err(|error| {
            let problem = without_values(&error);
            let detail = format!("a link definition cannot be read: {problem}");
            security::refused(Cause::Link, "", &detail);
        })
        .ok()
    }

    /// What is wrong with us, and links that are refused: those are no fault of
    /// ours, and must not have us restarted.
    fn health(&self) -> HealthCheckResponse {
        let ours = [self.handler.health(), self.lost.none()];
        let ours: Vec<String> = ours.into_iter().filter_map(Result::err).collect();
        let healthy = ours.is_empty();
        let told: Vec<String> = ours.into_iter().chain(self.links.refused()).collect();
        HealthCheckResponse {
            healthy,
            message: (!told.is_empty()).then(|| told.join("; ")),
        }
    }

    async fn answer_health(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let health = self.health();
        let body = if self.test_mode {
            serde_json::to_vec(&health).map_err(|error| error.to_string())
        } else {
            rmp_serde::to_vec_named(&health).map_err(|error| error.to_string())
        };
        match body {
            Ok(body) => self.publish(reply, body).await,
            Err(error) => error!(error, "health not encoded"),
        }
    }

    pub(super) async fn publish(&self, reply: async_nats::Subject, body: Vec<u8>) {
        if let Err(error) = self.client.publish(reply, body.into()).await
            && self.noise.unsent.is_due()
        {
            warn!(%error, "an answer was not sent");
        }
    }

    /// There and back to the server: what was published before has reached it,
    /// and what it sent us before has been delivered.
    async fn fence(&self) -> bool {
        if self.stopping.is_cancelled() && self.client.connection_state() != State::Connected {
            // Nothing comes back, and nobody has time to wait for it.
            return false;
        }
        loop {
            let inbox = self.client.new_inbox();
            let Ok(mut back) = self.client.subscribe(inbox.clone()).await else {
                return false;
            };
            if self.client.publish(inbox, "".into()).await.is_err() {
                return false;
            }
            // A server that takes no more subscriptions sends nothing back; one that
            // is away may be back later.
            loop {
                match timeout(FENCED_WITHIN, back.next()).await {
                    Ok(came) => return came.is_some(),
                    Err(_) if self.client.connection_state() == State::Connected => break,
                    Err(_) => {}
                }
            }
        }
    }

    // --- the end ---

    /// Refuses new calls, lets those in flight end until they are cut off, sends
    /// every answer, and only then says that we are done: Rust hosts kill us the
    /// moment they hear it.
    async fn stop(&self, order: Order, settled: Settled) {
        info!(from = order.from, in_flight = self.calls.len(), "stopping");
        self.stopping.cancel();
        self.calls.close();
        let ended = async { tokio::join!(self.calls.wait(), self.handler.finish()) };
        if timeout_at(order.cut_off, ended).await.is_err() {
            warn!(in_flight = self.calls.len(), "calls are cut off");
            self.cut_off.cancel();
        }
        let all_answered = async {
            // Calls that the server sent before the fence are here after it.
            self.fence().await;
            let (tell, told) = oneshot::channel();
            if settled.send(tell).await.is_ok() {
                let _ = told.await;
            }
            self.calls.wait().await;
            self.handler.finish().await;
            self.fence().await;
        };
        if timeout_at(order.answered_by(), all_answered).await.is_err() {
            warn!(
                in_flight = self.calls.len(),
                "not every call was answered in time"
            );
        }
        if let Some(reply) = order.answer_to.clone() {
            let acknowledged = async {
                self.publish(reply, b"shutting down".to_vec()).await;
                self.fence().await;
            };
            let _ = timeout_at(order.over_by(), acknowledged).await;
        }
        info!("stopped");
    }
}

/// Time for one call out of what hosts give: less a tenth, 20 to 200 ms, for
/// the way there and back.
fn budget(rpc_timeout: Duration) -> Duration {
    let margin = (rpc_timeout / 10).clamp(Duration::from_millis(20), Duration::from_millis(200));
    rpc_timeout
        .saturating_sub(margin)
        .max(Duration::from_millis(50))
}

fn log(address: &str, event: &Event, complaints: &LogLimiter, slow: &LogLimiter) {
    match event {
        Event::Connected => info!(address, "connected to our lattice"),
        Event::Disconnected => warn!(address, "disconnected from our lattice; reconnecting"),
        Event::SlowConsumer(_) if slow.is_due() => {
            error!(address, "calls were dropped: read too slowly");
        }
        Event::ServerError(error) => {
            warn!(address, said = %words(error), "our NATS server complains");
        }
        Event::ClientError(error) if complaints.is_due() => {
            warn!(address, %error, "no connection to our lattice; trying on");
        }
        event => debug!(address, %event, "connection event"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_leaves_room_for_the_way_back() {
        let ms = |given| budget(Duration::from_millis(given)).as_millis();
        assert_eq!(ms(2000), 1800);
        assert_eq!(ms(500), 450);
        assert_eq!(ms(10_000), 9800);
        assert_eq!(ms(1), 50);
    }
}
