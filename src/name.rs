//! Names as types. A value of such a type has been validated: it can go into a NATS
//! subject as exactly one token, and a link name as one or several. It has no blanks,
//! wildcards, empty tokens or control characters, so that nothing has to check again.

use std::fmt;

use nkeys::KeyPairType;

use crate::error::{Error, quoted};

/// Longest lattice id, link name or domain. Hosts set no limit; a NATS stream
/// name (`KV_LATTICEDATA_{lattice}`) ends at 255.
const MAX_NAME_LENGTH: usize = 128;

/// Longest other text: image references, contract ids, names of registries. A `file://`
/// reference can have a path of this length.
pub const MAX_TEXT: usize = 4096;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Validates `text`.
            ///
            /// # Errors
            /// `Invalid`.
            pub fn parse(text: &str) -> Result<Self, Error> {
                let check: fn(&str) -> Result<(), Error> = $parse;
                check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// Returns the name as it is on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type!(
    /// Id of a lattice: `[A-Za-z0-9_-]`, 1 to 128 characters. Hosts do not check
    /// it, but no other id works with them: it is one subject token and the end
    /// of a bucket name (docs/hosts.md#subjects-and-bodies).
    LatticeId,
    |text| word("lattice id", text)
);
name_type!(
    /// JetStream domain: the same alphabet as a lattice id.
    JsDomain,
    |text| word("JetStream domain", text)
);
name_type!(
    /// Link name. Hosts put it into subjects of provider RPC, behind the provider's key,
    /// as it is. It may have dots, as long as each part between them is a token.
    LinkName,
    |text| tokens("link name", text)
);
name_type!(
    /// Public key of a host: `N…`, 56 characters.
    HostId,
    |text| public_key("host id", 'N', &KeyPairType::Server, text)
);
name_type!(
    /// Public key of an actor: `M…`, 56 characters.
    ActorId,
    |text| public_key("actor id", 'M', &KeyPairType::Module, text)
);
name_type!(
    /// Public key of a capability provider: `V…`, 56 characters.
    ProviderId,
    |text| public_key("provider id", 'V', &KeyPairType::Service, text)
);
name_type!(
    /// Id of a component or a provider on hosts of 1.x: `[A-Za-z0-9_-]`, 1 to 128
    /// characters. Hosts take more, but calls and links of the whole lattice go by it, and
    /// no other id works everywhere (docs/hosts.md#what-ids-are-on-1x).
    ComponentId,
    |text| word("component or provider id", text)
);

/// Checks the required text member `name` of a request.
///
/// # Errors
/// `Invalid` when it is missing (which decodes as ""), blank or too long.
pub fn required<'a>(name: &str, value: &'a str) -> Result<&'a str, Error> {
    if value.trim().is_empty() {
        Err(Error::invalid(format!("{name} is missing")))
    } else {
        at_most(name, value.len(), MAX_TEXT).map(|()| value)
    }
}

/// Checks the optional text member `name` of a request.
///
/// # Errors
/// `Invalid` when it is too long.
pub fn optional<'a>(name: &str, value: &'a str) -> Result<&'a str, Error> {
    at_most(name, value.len(), MAX_TEXT).map(|()| value)
}

/// Checks that a member has at most so many bytes.
///
/// # Errors
/// `Invalid` when it has more.
pub fn at_most(name: &str, bytes: usize, most: usize) -> Result<(), Error> {
    if bytes > most {
        return Err(Error::invalid(format!(
            "{name} of {bytes} bytes: {most} are allowed"
        )));
    }
    Ok(())
}

/// Returns an optional text member. A blank one counts as absent: TinyGo actors send
/// absent members so.
pub fn present(value: Option<&str>) -> Option<&str> {
    value.map(str::trim).filter(|value| !value.is_empty())
}

/// Returns whether `text` is exactly one literal token of a NATS subject.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'.' | b'*' | b'>'))
}

