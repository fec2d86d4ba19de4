//! One call that is carried out: what its operation may use, and its line in the log.

use std::sync::OnceLock;
use std::time::Instant;

use tracing::{debug, warn};

use crate::connections::Held;
use crate::contract::Response;
use crate::controller::Controller;
use crate::credentials::Fingerprint;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::name::LatticeId;
use crate::serve::places::Place;
use crate::serve::{Call, policy};

/// A call that is being carried out.
pub(super) struct Execution<'a> {
    pub(super) controller: &'a Controller,
    incoming: &'a Call<'a>,
    started: Instant,
    /// Its place among the calls to the lattice.
    place: OnceLock<Place>,
    /// For the log: the lattice, once it is known to be one.
    lattice: OnceLock<LatticeId>,
    /// For the log: the credentials that it used, once there is a connection.
    credentials: OnceLock<Fingerprint>,
    /// For the log: how it ended. Not set while it runs.
    outcome: OnceLock<&'static str>,
}

impl<'a> Execution<'a> {
    pub(super) fn new(controller: &'a Controller, incoming: &'a Call<'a>) -> Self {
        Self {
            controller,
            incoming,
            started: Instant::now(),
            place: OnceLock::new(),
            lattice: OnceLock::new(),
            credentials: OnceLock::new(),
            outcome: OnceLock::new(),
        }
    }

    /// Returns the lattice that a request names, if the actor may name it.
    ///
    /// # Errors
    /// `Invalid`, `Denied`.
    pub(super) fn lattice_id(&self, id: &str) -> Result<LatticeId, Error> {
        let lattice = LatticeId::parse(id)?;
        let _ = self.lattice.set(lattice.clone());
        let provider = &self.controller.settings.default_policy;
        policy::check_lattice(provider, &self.incoming.link, self.actor(), id)?;
        Ok(lattice)
    }

    /// Connects to a lattice. Everything else is checked first: this may dial.
    ///
    /// # Errors
    /// `Busy`, `UnknownLattice`, `StoreUnavailable`, `CredentialsRejected`,
    /// `NotConnected`, `LimitReached`.
    pub(super) async fn connect(&self, id: LatticeId) -> Result<Lattice, Error> {
        let deadline = self.incoming.deadline;
        let places = &self.controller.lattices;
        let Some(place) = places.place(&id, self.actor(), deadline).await else {
            return Err(self.busy(&id));
        };
        let _ = self.place.set(place);
        let controller = self.controller;
        let found = controller.credentials.find(&id, self.actor(), deadline);
        let route = found.await?;
        let roster = controller.rosters.of(&route);
        let leased = controller
            .connections
            .lease(&id, &route.credentials, self.actor(), deadline);
        let lease = leased.await?;
        let _ = self.credentials.set(route.credentials.fingerprint());
        let limits = controller.settings.limits;
        let limits = limits.with_link(&self.incoming.link.limits);
        let duties = controller.duties.clone();
        let js_domain = route.js_domain.clone();
        let components = controller.settings.components.clone();
        let lattice = Lattice::new(
            id, js_domain, lease, roster, deadline, limits, components, duties,
        );
        lattice.keep_fresh();
        Ok(lattice)
    }

    /// Makes the error of a call to a lattice that has no place for it.
    fn busy(&self, lattice: &LatticeId) -> Error {
        let (actor, lattice) = (self.actor(), lattice.as_str());
        if let Some(line) = self.controller.busy_log.occurrence(Some(actor)) {
            let (count, unlogged) = (line.count, line.unlogged);
            warn!(lattice, actor, count, unlogged, "calls are refused as busy");
        }
        let most = self.controller.lattices.most();
        Error::new(
            Kind::Busy,
            format!(
                "lattice {lattice:?} is busy: actor {actor} has as many of {most} places for \
                 calls to it as it leaves to others (max_lattice_calls); try again later"
            ),
        )
    }

    /// Returns a result, and keeps the room that it takes until the actor has its answer.
    pub(super) fn keep<T, R: Send + Sync + 'static>(&self, result: Held<T, R>) -> T {
        let (result, room) = result.into_parts();
        self.incoming.kept.keep(room);
        result
    }

    /// Returns the public key of the actor that calls.
    pub(super) fn actor(&self) -> &str {
        self.incoming.actor
    }

    /// Returns when the actor must have its answer.
    pub(super) fn deadline(&self) -> Deadline {
        self.incoming.deadline
    }

    /// Notes how the call ended.
    pub(super) fn ended(&self, result: &Result<Response, Error>) {
        let outcome = match result {
            Ok(_) => "ok",
            Err(error) => error.kind().name(),
        };
        let _ = self.outcome.set(outcome);
    }
}

/// Logs the one line of the call at debug, also of a call that is cut off.
impl Drop for Execution<'_> {
    fn drop(&mut self) {
        debug!(
            operation = self.incoming.operation.full_name(),
            lattice = self.lattice.get().map_or("-", LatticeId::as_str),
            actor = self.incoming.actor,
            credentials = self.credentials.get().map(tracing::field::display),
            outcome = self.outcome.get().copied().unwrap_or("cut_off"),
            ms = self.started.elapsed().as_secs_f64() * 1000.0,
            id = self.incoming.id,
            "call"
        );
    }
}
