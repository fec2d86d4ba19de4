//! Which hosts would run something.
//!
//! Hosts that would not do not answer, so that bids alone never show when an auction is
//! over. It is published first, and a ping after it on the same connection: a host that
//! answered the ping has declined when it has not bid by the time that its bids usually
//! take behind its answers. So an auction ends soon after the ping, and the ping brings the
//! labels that bids are checked against.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use futures::{FutureExt, StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::connections::{Held, Replies, TakenRoom};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::request::Request;
use crate::lattice::dialect::{v0, v1};
use crate::lattice::exchange::ask_all::ToAll;
use crate::lattice::gather::{Bids, ExpectedHosts, Others, Terms};
use crate::lattice::model::{Host, Inventory, Protocol, TextMap, contains};
use crate::lattice::upkeep::pings::Auctions;
use crate::name::{HostId, LinkName};

/// How long after its end bids of an auction are awaited, for the log.
const LATE_BIDS_WITHIN: Duration = Duration::from_millis(500);
/// Most replies that are read then.
const MAX_LATE: usize = 1000;
/// How long hosts have to say what they run, after a call.
const LEARNS_WITHIN: Duration = Duration::from_secs(2);
/// Most bidders that are asked at the same time what they run.
const ASKED_AT_ONCE: usize = 64;

/// The result of an auction.
struct Auction {
    bidders: Vec<HostId>,
    /// What hosts say of themselves.
    hosts: HashMap<HostId, Host>,
    /// What these take.
    _room: TakenRoom,
}

impl Lattice {
    /// Returns the hosts that would run an actor.
    ///
    /// # Errors
    /// As [`Lattice::hosts`]; `Refused` where hosts answered, and none of them could use
    /// the question.
    pub async fn auction_actor(
        &self,
        actor_ref: &str,
        constraints: &TextMap,
    ) -> Result<Vec<HostId>, Error> {
        let question = |protocol| match protocol {
            Protocol::V0 => v0::requests::auction_actor(&self.id, actor_ref, constraints),
            Protocol::V1 => v1::requests::auction_component(&self.id, actor_ref, constraints),
        };
        let terms = || self.terms_for_all(self.deadline);
        let auction = self.hold_auction(question, terms).await?;
        let met = auction.bidders.iter().map(|host| async {
            let meets = self.meets(host, &auction.hosts, constraints).await;
            Ok(meets?.then(|| host.clone()))
        });
        let met = try_join_all(met).await?;
        Ok(met.into_iter().flatten().collect())
    }

    /// Returns the hosts that would run a provider, and do not yet.
    ///
    /// # Errors
    /// As [`Lattice::auction_actor`].
    pub async fn auction_provider(
        &self,
        provider_ref: &str,
        link_name: &LinkName,
        constraints: &TextMap,
    ) -> Result<Vec<HostId>, Error> {
        self.roster.keep_providers();
        let question = |protocol| match protocol {
            Protocol::V0 => {
                v0::requests::auction_provider(&self.id, provider_ref, link_name, constraints)
            }
            Protocol::V1 => {
                let id = v1::ids::of_provider(&self.components.ids, provider_ref, link_name)?;
                v1::requests::auction_provider(&self.id, provider_ref, &id, constraints)
            }
        };
        // To ask the bidders what they run needs time, too.
        let most = self.deadline.earlier(self.deadline.remaining() / 4);
        let terms = || {
            let mut terms = self.terms_for_all(most);
            for (host, expected) in &mut terms.expected.hosts {
                // It declines, or its bid does not count.
                if self.is_known_to_run(host, provider_ref, link_name) == Some(true) {
                    expected.bid_within = Duration::ZERO;
                }
            }
            terms
        };
        let auction = self.hold_auction(question, terms).await?;
        self.learn_what_runs(&auction, provider_ref, link_name);
        let free = auction.bidders.iter().map(|host| async {
            let fits = self.meets(host, &auction.hosts, constraints).await?
                && !self.runs_provider(host, provider_ref, link_name).await?;
            Ok(fits.then(|| host.clone()))
        });
        let free: Vec<_> = free.map(FutureExt::boxed).collect();
        let free = stream::iter(free).buffered(ASKED_AT_ONCE);
        let free: Vec<_> = free.try_collect().await?;
        Ok(free.into_iter().flatten().collect())
    }

