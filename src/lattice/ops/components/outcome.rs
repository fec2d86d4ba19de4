//! What came of an order to a host of 1.x.
//!
//! That the host took an order promises nothing (docs/hosts.md#success-promises-nothing).
//! Its inventory proves that it was carried out, and an event that it failed. Where neither
//! comes in time, the order stands as taken: a download may take minutes.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::SHOWN_WITHIN;
use crate::lattice::commands::locks::{HeldLocks, Hold};
use crate::lattice::commands::target::Target;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v1::plan::{Noun, Told};
use crate::name::{ComponentId, HostId};

/// After which time an order counts as failed on a host that tells each that fails: a
/// download may take minutes, and a silent registry is waited for without end.
const TELLS_WITHIN: Duration = Duration::from_secs(120);
/// How long a call waits for what came of an order.
const OUTCOME_WITHIN: Duration = Duration::from_secs(1);
/// Time that the answer to the caller needs.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);
/// How long it is looked whether a host shows an earlier order.
const ONE_LOOK: Duration = Duration::from_millis(100);
/// Pause before the second look at the inventory. It doubles with each further one, up to
/// the other.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(15);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(240);

/// What is known of an order.
pub(super) enum Outcome {
    /// The host shows it.
    Shown,
    /// The host says that it failed, for this reason.
    Failed(String),
    /// Neither, by now.
    Open,
}

impl Lattice {
    /// Finds out what came of an order that a host took.
    ///
    /// # Errors
    /// `Refused` where the host says that it failed.
    pub(super) async fn outcome(
        &self,
        host: &HostId,
        id: &ComponentId,
        told: &Told,
    ) -> Result<(), Error> {
        let by = self.deadline.earlier(TIME_TO_ANSWER);
        let until = by.within(OUTCOME_WITHIN);
        match self.find_out(host, id, told, until).await {
            Outcome::Shown | Outcome::Open => Ok(()),
            Outcome::Failed(reason) => Err(self.failed(host, id, told, &reason)),
        }
    }

    /// Returns the error of a scale of what was started from another reference meanwhile, as
    /// the host says in these words.
    pub(super) fn keeps_other_code(&self, host: &HostId, id: &ComponentId, words: &str) -> Error {
        let scales = &self.roster.commands.scales;
        scales.end(host, Noun::Component, id);
        Error::new(
            Kind::Partial,
            format!(
                "{} scaled component {id}, which was started from another reference meanwhile, \
                 and keeps that code: {}",
                self.display_host(host),
                quoted(words)
            ),
        )
    }

    /// Returns after which time an order that a host took, and does not show, counts as
    /// failed.
    pub(super) fn shows_within(&self, host: &HostId) -> Duration {
        let tells = match self.roster.dialect(host) {
            Some(Dialect::V1(software)) => software.behaviour.tells_all_failures,
            _ => false,
        };
        match tells && self.roster.may_hear(host, self.connection.epoch()) {
            true => TELLS_WITHIN,
            false => SHOWN_WITHIN,
        }
    }

    /// Looks until then whether an order is shown, or failed.
    pub(super) async fn find_out(
        &self,
        host: &HostId,
        id: &ComponentId,
        told: &Told,
        until: Deadline,
    ) -> Outcome {
        let (scales, noun) = (&self.roster.commands.scales, told.noun());
        let mut pause = LOOK_AGAIN_AFTER;
        loop {
            let failure = scales.failure(host, noun, id);
            if let Ok(inventory) = self.inventory_1x(host, until).await
                && told.is_shown(id, &inventory)
            {
                scales.end(host, noun, id);
                return Outcome::Shown;
            }
            // The same order of somebody else may have failed: the inventory came first.
            if let Some(reason) = failure {
                scales.end(host, noun, id);
                return Outcome::Failed(reason);
            }
            if Instant::now() + pause >= until.at() {
                return Outcome::Open;
            }
            tokio::select! {
                () = scales.any_failure() => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LOOK_AGAIN_AT_MOST);
        }
    }

    /// Takes the lock of a component or a provider, and waits until the host shows what it was
    /// told about it before.
    ///
    /// # Errors
    /// `Busy` where it does not in time, or another command holds the lock.
    pub(super) async fn lock_when_shown(
        &self,
        host: &HostId,
        noun: Noun,
        id: &ComponentId,
    ) -> Result<HeldLocks, Error> {
        let target = Target {
            host,
            key: Some(id.as_str()),
            image_ref: "",
            names_actor: true,
        };
        let locks = &self.roster.commands.locks;
        let lock = locks.target(target, Hold::Alone, self.deadline).await?;
        let scales = &self.roster.commands.scales;
        if let Some(before) = scales.unshown(host, noun, id) {
            let until = self.deadline.half();
            self.find_out(host, id, &before.told, until).await;
        }
        match scales.unshown(host, noun, id) {
            None => Ok(lock),
            Some(before) => Err(Error::new(
                Kind::Busy,
                format!(
                    "{} does not show yet what it was told about {noun} {id} {} ms ago, and this \
                     command depends on it; nothing was sent: try again. After {} s it counts as \
                     failed",
                    self.display_host(host),
                    before.waited.as_millis(),
                    before.shown_within.as_secs()
                ),
            )),
        }
    }

    /// Looks whether a host still does not show what it was told.
    pub(in crate::lattice::ops) async fn is_still_unshown(
        &self,
        host: &HostId,
        id: &ComponentId,
        told: &Told,
    ) -> bool {
        let until = self.deadline.within(ONE_LOOK);
        matches!(self.find_out(host, id, told, until).await, Outcome::Open)
    }

    /// Returns the error of an order that failed, as the host says.
    pub(super) fn failed(
        &self,
        host: &HostId,
        id: &ComponentId,
        told: &Told,
        reason: &str,
    ) -> Error {
        let (host, reason) = (self.display_host(host), quoted(reason));
        let problem = match told {
            Told::Scale(_) => format!(
                "{host} took the order about component {id}, and could not carry it out: {reason}"
            ),
            Told::StartProvider(_) => format!(
                "{host} took the order to start provider {id}, and could not carry it out: \
                 {reason}"
            ),
        };
        Error::new(Kind::Refused, problem)
    }
}
