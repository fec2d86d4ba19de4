//! What a connection tells of itself while it lives, and of why it ended.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ClientError, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::connections::connection::Sent;
use crate::connections::permissions::{Refusal, Refusals};
use crate::connections::sizes::Sizes;
use crate::error::quoted;
use crate::nats::PayloadLimit;
use crate::nats::{without_prefix, words};
use crate::telemetry::LogLimiter;

/// How long before a connection broke its server said why.
const IS_WHY_FOR: Duration = Duration::from_secs(5);

/// What the connection reported last.
#[derive(Clone, Default)]
pub(crate) struct Reported {
    /// It broke, or was closed; it will not connect again.
    pub(crate) closed: bool,
    /// The server is about to stop.
    pub(crate) lame: bool,
    /// What the server said last, and why it closed the connection if it did.
    pub(crate) loss: Loss,
}

/// That a connection broke, and what is known of why.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// What the server said last, quoted, and when.
    words: Option<(String, Instant)>,
    /// The last message, where one was too large: it took none as late as that.
    too_late: Option<u64>,
}

impl Loss {
    /// Whether a message was certainly not taken.
    pub fn refused(&self, sent: Sent) -> bool {
        self.too_late.is_some() && self.too_late == sent.0
    }

    /// `; its server said "…"`, for the end of a message, where it said anything.
    pub fn said(&self) -> String {
        let words = self.words.as_ref();
        words.map_or_else(String::new, |(words, _)| {
            format!("; its server said {words}")
        })
    }

    /// The same of what it said from this moment on.
    pub fn said_since(&self, then: Instant) -> String {
        match &self.words {
            Some((_, at)) if *at >= then => self.said(),
            _ => String::new(),
        }
    }

    /// What it said, if that is why the connection broke just now.
    pub(crate) fn words(&self) -> Option<&str> {
        self.words.as_ref().map(|(words, _)| words.as_str())
    }
}

impl Reported {
    fn take(&mut self, event: &Event, sizes: &Sizes) {
        match event {
            Event::Disconnected
            | Event::Closed
            | Event::ClientError(ClientError::MaxReconnects) => {
                self.closed = true;
                // What was said long before is not why.
                if let Some((_, at)) = &self.loss.words
                    && at.elapsed() > IS_WHY_FOR
                {
                    self.loss.words = None;
                }
            }
            Event::LameDuckMode => self.lame = true,
            Event::ServerError(error) => {
                self.loss = Loss {
                    too_late: sizes.closed_with(without_prefix(&error.to_string())),
                    words: Some((words(error), Instant::now())),
                };
            }
            _ => {}
        }
    }
}

/// What the connections of one login have in common. Keeps each cause from filling
/// the log, and from silencing another.
pub(crate) struct OfLogin {
    pub(crate) oversize: Arc<PayloadLimit>,
    slow: LogLimiter,
    refusals: LogLimiter,
    news: LogLimiter,
}

impl Default for OfLogin {
    fn default() -> Self {
        Self {
            oversize: Arc::default(),
            slow: LogLimiter::default(),
            refusals: LogLimiter::default(),
            news: LogLimiter::bursts(),
        }
    }
}

/// What is done with what a connection tells.
pub(crate) fn on_event(
    address: String,
    report: watch::Sender<Reported>,
    refusals: Refusals,
    sizes: Arc<Sizes>,
    login: Arc<OfLogin>,
) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
    move |event| {
        match Refusal::of(&event) {
            Some(refusal) => {
                log_refusal(&address, &refusal, &login);
                refusals.tell(refusal);
            }
            None => {
                report.send_modify(|reported| reported.take(&event, &sizes));
                log(&address, &event, &login);
            }
        }
        ready(())
    }
}

/// Who waits for what is refused is told beside this.
fn log_refusal(address: &str, refusal: &Refusal, login: &OfLogin) {
    let said = quoted(&refusal.words);
    match login.refusals.is_due() {
        true => info!(address, %said, "the credentials do not allow something"),
        false => debug!(address, %said, "the credentials do not allow something"),
    }
}

fn log(address: &str, event: &Event, login: &OfLogin) {
    match event {
        // Whoever runs the server may say so all the time.
        event if !login.news.is_due() => {
            let event = quoted(&event.to_string());
            debug!(address, %event, "connection event");
        }
        Event::Connected => info!(address, "connected"),
        Event::Disconnected => warn!(address, "disconnected"),
        Event::LameDuckMode => warn!(address, "the server is about to stop"),
        Event::SlowConsumer(subscription) if login.slow.is_due() => {
            warn!(
                address,
                subscription, "answers were dropped: read too slowly"
            );
        }
        Event::ServerError(error) => warn!(address, said = %words(error), "server error"),
        event => debug!(address, %event, "connection event"),
    }
}
