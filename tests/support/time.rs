//! How long tests wait, and how long what they watch may take.
//!
//! On a slow or busy machine, `TEST_TIME_FACTOR=3 cargo test …` makes each of
//! these limits three times as long. Lower bounds and the provider's own
//! settings stay as they are.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Timeout;

/// How long tests wait to see that something does not happen, before scaling.
pub const SHORTLY: Duration = Duration::from_millis(200);

static FACTOR: LazyLock<f64> = LazyLock::new(|| match std::env::var("TEST_TIME_FACTOR") {
    Ok(text) if !text.is_empty() => {
        let factor = text.parse().ok().filter(|factor| *factor >= 1.0);
        factor.unwrap_or_else(|| panic!("TEST_TIME_FACTOR={text} is no number from 1 on"))
    }
    _ => 1.0,
});

/// Returns the limit for this machine.
pub fn scaled(limit: Duration) -> Duration {
    limit.mul_f64(*FACTOR)
}

/// Waits for a future for the scaled limit at most.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    tokio::time::timeout(scaled(limit), future)
}

/// Asserts that something took less than the scaled limit.
#[track_caller]
pub fn assert_under(limit: Duration, took: Duration) {
    let limit = scaled(limit);
    assert!(took < limit, "it took {took:?} and may take {limit:?}");
}
