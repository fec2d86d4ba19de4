//! Limits how many calls are in flight at once that have something in common, such as
//! their lattice, and shares these places among the actors that call. A few calls that
//! find no place wait for one, shortly; the others are refused at once.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout_at;

use crate::deadline::Deadline;
use crate::lock::Lock;
use crate::shares::may_take;

/// Longest wait for a place: callers should soon know that there is none, and most calls
/// end sooner than that.
pub const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Places for calls, the same number for each subject: for each lattice, say. A party that
/// calls may have so many of them, whoever else calls; but half of what one party cannot
/// have is shared by `may_take`, so that no few parties take all. The room to wait is
/// shared in the same way. It remembers only those that are in use, as hashes: of 10^19
/// pairs, one shares its places.
pub struct Limiter {
    most: usize,
    most_of_party: usize,
    /// Places that are left to parties with few.
    reserve: usize,
    hasher: RandomState,
    in_use: Lock<InUse>,
}

/// What is in use. While a call waits, its party may not have another place.
#[derive(Default)]
struct InUse {
    subjects: HashMap<u64, Subject>,
    parties: HashMap<u64, Party>,
}

/// The places of a subject.
#[derive(Default)]
struct Subject {
    taken: usize,
    waiting: usize,
    /// The parties of which calls wait, those with the fewest places first.
    parties: BTreeSet<(usize, u64)>,
}

/// The places that a party has of a subject.
#[derive(Default)]
struct Party {
    taken: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
}

/// Whose place it is.
#[derive(Clone, Copy)]
struct Owner {
    subject: u64,
    /// The party at this subject.
    party: u64,
}

/// What a call gets that asks for a place.
enum Ticket {
    /// A place.
    Place(Place),
    /// A place once another call ends.
    Queue(Queued),
    /// None: enough others wait already.
    Full,
}

/// A place, which is free again when this value is dropped.
pub struct Place {
    limiter: Arc<Limiter>,
    owner: Owner,
}

/// A call that waits for a place.
struct Queued {
    limiter: Arc<Limiter>,
    owner: Owner,
    place_given: oneshot::Receiver<()>,
    /// Whether it got no place yet.
    waits: bool,
}

