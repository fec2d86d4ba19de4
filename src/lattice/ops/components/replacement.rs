//! Another revision of a component in the place of the one that runs.
//!
//! From 1.0.1 on, an update leaves the old code running (docs/hosts.md#update-keeps-old-code),
//! so that a host is told to stop the component, and to start it from the new reference once
//! it shows that. Where the new one fails, the old one is started again. This goes on when
//! the call that asked for it is over, so that the component is not left stopped.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::locks::HeldLocks;
use crate::lattice::dialect::v1::plan::{Replacement, Scale, Told};
use crate::lattice::dialect::v1::replies::Ack;
use crate::lattice::dialect::v1::requests;
use crate::lattice::ops::beyond_call::update_beyond_call;
use crate::lattice::ops::components::outcome::Outcome;
use crate::name::{ComponentId, HostId};

/// How long a host has to show that a component stopped: a stop may wait for a download
/// (docs/hosts.md#what-waits-for-what).
const STOPS_WITHIN: Duration = Duration::from_secs(120);
/// How long it has to show that one started. A host that says nothing of a failed download
/// has half of it.
const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// How long a replacement may take after its call.
const GOES_ON_FOR: Duration = Duration::from_secs(600);
/// How long a host has to answer each order: while it compiles a component, it answers none
/// (docs/hosts.md#what-waits-for-what).
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Least time that is left of the call when a replacement begins.
const LEAST_TIME: Duration = Duration::from_millis(200);
/// Time that the answer to the caller needs.
const TIME_TO_ANSWER: Duration = Duration::from_millis(50);

/// How long a host may be away before it counts as gone.
const GONE_AFTER: Duration = Duration::from_secs(15);
/// After which time an order is sent again that may not have reached its host.
const SENT_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// How often an order is sent that a host may not have taken.
#[derive(Clone, Copy)]
enum Sends {
    /// Once: without it, nothing changes.
    Once,
    /// Again and again: without it, the component stays stopped.
    UntilTaken,
}

/// How far a replacement is.
#[derive(Clone, Copy)]
enum Phase {
    Stops,
    Starts,
    StartsAgain,
}

impl Lattice {
    /// Replaces a component in a task that goes on after the call.
    ///
    /// # Errors
    /// As every request where nothing changed; `Partial` where something did; `Timeout` where
    /// it goes on.
    pub(super) async fn replace_component(
        self,
        host: &HostId,
        id: ComponentId,
        replacement: Replacement,
        lock: HeldLocks,
    ) -> Result<(), Error> {
        if self.duties.is_closed() {
            // The process may end before it starts again what it would stop.
            let problem = "the provider is stopping; nothing was sent";
            return Err(Error::new(Kind::Stopping, problem));
        }
        if self.deadline.remaining() < LEAST_TIME {
            let problem = "there was not enough time left for the update; nothing was sent";
            return Err(Error::new(Kind::Busy, problem));
        }
        let by = self.deadline.earlier(TIME_TO_ANSWER).at();
        let (phase, phases) = watch::channel(Phase::Stops);
        let (display, name) = (self.display_host(host), id.to_string());
        let mut lattice = self.beyond_the_call(GOES_ON_FOR);
        lattice.limits.request = Some(ANSWERS_WITHIN);
        let on = host.clone();
        let update = async move {
            let _lock = lock;
            let done = lattice.run_replacement(&on, &id, &replacement, &phase);
            done.await
        };
        let late = || {
            Error::new(
                Kind::Timeout,
                format!(
                    "{display} {} of component {name}; the update goes on: look at the inventory",
                    match *phases.borrow() {
                        Phase::Stops => "does not show yet that it stopped the old revision",
                        Phase::Starts => "does not show yet that it started the new revision",
                        Phase::StartsAgain =>
                            "does not show yet that it started the old revision again",
                    }
                ),
            )
        };
        let actor = name.clone();
        update_beyond_call(&self.duties, by, host.clone(), actor, update, late).await
    }

