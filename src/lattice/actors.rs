//! Starting, scaling, stopping and updating actors: what [`super::plan`] says,
//! told to the host in the words of its generation.

use std::time::Duration;

use tokio::time::sleep;

use super::Lattice;
use super::generation::{Generation, Traits};
use super::plan::{self, Group, Order, Refusal};
use super::subject::Verb;
use super::wire::{self, TextMap};
use crate::error::{Error, Kind};
use crate::name::{ActorId, HostId};

/// Pause between looks at an inventory that lags.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Time that an order itself needs of what is left of the call.
const TIME_TO_ORDER: Duration = Duration::from_millis(300);

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
        let to = Addressee {
            host,
            traits,
            actor: None,
            image_ref,
        };
        if traits.generation.is_otp() {
            let orders = plan::start(&traits, &[], annotations, count, image_ref);
            return self.carry_out(&to, Vec::new(), orders).await;
        }
        // Other orders name the actor by its key, which only what runs tells.
        let key = key_of(&self.shown(host).await?, image_ref);
        let _turn = match &key {
            Some(key) => Some(self.roster.orders.turn(host, key, self.deadline).await?),
            None => None,
        };
        let _start = self
            .roster
            .orders
            .turn(host, image_ref, self.deadline)
            .await?;
        let inventory = self.shown(host).await?;
        let key = key_of(&inventory, image_ref);
        let shown = plan::groups(&traits, &inventory, |id, reference| match &key {
            Some(key) => id == key,
            None => reference == image_ref,
        });
        // Adding harms no host, so what lags is not waited for.
        let groups = self.roster.orders.expected(host, image_ref, &shown);
        let orders = plan::start(&traits, &groups, annotations, count, image_ref);
        self.carry_out(&to, groups, orders).await
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
        let to = Addressee {
            host,
            traits,
            actor: Some(actor),
            image_ref,
        };
        if traits.generation.is_otp() {
            let orders = plan::scale(&traits, &[], annotations, count, image_ref);
            return self.carry_out(&to, Vec::new(), orders).await;
        }
        // Always the key first: starts of what does not run yet know no key.
        let _turn = self
            .roster
            .orders
            .turn(host, actor.as_str(), self.deadline)
            .await?;
        let _start = self
            .roster
            .orders
            .turn(host, image_ref, self.deadline)
            .await?;
        // These hosts go by the reference alone.
        if let Some(other) = key_of(&self.shown(host).await?, image_ref)
            && other != actor.as_str()
        {
            let why = format!("{image_ref} runs there as actor {other}");
            return Err(self.refusal(&to, Refusal::Cannot(why)));
        }
        let groups = self.groups(&to).await?;
        let orders = plan::scale(&traits, &groups, annotations, count, image_ref);
        self.carry_out(&to, groups, orders).await
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
        let _turn = self
            .roster
            .orders
            .turn(host, actor.as_str(), self.deadline)
            .await?;
        let mut to = Addressee {
            host,
            traits,
            actor: Some(actor),
            image_ref: "",
        };
        let groups = if traits.generation.is_otp() {
            match self.inventory_if_told(host, &traits).await? {
                Some(inventory) => {
                    plan::groups(&traits, &inventory, |key, _| key == actor.as_str())
                }
                None if annotations.is_empty() => {
                    let so_many = Order::Stop {
                        annotations: TextMap::new(),
                        count: Some(count),
                    };
                    return self.carry_out(&to, Vec::new(), Ok(vec![so_many])).await;
                }
                None => {
                    let why = "it does not tell what runs".to_owned();
                    return Err(self.refusal(&to, Refusal::Cannot(why)));
                }
            }
        } else {
            self.groups(&to).await?
        };
        let image_ref = groups
            .first()
            .map(|group| group.image_ref.clone())
            .unwrap_or_default();
        to.image_ref = &image_ref;
        let orders = plan::stop(&traits, &groups, annotations, count);
        self.carry_out(&to, groups, orders).await
    }

    /// Replaces the instances that match the annotations by another revision.
    ///
    /// # Errors
    /// As [`Lattice::stop_actor`].
    pub async fn update_actor(
        &self,
        host: &HostId,
        actor: &ActorId,
        new_image_ref: &str,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let traits = self.traits_for_order(host).await?;
        let _turn = self
            .roster
            .orders
            .turn(host, actor.as_str(), self.deadline)
            .await?;
        let to = Addressee {
            host,
            traits,
            actor: Some(actor),
            image_ref: new_image_ref,
        };
        let inventory = self.shown(host).await?;
        let groups = plan::groups(&traits, &inventory, |key, _| key == actor.as_str());
        let orders = plan::update(&traits, &groups, annotations);
        self.carry_out(&to, groups, orders).await
    }

    /// What a host shows, for what it is told next.
    async fn shown(&self, host: &HostId) -> Result<wire::Inventory, Error> {
        self.inventory(host).await.map_err(Error::before_order)
    }

    /// What runs of the actor, with what was ordered a moment ago.
    ///
    /// Hosts acknowledge, then download, then show it. Where they keep a
    /// maximum, what was ordered counts. 0.78 and 0.79.0 crash when they are told
    /// by numbers that are not there (trap T3): they are waited for.
    ///
    /// # Errors
    /// `Busy` where such a host has not caught up in time.
    async fn groups(&self, to: &Addressee<'_>) -> Result<Vec<Group>, Error> {
        let key = to.key()?;
        loop {
            let inventory = self.shown(to.host).await?;
            let shown = plan::groups(&to.traits, &inventory, |id, _| id == key.as_str());
            let expected = self.roster.orders.expected(to.host, to.image_ref, &shown);
            if to.traits.generation != Generation::G2a || shown == expected {
                return Ok(expected);
            }
            if self.deadline.remaining() < TIME_TO_ORDER {
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "{} has not done yet what it was told of actor {key}; try again",
                        self.host_called(to.host)
                    ),
                ));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }

    /// Tells a host what was planned, one order after the other. `groups` is
    /// what runs.
    async fn carry_out(
        &self,
        to: &Addressee<'_>,
        groups: Vec<Group>,
        orders: Result<Vec<Order>, Refusal>,
    ) -> Result<(), Error> {
        let orders = orders.map_err(|refusal| self.refusal(to, refusal))?;
        for (done, order) in orders.iter().enumerate() {
            let told = self.tell(to, order).await;
            let unknown = |error: &Error| !error.kind().certainly_not_carried_out();
            if !to.traits.generation.is_otp() && told.as_ref().err().is_none_or(unknown) {
                for (annotations, count) in plan::effect(&to.traits, &groups, order) {
                    self.roster
                        .orders
                        .ordered(to.host, to.image_ref, &annotations, count);
                }
            }
            told.map_err(|error| match done {
                0 => error,
                // Something was carried out, so "not accepted" would be wrong.
                _ => Error::new(
                    Kind::Partial,
                    format!(
                        "{done} of {} orders were carried out, then: {error}",
                        orders.len()
                    ),
                ),
            })?;
        }
        Ok(())
    }

    async fn tell(&self, to: &Addressee<'_>, order: &Order) -> Result<(), Error> {
        let host = to.host;
        match order {
            Order::Start { annotations, count } => {
                let body = wire::StartActor {
                    actor_ref: to.image_ref,
                    annotations: some(annotations),
                    count: *count,
                    host_id: host,
                };
                self.command(host, Verb::StartActor, &body).await
            }
            Order::Scale {
                annotations,
                count,
                image_ref,
            } => {
                // Hosts from 0.79.1 on have no such member.
                let instances = !to.traits.generation.counts_maximum();
                let body = wire::ScaleActor {
                    actor_id: to.actor.filter(|_| instances),
                    actor_ref: image_ref,
                    annotations: some(annotations),
                    count: *count,
                    host_id: host,
                };
                self.command(host, Verb::ScaleActor, &body).await
            }
            Order::Stop { annotations, count } => self.stop_matching(to, annotations, *count).await,
            Order::Update { annotations } => {
                let body = wire::UpdateActor {
                    actor_id: to.key()?,
                    annotations: some(annotations),
                    host_id: host,
                    new_actor_ref: to.image_ref,
                };
                self.command(host, Verb::UpdateActor, &body).await
            }
            Order::StopFirst {
                annotations,
                count,
                matching,
            } => self.stop_first(to, annotations, *count, *matching).await,
        }
    }

    async fn stop_matching(
        &self,
        to: &Addressee<'_>,
        annotations: &TextMap,
        count: Option<u16>,
    ) -> Result<(), Error> {
        let body = wire::StopActor {
            actor_ref: to.key()?,
            annotations: some(annotations),
            count,
            host_id: to.host,
        };
        self.command(to.host, Verb::StopActor, &body).await
    }

    /// Stops `count` of the instances that match, on OTP hosts, where others
    /// run beside them.
    ///
    /// An order with count N takes the first N instances and stops those that
    /// match. So after each order, instances that do not match are known to
    /// come first: the next one reaches past them by what is left to stop, and
    /// never stops one too many, whatever the order they stand in.
    async fn stop_first(
        &self,
        to: &Addressee<'_>,
        annotations: &TextMap,
        count: u32,
        matching: u32,
    ) -> Result<(), Error> {
        let target = matching - count;
        let (mut left, mut passed) = (count, 0);
        while left > 0 {
            let part = |error: Error| {
                let stopped = count - left;
                Error::new(
                    Kind::Partial,
                    format!("at least {stopped} of {count} instances were stopped, then: {error}"),
                )
            };
            let reach = u16::try_from(passed + left).unwrap_or(u16::MAX);
            let told = self.stop_matching(to, annotations, Some(reach)).await;
            told.map_err(|error| if left == count { error } else { part(error) })?;
            let key = to.key()?.as_str();
            let inventory = self.shown(to.host).await.map_err(part)?;
            let shown = plan::groups(&to.traits, &inventory, |id, _| id == key);
            let all: u32 = shown.iter().map(|group| group.count).sum();
            let running: u32 = shown
                .iter()
                .filter(|group| plan::contains(&group.annotations, annotations))
                .map(|group| group.count)
                .sum();
            let still = running.saturating_sub(target).min(left);
            passed += still;
            if passed > all {
                return Err(part(Error::new(
                    Kind::Refused,
                    "the host stops no more of them",
                )));
            }
            left = still;
        }
        Ok(())
    }

    fn refusal(&self, to: &Addressee<'_>, refusal: Refusal) -> Error {
        let host = self.host_called(to.host);
        let name = to.actor.map_or(to.image_ref, ActorId::as_str);
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

/// Whom orders are for, and about what.
struct Addressee<'a> {
    host: &'a HostId,
    traits: Traits,
    actor: Option<&'a ActorId>,
    image_ref: &'a str,
}

impl Addressee<'_> {
    fn key(&self) -> Result<&ActorId, Error> {
        self.actor
            .ok_or_else(|| Error::new(Kind::Internal, "an order without the actor's key"))
    }
}

fn some(annotations: &TextMap) -> Option<&TextMap> {
    (!annotations.is_empty()).then_some(annotations)
}

/// The key of the actor that runs from an image reference.
fn key_of(inventory: &wire::Inventory, image_ref: &str) -> Option<String> {
    let from = |actor: &&wire::Actor| {
        let mut refs = actor.instances.iter().map(|i| i.image_ref.as_deref());
        actor.image_ref.as_deref() == Some(image_ref) || refs.any(|r| r == Some(image_ref))
    };
    let actor = inventory.actors.iter().find(from)?;
    Some(actor.id.clone())
}
