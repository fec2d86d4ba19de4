//! Which hosts would run something.
//!
//! Hosts that would not are silent, so bids alone never show that an auction is
//! over. It is published first and a ping behind it, on one connection: a host
//! that answered the ping, and by a grace later has not bid, declined. So an
//! auction ends with the ping, and the labels that bids are checked against
//! come with it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Subject;
use bytes::Bytes;
use futures::future::join_all;
use futures::{FutureExt, StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use crate::connections::{Question, Replies};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::Traits;
use crate::lattice::dialect::v0::plan::contains;
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v0::wire::{ActorAuction, Bid, Host, ProviderAuction, TextMap};
use crate::lattice::exchange::gather::Harvest;
use crate::lattice::exchange::request::json;
use crate::name::HostId;

/// How long after the end bids are heard that come too late to count.
const LATE_BIDS_WITHIN: Duration = Duration::from_millis(500);
/// Most replies that are heard then.
const MAX_LATE: usize = 1000;
/// Bidders that are asked at once what they run.
const ASKED_AT_ONCE: usize = 64;

/// An auction that is over.
struct Auction {
    bidders: Vec<HostId>,
    /// What hosts answered to the ping.
    hosts: HashMap<HostId, Host>,
}

impl Lattice {
    /// The hosts that would run an actor.
    ///
    /// # Errors
    /// As [`Lattice::ping_all`]; `Refused` where hosts answered and all of them
    /// could not use the question; `Unsupported` where only 1.x hosts are there.
    pub async fn auction_actor(&self, auction: &ActorAuction<'_>) -> Result<Vec<HostId>, Error> {
        let (subject, body) = (subject::auction_actor(&self.id), json(auction)?);
        let wanted = auction.constraints;
        let held = self.hold(subject, body, self.deadline).await?;
        let met = held.bidders.iter().map(|host| async {
            let meets = self.meets(host, &held.hosts, wanted).await;
            meets.then(|| host.clone())
        });
        Ok(join_all(met).await.into_iter().flatten().collect())
    }

    /// The hosts that would run a provider, and do not yet.
    ///
    /// # Errors
    /// As [`Lattice::auction_actor`].
    pub async fn auction_provider(
        &self,
        auction: &ProviderAuction<'_>,
    ) -> Result<Vec<HostId>, Error> {
        let (subject, body) = (subject::auction_provider(&self.id), json(auction)?);
        let wanted = auction.constraints;
        // Bidders are asked what they run, which needs time, too.
        let most = self.deadline.earlier(self.deadline.remaining() / 4);
        let held = self.hold(subject, body, most).await?;
        let free = held.bidders.iter().map(|host| async {
            let fits = self.meets(host, &held.hosts, wanted).await
                && !self.runs_provider(host, auction).await;
            fits.then(|| host.clone())
        });
        let free: Vec<_> = free.map(FutureExt::boxed).collect();
        let free: Vec<_> = stream::iter(free).buffered(ASKED_AT_ONCE).collect().await;
        Ok(free.into_iter().flatten().collect())
    }

    /// Holds an auction.
    async fn hold(
        &self,
        subject: Subject,
        body: Bytes,
        deadline: Deadline,
    ) -> Result<Auction, Error> {
        let auction = self.connection.question(subject, body);
        let ping = self
            .connection
            .question(subject::ping(&self.id), Bytes::new());
        let mut bids = Harvest::<Bid>::default();
        let aside = |reply: &async_nats::Message, after| {
            let is_bid = auction.is_answered_by(reply);
            if is_bid && reply.status.is_none() {
                bids.take(&reply.payload, after);
            }
            is_bid
        };
        let terms = self.terms_for_all(deadline);
        let questions = [&auction, &ping];
        let (pings, replies) = self.ping_and(&questions, terms, aside).await?;
        for bid in &bids.answers {
            self.roster.answered(&bid.host);
        }
        debug!(
            lattice = %self.id,
            bids = bids.answers.len(),
            refusals = bids.refusals,
            first_refusal = bids.first_refusal,
            unreadable = bids.unreadable,
            "auction ended"
        );
        if bids.answers.is_empty() {
            if let Some(words) = &bids.first_refusal {
                return Err(Error::new(
                    Kind::Refused,
                    format!("the hosts of {} refused: {words}", self.display_name()),
                ));
            }
            if pings.harvest.answers.is_empty() {
                // Perhaps because all hosts are 1.x.
                self.refuse_v1().await?;
            }
        }
        let bidders = bids.answers.iter().map(|bid| bid.host.clone()).collect();
        self.hear_late_bids(auction, replies, bids);
        let hosts = pings.harvest.answers.into_iter();
        Ok(Auction {
            bidders,
            hosts: hosts.map(|answer| (answer.host, answer.said)).collect(),
        })
    }

    /// Hears, for a moment, bids of hosts that were taken to have declined: they
    /// do not count, and the log says so. `bids` came in time.
    fn hear_late_bids(&self, auction: Question, replies: Replies, mut bids: Harvest<Bid>) {
        // Not the roster itself: it would live on with the task.
        let (id, roster) = (self.id.clone(), Arc::downgrade(&self.roster));
        let ended = Instant::now();
        tokio::spawn(async move {
            let in_time = bids.answers.len();
            let mut replies = replies.take(MAX_LATE);
            let heard = async {
                while let Some(reply) = replies.next().await {
                    if auction.is_answered_by(&reply) && reply.status.is_none() {
                        bids.take(&reply.payload, ended.elapsed());
                    }
                }
            };
            let _ = timeout_at(ended + LATE_BIDS_WITHIN, heard).await;
            let late = bids.answers[in_time..].iter();
            let (hosts, after): (Vec<_>, Vec<_>) =
                late.map(|bid| (bid.host.as_str(), bid.after)).unzip();
            let Some(latest) = after.iter().max() else {
                return;
            };
            let (count, latest_ms) = (hosts.len(), latest.as_millis() as u64);
            if roster.upgrade().is_some_and(|r| r.late_bids.is_due()) {
                warn!(
                    lattice = %id, late = count, latest_ms, ?hosts,
                    "bids came after their auction had ended, and did not count; \
                     a longer grace_ms would wait for them"
                );
            } else {
                debug!(lattice = %id, late = count, latest_ms, ?hosts, "bids came too late");
            }
        });
    }

    /// Whether a host that bids runs the provider all the same: OTP before 0.54.5
    /// does not look, and the others compare image references as they are written.
    async fn runs_provider(&self, host: &HostId, auction: &ProviderAuction<'_>) -> bool {
        // A host that does not tell what it runs keeps its bid, and is not waited
        // for any longer than it takes to tell who is there.
        let most = self.deadline.within(self.limits.stall);
        self.inventory_within(host, most)
            .await
            .is_ok_and(|inventory| {
                inventory.providers.iter().any(|provider| {
                    provider.link_name == auction.link_name.as_str()
                        && provider.is_named(auction.provider_ref)
                })
            })
    }

    /// Whether a bid counts. OTP hosts look at the constraints themselves; Rust
    /// hosts do not (trap T18), so their labels must be known to meet them.
    async fn meets(&self, host: &HostId, hosts: &HashMap<HostId, Host>, wanted: &TextMap) -> bool {
        if wanted.is_empty() {
            return true;
        }
        if let Some(ping) = hosts.get(host) {
            let otp = Traits::from(ping).generation.is_otp();
            let labels = ping.labels.as_ref();
            return otp || labels.is_some_and(|labels| contains(labels, wanted));
        }
        // It bid, and was too late with its ping.
        if let Some(labels) = self.roster.labels(host) {
            return contains(&labels, wanted);
        }
        let inventory = self.inventory(host).await;
        inventory.is_ok_and(|inventory| contains(&inventory.labels, wanted))
    }
}
