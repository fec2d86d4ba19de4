//! What runs on a host, told or not.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Generation;

pub type Annotations = BTreeMap<String, String>;

/// One running instance; on hosts that keep a maximum, one set of annotations.
#[derive(Clone)]
pub struct Instance {
    pub id: String,
    pub annotations: Annotations,
    /// What was sent as annotations where that was no map of texts (T44).
    pub odd: Option<Value>,
    /// Revision of the code that really runs.
    pub code: i64,
    /// The reference that it is listed under, whatever runs.
    pub image_ref: String,
    /// How many it stands for.
    pub max: u64,
}

impl Instance {
    /// Its annotations as a host of this generation shows them. Old ones forget
    /// what they were given, only a test knows.
    pub fn shown(&self, generation: Generation) -> Value {
        match (&self.odd, generation.keeps_annotations()) {
            (_, false) => json!({}),
            (Some(odd), true) => odd.clone(),
            (None, true) => json!(self.annotations),
        }
    }

    /// Whether OTP hosts fail when they compare its annotations (T44).
    pub fn is_poisoned(&self) -> bool {
        self.odd.as_ref().is_some_and(|odd| !odd.is_object())
    }
}

/// Instances of an actor that are alike, as a test sees them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    pub annotations: Annotations,
    pub count: u64,
    /// Of the code that runs.
    pub revision: i64,
    /// Whether calls reach it.
    pub heard: bool,
    /// Whether the host knows of it.
    pub listed: bool,
}

/// Annotations in a request: absent, null and empty are the same.
pub fn annotations(body: &Value) -> Annotations {
    let members = body["annotations"].as_object().into_iter().flatten();
    members
        .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Whether Rust hosts can read the annotations of a request.
pub fn are_annotations(body: &Value) -> bool {
    match &body["annotations"] {
        Value::Null => true,
        Value::Object(pairs) => pairs.values().all(Value::is_string),
        _ => false,
    }
}

/// Whether `all` holds every pair of `some`.
pub fn contains(all: &Annotations, some: &Annotations) -> bool {
    some.iter()
        .all(|(name, value)| all.get(name) == Some(value))
}
