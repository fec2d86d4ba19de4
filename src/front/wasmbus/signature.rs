//! Checks signatures of the cluster's issuers, several of them together: a batch of eight
//! costs little more than half of what eight cost one by one (`make bench` measures it).

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey, verify_batch};
use tracing::{debug, warn};

use crate::lock::Lock;

/// How long after an invalid signature in somebody's name each signature in this name is
/// checked by itself, so that whoever sends invalid ones does not make all of them be
/// checked twice.
const ONE_BY_ONE_FOR: Duration = Duration::from_secs(1);
/// Most names whose signatures are checked by themselves. With more of them, all are.
const MOST_SUSPECTS: usize = 64;

/// The cluster's issuers, which may sign: their public keys, parsed once.
pub struct Issuers {
    keys: HashMap<String, VerifyingKey>,
    hasher: RandomState,
    /// The names of which a signature was invalid lately, as hashes, and until when
    /// signatures in this name are checked by themselves.
    suspects: Lock<HashMap<u64, Instant>>,
}

/// A text with its signature, and the key of the issuer that is said to have signed it.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// The text.
    pub text: &'a [u8],
    /// The signature.
    pub signature: Signature,
    /// The public key of the issuer.
    pub key: VerifyingKey,
    /// In whose name it is, without proof.
    pub name: &'a str,
}

impl Issuers {
    /// Parses the public nkeys of issuers. What is no public key is left out, and logged.
    pub fn new(issuers: &[String]) -> Self {
        let known = issuers.iter().filter_map(|issuer| {
            let key = key(issuer);
            if key.is_none() {
                warn!(issuer, "a cluster issuer is no public key; it is left out");
            }
            Some((issuer.clone(), key?))
        });
        Self {
            keys: known.collect(),
            hasher: RandomState::new(),
            suspects: Lock::default(),
        }
    }

    /// Returns the key of an issuer, if the cluster has it.
    pub fn key(&self, issuer: &str) -> Option<VerifyingKey> {
        self.keys.get(issuer).copied()
    }

