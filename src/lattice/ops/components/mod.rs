//! Starting, scaling, stopping and updating components on hosts of 1.x.
//!
//! Each takes the lock of the component, reads the inventory, has an order decided, and
//! sends it. The host takes an order before it does anything: `outcome` finds out what
//! came of it.
//!
//! - `configuration`: whether a component may lose its configuration by an order
//! - `outcome`: what came of an order
//! - `providers`: the same for providers
//! - `replacement`: another revision in the place of the one that runs

mod configuration;
mod outcome;
mod providers;
mod replacement;

use std::time::Duration;

use tokio::time::sleep;

use crate::connections::Held;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::commands::locks::HeldLocks;
use crate::lattice::commands::scales::Keyed;
use crate::lattice::dialect::request::Request;
use crate::lattice::dialect::v1::inventory::{Component, Inventory};
use crate::lattice::dialect::v1::plan::{Decision, Noun, Refusal, Told};
use crate::lattice::dialect::v1::replies::Ack;
use crate::lattice::dialect::v1::{ids, plan, requests};
use crate::lattice::dialect::{Dialect, Software1x};
use crate::lattice::model::TextMap;
use crate::name::{ActorId, ComponentId, HostId};

/// How long events and inventories that tell the same may be apart.
const EVENTS_COME_WITHIN: Duration = Duration::from_millis(150);

/// An order that was decided, and has the lock of its component.
struct Decided {
    id: ComponentId,
    decision: Decision,
    lock: HeldLocks,
}

impl Lattice {
    /// Has a host of 1.x run `count` more of what an image reference names.
    ///
    /// # Errors
    /// As every command; `Refused` where the host cannot do it, or says that it failed.
    pub(super) async fn start_component(
        &self,
        host: &HostId,
        image_ref: &str,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let id = ids::of_component(&self.components.ids, image_ref)?;
        let decide = |_: &ComponentId, running: Option<&Component>| {
            plan::start(running, image_ref, count, annotations)
        };
        let decided = self.decide_component(host, &id, decide).await?;
        self.carry_out_1x(host, decided).await
    }

    /// Has a host of 1.x run so many of a component.
    ///
    /// # Errors
    /// As [`Lattice::start_component`].
    pub(super) async fn scale_component(
        &self,
        host: &HostId,
        id: &ComponentId,
        image_ref: &str,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let id = self.component_id(host, id).await?;
        let decide = |_: &ComponentId, running: Option<&Component>| {
            plan::scale(running, image_ref, count, annotations)
        };
        let decided = self.decide_component(host, &id, decide).await?;
        self.carry_out_1x(host, decided).await
    }

    /// Has a host of 1.x run `count` fewer of a component, or none for 0.
    ///
    /// # Errors
    /// As [`Lattice::start_component`]; `Refused` where nothing matches.
    pub(super) async fn stop_component(
        &self,
        host: &HostId,
        id: &ComponentId,
        annotations: &TextMap,
        count: u16,
    ) -> Result<(), Error> {
        let id = self.component_id(host, id).await?;
        let decide = |id: &ComponentId, running: Option<&Component>| {
            plan::stop(id, running, count, annotations)
        };
        let decided = self.decide_component(host, &id, decide).await?;
        self.carry_out_1x(host, decided).await
    }

    /// Has a host of 1.x run another revision of a component.
    ///
    /// # Errors
    /// As [`Lattice::stop_component`]; `Timeout` where it goes on after the call.
    pub(super) async fn update_component(
        self,
        host: &HostId,
        software: Software1x,
        id: &ComponentId,
        image_ref: &str,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let id = self.component_id(host, id).await?;
        let decide = |id: &ComponentId, running: Option<&Component>| {
            plan::update(software.behaviour, id, running, image_ref, annotations)
        };
        let decided = self.decide_component(host, &id, decide).await?;
        match decided.decision {
            Decision::Replace(replacement) => {
                self.replace_component(host, decided.id, replacement, decided.lock)
                    .await
            }
            _ => self.carry_out_1x(host, decided).await,
        }
    }

    /// Returns the id that is meant. A public key may be that of a component that runs
    /// under another id: that one is meant where an event of the host had both, and the
    /// inventory still has the id with the reference of that event, and no other such one.
    ///
    /// # Errors
    /// As every request, and nothing was sent.
    async fn component_id(&self, host: &HostId, given: &ComponentId) -> Result<ComponentId, Error> {
        let scales = &self.roster.commands.scales;
        let key = ActorId::parse(given.as_str()).ok();
        let others = key.map_or(Vec::new(), |key| scales.of_key(host, &key));
        if others.is_empty() {
            return Ok(given.clone());
        }
        let inventory = self.inventory_before_order(host).await?;
        if inventory.component(given.as_str()).is_some() {
            return Ok(given.clone());
        }
        let runs = |other: &Keyed| {
            let there = inventory.component(other.id.as_str());
            there.is_some_and(|there| there.image_ref == other.image_ref)
        };
        let mut running = others.into_iter().filter(runs);
        // Of two, nobody knows which is meant.
        Ok(match (running.next(), running.next()) {
            (Some(only), None) => only.id,
            _ => given.clone(),
        })
    }

