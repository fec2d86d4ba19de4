//! Tells a removed key of a key-value bucket from one that has a value.

use async_nats::HeaderMap;

/// The header that clients write: `DEL` and `PURGE` remove; `PUT`, or no header, puts.
const OPERATION: &str = "KV-Operation";
/// The header that servers from 2.11 on write themselves, where the bucket is
/// configured so: `MaxAge` (the value expired), `Remove` (the message was deleted),
/// `Purge` (the subject was purged).
const MARKER: &str = "Nats-Marker-Reason";

/// Returns whether the headers of a message say that its key was removed.
pub fn is_removal(headers: Option<&HeaderMap>) -> bool {
    let Some(headers) = headers else { return false };
    match headers.get(OPERATION) {
        Some(operation) => operation.as_str() != "PUT",
        // Servers mark removals only, whatever the reason.
        None => headers.get(MARKER).is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, *value);
        }
        is_removal(Some(&headers))
    }

    #[test]
    fn a_value_is_no_removal() {
        assert!(!is_removal(None));
        assert!(!with(&[]));
        assert!(!with(&[("Nats-TTL", "1h"), ("Nats-Msg-Id", "x")]));
        assert!(!with(&[("KV-Operation", "PUT")]));
    }

    #[test]
    fn what_clients_mark_is_a_removal() {
        assert!(with(&[("KV-Operation", "DEL")]));
        assert!(with(&[("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")]));
    }

    #[test]
    fn what_servers_mark_is_a_removal() {
        for reason in ["MaxAge", "Remove", "Purge"] {
            let marker = [("Nats-Marker-Reason", reason)];
            assert!(with(&marker), "{reason}");
            let as_written = [marker[0], ("Nats-Rollup", "sub"), ("Nats-TTL", "5m0s")];
            assert!(with(&as_written), "{reason}");
        }
    }
}
