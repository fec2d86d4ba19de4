//! Starting, scaling, stopping and updating actors: what [`super::plan`] says,
//! told to the host in the words of its generation, when it is its turn.
//!
//! - `carry_out`: a plan, told to a host
//! - `update`: another revision in the place of the one that runs;
//!   `replacement`: how Rust hosts get it
//! - `code`: whether what is listed is what runs

mod carry_out;
mod code;
mod replacement;
mod update;

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::{Expected, SHOWN_WITHIN, Seen, Subject};
use crate::lattice::commands::locks::About;
use crate::lattice::dialect::quirks::{Generation, Traits};
use crate::lattice::dialect::v0::plan::{self, Plan, Refusal, Running};
use crate::lattice::dialect::v0::wire::{self, TextMap};
use crate::name::{ActorId, HostId};

/// Pause between looks at an inventory that lags.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// The longest such pause.
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_millis(200);
/// How long what a host was told keeps others waiting where it shows nothing.
const UNSEEN_DONE_WITHIN: Duration = Duration::from_secs(1);
/// Time that an order itself needs of what is left of the call.
const TIME_TO_ORDER: Duration = Duration::from_millis(300);
/// The same on OTP hosts, where a stop can take half a second.
const TIME_TO_STOP: Duration = Duration::from_millis(650);

/// Whom orders are for, and about what.
struct Addressee<'a> {
    host: &'a HostId,
    traits: Traits,
    /// The actor, where the order names it or its reference is known.
    actor: Option<&'a ActorId>,
    /// Empty where the order names none.
    image_ref: &'a str,
    /// Whether the order names the actor itself.
    names_actor: bool,
}

impl<'a> Addressee<'a> {
    /// For an order that names the actor.
    fn of_actor(host: &'a HostId, traits: Traits, actor: &'a ActorId, image_ref: &'a str) -> Self {
        Self {
            host,
            traits,
            actor: Some(actor),
            image_ref,
            names_actor: true,
        }
    }

    fn key(&self) -> Result<&'a ActorId, Error> {
        self.actor
            .ok_or_else(|| Error::new(Kind::Internal, "an order without the actor's key"))
    }

    fn subject(&self) -> Subject<'a> {
        Subject {
            host: self.host,
            key: self.actor.map(ActorId::as_str),
            image_ref: self.image_ref,
            names_actor: self.names_actor,
        }
    }

    fn about(&self) -> About<'a> {
        About {
            host: self.host,
            key: self.actor.map(ActorId::as_str),
            image_ref: Some(self.image_ref).filter(|text| !text.is_empty()),
        }
    }

    /// The annotations that the inventory will show of instances with these.
    fn shown_as<'b>(&self, annotations: &'b TextMap) -> &'b TextMap {
        static NONE: LazyLock<TextMap> = LazyLock::new(TextMap::new);
        match self.traits.shows_annotations() {
            true => annotations,
            false => &NONE,
        }
    }

    fn name(&self) -> &'a str {
        self.actor.map_or(self.image_ref, ActorId::as_str)
    }
}

/// What may be told now: the earlier orders that are in its way took effect. Other
/// orders know of it already.
struct Decided {
    /// What runs, with what is in flight and not in the way, where the host tells.
    running: Option<Running>,
    plan: Plan,
    /// Whether something else runs there, or is about to, which may be of the
    /// same actor.
    related: bool,
}

impl Lattice {
    /// Adds `count` (at least 1) instances.
    ///
    /// # Errors
    /// As every request; `Refused` where the host cannot do it.
    pub async fn start_actor(
        &self,
        host: &HostId,
        image_ref: &str,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        loop {
            let known = self.roster.commands.learned.key(host, image_ref);
            let to = Addressee {
                host,
                traits,
                actor: known.as_ref(),
                image_ref,
                names_actor: false,
            };
            let turns = &self.roster.commands.locks;
            let turn = match traits.generation.counts_maximum() {
                true => turns.alone(to.about(), self.deadline).await?,
                false => turns.shared(to.about(), self.deadline).await?,
            };
            let decide =
                |running: &Running| plan::start(&traits, running, annotations, count, image_ref);
            let blind = decide(&Running::default());
            let blind = blind.map_err(|refusal| self.refusal(&to, refusal))?;
            if self.only_adds(&to, annotations) {
                self.note_all(&to, None, &blind);
                return self.carry_out(&to, None, &blind).await;
            }
            let Some(decided) = self.decided(&to, decide, Some(&blind)).await? else {
                // It was seen there just now: other orders name it by its key.
                continue;
            };
            let running = decided.running.as_ref();
            self.carry_out(&to, running, &decided.plan).await?;
            drop(turn);
            return match decided.related {
                true => self.is_of_no_other(&to, annotations).await,
                false => Ok(()),
            };
        }
    }

    /// Whether a start only adds to others that are in flight, so that nothing
    /// must be looked at: OTP hosts add up by themselves, and refuse what is of
    /// another reference.
    fn only_adds(&self, to: &Addressee<'_>, annotations: &TextMap) -> bool {
        let orders = &self.roster.commands;
        to.traits.generation.is_otp()
            && orders
                .in_flight
                .adds_to(to.subject(), to.shown_as(annotations))
            && !orders.learned.is_of_update(to.host, to.image_ref)
    }