    /// Takes the lock of a component, and decides an order by what runs.
    ///
    /// # Errors
    /// As every request, and nothing was sent; `Busy` where the host does not show yet what
    /// it was told.
    async fn decide_component(
        &self,
        host: &HostId,
        id: &ComponentId,
        decide: impl Fn(&ComponentId, Option<&Component>) -> Result<Decision, Refusal>,
    ) -> Result<Decided, Error> {
        let lock = self.lock_when_shown(host, Noun::Component, id).await?;
        let inventory = self.inventory_before_order(host).await?;
        let refused = |refusal| self.refused_1x(host, refusal);
        let running = inventory.component(id.as_str());
        if self.is_updated(host, id, running).await? {
            return Err(refused(Refusal::Updated(id.clone())));
        }
        let decision = decide(id, running).map_err(refused)?;
        if decision.takes_configuration()
            && !self.components.may_lose_configuration
            && let Some(config) = self.config_of_nothing_known().await?
        {
            return Err(refused(Refusal::MayLoseConfiguration(config)));
        }
        Ok(Decided {
            id: id.clone(),
            decision,
            lock,
        })
    }

    /// Tells whether another client had the host update a component, so that no order does
    /// what it says.
    ///
    /// # Errors
    /// As every request, and nothing was sent.
    async fn is_updated(
        &self,
        host: &HostId,
        id: &ComponentId,
        running: Option<&Component>,
    ) -> Result<bool, Error> {
        if let Some(Dialect::V1(software)) = self.roster.dialect(host)
            && software.behaviour.update_runs_new_code
        {
            return Ok(false);
        }
        let updates = &self.roster.commands.updates;
        if updates.is_updated(host, id) {
            return Ok(true);
        }
        let may_be = |running: &Component| updates.may_be_updated(host, id, &running.image_ref);
        if !running.is_some_and(may_be) {
            return Ok(false);
        }
        // It may also have been stopped and started: the inventory and the events of that
        // come within milliseconds of each other, in any order.
        sleep(EVENTS_COME_WITHIN.min(self.deadline.remaining())).await;
        let inventory = self.inventory_before_order(host).await?;
        let is_updated = inventory.component(id.as_str()).is_some_and(may_be);
        if is_updated {
            updates.updated(host, id);
        }
        Ok(is_updated)
    }

    /// Asks a host what runs there, before an order is decided by that.
    ///
    /// # Errors
    /// As every request, and nothing was sent.
    async fn inventory_before_order(&self, host: &HostId) -> Result<Held<Inventory>, Error> {
        let inventory = self.inventory_1x(host, self.deadline).await;
        inventory.map_err(Error::before_command)
    }

    /// Sends an order, and finds out what came of it.
    async fn carry_out_1x(&self, host: &HostId, decided: Decided) -> Result<(), Error> {
        let id = &decided.id;
        let (order, scale) = match &decided.decision {
            Decision::Nothing => return Ok(()),
            Decision::Start(scale) | Decision::Change(scale) | Decision::Stop(scale) => {
                (requests::scale(&self.id, host, id, scale)?, scale)
            }
            Decision::Update(scale) => {
                let (reference, annotations) = (&scale.reference, &scale.annotations);
                let order = requests::update(&self.id, host, id, reference, annotations)?;
                (order, scale)
            }
            Decision::Replace(_) => {
                // Only an update is one.
                return Err(Error::new(Kind::Internal, "no update was asked for"));
            }
        };
        let told = Told::scale(scale);
        let taken = self.send_order(host, id, order, &told).await?;
        // A stop ends it, whatever runs.
        if let Ack::OtherCode(words) = taken
            && scale.count > 0
        {
            return Err(self.keeps_other_code(host, id, &words));
        }
        self.outcome(host, id, &told).await
    }

    /// Sends an order, which may show later, and returns how the host took it.
    async fn send_order(
        &self,
        host: &HostId,
        id: &ComponentId,
        order: Request,
        told: &Told,
    ) -> Result<Ack, Error> {
        let scales = &self.roster.commands.scales;
        scales.begin(host, id, told, self.shows_within(host));
        let taken = self.tell_host_1x(host, order).await;
        if let Err(error) = &taken
            && error.kind().certainly_not_carried_out()
        {
            scales.end(host, told.noun(), id);
        }
        taken
    }

    fn refused_1x(&self, host: &HostId, refusal: Refusal) -> Error {
        Error::new(
            Kind::Refused,
            format!("{}: {refusal}; nothing was sent", self.display_host(host)),
        )
        .caused_by(refusal)
    }
}
