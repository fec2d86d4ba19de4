//! One call at a time sets the credentials of a lattice; calls for other lattices do
//! not wait for it.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lock::Lock;
use crate::name::LatticeId;

/// A lock for each lattice whose credentials are being set.
#[derive(Default)]
pub(super) struct LatticeLocks(Lock<HashMap<LatticeId, Arc<tokio::sync::Mutex<()>>>>);

/// The lock of a lattice, held by one call until this is dropped.
pub(super) struct LatticeLock<'a> {
    locks: &'a LatticeLocks,
    lattice: &'a LatticeId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl LatticeLocks {
    /// Waits until no other call sets this lattice.
    ///
    /// # Errors
    /// `Busy` where the deadline comes first.
    pub(super) async fn lock<'a>(
        &'a self,
        lattice: &'a LatticeId,
        deadline: Deadline,
    ) -> Result<LatticeLock<'a>, Error> {
        let lock = self.0.lock().entry(lattice.clone()).or_default().clone();
        // Made before the wait: a call that gives up tidies the table as well.
        let mut held = LatticeLock {
            locks: self,
            lattice,
            guard: None,
        };
        match timeout_at(deadline.at(), lock.lock_owned()).await {
            Ok(guard) => held.guard = Some(guard),
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
        Ok(held)
    }
}

impl Drop for LatticeLock<'_> {
    fn drop(&mut self) {
        self.guard = None;
        let mut table = self.locks.0.lock();
        let unused = |lock: &Arc<_>| Arc::strong_count(lock) == 1;
        if table.get(self.lattice).is_some_and(unused) {
            table.remove(self.lattice);
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
    async fn calls_for_one_lattice_wait_for_each_other_and_for_no_other() {
        let (locks, x, y) = (LatticeLocks::default(), lattice("x"), lattice("y"));
        let first = locks.lock(&x, deadline(9999)).await.unwrap();
        let mut second = Box::pin(locks.lock(&x, deadline(9999)));
        assert!(second.as_mut().now_or_never().is_none());
        drop(locks.lock(&y, deadline(9999)).await.unwrap());
        let late = locks.lock(&x, deadline(10)).await.err().unwrap();
        assert_eq!(late.kind(), Kind::Busy);
        drop(first);
        drop(second.await.unwrap());
        assert!(locks.0.lock().is_empty());
    }

    fn lattice(id: &str) -> LatticeId {
        LatticeId::parse(id).unwrap()
    }
}
