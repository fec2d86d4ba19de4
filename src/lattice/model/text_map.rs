//! Text by text: annotations, labels, constraints, values of links.

use std::collections::HashMap;

/// Annotations, labels, constraints or values of a link.
pub type TextMap = HashMap<String, String>;

/// Tells whether `all` has every pair of `some`.
pub fn contains(all: &TextMap, some: &TextMap) -> bool {
    some.iter()
        .all(|(name, value)| all.get(name) == Some(value))
}
