//! How many bytes of answers each lattice may hold for its callers.
//!
//! An answer counts from its arrival until the call that asked is over. It counts as what
//! it takes in memory once it is read, which is more than its bytes: hosts and servers
//! choose what they answer, and a list of empty objects grows forty times.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

use crate::shares::{Share, Shares};

/// Most bytes of answers that are held at a time, for all lattices together. One lattice
/// has half of them at most.
pub const MOST_BYTES: usize = 256 * 1024 * 1024;
/// What each answer may have without being counted: usual answers have less, and the calls
/// in flight are limited.
const UNCOUNTED: usize = 64 * 1024;
/// Bytes are taken in such steps.
const STEP: usize = 64 * 1024;

/// Bodies of fewer bytes cannot take more than what is not counted.
const LOOKED_THROUGH_FROM: usize = 256;

/// What a message takes in memory beside what it holds.
pub const MESSAGE: usize = 256;
/// What an object in JSON, and a member of one, take once they are read: about what they
/// take in the types of `lattice::model`.
const OBJECT: usize = 128;
const MEMBER: usize = 64;
/// What one more entry of a list takes, which may be a text.
const ENTRY: usize = 24;

/// The room that one lattice has for answers.
#[derive(Clone)]
pub struct AnswerRoom {
    shares: Arc<Shares<u64>>,
    /// The number of its route.
    lattice: u64,
}

impl AnswerRoom {
    /// Makes the room that all lattices share.
    pub fn for_all() -> Arc<Shares<u64>> {
        Shares::new(MOST_BYTES)
    }

    /// Makes the room of the lattice with this route.
    pub fn of(shares: &Arc<Shares<u64>>, route: u64) -> Self {
        Self {
            shares: shares.clone(),
            lattice: route,
        }
    }

    /// Returns room for one answer, or one gather, in which nothing is yet.
    pub fn empty(&self) -> Room {
        Room {
            share: self.shares.share(self.lattice),
            bytes: 0,
        }
    }
}

impl Default for AnswerRoom {
    fn default() -> Self {
        Self::of(&Self::for_all(), 0)
    }
}

/// The bytes of one answer, or of one gather. They are free again when it is dropped.
pub struct Room {
    share: Share<u64>,
    bytes: usize,
}

impl Room {
    /// Takes room for more bytes.
    ///
    /// # Errors
    /// Who has the room, where there is too little.
    pub fn take(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let all = self.bytes.saturating_add(bytes);
        let counted = all.saturating_sub(UNCOUNTED);
        let needed = counted
            .saturating_sub(self.share.places())
            .checked_next_multiple_of(STEP);
        if !needed.is_some_and(|needed| self.share.take(needed)) {
            let (lattice, all) = self.share.of_party();
            return Err(NoRoom { lattice, all });
        }
        self.bytes = all;
        Ok(())
    }

    /// Takes room for what a body in JSON takes beside its bytes once it is read.
    ///
    /// # Errors
    /// As [`Room::take`].
    pub fn take_json(&mut self, body: &[u8]) -> Result<(), NoRoom> {
        if body.len() < LOOKED_THROUGH_FROM {
            return Ok(());
        }
        let weighs = |each: usize, byte: u8| each * count(body, byte);
        self.take(weighs(OBJECT, b'{') + weighs(MEMBER, b':') + weighs(ENTRY, b','))
    }
}

/// Counts a byte. In pieces of so many bytes that a byte can count them, since compilers make
/// a loop of that which looks at many bytes at once.
fn count(body: &[u8], wanted: u8) -> usize {
    let in_piece = |piece: &[u8]| {
        let add = |count: u8, byte: &u8| count + u8::from(*byte == wanted);
        usize::from(piece.iter().fold(0, add))
    };
    body.chunks(usize::from(u8::MAX)).map(in_piece).sum()
}

/// There is too little room for an answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "there is no room for it: answers of this lattice take {} MiB already, and those of all \
     lattices {} of {} MiB; ask less at a time",
    .lattice >> 20, .all >> 20, MOST_BYTES >> 20
)]
pub struct NoRoom {
    lattice: usize,
    all: usize,
}

/// What was read from an answer, with the room that it takes.
pub struct Held<T, R = Room> {
    value: T,
    room: R,
}

impl<T, R> Held<T, R> {
    /// Puts a value into its room.
    pub fn new(value: T, room: R) -> Self {
        Self { value, room }
    }

    /// Returns another value, made of this one, in the same room.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> Held<U, R> {
        Held {
            value: make(self.value),
            room: self.room,
        }
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (T, R) {
        (self.value, self.room)
    }
}

impl Held<Bytes> {
    /// Takes the room for what an answer in JSON takes once it is read.
    ///
    /// # Errors
    /// As [`Room::take`].
    pub fn weighed(mut self) -> Result<Self, NoRoom> {
        self.room.take_json(&self.value)?;
        Ok(self)
    }

    /// Returns the same bytes, in memory of their own where they are many.
    pub(super) fn apart(mut self) -> Self {
        if self.room.share.places() > 0 {
            self.value = owned(&self.value);
        }
        self
    }
}

/// Copies bytes into memory of their own: what arrived may be a small part of a large
/// buffer, and would keep all of it.
pub(super) fn owned(payload: &[u8]) -> Bytes {
    Bytes::copy_from_slice(payload)
}

impl<T, R> Deref for Held<T, R> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lattice_has_half_of_the_room_and_others_find_some() {
        let shares = AnswerRoom::for_all();
        let (one, two) = (AnswerRoom::of(&shares, 1), AnswerRoom::of(&shares, 2));
        let mut held = Vec::new();
        let refused = loop {
            let mut room = one.empty();
            match room.take(1 << 20) {
                Ok(()) => held.push(room),
                Err(refused) => break refused,
            }
        };
        // The first 64 KiB of each are not counted.
        assert_eq!(held.len(), 136);
        assert!(
            refused.to_string().contains("take 127 MiB already"),
            "{refused}"
        );
        assert!(two.empty().take(60 << 20).is_ok());
        held.clear();
        assert!(one.empty().take(128 << 20).is_ok());
    }

    #[test]
    fn every_byte_is_counted() {
        for length in [0, 1, 254, 255, 256, 1000] {
            assert_eq!(count(&vec![b'{'; length], b'{'), length);
            assert_eq!(count(&vec![b'x'; length], b'{'), 0);
        }
    }

    #[test]
    fn a_usual_answer_is_not_counted() {
        let shares = AnswerRoom::for_all();
        let one = AnswerRoom::of(&shares, 1);
        let mut room = one.empty();
        for _ in 0..64 {
            room.take(1024).unwrap();
        }
        assert_eq!(room.share.places(), 0);
        room.take(1).unwrap();
        assert_eq!(room.share.places(), STEP);
        assert!(room.take(usize::MAX).is_err());
    }

    #[test]
    fn a_body_weighs_what_its_objects_take() {
        let weight = |body: &[u8]| {
            let mut room = AnswerRoom::default().empty();
            room.take_json(body).unwrap();
            room.bytes
        };
        assert_eq!(weight(&[b'x'; 1000]), 0);
        let list = br#"{"a":{}}"#.repeat(100);
        assert_eq!(weight(&list), 100 * (2 * OBJECT + MEMBER));
        // What is not looked through could not be counted.
        const { assert!(LOOKED_THROUGH_FROM * (OBJECT + 1) < UNCOUNTED) };
    }
}
