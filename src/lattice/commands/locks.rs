//! Whose turn it is: orders for one actor on one host are carried out in the
//! order in which they came, but starts of hosts that add up by themselves, which
//! need not wait for each other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::HostId;

/// Locks kept before those out of use are swept.
const SWEEP_ABOVE: usize = 1024;

/// Locks by actor and by image reference: an order may know only one of them.
/// They are two tables, so that an order never waits for itself where somebody
/// gives both the same name, and always taken in this order.
///
/// Of a start that knows no actor nobody knows which orders it can hurt. It has
/// the host alone until the host took it, as has whoever stops an actor to start
/// it again; other orders share the host.
#[derive(Default)]
pub struct Locks {
    actors: Table,
    references: Table,
    hosts: Table,
}

type Table = Mutex<HashMap<(HostId, String), Arc<RwLock<()>>>>;

/// The turn of one order; it ends with this value.
pub struct Turn {
    _places: Vec<Place>,
}

/// Held, not read.
enum Place {
    Shared(#[expect(dead_code, reason = "it is held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "it is held")] OwnedRwLockWriteGuard<()>),
}

/// What an order is about, as far as it knows.
#[derive(Clone, Copy)]
pub struct About<'a> {
    /// The host.
    pub host: &'a HostId,
    /// Public key of the actor.
    pub key: Option<&'a str>,
    /// Image reference that it names.
    pub image_ref: Option<&'a str>,
}

impl Locks {
    /// Waits until no other order is under way, and keeps others waiting.
    ///
    /// # Errors
    /// `Busy` when the call's time is over first.
    pub async fn alone(&self, about: About<'_>, deadline: Deadline) -> Result<Turn, Error> {
        self.take(about, deadline, false).await
    }

    /// The same for an order that others of its kind may be carried out beside.
    ///
    /// # Errors
    /// As [`Locks::alone`].
    pub async fn shared(&self, about: About<'_>, deadline: Deadline) -> Result<Turn, Error> {
        self.take(about, deadline, true).await
    }

    async fn take(
        &self,
        about: About<'_>,
        deadline: Deadline,
        shared: bool,
    ) -> Result<Turn, Error> {
        let names = [
            (&self.actors, about.key),
            (&self.references, about.image_ref),
        ];
        let mut places = Vec::with_capacity(names.len());
        for (table, name) in names {
            let Some(name) = name else { continue };
            let taken = place(table, about.host, name, shared);
            let taken = timeout_at(deadline.at(), taken).await;
            places.push(taken.map_err(|_| busy(about.host, about.name()))?);
        }
        Ok(Turn { _places: places })
    }

    /// Waits until an order that knows its actor may be sent to a host.
    ///
    /// # Errors
    /// As [`Locks::alone`].
    pub async fn share_of_host(&self, host: &HostId, deadline: Deadline) -> Result<Turn, Error> {
        self.on_host(host, deadline, true).await
    }

    /// Keeps starts off a host.
    ///
    /// # Errors
    /// As [`Locks::alone`].
    pub async fn whole_host(&self, host: &HostId, deadline: Deadline) -> Result<Turn, Error> {
        self.on_host(host, deadline, false).await
    }

    async fn on_host(
        &self,
        host: &HostId,
        deadline: Deadline,
        shared: bool,
    ) -> Result<Turn, Error> {
        let taken = timeout_at(deadline.at(), place(&self.hosts, host, "", shared)).await;
        let place = taken.map_err(|_| {
            Error::new(
                Kind::Busy,
                format!(
                    "another order on host {host} is under way that starts cannot be carried out \
                     beside; nothing was sent: try again"
                ),
            )
        })?;
        Ok(Turn {
            _places: vec![place],
        })
    }
}

async fn place(table: &Table, host: &HostId, name: &str, shared: bool) -> Place {
    let lock = lock(table, host, name);
    match shared {
        true => Place::Shared(lock.read_owned().await),
        false => Place::Alone(lock.write_owned().await),
    }
}

impl<'a> About<'a> {
    fn name(&self) -> &'a str {
        self.key.or(self.image_ref).unwrap_or_default()
    }
}

fn lock(table: &Table, host: &HostId, name: &str) -> Arc<RwLock<()>> {
    let mut turns = table.lock().unwrap_or_else(PoisonError::into_inner);
    if turns.len() > SWEEP_ABOVE {
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
    }
    let key = (host.clone(), name.to_owned());
    turns.entry(key).or_default().clone()
}

fn busy(host: &HostId, name: &str) -> Error {
    Error::new(
        Kind::Busy,
        format!(
            "another order for {name} on host {host} is under way; nothing was sent: try again"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::{KeyPair, KeyPairType};
    use std::time::Duration;
    use tokio::time::Instant;

    fn deadline() -> Deadline {
        Deadline::new(Instant::now(), Duration::from_secs(1))
    }

    #[tokio::test(start_paused = true)]
    async fn orders_for_one_actor_take_turns_and_others_do_not_wait() {
        let (turns, id) = (Locks::default(), KeyPair::new(KeyPairType::Server));
        let host = HostId::parse(&id.public_key()).unwrap();
        let of = |key: Option<&'static str>, image_ref: Option<&'static str>| About {
            host: &host,
            key,
            image_ref,
        };
        let turn = turns.alone(of(Some("a"), None), deadline()).await.unwrap();
        turns.alone(of(Some("b"), None), deadline()).await.unwrap();
        for kind in [Some("r"), None] {
            let busy = turns.alone(of(Some("a"), kind), deadline()).await;
            assert_eq!(busy.err().unwrap().kind(), Kind::Busy);
            let busy = turns.shared(of(Some("a"), kind), deadline()).await;
            assert_eq!(busy.err().unwrap().kind(), Kind::Busy);
        }
        drop(turn);
        let _one = turns.shared(of(Some("a"), Some("r")), deadline()).await;
        turns.shared(of(None, Some("r")), deadline()).await.unwrap();
        let busy = turns.alone(of(None, Some("r")), deadline()).await;
        assert_eq!(busy.err().unwrap().kind(), Kind::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_whose_actor_and_reference_have_one_name_does_not_wait_for_itself() {
        let (turns, id) = (Locks::default(), KeyPair::new(KeyPairType::Server));
        let host = HostId::parse(&id.public_key()).unwrap();
        let about = About {
            host: &host,
            key: Some("same"),
            image_ref: Some("same"),
        };
        turns.alone(about, deadline()).await.unwrap();
    }
}
