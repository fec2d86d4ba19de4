//! Auctions in which the host bids every time: no bid may be missing.
//!
//! A bid for a provider waits in the host while another one starts or stops
//! (docs/hosts.md#bids-wait-for-providers), and on a busy machine for longer than
//! the default of `grace_ms`. It must count within whatever `grace_ms` is.

use std::cell::Cell;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use futures::future::join;
use serde_json::json;
use tokio::time::Instant;
use wasmbus_rpc::error::RpcResult;
use wasmcloud_interface_lattice_control::*;

use crate::host::Binary;
use crate::orders::run::Ground as _;
use crate::site::{LATTICE, Site, Way};
use crate::support::actor::Actor;
use crate::support::world::{ctx, hosts, set};
use crate::walk::{accepted, inventory, shows};

/// How many auctions each series has at least.
const AUCTIONS: usize = 200;

/// How often the provider is started and stopped at least beside a series.
const TURNS: usize = 20;

/// Longer than a host waits for a provider that it stops.
const GRACE_MS: u64 = 500;

const CONTRACT: &str = "wasmcloud:latticecontrol";

/// The link name in auctions. Nothing runs under it, so the host bids.
const AUCTIONED: &str = "auctioned";

/// The link name of the provider that is started and stopped meanwhile.
const RESTARTED: &str = "restarted";

/// What is auctioned.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Actor,
    Provider,
}

/// Auctions of one kind, one behind the other.
pub struct Series {
    kind: Kind,
    /// How often the host started and stopped a provider meanwhile.
    turns: Option<usize>,
    took: Vec<Duration>,
    /// What the auctions returned that missed the bid.
    pub lost: Vec<String>,
    /// What the provider logged about bids that came too late.
    pub late: Vec<String>,
}

/// Holds auctions of both kinds on an idle host with the default settings, and on
/// one that starts and stops a provider all the time.
pub async fn auctions(binary: &Binary) -> Vec<Series> {
    let mut all = Vec::from(idle(binary).await);
    all.extend(busy(binary).await);
    all
}

async fn idle(binary: &Binary) -> [Series; 2] {
    let mut site = Site::start(binary, Way::Alone).await;
    let auction = Auction::begin(&mut site).await;
    [
        auction.series(Kind::Actor, || true).await,
        auction.series(Kind::Provider, || true).await,
    ]
}

async fn busy(binary: &Binary) -> [Series; 2] {
    let patient = json!({"grace_ms": GRACE_MS, "stall_ms": GRACE_MS});
    let mut site = Site::start_with(binary, Way::Alone, &patient).await;
    let auction = Auction::begin(&mut site).await;
    [
        auction.beside_starts(Kind::Actor).await,
        auction.beside_starts(Kind::Provider).await,
    ]
}

struct Auction<'a> {
    client: LatticeControllerSender<Actor>,
    actor_ref: String,
    site: &'a Site,
}

impl<'a> Auction<'a> {
    /// Gives the provider the credentials of the lattice, and has the host start an
    /// actor.
    async fn begin(site: &'a mut Site) -> Self {
        let url = site.nats.url();
        let ack = set(&site.callers[0], LATTICE, &url).await;
        accepted(ack).unwrap();
        let actor = site.new_actor();
        let auction = Self {
            client: site.callers[0].lattice(),
            actor_ref: site.file(&actor, 1),
            site,
        };
        auction.start_actor().await;
        auction
    }

    /// Has the host start the actor, of which it publishes an event: only hosts that
    /// were heard are waited for as short as they allow.
    async fn start_actor(&self) {
        let known = hosts(&self.site.callers[0], LATTICE).await.unwrap();
        assert_eq!(known.len(), 1, "{known:?}");
        let command = StartActorCommand {
            lattice_id: LATTICE.into(),
            host_id: self.site.host.id.clone(),
            actor_ref: self.actor_ref.clone(),
            annotations: None,
            count: 1,
        };
        accepted(self.client.start_actor(&ctx(), &command).await).unwrap();
        let runs = async || {
            let actors = inventory(&self.client, &command.host_id).await?.actors;
            (!actors.is_empty())
                .then_some(())
                .ok_or_else(|| "no actor runs".into())
        };
        shows(runs).await.unwrap();
    }

