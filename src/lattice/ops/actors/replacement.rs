//! The replacement of an actor on a Rust host, whatever became of the call that
//! asked for it: fetch, stop, start.

use std::time::Duration;

use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::locks::Turn;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::plan::{self, Group, Order, Running};
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v0::wire::{HostEvent, HostNews};
use crate::lattice::ops::actors::{Addressee, LOOK_AGAIN_AFTER};
use crate::name::{ActorId, HostId};

/// How long a host has to show a group that it was told to start, before it is
/// told again, where that changes nothing.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long hosts are asked for claims.
const CLAIMS_WITHIN: Duration = Duration::from_millis(500);
/// How long a replacement waits for other starts.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(2);

/// A group that is to be started again.
struct Owed<'a> {
    group: &'a Group,
    start: &'a Order,
    /// Whether the host is to be told, for the first time or again.
    is_due: bool,
}

/// How far a replacement is.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Fetches,
    Stops,
    Starts,
}

/// Everything that a replacement needs, whatever became of its call.
pub(super) struct Replacement {
    pub(super) lattice: Lattice,
    pub(super) host: HostId,
    pub(super) actor: ActorId,
    pub(super) image_ref: String,
    pub(super) traits: Traits,
    /// What ran before.
    pub(super) running: Running,
    pub(super) phase: watch::Sender<Phase>,
}

