//! Which hosts there are; stopping one.

use crate::connections::{Held, TakenRoom};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::requests;
use crate::lattice::gather::{Ended, Enough, Gathered, Terms};
use crate::lattice::model::Host;
use crate::name::HostId;

impl Lattice {
    /// Returns every host of the lattice that answers until `deadline`, in the order of
    /// their answers.
    ///
    /// # Errors
    /// `NotConnected`, `ConnectionLost`, `NotPermitted`, `Unheard`, `Timeout` where the
    /// server does not answer; `Unsupported` where only 1.x hosts answer.
    pub async fn hosts(&self, deadline: Deadline) -> Result<Held<Vec<Host>, TakenRoom>, Error> {
        let terms = self.terms_for_all(deadline);
        if self.roster.all(self.connection.epoch()).is_some() {
            let hosts = self.ping_hosts(terms).await?;
            if hosts.is_empty() {
                self.refuse_v1().await?;
            }
            return Ok(hosts);
        }
        // Both at once: after a silence, no time would be left for the other.
        let (hosts, newer) = tokio::try_join!(self.ping_hosts(terms), self.ping_v1())?;
        match newer {
            Some(newer) if hosts.is_empty() => Err(self.too_new(&newer)),
            _ => Ok(hosts),
        }
    }

    /// Tells a host to stop, within `seconds` where it looks at that.
    ///
    /// # Errors
    /// As every command.
    pub async fn stop_host(&self, host: &HostId, seconds: Option<u64>) -> Result<(), Error> {
        self.software_for_command(host).await?;
        let command = requests::stop_host(&self.id, host, seconds)?;
        let stopped = self.tell_host(host, command).await;
        // From here on it is not waited for, whether or not it says in an event that it
        // stops.
        self.roster.doubt(host);
        stopped
    }

    /// Pings on these terms, and returns the hosts that answered.
    pub(super) async fn ping_hosts(
        &self,
        terms: Terms,
    ) -> Result<Held<Vec<Host>, TakenRoom>, Error> {
        let (pings, replies) = self.ping(None, terms).await?;
        self.watch_if_inhabited(&pings);
        let answers = pings.harvest.answers.into_iter();
        let hosts = answers.map(|answer| answer.said).collect();
        Ok(replies.hold(hosts))
    }

    /// Begins to watch the lattice, unless a watch is there or nobody listens.
    pub(super) fn watch_if_inhabited(&self, pings: &Gathered<Host>) {
        if pings.ended != Ended::NoResponders && self.roster.note_listener() {
            self.begin_watch();
        }
    }

    /// Refuses a lattice in which only 1.x hosts answer.
    ///
    /// # Errors
    /// As [`Lattice::hosts`].
    pub(super) async fn refuse_if_only_v1(&self) -> Result<(), Error> {
        if self.roster.all(self.connection.epoch()).is_some() {
            return Ok(());
        }
        let any = self.patient_terms(Enough::First, self.deadline.half());
        let (hosts, newer) = tokio::try_join!(self.ping_hosts(any), self.ping_v1())?;
        match newer {
            Some(newer) if hosts.is_empty() => Err(self.too_new(&newer)),
            _ => Ok(()),
        }
    }

    /// Refuses a lattice in which 1.x hosts answer, after no other host did.
    ///
    /// # Errors
    /// `Unsupported`, or as [`Lattice::ask_all`].
    pub(super) async fn refuse_v1(&self) -> Result<(), Error> {
        match self.ping_v1().await? {
            None => Ok(()),
            Some(host) => Err(self.too_new(&host)),
        }
    }

    fn too_new(&self, host: &Host) -> Error {
        Error::new(
            Kind::Unsupported,
            format!(
                "{} has hosts of wasmCloud {} only; this provider controls hosts up to 0.82",
                self.display_name(),
                host.version.as_deref().unwrap_or("1.x")
            ),
        )
    }
}
