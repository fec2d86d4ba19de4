//! Whether what a host lists of an actor is what it would start.
//!
//! Rust hosts keep the code that an actor was first started with. An update by somebody
//! else changes what runs and not what is kept, so that the next start or scale brings
//! the old code back. It shows by the revision: the host lists that of the code it keeps,
//! and the claims of the lattice are those of the update.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{sleep, timeout_at};

use crate::connections::Held;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::plan::Objection;
use crate::lattice::model::{Inventory, Listed, Running, listed};
use crate::lattice::ops::actors::decide::LOOK_AGAIN_AFTER;
use crate::lattice::ops::actors::recipient::Recipient;
use crate::name::{ActorId, HostId, is_other_tag};

/// Most hosts that are asked at the same time whether they explain a revision.
const MOST_ASKED: usize = 64;
/// How long hosts of a lattice may differ about claims.
const CLAIMS_SETTLE_WITHIN: Duration = Duration::from_millis(500);

impl Lattice {
    /// Checks that the code that a host would start is the one that it lists.
    ///
    /// # Errors
    /// `Refused` where there is a sign that it is not.
    pub(super) async fn check_old_code(
        &self,
        to: &Recipient<'_>,
        shown: &Running,
    ) -> Result<(), Error> {
        let (Some(actor), Some(group)) = (to.actor, shown.groups.first()) else {
            return Ok(());
        };
        if !to.quirks().keeps_first_code {
            return Ok(());
        }
        let mut revisions = shown.revisions.iter().copied();
        let (Some(listed), None) = (revisions.next(), revisions.next()) else {
            let all = &shown.revisions;
            return Err(self.old_code(to, &format!("it lists revisions {all:?} side by side")));
        };
        let learned = &self.roster.commands.learned;
        if learned.was_right(to.host, actor.as_str(), &group.image_ref, listed) {
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
        learned.found_right(to.host, actor.as_str(), &group.image_ref, listed);
        Ok(())
    }

    fn old_code(&self, to: &Recipient<'_>, sign: &str) -> Error {
        Error::new(
            Kind::Refused,
            format!(
                "{} ({}) may start other code of actor {} than it lists: {sign}, as after an update \
                 by somebody else, which such a host forgets with the next start. UpdateActor to \
                 the reference that shall run cures it; nothing was sent",
                self.display_host(to.host),
                to.software,
                to.name()
            ),
        )
    }

    /// Returns the revision in the claims of an actor where it differs from `listed` for a
    /// while: hosts hear of new claims one after the other. Returns `None` where no host
    /// answers.
    async fn other_revision(&self, actor: &ActorId, listed: i32) -> Option<i32> {
        let most = CLAIMS_SETTLE_WITHIN.min(self.deadline.remaining() / 3);
        let by = self.deadline.within(most);
        let mut other = None;
        while !by.remaining().is_zero() {
            let claimed = timeout_at(by.at(), self.claimed_revision(actor)).await;
            let Ok(Ok(claimed)) = claimed else { break };
            let claimed = claimed?;
            if claimed == listed {
                return None;
            }
            other = Some(claimed);
            sleep(LOOK_AGAIN_AFTER).await;
        }
        other
    }

    /// Tells whether another host runs that revision from another reference. Claims are
    /// those of the whole lattice, so that they then say nothing about this host.
    async fn runs_elsewhere(
        &self,
        to: &Recipient<'_>,
        actor: &ActorId,
        revision: i32,
        image_ref: &str,
    ) -> bool {
        let by = self.deadline.within(self.deadline.remaining() / 2);
        let hosts = self.roster.hosts().into_iter();
        let others = hosts.filter(|host| host != to.host).take(MOST_ASKED);
        let others: Vec<HostId> = others.collect();
        let asked = others.iter().map(|host| self.inventory(host, by));
        let mut inventories = join_all(asked).await.into_iter().flatten();
        let explains = |listed: Listed<'_>| {
            let ours = listed.key == actor.as_str() && listed.instance.revision == revision;
            ours && listed.image_ref != image_ref
        };
        inventories.any(|inventory: Held<Inventory>| listed(&inventory).any(explains))
    }

    /// Checks that a reference, of which the actor is not known, is no other tag of a
    /// repository from which an actor runs there or is about to: some hosts would start the
    /// code they have, under the new reference. Returns whether anything else runs there.
    ///
    /// # Errors
    /// `Refused` where it is.
    pub(super) fn check_other_tags(
        &self,
        to: &Recipient<'_>,
        inventory: &Inventory,
    ) -> Result<bool, Error> {
        let in_flight = &self.roster.commands.in_flight;
        let in_flight = in_flight.other_references(to.host, to.image_ref);
        let listed = listed(inventory).map(|listed| listed.image_ref);
        let mut others = listed
            .chain(in_flight.iter().map(String::as_str))
            .peekable();
        let any = others.peek().is_some();
        let same = others.find(|other| is_other_tag(other, to.image_ref));
        match same.filter(|_| to.quirks().starts_old_code_under_new_references) {
            None => Ok(any),
            Some(same) => Err(self.objection(
                to,
                Objection::Cannot(format!(
                    "an actor runs there from {}, another tag of the same repository; use \
                     UpdateActor to replace it, or ScaleActor, which names the actor, where this \
                     is another one",
                    quoted(same)
                )),
            )),
        }
    }
}
