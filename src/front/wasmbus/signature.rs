//! Signatures of the cluster's issuers, checked together where several come at
//! once: a batch of eight costs little more than half of what eight cost one by
//! one (`make bench` measures it).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey, verify_batch};
use tracing::{debug, warn};

/// How long after a batch with a signature that does not hold each is checked by
/// itself: who sends such signatures makes nobody pay for batches in vain.
const ONE_BY_ONE_FOR: Duration = Duration::from_secs(1);

/// Who may sign: public keys of the cluster, parsed once.
pub struct Issuers {
    keys: HashMap<String, VerifyingKey>,
    /// Until when no batches are tried.
    one_by_one_until: Mutex<Option<Instant>>,
}

/// A text, its signature, and the key that is said to have made it.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    /// What is signed.
    pub text: &'a [u8],
    /// The signature.
    pub signature: Signature,
    /// Of the issuer.
    pub key: VerifyingKey,
}

impl Issuers {
    /// Issuers by their public nkeys; what is none is left out, and logged.
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
            one_by_one_until: Mutex::default(),
        }
    }

    /// The key of an issuer, if it is one.
    pub fn key(&self, issuer: &str) -> Option<VerifyingKey> {
        self.keys.get(issuer).copied()
    }

    /// Which of these signatures hold, in their order.
    pub fn hold(&self, signed: &[Signed<'_>]) -> Vec<bool> {
        if signed.len() > 1 && self.batches_pay() {
            if all_hold(signed) {
                return vec![true; signed.len()];
            }
            debug!("a signature of a batch does not hold; for a while each is checked by itself");
            *self.lock() = Some(Instant::now() + ONE_BY_ONE_FOR);
        }
        let holds = |one: &Signed<'_>| one.key.verify(one.text, &one.signature).is_ok();
        signed.iter().map(holds).collect()
    }

    fn batches_pay(&self) -> bool {
        self.lock().is_none_or(|until| until < Instant::now())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        let until = self.one_by_one_until.lock();
        until.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether all of them hold. To whoever has no key of an issuer a chance of one in
/// 2^128 is left that one does not; an issuer can make odd signatures that hold
/// here and not by themselves, but then it can sign anything.
fn all_hold(signed: &[Signed<'_>]) -> bool {
    let texts: Vec<&[u8]> = signed.iter().map(|one| one.text).collect();
    let signatures: Vec<Signature> = signed.iter().map(|one| one.signature).collect();
    let keys: Vec<VerifyingKey> = signed.iter().map(|one| one.key).collect();
    verify_batch(&texts, &signatures, &keys).is_ok()
}

/// The key in a public nkey.
fn key(issuer: &str) -> Option<VerifyingKey> {
    let (_, bytes) = nkeys::from_public_key(issuer).ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::{KeyPair, KeyPairType};
    use proptest::prelude::*;

    /// Texts signed by two issuers, and both issuers.
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
        });
        issuers.hold(&signed.collect::<Vec<_>>())
    }

    #[test]
    fn signatures_that_hold_do_so_in_a_batch_of_any_size() {
        for count in [0, 1, 2, 7, 64] {
            let (issuers, all) = signed(count);
            assert_eq!(hold(&issuers, &all), vec![true; count], "{count}");
            assert!(issuers.batches_pay());
        }
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
        fn in_a_batch_exactly_the_forged_ones_do_not_hold(
            forged in proptest::collection::vec(any::<Option<u16>>(), 1..20),
            batches in any::<bool>(),
        ) {
            let (issuers, mut all) = signed(forged.len());
            if !batches {
                *issuers.lock() = Some(Instant::now() + ONE_BY_ONE_FOR);
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
        fn signatures_that_changed_places_do_not_hold(count in 2_usize..12, at in any::<usize>()) {
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