    async fn run_replacement(
        &self,
        host: &HostId,
        id: &ComponentId,
        orders: &Replacement,
        phase: &watch::Sender<Phase>,
    ) -> Result<(), Error> {
        let stop = orders.stop();
        self.have_shown(host, id, &stop, STOPS_WITHIN, Sends::Once)
            .await
            .map_err(|error| match error.kind() {
                kind if kind.certainly_not_carried_out() => error,
                kind => Error::new(
                    kind,
                    format!(
                        "{error}; where it stops it later than that, it is not started again: \
                         look at the inventory"
                    ),
                )
                .caused_by(error),
            })?;
        phase.send_replace(Phase::Starts);
        let within = self.shows_within(host).max(STARTS_WITHIN / 2);
        let started = self
            .have_shown(host, id, &orders.start(), within, Sends::UntilTaken)
            .await;
        let Err(problem) = started else {
            return Ok(());
        };
        if problem.kind() == Kind::Partial {
            // It is not stopped: somebody else started it meanwhile.
            return Err(problem);
        }
        phase.send_replace(Phase::StartsAgain);
        let back = self
            .have_shown(host, id, &orders.back(), STARTS_WITHIN, Sends::UntilTaken)
            .await;
        // Where the old one runs again, the update was certainly not carried out.
        let kind = match back.is_ok() && problem.kind() == Kind::Refused {
            true => Kind::Refused,
            false => Kind::Partial,
        };
        Err(Error::new(
            kind,
            match back {
                Ok(()) => format!(
                    "component {id} was stopped, did not start from {}, and was started from {} \
                     again: {problem}",
                    quoted(&orders.start().reference),
                    quoted(&orders.back().reference)
                ),
                Err(again) => format!(
                    "component {id} was stopped, and started neither from {} ({problem}) nor \
                     from {} again ({again}): start it",
                    quoted(&orders.start().reference),
                    quoted(&orders.back().reference)
                ),
            },
        )
        .caused_by(problem))
    }

    /// Sends an order, and waits until the host shows that it was carried out.
    ///
    /// # Errors
    /// As every request; `Refused` where the host says that it failed; `Partial` where it
    /// goes on with the code of another reference; `Timeout` where it does not show it
    /// within this time.
    async fn have_shown(
        &self,
        host: &HostId,
        id: &ComponentId,
        scale: &Scale,
        within: Duration,
        sends: Sends,
    ) -> Result<(), Error> {
        let until = Deadline::new(Instant::now(), within);
        let told = Told::scale(scale);
        loop {
            let order = requests::scale(&self.id, host, id, scale)?;
            let looks_until = match self.send_order(host, id, order, &told).await {
                // What runs keeps its code, and is listed under this reference from now on.
                Ok(Ack::OtherCode(words)) if scale.count > 0 => {
                    return Err(self.keeps_other_code(host, id, &words));
                }
                Ok(_) => until,
                // Whether or not the host took it: the next one says the same.
                Err(error) => match (sends, error.kind()) {
                    (_, Kind::Refused | Kind::NotPermitted) => return Err(error),
                    // Where the server was away, the host may come back a moment after us.
                    (_, Kind::NoResponders) if until.remaining() + GONE_AFTER < within => {
                        return Err(error);
                    }
                    (Sends::UntilTaken, _) => until.within(SENT_AGAIN_AFTER),
                    (Sends::Once, kind) if kind.certainly_not_carried_out() => return Err(error),
                    (Sends::Once, _) => until,
                },
            };
            match self.find_out(host, id, &told, looks_until).await {
                Outcome::Shown => return Ok(()),
                Outcome::Failed(reason) => return Err(self.failed(host, id, &told, &reason)),
                Outcome::Open if until.remaining() > SENT_AGAIN_AFTER => {}
                Outcome::Open => {
                    return Err(Error::new(
                        Kind::Timeout,
                        format!(
                            "{} did not show within {} s what it was told about component {id}",
                            self.display_host(host),
                            within.as_secs()
                        ),
                    ));
                }
            }
        }
    }
}
