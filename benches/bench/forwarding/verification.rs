//! The cost of verifying a signature with the library in use, alone and in a
//! batch.

use std::hint::black_box;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey, verify_batch};
use nix::time::{ClockId, clock_gettime};
use nkeys::{KeyPair, KeyPairType};

use crate::accounting::micros_each;

/// The number of signatures in a batch.
pub const TOGETHER: usize = 32;
const TIMES: usize = 2000;

/// Returns the microseconds of CPU time for one alone and for each of a batch.
pub fn measure() -> (f64, f64) {
    let key = KeyPair::new(KeyPairType::Cluster);
    // As long as the signed part of an invocation.
    let text = vec![7; 700];
    let signature = key.sign(&text).unwrap();
    let alone = each(TIMES, || key.verify(black_box(&text), &signature).unwrap());
    let (_, raw) = nkeys::from_public_key(&key.public_key()).unwrap();
    let texts = [text.as_slice(); TOGETHER];
    let signatures = [Signature::from_slice(&signature).unwrap(); TOGETHER];
    let keys = [VerifyingKey::from_bytes(&raw).unwrap(); TOGETHER];
    let batches = TIMES / TOGETHER;
    let together = each(batches, || {
        verify_batch(black_box(&texts), &signatures, &keys).unwrap();
    });
    (alone, together / TOGETHER as f64)
}

/// Returns this thread's CPU time in microseconds.
fn each(times: usize, mut work: impl FnMut()) -> f64 {
    let cpu = || Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap());
    let before = cpu();
    for _ in 0..times {
        work();
    }
    micros_each(cpu() - before, times)
}
