//! The task of a connection: it dials, makes a broken or dead connection again, leaves
//! a server that is about to stop, and closes what nobody uses.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::backoff::Backoff;
use crate::connections::connection::Connection;
use crate::connections::dial::Dialer;
use crate::connections::failure::DialFailure;
use crate::connections::slot::{AfterRedial, Slot};
use crate::connections::state::{FirstDial, State};
use crate::credentials::SharedCredentials;
use crate::fair::Attempt;

/// Pauses before a broken connection is dialled again: so short at first that a
/// restarted server is found at once, so long later that a dead one is left in peace.
const REDIAL: Backoff = Backoff::doubling(Duration::from_millis(25), Duration::from_secs(2));
/// A connection that broke sooner than this counts as so many failed dials.
const SHORT_LIVED: Duration = Duration::from_millis(500);
const FAILED_WHERE_SHORT_LIVED: usize = 6;
/// Pauses between attempts to leave a server that is about to stop.
const LEAVE: Backoff = Backoff::steady(Duration::from_secs(1));
/// Pause between two looks whether a connection in use has become idle.
const IN_USE: Duration = Duration::from_millis(250);

/// The supervisor of one connection after the other, from the first dial until there
/// is none any more.
pub(super) struct Supervisor {
    dialer: Arc<Dialer>,
    slot: Arc<Slot>,
    /// Cancelled when no lattice is bound to the credentials any more.
    unbound: CancellationToken,
}

/// Why a connection is looked after no longer.
enum End {
    /// Nobody needs it any more.
    Unneeded,
    /// Calls get this one instead.
    Replaced(Arc<Connection>),
    /// It broke; what is known of why.
    Broke(Option<String>),
}

impl Supervisor {
    /// Starts a supervisor with a dial, whose result it sends to the calls that wait for it.
    pub(super) fn start(
        dialer: Arc<Dialer>,
        slot: Arc<Slot>,
        credentials: Arc<SharedCredentials>,
        begins: FirstDial,
    ) {
        let supervisor = Self {
            dialer,
            slot,
            unbound: credentials.unbound(),
        };
        tokio::spawn(supervisor.run(credentials, begins));
    }

    async fn run(self, credentials: Arc<SharedCredentials>, begins: FirstDial) {
        let attempt = Attempt {
            party: self.slot.actor(),
            failed: begins.failed_before,
            is_repair: false,
            is_spare: begins.spare.is_some(),
        };
        let (login, is_awaited) = (&self.slot.login, || begins.is_awaited());
        // Where this panics, calls that wait see the end of `begins`. In a box, since
        // the memory of this task stays with the connection.
        let dial = self.dialer.dial(&credentials, login, &attempt, &is_awaited);
        let ended = begins.spare.clone().unwrap_or_default();
        let dial = Box::pin(async {
            tokio::select! {
                dialled = dial => dialled,
                // A call that waits for it since this moment dials anew.
                () = ended.cancelled() => Err(DialFailure::Aborted),
            }
        });
        let dialled = dial.await;
        drop((credentials, attempt));
        let (dialled, connection) = self.slot.dialled(dialled);
        if dialled.is_some() {
            // Where all calls have given up, the result is dropped.
            let _ = begins.result.send(dialled);
        }
        drop(begins);
        let Some(mut connection) = connection else {
            return;
        };
        loop {
            connection = match self.look_after(&connection).await {
                End::Unneeded => {
                    // A slot whose credentials nobody is bound to stays in the table for a
                    // while. It must not keep the connection open, nor its place.
                    self.slot.replace(&connection, State::Idle);
                    return;
                }
                End::Replaced(next) => next,
                End::Broke(why) => match self.redial(connection, why).await {
                    Some(next) => next,
                    None => return,
                },
            };
        }
    }

    /// Dials in a task of its own, after so many dials in a row failed: a panic there is
    /// a failed dial, and another follows.
    async fn dial_apart(
        &self,
        credentials: Arc<SharedCredentials>,
        failed: usize,
    ) -> Result<Connection, DialFailure> {
        let (dialer, login) = (self.dialer.clone(), self.slot.login.clone());
        let attempt = Attempt {
            party: self.slot.actor(),
            failed,
            is_repair: true,
            is_spare: false,
        };
        let dial = async move {
            let dial = dialer.dial(&credentials, &login, &attempt, &|| true);
            dial.await
        };
        let dialled = tokio::spawn(dial).await;
        dialled.unwrap_or(Err(DialFailure::Aborted))
    }

