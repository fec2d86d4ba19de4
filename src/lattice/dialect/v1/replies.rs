//! What hosts of 1.x answer: `{"success":bool,"message":text,"response":…}`.
//!
//! Whether a host refuses is in `success` alone: from 1.3 on, hosts put words into the
//! `message` of an order that they took, too.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::error::cut;
use crate::lattice::dialect::v1::inventory::Inventory;
use crate::lattice::model::lenient::{Unreadable, list, parse, text_or_empty};
use crate::lattice::model::{Claims, FromHost, Host};

/// How the message begins of a scale that names another reference than the running one.
const OTHER_REFERENCE: &str =
    "Requested to scale existing component to a different image reference";

/// A host's reply to an order. That it took one promises nothing: only its events and its
/// inventory tell what came of it (docs/hosts.md#success-promises-nothing).
#[derive(Debug, PartialEq, Eq)]
pub enum Ack {
    /// The host took the order.
    Accepted,
    /// The host took a scale, and by now another reference runs than the order names. The
    /// host goes on with the code that it has, and lists that under the reference of the
    /// order (docs/hosts.md#scale-keeps-old-code-under-new-reference). It says so in these
    /// words.
    OtherCode(String),
    /// The host refused, for this reason, or the first thousand characters of it.
    Refused(String),
}

impl Ack {
    /// Reads the reply to an order.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(payload: &[u8]) -> Result<Self, Unreadable> {
        let reply: Envelope<IgnoredAny> = parse(payload)?;
        Ok(match reply.success {
            false => Self::Refused(cut(&reply.message)),
            true if reply.message.starts_with(OTHER_REFERENCE) => {
                Self::OtherCode(cut(&reply.message))
            }
            true => Self::Accepted,
        })
    }
}

/// Returns the reason of a refusal, where `payload` is one.
pub fn refusal(payload: &[u8]) -> Option<String> {
    match Ack::parse(payload) {
        Ok(Ack::Refused(reason)) => Some(reason),
        _ => None,
    }
}

/// Every reply of a host.
#[derive(Deserialize)]
struct Envelope<T> {
    success: bool,
    #[serde(default, deserialize_with = "text_or_empty")]
    message: String,
    response: Option<T>,
}

/// Reads the response of a reply that is no refusal.
fn response<'de, T: Deserialize<'de>, D: Deserializer<'de>>(input: D) -> Result<T, D::Error> {
    let reply = Envelope::deserialize(input)?;
    let given = reply.response.filter(|_| reply.success);
    given.ok_or_else(|| serde::de::Error::custom("it has no response"))
}

/// Reply of a host to its ping.
#[derive(Debug, Default)]
pub struct Pong {
    /// The host, as it describes itself.
    pub host: Host,
}

impl<'de> Deserialize<'de> for Pong {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Self {
            host: response(input)?,
        })
    }
}

impl FromHost for Pong {
    fn host(&self) -> &str {
        self.host.host()
    }

    fn is_of_another_host(&self, other: &Self) -> bool {
        self.host.is_of_another_host(&other.host)
    }
}

/// Reply to an auction. What the host repeats of the question does not matter, and is not
/// true on some (docs/hosts.md#auction-takes-reference-for-id).
#[derive(Debug, Default)]
pub struct Bid {
    /// Public key of the host that bids.
    pub host_id: String,
}

impl<'de> Deserialize<'de> for Bid {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Bidder {
            #[serde(default, deserialize_with = "text_or_empty")]
            host_id: String,
        }
        let Bidder { host_id } = response(input)?;
        Ok(Self { host_id })
    }
}

impl FromHost for Bid {
    fn host(&self) -> &str {
        &self.host_id
    }
}

/// Reply to the question what runs on a host.
#[derive(Debug)]
pub struct InventoryReply(pub Inventory);

impl<'de> Deserialize<'de> for InventoryReply {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        response(input).map(Self)
    }
}

/// Reply to the question for all claims.
#[derive(Debug)]
pub struct ClaimsReply {
    /// The claims.
    pub claims: Vec<Claims>,
}

impl<'de> Deserialize<'de> for ClaimsReply {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let Entries(claims) = response(input)?;
        Ok(Self { claims })
    }
}

