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
use crate::lattice::commands::scales::Told;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v1::plan::Scale;
use crate::lattice::dialect::v1::replies::Ack;
use crate::name::{ComponentId, HostId};

/// After which time an order counts as failed on a host that tells each that fails: a
/// download may take minutes, and a silent registry is waited for without end.
const TELLS_WITHIN: Duration = Duration::from_secs(120);
/// How long a call waits for what came of an order.
pub(super) const OUTCOME_WITHIN: Duration = Duration::from_secs(1);
/// Time that the answer to the caller needs.
pub(super) const TIME_TO_ANSWER: Duration = Duration::from_millis(100);
/// How long it is looked whether a host shows an earlier order.
const ONE_LOOK: Duration = Duration::from_millis(100);
/// Pause before the second look at the inventory. It doubles with each further one, up to
/// the other.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(15);
pub(super) const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(240);

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
    /// `Refused` where the host says that it failed; `Partial` where it goes on with the
    /// code of another reference.
    pub(super) async fn outcome(
        &self,
        host: &HostId,
        id: &ComponentId,
        scale: &Scale,
        taken: Ack,
    ) -> Result<(), Error> {
        if let Ack::OtherCode(words) = taken {
            return Err(self.keeps_other_code(host, id, &words));
        }
        let by = self.deadline.earlier(TIME_TO_ANSWER);
        match self
            .find_out(host, id, scale, by.within(OUTCOME_WITHIN))
            .await
        {
            Outcome::Shown | Outcome::Open => Ok(()),
            Outcome::Failed(reason) => Err(self.failed(host, id, &reason)),
        }
    }

    /// Returns the error of a scale of what was started from another reference meanwhile, as
    /// the host says in these words.
    pub(super) fn keeps_other_code(&self, host: &HostId, id: &ComponentId, words: &str) -> Error {
        self.roster.commands.scales.end(host, id);
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
        scale: &Scale,
        until: Deadline,
    ) -> Outcome {
        let scales = &self.roster.commands.scales;
        let mut pause = LOOK_AGAIN_AFTER;
        loop {
            let failure = scales.failure(host, id);
            if let Ok(inventory) = self.inventory_1x(host, until).await
                && scale.is_shown(inventory.component(id.as_str()))
            {
                scales.end(host, id);
                return Outcome::Shown;
            }
            // The same order of somebody else may have failed: the inventory came first.
            if let Some(reason) = failure {
                scales.end(host, id);
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

    /// Waits until the host shows what it was told about a component before.
    ///
    /// # Errors
    /// `Busy` where it does not in time.
    pub(super) async fn wait_until_shown(
        &self,
        host: &HostId,
        id: &ComponentId,
    ) -> Result<(), Error> {
        let scales = &self.roster.commands.scales;
        let Some(before) = scales.unshown(host, id) else {
            return Ok(());
        };
        let until = self.deadline.half();
        match self.find_out(host, id, &before.scale, until).await {
            Outcome::Shown | Outcome::Failed(_) => Ok(()),
            Outcome::Open => match scales.unshown(host, id) {
                Some(before) => {
                    Err(self.not_shown_1x(host, &format!("component {id}"), before.waits))
                }
                None => Ok(()),
            },
        }
    }

    /// Looks whether a host still does not show what it was told.
    pub(in crate::lattice::ops) async fn is_still_unshown(&self, told: &Told) -> bool {
        let Ok(id) = ComponentId::parse(&told.id) else {
            return false;
        };
        let until = self.deadline.within(ONE_LOOK);
        let outcome = match &told.scale {
            Some(scale) => self.find_out(&told.host, &id, scale, until).await,
            None => self.find_provider(&told.host, &id, until).await,
        };
        matches!(outcome, Outcome::Open)
    }

    /// Returns the error of an order that failed, as the host says.
    pub(super) fn failed(&self, host: &HostId, id: &ComponentId, reason: &str) -> Error {
        Error::new(
            Kind::Refused,
            format!(
                "{} took the order about component {id}, and could not carry it out: {}",
                self.display_host(host),
                quoted(reason)
            ),
        )
    }
}
