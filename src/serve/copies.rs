//! How many copies of a call are under way. What only reads may be repeated; but somebody
//! who recorded a call must not be able to take all places of its actor with copies.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::lock::Lock;

/// The signed parts of calls that are under way, as hashes, and how many copies of each. A
/// command is remembered for longer by the [guard](crate::serve::replay) against replay.
#[derive(Default)]
pub struct Copies {
    hasher: RandomState,
    calls: Lock<HashMap<u64, usize>>,
}

/// A call that is under way until this value is dropped.
pub struct Copy {
    copies: Arc<Copies>,
    call: u64,
}

impl Copies {
    /// Notes that a call with this signed part is under way, unless so many are already.
    pub fn enter(self: &Arc<Self>, signed: &str, most: usize) -> Option<Copy> {
        let call = self.hasher.hash_one(signed);
        let mut calls = self.calls.lock();
        let under_way = calls.entry(call).or_default();
        if *under_way >= most {
            return None;
        }
        *under_way += 1;
        Some(Copy {
            copies: self.clone(),
            call,
        })
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let mut calls = self.copies.calls.lock();
        if let Some(under_way) = calls.get_mut(&self.call) {
            *under_way -= 1;
            if *under_way == 0 {
                calls.remove(&self.call);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_call_only_so_many_copies_are_under_way() {
        let copies: Arc<Copies> = Arc::default();
        let both = [copies.enter("a", 2), copies.enter("a", 2)];
        assert!(both.iter().all(Option::is_some) && copies.enter("a", 2).is_none());
        assert!(copies.enter("b", 2).is_some());
        drop(both);
        assert!(copies.enter("a", 1).is_some() && copies.calls.lock().is_empty());
    }
}
