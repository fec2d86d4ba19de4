//! Whether what a host lists of an actor is what it would start.
//!
//! Rust hosts keep the code that an actor was first started with. An update by
//! somebody else changes what runs and not what is kept, so that the next start,
//! or the next scale, brings the old code back. What gives it away is the
//! revision: the host lists that of the code it keeps, and the lattice's claims
//! are those of the update.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::SHOWN_WITHIN;
use crate::lattice::commands::locks::About;
use crate::lattice::dialect::v0::plan::{self, Refusal, Running};
use crate::lattice::dialect::v0::wire::{Claims, Inventory, TextMap};
use crate::lattice::ops::actors::{Addressee, LOOK_AGAIN_AFTER};
use crate::name::{ActorId, HostId, is_other_tag};

/// Hosts that are asked at once whether they explain a revision.
const MOST_ASKED: usize = 64;
/// How long hosts of a lattice may differ about claims.
const CLAIMS_SETTLE_WITHIN: Duration = Duration::from_millis(500);
/// How long a call waits to see of which actor a start was.
const SEEN_WITHIN: Duration = Duration::from_millis(250);

/// What became of a start from a reference that nobody knew.
enum Started {
    /// It is what was meant, or the host says why not.
    Itself,
    /// It is code of an actor that runs from other references there, under a
    /// wrong name.
    Other { key: String, runs_from: String },
    /// The host did not start it, in these words.
    Failed(String),
}

impl Lattice {
    /// That the code a Rust host would start is the one that it lists.
    ///
    /// # Errors
    /// `Refused` where a sign speaks against it.
    pub(super) async fn code_is_known(
        &self,
        to: &Addressee<'_>,
        shown: &Running,
    ) -> Result<(), Error> {
        let (Some(actor), Some(group)) = (to.actor, shown.groups.first()) else {
            return Ok(());
        };
        if to.traits.generation.is_otp() {
            return Ok(());
        }
        let mut revisions = shown.revisions.iter().copied();
        let (Some(listed), None) = (revisions.next(), revisions.next()) else {
            let all = &shown.revisions;
            return Err(self.old_code(to, &format!("it lists revisions {all:?} side by side")));
        };
        let memory = &self.roster.commands.learned;
        if memory.was_right(to.host, actor.as_str(), &group.image_ref, listed) {
            return Ok(());
        }
        if let Some(claimed) = self.other_revision(actor, listed).await
            && !self
                .runs_elsewhere(to, actor, claimed, &group.image_ref)
                .await
        {
            let sign = format!(
                "it lists revision {listed}, and the last one that the lattice heard of is {claimed}"
            );
            return Err(self.old_code(to, &sign));
        }
        memory.is_right(to.host, actor.as_str(), &group.image_ref, listed);
        Ok(())
    }

    fn old_code(&self, to: &Addressee<'_>, sign: &str) -> Error {
        Error::new(
            Kind::Refused,
            format!(
                "{} ({}) may start other code of actor {} than it lists: {sign}, as after an update \
                 by somebody else, which such a host forgets with the next start. UpdateActor to \
                 the reference that shall run cures it; nothing was sent",
                self.display_host(to.host),
                to.traits,
                to.name()
            ),
        )
    }

    /// The revision of an actor's claims where it is another than this one. Hosts
    /// hear of new claims one after the other, so that a difference must last.
    async fn other_revision(&self, actor: &ActorId, listed: i32) -> Option<i32> {
        let most = CLAIMS_SETTLE_WITHIN.min(self.deadline.remaining() / 3);
        let by = self.deadline.within(most);
        let mut other = None;
        while !by.remaining().is_zero() {
            // Nobody who tells says nothing against it.
            let claims = timeout_at(by.at(), self.claims_from_hosts()).await;
            let Ok(Ok(reply)) = claims else { break };
            let mut claims = reply.claims.iter();
            let ours = claims.find(|claims| claims.is_of(actor.as_str()));
            let claimed = ours.and_then(Claims::revision)?;
            if claimed == listed {
                return None;
            }
            other = Some(claimed);
            sleep(LOOK_AGAIN_AFTER).await;
        }
        other
    }

