//! Which calls are under way, so that copies of one take no more than one place.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::lock::Lock;

/// The signed parts of calls that are under way, as hashes. A command is remembered for
/// longer by the guard against replay. What only reads may be
/// repeated, but its copies must not take the places of its actor.
#[derive(Default)]
pub struct UnderWay {
    hasher: RandomState,
    calls: Lock<HashSet<u64>>,
}

/// A call that is under way until this value is dropped.
pub struct Alone {
    under_way: Arc<UnderWay>,
    call: u64,
}

impl UnderWay {
    /// Notes that the call with this signed part is under way, unless it is already.
    pub fn enter(self: &Arc<Self>, signed: &str) -> Option<Alone> {
        let call = self.hasher.hash_one(signed);
        let is_alone = self.calls.lock().insert(call);
        is_alone.then(|| Alone {
            under_way: self.clone(),
            call,
        })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.under_way.calls.lock().remove(&self.call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_copies_one_is_under_way() {
        let under_way: Arc<UnderWay> = Arc::default();
        let alone = under_way.enter("a");
        assert!(alone.is_some() && under_way.enter("a").is_none());
        assert!(under_way.enter("b").is_some());
        drop(alone);
        assert!(under_way.enter("a").is_some() && under_way.calls.lock().is_empty());
    }
}
