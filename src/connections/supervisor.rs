//! Looks after a connection while nobody calls: makes it again when it breaks or
//! becomes deaf, leaves a server that is about to stop, closes what nobody uses.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::connections::connection::Connection;
use crate::connections::reports::Reported;
use crate::connections::slot::Slot;

/// Pauses before a broken connection is dialled again: so short at first that a
/// restarted server is found at once, long enough later on to leave a dead one
/// in peace.
const MEND: Backoff = Backoff::doubling(Duration::from_millis(25), Duration::from_secs(2));
/// How long a connection lasts that is made again at once, and as how many failed
/// attempts one counts that did not.
const LASTED: Duration = Duration::from_millis(500);
const SHORT_LIVED: usize = 6;
/// Pauses before a server that is about to stop is tried to be left again.
const LEAVE: Backoff = Backoff::steady(Duration::from_secs(1));
/// How long after a connection was found in use it is looked at again.
const IN_USE: Duration = Duration::from_millis(250);

/// Has somebody keep this connection of a slot.
pub(crate) fn keep(slot: &Arc<Slot>, connection: &Arc<Connection>) {
    let keeper = Keeper {
        slot: Arc::downgrade(slot),
        connection: Arc::downgrade(connection),
        reports: connection.reports(),
        doubts: connection.doubts(),
        released: connection.released(),
    };
    tokio::spawn(keeper.run());
}

/// Holds neither the slot nor the connection: bindings and calls do.
struct Keeper {
    slot: Weak<Slot>,
    connection: Weak<Connection>,
    reports: watch::Receiver<Reported>,
    doubts: Arc<Notify>,
    released: CancellationToken,
}

impl Keeper {
    async fn run(mut self) {
        let mut look_at = self.next_look();
        let (mut leave_at, mut told) = (None::<Instant>, false);
        loop {
            let leaving = leave_at.is_some();
            tokio::select! {
                () = self.released.cancelled() => return,
                report = self.reports.changed() => {
                    let now = self.reports.borrow_and_update().clone();
                    // No more reports: async-nats has given up, too.
                    if now.closed || report.is_err() {
                        let words = now.loss.words();
                        let said = words.map(|words| format!("its server said {words}"));
                        return self.mend(said).await;
                    }
                    if now.lame && !leaving {
                        leave_at = Some(Instant::now());
                    }
                }
                () = self.doubts.notified() => {
                    if self.is_deaf().await {
                        return self.mend(Some("its server does not answer any more".into())).await;
                    }
                }
                () = sleep_until(look_at) => {
                    let Some(slot) = self.slot.upgrade() else { return };
                    if slot.close_if_idle(slot.idle_limit()) {
                        return;
                    }
                    look_at = self.next_look();
                }
                () = sleep_until(leave_at.unwrap_or(look_at)), if leaving => {
                    if self.leave(&mut told).await {
                        return;
                    }
                    leave_at = Some(Instant::now() + LEAVE.pause(0));
                }
            }
        }
    }

    /// Whether nothing comes back over the connection any more, though it is open.
    async fn is_deaf(&self) -> bool {
        let Some(connection) = self.connection.upgrade() else {
            return false;
        };
        !connection.answers().await
    }

    /// When the connection may have been idle for long enough.
    fn next_look(&self) -> Instant {
        let limit = self.slot.upgrade().map(|slot| slot.idle_limit());
        let idle = self
            .connection
            .upgrade()
            .and_then(|c| c.uses().idle_since());
        match (limit, idle) {
            (Some(limit), Some(since)) => {
                (since + limit).max(Instant::now() + Duration::from_millis(1))
            }
            _ => Instant::now() + IN_USE,
        }
    }

    /// Dials another server of the list; calls under way end on this one.
    async fn leave(&self, told: &mut bool) -> bool {
        let Some(slot) = self.slot.upgrade() else {
            return true;
        };
        let dialled = slot.dial_apart().await;
        let Some(old) = self.connection.upgrade() else {
            return true;
        };
        match dialled {
            Ok(new) if !new.is_lame() => {
                info!(
                    address = slot.address(),
                    "left a server that is about to stop"
                );
                slot.succeed(&old, new);
                true
            }
            Ok(_) => false,
            Err(failure) => {
                let address = slot.address();
                if !std::mem::replace(told, true) {
                    warn!(
                        address,
                        "a server is about to stop, and there is no other: {failure}"
                    );
                }
                false
            }
        }
    }

    /// Dials again and again until there is a connection, the credentials are
    /// rejected, or nobody asks for it any more.
    async fn mend(self, why: Option<String>) {
        // A server that takes us in and closes at once is not dialled all the time.
        let mut lasted = true;
        let broke = |slot: Arc<Slot>| {
            let connection = self.connection.upgrade()?;
            lasted = connection.uses().age() > LASTED;
            slot.broke(&connection, why).then_some(())
        };
        if self.slot.upgrade().and_then(broke).is_none() {
            return;
        }
        let mut failed = match lasted {
            true => 0,
            false => SHORT_LIVED,
        };
        loop {
            sleep(MEND.pause(failed)).await;
            let Some(slot) = self.slot.upgrade() else {
                return;
            };
            let dialled = slot.dial_apart().await;
            if !slot.mended(dialled) {
                return;
            }
            failed += 1;
        }
    }
}
