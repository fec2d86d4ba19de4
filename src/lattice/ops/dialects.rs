//! How hosts are talked to: from the roster, or by a ping.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout_at;

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::Dialect;
use crate::lattice::gather::Enough;
use crate::name::HostId;

/// How long after the end of a ping the server may still take to say that nobody listens for
/// the inventory request that was sent with it.
const ABSENCE_TOLD_WITHIN: Duration = Duration::from_millis(50);

impl Lattice {
    /// Returns how a host is talked to. One that is not known, or has not replied to a ping
    /// for long, is pinged first.
    ///
    /// # Errors
    /// `NoResponders` where it does not answer.
    pub async fn dialect_of(&self, host: &HostId) -> Result<Dialect, Error> {
        match self.roster.dialect(host) {
            Some(dialect) => Ok(dialect),
            None => Box::pin(self.ask_dialect(host)).await,
        }
    }

    /// Returns how a host is talked to that is about to be sent a command.
    ///
    /// # Errors
    /// As [`Lattice::dialect_of`], saying that nothing was sent; `Unsupported` where the
    /// host is too old for commands.
    pub(super) async fn dialect_for_command(&self, host: &HostId) -> Result<Dialect, Error> {
        let dialect = self.dialect_of(host).await.map_err(Error::before_command)?;
        match dialect.is_too_old_for_commands() {
            true => Err(too_old(&self.display_host(host))),
            false => Ok(dialect),
        }
    }

    /// Returns how each host is talked to, before a command to all of them, or any. They
    /// are pinged unless that was done lately.
    ///
    /// # Errors
    /// As [`Lattice::hosts`], saying that nothing was sent; `Unsupported` where all hosts
    /// are too old for commands, too.
    pub(super) async fn dialects_for_command(&self) -> Result<Vec<Dialect>, Error> {
        let dialects: Vec<Dialect> = match self.roster.all(self.connection.epoch()) {
            Some(known) => known,
            None => {
                // The command needs time, too.
                let hosts = self.hosts(self.deadline.half()).await;
                let hosts = hosts.map_err(Error::before_command)?;
                hosts.iter().map(Dialect::from).collect()
            }
        };
        let are_too_old = dialects.iter().all(Dialect::is_too_old_for_commands);
        match !dialects.is_empty() && are_too_old {
            true => Err(too_old(&format!("every host of {}", self.display_name()))),
            false => Ok(dialects),
        }
    }

    /// Pings a host, and requests its inventory at the same time, in the words of each
    /// protocol. Where nobody listens for these requests, the server says so at once, and
    /// the ping need not be waited for. They are the requests to a single host that change
    /// nothing. The inventory itself is not used: a command does not have its locks yet,
    /// and must be decided by a newer one.
    async fn ask_dialect(&self, host: &HostId) -> Result<Dialect, Error> {
        let terms = self.patient_terms(Enough::Host(host.clone()), self.deadline.half());
        let ping = self.ping_hosts(terms);
        let absent = async {
            let mut absent = None;
            let asked = self
                .protocols()
                .map(|protocol| self.listens(host, protocol));
            for listens in join_all(asked).await {
                match listens {
                    Err(error) if error.kind() == Kind::NoResponders => absent = Some(error),
                    // Hosts of the other protocol are there for these credentials.
                    Err(error) if error.kind() == Kind::NotPermitted => {}
                    // It is there, and the ping says what it is.
                    _ => return std::future::pending().await,
                }
            }
            match absent {
                Some(error) => error,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(absent);
        let missing = tokio::select! {
            biased;
            hosts = ping => {
                let hosts = hosts?;
                let found = hosts.iter().find(|found| found.id == host.as_str());
                if let Some(found) = found {
                    return Ok(Dialect::from(found));
                }
                // Both were asked at once, so that the server has answered by now.
                let by = self.deadline.within(ABSENCE_TOLD_WITHIN);
                timeout_at(by.at(), &mut absent).await.ok()
            }
            error = &mut absent => Some(error),
        };
        if missing.is_some() {
            self.roster.gone(host);
        }
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
}

fn too_old(who: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        format!(
            "{who} is too old for commands: hosts before wasmCloud 0.52.1 ignore counts and need \
             other members; nothing was sent: update it"
        ),
    )
}
