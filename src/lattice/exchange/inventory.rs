//! The question what runs on a host.

use std::sync::{Arc, LazyLock};

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::connections::{Held, NoRoom};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::fair::{Attempt, FairSemaphore};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::v0::requests::Request;
use crate::lattice::dialect::v0::subject;
use crate::lattice::exchange::failure::Addressee;
use crate::lattice::exchange::request::{BadReply, read};
use crate::lattice::model::Inventory;
use crate::name::HostId;

/// Inventories of more bytes are read on a thread of their own, so that calls to other
/// lattices need not wait for it. No usual inventory is as large.
const READ_ELSEWHERE_ABOVE: usize = 64 * 1024;

/// The threads that read. The rest of the machine is for other calls; and as lattices share
/// them, one with large answers has one thread.
static READERS: LazyLock<Arc<FairSemaphore>> = LazyLock::new(|| FairSemaphore::new(2));

impl Lattice {
    /// Asks a host what runs on it.
    ///
    /// # Errors
    /// As every request, see [`crate::lattice::exchange::request`].
    pub(crate) async fn inventory(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Held<Inventory>, Error> {
        let to = Addressee::Host(self, host);
        let question = Request::empty(subject::inventory(&self.id, host));
        let asked = Instant::now();
        let reply = self.ask(to, question, deadline).await?;
        let is_large = reply.len() > READ_ELSEWHERE_ABOVE;
        let inventory = move || Ok(read::<Inventory>(reply)?.map(Inventory::without_repetitions));
        let read = match is_large {
            false => inventory(),
            true => self.elsewhere(inventory, deadline).await,
        };
        let inventory = read.map_err(|problem| problem.into_error(to))?;
        self.roster
            .note_inventory(host, asked, &inventory.providers);
        Ok(inventory)
    }

    /// Returns the error of an inventory for which there is no room.
    pub fn no_room(&self, host: &HostId, full: NoRoom) -> Error {
        Addressee::Host(self, host).no_room(full)
    }

    /// Asks a host for its inventory before a command that can do without it. Returns
    /// `None` where the host is one that may hide its inventory and does not answer:
    /// it must be possible to stop things there all the same.
    ///
    /// # Errors
    /// As every request, and nothing was sent.
    pub(crate) async fn inventory_unless_hidden(
        &self,
        host: &HostId,
        quirks: &Quirks,
    ) -> Result<Option<Held<Inventory>>, Error> {
        let deadline = match quirks.may_hide_inventory {
            true => self.deadline.within(self.deadline.remaining() / 3),
            false => self.deadline,
        };
        match self.inventory(host, deadline).await {
            Ok(inventory) => Ok(Some(inventory)),
            Err(error) if quirks.may_hide_inventory && error.kind() == Kind::Timeout => Ok(None),
            Err(error) => Err(error.before_command()),
        }
    }

    /// Reads an answer on a thread for it, where one is free in time.
    async fn elsewhere<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, BadReply> + Send + 'static,
        deadline: Deadline,
    ) -> Result<T, BadReply> {
        let attempt = Attempt::first(self.id.as_str().into());
        let reader = READERS.acquire(&attempt, deadline.remaining()).await;
        let reader = reader.ok_or(BadReply::NoTime)?;
        let read = spawn_blocking(move || {
            let _reader = reader;
            read()
        });
        read.await?
    }
}