    /// Sets the number of instances that match the annotations.
    ///
    /// # Errors
    /// As [`Lattice::start_actor`].
    pub async fn scale_actor(
        &self,
        host: &HostId,
        actor: &ActorId,
        image_ref: &str,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        let to = Addressee::of_actor(host, traits, actor, image_ref);
        let turns = &self.roster.commands.locks;
        let _turn = turns.alone(to.about(), self.deadline).await?;
        let decide =
            |running: &Running| plan::scale(&traits, running, annotations, count, image_ref);
        self.order(&to, decide, None).await
    }

    /// Stops `count` instances that match the annotations, 0 all of them.
    ///
    /// # Errors
    /// As [`Lattice::start_actor`]; `Refused` where nothing matches.
    pub async fn stop_actor(
        &self,
        host: &HostId,
        actor: &ActorId,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        let to = Addressee::of_actor(host, traits, actor, "");
        let turns = &self.roster.commands.locks;
        let _turn = turns.alone(to.about(), self.deadline).await?;
        let decide = |running: &Running| plan::stop(&traits, running, annotations, count);
        // Without annotations all match, so that whatever the host stops is meant.
        let blind = annotations.is_empty().then(|| plan::stop_untold(count));
        self.order(&to, decide, blind.as_ref()).await
    }

    /// Decides on an order that names the actor, and carries it out.
    async fn order(
        &self,
        to: &Addressee<'_>,
        decide: impl Fn(&Running) -> Result<Plan, Refusal>,
        blind: Option<&Plan>,
    ) -> Result<(), Error> {
        let Some(decided) = self.decided(to, decide, blind).await? else {
            return Err(Error::new(Kind::Internal, "an order without a decision"));
        };
        let running = decided.running.as_ref();
        self.carry_out(to, running, &decided.plan).await
    }

    /// What a host shows, for what it is told next; learns references from it.
    async fn shown(&self, host: &HostId) -> Result<wire::Inventory, Error> {
        let inventory = self.inventory(host).await.map_err(Error::before_order)?;
        self.roster.commands.learned.learn_all(host, &inventory);
        Ok(inventory)
    }

    /// The same for an order that can do without it; `None` where the host does
    /// not answer.
    async fn shown_if_told(&self, to: &Addressee<'_>) -> Result<Option<wire::Inventory>, Error> {
        let inventory = self.inventory_if_told(to.host, &to.traits).await?;
        if let Some(inventory) = &inventory {
            self.roster.commands.learned.learn_all(to.host, inventory);
        }
        Ok(inventory)
    }

    /// What the host shows of the actor.
    fn running(&self, to: &Addressee<'_>, inventory: &wire::Inventory) -> Running {
        let memory = &self.roster.commands.learned;
        // One without a key may be seen here for the first time.
        let key = to.actor.cloned();
        let key = key.or_else(|| memory.key(to.host, to.image_ref));
        key.map_or_else(Running::default, |key| {
            self.running_of(to, inventory, key.as_str())
        })
    }

    /// What the host shows of the actor with this key.
    fn running_of(&self, to: &Addressee<'_>, inventory: &wire::Inventory, key: &str) -> Running {
        let mut running = plan::running(&to.traits, inventory, key);
        let memory = &self.roster.commands.learned;
        memory.name_what_runs(to.host, key, &mut running);
        running
    }

    /// What the inventory will show of the actor, with what is in flight.
    fn expected(
        &self,
        to: &Addressee<'_>,
        inventory: &wire::Inventory,
        shown: Running,
        asked: Instant,
    ) -> Expected {
        let orders = &self.roster.commands;
        let seen = Seen {
            asked,
            key_of: &|image_ref| {
                let key = orders.learned.key(to.host, image_ref);
                key.map(|key| key.to_string())
            },
            running: &|key| self.running_of(to, inventory, key),
        };
        orders.in_flight.expected(to.subject(), shown, &seen)
    }

