//! Which commands may be decided and sent at the same time. Commands for one actor on one
//! host take turns, in the order in which they came. Starts on hosts that add them up by
//! themselves need not wait for each other.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::commands::target::Target;
use crate::lock::Lock;
use crate::name::HostId;

/// Locks that are kept before those out of use are removed.
const SWEEP_ABOVE: usize = 1024;

/// The locks of a lattice.
///
/// There are two kinds, because they are held for different times:
///
/// - A command has the lock of its target from when it is accepted until the host has
///   taken it, also while it waits for what an inventory does not show yet. Otherwise a
///   later command could overtake it.
/// - It has a lock of the host only while it reads the inventory, decides, and is noted
///   as in flight. A start from a reference of an unknown actor may be of any actor, so
///   that it has the host alone for that time; so has a replacement, while the actor is
///   stopped. All others share it. If commands kept it while they wait, one that waits for
///   a slow download would keep back such a start, and that every command after it.
///
/// A command may know only the actor, or only the reference. Both have a table, so that a
/// command does not wait for itself where somebody gives both the same name. Locks are
/// always taken in the order of the members.
#[derive(Default)]
pub struct Locks {
    actors: Table,
    references: Table,
    hosts: Table,
}

type Table = Lock<HashMap<(HostId, String), Arc<RwLock<()>>>>;

/// Whether others may hold a lock at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Others that share it may.
    Shared,
    /// Nobody may.
    Alone,
}

/// Locks that are held until this value is dropped.
pub struct HeldLocks {
    _guards: Vec<Guard>,
}

/// One lock, held until this value is dropped.
enum Guard {
    Shared(#[expect(dead_code, reason = "it is held")] OwnedRwLockReadGuard<()>),
    Alone(#[expect(dead_code, reason = "it is held")] OwnedRwLockWriteGuard<()>),
}

impl Locks {
    /// Waits until other commands for this target have been sent, or, where the lock is
    /// shared, those that do not share it.
    ///
    /// # Errors
    /// `Busy` when the deadline passes first.
    pub async fn target(
        &self,
        target: Target<'_>,
        hold: Hold,
        deadline: Deadline,
    ) -> Result<HeldLocks, Error> {
        let image_ref = Some(target.image_ref).filter(|text| !text.is_empty());
        let names = [(&self.actors, target.key), (&self.references, image_ref)];
        let mut guards = Vec::with_capacity(names.len());
        for (table, name) in names {
            let Some(name) = name else { continue };
            let taken = take(table, target.host, name, hold);
            let taken = timeout_at(deadline.at(), taken).await;
            guards.push(taken.map_err(|_| {
                Error::new(
                    Kind::Busy,
                    format!(
                        "another command for {} on host {} is under way; nothing was sent: try again",
                        target.key.or(image_ref).unwrap_or_default(),
                        target.host
                    ),
                )
            })?);
        }
        Ok(HeldLocks { _guards: guards })
    }

    /// Waits until a command may be decided on a host.
    ///
    /// # Errors
    /// As [`Locks::target`].
    pub async fn host(
        &self,
        host: &HostId,
        hold: Hold,
        deadline: Deadline,
    ) -> Result<HeldLocks, Error> {
        let taken = timeout_at(deadline.at(), take(&self.hosts, host, "", hold)).await;
        let guard = taken.map_err(|_| {
            Error::new(
                Kind::Busy,
                format!(
                    "other commands to host {host} are under way and must end first; nothing was sent: \
                     try again"
                ),
            )
        })?;
        Ok(HeldLocks {
            _guards: vec![guard],
        })
    }
}

async fn take(table: &Table, host: &HostId, name: &str, hold: Hold) -> Guard {
    let lock = {
        let mut locks = table.lock();
        if locks.len() > SWEEP_ABOVE {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        let key = (host.clone(), name.to_owned());
        locks.entry(key).or_default().clone()
    };
    match hold {
        Hold::Shared => Guard::Shared(lock.read_owned().await),
        Hold::Alone => Guard::Alone(lock.write_owned().await),
    }
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
    async fn commands_for_one_actor_take_turns_and_others_do_not_wait() {
        let (locks, id) = (Locks::default(), KeyPair::new(KeyPairType::Server));
        let host = HostId::parse(&id.public_key()).unwrap();
        let of = |key: Option<&'static str>, image_ref: &'static str| Target {
            host: &host,
            key,
            image_ref,
            names_actor: false,
        };
        let held = locks
            .target(of(Some("a"), ""), Hold::Alone, deadline())
            .await
            .unwrap();
        locks
            .target(of(Some("b"), ""), Hold::Alone, deadline())
            .await
            .unwrap();
        for kind in ["r", ""] {
            let busy = locks
                .target(of(Some("a"), kind), Hold::Alone, deadline())
                .await;
            assert_eq!(busy.err().unwrap().kind(), Kind::Busy);
            let busy = locks
                .target(of(Some("a"), kind), Hold::Shared, deadline())
                .await;
            assert_eq!(busy.err().unwrap().kind(), Kind::Busy);
        }
        drop(held);
        let _one = locks
            .target(of(Some("a"), "r"), Hold::Shared, deadline())
            .await;
        locks
            .target(of(None, "r"), Hold::Shared, deadline())
            .await
            .unwrap();
        let busy = locks.target(of(None, "r"), Hold::Alone, deadline()).await;
        assert_eq!(busy.err().unwrap().kind(), Kind::Busy);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_whose_actor_and_reference_have_one_name_does_not_wait_for_itself() {
        let (locks, id) = (Locks::default(), KeyPair::new(KeyPairType::Server));
        let host = HostId::parse(&id.public_key()).unwrap();
        let target = Target {
            host: &host,
            key: Some("same"),
            image_ref: "same",
            names_actor: true,
        };
        locks.target(target, Hold::Alone, deadline()).await.unwrap();
    }
}
