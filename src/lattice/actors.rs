//! Starting, scaling, stopping and updating actors: what [`super::plan`] says,
//! told to the host in the words of its generation.

use super::Lattice;
use super::generation::Traits;
use super::plan::{self, Group, Order, Refusal};
use super::subject::Verb;
use super::wire::{self, TextMap};
use crate::error::{Error, Kind};
use crate::name::{ActorId, HostId};

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
        let traits = self.traits_of(host).await?;
        let to = Addressee {
            host,
            traits,
            actor: None,
            image_ref,
        };
        if !traits.generation.counts_maximum() {
            let orders = plan::start(&traits, 0, annotations, count, image_ref);
            return self.carry_out(&to, orders).await;
        }
        let inventory = self.inventory(host).await?;
        // Other orders name the actor by its key, which only what runs tells.
        let running = inventory.actors.iter().find(|actor| {
            let mut refs = actor.instances.iter().map(|i| i.image_ref.as_deref());
            actor.image_ref.as_deref() == Some(image_ref) || refs.any(|r| r == Some(image_ref))
        });
        let _turn = match running {
            Some(actor) => Some(self.roster.turn(host, &actor.id, self.deadline).await?),
            None => None,
        };
        let _start = self.roster.turn(host, image_ref, self.deadline).await?;
        let inventory = self.inventory(host).await?;
        let groups = plan::groups(&traits, &inventory, |_, reference| reference == image_ref);
        let shown = groups
            .iter()
            .find(|group| group.annotations == *annotations)
            .map_or(0, |group| group.count);
        let running = self.roster.maximum(host, image_ref, annotations, shown);
        let orders = plan::start(&traits, running, annotations, count, image_ref);
        self.carry_out(&to, orders).await
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
        let traits = self.traits_of(host).await?;
        let to = Addressee {
            host,
            traits,
            actor: Some(actor),
            image_ref,
        };
        if traits.generation.is_otp() {
            let orders = plan::scale(&traits, &[], annotations, count, image_ref);
            return self.carry_out(&to, orders).await;
        }
        // Always the key first: starts of what does not run yet know no key.
        let _turn = self
            .roster
            .turn(host, actor.as_str(), self.deadline)
            .await?;
        let _start = self.roster.turn(host, image_ref, self.deadline).await?;
        let groups = self.groups(host, &traits, actor).await?;
        let orders = plan::scale(&traits, &groups, annotations, count, image_ref);
        self.carry_out(&to, orders).await
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
        let traits = self.traits_of(host).await?;
        let _turn = self
            .roster
            .turn(host, actor.as_str(), self.deadline)
            .await?;
        let groups = self.groups(host, &traits, actor).await?;
        let image_ref = groups.first().map_or("", |group| group.image_ref.as_str());
        let to = Addressee {
            host,
            traits,
            actor: Some(actor),
            image_ref,
        };
        self.roster.stopped(host, image_ref);
        self.carry_out(&to, plan::stop(&traits, &groups, annotations, count))
            .await
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
        let traits = self.traits_of(host).await?;
        let _turn = self
            .roster
            .turn(host, actor.as_str(), self.deadline)
            .await?;
        let groups = self.groups(host, &traits, actor).await?;
        let to = Addressee {
            host,
            traits,
            actor: Some(actor),
            image_ref: new_image_ref,
        };
        self.carry_out(&to, plan::update(&traits, &groups, annotations))
            .await
    }

    async fn groups(
        &self,
        host: &HostId,
        traits: &Traits,
        actor: &ActorId,
    ) -> Result<Vec<Group>, Error> {
        let inventory = self.inventory(host).await?;
        Ok(plan::groups(traits, &inventory, |key, _| {
            key == actor.as_str()
        }))
    }

    /// Tells a host what was planned, one order after the other.
    async fn carry_out(
        &self,
        to: &Addressee<'_>,
        orders: Result<Vec<Order>, Refusal>,
    ) -> Result<(), Error> {
        let orders = orders.map_err(|refusal| self.refusal(to, refusal))?;
        for (done, order) in orders.iter().enumerate() {
            self.tell(to, order).await.map_err(|error| match done {
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
                self.command(host, Verb::ScaleActor, &body).await?;
                self.roster.ordered(host, image_ref, annotations, *count);
                Ok(())
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
            let reach = u16::try_from(passed + left).unwrap_or(u16::MAX);
            let told = self.stop_matching(to, annotations, Some(reach)).await;
            told.map_err(|error| match left == count {
                true => error,
                false => Error::new(
                    Kind::Partial,
                    format!(
                        "{} of {count} instances were stopped, then: {error}",
                        count - left
                    ),
                ),
            })?;
            let groups = self.groups(to.host, &to.traits, to.key()?).await?;
            let running = groups
                .iter()
                .filter(|group| plan::contains(&group.annotations, annotations))
                .map(|group| group.count)
                .sum::<u32>();
            let still = running.saturating_sub(target);
            passed += still.min(left);
            if passed > groups.iter().map(|group| group.count).sum() {
                return Err(Error::new(
                    Kind::Partial,
                    format!("{still} of {count} instances could not be stopped"),
                ));
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
                    "no instance of actor {name} with these annotations runs on {host}; \
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
