//! The replacement of an actor on a Rust host: fetch, stop, start. It goes on when the call
//! that asked for it is over.

use std::time::Duration;

use async_nats::Subscriber;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::locks::{HeldLocks, Hold};
use crate::lattice::dialect::Software;
use crate::lattice::dialect::v0::plan::{self, Command};
use crate::lattice::dialect::v0::{events, subject};
use crate::lattice::model::{Group, HostNews, Running};
use crate::lattice::ops::actors::decide::LOOK_AGAIN_AFTER;
use crate::lattice::ops::actors::recipient::Recipient;
use crate::name::{ActorId, HostId};

/// How long a host has to show a group that it was to start, before the command is sent
/// again, where that does no harm.
const SENT_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long claims are waited for.
const CLAIMS_WITHIN: Duration = Duration::from_millis(500);
/// How long a replacement waits for other starts.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(2);

/// A group that must be started again.
struct Owed<'a> {
    group: &'a Group,
    start: &'a Command,
    /// Whether the command must be sent, for the first time or again.
    is_due: bool,
}

/// How far a replacement is.
#[derive(Clone, Copy)]
pub(super) enum Phase {
    Fetches,
    Stops,
    Starts,
}

/// Everything that a replacement needs when its call is over.
pub(super) struct Replacement {
    pub(super) lattice: Lattice,
    pub(super) host: HostId,
    pub(super) actor: ActorId,
    pub(super) image_ref: String,
    pub(super) software: Software,
    /// What ran before.
    pub(super) running: Running,
    pub(super) phase: watch::Sender<Phase>,
}

