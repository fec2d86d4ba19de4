//! A connection before any call asks for it, with what nobody else needs: it waits for no
//! place, closes no other connection, and gives its own place to the first call that wants it.

use std::sync::Arc;

use crate::connections::state::SpareAnswer;
use crate::connections::supervisor::Supervisor;
use crate::connections::{Connection, Connections};
use crate::credentials::SharedCredentials;
use crate::fair::{Attempt, Permit};

/// A connection for a task in the background. This is no use of it: it may close to make room.
pub struct Spare {
    /// The connection.
    pub connection: Arc<Connection>,
    /// The place of the task: there are few of them, and each actor has its share.
    pub place: Permit,
}

impl Connections {
    /// Returns the connection of credentials. Dials once where there is none, at the expense
    /// of this actor and with spare places only; `None` where there is no such place, where
    /// the dial fails, and where an earlier connection failed or broke.
    pub async fn spare(
        &self,
        credentials: Arc<SharedCredentials>,
        actor: &Arc<str>,
    ) -> Option<Spare> {
        let capacity = &self.0.capacity;
        let place = capacity.spares.take_spare(&Attempt::first(actor.clone()))?;
        let slot = capacity.slot(&credentials);
        let connection = match slot.ask_spare(&credentials) {
            SpareAnswer::Nothing => None,
            SpareAnswer::Connection(connection) => Some(connection),
            SpareAnswer::Wait(over) => {
                drop(credentials);
                over.cancelled().await;
                slot.connection()
            }
            SpareAnswer::Dial(over, begins) => {
                slot.dialled_for(actor);
                Supervisor::start(self.0.clone(), slot.clone(), credentials, begins);
                over.cancelled().await;
                slot.connection()
            }
        };
        Some(Spare {
            connection: connection?,
            place,
        })
    }
}
