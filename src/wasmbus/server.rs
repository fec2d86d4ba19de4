//! The provider on wasmbus RPC: subscriptions, answers, shutdown.
//!
//! ```text
//! wasmbus.rpc.{lattice}.{provider}.{link}                calls   (queue group rpc)
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.put   an actor is linked
//! wasmbus.rpc.{lattice}.{provider}.{link}.linkdefs.del   an actor is unlinked
//! wasmbus.rpc.{lattice}.{provider}.{link}.health         is all well?
//! wasmbus.rpc.{lattice}.{provider}.{link}.shutdown       stop
//! ```
//! Source: wasmbus-abi reference, section B.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Event, Message, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};
use wasmbus_rpc::core::{HealthCheckResponse, Invocation, InvocationResponse};
use wasmbus_rpc::error::{RpcError, RpcResult};

use super::chunks::{Chunks, THRESHOLD};
use super::host_data::HostData;
use super::invocation::{Verifier, id_of};
use super::links::{LinkDefinition, LinkTable};
use super::shutdown::{Order, is_for};
use super::{Call, Handler};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, without_values};

/// Queue group of every instance of a provider.
const QUEUE: &str = "rpc";
/// Pause before a lost subscription is made again.
const RESUBSCRIBE_AFTER: Duration = Duration::from_millis(500);
/// After calls are cut off: time to answer them, and time to flush.
const LAST_ANSWERS: Duration = Duration::from_millis(15);
const LAST_FLUSH: Duration = Duration::from_millis(15);

/// A provider on wasmbus RPC.
pub struct Server<H> {
    handler: H,
    client: Client,
    chunks: Chunks,
    links: LinkTable,
    verifier: Verifier,
    subject: String,
    host_id: String,
    test_mode: bool,
    /// Time for one call: what hosts give, less a margin for the way back.
    budget: Duration,
    calls: TaskTracker,
    /// One permit for each call that may be under way.
    permits: Semaphore,
    /// New calls are refused from now on.
    stopping: CancellationToken,
    /// Calls in flight are cut off now.
    cut_off: CancellationToken,
}

impl<H: Handler> Server<H> {
    /// Serves calls with `handler` until the host or a signal ends it. NATS may
    /// be away, now or later: it is waited for.
    ///
    /// # Errors
    /// Only what can never heal: credentials that no connection could be tried
    /// with, or signals that cannot be had.
    pub async fn run(host: HostData, handler: H) -> anyhow::Result<()> {
        let server = Arc::new(Self::new(host, handler).await?);
        let (order, mut orders) = mpsc::channel(1);
        server.clone().serve_calls();
        server.clone().serve_links();
        server.clone().serve_health();
        server.clone().serve_shutdown(order);
        let flushed = server.client.clone();
        tokio::spawn(async move {
            if flushed.flush().await.is_ok() {
                info!("ready");
            }
        });
        let order = tokio::select! {
            order = orders.recv() => order.ok_or_else(|| anyhow::anyhow!("no more orders"))?,
            order = Order::by_signal() => order?,
        };
        server.stop(order).await;
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
        let client = host
            .access
            .options(name)
            .retry_on_initial_connect()
            .event_callback(move |event| {
                log(&address, &event);
                std::future::ready(())
            })
            .connect(host.access.servers().to_vec())
            .await?;
        let links = LinkTable::new(&host.provider_key, &host.link_name);
        let (subject, test_mode) = (
            format!(
                "wasmbus.rpc.{}.{}.{}",
                host.lattice, host.provider_key, host.link_name
            ),
            host.test_mode(),
        );
        for link in host.links {
            links.put(link);
        }
        Ok(Self {
            permits: Semaphore::new(handler.max_calls()),
            handler,
            chunks: Chunks::new(client.clone(), &host.lattice, host.js_domain.as_ref()),
            client,
            links,
            verifier: Verifier::new(&host.provider_key, &host.cluster_issuers),
            subject,
            test_mode,
            host_id: host.host_id,
            budget: budget(host.rpc_timeout),
            calls: TaskTracker::new(),
            stopping: CancellationToken::new(),
            cut_off: CancellationToken::new(),
        })
    }

    // --- subscriptions ---

    fn serve_calls(self: Arc<Self>) {
        tokio::spawn(async move {
            while !self.stopping.is_cancelled() {
                let subject = self.subject.clone();
                let subscribed = self.client.queue_subscribe(subject, QUEUE.to_owned()).await;
                let Some(mut calls) = self.subscribed("calls", subscribed).await else {
                    continue;
                };
                let mut draining = false;
                loop {
                    let message = tokio::select! {
                        message = calls.next() => message,
                        // Other instances get what comes from here on; what was
                        // delivered already is refused.
                        () = self.stopping.cancelled(), if !draining => {
                            draining = true;
                            let _ = calls.drain().await;
                            continue;
                        }
                    };
                    match message {
                        Some(message) => self.clone().accept(message),
                        None => break,
                    }
                }
            }
        });
    }

