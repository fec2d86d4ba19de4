//! The one connection of a set of credentials.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

use super::connection::{Connection, DialFailure};
use super::credentials::Credentials;

type Dial = Shared<BoxFuture<'static, Result<Arc<Connection>, DialFailure>>>;

enum State {
    /// Nobody needed it yet, or the last dial failed.
    Idle,
    /// One dial is under way, whoever waits for it.
    Connecting(Dial),
    /// Connected, at least once.
    Ready(Arc<Connection>),
}

/// A connection that is dialled once, however many callers wait for it. It
/// closes when the slot and the last call that uses it are gone.
pub(super) struct Slot {
    credentials: Credentials,
    address: String,
    state: Mutex<State>,
}

impl Slot {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            address: credentials.access().address(),
            credentials,
            state: Mutex::new(State::Idle),
        }
    }

    /// Where it connects to, without user info.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// The connection; dials where there is none.
    pub(super) async fn connection(
        self: &Arc<Self>,
        name: String,
    ) -> Result<Arc<Connection>, DialFailure> {
        let dial = match &mut *self.lock() {
            State::Ready(connection) if !connection.is_closed() => return Ok(connection.clone()),
            State::Connecting(dial) => dial.clone(),
            state => {
                let dial = self.dial(name);
                *state = State::Connecting(dial.clone());
                dial
            }
        };
        let dialled = dial.await;
        if let Err(DialFailure::Aborted) = dialled {
            // The dial's own task could not say so.
            let mut state = self.lock();
            if matches!(*state, State::Connecting(_)) {
                *state = State::Idle;
            }
        }
        dialled
    }

    /// Dials in a task of its own, so that a caller who gives up harms nobody
    /// else who waits.
    fn dial(self: &Arc<Self>, name: String) -> Dial {
        let slot = Arc::downgrade(self);
        let access = self.credentials.access().clone();
        let task = tokio::spawn(async move {
            let dialled = Connection::dial(&access, name).await.map(Arc::new);
            // Waits for the lock that `connection` holds until the state says
            // that this dial is under way.
            if let Some(slot) = slot.upgrade() {
                *slot.lock() = match &dialled {
                    Ok(connection) => State::Ready(connection.clone()),
                    Err(_) => State::Idle,
                };
            }
            dialled
        });
        async move { task.await.unwrap_or(Err(DialFailure::Aborted)) }
            .boxed()
            .shared()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
