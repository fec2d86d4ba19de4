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

use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::{Addressee, Decided, LOOK_AGAIN_AFTER};
use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::generation::{Generation, Traits};
use crate::lattice::orders::flights::SHOWN_WITHIN;
use crate::lattice::orders::turns::Turn;
use crate::lattice::plan::{self, Group, Order, Running};
use crate::lattice::wire::{HostEvent, HostNews, TextMap};
use crate::lattice::{Lattice, subject};
use crate::name::{ActorId, HostId};
use crate::settings::Limits;

/// Time that a call must have left for a replacement to begin.
const TIME_TO_REPLACE: Duration = Duration::from_millis(200);
/// How long a replacement goes on: large images take their time, and what was
/// stopped is started again.
const GOES_ON_FOR: Duration = Duration::from_secs(120);
/// How long a host has to show a group that it was told to start, before it is
/// told again.
const TOLD_AGAIN_AFTER: Duration = SHOWN_WITHIN;
/// How long a replacement waits for other starts.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(2);
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
        let traits = self.traits_for_order(host).await?;
        let to = Addressee::of_actor(host, traits, actor, image_ref);
        let turns = &self.roster.orders.turns;
        let turn = turns.alone(to.about(), self.deadline).await?;
        let decide = |running: &Running| plan::update(&traits, running, annotations, image_ref);
        let decided = self.decided(&to, decide, None).await?;
        self.is_of(&to).await?;
        match traits.generation.is_otp() {
            true => self.exchange(&to, decided).await,
            false => self.replace(&to, decided, turn).await,
        }
    }

    /// On OTP hosts.
    async fn exchange(&self, to: &Addressee<'_>, decided: Decided) -> Result<(), Error> {
        let actor = to.key()?;
        let running = decided.running.clone().unwrap_or_default();
        let told = self
            .carry_out(to, decided.running, decided.plan, None)
            .await;
        if told
            .as_ref()
            .err()
            .is_none_or(|error| !error.kind().certainly_not_carried_out())
        {
            let listed = running.listed.as_deref();
            let listed = listed.or(running.groups.first().map(|group| group.image_ref.as_str()));
            let listed = listed.unwrap_or_default();
            let memory = &self.roster.orders.memory;
            memory.updated(to.host, actor.as_str(), listed, to.image_ref);
        }
        told?;
        if to.traits.generation == Generation::G1b
            && let Some(other) = self.key_in_bucket(to.image_ref).await
            && other != *actor
        {
            return Err(Error::new(
                Kind::Partial,
                format!(
                    "{} is of actor {other}, which {} updated in the place of {actor}: such hosts \
                     go by the reference alone",
                    quoted(to.image_ref),
                    self.host_called(to.host)
                ),
            ));
        }
        let memory = &self.roster.orders.memory;
        memory.learn(to.host, to.image_ref, actor.as_str());
        Ok(())
    }

    /// On Rust hosts.
    async fn replace(
        mut self,
        to: &Addressee<'_>,
        decided: Decided,
        turn: Turn,
    ) -> Result<(), Error> {
        let actor = to.key()?;
        if self.deadline.remaining() < TIME_TO_REPLACE {
            return Err(Error::new(
                Kind::Busy,
                format!(
                    "too little of the call's time is left to stop and start actor {actor} on {}; \
                     nothing was sent: try again",
                    self.host_called(to.host)
                ),
            ));
        }
        let by = self.deadline.earlier(TIME_TO_ANSWER).at();
        let host_called = self.host_called(to.host);
        self.deadline = Deadline::new(Instant::now(), GOES_ON_FOR);
        self.limits = Limits {
            request: None,
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
            running: decided.running.unwrap_or_default(),
            phase,
        };
        let orders = decided.plan.orders;
        duties.spawn(async move {
            let _turn = turn;
            let done = replacement.run(&orders).await;
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
                    "{host_called} {} of actor {actor}; the update goes on: look at the inventory",
                    match *phases.borrow() {
                        Phase::Fetches => "still fetches the new revision",
                        Phase::Starts => "does not show yet what it was told to start again",
                    }
                ),
            )),
        }
    }
}

/// How far a replacement is.
#[derive(Clone, Copy)]
enum Phase {
    Fetches,
    Starts,
}

