//! The slot of one set of credentials: the state of its connection, under a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::connections::connection::Connection;
use crate::connections::failure::DialFailure;
use crate::connections::lease::Lease;
use crate::connections::reports::LoginHistory;
use crate::connections::state::{Answer, Dialled, SpareAnswer, State};
use crate::credentials::{Fingerprint, SharedCredentials};
use crate::lock::Lock;

/// The state of a connection, and what is remembered from one connection to the next.
pub(super) struct Slot {
    credentials: Weak<SharedCredentials>,
    fingerprint: Fingerprint,
    /// Where it connects to, for people.
    pub(super) address: Arc<str>,
    pub(super) login: Arc<LoginHistory>,
    /// How often the credentials had been set when a call last asked.
    times_set: AtomicU64,
    made: Instant,
    /// When a call last asked for the connection, in milliseconds after `made`.
    asked: AtomicU64,
    /// The actor whose call asked for the last dial.
    actor: Lock<Arc<str>>,
    state: Lock<State>,
}

/// What follows a dial that was to replace a broken connection.
pub(super) enum AfterRedial {
    Connected(Arc<Connection>),
    TryAgain,
    GiveUp,
}

impl Slot {
    pub(super) fn new(credentials: &Arc<SharedCredentials>) -> Self {
        Self {
            credentials: Arc::downgrade(credentials),
            fingerprint: credentials.fingerprint(),
            address: credentials.address().clone(),
            login: Arc::default(),
            times_set: AtomicU64::new(credentials.times_set()),
            made: Instant::now(),
            asked: AtomicU64::new(0),
            actor: Lock::new("".into()),
            state: Lock::new(State::Idle),
        }
    }

    /// The credentials, where a lattice is still bound to them.
    pub(super) fn credentials(&self) -> Option<Arc<SharedCredentials>> {
        self.credentials.upgrade()
    }

    /// Whether this is the slot of these credentials, not of equal ones before them.
    pub(super) fn is_of(&self, credentials: &Arc<SharedCredentials>) -> bool {
        std::ptr::eq(self.credentials.as_ptr(), Arc::as_ptr(credentials))
    }

    /// Whether any lattice is still bound to the credentials.
    pub(super) fn is_bound(&self) -> bool {
        self.credentials.strong_count() > 0
    }

    /// Returns what a call gets now.
    pub(super) fn ask(&self, credentials: &SharedCredentials) -> Answer {
        let since = self.made.elapsed().as_millis() as u64;
        self.asked.store(since, Ordering::Relaxed);
        let times_set = credentials.times_set();
        if self.times_set.swap(times_set, Ordering::Relaxed) != times_set {
            // Somebody may have raised the limit of the server.
            self.login.oversize.forget();
        }
        if let Some(why) = credentials.expired() {
            return Answer::Failure(DialFailure::Rejected(why));
        }
        self.state.lock().answer(times_set, Instant::now())
    }

    /// Returns what a task in the background gets now, which is no use of the connection.
    pub(super) fn ask_spare(&self, credentials: &SharedCredentials) -> SpareAnswer {
        match credentials.expired() {
            Some(_) => SpareAnswer::Nothing,
            None => self.state.lock().answer_spare(),
        }
    }

    /// Returns the connection, where there is one, for what is no use of it.
    pub(super) fn connection(&self) -> Option<Arc<Connection>> {
        match &*self.state.lock() {
            State::Ready(connection) => Some(connection.clone()),
            _ => None,
        }
    }

    /// Ends the dial that is under way, where no call ever waited for it; returns whether
    /// there is such a dial.
    pub(super) fn end_spare_dial(&self) -> bool {
        let state = self.state.lock();
        let spare = state.spare_dial();
        if let Some(ends) = spare {
            ends.cancel();
        }
        spare.is_some()
    }

    /// Whether no call ever asked for the connection.
    pub(super) fn is_spare(&self) -> bool {
        let state = self.state.lock();
        matches!(&*state, State::Ready(connection) if connection.usage.is_spare())
    }

    /// Notes whose call asks for a dial.
    pub(super) fn dialled_for(&self, actor: &str) {
        *self.actor.lock() = actor.into();
    }

    /// Returns the actor whose call asked for the last dial.
    pub(super) fn actor(&self) -> Arc<str> {
        self.actor.lock().clone()
    }

