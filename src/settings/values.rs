//! Values of settings as JSON has them.

use std::path::PathBuf;

use serde_json::Value;

use crate::nats::Servers;

/// Longest path.
const MAX_PATH: usize = 1024;

pub(super) fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "it must be text".to_owned())
}

/// Reads words: a text with commas, or a list of texts.
pub(super) fn words(value: &Value) -> Result<Vec<&str>, String> {
    let words = match value {
        Value::String(text) => Some(text.split(',').map(str::trim).collect()),
        Value::Array(words) => {
            let words = words.iter().map(|word| word.as_str().map(str::trim));
            words.collect()
        }
        _ => None,
    };
    words.ok_or_else(|| "it must be text, or a list of texts".to_owned())
}

/// Reads servers: a text with commas, or a list of texts.
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

/// Reads the path of a file.
pub(super) fn path(value: &Value) -> Result<PathBuf, String> {
    let Some(path) = value.as_str().filter(|path| !path.trim().is_empty()) else {
        return Err("it must be the path of a file".to_owned());
    };
    // Messages show paths, and what is in such a file may be a key.
    if path.len() > MAX_PATH || path.contains(char::is_control) || path.contains("-----") {
        return Err("it must be the path of a file, not what is in it".to_owned());
    }
    Ok(path.into())
}
