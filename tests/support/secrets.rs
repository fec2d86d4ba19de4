//! Secrets that tests plant and then look for where they must not be.

use std::sync::{Mutex, PoisonError};

static PLANTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Remembers a secret, and returns it.
pub fn plant(secret: impl Into<String>) -> String {
    let secret = secret.into();
    assert!(secret.len() >= 6, "too short to be told from other text");
    let mut planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !planted.contains(&secret) {
        planted.push(secret.clone());
    }
    secret
}

/// Returns the first planted secret that occurs in `text`.
pub fn found_in(text: &str) -> Option<String> {
    let planted = PLANTED.lock().unwrap_or_else(PoisonError::into_inner);
    planted
        .iter()
        .find(|secret| text.contains(secret.as_str()))
        .cloned()
}
