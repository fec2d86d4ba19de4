//! Another revision in the place of the one that runs.
//!
//! OTP hosts exchange the code of every instance while it runs. Rust hosts up to
//! 0.82 exchange it, too, and keep the old code for whatever is started or scaled
//! later. What lasts there is to stop the actor and to start it again from the
//! new reference. So they are told to exchange the code of one group first, which
//! has them fetch it: where that fails, nothing changed, and all ends there.
//! Then everything is stopped in one order, and started again group by group,
//! also where the call has run out of time meanwhile.

use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::SHOWN_WITHIN;
use crate::lattice::commands::locks::Turn;
use crate::lattice::dialect::quirks::Generation;
use crate::lattice::dialect::v0::plan::{self, Running};
use crate::lattice::dialect::v0::wire::TextMap;
use crate::lattice::ops::actors::replacement::{Phase, Replacement};
use crate::lattice::ops::actors::{Addressee, Decided, LOOK_AGAIN_AT_MOST};
use crate::name::{ActorId, HostId};
use crate::settings::Limits;

/// Time that a call must have left for a replacement to begin.
const TIME_TO_REPLACE: Duration = Duration::from_millis(200);
/// How long a replacement goes on: large images take their time, and what was
/// stopped is started again.
const GOES_ON_FOR: Duration = Duration::from_secs(120);
/// How long a host has to answer each of its orders, before it is told again: it
/// may have ended meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// What a call keeps of its time for the answer.
const TIME_TO_ANSWER: Duration = Duration::from_millis(20);

impl Lattice {
    /// Replaces the instances that match the annotations by another revision.
    ///
    /// # Errors
    /// As [`Lattice::stop_actor`]; `Timeout` where it goes on after the call.
    pub async fn update_actor(
        self,
        host: &HostId,
        actor: &ActorId,
        image_ref: &str,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let least = TIME_TO_REPLACE.min(self.deadline.remaining() / 2);
        let traits = self.traits_for_order(host).await?;
        let to = Addressee::of_actor(host, traits, actor, image_ref);
        let turns = &self.roster.commands.locks;
        let turn = turns.alone(to.about(), self.deadline).await?;
        let decide = |running: &Running| plan::update(&traits, running, annotations, image_ref);
        let Some(decided) = self.decided(&to, decide, None).await? else {
            return Err(Error::new(Kind::Internal, "an update without a decision"));
        };
        match traits.generation.is_otp() {
            true => self.exchange(&to, &decided).await,
            false => self.replace(&to, decided, turn, least).await,
        }
    }

    /// On OTP hosts.
    async fn exchange(&self, to: &Addressee<'_>, decided: &Decided) -> Result<(), Error> {
        let actor = to.key()?;
        let before = decided.running.clone().unwrap_or_default();
        let told = self.carry_out(to, Some(&before), &decided.plan).await;
        if let Err(error) = told {
            if !error.kind().certainly_not_carried_out() {
                self.look_whether_exchanged(to, before);
            }
            return Err(error);
        }
        if to.traits.generation == Generation::G1b
            && let Some(other) = self.key_in_bucket(to.image_ref).await
            && other != *actor
        {
            if let Ok(inventory) = self.shown(to.host).await {
                let theirs = self.running_of(to, &inventory, other.as_str());
                self.remember_exchange(to, other.as_str(), &theirs);
            }
            return Err(Error::new(
                Kind::Partial,
                format!(
                    "{} is of actor {other}, which {} updated in the place of {actor}: such hosts \
                     go by the reference alone",
                    quoted(to.image_ref),
                    self.display_host(to.host)
                ),
            ));
        }
        let memory = &self.roster.commands.learned;
        memory.learn(to.host, to.image_ref, actor.as_str());
        self.remember_exchange(to, actor.as_str(), &before);
        Ok(())
    }