    /// Looks after a connection until it ends.
    async fn look_after(&self, connection: &Arc<Connection>) -> End {
        let (mut reports, released) = (connection.reports.clone(), connection.released());
        let mut look_at = self.next_look(connection);
        let (mut leave_at, mut has_warned) = (None::<Instant>, false);
        loop {
            let leaving = leave_at.is_some();
            tokio::select! {
                () = released.cancelled() => return End::Unneeded,
                () = self.unbound.cancelled() => return End::Unneeded,
                report = reports.changed() => {
                    let now = reports.borrow_and_update().clone();
                    // Where no more reports can come, async-nats has ended.
                    if now.closed || report.is_err() {
                        return End::Broke(now.loss.last().map(str::to_owned));
                    }
                    if now.lame && connection.usage.is_spare() {
                        return End::Unneeded;
                    }
                    if now.lame && !leaving {
                        leave_at = Some(Instant::now());
                    }
                }
                () = connection.doubted.notified() => {
                    if !Box::pin(connection.server_answers()).await {
                        return End::Broke(Some("its server does not answer any more".into()));
                    }
                }
                () = sleep_until(look_at) => {
                    if self.slot.close_if_idle(self.dialer.capacity.idle_limit()) {
                        return End::Unneeded;
                    }
                    look_at = self.next_look(connection);
                }
                () = sleep_until(leave_at.unwrap_or(look_at)), if leaving => {
                    if let Some(end) = self.leave(connection, &mut has_warned).await {
                        return end;
                    }
                    leave_at = Some(Instant::now() + LEAVE.pause(0));
                }
            }
        }
    }

    /// Returns when the connection may have been idle for long enough.
    fn next_look(&self, connection: &Connection) -> Instant {
        let limit = self.dialer.capacity.idle_limit();
        match connection.usage.idle_since() {
            Some(since) => (since + limit).max(Instant::now() + Duration::from_millis(1)),
            None => Instant::now() + IN_USE,
        }
    }

    /// Dials another server of the list; calls in flight end on this connection.
    async fn leave(&self, old: &Arc<Connection>, has_warned: &mut bool) -> Option<End> {
        let Some(credentials) = self.slot.credentials() else {
            return Some(End::Unneeded);
        };
        let address = &*self.slot.address;
        match self.dial_apart(credentials, 0).await {
            Ok(new) if !new.is_lame() => {
                info!(address, "left a server that is about to stop");
                let new = Arc::new(new);
                Some(match self.slot.replace(old, State::Ready(new.clone())) {
                    true => End::Replaced(new),
                    false => End::Unneeded,
                })
            }
            Ok(_) => None,
            Err(failure) => {
                if !std::mem::replace(has_warned, true) {
                    warn!(
                        address,
                        "a server is about to stop, and there is no other: {failure}"
                    );
                }
                None
            }
        }
    }

    /// Dials again and again until there is a connection, the credentials are
    /// rejected, or nobody needs one any more. A connection that no call ever asked for is
    /// not made again.
    async fn redial(
        &self,
        broken: Arc<Connection>,
        why: Option<String>,
    ) -> Option<Arc<Connection>> {
        if broken.usage.is_spare() {
            self.slot.replace(&broken, State::Idle);
            return None;
        }
        let next = State::Broken {
            why: why.unwrap_or_else(|| "the server closed it or is away".into()),
            since: Instant::now(),
        };
        if !self.slot.replace(&broken, next) {
            return None;
        }
        // A server that accepts and closes at once is not dialled all the time.
        let mut failed = match broken.usage.age() > SHORT_LIVED {
            true => 0,
            false => FAILED_WHERE_SHORT_LIVED,
        };
        // Its place is free for the next one.
        drop(broken);
        loop {
            sleep(REDIAL.pause(failed)).await;
            let dialled = self.dial_apart(self.slot.credentials()?, failed).await;
            let idle_limit = self.dialer.capacity.idle_limit();
            match self.slot.redialled(dialled, idle_limit) {
                AfterRedial::Connected(connection) => return Some(connection),
                AfterRedial::TryAgain => failed += 1,
                AfterRedial::GiveUp => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connections::capacity::Capacity;
    use crate::connections::state::Answer;
    use crate::credentials::tests::shared;
    use crate::nats::{AllowedServers, Tls};
    use crate::settings::LatticeLimits;

    #[test]
    fn the_task_that_stays_with_a_connection_is_small() {
        let credentials = shared("h");
        let capacity = Capacity::new(LatticeLimits::default());
        let supervisor = Supervisor {
            slot: capacity.slot(&credentials),
            unbound: credentials.unbound(),
            dialer: Arc::new(Dialer {
                name: "test".into(),
                allowed: AllowedServers::default(),
                unfinished: Arc::default(),
                tls: Tls::default(),
                capacity,
            }),
        };
        let Answer::Dial(_, begins) = State::Idle.answer(0, Instant::now()) else {
            panic!("no dial");
        };
        let task = supervisor.run(credentials, begins);
        let bytes = size_of_val(&task);
        assert!(bytes <= 1024, "{bytes}");
    }
}
