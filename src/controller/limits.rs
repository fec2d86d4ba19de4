//! Limits the size of the members of a request. They are far above what actors need, and keep
//! small what hosts must take and what the provider keeps.

use std::collections::HashMap;

use crate::error::Error;

/// Most entries of a map.
const MAX_ENTRIES: usize = 256;
/// Most bytes of annotations and of constraints, names and values together.
const MAX_LABEL_BYTES: usize = 64 * 1024;
/// Most bytes of the values of a link and of registry credentials.
const MAX_VALUE_BYTES: usize = 512 * 1024;
/// Most bytes of `natsUrl`, which is enough for some hundred servers.
pub(super) const MAX_URLS: usize = 16 * 1024;

/// Checks the annotations of a request and returns them, none where it has none.
///
/// # Errors
/// `Invalid`: too many, or too long.
pub(super) fn annotations(
    given: Option<&HashMap<String, String>>,
) -> Result<HashMap<String, String>, Error> {
    let Some(given) = given else {
        return Ok(HashMap::new());
    };
    labels("annotations", given)?;
    Ok(given.clone())
}

/// Checks annotations or constraints.
///
/// # Errors
/// `Invalid`: too many, or too long.
pub(super) fn labels(name: &str, map: &HashMap<String, String>) -> Result<(), Error> {
    let bytes = map.iter().map(|(key, value)| key.len() + value.len());
    entries(name, map.len(), bytes.sum(), MAX_LABEL_BYTES)
}

/// Checks values of a link or registry credentials, by the bytes of each entry.
///
/// # Errors
/// `Invalid`: too many, or too long.
pub(super) fn values(name: &str, sizes: impl ExactSizeIterator<Item = usize>) -> Result<(), Error> {
    entries(name, sizes.len(), sizes.sum(), MAX_VALUE_BYTES)
}

/// Checks one text.
///
/// # Errors
/// `Invalid`: too long.
pub(super) fn text(name: &str, value: Option<&str>, most: usize) -> Result<(), Error> {
    crate::name::at_most(name, value.map_or(0, str::len), most)
}

/// Checks a JWT or its seed. Some actors send a whole file with both in the place of one.
///
/// # Errors
/// `Invalid`: too long for `max_jwt_bytes`.
pub(super) fn jwt(name: &str, value: Option<&str>, most: usize) -> Result<(), Error> {
    let checked = text(name, value, most);
    checked.map_err(|error| Error::invalid(format!("{error} (max_jwt_bytes)")))
}

/// Checks how many entries a map has, and how many bytes.
fn entries(name: &str, count: usize, bytes: usize, most: usize) -> Result<(), Error> {
    if count > MAX_ENTRIES {
        return Err(Error::invalid(format!(
            "{name} of {count} entries: {MAX_ENTRIES} are allowed"
        )));
    }
    crate::name::at_most(name, bytes, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(count: usize, length: usize) -> HashMap<String, String> {
        let entries = (0..count).map(|n| (format!("{n:04}"), "x".repeat(length)));
        entries.collect()
    }

    #[test]
    fn maps_are_limited_in_number_and_bytes() {
        assert!(labels("annotations", &map(256, 0)).is_ok());
        let problem = labels("annotations", &map(257, 0)).unwrap_err().to_string();
        assert_eq!(problem, "annotations of 257 entries: 256 are allowed");
        assert!(labels("constraints", &map(1, 65_532)).is_ok());
        let problem = labels("constraints", &map(1, 65_533))
            .unwrap_err()
            .to_string();
        assert_eq!(problem, "constraints of 65537 bytes: 65536 are allowed");
        assert!(values("values", [500_000].into_iter()).is_ok());
        assert!(values("values", [500_000, 100_000].into_iter()).is_err());
        assert!(values("values", [0; 257].into_iter()).is_err());
        assert!(annotations(None).unwrap().is_empty());
    }
}
