//! What a connection reports while it lives, and why it ended.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_nats::{ClientError, Event};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::connections::permissions::{PermissionErrors, Refusal};
use crate::connections::sizes::{MessageNumber, Sizes};
use crate::error::quoted;
use crate::nats::PayloadLimit;
use crate::nats::{without_prefix, words};
use crate::telemetry::LogLimiter;

/// How long before the end of a connection words of its server count as the reason.
const IS_REASON_FOR: Duration = Duration::from_secs(5);

/// The last report of a connection.
#[derive(Clone, Default)]
pub(super) struct Reported {
    /// Whether it broke or was closed. It does not connect again.
    pub(super) closed: bool,
    /// Whether the server is about to stop.
    pub(super) lame: bool,
    /// What is known of why it ended, where it did.
    pub(super) loss: Loss,
}

/// What is known of why a connection broke.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    /// What the server did last: its words, or that it sent too much. And when it was.
    last: Option<(String, Instant)>,
    /// The number of the last message, where the server closed the connection
    /// because one was too large: it took none with this number or a later one.
    not_taken_from: Option<u64>,
}

impl Loss {
    /// Whether a message was certainly not taken.
    pub fn refused(&self, message: MessageNumber) -> bool {
        self.not_taken_from.is_some() && self.not_taken_from == message.0
    }

    /// Returns `; its server said "…"`, for the end of a message; empty where it said
    /// nothing.
    pub fn said(&self) -> String {
        let last = self.last.as_ref();
        last.map_or_else(String::new, |(last, _)| format!("; {last}"))
    }

    /// Returns what [`Loss::said`] returns, if the server said it from this moment on.
    pub fn said_since(&self, then: Instant) -> String {
        match &self.last {
            Some((_, at)) if *at >= then => self.said(),
            _ => String::new(),
        }
    }

    /// Returns what its server did last: `its server said "…"`.
    pub(super) fn last(&self) -> Option<&str> {
        self.last.as_ref().map(|(last, _)| last.as_str())
    }

    /// Notes that so many bytes arrived without a whole message.
    pub(super) fn floods(&mut self, bytes: usize) {
        let mebibytes = bytes >> 20;
        let last = format!(
            "its server sent {mebibytes} MiB that are no whole message, and the connection was \
             closed"
        );
        self.last = Some((last, Instant::now()));
    }
}

impl Reported {
    fn take(&mut self, event: &Event, sizes: &Sizes) {
        match event {
            Event::Disconnected
            | Event::Closed
            | Event::ClientError(ClientError::MaxReconnects) => {
                self.closed = true;
                // What was said long before is not the reason.
                if let Some((_, at)) = &self.loss.last
                    && at.elapsed() > IS_REASON_FOR
                {
                    self.loss.last = None;
                }
            }
            Event::LameDuckMode => self.lame = true,
            Event::ServerError(error) => {
                self.loss = Loss {
                    not_taken_from: sizes.closed_with(without_prefix(&error.to_string())),
                    last: Some((format!("its server said {}", words(error)), Instant::now())),
                };
            }
            _ => {}
        }
    }
}

/// What all connections of one login share. Each kind of log line has a limit of its
/// own, so that none fills the log or silences another.
pub(super) struct LoginHistory {
    /// The size of messages that the server refused.
    pub(super) oversize: Arc<PayloadLimit>,
    /// Whether a `nats://` server wanted TLS: then it is dialled by its name.
    pub(super) has_tls: AtomicBool,
    slow: LogLimiter,
    refusals: LogLimiter,
    news: LogLimiter,
}

impl Default for LoginHistory {
    fn default() -> Self {
        Self {
            oversize: Arc::default(),
            has_tls: AtomicBool::new(false),
            slow: LogLimiter::default(),
            refusals: LogLimiter::default(),
            news: LogLimiter::bursts(),
        }
    }
}

/// Returns the handler of a connection's events.
pub(super) fn on_event(
    address: Arc<str>,
    report: Arc<watch::Sender<Reported>>,
    errors: PermissionErrors,
    sizes: Arc<Sizes>,
    login: Arc<LoginHistory>,
) -> impl Fn(Event) -> Ready<()> + Send + Sync + 'static {
    move |event| {
        match Refusal::of(&event) {
            Some(refusal) => {
                log_permission_error(&address, &refusal, &login);
                errors.tell(refusal);
            }
            None => {
                report.send_modify(|reported| reported.take(&event, &sizes));
                log(&address, &event, &login);
            }
        }
        ready(())
    }
}

/// Logs a permission error. The calls that it concerns hear of it, too.
fn log_permission_error(address: &str, refusal: &Refusal, login: &LoginHistory) {
    let said = quoted(&refusal.words);
    match login.refusals.is_due() {
        true => info!(address, %said, "the credentials do not allow something"),
        false => debug!(address, %said, "the credentials do not allow something"),
    }
}

fn log(address: &str, event: &Event, login: &LoginHistory) {
    match event {
        // A server may send such events all the time.
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
