//! Who may set the credentials of a lattice now: one call after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::LatticeId;

/// A lock for each lattice whose credentials are being set.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<LatticeId, Arc<tokio::sync::Mutex<()>>>>);

/// The turn of one call; the next one's when this is dropped.
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    lattice: &'a LatticeId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits until nobody else sets this lattice.
    ///
    /// # Errors
    /// `Busy` where the time is over before.
    pub(crate) async fn take<'a>(
        &'a self,
        lattice: &'a LatticeId,
        deadline: Deadline,
    ) -> Result<Turn<'a>, Error> {
        let lock = self.locks().entry(lattice.clone()).or_default().clone();
        // Made before the wait, so that whoever gives up tidies up as well.
        let mut turn = Turn {
            turns: self,
            lattice,
            guard: None,
        };
        match timeout_at(deadline.at(), lock.lock_owned()).await {
            Ok(guard) => turn.guard = Some(guard),
            Err(_) => {
                return Err(Error::new(
                    Kind::Busy,
                    format!(
                        "lattice {:?}: others are setting its credentials, and it took too long; \
                         try again",
                        lattice.as_str()
                    ),
                ));
            }
        }
        Ok(turn)
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<LatticeId, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.turns.locks();
        let unused = |lock: &Arc<_>| Arc::strong_count(lock) == 1;
        if locks.get(self.lattice).is_some_and(unused) {
            locks.remove(self.lattice);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    fn deadline(ms: u64) -> Deadline {
        Deadline::new(Instant::now(), Duration::from_millis(ms))
    }

    #[tokio::test]
    async fn one_follows_the_other_and_lattices_do_not_wait_for_each_other() {
        let (turns, x, y) = (Turns::default(), lattice("x"), lattice("y"));
        let first = turns.take(&x, deadline(9999)).await.unwrap();
        let mut second = Box::pin(turns.take(&x, deadline(9999)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(turns.take(&y, deadline(9999)).await.unwrap());
        let late = turns.take(&x, deadline(10)).await.err().unwrap();
        assert_eq!(late.kind(), Kind::Busy);
        drop(first);
        drop(second.await.unwrap());
        assert!(turns.locks().is_empty());
    }

    fn lattice(id: &str) -> LatticeId {
        LatticeId::parse(id).unwrap()
    }
}
