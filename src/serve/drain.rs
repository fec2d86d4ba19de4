//! How calls end when the provider stops: new ones are refused, those in flight have some
//! time, and then they are cut off. A host asks for that, or a signal.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Error, Kind};

/// Time from the host's request for calls in flight to end. Rust hosts kill the provider when
/// it acknowledges the request or 300 ms after they sent it, whichever is first.
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

    /// Checks that new calls are taken.
    ///
    /// # Errors
    /// `Stopping`.
    pub fn check(&self) -> Result<(), Error> {
        match self.stopping.is_cancelled() {
            true => Err(Error::new(Kind::Stopping, "the provider is stopping")),
            false => Ok(()),
        }
    }

    /// Waits until calls in flight are cut off.
    pub async fn until_cut_off(&self) {
        self.cut_off.cancelled().await;
    }
}

/// A request to stop.
pub struct StopRequest {
    /// Where it came from, for the log.
    pub from: &'static str,
    /// When calls in flight are cut off.
    pub cut_off: Instant,
}

impl StopRequest {
    /// Returns the request of a host that came now.
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

    /// Returns when the provider must have acknowledged the request.
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
    /// Begins to catch them.
    ///
    /// # Errors
    /// Fails where the operating system does not hand them over.
    pub fn install() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one of them.
    pub async fn stop_request(&mut self) -> StopRequest {
        let from = tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        StopRequest {
            from,
            cut_off: Instant::now() + SIGNAL_GRACE,
        }
    }
}
