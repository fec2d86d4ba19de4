//! Starting, scaling, stopping and updating actors.
//!
//! Each takes the lock of what it is about, reads the inventory, has a plan made, and
//! tells the plan to the host.
//!
//! - `recipient`: which host, and which actor
//! - `decide`: the plan, once what it depends on has taken effect
//! - `carry_out`: tells a host a plan; `stop_some`: where that takes several commands;
//!   `notes`: what is in flight meanwhile
//! - `old_code`: whether what is listed is what runs
//! - `unknown_start`: whether what was started is of an actor that runs there already
//! - `update`: another revision in the place of the one that runs;
//!   `replacement`: how Rust hosts get it

mod carry_out;
mod decide;
mod notes;
mod old_code;
mod recipient;
mod replacement;
mod stop_some;
mod unknown_start;
mod update;

use crate::error::Error;
use crate::lattice::Lattice;
use crate::lattice::commands::locks::Hold;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v0::plan;
use crate::lattice::model::{Running, TextMap};
use crate::lattice::ops::actors::recipient::Recipient;
use crate::name::{ActorId, ComponentId, HostId};

impl Lattice {
    /// Adds `count` (at least 1) instances.
    ///
    /// # Errors
    /// As every command; `Refused` where the host cannot do it.
    pub async fn start_actor(
        &self,
        host: &HostId,
        image_ref: &str,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let software = match self.dialect_for_command(host).await? {
            Dialect::V0(software) => software,
            Dialect::V1(_) => {
                let started = self.start_component(host, image_ref, annotations, count);
                return Box::pin(started).await;
            }
        };
        let quirks = software.quirks;
        let hold = match quirks.adds_up_starts_itself {
            true => Hold::Shared,
            false => Hold::Alone,
        };
        let commands = &self.roster.commands;
        loop {
            let actor = commands.learned.key(host, image_ref);
            let to = Recipient::of_reference(host, software, actor.as_ref(), image_ref);
            let lock = commands.locks.target(to.target(), hold, self.deadline);
            let lock = lock.await?;
            let decide =
                |running: &Running| plan::start(quirks, running, annotations, count, image_ref);
            let blind = decide(&Running::default());
            let blind = blind.map_err(|objection| self.objection(&to, objection))?;
            if self.only_adds(&to, annotations) {
                self.note_all(&to, None, &blind);
                return self.carry_out(&to, None, &blind).await;
            }
            let key = || commands.learned.key(host, image_ref);
            let news = || actor.is_none().then(key).flatten();
            let Ok(decided) = self.decide_unless(news, &to, decide, Some(&blind)).await? else {
                // The inventory showed of which actor the reference is. The start is not
                // decided by that inventory: a command that names the actor by its key may
                // have been carried out since. The next round takes the lock of the key,
                // too, and reads the inventory again. To wait for that lock here could be
                // a deadlock: the command that holds it may wait for this target.
                continue;
            };
            let running = decided.running.as_ref();
            self.carry_out(&to, running, &decided.plan).await?;
            drop(lock);
            return match decided.may_be_of_other {
                true => self.check_started(&to, annotations).await,
                false => Ok(()),
            };
        }
    }

    /// Tells whether a start needs no inventory, because it only adds to starts in flight,
    /// on a host that refuses what is of another reference.
    fn only_adds(&self, to: &Recipient<'_>, annotations: &TextMap) -> bool {
        let commands = &self.roster.commands;
        let (quirks, annotations) = (to.quirks(), to.shown_as(annotations));
        quirks.adds_up_starts_itself
            && quirks.refuses_starts_from_other_references
            && commands.in_flight.has_starts(to.target(), annotations)
            && !commands.learned.is_of_update(to.host, to.image_ref)
    }

    /// Sets the number of instances that match the annotations.
    ///
    /// # Errors
    /// As [`Lattice::start_actor`].
    pub async fn scale_actor(
        &self,
        host: &HostId,
        actor: &ComponentId,
        image_ref: &str,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let software = match self.dialect_for_command(host).await? {
            Dialect::V0(software) => software,
            Dialect::V1(_) => {
                let scaled = self.scale_component(host, actor, image_ref, annotations, count);
                return Box::pin(scaled).await;
            }
        };
        let actor = ActorId::parse(actor.as_str())?;
        let to = Recipient::of_actor(host, software, &actor, image_ref);
        let decide = |running: &Running| {
            plan::scale(software.quirks, running, annotations, count, image_ref)
        };
        let (_lock, decided) = self.lock_and_decide(&to, decide, None).await?;
        let running = decided.running.as_ref();
        self.carry_out(&to, running, &decided.plan).await
    }

    /// Stops `count` instances that match the annotations, 0 for all of them.
    ///
    /// # Errors
    /// As [`Lattice::start_actor`]; `Refused` where nothing matches.
    pub async fn stop_actor(
        &self,
        host: &HostId,
        actor: &ComponentId,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let software = match self.dialect_for_command(host).await? {
            Dialect::V0(software) => software,
            Dialect::V1(_) => {
                let stopped = self.stop_component(host, actor, annotations, count);
                return Box::pin(stopped).await;
            }
        };
        let actor = ActorId::parse(actor.as_str())?;
        let to = Recipient::of_actor(host, software, &actor, "");
        let decide = |running: &Running| plan::stop(software.quirks, running, annotations, count);
        // Without annotations all instances match, so that the host may stop any.
        let any_matches = annotations.is_empty();
        let blind = any_matches.then(|| plan::stop_without_inventory(count));
        let (_lock, decided) = self.lock_and_decide(&to, decide, blind.as_ref()).await?;
        let running = decided.running.as_ref();
        self.carry_out(&to, running, &decided.plan).await
    }
}