    /// Reads what runs and decides what to tell the host, once the earlier orders
    /// that are in the way took effect. `blind` is what an OTP host can be told
    /// that does not say what runs: it is silent while it lacks claims of that.
    /// `None` where an order without an actor learned of which it is.
    ///
    /// # Errors
    /// `Refused` where the plan is to refuse, and `Busy` where the host does not
    /// show in time what it was told before.
    async fn decided(
        &self,
        to: &Addressee<'_>,
        decide: impl Fn(&Running) -> Result<Plan, Refusal>,
        blind: Option<&Plan>,
    ) -> Result<Option<Decided>, Error> {
        let least = match to.traits.generation.is_otp() {
            true => TIME_TO_STOP,
            false => TIME_TO_ORDER,
        };
        let least = least.min(self.deadline.remaining() / 3);
        let turns = &self.roster.commands.locks;
        let mut pause = LOOK_AGAIN_AFTER;
        loop {
            // Not kept while it waits: others need not wait for the same.
            let on_host = match to.actor {
                Some(_) => turns.share_of_host(to.host, self.deadline).await?,
                None => turns.whole_host(to.host, self.deadline).await?,
            };
            let asked = Instant::now();
            let inventory = match blind {
                None => Some(self.shown(to.host).await?),
                Some(_) => self.shown_if_told(to).await?,
            };
            let memory = &self.roster.commands.learned;
            if to.actor.is_none() && memory.key(to.host, to.image_ref).is_some() {
                return Ok(None);
            }
            let empty = wire::Inventory::default();
            let told = inventory.as_ref().unwrap_or(&empty);
            let shown = self.running(to, told);
            let expected = self.expected(to, told, shown.clone(), asked);
            let decision = match (&inventory, blind) {
                (None, Some(blind)) => Ok(blind.clone()),
                _ => decide(&expected.running),
            };
            let after = match &decision {
                Ok(plan) => &plan.after,
                // Perhaps only because of what is still to come.
                Err(_) => &plan::After::Everything,
            };
            let since = expected.in_the_way_of(after);
            // Where nothing can be seen, a moment must do.
            let since =
                since.filter(|since| inventory.is_some() || since.elapsed() < UNSEEN_DONE_WITHIN);
            let Some(since) = since else {
                let plan = decision.map_err(|refusal| self.refusal(to, refusal))?;
                let related = self.may_be_told(to, &plan, told, &shown).await?;
                let running = inventory.is_some().then_some(expected.running);
                self.note_all(to, running.as_ref(), &plan);
                return Ok(Some(Decided {
                    running,
                    plan,
                    related,
                }));
            };
            drop(on_host);
            if self.deadline.remaining() < least + pause {
                return Err(self.not_shown_yet(to, since));
            }
            sleep(pause).await;
            pause = (pause * 3 / 2).min(LOOK_AGAIN_AT_MOST);
        }
    }

    /// That nothing that is known speaks against a plan; whether something else
    /// runs there, or is about to, that may be of the same actor.
    ///
    /// # Errors
    /// `Refused` where something does.
    async fn may_be_told(
        &self,
        to: &Addressee<'_>,
        plan: &Plan,
        inventory: &wire::Inventory,
        shown: &Running,
    ) -> Result<bool, Error> {
        if to.actor.is_none() {
            return self.is_no_tag_of_what_runs(to, inventory);
        }
        if starts_code(plan) {
            self.code_is_known(to, shown).await?;
        }
        if to.names_actor && names_code(plan) {
            // Hosts start what a reference holds, whatever the key.
            self.is_of(to, inventory).await?;
        }
        let flights = &self.roster.commands.in_flight;
        Ok(!flights.unknown(to.host, to.image_ref).is_empty())
    }

    fn not_shown_yet(&self, to: &Addressee<'_>, since: Instant) -> Error {
        let waited = since.elapsed();
        Error::new(
            Kind::Busy,
            format!(
                "{} does not show yet what it was told of actor {} {} ms ago, and what comes next \
                 depends on it; nothing was sent: try again. After {} s it counts as failed",
                self.display_host(to.host),
                to.name(),
                waited.as_millis(),
                SHOWN_WITHIN.as_secs()
            ),
        )
    }

    /// That a reference is not known to be of another actor than the one named.
    ///
    /// # Errors
    /// `Refused` where it is.
    async fn is_of(&self, to: &Addressee<'_>, inventory: &wire::Inventory) -> Result<(), Error> {
        let actor = to.key()?;
        let known = self.roster.commands.learned.key(to.host, to.image_ref);
        let known = match known {
            None if to.traits.generation == Generation::G1b => {
                self.key_in_bucket(to.image_ref).await
            }
            known => known,
        };
        let Some(other) = known.filter(|known| known != actor) else {
            return Ok(());
        };
        // What the tag was may be another one by now, unless it runs.
        let runs = plan::listed(inventory).any(|listed| listed.image_ref == to.image_ref);
        let here = if runs { ", and runs there" } else { "" };
        Err(self.refusal(
            to,
            Refusal::Cannot(format!(
                "{} is of actor {other}, as far as is known{here}",
                quoted(to.image_ref)
            )),
        ))
    }

    fn refusal(&self, to: &Addressee<'_>, refusal: Refusal) -> Error {
        let (host, name) = (self.display_host(to.host), to.name());
        Error::new(
            Kind::Refused,
            match refusal {
                Refusal::NothingRuns => format!(
                    "{host} shows no instance of actor {name} with these annotations; \
                     nothing was sent"
                ),
                Refusal::Cannot(why) => {
                    format!(
                        "{host} ({}) cannot do this: {why}; nothing was sent",
                        to.traits
                    )
                }
            },
        )
    }
}

/// Whether hosts take code by the reference that it names.
fn names_code(plan: &Plan) -> bool {
    let updates = |order: &plan::Order| matches!(order, plan::Order::Update { .. });
    starts_code(plan) || plan.orders.iter().any(updates)
}

/// Whether hosts instantiate code for it.
fn starts_code(plan: &Plan) -> bool {
    plan.orders.iter().any(|order| match order {
        plan::Order::Start { .. } => true,
        plan::Order::Scale { count, .. } => *count != Some(0),
        _ => false,
    })
}
