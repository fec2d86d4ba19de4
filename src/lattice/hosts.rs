//! Which hosts there are, of which generation each is, and which would run
//! something.

use super::generation::Traits;
use super::plan::contains;
use super::roster::Standing;
use super::subject;
use super::wire::{ActorAuction, Bid, HostPing, ProviderAuction, TextMap};
use super::{Lattice, wire};
use crate::error::{Error, Kind};
use crate::name::HostId;

impl Lattice {
    /// Every host of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::ping`]; `Unsupported` where only 1.x hosts answer.
    pub async fn hosts(&self) -> Result<Vec<HostPing>, Error> {
        let hosts = self.ping().await?;
        if hosts.is_empty() {
            self.refuse_v1().await?;
        }
        Ok(hosts)
    }

    /// What is known of a host. One that is not known yet is pinged first; one
    /// that was not heard of for a while is pinged in the background.
    ///
    /// # Errors
    /// `NoResponders` where it does not answer; `Unsupported` where only 1.x
    /// hosts do.
    pub async fn traits_of(&self, host: &HostId) -> Result<Traits, Error> {
        match self.roster.standing(host) {
            Standing::Known(traits) => return Ok(traits),
            Standing::Stale(traits) => {
                let lattice = self.clone_for_refresh();
                self.roster.refresh(async move {
                    // What it learns is in the roster; a failure shows at the
                    // next order.
                    let _ = lattice.ping().await;
                });
                return Ok(traits);
            }
            Standing::Unknown => {}
        }
        let deadline = self.deadline.within(self.deadline.remaining() / 2);
        let id = host.as_str();
        let hosts = self.ping_until(deadline, |ping| ping.id == id).await?;
        match hosts.iter().find(|ping| ping.id == id) {
            Some(ping) => Ok(Traits::of(ping.version.as_deref())),
            None => {
                if hosts.is_empty() {
                    self.refuse_v1().await?;
                }
                Err(Error::new(
                    Kind::NoResponders,
                    format!(
                        "{} does not answer pings, {} other hosts do; nobody listens for it: \
                         check the id and that it runs",
                        self.host_called(host),
                        hosts.len()
                    ),
                ))
            }
        }
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
        let hosts = self.hosts().await?;
        let traits = hosts.iter().map(|ping| Traits::of(ping.version.as_deref()));
        Ok(traits.collect())
    }

    /// The hosts that would run an actor.
    ///
    /// # Errors
    /// As [`Lattice::ping`], and where hosts refused the question.
    pub async fn auction_actor(&self, auction: &ActorAuction<'_>) -> Result<Vec<Bid>, Error> {
        let subject = subject::auction_actor(&self.id);
        let (bids, hosts) = tokio::try_join!(self.bids(subject, auction), self.ping())?;
        self.none_but_v1(&bids, &hosts).await?;
        Ok(bids
            .into_iter()
            .filter(|bid| meets(bid, &hosts, auction.constraints))
            .collect())
    }

    /// The hosts that would run a provider, and do not yet.
    ///
    /// # Errors
    /// As [`Lattice::auction_actor`].
    pub async fn auction_provider(&self, auction: &ProviderAuction<'_>) -> Result<Vec<Bid>, Error> {
        let subject = subject::auction_provider(&self.id);
        let (bids, hosts) = tokio::try_join!(self.bids(subject, auction), self.ping())?;
        self.none_but_v1(&bids, &hosts).await?;
        let fit = bids
            .into_iter()
            .filter(|bid| meets(bid, &hosts, auction.constraints));
        let free = fit.map(|bid| async {
            let runs = self.runs_provider(&bid, &hosts, auction).await;
            (!runs).then_some(bid)
        });
        let free = futures::future::join_all(free).await;
        Ok(free.into_iter().flatten().collect())
    }

    /// Whether a Rust host that bids runs the provider under another name than
    /// the one it compared: hosts compare image references as they are written.
    async fn runs_provider(
        &self,
        bid: &Bid,
        hosts: &[HostPing],
        auction: &ProviderAuction<'_>,
    ) -> bool {
        let Ok(host) = HostId::parse(&bid.host_id) else {
            return false;
        };
        let otp = hosts
            .iter()
            .find(|ping| ping.id == bid.host_id)
            .is_some_and(|ping| Traits::of(ping.version.as_deref()).generation.is_otp());
        if otp {
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
            Some(ping) => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "{} has hosts of wasmCloud {} only; this provider controls hosts up to 0.82",
                    self.called(),
                    ping.version.as_deref().unwrap_or("1.x")
                ),
            )),
        }
    }
}

/// Whether a bid counts. OTP hosts look at the constraints themselves; Rust
/// hosts do not (trap T18), so their labels must be known to meet them.
fn meets(bid: &Bid, hosts: &[HostPing], constraints: &TextMap) -> bool {
    match hosts.iter().find(|ping| ping.id == bid.host_id) {
        Some(ping) => {
            let labels = ping.labels.clone().unwrap_or_default();
            Traits::of(ping.version.as_deref()).generation.is_otp()
                || contains(&labels, constraints)
        }
        None => constraints.is_empty(),
    }
}

fn is_named(provider: &wire::Provider, auction: &ProviderAuction<'_>) -> bool {
    let plain = |text: &str| text.trim_start_matches("oci://").to_lowercase();
    let image_ref = provider.image_ref.as_deref().unwrap_or_default();
    provider.id == auction.provider_ref || plain(image_ref) == plain(auction.provider_ref)
}
