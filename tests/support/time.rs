//! How long tests wait, and how long what they look at may take.
//!
//! On a slow or busy machine `TEST_TIME_FACTOR=3 cargo test …` makes every such
//! limit three times as long. Times that a thing must take at least, and the
//! provider's own settings, stay as they are.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Timeout;

/// How long tests wait to see that something does not happen; to be scaled.
pub const SHORTLY: Duration = Duration::from_millis(200);

static FACTOR: LazyLock<f64> = LazyLock::new(|| match std::env::var("TEST_TIME_FACTOR") {
    Ok(text) if !text.is_empty() => {
        let factor = text.parse().ok().filter(|factor| *factor >= 1.0);
        factor.unwrap_or_else(|| panic!("TEST_TIME_FACTOR={text} is no number from 1 on"))
    }
    _ => 1.0,
});

/// Returns the limit as it is on this machine.
pub fn scaled(limit: Duration) -> Duration {
    limit.mul_f64(*FACTOR)
}

/// Waits for a future as long as the scaled limit says.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    tokio::time::timeout(scaled(limit), future)
}

/// Asserts that something took less than the scaled limit.
#[track_caller]
pub fn assert_under(limit: Duration, took: Duration) {
    let limit = scaled(limit);
    assert!(took < limit, "it took {took:?} and may take {limit:?}");
}