    /// Holds auctions until there are enough of them and `enough` says so.
    async fn series(&self, kind: Kind, enough: impl Fn() -> bool) -> Series {
        let mut series = Series {
            kind,
            turns: None,
            took: Vec::new(),
            lost: Vec::new(),
            late: Vec::new(),
        };
        let before = self.site.provider_log().len();
        while series.took.len() < AUCTIONS || !enough() {
            let begun = Instant::now();
            let bids = match kind {
                Kind::Actor => self.of_actor().await,
                Kind::Provider => self.of_provider().await,
            };
            series.took.push(begun.elapsed());
            match bids {
                Ok(hosts) if hosts == [self.site.host.id.as_str()] => {}
                other => {
                    let took = begun.elapsed().as_millis();
                    let number = series.took.len();
                    let lost = format!("auction {number} got {other:?} after {took} ms");
                    series.lost.push(lost);
                }
            }
        }
        let log = self.site.provider_log();
        let late = log[before..]
            .lines()
            .filter(|line| line.contains("bids came"));
        series.late = late.map(str::to_owned).collect();
        series
    }

    /// Holds auctions while another actor has the host start and stop a provider.
    async fn beside_starts(&self, kind: Kind) -> Series {
        let (turns, held) = (Cell::new(0), Cell::new(false));
        let auctions = async {
            let series = self.series(kind, || turns.get() >= TURNS).await;
            held.set(true);
            series
        };
        let restarts = async {
            while !held.get() {
                self.restart().await;
                turns.set(turns.get() + 1);
            }
        };
        let (mut series, ()) = join(auctions, restarts).await;
        series.turns = Some(turns.get());
        series
    }

    async fn of_actor(&self) -> RpcResult<Vec<String>> {
        let request = ActorAuctionRequest {
            lattice_id: LATTICE.into(),
            actor_ref: self.actor_ref.clone(),
            constraints: HashMap::new(),
        };
        let bids = self.client.auction_actor(&ctx(), &request).await?;
        Ok(bids.into_iter().map(|bid| bid.host_id).collect())
    }

    async fn of_provider(&self) -> RpcResult<Vec<String>> {
        let request = ProviderAuctionRequest {
            lattice_id: LATTICE.into(),
            provider_ref: self.site.archive.reference.clone(),
            link_name: AUCTIONED.into(),
            constraints: HashMap::new(),
        };
        let bids = self.client.auction_provider(&ctx(), &request).await?;
        Ok(bids.into_iter().map(|bid| bid.host_id).collect())
    }

    /// Has the host start the provider and, when it runs, stop it again.
    async fn restart(&self) {
        let client = self.site.callers[1].lattice();
        let start = StartProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: self.site.host.id.clone(),
            provider_ref: self.site.archive.reference.clone(),
            link_name: RESTARTED.into(),
            annotations: None,
            configuration: None,
        };
        accepted(client.start_provider(&ctx(), &start).await).unwrap();
        let runs = async || {
            let providers = inventory(&client, &start.host_id).await?.providers;
            let mut running = providers.iter().filter(|p| p.link_name == RESTARTED);
            let running = running.next().map(|provider| provider.id.clone());
            running.ok_or_else(|| format!("got {providers:?}"))
        };
        let provider_id = shows(runs).await.unwrap();
        let stop = StopProviderCommand {
            lattice_id: LATTICE.into(),
            host_id: start.host_id,
            provider_id,
            link_name: RESTARTED.into(),
            contract_id: CONTRACT.into(),
            annotations: None,
        };
        accepted(client.stop_provider(&ctx(), &stop).await).unwrap();
    }
}

impl Display for Series {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut took = self.took.clone();
        took.sort();
        let kind = match self.kind {
            Kind::Actor => "actors",
            Kind::Provider => "providers",
        };
        let ms = |at: usize| took[at].as_secs_f64() * 1000.0;
        let (held, lost) = (took.len(), self.lost.len());
        let (median, most) = (ms(held / 2), ms(held - 1));
        write!(f, "{held} auctions of {kind}")?;
        match self.turns {
            Some(turns) => write!(f, " beside {turns} starts and stops")?,
            None => write!(f, " on an idle host")?,
        }
        write!(
            f,
            ": {lost} without its bid, median {median:.1} ms, at most {most:.1} ms"
        )
    }
}
