//! Every link, and every set of claims, of a lattice: from its bucket, or, where there is
//! none, from a host.

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::connections::{Held, Room};
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::replies::{ClaimsReply, LinksReply};
use crate::lattice::dialect::{v0, v1};
use crate::lattice::model::lenient::{Unreadable, parse};
use crate::lattice::model::{Claims, Link, LinkView, Protocol};
use crate::name::ActorId;

/// How long the hosts of a protocol are waited for where others have answered, and it is not
/// known whether there are any.
const OTHERS_ANSWER_WITHIN: Duration = Duration::from_millis(300);

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
        match self.entries_unless_only_1x("LINKDEF_", read).await? {
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
    /// As every request, or `NotConnected` where the JetStream domain does not answer.
    pub async fn claims(&self) -> Result<Held<Vec<Claims>, Vec<Room>>, Error> {
        match self.entries("CLAIMS_", |value: &[u8]| parse(value)).await? {
            Some(claims) => {
                let (claims, room) = claims.into_parts();
                Ok(Held::new(claims, vec![room]))
            }
            None => self.claims_from_hosts().await,
        }
    }

    /// Tells whether only 1.x hosts are there; `None` where it is not known what hosts are.
    fn are_known_as_only_1x(&self) -> Option<bool> {
        let known = self.roster.all(self.connection.epoch())?;
        Some(known.iter().all(|one| one.protocol() == Protocol::V1))
    }

    /// Asks whether only 1.x hosts are there. They may not answer: then it is not known.
    async fn are_only_1x(&self) -> bool {
        // A gather ends that long after its last answer.
        let by = self.deadline.within(self.limits.stall * 2);
        match timeout_at(by.at(), self.hosts(by)).await {
            Ok(Ok(hosts)) => {
                !hosts.is_empty() && hosts.iter().all(|host| host.protocol == Protocol::V1)
            }
            _ => false,
        }
    }

    /// Returns the error of an operation on links where there are 1.x hosts only.
    pub(super) fn links_of_1x(&self) -> Error {
        Error::new(
            Kind::Unsupported,
            format!(
                "{} has hosts of wasmCloud 1.x only; this release does not control their links",
                self.display_name()
            ),
        )
    }

    /// Asks the hosts for all links; one of them answers.
    ///
    /// # Errors
    /// As every request.
    pub(super) async fn links_from_hosts(&self) -> Result<Held<Vec<Link>>, Error> {
        let reply: Held<LinksReply> = self
            .ask_hosts(Protocol::V0, v0::subject::links(&self.id))
            .await?;
        Ok(reply.map(|reply| reply.links))
    }

    /// Asks the hosts of each protocol for all claims; one of each answers. Where it is known
    /// of which protocols there are hosts, those of each must answer.
    ///
    /// # Errors
    /// As every request.
    async fn claims_from_hosts(&self) -> Result<Held<Vec<Claims>, Vec<Room>>, Error> {
        let known = self.roster.all(self.connection.epoch()).unwrap_or_default();
        let is_there = |protocol: &Protocol| {
            known.is_empty() || known.iter().any(|one| one.protocol() == *protocol)
        };
        let asked = self.protocols().filter(is_there);
        let mut asked: FuturesUnordered<_> = asked.map(|one| self.claims_of(one)).collect();
        let (mut claims, mut rooms, mut problem) = (Vec::new(), Vec::new(), None);
        // A question that fails says so at the deadline.
        let mut by = self.deadline.at() + OTHERS_ANSWER_WITHIN;
        while let Ok(Some(answer)) = timeout_at(by, asked.next()).await {
            match answer {
                Ok(more) => {
                    if known.is_empty() {
                        by = by.min(Instant::now() + OTHERS_ANSWER_WITHIN);
                    }
                    let (more, room) = more.into_parts();
                    claims = union(claims, more);
                    rooms.push(room);
                }
                Err(error) if known.is_empty() || error.kind() == Kind::NoResponders => {
                    problem = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match problem {
            _ if !rooms.is_empty() => Ok(Held::new(claims, rooms)),
            Some(problem) => Err(problem),
            None => Err(Error::new(
                Kind::Timeout,
                format!("no host of {} told its claims in time", self.display_name()),
            )),
        }
    }

    async fn claims_of(&self, protocol: Protocol) -> Result<Held<Vec<Claims>>, Error> {
        match protocol {
            Protocol::V0 => self.claims_of_0x().await,
            Protocol::V1 => {
                let question = v1::subject::claims(&self.id);
                let reply: Held<v1::replies::ClaimsReply> =
                    self.ask_hosts(Protocol::V1, question).await?;
                Ok(reply.map(|reply| reply.claims))
            }
        }
    }

    /// Asks the hosts of 0.x for all claims; one of them answers.
    async fn claims_of_0x(&self) -> Result<Held<Vec<Claims>>, Error> {
        let question = v0::subject::claims(&self.id);
        let reply: Held<ClaimsReply> = self.ask_hosts(Protocol::V0, question).await?;
        Ok(reply.map(|reply| reply.claims))
    }

    /// Asks the hosts for the revision in the claims of an actor.
    ///
    /// # Errors
    /// As every request.
    pub(super) async fn claimed_revision(&self, actor: &ActorId) -> Result<Option<i32>, Error> {
        let claims = self.claims_of_0x().await?;
        let mut claims = claims.iter();
        let ours = claims.find(|claims| claims.is_of(actor.as_str()));
        Ok(ours.and_then(Claims::revision))
    }

    /// Reads entries of the bucket, and refuses where only 1.x hosts are there. Where it is
    /// not known what hosts are there, entries that are there count: hosts have written them.
    async fn entries_unless_only_1x<T>(
        &self,
        prefix: &str,
        read: impl FnMut(&[u8]) -> Result<T, Unreadable>,
    ) -> Result<Option<Held<Vec<T>>>, Error> {
        let known = self.are_known_as_only_1x();
        if known == Some(true) {
            return Err(self.links_of_1x());
        }
        let entries = self.entries(prefix, read).await?;
        let is_clear = known.is_some() || entries.as_ref().is_some_and(|all| !all.is_empty());
        match is_clear || !self.are_only_1x().await {
            true => Ok(entries),
            false => Err(self.links_of_1x()),
        }
    }
}

/// Adds claims of subjects that are not there yet.
fn union(mut claims: Vec<Claims>, more: Vec<Claims>) -> Vec<Claims> {
    let subjects: HashSet<String> = claims.iter().filter_map(Claims::subject).collect();
    let is_new = |one: &Claims| {
        one.subject()
            .is_none_or(|subject| !subjects.contains(&subject))
    };
    claims.extend(more.into_iter().filter(is_new));
    claims
}
