//! What was learned from inventories, events and replies: of which actor an image
//! reference is, which updates an inventory does not show, and which revisions were found
//! to be right.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::lattice::model::{Inventory, Running, listed};
use crate::lock::Lock;
use crate::name::{ActorId, HostId, MAX_TEXT, is_file};

/// Most references that are remembered for a lattice. Then all are forgotten.
pub const MAX_REFERENCES: usize = 10_000;
/// Most bytes of them.
pub const MAX_REFERENCE_BYTES: usize = 4 * 1024 * 1024;
/// What a reference takes beside its text: the key of the actor.
const REFERENCE: usize = 128;
/// How long a reference counts as that of the actor with which it was last seen: tags
/// move, and files are built anew.
const KEY_COUNTS_FOR: Duration = Duration::from_secs(600);
/// How long a revision that was found to be right is not checked again.
const RIGHT_FOR: Duration = Duration::from_secs(60);

/// What was learned of a lattice.
#[derive(Default)]
pub struct Learned(Lock<Facts>);

#[derive(Default)]
struct Facts {
    /// Key of the actor, by reference.
    keys: HashMap<String, (ActorId, Instant)>,
    /// How many bytes these take.
    key_bytes: usize,
    /// Updates, by host and key of the actor.
    updates: HashMap<(HostId, String), Update>,
    /// What was found to be right, by host and key of the actor.
    right: HashMap<(HostId, String), (String, i32, Instant)>,
    /// When the credentials were last refused to read references in the bucket.
    bucket_refused: Option<Instant>,
}

/// An update after which an OTP host goes on listing the old reference.
#[derive(Clone)]
struct Update {
    listed: String,
    runs: String,
}

/// Returns under which name a reference is remembered: a file is another one on each host.
fn name(host: &HostId, image_ref: &str) -> String {
    match is_file(image_ref) {
        true => format!("{host} {image_ref}"),
        false => image_ref.to_owned(),
    }
}

impl Learned {
    /// Notes that a reference was seen to be of an actor.
    pub fn learn(&self, host: &HostId, image_ref: &str, key: &str) {
        let known = &mut *self.0.lock();
        let name = name(host, image_ref);
        if let Some((known, seen)) = known.keys.get_mut(&name)
            && known.as_str() == key
        {
            *seen = Instant::now();
            return;
        }
        let Ok(key) = ActorId::parse(key) else { return };
        // No caller can name a longer one.
        if image_ref.is_empty() || image_ref.len() > MAX_TEXT {
            return;
        }
        let bytes = name.len() + REFERENCE;
        if known.keys.len() >= MAX_REFERENCES || known.key_bytes + bytes > MAX_REFERENCE_BYTES {
            known.keys.clear();
            known.key_bytes = 0;
        }
        if known.keys.insert(name, (key, Instant::now())).is_none() {
            known.key_bytes += bytes;
        }
    }

    /// Learns from what runs on a host.
    pub fn learn_all(&self, host: &HostId, inventory: &Inventory) {
        // The instances of an actor have few references.
        let mut last = None;
        for entry in listed(inventory) {
            if last != Some((entry.key, entry.image_ref)) {
                self.learn(host, entry.image_ref, entry.key);
                last = Some((entry.key, entry.image_ref));
            }
        }
    }

    /// Returns the key of the actor that a reference is of, where it was seen lately.
    pub fn key(&self, host: &HostId, image_ref: &str) -> Option<ActorId> {
        let known = self.0.lock();
        let (key, seen) = known.keys.get(&name(host, image_ref))?;
        (seen.elapsed() < KEY_COUNTS_FOR).then(|| key.clone())
    }

    /// Notes that an actor was updated, and that its host goes on listing the reference
    /// from before.
    pub fn updated(&self, host: &HostId, key: &str, listed: &str, runs: &str) {
        let known = &mut *self.0.lock();
        if listed.len() > MAX_TEXT {
            // A host may list anything. This was not started from here.
            return;
        }
        if listed == runs {
            // The update goes back to what the host lists.
            known.updates.remove(&(host.clone(), key.to_owned()));
            return;
        }
        if known.updates.len() >= MAX_REFERENCES {
            known.updates.clear();
        }
        let update = Update {
            listed: listed.to_owned(),
            runs: runs.to_owned(),
        };
        known.updates.insert((host.clone(), key.to_owned()), update);
    }

    /// Replaces the references that the host lists by those that run.
    pub fn correct_references(&self, host: &HostId, key: &str, running: &mut Running) {
        let known = &mut *self.0.lock();
        let place = (host.clone(), key.to_owned());
        let Some(update) = known.updates.get(&place) else {
            return;
        };
        let mut groups = running.groups.iter();
        if running.groups.is_empty() || groups.any(|group| group.image_ref != update.listed) {
            // The actor ended, and something else was started.
            known.updates.remove(&place);
            return;
        }
        for group in &mut running.groups {
            group.image_ref = update.runs.clone();
        }
        running.listed = Some(update.listed.clone());
    }

