//! How many copies of a call are under way. What only reads may be repeated; but somebody
//! who recorded a call must not be able to take all places of its actor with copies.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use crate::lock::Lock;

/// The calls that are under way, by their signed parts, and how many copies of calls each
/// actor has beside the first of each; all as hashes. A command is remembered for longer by
/// the [guard](crate::serve::replay) against replay.
#[derive(Default)]
pub struct Copies {
    hasher: RandomState,
    under_way: Lock<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    calls: HashMap<u64, usize>,
    further: HashMap<u64, usize>,
}

/// A call that is under way until this value is dropped.
pub struct CountedCall {
    copies: Arc<Copies>,
    call: u64,
    /// The actor, where another copy of the call was under way before.
    further_of: Option<u64>,
}

impl Copies {
    /// Notes that a call of an actor with this signed part is under way. Where it is already,
    /// this is a further copy, unless the actor has so many of them.
    pub fn enter(self: &Arc<Self>, actor: &str, signed: &str, most: usize) -> Option<CountedCall> {
        let (actor, call) = (self.hasher.hash_one(actor), self.hasher.hash_one(signed));
        let mut under_way = self.under_way.lock();
        let UnderWay { calls, further } = &mut *under_way;
        let further_of = calls.contains_key(&call).then_some(actor);
        if further_of.is_some() {
            let further = further.entry(actor).or_default();
            if *further >= most {
                return None;
            }
            *further += 1;
        }
        *calls.entry(call).or_default() += 1;
        Some(CountedCall {
            copies: self.clone(),
            call,
            further_of,
        })
    }
}

impl Drop for CountedCall {
    fn drop(&mut self) {
        let mut under_way = self.copies.under_way.lock();
        let UnderWay { calls, further } = &mut *under_way;
        one_less(calls, self.call);
        if let Some(actor) = self.further_of {
            one_less(further, actor);
        }
    }
}

fn one_less(counts: &mut HashMap<u64, usize>, key: u64) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_all_calls_of_an_actor_only_so_many_further_copies_are_under_way() {
        let copies: Arc<Copies> = Arc::default();
        let firsts = ["a", "b"].map(|call| copies.enter("M", call, 2));
        let further = ["a", "b"].map(|call| copies.enter("M", call, 2));
        assert!(firsts.iter().chain(&further).all(Option::is_some));
        assert!(copies.enter("M", "a", 2).is_none() && copies.enter("M", "b", 2).is_none());
        assert!(copies.enter("M", "c", 2).is_some());
        drop(firsts);
        // The others of these calls are still copies.
        assert!(copies.enter("M", "a", 2).is_none());
        drop(further);
        assert!(copies.enter("M", "a", 0).is_some());
        let under_way = copies.under_way.lock();
        assert!(under_way.calls.is_empty() && under_way.further.is_empty());
    }
}
