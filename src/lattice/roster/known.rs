//! What is known of one host.

use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::dialect::Dialect;
use crate::lattice::model::{ProviderSeen, TextMap};
use crate::name::{HostId, is_same_image};
use crate::shares::Share;

/// How long a host's reply to a ping counts.
pub(super) const RECENT_FOR: Duration = Duration::from_secs(600);
/// Longest that a single host is waited for: less than the pings in the background wait,
/// so that the slowest host can miss one.
pub(crate) const MOST_PATIENCE: Duration = Duration::from_millis(1900);
/// What a host may take in addition to twice its usual time.
const SLACK: Duration = Duration::from_millis(30);
/// How much shorter than expected the uptime may be that a host reports: it counts in
/// whole seconds, and its reply can be late.
const UPTIME_SLACK: Duration = Duration::from_secs(5);
/// By how much uptimes may differ of which the replies came in the wrong order.
const UPTIME_ORDER: Duration = Duration::from_secs(1);

/// What a provider takes beside its text.
const PROVIDER: usize = 96;
/// What a bid may take in addition to twice its usual lag.
const BID_SLACK: Duration = Duration::from_millis(10);
/// How long after a sign that a provider starts or stops its host's bids may be late. To
/// fetch a provider takes a while, and only then it starts.
const PROVIDERS_MOVE_FOR: Duration = Duration::from_secs(60);

/// How late a bid came counts for this time at least, and for twice as long at most: a host
/// that is late once in a while must not lose that bid each time.
const BIDS_COUNT_FOR: Duration = Duration::from_secs(300);

/// How late the bids of a host come behind its answers to pings.
#[derive(Clone, Copy)]
pub(super) struct BidLag {
    /// When this span of time began.
    since: Instant,
    /// The most of a bid in it.
    most: Duration,
    /// The most of a bid in the span before.
    most_before: Duration,
}

/// What is known of a host.
pub(super) struct KnownHost {
    pub(super) dialect: Dialect,
    /// Its labels, where it says any and there is room for them.
    pub(super) labels: Option<Labels>,
    /// Its uptime in seconds, as its last reply to a ping says.
    pub(super) uptime: u64,
    /// When that reply came.
    pub(super) replied: Instant,
    /// When it last answered any question.
    pub(super) seen: Instant,
    /// Whether an event said that it may be gone, or have another version now.
    pub(super) doubtful: bool,
    /// How long it takes to answer a ping: an average, and not less than the last time.
    pub(super) answers_in: Duration,
    /// When it was found to have missed a ping, since its last reply.
    pub(super) missed: Option<Instant>,
    /// When an event of it last arrived, while its lattice is listened to.
    pub(super) heard: Option<Instant>,
    /// How late its bids come behind its answers to pings. `None` where it never bid.
    pub(super) bids: Option<BidLag>,
    /// When it last began or ended to start or stop a provider, as far as is known.
    pub(super) provider_moved: Option<Instant>,
    /// The providers that it runs, where that is kept.
    pub(super) providers: Option<Box<KnownProviders>>,
}

/// Labels that are kept.
pub(super) struct Labels {
    pub(super) all: TextMap,
    /// What they take of the room, where they are large.
    pub(super) _room: Option<Box<Share<HostId>>>,
}

/// The providers of one host.
pub(super) struct KnownProviders {
    pub(super) all: Vec<ProviderSeen>,
    /// Whether these are all, and no other. Else they are good for their references.
    pub(super) are_all: bool,
    /// When that was so; every event since was heard.
    pub(super) since: Instant,
    /// What they take of the room.
    _room: Share<HostId>,
}

impl KnownProviders {
    /// Keeps these, unless there is no room.
    pub(super) fn new(
        all: Vec<ProviderSeen>,
        are_all: bool,
        since: Instant,
        mut room: Share<HostId>,
    ) -> Option<Self> {
        let bytes = all.iter().map(|one| {
            let image_ref = one.image_ref.as_ref().map_or(0, String::len);
            PROVIDER + one.key.len() + one.link_name.len() + image_ref
        });
        room.take(bytes.sum()).then_some(Self {
            all,
            are_all,
            since,
            _room: room,
        })
    }

