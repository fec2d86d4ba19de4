//! The one connection of a set of credentials, through all its states.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared as SharedFuture};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::connections::capacity::Shared;
use crate::connections::connection::Connection;
use crate::connections::failure::DialFailure;
use crate::connections::reach::reachable;
use crate::connections::reports::OfLogin;
use crate::connections::supervisor;
use crate::connections::usage::Held;
use crate::credentials::{Credentials, Fingerprint};

/// How long a failed dial is an answer to all who ask: at first, and after it
/// failed again and again.
const FAILURE_COUNTS_FOR: Backoff =
    Backoff::doubling(Duration::from_millis(100), Duration::from_secs(2));
/// How long what is refused is not tried again, unless it is set again.
const REJECTION_COUNTS_FOR: Duration = Duration::from_secs(5);

/// Longest that all attempts of one dial take.
const DIAL_ENDS_AFTER: Duration = Duration::from_secs(8);

/// What comes of a dial is in use until whoever waited for it uses it: nobody who
/// needs room takes it away before.
type Dial = SharedFuture<BoxFuture<'static, Result<Arc<Held>, DialFailure>>>;

enum State {
    /// Nobody needed it yet, or nobody did for a while.
    Idle,
    /// One dial is under way, whoever waits for it.
    Connecting(Dial),
    /// Connected.
    Ready(Arc<Connection>),
    /// It broke and is being made again.
    Degraded { why: String, since: Instant },
    /// The last dial failed; until then that is the answer.
    Failed {
        failure: DialFailure,
        until: Instant,
        /// How many dials in a row failed.
        row: usize,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Connecting(_) => f.write_str("connecting"),
            Self::Ready(_) => f.write_str("ready"),
            Self::Degraded { why, .. } => write!(f, "degraded: {why}"),
            Self::Failed { failure, .. } => write!(f, "{failure}"),
        }
    }
}

/// A connection that is dialled once, however many callers wait for it. It closes
/// when it is idle for long enough, and when the slot and the last call that uses
/// it are gone.
pub(crate) struct Slot {
    credentials: Credentials,
    fingerprint: Fingerprint,
    address: String,
    shared: Arc<Shared>,
    login: Arc<OfLogin>,
    made: Instant,
    /// When somebody last asked for it, in milliseconds after `made`.
    asked: AtomicU64,
    state: Mutex<State>,
}

