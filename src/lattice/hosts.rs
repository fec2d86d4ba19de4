//! Which hosts there are, of which generation each is, and which would run
//! something.

use std::time::Duration;

use tokio::time::timeout;

use super::generation::{Generation, Traits};
use super::plan::contains;
use super::roster::Standing;
use super::subject;
use super::wire::{ActorAuction, Bid, HostPing, ProviderAuction, TextMap};
use super::{Lattice, wire};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::HostId;

/// After a ping without the host: how long to wait for word that it is not there.
const ABSENCE_TOLD_WITHIN: Duration = Duration::from_millis(50);

impl Lattice {
    /// Every host of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::ping_all`]; `Unsupported` where only 1.x hosts answer.
    pub async fn hosts(&self) -> Result<Vec<HostPing>, Error> {
        self.hosts_within(self.deadline).await
    }

    async fn hosts_within(&self, deadline: Deadline) -> Result<Vec<HostPing>, Error> {
        if self.roster.all().is_some() {
            let hosts = self.ping_all(deadline).await?;
            if hosts.is_empty() {
                self.refuse_v1().await?;
            }
            return Ok(hosts);
        }
        // Both at once: after a silence, no time would be left for the other.
        let (hosts, newer) = tokio::try_join!(self.ping_all(deadline), self.ping_v1())?;
        match newer {
            Some(newer) if hosts.is_empty() => Err(self.too_new(&newer)),
            _ => Ok(hosts),
        }
    }

