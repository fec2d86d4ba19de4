//! Where the entries of a metadata bucket are written: into the bucket itself, or,
//! where it is a mirror of another bucket, into that one. A mirror takes no writes.

use std::fmt;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::name::{JsDomain, is_token};
use crate::nats::jetstream;

/// What JetStream says of the stream of a bucket, as far as it matters here.
#[derive(Deserialize)]
pub(crate) struct StreamInfo {
    config: Config,
}

#[derive(Deserialize)]
struct Config {
    mirror: Option<Mirror>,
}

#[derive(Deserialize)]
struct Mirror {
    name: String,
    external: Option<External>,
    #[serde(default)]
    subject_transforms: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct External {
    api: String,
}

/// Where entries are written.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    /// Into the bucket.
    Here,
    /// Into the bucket that this one mirrors.
    Origin(Origin),
}

/// The bucket that another one mirrors.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its name.
    pub bucket: Token,
    /// The JetStream API that it is reached by, where that is another one.
    pub api: Option<Api>,
    /// Whether the mirror has entries under names other than the origin's.
    pub renames: bool,
}

/// The bucket mirrors a stream whose name cannot be used in a subject.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it mirrors a stream whose name cannot be used")]
pub(crate) struct OddOrigin;

/// One token of a subject that can be published to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Accepts a text that is one token.
    pub fn parse(text: &str) -> Option<Self> {
        is_token(text).then(|| Self(text.to_owned()))
    }
}

/// What the subjects of a JetStream API begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Api(String);

impl Api {
    /// Returns the API of a domain, or that of the account.
    pub fn of(domain: Option<&JsDomain>) -> Self {
        Self(jetstream::api(domain))
    }

    /// Accepts a text that consists of tokens.
    pub fn parse(text: &str) -> Option<Self> {
        let valid = text.split('.').all(is_token);
        valid.then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StreamInfo {
    /// Returns where entries are written.
    ///
    /// # Errors
    /// Where the names in it cannot be used.
    pub(crate) fn place(self) -> Result<Place, OddOrigin> {
        let Some(mirror) = self.config.mirror else {
            return Ok(Place::Here);
        };
        let bucket = mirror.name.strip_prefix("KV_").unwrap_or(&mirror.name);
        let bucket = Token::parse(bucket).ok_or(OddOrigin)?;
        let api = mirror.external.map(|external| external.api);
        let api = match api.filter(|api| !api.is_empty()) {
            Some(api) => Some(Api::parse(&api).ok_or(OddOrigin)?),
            None => None,
        };
        Ok(Place::Origin(Origin {
            bucket,
            api,
            renames: mirror.subject_transforms.is_some_and(|all| !all.is_empty()),
        }))
    }
}

#[cfg(test)]
impl Place {
    /// Makes the place of a mirror of this bucket.
    pub fn of_mirror(bucket: &str, api: Option<&str>) -> Self {
        Self::Origin(Origin {
            bucket: Token::parse(bucket).unwrap(),
            api: api.map(|api| Api::parse(api).unwrap()),
            renames: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(config: &str) -> Result<Place, OddOrigin> {
        let shown = format!(r#"{{ "config": {config}, "created": "x" }}"#);
        let shown: StreamInfo = serde_json::from_str(&shown).unwrap();
        shown.place()
    }

    fn origin(bucket: &str, api: Option<&str>) -> Result<Place, OddOrigin> {
        Ok(Place::of_mirror(bucket, api))
    }

    #[test]
    fn a_mirror_is_written_where_its_entries_come_from() {
        assert_eq!(place(r#"{ "name": "KV_X" }"#), Ok(Place::Here));
        assert_eq!(place(r#"{ "mirror": null }"#), Ok(Place::Here));
        let plain = r#"{ "mirror": { "name": "KV_OLD" } }"#;
        assert_eq!(place(plain), origin("OLD", None));
        let external = |api: &str| {
            let external = format!(r#"{{ "api": "{api}", "deliver": "" }}"#);
            place(&format!(
                r#"{{ "mirror": {{ "name": "KV_X", "external": {external} }} }}"#
            ))
        };
        assert_eq!(external("$JS.hub.API"), origin("X", Some("$JS.hub.API")));
        assert_eq!(external(""), origin("X", None));
        for odd in ["a b", "a..b", ".", "a.>", "a.*.b", "a\\r\\nPUB"] {
            assert!(external(odd).is_err(), "{odd}");
        }
        for odd in ["KV_", "", "KV_a.b", "KV_>", "KV_a b"] {
            let mirror = format!(r#"{{ "mirror": {{ "name": "{odd}" }} }}"#);
            assert!(place(&mirror).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_mirror_may_have_names_of_its_own() {
        let transforms = r#"[{ "src": "$KV.OLD.>", "dest": "$KV.NEW.>" }]"#;
        let mirror = format!(
            r#"{{ "mirror": {{ "name": "KV_OLD", "subject_transforms": {transforms} }} }}"#
        );
        let Ok(Place::Origin(origin)) = place(&mirror) else {
            panic!("no mirror");
        };
        assert!(origin.renames);
    }
}