impl Slot {
    pub(crate) fn new(
        credentials: Credentials,
        fingerprint: Fingerprint,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            address: credentials.access().address(),
            credentials,
            fingerprint,
            shared,
            login: Arc::default(),
            made: Instant::now(),
            asked: AtomicU64::new(0),
            state: Mutex::new(State::Idle),
        }
    }

    /// Where it connects to, without user info.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What its credentials are told from others by.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How long a connection that nobody uses stays open.
    pub(crate) fn idle_limit(&self) -> Duration {
        self.shared.limits.idle
    }

    /// The connection, for a call; dials where there is none.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Held, DialFailure> {
        let since = self.made.elapsed().as_millis() as u64;
        self.asked.store(since, Ordering::Relaxed);
        if let Some(why) = self.credentials.expired() {
            return Err(DialFailure::Rejected(why));
        }
        let dial = {
            let mut state = self.lock();
            match &mut *state {
                State::Ready(connection) => return Ok(Held::new(connection.clone())),
                State::Connecting(dial) => dial.clone(),
                State::Degraded { why, since } => {
                    return Err(DialFailure::Down(format!(
                        "it broke {:.1} s ago: {why}",
                        since.elapsed().as_secs_f64()
                    )));
                }
                State::Failed { failure, until, .. } if Instant::now() < *until => {
                    return Err(failure.clone());
                }
                _ => self.begin(&mut state),
            }
        };
        let dialled = dial.clone().await;
        if let Err(DialFailure::Aborted) = dialled {
            self.aborted(&dial);
        }
        dialled.map(|fresh| Held::new(fresh.connection().clone()))
    }

    /// Whether nobody asked for it for as long as an idle one stays.
    fn is_forgotten(&self) -> bool {
        let asked = Duration::from_millis(self.asked.load(Ordering::Relaxed));
        self.made.elapsed().saturating_sub(asked) >= self.idle_limit()
    }

    /// Forgets a failure, and what was too large: the credentials were set again.
    pub(crate) fn retry(&self) {
        self.login.oversize.forget();
        let mut state = self.lock();
        if matches!(*state, State::Failed { .. }) {
            self.enter(&mut state, State::Idle);
        }
    }

    /// Since when nobody uses the connection, where there is one.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        match &*self.lock() {
            State::Ready(connection) => connection.uses().idle_since(),
            _ => None,
        }
    }

    /// Closes the connection if nobody used it for this long.
    pub(crate) fn close_if_idle(&self, limit: Duration) -> bool {
        let mut state = self.lock();
        let State::Ready(connection) = &*state else {
            return false;
        };
        let idle = connection.uses().idle_since();
        if idle.is_none_or(|since| since.elapsed() < limit) {
            return false;
        }
        info!(
            address = self.address,
            "a connection that nobody uses is closed"
        );
        connection.retire();
        self.enter(&mut state, State::Idle);
        true
    }

    // --- what the keeper of the connection tells ---

    /// Takes that a connection broke, and what the server said; whether it is to
    /// be made again. Whether its credentials still count shows the next dial.
    pub(crate) fn broke(&self, connection: &Connection, why: Option<String>) -> bool {
        let mut state = self.lock();
        if !is(&state, connection) {
            return false;
        }
        let broke = State::Degraded {
            why: why.unwrap_or_else(|| "the server closed it or is away".into()),
            since: Instant::now(),
        };
        self.enter(&mut state, broke);
        true
    }

    /// Takes another connection in the place of one whose server is about to
    /// stop.
    pub(crate) fn succeed(self: &Arc<Self>, old: &Connection, new: Connection) {
        let mut state = self.lock();
        if is(&state, old) {
            self.connected(&mut state, Arc::new(new));
        }
    }

    /// Takes what came of a dial that makes a broken connection again; whether
    /// another one is to be tried.
    pub(crate) fn mended(self: &Arc<Self>, dialled: Result<Connection, DialFailure>) -> bool {
        let mut state = self.lock();
        let State::Degraded { why, .. } = &mut *state else {
            return false;
        };
        if self.is_forgotten() {
            self.enter(&mut state, State::Idle);
            return false;
        }
        match dialled {
            Ok(connection) => self.connected(&mut state, Arc::new(connection)),
            // Others have its place: the next call asks for one anew.
            Err(
                failure @ (DialFailure::Rejected(_)
                | DialFailure::Forbidden(_)
                | DialFailure::Limit(_)),
            ) => self.failed(&mut state, failure, 0),
            Err(failure) => {
                *why = failure.to_string();
                return true;
            }
        }
        false
    }

    /// Dials, within the limits.
    async fn dial(&self) -> Result<Connection, DialFailure> {
        if let Some(why) = self.credentials.expired() {
            return Err(DialFailure::Rejected(why));
        }
        let permit = self.shared.connection().await?;
        let _turn = self.shared.dial().await?;
        let access = self.credentials.access();
        let dialled = async {
            let servers = reachable(&self.shared.allowed, access.servers()).await?;
            let (name, login) = (&self.shared.name, &self.login);
            Connection::dial(access, servers, name, login, permit).await
        };
        let late = || {
            Err(DialFailure::Unreachable(
                "no server answered in time".into(),
            ))
        };
        // However many servers, addresses and names there are: others wait.
        let dialled = timeout(DIAL_ENDS_AFTER, dialled).await;
        dialled.unwrap_or_else(|_| late())
    }

    /// The same in a task of its own: what fails there fails alone.
    pub(crate) async fn dial_apart(self: &Arc<Self>) -> Result<Connection, DialFailure> {
        let slot = self.clone();
        let dialled = tokio::spawn(async move { slot.dial().await }).await;
        dialled.unwrap_or(Err(DialFailure::Aborted))
    }

    // --- transitions ---

    /// Dials in a task of its own, so that a caller who gives up harms nobody
    /// else who waits.
    fn begin(self: &Arc<Self>, state: &mut State) -> Dial {
        let row = match state {
            State::Failed { row, .. } => *row,
            _ => 0,
        };
        let slot = self.clone();
        let task = tokio::spawn(async move {
            let dialled = slot.dial().await;
            let dialled = dialled.map(|new| Arc::new(Held::new(Arc::new(new))));
            // Waits for the lock that `connection` holds until the state says
            // that this dial is under way.
            let mut state = slot.lock();
            match &dialled {
                Ok(fresh) => slot.connected(&mut state, fresh.connection().clone()),
                Err(failure) => slot.failed(&mut state, failure.clone(), row),
            }
            dialled
        });
        let dial = async move { task.await.unwrap_or(Err(DialFailure::Aborted)) }
            .boxed()
            .shared();
        self.enter(state, State::Connecting(dial.clone()));
        dial
    }

    fn connected(self: &Arc<Self>, state: &mut State, connection: Arc<Connection>) {
        supervisor::keep(self, &connection);
        self.enter(state, State::Ready(connection));
    }

    /// Takes a failure, after `row` others.
    fn failed(&self, state: &mut State, failure: DialFailure, row: usize) {
        let counts_for = match &failure {
            DialFailure::Rejected(_) | DialFailure::Forbidden(_) => REJECTION_COUNTS_FOR,
            DialFailure::Limit(_) | DialFailure::Aborted => Duration::ZERO,
            _ => FAILURE_COUNTS_FOR.pause(row),
        };
        let failed = State::Failed {
            failure,
            until: Instant::now() + counts_for,
            row: row + 1,
        };
        self.enter(state, failed);
    }

    /// The dial's own task could not say that it was cut off.
    fn aborted(&self, dial: &Dial) {
        let mut state = self.lock();
        if matches!(&*state, State::Connecting(current) if current.ptr_eq(dial)) {
            self.enter(&mut state, State::Idle);
        }
    }

    fn enter(&self, state: &mut State, next: State) {
        let (address, fingerprint) = (&self.address, self.fingerprint);
        match &next {
            State::Failed {
                failure, row: 1, ..
            } => {
                let heard = failure.heard().map(tracing::field::display);
                warn!(address, %fingerprint, heard, "no connection to a lattice's server: {failure}");
            }
            next => debug!(address, %fingerprint, from = %state, to = %next, "connection"),
        }
        *state = next;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether this is the connection that the slot hands out.
fn is(state: &State, connection: &Connection) -> bool {
    matches!(state, State::Ready(ready) if std::ptr::eq(Arc::as_ptr(ready), connection))
}
