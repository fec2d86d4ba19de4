//! The question what runs on a host.

use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::connections::{Held, NoRoom};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::fair::{Attempt, FairSemaphore};
use crate::lattice::Lattice;
use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::dialect::request::Request;
use crate::lattice::dialect::v1::replies::InventoryReply;
use crate::lattice::dialect::{Dialect, v0, v1};
use crate::lattice::exchange::failure::Addressee;
use crate::lattice::exchange::request::{BadReply, read};
use crate::lattice::model::{Inventory, Protocol};
use crate::name::HostId;

/// Inventories of more bytes are read on a thread of their own, so that calls to other
/// lattices need not wait for it. No usual inventory is as large.
const READ_ELSEWHERE_ABOVE: usize = 64 * 1024;

/// The threads that read. The rest of the machine is for other calls; and as lattices share
/// them, one with large answers has one thread.
static READERS: LazyLock<Arc<FairSemaphore>> = LazyLock::new(|| FairSemaphore::new(2));

impl Lattice {
    /// Asks a host what runs on it, in its own words.
    ///
    /// # Errors
    /// As every request, see [`crate::lattice::exchange::request`].
    pub(crate) async fn inventory_in(
        &self,
        dialect: Dialect,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Held<Inventory>, Error> {
        match dialect {
            Dialect::V0(_) => self.inventory(host, deadline).await,
            Dialect::V1(_) => {
                let inventory = self.inventory_1x(host, deadline).await?;
                Ok(inventory.map(|inventory| inventory.into_model(host.as_str())))
            }
        }
    }

    /// Asks a host of 0.x what runs on it.
    ///
    /// # Errors
    /// As every request, see [`crate::lattice::exchange::request`].
    pub(crate) async fn inventory(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Held<Inventory>, Error> {
        let question = Request::empty(v0::subject::inventory(&self.id, host));
        let asked = Instant::now();
        let inventory = self
            .ask_inventory(
                host,
                question,
                Protocol::V0,
                deadline,
                Inventory::without_repetitions,
            )
            .await?;
        self.roster
            .note_inventory(host, asked, &inventory.providers);
        Ok(inventory)
    }

    /// Asks a host of 1.x what runs on it.
    ///
    /// # Errors
    /// As every request, see [`crate::lattice::exchange::request`].
    pub(crate) async fn inventory_1x(
        &self,
        host: &HostId,
        deadline: Deadline,
    ) -> Result<Held<v1::inventory::Inventory>, Error> {
        let question = v1::requests::inventory(&self.id, host);
        let read = |InventoryReply(inventory)| inventory;
        self.ask_inventory(host, question, Protocol::V1, deadline, read)
            .await
    }

    async fn ask_inventory<R: DeserializeOwned, T: Send + 'static>(
        &self,
        host: &HostId,
        question: Request,
        protocol: Protocol,
        deadline: Deadline,
        finish: impl FnOnce(R) -> T + Send + 'static,
    ) -> Result<Held<T>, Error> {
        let to = Addressee::Host(self, host);
        let reply = self.ask(to, question, deadline).await?;
        let is_large = reply.len() > READ_ELSEWHERE_ABOVE;
        let inventory = move || Ok(read::<R>(reply, protocol)?.map(finish));
        let read = match is_large {
            false => inventory(),
            true => self.elsewhere(inventory, deadline).await,
        };
        read.map_err(|problem| problem.into_error(to))
    }

    /// Finds out whether anybody listens for the inventory request to a host, in the words of
    /// a protocol. The roster learns nothing of it.
    ///
    /// # Errors
    /// As every request, see [`crate::lattice::exchange::request`].
    pub(crate) async fn listens(&self, host: &HostId, protocol: Protocol) -> Result<(), Error> {
        let question = match protocol {
            Protocol::V0 => Request::empty(v0::subject::inventory(&self.id, host)),
            Protocol::V1 => v1::requests::inventory(&self.id, host),
        };
        let to = Addressee::Host(self, host);
        self.ask_unnoted(to, question, self.deadline)
            .await
            .map(drop)
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