/// Returns whether two image references name the same image. Hosts and people write
/// them with a scheme or without it, and the name of a registry in any case; paths, tags
/// and digests must be in the same case.
pub fn is_same_image(one: &str, other: &str) -> bool {
    let parts = |reference: &str| -> (String, String) {
        let plain = plain_image(reference);
        match plain.split_once('/') {
            Some((registry, rest)) => (registry.to_ascii_lowercase(), rest.to_owned()),
            None => (String::new(), plain.to_owned()),
        }
    };
    match is_file(one) || is_file(other) {
        true => one == other,
        false => parts(one) == parts(other),
    }
}

/// Returns whether two image references name one repository by different tags or
/// digests.
pub fn is_other_tag(one: &str, other: &str) -> bool {
    one != other
        && !is_file(one)
        && !is_file(other)
        && is_same_image(repository(one), repository(other))
}

/// Returns an image reference without scheme, digest and tag.
pub fn repository(reference: &str) -> &str {
    let plain = plain_image(reference);
    let plain = plain.split_once('@').map_or(plain, |(image, _)| image);
    let name = plain.rfind('/').map_or(0, |slash| slash + 1);
    plain[name..]
        .find(':')
        .map_or(plain, |tag| &plain[..name + tag])
}

/// Returns whether an image reference names a file of the host.
pub fn is_file(reference: &str) -> bool {
    reference.starts_with("file://")
}

fn plain_image(reference: &str) -> &str {
    ["https://", "http://", "oci://"]
        .iter()
        .find_map(|scheme| reference.strip_prefix(scheme))
        .unwrap_or(reference)
}

/// Returns whether `text` fits `pattern`, in which `*` stands for any characters.
pub fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn word(what: &str, text: &str) -> Result<(), Error> {
    let fits = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    checked(what, text, fits, "letters, digits, \"_\" and \"-\"")
}

fn tokens(what: &str, text: &str) -> Result<(), Error> {
    checked(
        what,
        text,
        text.split('.').all(is_token),
        "printable ASCII without blanks, \"*\" and \">\", and with \".\" only in between",
    )
}

impl LinkName {
    /// Validates a link name for something new: a link, or a provider that starts.
    ///
    /// Calls under link name `a.shutdown` would go to the subject on which a provider
    /// under `a` gets the order to stop. The same holds for its other subjects.
    ///
    /// # Errors
    /// `Invalid`, as [`LinkName::parse`], and for such a name.
    pub fn parse_new(text: &str) -> Result<Self, Error> {
        let name = Self::parse(text)?;
        let tokens: Vec<&str> = text.split('.').collect();
        let taken = match tokens.as_slice() {
            [_, .., "linkdefs", _] => Some("linkdefs"),
            [_, .., last @ ("shutdown" | "health")] => Some(*last),
            _ => None,
        };
        match taken {
            None => Ok(name),
            Some(taken) => Err(Error::invalid(format!(
                "link name {} cannot be used: what comes before \".{taken}\" is a link name, too, \
                 and its provider hears orders of its host there",
                quoted(text)
            ))),
        }
    }
}

fn checked(what: &str, text: &str, fits: bool, alphabet: &str) -> Result<(), Error> {
    if text.is_empty() {
        Err(Error::invalid(format!("{what} is missing")))
    } else if fits && text.len() <= MAX_NAME_LENGTH {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "{what} {} is malformed: it must be 1 to {MAX_NAME_LENGTH} characters of {alphabet}",
            quoted(text)
        )))
    }
}