    /// Returns for each of these signatures, in their order, whether it is valid.
    pub fn are_valid(&self, signed: &[Signed<'_>]) -> Vec<bool> {
        let is_valid = |one: &Signed<'_>| one.key.verify(one.text, &one.signature).is_ok();
        let mut valid = vec![true; signed.len()];
        let mut suspects = Vec::new();
        let mut check = |at: usize| {
            valid[at] = is_valid(&signed[at]);
            if !valid[at] {
                suspects.push(signed[at].name);
            }
        };
        if let [_] = signed {
            check(0);
        } else {
            let suspected = self.suspected(signed);
            let is_alone = |at: &usize| suspected.as_ref().is_some_and(|those| those[*at]);
            let (alone, together): (Vec<_>, Vec<_>) = (0..signed.len()).partition(is_alone);
            alone.into_iter().for_each(&mut check);
            let batch = together.iter().map(|at| signed[*at]);
            if together.len() < 2 || !all_are_valid(batch) {
                together.into_iter().for_each(&mut check);
            }
        }
        if !suspects.is_empty() {
            self.suspect(&suspects);
        }
        valid
    }

    /// Returns which of these signatures are to be checked by themselves, if any are.
    fn suspected(&self, signed: &[Signed<'_>]) -> Option<Vec<bool>> {
        let now = Instant::now();
        let mut suspects = self.suspects.lock();
        suspects.retain(|_, until| *until > now);
        if suspects.is_empty() {
            return None;
        }
        let are_all = suspects.len() >= MOST_SUSPECTS;
        let is_suspect =
            |one: &Signed<'_>| are_all || suspects.contains_key(&self.hasher.hash_one(one.name));
        Some(signed.iter().map(is_suspect).collect())
    }

    /// Has signatures in these names be checked by themselves for a while.
    fn suspect(&self, names: &[&str]) {
        let until = Instant::now() + ONE_BY_ONE_FOR;
        let mut suspects = self.suspects.lock();
        for name in names {
            let suspect = self.hasher.hash_one(name);
            if suspects.len() < MOST_SUSPECTS || suspects.contains_key(&suspect) {
                suspects.insert(suspect, until);
            }
        }
        debug!(
            names = suspects.len(),
            "an invalid signature; those in the same name are checked one by one for a while"
        );
    }
}

/// Whether all of these signatures are valid. One that is invalid passes with a chance of one
/// in 2^128. Only an issuer can make odd signatures that are valid in a batch and not by
/// themselves, and it can sign anything.
fn all_are_valid<'a>(signed: impl Iterator<Item = Signed<'a>> + Clone) -> bool {
    let texts: Vec<&[u8]> = signed.clone().map(|one| one.text).collect();
    let signatures: Vec<Signature> = signed.clone().map(|one| one.signature).collect();
    let keys: Vec<VerifyingKey> = signed.map(|one| one.key).collect();
    verify_batch(&texts, &signatures, &keys).is_ok()
}

/// Parses a public nkey.
fn key(issuer: &str) -> Option<VerifyingKey> {
    let (_, bytes) = nkeys::from_public_key(issuer).ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::{KeyPair, KeyPairType};
    use proptest::prelude::*;

    /// Makes texts that two issuers signed, and both issuers.
    fn signed(count: usize) -> (Issuers, Vec<(Vec<u8>, Signature, VerifyingKey)>) {
        let pairs = [(); 2].map(|()| KeyPair::new(KeyPairType::Cluster));
        let names = pairs.each_ref().map(KeyPair::public_key);
        let issuers = Issuers::new(&names);
        let one = |number: usize| {
            let text = format!("text {number}").into_bytes();
            let pair = &pairs[number % 2];
            let signature = Signature::from_slice(&pair.sign(&text).unwrap()).unwrap();
            (text, signature, issuers.key(&pair.public_key()).unwrap())
        };
        let all = (0..count).map(one).collect();
        (issuers, all)
    }

    fn hold(issuers: &Issuers, all: &[(Vec<u8>, Signature, VerifyingKey)]) -> Vec<bool> {
        let signed = all.iter().map(|(text, signature, key)| Signed {
            text,
            signature: *signature,
            key: *key,
            name: if text.ends_with(b"3") { "M3" } else { "M" },
        });
        issuers.are_valid(&signed.collect::<Vec<_>>())
    }

    #[test]
    fn valid_signatures_are_valid_in_a_batch_of_any_size() {
        for count in [0, 1, 2, 7, 64] {
            let (issuers, all) = signed(count);
            assert_eq!(hold(&issuers, &all), vec![true; count], "{count}");
            assert!(issuers.suspects.lock().is_empty());
        }
    }

    #[test]
    fn an_invalid_signature_has_only_those_in_its_name_be_checked_one_by_one() {
        let (issuers, mut all) = signed(6);
        all[3].1 = all[1].1;
        assert_eq!(hold(&issuers, &all), [true, true, true, false, true, true]);
        let suspected = |name| {
            let (text, signature, key) = &all[0];
            let signed = Signed {
                text,
                signature: *signature,
                key: *key,
                name,
            };
            issuers.suspected(&[signed]).unwrap()[0]
        };
        assert!(suspected("M3") && !suspected("M"));
        // Where there are many names, nobody pays for a batch that fails.
        let names: Vec<String> = (0..64).map(|name| name.to_string()).collect();
        issuers.suspect(&names.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(suspected("M"));
        assert_eq!(issuers.suspects.lock().len(), MOST_SUSPECTS);
        // It passes.
        let past = Instant::now() - ONE_BY_ONE_FOR;
        let mut suspects = issuers.suspects.lock();
        suspects.values_mut().for_each(|until| *until = past);
        drop(suspects);
        assert_eq!(hold(&issuers, &all[..3]), [true; 3]);
        assert!(issuers.suspects.lock().is_empty());
    }

    #[test]
    fn an_issuer_that_is_no_key_is_left_out() {
        let good = KeyPair::new(KeyPairType::Cluster).public_key();
        let bad = ["", "C", "not a key", &good[..55], &good.to_lowercase()];
        let mut all: Vec<String> = bad.map(str::to_owned).into();
        all.push(good.clone());
        let issuers = Issuers::new(&all);
        assert!(issuers.key(&good).is_some());
        assert!(bad.iter().all(|bad| issuers.key(bad).is_none()));
    }

    proptest! {
        /// Whatever is forged, in a batch or by itself.
        #[test]
        fn exactly_the_forged_signatures_of_a_batch_are_invalid(
            forged in proptest::collection::vec(any::<Option<u16>>(), 1..20),
            batches in any::<bool>(),
        ) {
            let (issuers, mut all) = signed(forged.len());
            if !batches {
                issuers.suspect(&["M"]);
            }
            for (one, forged) in all.iter_mut().zip(&forged) {
                let Some(bit) = forged else { continue };
                let bit = usize::from(*bit) % 512;
                let mut bytes = one.1.to_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                one.1 = Signature::from_bytes(&bytes);
            }
            let expected: Vec<bool> = forged.iter().map(Option::is_none).collect();
            prop_assert_eq!(hold(&issuers, &all), expected);
        }

        /// A signature under another key or another text of the same batch.
        #[test]
        fn signatures_that_changed_places_are_invalid(count in 2_usize..12, at in any::<usize>()) {
            let (issuers, mut all) = signed(count);
            let (one, two) = (at % count, (at + 1) % count);
            let first = all[one].1;
            all[one].1 = all[two].1;
            all[two].1 = first;
            let held = hold(&issuers, &all);
            for (number, held) in held.into_iter().enumerate() {
                prop_assert_eq!(held, number != one && number != two);
            }
        }
    }
}
