//! How calls end when the provider stops: new ones are refused, those in flight have some
//! time, and then they are cut off. Who orders that: a host, or a signal.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind};

/// Time from the host's order for calls in flight to end. Rust hosts kill the provider when
/// it acknowledges the order or 300 ms after they gave it, whichever is first.
const HOST_GRACE: Duration = Duration::from_millis(200);
/// Time from a signal for calls in flight to end.
const SIGNAL_GRACE: Duration = Duration::from_secs(2);

/// Time after the cut-off for the last answers, and then for the acknowledgement.
const LAST_ANSWERS: Duration = Duration::from_millis(32);
const ACKNOWLEDGEMENT: Duration = Duration::from_millis(13);

/// Whether calls are still taken, and those in flight.
#[derive(Default)]
pub struct Drain {
    /// Calls that are not answered yet.
    pub in_flight: TaskTracker,
    stopping: CancellationToken,
    cut_off: CancellationToken,
}

impl Drain {
    /// Refuses new calls from now on.
    pub(super) fn stop(&self) {
        self.stopping.cancel();
        self.in_flight.close();
    }

    /// Cuts off the calls in flight.
    pub(super) fn cut_off(&self) {
        self.cut_off.cancel();
    }

    /// Whether new calls are refused.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Checks that new calls are taken.
    ///
    /// # Errors
    /// `Stopping`.
    pub fn check(&self) -> Result<(), Error> {
        match self.is_stopping() {
            true => Err(Error::new(Kind::Stopping, "the provider is stopping")),
            false => Ok(()),
        }
    }

    /// Waits until calls in flight are cut off.
    pub async fn is_cut_off(&self) {
        self.cut_off.cancelled().await;
    }
}

/// An order to stop.
pub struct StopOrder {
    /// Where it came from, for the log.
    pub from: &'static str,
    /// When calls in flight are cut off.
    pub cut_off: Instant,
}

impl StopOrder {
    /// Returns the order of a host, given now.
    pub fn of_host() -> Self {
        Self {
            from: "host",
            cut_off: Instant::now() + HOST_GRACE,
        }
    }

    /// Returns when every call must have its answer.
    pub fn answered_by(&self) -> Instant {
        self.cut_off + LAST_ANSWERS
    }

    /// Returns when the provider must have acknowledged the order.
    pub fn acknowledged_by(&self) -> Instant {
        self.answered_by() + ACKNOWLEDGEMENT
    }
}

/// SIGTERM and SIGINT, caught from the moment this value is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches them.
    ///
    /// # Errors
    /// That the operating system does not hand them over.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    pub async fn order(&mut self) -> StopOrder {
        let from = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        StopOrder {
            from,
            cut_off: Instant::now() + SIGNAL_GRACE,
        }
    }
}