impl Limiter {
    /// Makes `most` places for each subject, of which a party may have `most_of_party`.
    /// Calls may wait for a quarter of either number.
    pub fn new(most: usize, most_of_party: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_party,
            reserve: most.saturating_sub(most_of_party) / 2,
            hasher: RandomState::new(),
            in_use: Lock::default(),
        })
    }

    /// Returns how many places there are for each subject.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Returns how many places of a subject a party has.
    pub fn taken(&self, subject: impl Hash, party: impl Hash) -> usize {
        let owner = self.owner(subject, party);
        let in_use = self.in_use.lock();
        let party = in_use.parties.get(&owner.party);
        party.map_or(0, |party| party.taken)
    }

    /// Whether a party would be refused a place at once.
    pub fn is_full(&self, subject: impl Hash, party: impl Hash) -> bool {
        let owner = self.owner(subject, party);
        let in_use = self.in_use.lock();
        let Some(subject) = in_use.subjects.get(&owner.subject) else {
            return false;
        };
        let (taken, waiting) = match in_use.parties.get(&owner.party) {
            Some(party) => (party.taken, party.waiting.len()),
            None => (0, 0),
        };
        !self.may_have_one(taken, subject) && !self.may_wait(waiting, subject)
    }

    /// Takes a place, and waits for one where that may help.
    pub async fn place(
        self: &Arc<Self>,
        subject: impl Hash,
        party: impl Hash,
        deadline: Deadline,
    ) -> Option<Place> {
        match self.enter(self.owner(subject, party)) {
            Ticket::Place(place) => Some(place),
            Ticket::Queue(queued) => queued.place(deadline).await,
            Ticket::Full => None,
        }
    }

    fn owner(&self, subject: impl Hash, party: impl Hash) -> Owner {
        let subject = self.hasher.hash_one(subject);
        let party = self.hasher.hash_one((subject, party));
        Owner { subject, party }
    }

    /// Whether a party that has so many places may have one more.
    fn may_have_one(&self, taken: usize, subject: &Subject) -> bool {
        let free = self.most - subject.taken;
        taken < self.most_of_party && (free > self.reserve || may_take(taken, 1, free))
    }

    /// Whether one more call may wait of a party of which so many wait.
    fn may_wait(&self, waiting: usize, subject: &Subject) -> bool {
        waiting < self.most_of_party / 4 && may_take(waiting, 1, self.most / 4 - subject.waiting)
    }

    fn enter(self: &Arc<Self>, owner: Owner) -> Ticket {
        let limiter = self.clone();
        let mut in_use = self.in_use.lock();
        let InUse { subjects, parties } = &mut *in_use;
        let subject = subjects.entry(owner.subject).or_default();
        let party = parties.entry(owner.party).or_default();
        if self.may_have_one(party.taken, subject) {
            party.taken += 1;
            subject.taken += 1;
            return Ticket::Place(Place { limiter, owner });
        }
        if self.may_wait(party.waiting.len(), subject) {
            let (give, place_given) = oneshot::channel();
            party.waiting.push_back(give);
            subject.waiting += 1;
            subject.parties.insert((party.taken, owner.party));
            return Ticket::Queue(Queued {
                limiter,
                owner,
                place_given,
                waits: true,
            });
        }
        in_use.forget(owner);
        Ticket::Full
    }

    /// Gives back a place, and gives what is free to calls that wait: first to the party
    /// with the fewest places, and there to the call that has waited longest.
    fn leave(&self, owner: Owner) {
        let mut in_use = self.in_use.lock();
        let InUse { subjects, parties } = &mut *in_use;
        let subject = subjects.get_mut(&owner.subject);
        let (Some(subject), Some(party)) = (subject, parties.get_mut(&owner.party)) else {
            return;
        };
        if subject.parties.remove(&(party.taken, owner.party)) {
            subject.parties.insert((party.taken - 1, owner.party));
        }
        party.taken -= 1;
        subject.taken -= 1;
        // Where the party with the fewest places may have none, no other may.
        while let Some(first @ (taken, key)) = subject.parties.first().copied()
            && self.may_have_one(taken, subject)
        {
            subject.parties.remove(&first);
            let Some(party) = parties.get_mut(&key) else {
                continue;
            };
            while let Some(next) = party.waiting.pop_front() {
                subject.waiting -= 1;
                // A call that has just given up does not take it.
                if next.send(()).is_ok() {
                    party.taken += 1;
                    subject.taken += 1;
                    break;
                }
            }
            match party.waiting.is_empty() {
                true if party.taken == 0 => drop(parties.remove(&key)),
                true => {}
                false => drop(subject.parties.insert((party.taken, key))),
            }
        }
        in_use.forget(owner);
    }

    /// Takes a call out of the queue that has given up.
    fn give_up(&self, owner: Owner) {
        let mut in_use = self.in_use.lock();
        let InUse { subjects, parties } = &mut *in_use;
        let subject = subjects.get_mut(&owner.subject);
        let (Some(subject), Some(party)) = (subject, parties.get_mut(&owner.party)) else {
            return;
        };
        let before = party.waiting.len();
        party.waiting.retain(|waiting| !waiting.is_closed());
        subject.waiting -= before - party.waiting.len();
        if party.waiting.is_empty() {
            subject.parties.remove(&(party.taken, owner.party));
        }
        in_use.forget(owner);
    }
}

impl InUse {
    /// Forgets what has no places and no calls that wait.
    fn forget(&mut self, owner: Owner) {
        let is_idle = |party: &Party| party.taken == 0 && party.waiting.is_empty();
        if self.parties.get(&owner.party).is_some_and(is_idle) {
            self.parties.remove(&owner.party);
        }
        let is_idle = |subject: &Subject| subject.taken == 0 && subject.waiting == 0;
        if self.subjects.get(&owner.subject).is_some_and(is_idle) {
            self.subjects.remove(&owner.subject);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.limiter.leave(self.owner);
    }
}

impl Queued {
    async fn place(mut self, deadline: Deadline) -> Option<Place> {
        let until = deadline.within(LONGEST_WAIT).at();
        timeout_at(until, &mut self.place_given).await.ok()?.ok()?;
        Some(self.taken())
    }

    /// Takes the place that it was given.
    fn taken(&mut self) -> Place {
        self.waits = false;
        Place {
            limiter: self.limiter.clone(),
            owner: self.owner,
        }
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        if !self.waits {
            return;
        }
        self.place_given.close();
        // The place may have been given at the moment of giving up: then others get it.
        match self.place_given.try_recv() {
            Ok(()) => self.limiter.leave(self.owner),
            Err(_) => self.limiter.give_up(self.owner),
        }
    }
}

#[cfg(test)]
#[path = "places_tests.rs"]
mod tests;
