//! Being told to stop, by our host or by a signal.

use std::time::Duration;

use async_nats::Subject;
use serde::Deserialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::json;

/// Time from the host's order for calls in flight to end. Rust hosts kill us at
/// our answer or 300 ms after their order, whichever is first.
const HOST_GRACE: Duration = Duration::from_millis(200);
/// The same after a signal.
const SIGNAL_GRACE: Duration = Duration::from_secs(2);

/// After the cut-off: time for the last answers, and for our own.
const LAST_ANSWERS: Duration = Duration::from_millis(32);
const LAST_WORD: Duration = Duration::from_millis(13);

/// An order to stop.
pub(super) struct Order {
    /// Where it came from, for the log.
    pub from: &'static str,
    /// When calls in flight are cut off.
    pub cut_off: Instant,
    /// Where to say that we are done.
    pub answer_to: Option<Subject>,
}

impl Order {
    /// The host's order, now.
    pub(super) fn of_host(answer_to: Option<Subject>) -> Self {
        Self {
            from: "host",
            cut_off: Instant::now() + HOST_GRACE,
            answer_to,
        }
    }

    /// When every call must have its answer.
    pub(super) fn answered_by(&self) -> Instant {
        self.cut_off + LAST_ANSWERS
    }

    /// When it must be over.
    pub(super) fn over_by(&self) -> Instant {
        self.answered_by() + LAST_WORD
    }
}

/// SIGTERM and SIGINT, caught from the moment this value is made.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them.
    pub(super) fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    pub(super) async fn order(&mut self) -> Order {
        let from = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        Order {
            from,
            cut_off: Instant::now() + SIGNAL_GRACE,
            answer_to: None,
        }
    }
}

/// Whether a message on the shutdown subject is for us: it names our host, or
/// nothing at all (hosts before 0.59). One that names another host of the
/// lattice, or that cannot be read, is not.
pub(super) fn is_for(host_id: &str, payload: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Message {
        host_id: String,
    }
    payload.is_empty()
        || json::from_slice::<Message>(payload).is_ok_and(|message| message.host_id == host_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_hosts_order_counts() {
        assert!(is_for("N1", b""));
        assert!(is_for("N1", br#"{"host_id":"N1"}"#));
        for other in [
            &br#"{"host_id":"N2"}"#[..],
            b"{}",
            br#"["N1"]"#,
            b"x",
            br#"{"host_id":null}"#,
        ] {
            assert!(!is_for("N1", other), "{other:?}");
        }
    }
}
