//! The room for calls that were not read yet, so that nobody knows who sent them.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::shares::{Share, Shares};

/// Bytes of each half of the room: of 1,024 small calls.
const HALF: usize = 16 * 1024 * 1024;
/// What a call counts beside the bytes of its message.
const CALL: usize = 16 * 1024;

/// Room for calls from their arrival until their signatures are checked, for which they
/// wait for nothing but a free core.
///
/// Half of it is for whoever comes first. Only when that is full, the provider reads in
/// whose name a call is, and these names share the other half. A name is not proved yet:
/// who makes up calls in the name of an actor takes this actor's share, and no other's.
pub(super) struct Unread {
    first: Arc<Semaphore>,
    by_name: Arc<Shares<u64>>,
    hasher: RandomState,
}

/// The room of one call, which is free again when this value is dropped.
pub enum UnreadRoom {
    /// In the half for whoever comes first.
    First {
        /// Its bytes.
        _bytes: OwnedSemaphorePermit,
    },
    /// In the half that names share.
    OfName {
        /// Its bytes.
        _bytes: Share<u64>,
    },
}

impl Unread {
    pub(super) fn new() -> Self {
        Self {
            first: Arc::new(Semaphore::new(HALF)),
            by_name: Shares::new(HALF),
            hasher: RandomState::new(),
        }
    }

    /// Takes room for a call with a message of so many bytes, if there is any. `name` reads
    /// in whose name it is.
    pub(super) fn enter<'a>(
        &self,
        bytes: usize,
        name: impl FnOnce() -> Option<&'a str>,
    ) -> Option<UnreadRoom> {
        let bytes = bytes.saturating_add(CALL);
        let permits = u32::try_from(bytes).ok()?;
        if let Ok(_bytes) = self.first.clone().try_acquire_many_owned(permits) {
            return Some(UnreadRoom::First { _bytes });
        }
        let mut _bytes = self.by_name.share(self.hasher.hash_one(name()));
        _bytes.take(bytes).then_some(UnreadRoom::OfName { _bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills the room with calls in a name.
    fn flood(unread: &Unread, name: Option<&str>, bytes: usize) -> Vec<UnreadRoom> {
        std::iter::from_fn(|| unread.enter(bytes, || name)).collect()
    }

    #[test]
    fn calls_in_one_name_leave_room_for_another_whatever_their_size() {
        for bytes in [0, 1000, 1024 * 1024] {
            let unread = Unread::new();
            let (first, second) = (
                flood(&unread, Some("M1"), bytes),
                flood(&unread, None, bytes),
            );
            assert!(first.len() > second.len() && !second.is_empty());
            assert!(unread.enter(bytes, || Some("M2")).is_some());
            assert!(unread.enter(bytes, || Some("M1")).is_none());
            drop(first);
            assert!(unread.enter(bytes, || Some("M1")).is_some());
        }
    }
}
