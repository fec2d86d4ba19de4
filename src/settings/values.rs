//! Values of settings as JSON has them.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Value;

use crate::name::ComponentId;
use crate::nats::{AccessError, Servers, TlsFileError};

/// Why a value cannot be that of its setting. Does not quote it: it may be a secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ValueError {
    #[error("it must be text")]
    NotText,
    #[error("it must be text, or a list of texts")]
    NotWords,
    /// The words, in a list.
    #[error("it must be {0}")]
    NotOneOf(String),
    #[error("it must be a whole number from {least} to {most}")]
    NotInRange { least: u64, most: u64 },
    #[error("it must be lattice ids, in which * may stand")]
    NotLattices,
    #[error("it must be names of operations, read, write, credentials or all")]
    NotOperations,
    #[error("it must be the path of a file")]
    NotPath,
    #[error("it must be the path of a file, not what is in it")]
    ContentOfFile,
    #[error(
        "it must be an object of ids, each [A-Za-z0-9_-] and 1 to 128 characters long, by image \
             references without tag"
    )]
    NotIds,
    #[error("it is not the seed of an xkey (SX…, made by `nk -gen curve`)")]
    NotXkey,
    #[error(transparent)]
    File(#[from] TlsFileError),
    #[error(transparent)]
    Urls(#[from] AccessError),
}

/// Longest path.
const MAX_PATH: usize = 1024;

/// Reads ids by repository.
pub(super) fn ids(value: &Value) -> Result<HashMap<String, ComponentId>, ValueError> {
    let members = value.as_object().ok_or(ValueError::NotIds)?;
    let id = |(repository, id): (&String, &Value)| {
        let id = ComponentId::parse(id.as_str()?).ok()?;
        let is_named = !repository.trim().is_empty();
        is_named.then(|| (repository.clone(), id))
    };
    members
        .iter()
        .map(id)
        .collect::<Option<_>>()
        .ok_or(ValueError::NotIds)
}

pub(super) fn text(value: &Value) -> Result<&str, ValueError> {
    value.as_str().ok_or(ValueError::NotText)
}

/// Reads words: a text with commas, or a list of texts.
pub(super) fn words(value: &Value) -> Result<Vec<&str>, ValueError> {
    let words = match value {
        Value::String(text) => Some(text.split(',').map(str::trim).collect()),
        Value::Array(words) => {
            let words = words.iter().map(|word| word.as_str().map(str::trim));
            words.collect()
        }
        _ => None,
    };
    words.ok_or(ValueError::NotWords)
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
pub(super) fn path(value: &Value) -> Result<PathBuf, ValueError> {
    let Some(path) = value.as_str().filter(|path| !path.trim().is_empty()) else {
        return Err(ValueError::NotPath);
    };
    // Messages show paths, and what is in such a file may be a key.
    if path.len() > MAX_PATH || path.contains(char::is_control) || path.contains("-----") {
        return Err(ValueError::ContentOfFile);
    }
    Ok(path.into())
}
