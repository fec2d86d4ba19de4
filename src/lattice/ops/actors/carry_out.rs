//! A plan, told to a host, one order after the other.

use tokio::time::{Instant, sleep};

use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::{Generation, Traits};
use crate::lattice::dialect::v0::plan::{self, Order, Plan, Running};
use crate::lattice::dialect::v0::subject::Verb;
use crate::lattice::dialect::v0::wire::{self, TextMap};
use crate::lattice::ops::actors::{Addressee, LOOK_AGAIN_AFTER, Subject};
use crate::name::ActorId;

impl Lattice {
    /// Tells a host what was planned, which [`Lattice::note_all`] took note of.
    /// `running` is what runs, where that is known.
    ///
    /// # Errors
    /// As every request; `Partial` where something was carried out, `Timeout`
    /// where the host does not show in time what the answer waits for.
    pub(super) async fn carry_out(
        &self,
        to: &Addressee<'_>,
        running: Option<&Running>,
        plan: &Plan,
    ) -> Result<(), Error> {
        let began = Instant::now();
        for (done, order) in plan.orders.iter().enumerate() {
            let told = self.tell(to, order).await;
            self.note_what_came(to, running, order, &told);
            let Err(error) = told else { continue };
            for order in &plan.orders[done + 1..] {
                self.withdraw(to, running, order);
            }
            return Err(match done {
                0 => error,
                // Something was carried out, so "not accepted" would be wrong.
                _ => Error::new(
                    Kind::Partial,
                    format!(
                        "{done} of {} orders were carried out, then: {error}",
                        plan.orders.len()
                    ),
                ),
            });
        }
        match (running, plan.until_shown) {
            (Some(running), true) => self.until_fewer(to, running, &plan.orders, began).await,
            _ => Ok(()),
        }
    }

    /// Takes note of what the host is about to be told.
    pub(super) fn note_all(&self, to: &Addressee<'_>, running: Option<&Running>, plan: &Plan) {
        for order in &plan.orders {
            match order {
                Order::Start { .. } | Order::Scale { .. } => self.note(to, running, order),
                // Done when the host says so, and then to be seen at once.
                _ => self
                    .roster
                    .commands
                    .in_flight
                    .under_way(flight_of(to, order)),
            }
        }
    }

    /// Takes note of what came of it: what the host did, or never will, is in
    /// flight no more; of what nobody knows, the inventory tells later.
    fn note_what_came(
        &self,
        to: &Addressee<'_>,
        running: Option<&Running>,
        order: &Order,
        told: &Result<(), Error>,
    ) {
        let is_sync = is_done_when_acknowledged(&to.traits, order);
        let is_over = match told {
            Ok(()) => is_sync,
            // What is done of several was acknowledged.
            Err(error) if error.kind() == Kind::Partial => is_sync,
            Err(error) => error.kind().certainly_not_carried_out(),
        };
        if is_over {
            self.withdraw(to, running, order);
        } else if matches!(
            order,
            Order::Stop { .. } | Order::StopFirst { .. } | Order::Update { .. }
        ) {
            self.withdraw(to, running, order);
            self.roster.commands.in_flight.unseen(flight_of(to, order));
            self.note(to, running, order);
        }
    }

    /// Takes note of what the host will show.
    fn note(&self, to: &Addressee<'_>, running: Option<&Running>, order: &Order) {
        let flights = &self.roster.commands.in_flight;
        let of = flight_of(to, order);
        let nothing = Running::default();
        let before = running.unwrap_or(&nothing);
        if let Order::Start {
            annotations, count, ..
        } = order
        {
            let annotations = to.shown_as(annotations);
            let base = running.map(|running| running.under(annotations));
            return flights.more(of, annotations, base, u32::from(*count));
        }
        for (annotations, count) in plan::effect(&to.traits, before, order) {
            flights.total(of, &annotations, count, before.under(&annotations));
        }
    }

    /// Takes back what was noted of an order.
    pub(super) fn withdraw(&self, to: &Addressee<'_>, running: Option<&Running>, order: &Order) {
        let flights = &self.roster.commands.in_flight;
        let of = flight_of(to, order);
        match order {
            Order::Start {
                annotations, count, ..
            } => flights.fewer(of, to.shown_as(annotations), u32::from(*count)),
            Order::Scale { .. } => {
                let nothing = Running::default();
                let before = running.unwrap_or(&nothing);
                for (annotations, _) in plan::effect(&to.traits, before, order) {
                    flights.no_total(of, &annotations);
                }
            }
            _ => flights.over(of),
        }
    }