    /// Takes note of the reference that an OTP host goes on listing.
    fn remember_exchange(&self, to: &Addressee<'_>, key: &str, before: &Running) {
        let listed = before.listed.as_deref();
        let first = before.groups.first().map(|group| group.image_ref.as_str());
        if let Some(listed) = listed.or(first) {
            let memory = &self.roster.commands.learned;
            memory.updated(to.host, key, listed, to.image_ref);
        }
    }

    /// Looks for a while, when the call is over, whether a host that gave no
    /// answer has exchanged the code: it then lists another revision. Where a
    /// download fails, it gives none either.
    fn look_whether_exchanged(&self, to: &Addressee<'_>, before: Running) {
        let Some(actor) = to.actor.cloned() else {
            return;
        };
        let lattice = self.beyond_the_call(SHOWN_WITHIN);
        let (host, traits, image_ref) = (to.host.clone(), to.traits, to.image_ref.to_owned());
        tokio::spawn(async move {
            let to = Addressee::of_actor(&host, traits, &actor, &image_ref);
            while !lattice.deadline.remaining().is_zero() {
                if let Ok(inventory) = lattice.shown(&host).await {
                    let shown = plan::running(&traits, &inventory, actor.as_str());
                    if !shown.groups.is_empty() && shown.revisions != before.revisions {
                        lattice.remember_exchange(&to, actor.as_str(), &before);
                        return;
                    }
                }
                sleep(LOOK_AGAIN_AT_MOST).await;
            }
        });
    }

    /// On Rust hosts.
    async fn replace(
        mut self,
        to: &Addressee<'_>,
        decided: Decided,
        turn: Turn,
        least: Duration,
    ) -> Result<(), Error> {
        let actor = to.key()?;
        let running = decided.running.unwrap_or_default();
        let orders = decided.plan.orders;
        let not_begun = if self.duties.is_closed() {
            Some(Error::new(Kind::Stopping, "the provider is stopping"))
        } else if self.deadline.remaining() < least {
            Some(Error::new(
                Kind::Busy,
                format!(
                    "too little of the call's time is left to stop and start actor {actor} on {}; \
                     nothing was sent: try again",
                    self.display_host(to.host)
                ),
            ))
        } else {
            None
        };
        if let Some(error) = not_begun {
            for order in &orders {
                self.withdraw(to, Some(&running), order);
            }
            return Err(error);
        }
        let by = self.deadline.earlier(TIME_TO_ANSWER).at();
        let display_host = self.display_host(to.host);
        self.deadline = Deadline::new(Instant::now(), GOES_ON_FOR);
        self.limits = Limits {
            request: Some(ANSWERS_WITHIN),
            ..self.limits
        };
        let (phase, phases) = watch::channel(Phase::Fetches);
        let (tell, told) = oneshot::channel();
        let duties = self.duties.clone();
        let replacement = Replacement {
            lattice: self,
            host: to.host.clone(),
            actor: actor.clone(),
            image_ref: to.image_ref.to_owned(),
            traits: to.traits,
            running,
            phase,
        };
        duties.spawn(async move {
            let _turn = turn;
            let done = replacement.run(&orders).await;
            for order in &orders {
                let to = replacement.to();
                let running = Some(&replacement.running);
                replacement.lattice.withdraw(&to, running, order);
            }
            let Err(late) = tell.send(done) else { return };
            // The call is over: the log has it.
            let (host, actor) = (&replacement.host, &replacement.actor);
            match late {
                Ok(()) => info!(%host, %actor, "an update that took longer than its call is done"),
                Err(error) => warn!(%host, %actor, %error, "an update failed after its call"),
            }
        });
        match timeout_at(by, told).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(Error::new(Kind::Internal, "the update ended unexpectedly")),
            Err(_) => Err(Error::new(
                Kind::Timeout,
                format!(
                    "{display_host} {} of actor {actor}; the update goes on: look at the inventory",
                    match *phases.borrow() {
                        Phase::Fetches => "still fetches the new revision",
                        Phase::Stops => "was not told to stop the old revision yet",
                        Phase::Starts => "does not show yet what it was told to start again",
                    }
                ),
            )),
        }
    }
}