    fn serve_links(self: Arc<Self>) {
        let server = self.clone();
        self.serve("linkdefs.put", move |message| {
            if let Some(link) = server.link(&message) {
                server.links.put(link);
            }
        });
        let server = self.clone();
        self.serve("linkdefs.del", move |message| {
            if let Some(link) = server.link(&message) {
                server.links.delete(&link);
            }
        });
    }

    fn serve_health(self: Arc<Self>) {
        let server = self.clone();
        self.serve("health", move |message| {
            let server = server.clone();
            // A slow connection must not keep the next question waiting.
            tokio::spawn(async move { server.answer_health(message).await });
        });
    }

    fn serve_shutdown(self: Arc<Self>, order: mpsc::Sender<Order>) {
        let server = self.clone();
        self.serve("shutdown", move |message| {
            if is_for(&server.host_id, &message.payload) {
                // Full means that an order was given already.
                let _ = order.try_send(Order::of_host(message.reply));
            } else {
                warn!("an order to stop that is not for us was ignored");
            }
        });
    }

    /// Subscribes to one of the provider's subjects, and again whenever the
    /// subscription is lost.
    fn serve(&self, name: &'static str, mut each: impl FnMut(Message) + Send + 'static)
    where
        Self: Sized,
    {
        let (client, subject) = (self.client.clone(), format!("{}.{name}", self.subject));
        tokio::spawn(async move {
            loop {
                match client.subscribe(subject.clone()).await {
                    Ok(mut messages) => {
                        while let Some(message) = messages.next().await {
                            each(message);
                        }
                        warn!(name, "a subscription ended and is made again");
                    }
                    Err(error) => warn!(name, %error, "subscription failed and is tried again"),
                }
                sleep(RESUBSCRIBE_AFTER).await;
            }
        });
    }

    async fn subscribed<E: std::fmt::Display>(
        &self,
        name: &str,
        result: Result<Subscriber, E>,
    ) -> Option<Subscriber> {
        match result {
            Ok(subscriber) => Some(subscriber),
            Err(error) => {
                warn!(name, %error, "subscription failed and is tried again");
                sleep(RESUBSCRIBE_AFTER).await;
                None
            }
        }
    }

    fn link(&self, message: &Message) -> Option<LinkDefinition> {
        let read = if self.test_mode {
            serde_json::from_slice(&message.payload).map_err(|error| error.to_string())
        } else {
            rmp_serde::from_slice(&message.payload).map_err(|error| error.to_string())
        };
        read.map_err(|error| {
            warn!(
                problem = without_values(&error),
                "a link definition cannot be read"
            );
        })
        .ok()
    }

