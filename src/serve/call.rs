//! A call that may be carried out, and what carries it out.

use std::sync::{Arc, OnceLock};

use crate::contract::{Operation, Request, Response};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::nats::OwnLattice;
use crate::serve::places::Place;
use crate::settings::LinkSettings;

/// A call that proved who sent it, and may be carried out.
pub struct Call<'a> {
    /// Its id, for the log.
    pub id: &'a str,
    /// What is called.
    pub operation: Operation,
    /// Public key of the actor that calls.
    pub actor: &'a str,
    /// Settings of the actor's link.
    pub link: Arc<LinkSettings>,
    /// When the actor must have its answer.
    pub deadline: Deadline,
    /// What it keeps until the actor has its answer.
    pub kept: &'a KeptForAnswer,
}

/// What a call keeps until the actor has its answer.
#[derive(Default)]
pub struct KeptForAnswer {
    /// Its place among the calls of its actor.
    place: OnceLock<Place>,
    /// The room that the answer takes.
    room: OnceLock<Box<dyn Send + Sync>>,
}

impl KeptForAnswer {
    /// Keeps its place.
    pub fn keep_place(&self, place: Place) {
        let _ = self.place.set(place);
    }

    /// Keeps the room of its answer. A call has one result.
    pub fn keep(&self, room: impl Send + Sync + 'static) {
        let _ = self.room.set(Box::new(room));
    }
}

/// What carries out calls: the controller, or a stand-in for it in a test.
pub trait Operations: Send + Sync + 'static {
    /// Carries out a call.
    fn carry_out(
        &self,
        call: &Call<'_>,
        request: Request,
    ) -> impl Future<Output = Result<Response, Error>> + Send;

    /// Begins the work that goes on beside calls and needs the provider's own lattice.
    fn begin(&self, _home: OwnLattice) {}

    /// Waits until work that goes on after its call has ended, and begins nothing more
    /// that could be left half done. The provider is stopping.
    fn finish(&self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Says whether all is well.
    ///
    /// # Errors
    /// What is not.
    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}