    pub(super) async fn tell(&self, to: &Addressee<'_>, order: &Order) -> Result<(), Error> {
        let host = to.host;
        match order {
            Order::Start {
                annotations,
                count,
                image_ref,
            } => {
                let body = wire::StartActor {
                    actor_ref: image_ref,
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
            Order::Update {
                annotations,
                image_ref,
            } => {
                let body = wire::UpdateActor {
                    // Not read where it is not known: by OTP hosts.
                    actor_id: to.actor.map_or("", ActorId::as_str),
                    annotations: some(annotations),
                    host_id: host,
                    new_actor_ref: image_ref,
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

    /// Stops `count` of the instances that match, on OTP hosts from 0.60 on, where
    /// others run beside them.
    ///
    /// An order with count N takes the first N instances and stops those that
    /// match. So after each order, instances that do not match are known to
    /// come first: the next one reaches past them by what is left to stop, and
    /// never stops one too many, whatever somebody else does meanwhile. It never
    /// reaches the last instance: the others would run unheard.
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
                match stopped {
                    0 => error,
                    _ => Error::new(
                        Kind::Partial,
                        format!("{stopped} of {count} instances were stopped, then: {error}"),
                    ),
                }
            };
            let reach = u16::try_from(passed + left).unwrap_or(u16::MAX);
            let told = self.stop_matching(to, annotations, Some(reach)).await;
            told.map_err(part)?;
            let inventory = self.shown(to.host).await.map_err(part)?;
            let shown = self.running(to, &inventory);
            let all = shown.groups.iter().map(|group| group.count).sum::<u32>();
            let running = shown.groups.iter();
            let running = running.filter(|group| plan::contains(&group.annotations, annotations));
            let running = running.map(|group| group.count).sum::<u32>();
            let still = running.saturating_sub(target).min(left);
            left = still;
            passed += still;
            if left > 0 && passed + left >= all {
                let why = "what is left to stop stands at the end of its list by now, and the \
                           others would run unheard";
                return Err(Error::new(
                    Kind::Partial,
                    format!("{} of {count} instances were stopped: {why}", count - left),
                ));
            }
        }
        Ok(())
    }

    /// Waits until the host shows what was to be stopped by a scale: it fetches
    /// the image first, which may be gone, and says yes before.
    async fn until_fewer(
        &self,
        to: &Addressee<'_>,
        before: &Running,
        orders: &[Order],
        began: Instant,
    ) -> Result<(), Error> {
        let targets: Vec<_> = orders
            .iter()
            .flat_map(|order| plan::effect(&to.traits, before, order))
            .collect();
        let mut ends = self.deadline.earlier(LOOK_AGAIN_AFTER);
        ends = ends.earlier(self.deadline.remaining() / 20);
        loop {
            // Whatever becomes of the question, the order was taken.
            if let Ok(inventory) = self.inventory_within(to.host, ends).await {
                let shown = self.running(to, &inventory);
                let there =
                    |(annotations, count): &(TextMap, u32)| shown.under(annotations) <= *count;
                if targets.iter().all(there) {
                    return Ok(());
                }
            }
            let failed = orders.iter().find_map(|order| match order {
                Order::Scale { image_ref, .. } => {
                    let flights = &self.roster.commands.in_flight;
                    let words = flights.failure(to.host, image_ref, began)?;
                    Some((image_ref, words))
                }
                _ => None,
            });
            if let Some((image_ref, words)) = failed {
                return Err(Error::new(
                    Kind::Partial,
                    format!(
                        "{} did not do all of it with {}: {words}",
                        self.display_host(to.host),
                        quoted(image_ref)
                    ),
                ));
            }
            if ends.remaining().is_zero() {
                return Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "{} took the order and does not show it yet: to stop some of an actor and \
                         not the rest it must fetch the image first; check that the registry is \
                         there, or stop the whole actor, which needs none",
                        self.display_host(to.host)
                    ),
                ));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}

/// What an order is about, with the reference that it names.
fn flight_of<'a>(to: &'a Addressee<'_>, order: &'a Order) -> Subject<'a> {
    let image_ref = match order {
        Order::Start { image_ref, .. } | Order::Scale { image_ref, .. } => image_ref.as_str(),
        _ => to.image_ref,
    };
    Subject {
        image_ref,
        ..to.subject()
    }
}

/// Whether the host did it when it says so: others download first.
fn is_done_when_acknowledged(traits: &Traits, order: &Order) -> bool {
    match order {
        Order::Stop { .. } | Order::StopFirst { .. } | Order::Update { .. } => true,
        Order::Start { .. } => false,
        Order::Scale { .. } => {
            traits.generation == Generation::G2a && !traits.is_at_least(0, 79, 0)
        }
    }
}

fn some(annotations: &TextMap) -> Option<&TextMap> {
    (!annotations.is_empty()).then_some(annotations)
}