impl Replacement {
    pub(super) fn to(&self) -> Addressee<'_> {
        Addressee::of_actor(&self.host, self.traits, &self.actor, &self.image_ref)
    }

    /// Carries it out. `first` has the host fetch the new revision.
    ///
    /// # Errors
    /// As every request where nothing changed; `Partial` where something did.
    pub(super) async fn run(&self, first: &[Order]) -> Result<(), Error> {
        let to = self.to();
        for order in first {
            self.fetch(&to, order).await?;
        }
        self.phase.send_replace(Phase::Stops);
        let host = self.alone().await;
        if self.lattice.duties.is_closed() {
            // Nobody may be left to start what would be stopped.
            for order in first {
                self.give_back(&to, order, Kind::Stopping, "the provider is stopping")
                    .await?;
            }
        }
        let groups = self.groups(&to).await;
        let (stop, starts) = plan::replace(&self.traits, &groups, &self.image_ref);
        if !self.stop(&to, &stop).await? {
            // Somebody else stopped it, after the update.
            return Ok(());
        }
        self.phase.send_replace(Phase::Starts);
        self.start(&to, &groups, &starts, host).await?;
        let memory = &self.lattice.roster.commands.learned;
        memory.learn(&self.host, &self.image_ref, self.actor.as_str());
        Ok(())
    }

    /// Keeps other starts off the host, and waits for those of which nobody knows
    /// whether they are of this actor: what starts while it is stopped is what
    /// the host keeps. Where that does not end soon, it goes on: one group runs
    /// the new code by now.
    async fn alone(&self) -> Option<Turn> {
        let orders = &self.lattice.roster.commands;
        let soon = Deadline::new(Instant::now(), OTHERS_END_WITHIN);
        let turn = orders.locks.whole_host(&self.host, soon).await.ok();
        let is_unknown = |image_ref: &String| orders.learned.key(&self.host, image_ref).is_none();
        while !soon.remaining().is_zero() {
            let unknown = orders.in_flight.unknown(&self.host, &self.image_ref);
            if !unknown.iter().any(is_unknown) {
                break;
            }
            // It tells, once they are there.
            let _ = self.lattice.shown(&self.host).await;
            sleep(LOOK_AGAIN_AFTER).await;
        }
        turn
    }

    /// Has the host fetch the new revision, and run it in one group. It is told
    /// again where it gives no answer: that changes nothing a second time.
    async fn fetch(&self, to: &Addressee<'_>, order: &Order) -> Result<(), Error> {
        let mut events = self.events().await;
        let memory = &self.lattice.roster.commands.learned;
        let known = memory.key(&self.host, &self.image_ref);
        let is_known = known.is_some_and(|known| known == self.actor);
        let before = match is_known {
            true => None,
            false => self.claimed().await,
        };
        let mut unknown = None;
        loop {
            let error = match self.lattice.tell(to, order).await {
                Ok(()) => break,
                Err(error) => error,
            };
            match unknown {
                None if error.kind().certainly_not_carried_out() => return Err(error),
                Some(first) if is_final(&error) || error.kind() == Kind::Refused => {
                    return Err(first);
                }
                first => unknown = Some(first.unwrap_or(error)),
            }
            match (&unknown, self.lattice.deadline.remaining().is_zero()) {
                (Some(first), true) => return Err(first.clone()),
                _ => sleep(TOLD_AGAIN_AFTER).await,
            }
        }
        let heard = events.as_mut().and_then(|events| self.started(events));
        let why = match heard {
            Some(key) if key == self.actor.as_str() => return Ok(()),
            Some(other) => format!("{} is of actor {other}", quoted(&self.image_ref)),
            None if is_known || self.claims_changed(before).await => return Ok(()),
            None => format!(
                "nobody tells whether {} is of actor {}: allow the credentials of {} to subscribe \
                 to {}",
                quoted(&self.image_ref),
                self.actor,
                self.lattice.display_name(),
                subject::events(&self.lattice.id)
            ),
        };
        self.give_back(to, order, Kind::Refused, &why).await
    }

    /// The revision of the actor's claims, where hosts tell.
    async fn claimed(&self) -> Option<i32> {
        let asked = timeout(CLAIMS_WITHIN, self.lattice.claims_from_hosts()).await;
        let reply = asked.ok()?.ok()?;
        let mut claims = reply.claims.iter();
        let ours = claims.find(|claims| claims.is_of(self.actor.as_str()))?;
        ours.revision()
    }

    /// Whether the update gave the actor other claims than it had: then it was
    /// this actor's image. Hosts hear of it one after the other.
    async fn claims_changed(&self, before: Option<i32>) -> bool {
        let until = Deadline::new(Instant::now(), CLAIMS_WITHIN);
        while before.is_some() && !until.remaining().is_zero() {
            if self.claimed().await.is_some_and(|now| Some(now) != before) {
                return true;
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
        false
    }

    /// Events of the lattice, where they may be heard.
    async fn events(&self) -> Option<Subscriber> {
        let client = self.lattice.connection.client();
        let subject = subject::events(&self.lattice.id);
        client.subscribe(subject).await.ok()
    }

    /// The actor whose code the host just took. It says so before it acknowledges,
    /// on the same connection.
    fn started(&self, events: &mut Subscriber) -> Option<String> {
        let mut started = None;
        while let Some(Some(event)) = events.next().now_or_never() {
            let Some(event) = HostEvent::parse(&event.payload) else {
                continue;
            };
            if let HostNews::Ran { key, image_ref, .. } = event.news
                && event.host == self.host.as_str()
                && image_ref == self.image_ref
            {
                started = Some(key);
            }
        }
        started
    }

    /// Puts the group back to what it was.
    async fn give_back(
        &self,
        to: &Addressee<'_>,
        order: &Order,
        kind: Kind,
        why: &str,
    ) -> Result<(), Error> {
        let Order::Update { annotations, .. } = order else {
            return Err(Error::new(Kind::Internal, why.to_owned()));
        };
        let mut groups = self.running.groups.iter();
        let before = groups.find(|group| group.annotations == *annotations);
        let back = before.map(|group| Order::Update {
            annotations: annotations.clone(),
            image_ref: group.image_ref.clone(),
        });
        let done = match &back {
            Some(back) => self.lattice.tell(to, back).await,
            None => Err(Error::new(Kind::Internal, "it is not known what ran")),
        };
        let host = self.lattice.display_host(&self.host);
        match done {
            Ok(()) => Err(Error::new(
                kind,
                format!("{why}; {host} runs what it ran before"),
            )),
            Err(error) => Err(Error::new(
                Kind::Partial,
                format!(
                    "{why}, and {host} runs {} now in the place of some instances: {error}; order \
                     UpdateActor to what shall run",
                    quoted(&self.image_ref)
                ),
            )),
        }
    }

    /// What runs now: somebody else may have ordered meanwhile.
    async fn groups(&self, to: &Addressee<'_>) -> Vec<Group> {
        match self.lattice.shown(&self.host).await {
            Ok(inventory) => self.lattice.running(to, &inventory).groups,
            Err(_) => self.running.groups.clone(),
        }
    }

    /// Stops the whole actor; false where somebody else did. It is told again where
    /// it does not say what became of it: nothing else runs under this key.
    async fn stop(&self, to: &Addressee<'_>, stop: &Order) -> Result<bool, Error> {
        let mut is_told = false;
        while !self.lattice.deadline.remaining().is_zero() {
            match self.lattice.tell(to, stop).await {
                Ok(()) => return Ok(true),
                Err(error) if is_final(&error) => {
                    return Err(self.half_done("not stopped", &error));
                }
                Err(error) if error.kind() == Kind::Refused => {
                    // Somebody else stopped it, perhaps.
                    let gone = self.lattice.shown(&self.host).await;
                    let gone = gone.map(|inventory| self.lattice.running(to, &inventory));
                    return match gone {
                        // Or it was us, a moment ago.
                        Ok(running) if running.groups.is_empty() => Ok(is_told),
                        _ => Err(self.half_done("not stopped", &error)),
                    };
                }
                Err(error) => {
                    is_told |= !error.kind().certainly_not_carried_out();
                    sleep(TOLD_AGAIN_AFTER).await;
                }
            }
        }
        let nobody = Error::new(Kind::Timeout, "it does not answer");
        Err(self.half_done("not stopped", &nobody))
    }

    /// Starts every group from the new reference, until the host shows them.
    /// `host` keeps other starts away until the first of them is there.
    async fn start(
        &self,
        to: &Addressee<'_>,
        groups: &[Group],
        starts: &[Order],
        mut host: Option<Turn>,
    ) -> Result<(), Error> {
        let is_there =
            |running: &Running, group: &Group| running.under(&group.annotations) >= group.count;
        let mut owed: Vec<Owed<'_>> = groups
            .iter()
            .zip(starts)
            .map(|(group, start)| Owed {
                group,
                start,
                is_due: true,
            })
            .collect();
        let mut last = None;
        loop {
            let told_at = Instant::now();
            for owed in owed.iter_mut().filter(|owed| owed.is_due) {
                let told = self.lattice.tell(to, owed.start).await;
                owed.is_due = match told {
                    Ok(()) => false,
                    Err(error) if is_final(&error) => {
                        return Err(self.half_done("not started again", &error));
                    }
                    Err(error) => {
                        let never = error.kind().certainly_not_carried_out();
                        last = Some(error);
                        never
                    }
                };
            }
            if let Some(host) = host.take() {
                let first = |running: &Running| !running.groups.is_empty();
                let _ = timeout(OTHERS_END_WITHIN, self.until_shown(to, first)).await;
                drop(host);
            }
            let all = |running: &Running| owed.iter().all(|owed| is_there(running, owed.group));
            match timeout(TOLD_AGAIN_AFTER, self.until_shown(to, all)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    let error = last.unwrap_or(error);
                    return Err(self.half_done("not started again", &error));
                }
                Err(_) => {}
            }
            if let Ok(inventory) = self.lattice.shown(&self.host).await {
                let running = self.lattice.running(to, &inventory);
                owed.retain(|owed| !is_there(&running, owed.group));
            }
            let again = self.may_be_told_again(told_at);
            for owed in &mut owed {
                owed.is_due |= again;
            }
        }
    }

    /// Whether to tell a host again to start what it does not show changes nothing
    /// where it only takes long: not of hosts that count by themselves, unless
    /// they said that it failed.
    fn may_be_told_again(&self, since: Instant) -> bool {
        let flights = &self.lattice.roster.commands.in_flight;
        self.traits.generation.counts_maximum()
            || flights
                .failure(&self.host, &self.image_ref, since)
                .is_some()
    }

    /// Looks until the inventory shows something.
    async fn until_shown(
        &self,
        to: &Addressee<'_>,
        is_there: impl Fn(&Running) -> bool,
    ) -> Result<Running, Error> {
        loop {
            let problem = match self.lattice.shown(&self.host).await {
                Ok(inventory) => {
                    let running = self.lattice.running(to, &inventory);
                    if let Some(other) = self.other_reference(&running) {
                        let what = format!(
                            "somebody else started it from {other} meanwhile; order UpdateActor again"
                        );
                        return Err(Error::new(Kind::Partial, what));
                    }
                    if is_there(&running) {
                        return Ok(running);
                    }
                    let memory = &self.lattice.roster.commands.learned;
                    let key = memory.key(&self.host, &self.image_ref);
                    if let Some(other) = key.filter(|key| *key != self.actor) {
                        let what = format!("it is of actor {other}, which was started instead");
                        return Err(Error::new(Kind::Partial, what));
                    }
                    Error::new(Kind::Timeout, "it does not show it")
                }
                Err(error) => error,
            };
            if self.lattice.deadline.remaining() < LOOK_AGAIN_AFTER {
                return Err(problem);
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// Another reference than the new one, from which something runs.
    fn other_reference(&self, running: &Running) -> Option<String> {
        let other = |group: &&Group| group.image_ref != self.image_ref;
        let other = running.groups.iter().find(other)?;
        Some(quoted(&other.image_ref))
    }

    fn half_done(&self, what: &str, error: &Error) -> Error {
        Error::new(
            Kind::Partial,
            format!(
                "{} fetched {}, and actor {} was {what}: {error}; look at the inventory and start \
                 what is missing",
                self.lattice.display_host(&self.host),
                quoted(&self.image_ref),
                self.actor
            ),
        )
    }
}

/// Whether trying again is of no use: the host is gone, or may not be told.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::NoResponders | Kind::NotPermitted)
}