/// A list, of which entries that cannot be read are left out.
struct Entries<T>(Vec<T>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        list(input).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lattice::dialect::v1::transcripts::{self, Exchange};

    #[test]
    fn words_of_success_are_no_refusal() {
        for (reply, ack) in [
            (r#"{"success":true,"message":""}"#, Ack::Accepted),
            (r#"{"success":true}"#, Ack::Accepted),
            (
                r#"{"success":true,"message":"successfully started provider","response":null}"#,
                Ack::Accepted,
            ),
            (
                r#"{"success":false,"message":"provider with that ID is not running"}"#,
                Ack::Refused("provider with that ID is not running".into()),
            ),
            (
                r#"{"success":false,"message":null}"#,
                Ack::Refused("".into()),
            ),
        ] {
            assert_eq!(Ack::parse(reply.as_bytes()).unwrap(), ack, "{reply}");
        }
        for other in [
            "",
            "{}",
            "null",
            "[true]",
            r#"{"accepted":true,"error":""}"#,
        ] {
            assert!(Ack::parse(other.as_bytes()).is_err(), "{other}");
        }
    }

    #[test]
    fn a_refusal_is_no_answer_to_a_question() {
        let refused = br#"{"success":false,"message":"unsupported subject"}"#;
        assert!(parse::<Pong>(refused).is_err());
        assert!(parse::<Bid>(refused).is_err());
        assert!(parse::<InventoryReply>(refused).is_err());
        assert!(parse::<ClaimsReply>(refused).is_err());
        assert_eq!(refusal(refused).as_deref(), Some("unsupported subject"));
        let nothing = br#"{"success":true,"message":"","response":null}"#;
        assert!(parse::<Pong>(nothing).is_err());
    }

    #[test]
    fn one_odd_member_does_not_cost_the_answer() {
        let pong = br#"{"success":true,"message":7,"response":
            {"id":"N1","version":null,"labels":{"a":1,"b":null},"lattice":"l"},"more":[]}"#;
        let Pong { host } = parse(pong).unwrap();
        assert_eq!((host.id.as_str(), host.version), ("N1", None));
        assert_eq!(host.lattice.as_deref(), Some("l"));
        let claims = br#"{"success":true,"response":[{"sub":"M1","tags":"a,b"},7,{"sub":"M2"}]}"#;
        let ClaimsReply { claims } = parse(claims).unwrap();
        assert!(claims.len() == 2 && claims[0].is_of("M1"));
    }

    #[test]
    fn replies_of_real_hosts_are_read() {
        let mut seen = [0; 6];
        for Exchange { request, reply } in transcripts::exchanges() {
            let refused = reply.contains(r#""success":false"#);
            let reply = reply.as_bytes();
            let ack = Ack::parse(reply).unwrap();
            assert_eq!(matches!(ack, Ack::Refused(_)), refused, "{request}");
            seen[0] += usize::from(refused);
            seen[1] += usize::from(matches!(ack, Ack::OtherCode(_)));
            if refused {
                continue;
            }
            let has = |text: &str| request.contains(text);
            if has("PING") {
                let Pong { host } = parse(reply).unwrap();
                assert!(host.id.starts_with('N') && host.version.is_some());
                assert!(host.lattice.is_some() && host.friendly_name.is_some());
                seen[2] += 1;
            } else if has("host.get.") || has("inv <-") {
                let InventoryReply(inventory) = parse(reply).unwrap();
                assert!(!inventory.labels.is_empty());
                seen[3] += inventory.components.len();
            } else if has(r#""constraints""#) {
                let Bid { host_id } = parse(reply).unwrap();
                assert!(host_id.starts_with('N'));
                seen[4] += 1;
            } else if has("claims.get") {
                let ClaimsReply { claims } = parse(reply).unwrap();
                seen[5] += claims.len();
            }
        }
        assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
    }

    proptest! {
        #[test]
        fn whatever_a_host_answers_is_read_or_passed_over(
            body in "[\\[\\]{}:,\"a-z0-9 ]{0,60}", response in "[\\[\\]{}:,\"a-z0-9 ]{0,60}",
        ) {
            let wrapped = format!(r#"{{"success":true,"response":{response}}}"#);
            for text in [body, wrapped] {
                let _ = Ack::parse(text.as_bytes());
                let _ = parse::<Pong>(text.as_bytes());
                let _ = parse::<Bid>(text.as_bytes());
                let _ = parse::<InventoryReply>(text.as_bytes());
                let _ = parse::<ClaimsReply>(text.as_bytes());
            }
        }
    }
}