/// Everything that a replacement needs, whatever became of its call.
struct Replacement {
    lattice: Lattice,
    host: HostId,
    actor: ActorId,
    image_ref: String,
    traits: Traits,
    /// What ran before.
    running: Running,
    phase: watch::Sender<Phase>,
}

impl Replacement {
    fn to(&self) -> Addressee<'_> {
        Addressee::of_actor(&self.host, self.traits, &self.actor, &self.image_ref)
    }

    async fn run(&self, first: &[Order]) -> Result<(), Error> {
        let to = self.to();
        for order in first {
            self.fetch(&to, order).await?;
        }
        self.phase.send_replace(Phase::Starts);
        let _host = self.alone().await;
        let groups = self.groups(&to).await;
        let (stop, starts) = plan::replace(&self.traits, &groups, &self.image_ref);
        self.stop(&to, &stop).await?;
        self.start(&to, &groups, &starts).await?;
        let memory = &self.lattice.roster.orders.memory;
        memory.learn(&self.host, &self.image_ref, self.actor.as_str());
        Ok(())
    }

    /// Keeps other starts off the host, and waits for those of which nobody knows
    /// whether they are of this actor: what starts while it is stopped is what
    /// the host keeps. Where that does not end soon, it goes on: one group runs
    /// the new code by now.
    async fn alone(&self) -> Option<Turn> {
        let orders = &self.lattice.roster.orders;
        let soon = Deadline::new(Instant::now(), OTHERS_END_WITHIN);
        let turn = orders.turns.whole_host(&self.host, soon).await.ok();
        let is_unknown = |image_ref: &String| orders.memory.key(&self.host, image_ref).is_none();
        while !soon.remaining().is_zero() {
            let unknown = orders.flights.unknown(&self.host, &self.image_ref);
            if !unknown.iter().any(is_unknown) {
                break;
            }
            // It tells, once they are there.
            let _ = self.lattice.shown(&self.host).await;
            sleep(LOOK_AGAIN_AFTER).await;
        }
        turn
    }

    /// Has the host fetch the new revision, and run it in one group.
    async fn fetch(&self, to: &Addressee<'_>, order: &Order) -> Result<(), Error> {
        let mut events = self.events().await;
        match self.lattice.tell(to, order).await {
            Err(error) if error.kind().certainly_not_carried_out() => return Err(error),
            Err(error) => return self.was_fetched(to).await.ok_or(error),
            Ok(()) => {}
        }
        match events
            .as_mut()
            .and_then(|events| self.started_instead(events))
        {
            None => Ok(()),
            Some(other) => self.give_back(to, order, &other).await,
        }
    }

    /// Events of the lattice, where they may be heard.
    async fn events(&self) -> Option<Subscriber> {
        let client = self.lattice.connection.client();
        let subject = subject::events(&self.lattice.id);
        client.subscribe(subject).await.ok()
    }

    /// The actor whose code the host just took for ours. It says so before it
    /// acknowledges, on the same connection.
    fn started_instead(&self, events: &mut Subscriber) -> Option<String> {
        let mut other = None;
        while let Some(Some(event)) = events.next().now_or_never() {
            let Some(event) = HostEvent::parse(&event.payload) else {
                continue;
            };
            if let HostNews::Ran { key, image_ref } = event.news
                && event.host == self.host.as_str()
                && image_ref == self.image_ref
            {
                other = (key != self.actor.as_str()).then_some(key);
            }
        }
        other
    }

    /// Puts the group back to what it was.
    async fn give_back(&self, to: &Addressee<'_>, order: &Order, other: &str) -> Result<(), Error> {
        let why = format!("{} is of actor {other}", quoted(&self.image_ref));
        let Order::Update { annotations, .. } = order else {
            return Err(Error::new(Kind::Internal, why));
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
        let host = self.lattice.host_called(&self.host);
        match done {
            Ok(()) => Err(Error::new(
                Kind::Refused,
                format!("{why}; {host} runs what it ran before"),
            )),
            Err(error) => Err(Error::new(
                Kind::Partial,
                format!("{why}, and {host} runs it now in the place of some instances: {error}"),
            )),
        }
    }

    /// Whether the host fetched the new revision though it did not say so: it may
    /// take long, or the connection broke.
    async fn was_fetched(&self, to: &Addressee<'_>) -> Option<()> {
        if !self.traits.generation.counts_maximum() {
            // These do not show it.
            return None;
        }
        let is_new = |group: &Group| group.image_ref == self.image_ref;
        let shown = self.until_shown(to, |running| running.groups.iter().any(is_new));
        shown.await.ok().map(drop)
    }

    /// What runs now: somebody else may have ordered meanwhile.
    async fn groups(&self, to: &Addressee<'_>) -> Vec<Group> {
        match self.lattice.shown(&self.host).await {
            Ok(inventory) => self.lattice.running(to, &inventory).groups,
            Err(_) => self.running.groups.clone(),
        }
    }

    /// Stops the whole actor. It is told again where it does not say what became
    /// of it: nothing else runs under this key.
    async fn stop(&self, to: &Addressee<'_>, stop: &Order) -> Result<(), Error> {
        while !self.lattice.deadline.remaining().is_zero() {
            // Nobody may be left to start it again.
            if self.lattice.duties.is_closed() {
                let stopping = Error::new(Kind::Stopping, "the provider is stopping");
                return Err(self.half_done("not stopped", &stopping));
            }
            match self.lattice.tell(to, stop).await {
                Ok(()) => return Ok(()),
                Err(error) if is_final(&error) => {
                    return Err(self.half_done("not stopped", &error));
                }
                Err(error) if error.kind() == Kind::Refused => {
                    // Somebody else stopped it, perhaps.
                    let gone = self.lattice.shown(&self.host).await;
                    let gone = gone.map(|inventory| self.lattice.running(to, &inventory));
                    return match gone {
                        Ok(running) if running.groups.is_empty() => Ok(()),
                        _ => Err(self.half_done("not stopped", &error)),
                    };
                }
                Err(_) => sleep(TOLD_AGAIN_AFTER / 10).await,
            }
        }
        let nobody = Error::new(Kind::Timeout, "it does not answer");
        Err(self.half_done("not stopped", &nobody))
    }

    /// Starts every group from the new reference, until the host shows them.
    async fn start(
        &self,
        to: &Addressee<'_>,
        groups: &[Group],
        starts: &[Order],
    ) -> Result<(), Error> {
        let mut owed: Vec<(&Group, Order)> = groups.iter().zip(starts.iter().cloned()).collect();
        let mut last = None;
        while !owed.is_empty() {
            for (_, start) in &owed {
                match self.lattice.tell(to, start).await {
                    Ok(()) => {}
                    Err(error) if is_final(&error) => {
                        return Err(self.half_done("not started again", &error));
                    }
                    Err(error) => last = Some(error),
                }
            }
            let is_there =
                |running: &Running, group: &Group| running.under(&group.annotations) >= group.count;
            let again = Deadline::new(Instant::now(), TOLD_AGAIN_AFTER);
            let all = |running: &Running| owed.iter().all(|(group, _)| is_there(running, group));
            let shown = timeout_at(again.at(), self.until_shown(to, all)).await;
            match shown {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    let error = last.unwrap_or(error);
                    return Err(self.half_done("not started again", &error));
                }
                Err(_) => {
                    let Ok(inventory) = self.lattice.shown(&self.host).await else {
                        continue;
                    };
                    let running = self.lattice.running(to, &inventory);
                    owed.retain(|(group, _)| !is_there(&running, group));
                    for (group, start) in &mut owed {
                        *start = start.for_the_rest(group, &running);
                    }
                }
            }
        }
        Ok(())
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
                    if is_there(&running) {
                        return Ok(running);
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

    fn half_done(&self, what: &str, error: &Error) -> Error {
        Error::new(
            Kind::Partial,
            format!(
                "{} fetched {}, and actor {} was {what}: {error}; look at the inventory and start \
                 what is missing",
                self.lattice.host_called(&self.host),
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

impl Order {
    /// The same start for what is missing of a group: hosts that count by
    /// themselves add it up.
    fn for_the_rest(&self, group: &Group, running: &Running) -> Self {
        match self {
            Self::Start {
                annotations,
                image_ref,
                ..
            } => {
                let missing = group.count.saturating_sub(running.under(annotations));
                Self::Start {
                    annotations: annotations.clone(),
                    count: u16::try_from(missing).unwrap_or(u16::MAX),
                    image_ref: image_ref.clone(),
                }
            }
            other => other.clone(),
        }
    }
}