    /// Returns the reference of a provider, where it is known.
    pub(super) fn reference_of(&self, provider: &ProviderSeen) -> Option<String> {
        let mut all = self.all.iter();
        let known = all.find(|one| one.is(&provider.key, &provider.link_name))?;
        known.image_ref.clone()
    }

    /// Tells whether a provider of this reference runs under a link name; `None` where one
    /// may, of which the reference is not known.
    pub(super) fn runs(&self, reference: &str, link_name: &str) -> Option<bool> {
        let mut there = self.all.iter().filter(|one| one.link_name == link_name);
        let named = |one: &ProviderSeen| {
            let image_ref = one.image_ref.as_deref();
            match one.key == reference {
                true => Some(true),
                false => image_ref.map(|image| is_same_image(image, reference)),
            }
        };
        there.try_fold(false, |found, one| Some(found | named(one)?))
    }
}

impl KnownHost {
    /// Returns how long after a ping its reply is waited for in any case.
    pub(super) fn patience(&self) -> Duration {
        (self.answers_in * 2 + SLACK).min(MOST_PATIENCE)
    }

    /// Tells whether the host was started again, as it reports a shorter uptime than it
    /// had.
    pub(super) fn ran_before(&self, uptime: u64) -> bool {
        // Replies to two pings can come in the wrong order.
        uptime + UPTIME_ORDER.as_secs() < self.uptime
            || uptime + UPTIME_SLACK.as_secs() < self.uptime + self.replied.elapsed().as_secs()
    }

    /// Notes how late a bid came behind the host's answer to a ping.
    pub(super) fn note_bid(&mut self, lag: Duration) {
        let now = Instant::now();
        let before = self.bids.filter(|bids| now < bids.since + BIDS_COUNT_FOR);
        self.bids = Some(match before {
            None => BidLag {
                since: now,
                most: lag,
                most_before: self.bid_lag().unwrap_or_default(),
            },
            Some(bids) => BidLag {
                most: bids.most.max(lag),
                ..bids
            },
        });
    }

    /// Returns the most that a bid of the last minutes was late, where it has bid in them.
    pub(super) fn bid_lag(&self) -> Option<Duration> {
        let bids = self.bids?;
        match bids.since.elapsed() {
            age if age < BIDS_COUNT_FOR => Some(bids.most.max(bids.most_before)),
            age if age < 2 * BIDS_COUNT_FOR => Some(bids.most),
            _ => None,
        }
    }

    /// Returns how long after its answer to a ping its bid is waited for: as long as a bid is
    /// ever waited for where that costs nothing, or nothing better is known. `widest` is the
    /// lag of the host of its lattice whose bids are the latest; it holds for a host that
    /// never bid.
    pub(super) fn bid_within(&self, widest: Option<Duration>) -> Duration {
        let moves = self.provider_moved;
        let moves = moves.is_some_and(|at| at.elapsed() < PROVIDERS_MOVE_FOR);
        // Such a host bids in any case. And its bids, as those of a host of which a provider
        // starts or stops, can be late (docs/hosts.md#bids-wait-for-providers).
        if moves || !self.dialect.declines() {
            return Duration::MAX;
        }
        let lag = self.bid_lag().or(widest);
        lag.map_or(Duration::MAX, |lag| lag * 2 + BID_SLACK)
    }

    /// Notes that it may run other providers than are known.
    pub(super) fn doubt_providers(&mut self) {
        if let Some(known) = &mut self.providers {
            known.are_all = false;
        }
    }

    /// Notes that it may be gone, or have another version now.
    pub(super) fn doubt(&mut self) {
        self.doubtful = true;
        self.providers = None;
    }

    pub(super) fn is_recent(&self) -> bool {
        self.replied.elapsed() < RECENT_FOR
    }

    /// Notes that it did not answer a ping of `asked` within `took`. Returns whether that
    /// is the second one that it missed. Pings that were under way together count once.
    pub(super) fn misses(&mut self, asked: Instant, took: Duration) -> bool {
        if self.seen > asked || took < self.patience() {
            return false;
        }
        match self.missed {
            Some(first) => first <= asked,
            // An event said that it may be gone.
            None if self.doubtful => true,
            None => {
                self.missed = Some(Instant::now());
                false
            }
        }
    }
}
