//! Settings that list servers.

use serde_json::Value;

use crate::nats::Servers;

/// Reads a list of texts, or one text with commas.
///
/// # Errors
/// Every mistake.
pub(super) fn servers(value: &Value) -> Result<Servers, Vec<String>> {
    match value {
        Value::String(text) => Servers::parse(text.split(',')),
        Value::Array(entries) => {
            let entries: Option<Vec<&str>> = entries.iter().map(Value::as_str).collect();
            let entries = entries.ok_or_else(|| vec!["each entry must be text".to_owned()])?;
            Servers::parse(entries)
        }
        _ => Err(vec!["it must be a list of texts, or one text".to_owned()]),
    }
}
