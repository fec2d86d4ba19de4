//! One call: what its operation may use, and its line in the log.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;

use serde::de::IgnoredAny;
use tracing::{debug, warn};
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::controller::Controller;
use crate::credentials::Fingerprint;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::front::wasmbus;
use crate::lattice::Lattice;
use crate::name::LatticeId;
use crate::serve::admission::Place;
use crate::settings::Decider;
use crate::telemetry::security::{self, Cause};

/// A call that is being carried out.
pub(super) struct Call<'a> {
    pub(super) controller: &'a Controller,
    incoming: &'a wasmbus::Call,
    started: Instant,
    /// Its place among the calls to the lattice.
    place: OnceLock<Place>,
    /// For the log: the lattice, once it is known to be one.
    lattice: OnceLock<LatticeId>,
    /// For the log: the credentials that it used, once there is a connection.
    credentials: OnceLock<Fingerprint>,
    /// For the log: why it failed.
    failure: OnceLock<Kind>,
    /// For the log: what came of it; nothing while it runs.
    outcome: OnceLock<&'static str>,
}

impl<'a> Call<'a> {
    pub(super) fn new(controller: &'a Controller, incoming: &'a wasmbus::Call) -> Self {
        Self {
            controller,
            incoming,
            started: Instant::now(),
            place: OnceLock::new(),
            lattice: OnceLock::new(),
            credentials: OnceLock::new(),
            failure: OnceLock::new(),
            outcome: OnceLock::new(),
        }
    }

    /// The lattice that a request names: a valid id, and one that the link of
    /// the actor allows.
    ///
    /// # Errors
    /// `Invalid`, `Denied`.
    pub(super) fn lattice_id(&self, id: &str) -> Result<LatticeId, Error> {
        let lattice = LatticeId::parse(id)?;
        let _ = self.lattice.set(lattice.clone());
        let allowed = self.controller.allowed(&self.incoming.link)?.lattice(id);
        allowed.map_err(|by| {
            let what = format!("lattice {id:?}");
            denied(Cause::Lattice, &self.incoming.actor, &what, by)
        })?;
        Ok(lattice)
    }

    /// A lattice to talk to. Check everything else first: this may dial.
    ///
    /// # Errors
    /// `Busy`, `UnknownLattice`, `StoreUnavailable`, `CredentialsRejected`,
    /// `NotConnected`, `LimitReached`.
    pub(super) async fn connect(&self, id: LatticeId) -> Result<Lattice, Error> {
        let deadline = self.incoming.deadline;
        let places = &self.controller.lattices;
        let Some(place) = places.place(&id, deadline).await else {
            if self.controller.busy.is_due() {
                warn!(lattice = id.as_str(), "calls are refused as busy");
            }
            return Err(Error::new(
                Kind::Busy,
                format!(
                    "lattice {:?} is busy: {} calls to it are under way (max_lattice_calls); \
                     try again later",
                    id.as_str(),
                    places.most()
                ),
            ));
        };
        let _ = self.place.set(place);
        let found = self
            .controller
            .credentials
            .find(&id, self.actor(), deadline);
        let route = found.await?;
        let roster = self.controller.rosters.of(&route);
        let leased = self
            .controller
            .connections
            .lease(&id, &route.credentials, deadline);
        let lease = leased.await?;
        let _ = self.credentials.set(route.credentials.fingerprint());
        let limits = self.controller.settings()?.limits;
        let limits = limits.with_link(&self.incoming.link.limits);
        let duties = self.controller.duties.clone();
        let js_domain = route.js_domain.clone();
        Ok(Lattice::new(
            id, js_domain, lease, roster, deadline, limits, duties,
        ))
    }

    /// Public key of the actor that calls.
    pub(super) fn actor(&self) -> &str {
        &self.incoming.actor
    }

    /// When it must have its answer.
    pub(super) fn deadline(&self) -> Deadline {
        self.incoming.deadline
    }

    /// That the arguments have this member. Numbers that are missing decode as
    /// 0, and for `count` that would mean "all" or "one".
    ///
    /// # Errors
    /// `Invalid` where it is missing.
    pub(super) fn has_member(&self, name: &str) -> Result<(), Error> {
        // Arguments in positional form have every member, or do not decode.
        match rmp_serde::from_slice::<HashMap<&str, IgnoredAny>>(&self.incoming.argument) {
            Ok(members) if !members.contains_key(name) => {
                Err(Error::invalid(format!("{name} is missing")))
            }
            _ => Ok(()),
        }
    }

    /// Notes why the call failed.
    pub(super) fn failed(&self, error: &Error) {
        let _ = self.failure.set(error.kind());
    }

    /// Notes what came of the call.
    pub(super) fn ended(&self, result: &RpcResult<Vec<u8>>) {
        let outcome = match (self.failure.get(), result) {
            (Some(kind), _) => kind.name(),
            (None, Ok(_)) => "ok",
            (None, Err(RpcError::Deser(_))) => "undecodable",
            (None, Err(RpcError::MethodNotHandled(_))) => "unknown_operation",
            (None, Err(_)) => "error",
        };
        let _ = self.outcome.set(outcome);
    }
}

/// That an actor may not do something, and which setting says so.
pub(super) fn denied(cause: Cause, actor: &str, what: &str, by: Decider) -> Error {
    let setting = match cause {
        Cause::Lattice => "lattices",
        _ => "operations",
    };
    let message = match by {
        Decider::Link => format!("the link of actor {actor} does not allow {what} ({setting})"),
        Decider::Provider => format!(
            "the provider does not allow {what} to actor {actor}, whose link does not say \
             (default_{setting})"
        ),
    };
    security::refused(cause, actor, &message);
    Error::new(Kind::Denied, message)
}

/// The one line that every call leaves at debug, also one that is cut off.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        debug!(
            operation = self.incoming.operation,
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
