//! What runs on a host, whether the host lists it or not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Generation;

pub type Annotations = BTreeMap<String, String>;

/// A running instance; on hosts that keep a maximum, an annotation set.
#[derive(Clone)]
pub struct Instance {
    pub id: String,
    pub annotations: Annotations,
    /// The annotations as they were sent, where they were no map of texts
    /// (docs/hosts.md#odd-annotations-poison-an-actor).
    pub odd: Option<Value>,
    /// The revision of the code that really runs.
    pub code: i64,
    /// The reference that the host lists, whatever runs.
    pub image_ref: String,
    /// How many instances it stands for.
    pub max: u64,
}

impl Instance {
    /// Returns its annotations as a host of this generation shows them. Old
    /// hosts forget them; only a test sees them.
    pub fn shown(&self, generation: Generation) -> Value {
        match (&self.odd, generation.keeps_annotations()) {
            (_, false) => json!({}),
            (Some(odd), true) => odd.clone(),
            (None, true) => json!(self.annotations),
        }
    }

    /// Returns whether OTP hosts fail when they compare its annotations
    /// (docs/hosts.md#odd-annotations-poison-an-actor).
    pub fn is_poisoned(&self) -> bool {
        self.odd.as_ref().is_some_and(|odd| !odd.is_object())
    }
}

/// Equal instances of an actor, as a test sees them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    pub annotations: Annotations,
    pub count: u64,
    /// The revision of the code that runs.
    pub revision: i64,
    /// Whether calls reach them.
    pub heard: bool,
    /// Whether the host lists them.
    pub listed: bool,
}

/// Reads the annotations of a request. Absent, null and empty are the same.
pub fn annotations(body: &Value) -> Annotations {
    let members = body["annotations"].as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Returns whether Rust hosts can read the annotations of a request.
pub fn are_annotations(body: &Value) -> bool {
    match &body["annotations"] {
        Value::Null => true,
        Value::Object(pairs) => pairs.values().all(Value::is_string),
        _ => false,
    }
}

/// Returns whether `all` holds every pair of `some`.
pub fn contains(all: &Annotations, some: &Annotations) -> bool {
    some.iter()
        .all(|(name, value)| all.get(name) == Some(value))
}
