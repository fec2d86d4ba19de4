//! What to tell a host, decided by its inventory and by what is in flight.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::connections::Held;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::{ExpectedRunning, SHOWN_WITHIN, Seen};
use crate::lattice::commands::locks::{HeldLocks, Hold};
use crate::lattice::dialect::v0::plan::{self, After, Objection, Plan};
use crate::lattice::model::{Inventory, Running, listed};
use crate::lattice::ops::actors::recipient::Recipient;
use crate::name::HostId;

/// Pause before an inventory is read again.
pub(super) const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The longest such pause.
pub(super) const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(200);
/// How long a command in flight holds up later ones on a host that hides its inventory.
const UNSEEN_DONE_WITHIN: Duration = Duration::from_secs(1);
/// Time that a command itself needs of what is left of the call.
const TIME_TO_COMMAND: Duration = Duration::from_millis(300);
/// Time that a command needs on hosts that stop slowly.
const TIME_TO_STOP: Duration = Duration::from_millis(650);

/// A plan that can be carried out now: what it depends on has taken effect. Its commands
/// are noted as in flight.
pub(super) struct Decided {
    /// What runs when the commands in flight have taken effect, where the host says what
    /// runs.
    pub(super) running: Option<Running>,
    pub(super) plan: Plan,
    /// Whether something else runs there, or is about to, that may be of the same actor.
    pub(super) may_be_of_other: bool,
}

impl Lattice {
    /// Reads the inventory of a host before a command, and learns references from it.
    pub(super) async fn read_inventory(&self, host: &HostId) -> Result<Held<Inventory>, Error> {
        let inventory = self.inventory(host, self.deadline).await;
        let inventory = inventory.map_err(Error::before_command)?;
        self.roster.commands.learned.learn_all(host, &inventory);
        Ok(inventory)
    }

    /// Reads the inventory before a command that can do without it, and learns references
    /// from it. Returns `None` where the host may hide its inventory and does not answer.
    async fn read_inventory_unless_hidden(
        &self,
        to: &Recipient<'_>,
    ) -> Result<Option<Held<Inventory>>, Error> {
        let inventory = self.inventory_unless_hidden(to.host, to.quirks()).await?;
        if let Some(inventory) = &inventory {
            self.roster.commands.learned.learn_all(to.host, inventory);
        }
        Ok(inventory)
    }

    /// Returns what an inventory shows of the actor.
    pub(super) fn running(&self, to: &Recipient<'_>, inventory: &Inventory) -> Running {
        // An actor that was not known may be in this inventory.
        let key = to.actor.cloned();
        let key = key.or_else(|| self.roster.commands.learned.key(to.host, to.image_ref));
        key.map_or_else(Running::default, |key| {
            self.running_of(to, inventory, key.as_str())
        })
    }

    /// Returns what an inventory shows of the actor with this key.
    pub(super) fn running_of(
        &self,
        to: &Recipient<'_>,
        inventory: &Inventory,
        key: &str,
    ) -> Running {
        let mut running = plan::running(to.quirks(), inventory, key);
        let learned = &self.roster.commands.learned;
        learned.correct_references(to.host, key, &mut running);
        running
    }

    /// Computes what the inventory will show of the actor when the commands in flight have
    /// taken effect.
    fn expected(
        &self,
        to: &Recipient<'_>,
        inventory: &Inventory,
        shown: Running,
        asked: Instant,
    ) -> ExpectedRunning {
        let commands = &self.roster.commands;
        let seen = Seen {
            asked,
            key_of: &|image_ref| {
                let key = commands.learned.key(to.host, image_ref);
                key.map(|key| key.to_string())
            },
            running: &|key| self.running_of(to, inventory, key),
        };
        commands.in_flight.expected(to.target(), shown, &seen)
    }

    /// Takes the lock of an actor that the caller names, alone, and decides.
    ///
    /// # Errors
    /// As [`Lattice::decide_unless`]; `Busy` where another command has the lock.
    pub(super) async fn lock_and_decide(
        &self,
        to: &Recipient<'_>,
        decide: impl Fn(&Running) -> Result<Plan, Objection>,
        blind: Option<&Plan>,
    ) -> Result<(HeldLocks, Decided), Error> {
        let locks = &self.roster.commands.locks;
        let lock = locks.target(to.target(), Hold::Alone, self.deadline);
        let lock = lock.await?;
        let never = || None::<Infallible>;
        let Ok(decided) = self.decide_unless(never, to, decide, blind).await?;
        Ok((lock, decided))
    }

