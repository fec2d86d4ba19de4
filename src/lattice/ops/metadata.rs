//! Every link, and every set of claims, of a lattice: from its bucket, or, where there is
//! none, from a host.

use tokio::time::timeout_at;

use crate::connections::Held;
use crate::error::Error;
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::replies::{ClaimsReply, LinksReply};
use crate::lattice::dialect::v0::subject;
use crate::lattice::model::lenient::{Unreadable, parse};
use crate::lattice::model::{Claims, Link, LinkView};
use crate::name::ActorId;

impl Lattice {
    /// Returns every link of the lattice, made into something else when it is read.
    ///
    /// # Errors
    /// As every request, or `NotConnected` where the JetStream domain does not answer;
    /// `Unsupported` where only 1.x hosts answer.
    pub async fn links<T>(
        &self,
        mut make: impl FnMut(LinkView<'_>) -> T,
    ) -> Result<Held<Vec<T>>, Error> {
        let read = |value: &[u8]| LinkView::read(value).map(&mut make);
        match self.entries_unless_only_v1("LINKDEF_", read).await? {
            Some(links) => Ok(links),
            None => {
                let links = self.links_from_hosts().await?;
                Ok(links.map(|links| links.iter().map(|link| make(link.into())).collect()))
            }
        }
    }

    /// Returns every set of claims of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::links`].
    pub async fn claims(&self) -> Result<Held<Vec<Claims>>, Error> {
        match self
            .entries_unless_only_v1("CLAIMS_", |value: &[u8]| parse(value))
            .await?
        {
            Some(claims) => Ok(claims),
            None => self.claims_from_hosts().await,
        }
    }

    /// Asks the hosts for all links; one of them answers.
    ///
    /// # Errors
    /// As every request.
    pub(super) async fn links_from_hosts(&self) -> Result<Held<Vec<Link>>, Error> {
        let reply: Held<LinksReply> = self.ask_hosts(subject::links(&self.id)).await?;
        Ok(reply.map(|reply| reply.links))
    }

    /// Asks the hosts for all claims; one of them answers.
    ///
    /// # Errors
    /// As every request.
    async fn claims_from_hosts(&self) -> Result<Held<Vec<Claims>>, Error> {
        let reply: Held<ClaimsReply> = self.ask_hosts(subject::claims(&self.id)).await?;
        Ok(reply.map(|reply| reply.claims))
    }

    /// Asks the hosts for the revision in the claims of an actor.
    ///
    /// # Errors
    /// As every request.
    pub(super) async fn claimed_revision(&self, actor: &ActorId) -> Result<Option<i32>, Error> {
        let claims = self.claims_from_hosts().await?;
        let mut claims = claims.iter();
        let ours = claims.find(|claims| claims.is_of(actor.as_str()));
        Ok(ours.and_then(Claims::revision))
    }

    /// Reads entries of the bucket, and refuses where only 1.x hosts are there. Where
    /// hosts do not say in time what they are, the entries count: hosts have written them.
    async fn entries_unless_only_v1<T>(
        &self,
        prefix: &str,
        read: impl FnMut(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<Option<Held<Vec<T>>>, Error> {
        let (refused, entries) = (self.refuse_if_only_v1(), self.entries(prefix, read));
        tokio::pin!(refused, entries);
        tokio::select! {
            refused = &mut refused => refused.and(entries.await),
            entries = &mut entries => {
                let entries = entries?;
                let by = self.deadline.within(self.limits.stall);
                match timeout_at(by.at(), refused).await {
                    Ok(refused) => refused.map(|()| entries),
                    Err(_) => Ok(entries),
                }
            }
        }
    }
}