    /// Tells whether a reference is the old or the new one of an update on a host.
    pub fn is_of_update(&self, host: &HostId, image_ref: &str) -> bool {
        let known = self.0.lock();
        let mut of_host = known.updates.iter().filter(|((of, _), _)| of == host);
        of_host.any(|(_, update)| update.listed == image_ref || update.runs == image_ref)
    }

    /// Notes that what is listed of an actor is what runs.
    pub fn found_right(&self, host: &HostId, key: &str, image_ref: &str, revision: i32) {
        let known = &mut *self.0.lock();
        if known.right.len() >= MAX_REFERENCES {
            known.right.clear();
        }
        let what = (image_ref.to_owned(), revision, Instant::now());
        known.right.insert((host.clone(), key.to_owned()), what);
    }

    /// Tells whether it was so a moment ago.
    pub fn was_right(&self, host: &HostId, key: &str, image_ref: &str, revision: i32) -> bool {
        let known = self.0.lock();
        let right = known.right.get(&(host.clone(), key.to_owned()));
        right.is_some_and(|(of, then, since)| {
            of == image_ref && *then == revision && since.elapsed() < RIGHT_FOR
        })
    }

    /// Notes that these credentials may not read references in the bucket.
    pub fn bucket_refused(&self) {
        self.0.lock().bucket_refused = Some(Instant::now());
    }

    /// Tells whether that was so a moment ago.
    pub fn is_bucket_refused(&self) -> bool {
        let refused = self.0.lock().bucket_refused;
        refused.is_some_and(|since| since.elapsed() < RIGHT_FOR)
    }

    /// Forgets the updates of a host that stopped or started again: it lists what runs.
    pub fn forget(&self, host: &HostId) {
        let known = &mut *self.0.lock();
        known.updates.retain(|(of, _), _| of != host);
        known.right.retain(|(of, _), _| of != host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lattice::model::Group;
    use nkeys::{KeyPair, KeyPairType};

    fn host() -> HostId {
        HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
    }

    fn running(image_ref: &str) -> Running {
        Running {
            groups: vec![Group {
                annotations: Default::default(),
                count: 1,
                image_ref: image_ref.into(),
            }],
            ..Running::default()
        }
    }

    #[test]
    fn an_update_counts_as_long_as_the_host_lists_what_it_did_then() {
        let (learned, host) = (Learned::default(), host());
        learned.updated(&host, "M", "r:1", "r:2");
        assert!(learned.is_of_update(&host, "r:1") && learned.is_of_update(&host, "r:2"));
        let mut shown = running("r:1");
        learned.correct_references(&host, "M", &mut shown);
        assert_eq!(shown.groups[0].image_ref, "r:2");
        assert_eq!(shown.listed.as_deref(), Some("r:1"));
        learned.updated(&host, "M", "r:1", "r:1");
        assert!(!learned.is_of_update(&host, "r:1"));
        learned.updated(&host, "M", "r:1", "r:2");
        let mut shown = running("r:3");
        learned.correct_references(&host, "M", &mut shown);
        assert_eq!(shown, running("r:3"));
        let mut shown = running("r:1");
        learned.correct_references(&host, "M", &mut shown);
        assert_eq!(shown, running("r:1"));
    }

    #[test]
    fn the_references_that_are_remembered_take_a_few_mebibytes() {
        let (learned, host) = (Learned::default(), host());
        let key = KeyPair::new(KeyPairType::Module).public_key();
        for number in 0..MAX_REFERENCES {
            learned.learn(&host, &format!("{number:0>4096}"), &key);
        }
        let known = learned.0.lock();
        let bytes: usize = known.keys.keys().map(|name| name.len() + REFERENCE).sum();
        assert_eq!(bytes, known.key_bytes);
        assert!(bytes <= MAX_REFERENCE_BYTES && !known.keys.is_empty());
    }

    #[test]
    fn a_file_is_another_one_on_each_host() {
        let (learned, one, two) = (Learned::default(), host(), host());
        let key = KeyPair::new(KeyPairType::Module).public_key();
        learned.learn(&one, "file:///a.wasm", &key);
        learned.learn(&one, "r:1", &key);
        let known = |host, image_ref| {
            let known = learned.key(host, image_ref);
            known.map(|known| known.to_string())
        };
        assert_eq!(known(&one, "file:///a.wasm"), Some(key.clone()));
        assert_eq!(known(&two, "file:///a.wasm"), None);
        assert_eq!(known(&two, "r:1").as_ref(), Some(&key));
        // Nor is a text that is too long.
        let long = "r".repeat(MAX_TEXT + 1);
        learned.learn(&one, &long, &key);
        assert_eq!(known(&one, &long), None);
        // A text that is no key is not remembered.
        learned.learn(&one, "r:2", "M");
        assert_eq!(known(&one, "r:2"), None);
    }
}
