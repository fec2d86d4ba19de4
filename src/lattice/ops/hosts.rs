//! Which hosts there are; stopping one.

use crate::connections::{Held, TakenRoom};
use crate::deadline::Deadline;
use crate::error::Error;
use crate::lattice::Lattice;
use crate::lattice::dialect::{Dialect, v0, v1};
use crate::lattice::gather::{Ended, Gathered, Terms};
use crate::lattice::model::Host;
use crate::name::HostId;

impl Lattice {
    /// Returns every host of the lattice that is known, or answers in time, in the order of
    /// their answers.
    ///
    /// # Errors
    /// `NotConnected`, `ConnectionLost`, `NotPermitted`, `Unheard`, `Timeout` where the
    /// server does not answer.
    pub async fn hosts(&self, deadline: Deadline) -> Result<Held<Vec<Host>, TakenRoom>, Error> {
        self.ping_hosts(self.terms_for_all(deadline)).await
    }

    /// Tells a host to stop, within `seconds` where it looks at that.
    ///
    /// # Errors
    /// As every command.
    pub async fn stop_host(&self, host: &HostId, seconds: Option<u64>) -> Result<(), Error> {
        let stopped = match self.dialect_for_command(host).await? {
            Dialect::V0(_) => {
                let command = v0::requests::stop_host(&self.id, host, seconds)?;
                self.tell_host(host, command).await
            }
            Dialect::V1(_) => {
                let order = v1::requests::stop_host(&self.id, host, seconds)?;
                self.tell_host_1x(host, order).await.map(drop)
            }
        };
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
    pub(super) fn watch_if_inhabited(&self, pings: &Gathered) {
        if pings.ended != Ended::NoResponders && self.roster.note_listener() {
            self.begin_watch();
        }
    }
}