    /// Reads the inventory and makes the plan, again and again until the commands in flight
    /// that the plan depends on have taken effect. The caller has the lock of the target.
    ///
    /// `blind` is a plan that needs no inventory, for hosts that may hide it. `news` is asked
    /// after each reading; what it has to say is returned in place of a decision.
    ///
    /// # Errors
    /// `Refused` where there is no plan, and `Busy` where the host does not show in time
    /// what it was told before.
    pub(super) async fn decide_unless<News>(
        &self,
        news: impl Fn() -> Option<News>,
        to: &Recipient<'_>,
        decide: impl Fn(&Running) -> Result<Plan, Objection>,
        blind: Option<&Plan>,
    ) -> Result<Result<Decided, News>, Error> {
        let least = match to.quirks().stops_slowly {
            true => TIME_TO_STOP,
            false => TIME_TO_COMMAND,
        };
        let least = least.min(self.deadline.remaining() / 3);
        let hold = match to.actor {
            Some(_) => Hold::Shared,
            None => Hold::Alone,
        };
        let commands = &self.roster.commands;
        let mut pause = LOOK_AGAIN_AFTER;
        loop {
            let host_lock = commands.locks.host(to.host, hold, self.deadline).await?;
            let asked = Instant::now();
            let inventory = match blind {
                None => Some(self.read_inventory(to.host).await?),
                Some(_) => self.read_inventory_unless_hidden(to).await?,
            };
            if let Some(news) = news() {
                return Ok(Err(news));
            }
            let empty = Inventory::default();
            let listed = inventory.as_deref().unwrap_or(&empty);
            let shown = self.running(to, listed);
            let expected = self.expected(to, listed, shown.clone(), asked);
            let decision = match (&inventory, blind) {
                (None, Some(blind)) => Ok(blind.clone()),
                _ => decide(&expected.running),
            };
            // An objection may be gone when everything has taken effect.
            let after = decision.as_ref();
            let after = after.map_or(&After::Everything, |plan| &plan.after);
            let since = expected.in_the_way_of(after);
            // Where nothing can be seen, a moment must be enough.
            let since =
                since.filter(|since| inventory.is_some() || since.elapsed() < UNSEEN_DONE_WITHIN);
            let Some(since) = since else {
                let plan = decision.map_err(|objection| self.objection(to, objection))?;
                let may_be_of_other = self.check_code(to, &plan, listed, &shown).await?;
                let running = inventory.is_some().then_some(expected.running);
                self.note_all(to, running.as_ref(), &plan);
                return Ok(Ok(Decided {
                    running,
                    plan,
                    may_be_of_other,
                }));
            };
            drop(host_lock);
            if self.deadline.remaining() < least + pause {
                return Err(self.not_shown_yet(to, since));
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK_AGAIN_AT_MOST);
        }
    }

    /// Checks that the host would start the code that the plan means, as far as is known.
    /// Returns whether something else runs there, or is about to, that may be of the same
    /// actor.
    ///
    /// # Errors
    /// `Refused`.
    async fn check_code(
        &self,
        to: &Recipient<'_>,
        plan: &Plan,
        inventory: &Inventory,
        shown: &Running,
    ) -> Result<bool, Error> {
        if to.actor.is_none() {
            return self.check_other_tags(to, inventory);
        }
        if plan.starts_code() {
            self.check_old_code(to, shown).await?;
        }
        if to.names_actor && plan.names_code() {
            self.check_reference(to, inventory).await?;
        }
        let in_flight = &self.roster.commands.in_flight;
        let unknown = in_flight.references_of_unknown_actors(to.host, to.image_ref);
        Ok(!unknown.is_empty())
    }

    /// Checks that a reference is not known to be of another actor than the one that is
    /// named: hosts start what the reference holds, whatever the key.
    ///
    /// # Errors
    /// `Refused`.
    async fn check_reference(
        &self,
        to: &Recipient<'_>,
        inventory: &Inventory,
    ) -> Result<(), Error> {
        let actor = to.key()?;
        let known = self.roster.commands.learned.key(to.host, to.image_ref);
        let known = match known {
            None if to.quirks().keeps_references_in_bucket => {
                self.key_in_bucket(to.image_ref).await
            }
            known => known,
        };
        let Some(other) = known.filter(|known| known != actor) else {
            return Ok(());
        };
        // The tag may have moved since, unless it runs.
        let runs = listed(inventory).any(|listed| listed.image_ref == to.image_ref);
        let here = if runs { ", and runs there" } else { "" };
        Err(self.objection(
            to,
            Objection::Cannot(format!(
                "{} is of actor {other}, as far as is known{here}",
                quoted(to.image_ref)
            )),
        ))
    }

    fn not_shown_yet(&self, to: &Recipient<'_>, since: Instant) -> Error {
        let waited = since.elapsed();
        Error::new(
            Kind::Busy,
            format!(
                "{} does not show yet what it was told about actor {} {} ms ago, and this command \
                 depends on it; nothing was sent: try again. After {} s it counts as failed",
                self.display_host(to.host),
                to.name(),
                waited.as_millis(),
                SHOWN_WITHIN.as_secs()
            ),
        )
    }

    /// Makes an error of an objection.
    pub(super) fn objection(&self, to: &Recipient<'_>, objection: Objection) -> Error {
        let (host, name) = (self.display_host(to.host), to.name());
        Error::new(
            Kind::Refused,
            match objection {
                Objection::NothingRuns => format!(
                    "{host} shows no instance of actor {name} with these annotations; \
                     nothing was sent"
                ),
                Objection::Cannot(why) => {
                    format!(
                        "{host} ({}) cannot do this: {why}; nothing was sent",
                        to.software
                    )
                }
            },
        )
    }
}