    // --- transitions ---

    /// Enters the state after the first dial. Returns the result for the calls that wait,
    /// and the connection. A dial that no call ever waited for leaves no failure behind.
    pub(super) fn dialled(
        &self,
        dialled: Result<Connection, DialFailure>,
    ) -> (Option<Dialled>, Option<Arc<Connection>>) {
        let mut state = self.state.lock();
        let is_spare = state.spare_dial().is_some();
        match dialled {
            Ok(connection) => {
                let connection = Arc::new(connection);
                let lease = match is_spare {
                    true => {
                        connection.usage.is_made_spare();
                        None
                    }
                    // In use before anybody can close it to make room.
                    false => Some(Ok(Arc::new(Lease::new(connection.clone())))),
                };
                self.enter(&mut state, State::Ready(connection.clone()));
                (lease, Some(connection))
            }
            Err(failure) if is_spare => {
                let (address, fingerprint) = (&*self.address, self.fingerprint);
                let heard = failure.foreign_words().map(tracing::field::display);
                info!(address, %fingerprint, heard, "not connected before the first call: {failure}");
                self.enter(&mut state, State::Idle);
                (None, None)
            }
            Err(failure) => {
                let next = state.after_failure(failure.clone(), self.times_set(), Instant::now());
                self.enter(&mut state, next);
                (Some(Err(failure)), None)
            }
        }
    }

    /// Enters another state, if calls get this connection now; returns whether they do.
    pub(super) fn replace(&self, connection: &Arc<Connection>, next: State) -> bool {
        let mut state = self.state.lock();
        let is_current = state.has(connection);
        if is_current {
            self.enter(&mut state, next);
        }
        is_current
    }

    /// Enters the state after a dial that was to replace a broken connection. Gives
    /// up where no call asked for a connection within this time.
    pub(super) fn redialled(
        &self,
        dialled: Result<Connection, DialFailure>,
        idle_limit: Duration,
    ) -> AfterRedial {
        let mut state = self.state.lock();
        if !matches!(*state, State::Broken { .. }) {
            return AfterRedial::GiveUp;
        }
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        if self.made.elapsed().saturating_sub(asked) >= idle_limit {
            self.enter(&mut state, State::Idle);
            return AfterRedial::GiveUp;
        }
        match dialled {
            Ok(connection) => {
                let connection = Arc::new(connection);
                self.enter(&mut state, State::Ready(connection.clone()));
                AfterRedial::Connected(connection)
            }
            Err(failure) => {
                let next = state.after_redial(failure, self.times_set(), Instant::now());
                if matches!(next, State::Broken { .. }) {
                    // Not a new state: every attempt would be logged.
                    *state = next;
                    return AfterRedial::TryAgain;
                }
                self.enter(&mut state, next);
                AfterRedial::GiveUp
            }
        }
    }

    /// Whether there is a connection.
    pub(super) fn is_connected(&self) -> bool {
        matches!(*self.state.lock(), State::Ready(_))
    }

    /// Returns since when no call uses the connection, where there is one.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.state.lock().idle_since()
    }

    /// Closes the connection if no call used it for this long; returns whether it did.
    pub(super) fn close_if_idle(&self, limit: Duration) -> bool {
        let mut state = self.state.lock();
        let State::Ready(connection) = &*state else {
            return false;
        };
        if state
            .idle_since()
            .is_none_or(|since| since.elapsed() < limit)
        {
            return false;
        }
        info!(
            address = &*self.address,
            "a connection that nobody uses is closed"
        );
        connection.retire();
        self.enter(&mut state, State::Idle);
        true
    }

    fn times_set(&self) -> u64 {
        self.credentials()
            .map_or(0, |credentials| credentials.times_set())
    }

    fn enter(&self, state: &mut State, next: State) {
        let (address, fingerprint) = (&*self.address, self.fingerprint);
        match next.first_failure() {
            Some(failure) => {
                let heard = failure.foreign_words().map(tracing::field::display);
                warn!(address, %fingerprint, heard, "no connection to a lattice's server: {failure}");
            }
            None => debug!(address, %fingerprint, from = %state, to = %next, "connection"),
        }
        *state = next;
    }
}
