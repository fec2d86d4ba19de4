//! The desired state, and how a caller of the actor describes it.

use std::collections::{BTreeMap, HashMap};

use crate::Error;

/// The most instances in one zone. An inventory lists no more of one actor, and
/// what is not listed cannot be counted.
pub const MOST: u16 = 1000;

/// How many instances of an actor shall run in each zone of a lattice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    pub(crate) lattice: String,
    pub(crate) actor: String,
    pub(crate) image_ref: String,
    pub(crate) zones: BTreeMap<String, u16>,
}

impl Desired {
    /// Makes a desired state: so many instances of the actor with this key and
    /// image reference in each zone of `lattice`. The provider checks whether
    /// these are well-formed.
    ///
    /// # Errors
    /// `Request`, with every mistake.
    pub fn new(
        lattice: &str,
        actor: &str,
        image_ref: &str,
        zones: &[(&str, u16)],
    ) -> Result<Self, Error> {
        let mut mistakes = Vec::new();
        let zones = zones.iter().map(|(zone, count)| (*zone, Some(*count)));
        let desired = Self {
            lattice: required("lattice", Some(lattice), &mut mistakes),
            actor: required("actor", Some(actor), &mut mistakes),
            image_ref: required("image", Some(image_ref), &mut mistakes),
            zones: checked(zones, &mut mistakes),
        };
        match mistakes.is_empty() {
            true => Ok(desired),
            false => Err(Error::Request(mistakes)),
        }
    }
}

/// The request of a caller. It has a URL, which may have a password, and so
/// cannot be printed.
pub struct Request {
    /// What shall run.
    pub desired: Desired,
    /// The URL of the lattice, for a provider without its credentials.
    pub nats_url: Option<String>,
}

impl Request {
    /// Every key that [`Request::parse`] knows.
    pub const KEYS: [&str; 5] = ["actor", "image", "lattice", "nats_url", "zones"];

    /// Reads a request: texts by name, as the values of links are. `zones` is a
    /// text such as `eu=2, us=1`. All are required but `nats_url`; a blank text
    /// counts as absent.
    ///
    /// # Errors
    /// `Request`, with every mistake.
    pub fn parse(members: &HashMap<String, String>) -> Result<Self, Error> {
        let mut mistakes = Vec::new();
        for key in members.keys() {
            if !Self::KEYS.contains(&key.as_str()) {
                let known = Self::KEYS.join(", ");
                mistakes.push(format!("{key:?} is no member; there are {known}"));
            }
        }
        let text = |key: &str| members.get(key).map(String::as_str);
        let zones = text("zones").filter(|zones| !zones.trim().is_empty());
        let zones = zones.into_iter().flat_map(|zones| zones.split(','));
        let zones = zones.map(|zone| match zone.split_once('=') {
            Some((zone, count)) => (zone.trim(), count.trim().parse().ok()),
            None => (zone.trim(), None),
        });
        let desired = Desired {
            lattice: required("lattice", text("lattice"), &mut mistakes),
            actor: required("actor", text("actor"), &mut mistakes),
            image_ref: required("image", text("image"), &mut mistakes),
            zones: checked(zones, &mut mistakes),
        };
        if !mistakes.is_empty() {
            mistakes.sort();
            return Err(Error::Request(mistakes));
        }
        let nats_url = text("nats_url")
            .map(str::trim)
            .filter(|url| !url.is_empty());
        Ok(Self {
            desired,
            nats_url: nats_url.map(Into::into),
        })
    }
}

/// Returns a text that must be there.
fn required(key: &str, text: Option<&str>, mistakes: &mut Vec<String>) -> String {
    let text = text.unwrap_or_default().trim();
    if text.is_empty() {
        mistakes.push(format!("{key} is missing"));
    }
    text.to_owned()
}

/// Returns zones with their counts; a count that is not a number is `None`.
fn checked<'a>(
    zones: impl Iterator<Item = (&'a str, Option<u16>)>,
    mistakes: &mut Vec<String>,
) -> BTreeMap<String, u16> {
    let mut checked = BTreeMap::new();
    let mut zones = zones.peekable();
    if zones.peek().is_none() {
        mistakes.push("zones is missing".into());
    }
    for (zone, count) in zones {
        match count {
            _ if zone.is_empty() => mistakes.push("zones: a zone has no name".into()),
            Some(count) if count <= MOST => {
                if checked.insert(zone.to_owned(), count).is_some() {
                    mistakes.push(format!("zones: {zone:?} is there twice"));
                }
            }
            _ => mistakes.push(format!(
                "zones: {zone:?} needs a whole number from 0 to {MOST}"
            )),
        }
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(members: &[(&str, &str)]) -> Result<Request, Error> {
        let members = members.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        Request::parse(&members.collect())
    }

    const SHOP: [(&str, &str); 3] = [
        ("lattice", "default"),
        ("actor", "M"),
        ("image", "registry.example/shop:0.3.0"),
    ];

    #[test]
    fn a_request_is_text_by_name() {
        let request = parse(&[&SHOP[..], &[("zones", " eu = 2,us=0 ")]].concat());
        let request = request.ok().unwrap();
        let zones = &[("eu", 2), ("us", 0)];
        let same = Desired::new("default", "M", "registry.example/shop:0.3.0", zones);
        assert_eq!(request.desired, same.unwrap());
        assert_eq!(request.nats_url, None);
        let url = [("zones", "eu=1"), ("nats_url", "nats://nats.example")];
        let request = parse(&[&SHOP[..], &url].concat()).ok().unwrap();
        assert_eq!(request.nats_url.as_deref(), Some("nats://nats.example"));
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let problem = parse(&[
            ("actor", " "),
            ("zones", "eu=1001,us,us=1,us=2,=3,ap=-1"),
            ("zone", "eu"),
        ]);
        let problem = problem.err().unwrap().to_string();
        for part in [
            "actor is missing",
            "image is missing",
            "lattice is missing",
            "\"zone\" is no member",
            "\"eu\" needs a whole number from 0 to 1000",
            "\"us\" needs a whole number",
            "\"us\" is there twice",
            "a zone has no name",
            "\"ap\" needs",
        ] {
            assert!(problem.contains(part), "{part}: {problem}");
        }
        assert!(Desired::new("default", "M", "x", &[("eu", MOST + 1)]).is_err());
    }

    #[test]
    fn no_zone_at_all_is_a_mistake() {
        for none in ["", " ", ",", "eu=1,"] {
            let request = parse(&[&SHOP[..], &[("zones", none)]].concat());
            assert!(request.is_err(), "{none:?}");
        }
        assert!(Desired::new("default", "M", "x", &[]).is_err());
    }
}