    /// Whether another host runs that revision from another reference: claims are
    /// the lattice's, and then say nothing about this host.
    async fn runs_elsewhere(
        &self,
        to: &Addressee<'_>,
        actor: &ActorId,
        revision: i32,
        image_ref: &str,
    ) -> bool {
        let by = self.deadline.within(self.deadline.remaining() / 2);
        let hosts = self.roster.hosts().into_iter();
        let others = hosts.filter(|host| host != to.host).take(MOST_ASKED);
        let others: Vec<HostId> = others.collect();
        let asked = others.iter().map(|host| self.inventory_within(host, by));
        let inventories = join_all(asked).await.into_iter().flatten();
        let explains = |listed: plan::Listed<'_>| {
            let ours = listed.key == actor.as_str() && listed.revision == revision;
            ours && listed.image_ref != image_ref
        };
        let mut inventories = inventories.into_iter();
        inventories.any(|inventory: Inventory| plan::listed(&inventory).any(explains))
    }

    /// That a reference of which nobody knows the actor is not of a repository
    /// that an actor runs from there under another tag, or is about to: Rust hosts
    /// from 0.79.1 on would start the code they have, under the new reference.
    /// Whether anything else runs there.
    ///
    /// # Errors
    /// `Refused` where it is.
    pub(super) fn is_no_tag_of_what_runs(
        &self,
        to: &Addressee<'_>,
        inventory: &Inventory,
    ) -> Result<bool, Error> {
        let in_flight = self.roster.commands.in_flight.others(to.host, to.image_ref);
        let listed = plan::listed(inventory).map(|listed| listed.image_ref);
        let mut others = listed
            .chain(in_flight.iter().map(String::as_str))
            .peekable();
        let any = others.peek().is_some();
        let same = others.find(|other| is_other_tag(other, to.image_ref));
        match same.filter(|_| to.traits.generation.counts_maximum()) {
            None => Ok(any),
            Some(same) => Err(self.refusal(
                to,
                Refusal::Cannot(format!(
                    "an actor runs there from {}, another tag of the same repository; use \
                     UpdateActor to replace it, or ScaleActor, which names the actor, where this \
                     is another one",
                    quoted(same)
                )),
            )),
        }
    }

    /// After a start from a reference of which nobody knew the actor, on a host
    /// where other actors run: it may be one of them. Rust hosts from 0.79.1 on
    /// then start the code they have under the new reference, which is taken back;
    /// others say in an event that they refuse.
    ///
    /// # Errors
    /// `Refused` where it was taken back, or where the host did not start it.
    pub(super) async fn is_of_no_other(
        &self,
        to: &Addressee<'_>,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let by = self.deadline.within(SEEN_WITHIN);
        if let Some(seen) = self.what_was_started(to, began, by).await {
            return self.take_back(to, annotations, seen).await;
        }
        // The image is large. Nobody waits, and somebody looks.
        let lattice = self.beyond_the_call(SHOWN_WITHIN);
        let (host, traits) = (to.host.clone(), to.traits);
        let (image_ref, annotations) = (to.image_ref.to_owned(), annotations.clone());
        // Nothing waits for it when the provider stops.
        tokio::spawn(async move {
            let to = Addressee {
                host: &host,
                traits,
                actor: None,
                image_ref: &image_ref,
                names_actor: false,
            };
            match lattice.what_was_started(&to, began, lattice.deadline).await {
                Some(seen) => {
                    if let Err(error) = lattice.take_back(&to, &annotations, seen).await {
                        warn!(%error, "an actor that was ordered does not run");
                    }
                }
                None => info!(%host, image_ref, "an actor that was ordered is not there yet"),
            }
        });
        Ok(())
    }

    async fn what_was_started(
        &self,
        to: &Addressee<'_>,
        began: Instant,
        by: Deadline,
    ) -> Option<Started> {
        while !by.remaining().is_zero() {
            let inventory = self.inventory_within(to.host, by).await.ok()?;
            if let Some(seen) = seen_in(&inventory, to.image_ref) {
                self.roster.commands.learned.learn_all(to.host, &inventory);
                return Some(seen);
            }
            let flights = &self.roster.commands.in_flight;
            if let Some(words) = flights.failure(to.host, to.image_ref, began) {
                return Some(Started::Failed(words));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
        None
    }

    async fn take_back(
        &self,
        to: &Addressee<'_>,
        annotations: &TextMap,
        started: Started,
    ) -> Result<(), Error> {
        let host = self.display_host(to.host);
        let (key, runs_from) = match started {
            Started::Itself => return Ok(()),
            Started::Failed(words) => {
                let failed = format!("{host} did not start {}: {words}", quoted(to.image_ref));
                return Err(Error::new(Kind::Refused, failed));
            }
            Started::Other { key, runs_from } => (key, runs_from),
        };
        let why = format!(
            "{} is of actor {key}, which runs on {host} from {}, and such a host would run that \
             code under the new name; use UpdateActor",
            quoted(to.image_ref),
            quoted(&runs_from)
        );
        let actor = ActorId::parse(&key)?;
        let taken = self.take_group_back(to, &actor, annotations).await;
        taken.map_err(|error| {
            Error::new(
                Kind::Partial,
                format!("{why}. It was not taken back: {error}"),
            )
        })?;
        Err(Error::new(
            Kind::Refused,
            format!("{why}. It was taken back"),
        ))
    }

    /// Stops a set of annotations that was started under a wrong reference, and
    /// waits until the host shows that.
    async fn take_group_back(
        &self,
        to: &Addressee<'_>,
        actor: &ActorId,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let to = Addressee::of_actor(to.host, to.traits, actor, to.image_ref);
        let about = About {
            image_ref: None,
            ..to.about()
        };
        let _turn = self
            .roster
            .commands
            .locks
            .alone(about, self.deadline)
            .await?;
        // It is the start that was in flight.
        let why = "it is of another actor";
        let flights = &self.roster.commands.in_flight;
        flights.failed(to.host, to.image_ref, Some(annotations), why);
        // An update may have made it right meanwhile.
        let inventory = self.shown(to.host).await?;
        if !matches!(
            seen_in(&inventory, to.image_ref),
            Some(Started::Other { .. })
        ) {
            return Ok(());
        }
        let running = self.running(&to, &inventory);
        let plan = plan::take_back(annotations, to.image_ref);
        self.note_all(&to, Some(&running), &plan);
        self.carry_out(&to, Some(&running), &plan).await
    }
}

/// Under which actor a host shows a reference.
fn seen_in(inventory: &Inventory, image_ref: &str) -> Option<Started> {
    let from = |listed: &plan::Listed<'_>| listed.image_ref == image_ref;
    let ours = plan::listed(inventory).find(from)?;
    let mut same = plan::listed(inventory).filter(|listed| listed.key == ours.key);
    let other = same.find(|listed| listed.image_ref != image_ref);
    Some(match other {
        None => Started::Itself,
        Some(other) => Started::Other {
            key: other.key.to_owned(),
            runs_from: other.image_ref.to_owned(),
        },
    })
}
