//! Which hosts there are, and of which generation each is.

use std::time::Duration;

use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::{Generation, Traits};
use crate::lattice::dialect::v0::wire::Host;
use crate::name::HostId;

/// After a ping without the host: how long to wait for word that it is not there.
const ABSENCE_TOLD_WITHIN: Duration = Duration::from_millis(50);

impl Lattice {
    /// Every host of the lattice.
    ///
    /// # Errors
    /// As [`Lattice::ping_all`]; `Unsupported` where only 1.x hosts answer.
    pub async fn hosts(&self) -> Result<Vec<Host>, Error> {
        self.hosts_within(self.deadline).await
    }

    async fn hosts_within(&self, deadline: Deadline) -> Result<Vec<Host>, Error> {
        if self.known().is_some() {
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

    /// The generation of every host, where all were pinged lately and any
    /// answered.
    fn known(&self) -> Option<Vec<Traits>> {
        self.roster.all(self.connection.epoch())
    }

    /// That hosts are there which this provider speaks to, or none at all.
    ///
    /// # Errors
    /// As [`Lattice::hosts`].
    pub(crate) async fn refuse_if_only_v1(&self) -> Result<(), Error> {
        if self.known().is_some() {
            return Ok(());
        }
        let half = self.deadline.half();
        let (any, newer) = tokio::try_join!(self.ping_any(half), self.ping_v1())?;
        match newer {
            Some(newer) if !any => Err(self.too_new(&newer)),
            _ => Ok(()),
        }
    }

    /// What is known of a host. One that is not known, or was not heard of for
    /// long, is pinged first.
    ///
    /// # Errors
    /// `NoResponders` where it does not answer; `Unsupported` where only 1.x
    /// hosts do.
    pub async fn traits_of(&self, host: &HostId) -> Result<Traits, Error> {
        let traits = match self.roster.traits(host) {
            Some(traits) => traits,
            None => Box::pin(self.ask_traits(host)).await?,
        };
        match traits.generation {
            Generation::V1 => Err(Error::new(
                Kind::Unsupported,
                format!(
                    "{} is of {traits}, which is too new",
                    self.display_host(host)
                ),
            )),
            _ => Ok(traits),
        }
    }

    /// The same, before an order: a failure means that nothing was sent.
    ///
    /// # Errors
    /// The same; `Unsupported` where the host is too old for orders, too.
    pub(crate) async fn traits_for_order(&self, host: &HostId) -> Result<Traits, Error> {
        let traits = self.traits_of(host).await.map_err(Error::before_order)?;
        match traits.is_too_old() {
            true => Err(too_old(&self.display_host(host))),
            false => Ok(traits),
        }
    }

    /// [`Lattice::all_traits`] before an order to all of them, or any.
    ///
    /// # Errors
    /// The same, nothing was sent; `Unsupported` where all hosts are too old for
    /// orders.
    pub(crate) async fn all_traits_for_order(&self) -> Result<Vec<Traits>, Error> {
        let hosts = self.all_traits().await.map_err(Error::before_order)?;
        match !hosts.is_empty() && hosts.iter().all(Traits::is_too_old) {
            true => Err(too_old(&format!("every host of {}", self.display_name()))),
            false => Ok(hosts),
        }
    }

    /// Pings a host. Its inventory is asked for at the same time: where nobody
    /// listens for that, it is not there, and need not be waited for.
    async fn ask_traits(&self, host: &HostId) -> Result<Traits, Error> {
        let deadline = self.deadline.half();
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
                let by = self.deadline.within(ABSENCE_TOLD_WITHIN);
                timeout_at(by.at(), &mut absent).await.ok()
            }
            error = &mut absent => Some(error),
        };
        self.refuse_v1().await?;
        Err(missing.unwrap_or_else(|| {
            Error::new(
                Kind::NoResponders,
                format!(
                    "{} does not answer pings; nothing was sent: check that it is well",
                    self.display_host(host)
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
        if let Some(known) = self.known() {
            return Ok(known);
        }
        // What they are needed for needs time, too.
        let half = self.deadline.half();
        let hosts = self.hosts_within(half).await?;
        let traits = hosts.iter().map(Traits::from);
        Ok(traits.collect())
    }

    /// Refuses a lattice in which 1.x hosts answer; call it where no other did.
    ///
    /// # Errors
    /// `Unsupported`.
    pub(crate) async fn refuse_v1(&self) -> Result<(), Error> {
        match self.ping_v1().await? {
            None => Ok(()),
            Some(ping) => Err(self.too_new(&ping)),
        }
    }

    fn too_new(&self, ping: &Host) -> Error {
        Error::new(
            Kind::Unsupported,
            format!(
                "{} has hosts of wasmCloud {} only; this provider controls hosts up to 0.82",
                self.display_name(),
                ping.version.as_deref().unwrap_or("1.x")
            ),
        )
    }
}

fn too_old(who: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!(
            "{who} is too old for orders: hosts before wasmCloud 0.52.1 ignore counts and want \
             other members; nothing was sent: update it"
        ),
    )
}
