//! What was read of a bucket so far: its entries, and how far its consumer is.

use std::collections::BTreeMap;

use crate::connections::{NoRoom, Room};

/// What an entry takes beside its key and its value.
const ENTRY: usize = 128;

/// The newest entries of a bucket, by key.
pub(super) struct Entries<T> {
    /// Every key that came. It has a value where it is one that is looked for, was not
    /// removed, and can be read.
    by_key: BTreeMap<Box<str>, Option<T>>,
    /// How many values could not be read.
    pub(super) unreadable: usize,
    /// How many bytes the values had.
    pub(super) bytes: usize,
    room: Room,
}

impl<T> Entries<T> {
    pub(super) fn new(room: Room) -> Self {
        Self {
            by_key: BTreeMap::new(),
            unreadable: 0,
            bytes: 0,
            room,
        }
    }

    /// Returns how many keys came.
    pub(super) fn keys(&self) -> usize {
        self.by_key.len()
    }

    /// Takes the room for an entry.
    ///
    /// # Errors
    /// Who has the room, where there is too little.
    pub(super) fn weigh(&mut self, subject: &str, value: &[u8]) -> Result<(), NoRoom> {
        self.bytes += value.len();
        self.room.take(subject.len() + ENTRY + value.len())?;
        self.room.take_json(value)
    }

    /// Puts the newest value of a key, or none where it was removed or is not looked
    /// for. In the place of a value that cannot be read, the one before stays.
    pub(super) fn put<E>(&mut self, key: &str, value: Option<Result<T, E>>) {
        let value = match value {
            Some(Ok(value)) => Some(value),
            Some(Err(_)) => {
                self.unreadable += 1;
                if self.by_key.contains_key(key) {
                    return;
                }
                None
            }
            None => None,
        };
        self.by_key.insert(key.into(), value);
    }

    /// Returns the values in the order of their keys, and their room.
    pub(super) fn into_values(self) -> (Vec<T>, Room) {
        (self.by_key.into_values().flatten().collect(), self.room)
    }
}

/// How far a consumer is, as the reply subject of each message says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The message's number in the stream.
    pub(super) in_stream: u64,
    /// Its number among those that the consumer has delivered.
    pub(super) delivered: u64,
    /// How many follow.
    pub(super) pending: u64,
}

impl Progress {
    /// Reads a reply subject, `$JS.ACK.{stream}.{consumer}.{tries}.{in_stream}.{delivered}.
    /// {time}.{pending}`. Servers may put a domain and an account before the stream, and
    /// then more at the end (NATS' ADR-15).
    pub(super) fn of(reply: &str) -> Option<Self> {
        let mut tokens = [""; 9];
        let mut rest = reply.strip_prefix("$JS.ACK.")?.split('.');
        let mut count = 0;
        for (token, place) in rest.by_ref().zip(&mut tokens) {
            *place = token;
            count += 1;
        }
        let first = match count {
            7 => 3,
            9 => 5,
            _ => return None,
        };
        Some(Self {
            in_stream: tokens[first].parse().ok()?,
            delivered: tokens[first + 1].parse().ok()?,
            pending: tokens[first + 3].parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::connections::AnswerRoom;

    #[test]
    fn both_forms_of_a_reply_subject_are_read() {
        let progress = |in_stream, delivered, pending| {
            Some(Progress {
                in_stream,
                delivered,
                pending,
            })
        };
        for (reply, expected) in [
            (
                "$JS.ACK.KV_x.c.1.20.3.1700000000000000000.40",
                progress(20, 3, 40),
            ),
            ("$JS.ACK.hub.hash.KV_x.c.1.20.3.17.40", progress(20, 3, 40)),
            (
                "$JS.ACK._.hash.KV_x.c.1.20.3.17.0.random",
                progress(20, 3, 0),
            ),
            (
                "$JS.ACK.hub.hash.KV_x.c.1.20.3.17.0.a.b",
                progress(20, 3, 0),
            ),
            ("$JS.ACK.KV_x.c.1.20.3.17", None),
            ("$JS.ACK.a.KV_x.c.1.20.3.17.4", None),
            ("$JS.ACK.KV_x.c.1.20.3.17.x", None),
            ("$JS.FC.KV_x.c.1.20.3.17.4", None),
            ("", None),
        ] {
            assert_eq!(Progress::of(reply), expected, "{reply}");
        }
    }

    /// One change: a key, and its value, `Err` where it cannot be read.
    type Change = (u8, Option<Result<u32, ()>>);

    proptest! {
        #[test]
        fn whatever_comes_again_the_newest_values_are_told_in_the_order_of_keys(
            changes: Vec<Change>,
        ) {
            let mut entries = Entries::new(AnswerRoom::default().empty());
            let (mut values, mut keys, mut unreadable) = (BTreeMap::new(), BTreeSet::new(), 0);
            for (key, value) in changes {
                let key = format!("LINKDEF_{key}");
                entries.put(&key, value);
                match value {
                    Some(Ok(value)) => drop(values.insert(key.clone(), value)),
                    Some(Err(())) => unreadable += 1,
                    None => drop(values.remove(&key)),
                }
                keys.insert(key);
                prop_assert_eq!(entries.keys(), keys.len());
            }
            prop_assert_eq!(entries.unreadable, unreadable);
            let values: Vec<u32> = values.into_values().collect();
            prop_assert_eq!(entries.into_values().0, values);
        }
    }
}
