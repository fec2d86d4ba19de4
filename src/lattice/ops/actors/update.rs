//! Replaces the revision of an actor that runs by another.
//!
//! OTP hosts exchange the code of every instance while it runs. Rust hosts up to 0.82
//! exchange it, too, and keep the old code for whatever they start later. There, an
//! update lasts only where the actor is stopped and started again from the new reference.
//! So such a host is first sent a command to exchange the code of one group, which makes it fetch
//! the new code. If that fails, nothing has changed, and the update ends. Then the whole
//! actor is stopped by one command, and started again group by group, even where the call
//! has run out of time meanwhile.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::SHOWN_WITHIN;
use crate::lattice::commands::locks::HeldLocks;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v0::plan;
use crate::lattice::model::{Running, TextMap};
use crate::lattice::ops::actors::decide::{Decided, LOOK_AGAIN_AT_MOST};
use crate::lattice::ops::actors::recipient::Recipient;
use crate::lattice::ops::actors::replacement::{Phase, Replacement};
use crate::lattice::ops::beyond_call::update_beyond_call;
use crate::name::{ActorId, ComponentId, HostId};
use crate::settings::Limits;

/// Time that a call must have left for a replacement to begin.
const TIME_TO_REPLACE: Duration = Duration::from_millis(200);
/// How long a replacement goes on: large images take their time, and what was
/// stopped is started again.
const GOES_ON_FOR: Duration = Duration::from_secs(120);
/// How long a host has to answer each command of a replacement before it is sent again:
/// the host may have ended meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(30);
/// Time that the answer to the caller needs.
const TIME_TO_ANSWER: Duration = Duration::from_millis(20);

impl Lattice {
    /// Replaces the instances that match the annotations by another revision.
    ///
    /// # Errors
    /// As [`Lattice::stop_actor`]; `Timeout` where it goes on after the call.
    pub async fn update_actor(
        self,
        host: &HostId,
        actor: &ComponentId,
        image_ref: &str,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let least = TIME_TO_REPLACE.min(self.deadline.remaining() / 2);
        let software = match self.dialect_for_command(host).await? {
            Dialect::V0(software) => software,
            Dialect::V1(software) => {
                let updated = self.update_component(host, software, actor, image_ref, annotations);
                return Box::pin(updated).await;
            }
        };
        let actor = ActorId::parse(actor.as_str())?;
        let quirks = software.quirks;
        let to = Recipient::of_actor(host, software, &actor, image_ref);
        let decide = |running: &Running| plan::update(quirks, running, annotations, image_ref);
        let (lock, decided) = self.lock_and_decide(&to, decide, None).await?;
        match quirks.keeps_first_code {
            false => self.exchange(&to, &decided).await,
            true => self.replace(&to, decided, lock, least).await,
        }
    }

    /// Has the host exchange the code, where that lasts.
    async fn exchange(&self, to: &Recipient<'_>, decided: &Decided) -> Result<(), Error> {
        let actor = to.key()?;
        let before = decided.running.clone().unwrap_or_default();
        let exchanged = self.carry_out(to, Some(&before), &decided.plan).await;
        if let Err(error) = exchanged {
            if !error.kind().certainly_not_carried_out() {
                self.look_whether_exchanged(to, before);
            }
            return Err(error);
        }
        if to.quirks().keeps_references_in_bucket
            && let Some(other) = self.key_in_bucket(to.image_ref).await
            && other != *actor
        {
            if let Ok(inventory) = self.read_inventory(to.host).await {
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
        let learned = &self.roster.commands.learned;
        learned.learn(to.host, to.image_ref, actor.as_str());
        self.remember_exchange(to, actor.as_str(), &before);
        Ok(())
    }

    /// Notes the reference from before, which an OTP host goes on listing.
    fn remember_exchange(&self, to: &Recipient<'_>, key: &str, before: &Running) {
        let listed = before.listed.as_deref();
        let first = before.groups.first().map(|group| group.image_ref.as_str());
        if let Some(listed) = listed.or(first) {
            let learned = &self.roster.commands.learned;
            learned.updated(to.host, key, listed, to.image_ref);
        }
    }

    /// Looks for a while, after the call, whether a host that did not answer has exchanged
    /// the code: it then lists another revision. A host whose download fails does not
    /// answer, either.
    fn look_whether_exchanged(&self, to: &Recipient<'_>, before: Running) {
        let Some(actor) = to.actor.cloned() else {
            return;
        };
        let lattice = self.beyond_the_call(SHOWN_WITHIN);
        let (host, software, image_ref) = (to.host.clone(), to.software, to.image_ref.to_owned());
        tokio::spawn(async move {
            let to = Recipient::of_actor(&host, software, &actor, &image_ref);
            while !lattice.deadline.remaining().is_zero() {
                if let Ok(inventory) = lattice.read_inventory(&host).await {
                    let shown = plan::running(to.quirks(), &inventory, actor.as_str());
                    if !shown.groups.is_empty() && shown.revisions != before.revisions {
                        lattice.remember_exchange(&to, actor.as_str(), &before);
                        return;
                    }
                }
                sleep(LOOK_AGAIN_AT_MOST).await;
            }
        });
    }

    /// Has the host fetch the code, and stops and starts the actor, in a task that goes on
    /// after the call.
    async fn replace(
        mut self,
        to: &Recipient<'_>,
        decided: Decided,
        lock: HeldLocks,
        least: Duration,
    ) -> Result<(), Error> {
        let actor = to.key()?;
        let running = decided.running.unwrap_or_default();
        let commands = decided.plan.commands;
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
            for command in &commands {
                self.withdraw(to, Some(&running), command);
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
        let duties = self.duties.clone();
        let replacement = Replacement {
            lattice: self,
            host: to.host.clone(),
            actor: actor.clone(),
            image_ref: to.image_ref.to_owned(),
            software: to.software,
            running,
            phase,
        };
        let update = async move {
            let _lock = lock;
            let done = replacement.run(&commands).await;
            for command in &commands {
                let to = replacement.to();
                let running = Some(&replacement.running);
                replacement.lattice.withdraw(&to, running, command);
            }
            done
        };
        let late = || {
            Error::new(
                Kind::Timeout,
                format!(
                    "{display_host} {} of actor {actor}; the update goes on: look at the inventory",
                    match *phases.borrow() {
                        Phase::Fetches => "still fetches the new revision",
                        Phase::Stops => "was not told to stop the old revision yet",
                        Phase::Starts => "does not show yet what it was told to start again",
                    }
                ),
            )
        };
        let host = to.host.clone();
        update_beyond_call(&duties, by, host, actor.to_string(), update, late).await
    }
}