/// Checks the form of a key and its checksum, so that no typing error passes. It does
/// not check that the key is a point of the curve: that matters only for verifying a
/// signature, and would cost as much as all other checks of a call together.
fn public_key(what: &str, prefix: char, kind: &KeyPairType, text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::invalid(format!("{what} is missing")));
    }
    let is_key = text.len() == 56
        && text.starts_with(prefix)
        && nkeys::from_public_key(text).is_ok_and(|(byte, _)| KeyPairType::from(byte) == *kind);
    if is_key {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "{what} {} is malformed: it must be a public key of 56 characters that starts with {prefix}",
            quoted(text)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::KeyPair;

    #[test]
    fn a_lattice_id_is_one_word() {
        for good in ["default", "a", "edge-1", "A_b-9", &"x".repeat(128)] {
            assert!(LatticeId::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            "a b",
            "a.b",
            ".a",
            "*",
            ">",
            "a\r\nPUB x 0",
            "é",
            &"x".repeat(129),
        ] {
            assert!(LatticeId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_id_is_a_host_key_with_the_right_checksum() {
        let id = KeyPair::new(KeyPairType::Server).public_key();
        assert!(HostId::parse(&id).is_ok());
        let actor = KeyPair::new(KeyPairType::Module).public_key();
        let mut typo = id.clone().into_bytes();
        typo[20] = if typo[20] == b'A' { b'B' } else { b'A' };
        let typo = String::from_utf8(typo).unwrap();
        for bad in [
            "",
            "N",
            "NA",
            "NAAA",
            &id[..55],
            &actor,
            &typo,
            &id.to_lowercase(),
        ] {
            assert!(HostId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_link_name_is_tokens_with_dots_in_between() {
        for good in [
            "default",
            "my-link",
            "a/b",
            "x:y",
            "a.b",
            "a.b.c",
            "a.shutdown",
        ] {
            assert!(LinkName::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "", "a b", ".", ".a", "a.", "a..b", "*", ">", "a.*", "a.>", "a\n", "ü",
        ] {
            assert!(LinkName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_new_link_name_is_no_other_subject_of_a_provider() {
        for good in [
            "default",
            "a.b",
            "shutdown",
            "linkdefs.put",
            "a.linkdefs",
            "a.shutdown.b",
            "a.shutdowns",
        ] {
            assert!(LinkName::parse_new(good).is_ok(), "{good}");
        }
        for bad in [
            "a.shutdown",
            "a.b.health",
            "a.linkdefs.put",
            "a.linkdefs.del",
            "a.b.linkdefs.get",
            "a b",
        ] {
            assert!(LinkName::parse_new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn image_references_are_the_same_however_they_are_written() {
        let image = "ghcr.io/org/x:V1";
        for same in [
            "oci://ghcr.io/org/x:V1",
            "https://GHCR.io/org/x:V1",
            "http://ghcr.IO/org/x:V1",
        ] {
            assert!(
                is_same_image(image, same) && is_same_image(same, image),
                "{same}"
            );
        }
        for other in [
            "ghcr.io/org/x:v1",
            "ghcr.io/Org/x:V1",
            "ghcr.io/org/x",
            "x:V1",
            "",
        ] {
            assert!(!is_same_image(image, other), "{other}");
        }
        assert!(is_same_image("file:///a/B", "file:///a/B"));
        assert!(!is_same_image("file:///a/B", "file:///a/b"));
        assert!(!is_same_image("file://A/b", "file://a/b"));
        assert!(!is_same_image("file://a/b", "a/b"));
    }

    #[test]
    fn tags_of_one_repository_are_told_from_others() {
        let image = "ghcr.io/org/x:1";
        for tag in [
            "ghcr.io/org/x:2",
            "oci://GHCR.io/org/x@sha256:0",
            "ghcr.io/org/x",
        ] {
            assert!(
                is_other_tag(image, tag) && is_other_tag(tag, image),
                "{tag}"
            );
        }
        for other in [
            image,
            "ghcr.io/org/y:1",
            "ghcr.io:5000/org/x:2",
            "",
            "file://ghcr.io/org/x",
        ] {
            assert!(!is_other_tag(image, other), "{other}");
        }
        assert!(is_other_tag("localhost:5000/x:1", "localhost:5000/x:2"));
        assert!(!is_other_tag("file:///x:1", "file:///x:2"));
    }

    #[test]
    fn messages_say_what_is_wrong() {
        let error = LatticeId::parse("a.b").unwrap_err().to_string();
        assert!(error.contains("lattice id \"a.b\" is malformed"), "{error}");
        let error = HostId::parse("").unwrap_err().to_string();
        assert_eq!(error, "host id is missing");
    }

    #[test]
    fn patterns_fit_as_a_whole() {
        for (pattern, text) in [("*", ""), ("a*", "a"), ("a*b*c", "a1b2bc"), ("*x", "axx")] {
            assert!(fits(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a", "ab"), ("a", "xa"), ("a*b", "abc"), ("a*a", "a")] {
            assert!(!fits(pattern, text), "{pattern} {text}");
        }
    }
}
