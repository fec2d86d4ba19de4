//! Promises that hold for every input. Each module has a `check`, which panics
//! where an input breaks its promise, and `seeds`, inputs that get far.
//!
//! `tests/suite/properties.rs` tries them in every `cargo test`; `make fuzz`
//! (fuzz/targets) tries them for longer, led by the code that each input
//! reaches.

pub mod host_data;
pub mod invocation;
pub mod nesting;
pub mod operations;
pub mod replies;
pub mod settings;
pub mod store;
pub mod subjects;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use nkeys::{KeyPair, KeyPairType};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

thread_local! {
    static SECRET: RefCell<String> = RefCell::new(String::from("sekret"));
}

/// The mark of a text that no message may show.
pub fn secret() -> String {
    SECRET.with_borrow(String::clone)
}

/// Takes another mark, which this input cannot hold: a fuzzer would find out a
/// fixed one.
pub fn new_secret(input: &[u8]) {
    let hash = HEXLOWER.encode(&Sha256::digest(input)[..8]);
    SECRET.set(format!("sekret-{hash}"));
}

/// A promise.
pub struct Promise {
    /// The name of its module, of its fuzz target, and of the folders with its
    /// inputs.
    pub name: &'static str,
    /// The check, which panics where the promise is broken.
    pub check: fn(&[u8]),
    /// Inputs that get far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

macro_rules! promises {
    ($($name:ident),*) => {
        [$(Promise { name: stringify!($name), check: $name::check, seeds: $name::seeds }),*]
    };
}

/// Every promise.
pub const ALL: [Promise; 8] = promises!(
    host_data, invocation, nesting, operations, replies, settings, store, subjects
);

/// Returns the texts in an input. The separator between them is in no text, so
/// that each text may be any.
pub fn texts(input: &[u8]) -> Vec<String> {
    input
        .split(|byte| *byte == 0xff)
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// Returns an input of these texts.
pub fn of_texts(texts: &[&str]) -> Vec<u8> {
    let texts: Vec<_> = texts.iter().map(|text| text.as_bytes()).collect();
    texts.join(&0xff)
}

/// Returns a key that is always the same.
pub fn key(kind: KeyPairType) -> KeyPair {
    KeyPair::new_from_raw(kind, [7; 32]).unwrap()
}

/// Returns the JSON with every text marked as a secret.
pub fn marked(value: Value) -> Value {
    match value {
        Value::String(text) => (secret() + &text).into(),
        Value::Array(items) => items.into_iter().map(marked).collect(),
        Value::Object(members) => {
            let members = members.into_iter();
            Value::Object(members.map(|(key, value)| (key, marked(value))).collect())
        }
        other => other,
    }
}

/// Asserts that a message is short and shows no secret.
pub fn check_message(message: &str, most: usize) {
    assert!(!message.contains(&secret()), "a secret: {message}");
    let length = message.chars().count();
    assert!(length <= most, "{length} characters: {message}");
}

/// Returns every body of real hosts and clients.
pub fn fixtures() -> Vec<Vec<u8>> {
    let mut bodies: Vec<_> = files(&root().join("tests/fixtures"))
        .into_iter()
        .filter(|path| !path.starts_with(root().join("tests/fixtures/contract")))
        .filter(|path| !path.starts_with(root().join("tests/fixtures/crashes")))
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    bodies.sort();
    bodies.dedup();
    bodies
}

/// Returns every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

/// Returns the folder of the repository.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    match is_fuzzed() {
        true => here.parent().unwrap(),
        false => here,
    }
}

/// Returns whether this is a fuzz target.
pub fn is_fuzzed() -> bool {
    env!("CARGO_PKG_NAME").ends_with("fuzz")
}