    /// What is known of a host. One that is not known yet is pinged first; one
    /// that was not heard of for a while is pinged in the background.
    ///
    /// # Errors
    /// `NoResponders` where it does not answer; `Unsupported` where only 1.x
    /// hosts do.
    pub async fn traits_of(&self, host: &HostId) -> Result<Traits, Error> {
        let traits = match self.roster.standing(host) {
            Standing::Known(traits) => traits,
            Standing::Stale(traits) => {
                let lattice = self.clone_for_refresh();
                self.roster.refresh(async move {
                    // What it learns is in the roster; a failure shows at the
                    // next order.
                    let _ = lattice.ping_all(lattice.deadline).await;
                });
                traits
            }
            Standing::Unknown => self.ask_traits(host).await?,
        };
        match traits.generation {
            Generation::V1 => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "{} is of {traits}, which is too new",
                    self.host_called(host)
                ),
            )),
            _ => Ok(traits),
        }
    }

    /// The same, before an order: a failure means that nothing was sent.
    pub(super) async fn traits_for_order(&self, host: &HostId) -> Result<Traits, Error> {
        self.traits_of(host).await.map_err(Error::before_order)
    }

    /// Pings a host. Its inventory is asked for at the same time: where nobody
    /// listens for that, it is not there, and need not be waited for.
    async fn ask_traits(&self, host: &HostId) -> Result<Traits, Error> {
        let deadline = self.deadline.within(self.deadline.remaining() / 2);
        let ping = self.ping_for(host, deadline);
        let absent = async {
            match self.inventory(host).await {
                Err(error) if error.kind() == Kind::NoResponders => error,
                // It is there: the ping will tell.
                _ => std::future::pending().await,
            }
        };
        tokio::pin!(absent);
        let missing = tokio::select! {
            biased;
            hosts = ping => {
                let found = hosts?.into_iter().find(|ping| ping.id == host.as_str());
                if let Some(ping) = found {
                    return Ok(Traits::from(&ping));
                }
                // Both were asked at once: what there is to say of it is here.
                timeout(ABSENCE_TOLD_WITHIN, &mut absent).await.ok()
            }
            error = &mut absent => Some(error),
        };
        self.refuse_v1().await?;
        Err(missing.unwrap_or_else(|| {
            Error::new(
                Kind::NoResponders,
                format!(
                    "{} does not answer pings; nothing was sent: check that it is well",
                    self.host_called(host)
                ),
            )
        }))
    }

    /// The generation of every host, where any answers; pings them unless that
    /// was done lately.
    ///
    /// # Errors
    /// As [`Lattice::hosts`].
    pub async fn all_traits(&self) -> Result<Vec<Traits>, Error> {
        if let Some(known) = self.roster.all() {
            return Ok(known);
        }
        // What they are needed for needs time, too.
        let half = self.deadline.within(self.deadline.remaining() / 2);
        let hosts = self.hosts_within(half).await?;
        let traits = hosts.iter().map(Traits::from);
        Ok(traits.collect())
    }

    /// The hosts that would run an actor.
    ///
    /// # Errors
    /// As [`Lattice::ping_all`], and where hosts refused the question.
    pub async fn auction_actor(&self, auction: &ActorAuction<'_>) -> Result<Vec<Bid>, Error> {
        let subject = subject::auction_actor(&self.id);
        let (bids, hosts) =
            tokio::try_join!(self.bids(subject, auction), self.ping_all(self.deadline))?;
        self.none_but_v1(&bids, &hosts).await?;
        let met = bids.into_iter().map(|bid| async {
            let meets = self.meets(&bid, &hosts, auction.constraints).await;
            meets.then_some(bid)
        });
        let met = futures::future::join_all(met).await;
        Ok(met.into_iter().flatten().collect())
    }

    /// The hosts that would run a provider, and do not yet.
    ///
    /// # Errors
    /// As [`Lattice::auction_actor`].
    pub async fn auction_provider(&self, auction: &ProviderAuction<'_>) -> Result<Vec<Bid>, Error> {
        let subject = subject::auction_provider(&self.id);
        let (bids, hosts) =
            tokio::try_join!(self.bids(subject, auction), self.ping_all(self.deadline))?;
        self.none_but_v1(&bids, &hosts).await?;
        let free = bids.into_iter().map(|bid| async {
            let fits = self.meets(&bid, &hosts, auction.constraints).await
                && !self.runs_provider(&bid, &hosts, auction).await;
            fits.then_some(bid)
        });
        let free = futures::future::join_all(free).await;
        Ok(free.into_iter().flatten().collect())
    }

    /// Whether a host that bids runs the provider all the same: OTP before 0.54.5
    /// does not look, and Rust hosts compare image references as they are
    /// written.
    async fn runs_provider(
        &self,
        bid: &Bid,
        hosts: &[HostPing],
        auction: &ProviderAuction<'_>,
    ) -> bool {
        let Ok(host) = HostId::parse(&bid.host_id) else {
            return false;
        };
        let looks = hosts
            .iter()
            .find(|ping| ping.id == bid.host_id)
            .is_some_and(|ping| Traits::from(ping).generation == Generation::G1b);
        if looks {
            return false;
        }
        // A host that does not tell what it runs keeps its bid.
        self.inventory(&host).await.is_ok_and(|inventory| {
            inventory.providers.iter().any(|provider| {
                provider.link_name == auction.link_name.as_str() && is_named(provider, auction)
            })
        })
    }

    /// Nobody bids and nobody is there: perhaps because all hosts are 1.x.
    async fn none_but_v1(&self, bids: &[Bid], hosts: &[HostPing]) -> Result<(), Error> {
        match bids.is_empty() && hosts.is_empty() {
            true => self.refuse_v1().await,
            false => Ok(()),
        }
    }

    /// Refuses a lattice in which 1.x hosts answer; call it where no other did.
    ///
    /// # Errors
    /// `Unsupported`.
    pub(super) async fn refuse_v1(&self) -> Result<(), Error> {
        match self.ping_v1().await? {
            None => Ok(()),
            Some(ping) => Err(self.too_new(&ping)),
        }
    }

    fn too_new(&self, ping: &HostPing) -> Error {
        Error::new(
            Kind::Unsupported,
            format!(
                "{} has hosts of wasmCloud {} only; this provider controls hosts up to 0.82",
                self.called(),
                ping.version.as_deref().unwrap_or("1.x")
            ),
        )
    }

    /// Whether a bid counts. OTP hosts look at the constraints themselves; Rust
    /// hosts do not (trap T18), so their labels must be known to meet them.
    async fn meets(&self, bid: &Bid, hosts: &[HostPing], constraints: &TextMap) -> bool {
        if constraints.is_empty() {
            return true;
        }
        if let Some(ping) = hosts.iter().find(|ping| ping.id == bid.host_id) {
            let otp = Traits::from(ping).generation.is_otp();
            let labels = ping.labels.as_ref();
            return otp || labels.is_some_and(|labels| contains(labels, constraints));
        }
        // It bid, and was too late with its ping: the inventory has labels, too.
        match HostId::parse(&bid.host_id) {
            Ok(host) => self
                .inventory(&host)
                .await
                .is_ok_and(|inventory| contains(&inventory.labels, constraints)),
            Err(_) => false,
        }
    }
}

fn is_named(provider: &wire::Provider, auction: &ProviderAuction<'_>) -> bool {
    let plain = |text: &str| text.trim_start_matches("oci://").to_lowercase();
    let image_ref = provider.image_ref.as_deref().unwrap_or_default();
    provider.id == auction.provider_ref || plain(image_ref) == plain(auction.provider_ref)
}