    async fn answer_health(&self, message: Message) {
        let Some(reply) = message.reply else { return };
        let mut health = HealthCheckResponse::default();
        match self.handler.health() {
            Ok(()) => health.healthy = true,
            Err(problem) => health.message = Some(problem),
        }
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

    // --- calls ---

    /// Takes a call into a task of its own.
    fn accept(self: Arc<Self>, message: Message) {
        let deadline = Deadline::new(Instant::now(), self.budget);
        let Some(reply) = message.reply else {
            warn!("a call without a reply subject was ignored");
            return;
        };
        let server = self.clone();
        self.calls.spawn(async move {
            let (id, result) = server.serve_one(&message.payload, deadline).await;
            server.answer(reply, id, result).await;
        });
    }

    /// Decodes, verifies and carries out a call: its id and its result.
    async fn serve_one(&self, payload: &[u8], deadline: Deadline) -> (String, RpcResult<Vec<u8>>) {
        let mut invocation: Invocation = match rmp_serde::from_slice(payload) {
            Ok(invocation) => invocation,
            Err(error) => {
                let problem = without_values(&error.to_string());
                warn!(problem, "a call cannot be decoded");
                let error = RpcError::Deser(format!("invocation: {problem}"));
                return (id_of(payload), Err(error));
            }
        };
        let id = std::mem::take(&mut invocation.id);
        let Ok(_permit) = self.permits.try_acquire() else {
            let error = Error::new(Kind::Busy, "the provider is busy; try again later");
            return (id, self.handler.refuse(&invocation.operation, error));
        };
        let served = AssertUnwindSafe(self.verify_and_call(&id, invocation, deadline));
        // Calls end at the deadline whatever happens below, and a panic ends in
        // an answer like any other failure.
        let result = tokio::select! {
            result = timeout_at(deadline.at(), served.catch_unwind()) => match result {
                Ok(Ok(result)) => result,
                Ok(Err(_)) => Err(unknown(
                    Kind::Internal,
                    "the provider failed while it carried out the call; see its log",
                )),
                Err(_) => Err(unknown(Kind::Timeout, "the call took longer than it may")),
            },
            () = self.cut_off.cancelled() => Err(unknown(
                Kind::Internal,
                "the provider stopped before the call had ended",
            )),
        };
        (id, result)
    }

    async fn verify_and_call(
        &self,
        id: &str,
        mut invocation: Invocation,
        deadline: Deadline,
    ) -> RpcResult<Vec<u8>> {
        let refused = |problem: String| {
            warn!(
                id,
                operation = invocation.operation,
                problem,
                "call refused"
            );
            RpcError::Rpc(problem)
        };
        let claims = self.verifier.check(&invocation).map_err(refused)?;
        let link = self
            .links
            .settings(&invocation.origin.public_key)
            .map_err(refused)?;
        let inline = invocation.msg.len() as u64;
        let argument = match invocation.content_length {
            Some(length) if length > inline => {
                self.chunks.take(id, length).await.map_err(refused)?
            }
            _ => std::mem::take(&mut invocation.msg),
        };
        claims.check_body(&invocation, &argument).map_err(refused)?;
        if self.stopping.is_cancelled() {
            let error = Error::new(Kind::Stopping, "the provider is stopping");
            return self.handler.refuse(&invocation.operation, error);
        }
        let deadline = match link.call_budget {
            Some(budget) => deadline.within(budget),
            None => deadline,
        };
        let call = Call {
            id: id.to_owned(),
            operation: invocation.operation,
            argument,
            actor: invocation.origin.public_key,
            link,
            deadline,
        };
        self.handler.call(&call).await
    }

    /// Sends the answer to a call, through the object store where it is large.
    /// Hosts take no answer without `content_length` or under another id.
    async fn answer(&self, reply: async_nats::Subject, id: String, result: RpcResult<Vec<u8>>) {
        let mut response = InvocationResponse::default();
        response.content_length = Some(0);
        match result {
            Ok(body) => {
                response.content_length = Some(body.len() as u64);
                if body.len() <= THRESHOLD {
                    response.msg = body;
                } else if let Err(problem) = self.chunks.leave(&id, &body).await {
                    warn!(
                        id,
                        problem,
                        bytes = body.len(),
                        "a large answer was not sent"
                    );
                    response.content_length = Some(0);
                    response.error = Some(format!(
                        "the answer has {} bytes, and what is over {THRESHOLD} needs JetStream \
                         in the provider's lattice: {problem}",
                        body.len()
                    ));
                }
            }
            Err(error) => response.error = Some(error.to_string()),
        }
        response.invocation_id = id;
        match rmp_serde::to_vec_named(&response) {
            Ok(bytes) => self.publish(reply, bytes).await,
            Err(error) => error!(%error, "an answer cannot be encoded"),
        }
    }

    async fn publish(&self, reply: async_nats::Subject, body: Vec<u8>) {
        if let Err(error) = self.client.publish(reply, Bytes::from(body)).await {
            warn!(%error, "an answer was not sent");
        }
    }

    // --- the end ---

    /// Refuses new calls, lets those in flight end until they are cut off, sends
    /// every answer, and only then says that we are done: Rust hosts kill us the
    /// moment they hear it.
    async fn stop(&self, order: Order) {
        info!(from = order.from, in_flight = self.calls.len(), "stopping");
        self.stopping.cancel();
        self.calls.close();
        if timeout_at(order.cut_off, self.calls.wait()).await.is_err() {
            warn!(in_flight = self.calls.len(), "calls are cut off");
            self.cut_off.cancel();
            let _ = timeout(LAST_ANSWERS, self.calls.wait()).await;
        }
        let _ = timeout(LAST_FLUSH, self.client.flush()).await;
        if let Some(reply) = order.answer_to {
            self.publish(reply, b"shutting down".to_vec()).await;
            let _ = timeout(LAST_FLUSH, self.client.flush()).await;
        }
        info!("stopped");
    }
}

fn unknown(kind: Kind, message: &str) -> RpcError {
    match Error::new(kind, message).into_ack() {
        Ok(ack) => RpcError::Other(ack.error),
        Err(error) => error,
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

fn log(address: &str, event: &Event) {
    match event {
        Event::Connected => info!(address, "connected to our lattice"),
        Event::Disconnected => warn!(address, "disconnected from our lattice; reconnecting"),
        Event::SlowConsumer(_) => error!(address, "calls were dropped: read too slowly"),
        Event::ServerError(error) => warn!(address, %error, "our NATS server complains"),
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