    /// Holds an auction among the hosts of the protocols of which there may be any. Where
    /// the ping shows that there are hosts of another one, it is held again, among them, too.
    async fn hold_auction(
        &self,
        question: impl Fn(Protocol) -> Result<Request, Error>,
        terms: impl Fn() -> Terms,
    ) -> Result<Auction, Error> {
        let first = terms();
        let there = self.inhabited(&first.expected);
        let auction = self.hold_auction_of(&there, &question, first).await?;
        let is_new = |host: &Host| !there.contains(&host.protocol);
        if !auction.hosts.values().any(is_new) {
            return Ok(auction);
        }
        let all: Vec<Protocol> = self.protocols().collect();
        self.hold_auction_of(&all, &question, terms()).await
    }

    /// Returns the protocols of which there may be hosts: those of known hosts, where it
    /// would have been heard that one of the other protocol came.
    fn inhabited(&self, expected: &ExpectedHosts) -> Vec<Protocol> {
        let mut protocols: Vec<Protocol> = self.protocols().collect();
        let is_known = |protocol: &Protocol| {
            let mut hosts = expected.hosts.values();
            hosts.any(|known| known.protocol == *protocol)
        };
        if expected.others != Others::Any && protocols.iter().any(is_known) {
            protocols.retain(is_known);
        }
        protocols
    }

    async fn hold_auction_of(
        &self,
        protocols: &[Protocol],
        question: impl Fn(Protocol) -> Result<Request, Error>,
        terms: Terms,
    ) -> Result<Auction, Error> {
        let auction = |protocol: &Protocol| {
            let Request { subject, body } = question(*protocol)?;
            Ok(ToAll {
                protocol: *protocol,
                question: self.connection.question(subject, body),
            })
        };
        let questions: Result<Vec<ToAll>, Error> = protocols.iter().map(auction).collect();
        let questions = questions?;
        let replies = questions.iter();
        let replies = replies.map(|asked| (asked.question.reply.clone(), asked.protocol));
        let mut bids = Bids::on(replies.collect());
        let auctions = Auctions {
            questions,
            bids: &mut bids,
        };
        let (pings, replies) = self.ping(Some(auctions), terms).await?;
        self.watch_if_inhabited(&pings);
        for bid in &bids.harvest.answers {
            self.roster.answered(&bid.host);
            if let Some(lag) = bids.lag(bid) {
                self.roster.note_bid(&bid.host, lag);
            }
        }
        let came = &bids.harvest;
        debug!(
            lattice = %self.id,
            bids = came.answers.len(),
            refusals = came.refusals,
            first_refusal = came.first_refusal,
            unreadable = came.unreadable,
            "auction ended"
        );
        if let (true, Some(reason)) = (came.answers.is_empty(), &came.first_refusal) {
            return Err(Error::new(
                Kind::Refused,
                format!("the hosts of {} refused: {reason}", self.display_name()),
            ));
        }
        let bidders = came.answers.iter().map(|bid| bid.host.clone()).collect();
        let room = replies.room();
        self.hear_late_bids(bids, replies, pings.asked);
        let hosts = pings.harvest.answers.into_iter();
        Ok(Auction {
            bidders,
            hosts: hosts.map(|answer| (answer.host, answer.said)).collect(),
            _room: room,
        })
    }

    /// Waits a moment for bids of hosts that counted as having declined, and logs them: they
    /// do not count, but the next ones are waited for. The other `bids` came in time. It was
    /// `asked` for them then.
    fn hear_late_bids(&self, mut bids: Bids, replies: Replies, asked: Instant) {
        // A weak reference, so that the roster can end before the task does.
        let (id, roster) = (self.id.clone(), Arc::downgrade(&self.roster));
        let ended = Instant::now();
        tokio::spawn(async move {
            let in_time = bids.harvest.answers.len();
            let mut replies = replies.take(MAX_LATE);
            let heard = async {
                while let Some(reply) = replies.next().await {
                    let before = bids.harvest.answers.len();
                    bids.take(&reply, asked.elapsed());
                    // At once: the next auction may be held already.
                    if let Some(bid) = bids.harvest.answers.get(before)
                        && let (Some(lag), Some(roster)) = (bids.lag(bid), roster.upgrade())
                    {
                        roster.note_bid(&bid.host, lag);
                    }
                }
            };
            let _ = timeout_at(ended + LATE_BIDS_WITHIN, heard).await;
            let late = &bids.harvest.answers[in_time..];
            let (false, Some(roster)) = (late.is_empty(), roster.upgrade()) else {
                return;
            };
            let latest = late.iter().filter_map(|bid| bids.lag(bid)).max();
            let hosts: Vec<_> = late.iter().map(|bid| bid.host.as_str()).collect();
            let latest_ms = latest.map(|lag| lag.as_millis() as u64);
            let count = hosts.len();
            if roster.late_bids.is_due() {
                warn!(
                    lattice = %id, late = count, latest_ms, ?hosts,
                    "bids came after their auction had ended, and did not count; the next ones \
                     of these hosts are waited for longer, up to grace_ms"
                );
            } else {
                debug!(lattice = %id, late = count, latest_ms, ?hosts, "bids came too late");
            }
        });
    }