impl Replacement {
    pub(super) fn to(&self) -> Recipient<'_> {
        Recipient::of_actor(&self.host, self.software, &self.actor, &self.image_ref)
    }

    /// Carries it out. The `first` commands make the host fetch the new revision.
    ///
    /// # Errors
    /// As every request where nothing changed; `Partial` where something did.
    pub(super) async fn run(&self, first: &[Command]) -> Result<(), Error> {
        let to = self.to();
        for command in first {
            self.fetch(&to, command).await?;
        }
        self.phase.send_replace(Phase::Stops);
        let lock = self.keep_starts_away().await;
        if self.lattice.duties.is_closed() {
            // The process may end before it starts again what it would stop.
            for command in first {
                self.give_back(&to, command, Kind::Stopping, "the provider is stopping")
                    .await?;
            }
        }
        let groups = self.groups(&to).await;
        let (stop, starts) = plan::replace(self.software.quirks, &groups, &self.image_ref);
        if !self.stop(&to, &stop).await? {
            // Somebody else stopped the actor, after the update.
            return Ok(());
        }
        self.phase.send_replace(Phase::Starts);
        self.start(&to, &groups, &starts, lock).await?;
        let learned = &self.lattice.roster.commands.learned;
        learned.learn(&self.host, &self.image_ref, self.actor.as_str());
        Ok(())
    }

    /// Keeps other starts off the host, and waits for those in flight that may be of this
    /// actor: the host keeps the code of what starts while the actor is stopped. Where
    /// they take long, the replacement goes on all the same, because one group runs the
    /// new code by now.
    async fn keep_starts_away(&self) -> Option<HeldLocks> {
        let commands = &self.lattice.roster.commands;
        let soon = Deadline::new(Instant::now(), OTHERS_END_WITHIN);
        let lock = commands
            .locks
            .host(&self.host, Hold::Alone, soon)
            .await
            .ok();
        let is_unknown = |image_ref: &String| commands.learned.key(&self.host, image_ref).is_none();
        while !soon.remaining().is_zero() {
            let in_flight = &commands.in_flight;
            let unknown = in_flight.references_of_unknown_actors(&self.host, &self.image_ref);
            if !unknown.iter().any(is_unknown) {
                break;
            }
            // The inventory shows of which actor they are, once they are there.
            let _ = self.lattice.read_inventory(&self.host).await;
            sleep(LOOK_AGAIN_AFTER).await;
        }
        lock
    }

    /// Has the host fetch the new revision, and run it in one group. The command is sent
    /// again where the host does not answer: the second time changes nothing.
    async fn fetch(&self, to: &Recipient<'_>, command: &Command) -> Result<(), Error> {
        let mut events = self.events().await;
        let learned = &self.lattice.roster.commands.learned;
        let known = learned.key(&self.host, &self.image_ref);
        let is_known = known.is_some_and(|known| known == self.actor);
        let before = match is_known {
            true => None,
            false => self.claimed().await,
        };
        let mut unknown = None;
        loop {
            let error = match self.lattice.tell(to, command).await {
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
                _ => sleep(SENT_AGAIN_AFTER).await,
            }
        }
        let heard = events.as_mut().and_then(|events| self.started(events));
        let why = match heard {
            Some(key) if key == self.actor.as_str() => return Ok(()),
            Some(other) => format!("{} is of actor {other}", quoted(&self.image_ref)),
            None if is_known || self.claims_changed(before).await => return Ok(()),
            None => format!(
                "it is not known whether {} is of actor {}: allow the credentials of {} to subscribe \
                 to {}",
                quoted(&self.image_ref),
                self.actor,
                self.lattice.display_name(),
                subject::events(&self.lattice.id)
            ),
        };
        self.give_back(to, command, Kind::Refused, &why).await
    }

    /// Returns the revision in the actor's claims, where a host says it.
    async fn claimed(&self) -> Option<i32> {
        let claimed = self.lattice.claimed_revision(&self.actor);
        timeout(CLAIMS_WITHIN, claimed).await.ok()?.ok()?
    }

    /// Tells whether the update gave the actor other claims than it had. If so, the image
    /// was this actor's. Hosts hear of new claims one after the other.
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

    /// Subscribes to the events of the lattice, where the credentials may.
    async fn events(&self) -> Option<Subscriber> {
        let client = self.lattice.connection.client();
        let subject = subject::events(&self.lattice.id);
        client.subscribe(subject).await.ok()
    }

    /// Returns the actor whose code the host has just taken, as its event says. The event
    /// comes before the acknowledgement, on the same connection.
    fn started(&self, events: &mut Subscriber) -> Option<String> {
        let mut started = None;
        while let Some(Some(event)) = events.next().now_or_never() {
            let Some(event) = events::read(&event.payload) else {
                continue;
            };
            if let HostNews::ActorStarted { key, image_ref, .. } = event.news
                && event.host == self.host.as_str()
                && image_ref == self.image_ref
            {
                started = Some(key);
            }
        }
        started
    }

    /// Has the group run the code from before again, and returns why.
    async fn give_back(
        &self,
        to: &Recipient<'_>,
        command: &Command,
        kind: Kind,
        why: &str,
    ) -> Result<(), Error> {
        let Command::Update { annotations, .. } = command else {
            return Err(Error::new(Kind::Internal, why.to_owned()));
        };
        let mut groups = self.running.groups.iter();
        let before = groups.find(|group| group.annotations == *annotations);
        let back = before.map(|group| Command::Update {
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
                    "{why}, and {host} runs {} now in the place of some instances: {error}; call \
                     UpdateActor with what shall run",
                    quoted(&self.image_ref)
                ),
            )
            .caused_by(error)),
        }
    }

    /// Returns what runs now: somebody else may have changed it meanwhile.
    async fn groups(&self, to: &Recipient<'_>) -> Vec<Group> {
        match self.lattice.read_inventory(&self.host).await {
            Ok(inventory) => self.lattice.running(to, &inventory).groups,
            Err(_) => self.running.groups.clone(),
        }
    }

    /// Stops the whole actor. Returns whether it was stopped from here, and not by somebody
    /// else. The command is sent again where its outcome is not known: nothing else runs
    /// under this key.
    async fn stop(&self, to: &Recipient<'_>, stop: &Command) -> Result<bool, Error> {
        let mut may_have_stopped = false;
        while !self.lattice.deadline.remaining().is_zero() {
            match self.lattice.tell(to, stop).await {
                Ok(()) => return Ok(true),
                Err(error) if is_final(&error) => {
                    return Err(self.half_done("not stopped", error));
                }
                Err(error) if error.kind() == Kind::Refused => {
                    // Perhaps because it was stopped already.
                    let gone = self.lattice.read_inventory(&self.host).await;
                    let gone = gone.map(|inventory| self.lattice.running(to, &inventory));
                    return match gone {
                        // From here, if the command was sent before.
                        Ok(running) if running.groups.is_empty() => Ok(may_have_stopped),
                        _ => Err(self.half_done("not stopped", error)),
                    };
                }
                Err(error) => {
                    may_have_stopped |= !error.kind().certainly_not_carried_out();
                    sleep(SENT_AGAIN_AFTER).await;
                }
            }
        }
        let nobody = Error::new(Kind::Timeout, "it does not answer");
        Err(self.half_done("not stopped", nobody))
    }

    /// Starts every group from the new reference, until the host shows them. The lock keeps
    /// other starts away until the first group is there.
    async fn start(
        &self,
        to: &Recipient<'_>,
        groups: &[Group],
        starts: &[Command],
        mut lock: Option<HeldLocks>,
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
            let sent_at = Instant::now();
            for owed in owed.iter_mut().filter(|owed| owed.is_due) {
                let started = self.lattice.tell(to, owed.start).await;
                owed.is_due = match started {
                    Ok(()) => false,
                    Err(error) if is_final(&error) => {
                        return Err(self.half_done("not started again", error));
                    }
                    Err(error) => {
                        let never = error.kind().certainly_not_carried_out();
                        last = Some(error);
                        never
                    }
                };
            }
            if let Some(lock) = lock.take() {
                let first = |running: &Running| !running.groups.is_empty();
                let _ = timeout(OTHERS_END_WITHIN, self.until_shown(to, first)).await;
                drop(lock);
            }
            let all = |running: &Running| owed.iter().all(|owed| is_there(running, owed.group));
            match timeout(SENT_AGAIN_AFTER, self.until_shown(to, all)).await {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => {
                    let error = last.unwrap_or(error);
                    return Err(self.half_done("not started again", error));
                }
                Err(_) => {}
            }
            if let Ok(inventory) = self.lattice.read_inventory(&self.host).await {
                let running = self.lattice.running(to, &inventory);
                owed.retain(|owed| !is_there(&running, owed.group));
            }
            let again = self.may_be_sent_again(sent_at);
            for owed in &mut owed {
                owed.is_due |= again;
            }
        }
    }

    /// Tells whether the command for a group that the host does not show may be sent again. A
    /// host that adds up starts may only be slow, and would then start too many, unless it
    /// said in an event that it failed.
    fn may_be_sent_again(&self, since: Instant) -> bool {
        let in_flight = &self.lattice.roster.commands.in_flight;
        !self.software.quirks.adds_up_starts_itself
            || in_flight
                .failure(&self.host, &self.image_ref, since)
                .is_some()
    }

    /// Reads the inventory until `is_there` says that it shows what is waited for.
    async fn until_shown(
        &self,
        to: &Recipient<'_>,
        is_there: impl Fn(&Running) -> bool,
    ) -> Result<Running, Error> {
        loop {
            let problem = match self.lattice.read_inventory(&self.host).await {
                Ok(inventory) => {
                    let running = self.lattice.running(to, &inventory);
                    if let Some(other) = running.other_reference(&self.image_ref) {
                        let other = quoted(other);
                        let what = format!(
                            "somebody else started it from {other} meanwhile; call UpdateActor again"
                        );
                        return Err(Error::new(Kind::Partial, what));
                    }
                    if is_there(&running) {
                        return Ok(running);
                    }
                    let learned = &self.lattice.roster.commands.learned;
                    let key = learned.key(&self.host, &self.image_ref);
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

    fn half_done(&self, what: &str, error: Error) -> Error {
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
        .caused_by(error)
    }
}

/// Tells whether trying again is of no use: the host is gone, or the credentials do not allow
/// the command.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::NoResponders | Kind::NotPermitted)
}