    /// Finds out, after the call, what hosts run that bid in any case and did not: the next
    /// auction need not wait for those that run the provider.
    fn learn_what_runs(&self, auction: &Auction, provider_ref: &str, link_name: &LinkName) {
        let bidders: HashSet<&HostId> = auction.bidders.iter().collect();
        let is_unknown = |(id, host): &(&HostId, &Host)| {
            !Dialect::from(*host).declines()
                && !bidders.contains(id)
                && self.is_known_to_run(id, provider_ref, link_name).is_none()
        };
        let unknown = auction.hosts.iter().filter(is_unknown).take(ASKED_AT_ONCE);
        let unknown: Vec<HostId> = unknown.map(|(id, _)| id.clone()).collect();
        if unknown.is_empty() {
            return;
        }
        let lattice = self.beyond_the_call(LEARNS_WITHIN);
        tokio::spawn(async move {
            let asked = unknown
                .iter()
                .map(|host| lattice.inventory(host, lattice.deadline));
            for (host, answer) in unknown.iter().zip(join_all(asked).await) {
                if let Err(error) = answer {
                    debug!(lattice = %lattice.id, %host, %error, "not known what it runs");
                }
            }
        });
    }

    /// Tells whether a host runs the provider, where its events and the like say so.
    fn is_known_to_run(
        &self,
        host: &HostId,
        provider_ref: &str,
        link_name: &LinkName,
    ) -> Option<bool> {
        let epoch = self.connection.epoch();
        let roster = &self.roster;
        roster.runs_provider(host, epoch, provider_ref, link_name.as_str())
    }

    /// Tells whether a host runs the provider, although it bids: OTP before 0.54.5 does not
    /// look, and the others compare image references as they are written.
    ///
    /// # Errors
    /// That there is no room for its inventory.
    async fn runs_provider(
        &self,
        host: &HostId,
        provider_ref: &str,
        link_name: &LinkName,
    ) -> Result<bool, Error> {
        if let Some(runs) = self.is_known_to_run(host, provider_ref, link_name) {
            return Ok(runs);
        }
        // The bid of a host that does not answer counts, and it is not waited for any
        // longer than a gather waits for a silent host.
        let most = self.deadline.within(self.limits.stall);
        let inventory = unless_no_room(self.inventory_of(host, most).await)?;
        let link_name = link_name.as_str();
        Ok(inventory.is_some_and(|listed| listed.runs_provider(provider_ref, link_name)))
    }

    /// Asks a bidder what it runs.
    ///
    /// # Errors
    /// As every request; `NoResponders` where it is not known how it is talked to.
    async fn inventory_of(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Held<Inventory>, Error> {
        let dialect = self.dialect_of(host).await?;
        self.inventory_in(dialect, host, deadline).await
    }

    /// Tells whether a bid counts: where a host does not check the constraints itself, its
    /// labels must be known to meet them.
    ///
    /// # Errors
    /// That there is no room for its inventory.
    async fn meets(
        &self,
        host: &HostId,
        hosts: &HashMap<HostId, Host>,
        wanted: &TextMap,
    ) -> Result<bool, Error> {
        if wanted.is_empty() {
            return Ok(true);
        }
        if let Some(ping) = hosts.get(host) {
            let labels = ping.labels.as_ref();
            return Ok(Dialect::from(ping).checks_constraints()
                || labels.is_some_and(|labels| contains(labels, wanted)));
        }
        // Its bid came in time, and its reply to the ping did not.
        if let Some(labels) = self.roster.labels(host) {
            return Ok(contains(&labels, wanted));
        }
        let inventory = unless_no_room(self.inventory_of(host, self.deadline).await)?;
        Ok(inventory.is_some_and(|inventory| contains(&inventory.labels, wanted)))
    }
}

/// Returns an inventory, or none where the host gives none: its bid counts without.
///
/// # Errors
/// That there is no room for it. To leave the host out, or in, would be a guess.
fn unless_no_room(asked: Result<Held<Inventory>, Error>) -> Result<Option<Held<Inventory>>, Error> {
    match asked {
        Ok(inventory) => Ok(Some(inventory)),
        Err(error) if error.kind() == Kind::Busy => Err(error),
        Err(_) => Ok(None),
    }
}
