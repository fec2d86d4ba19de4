//! Verifies who sent a call, and that nobody changed it.
//!
//! An invocation carries claims, which one of the cluster's issuers has signed. They name its
//! id, its origin, its target and its operation, and have a hash of the last three and the
//! body.
//! See docs/wasmbus.md#claims-of-an-invocation.

use std::borrow::Cow;

use data_encoding::{BASE64URL_NOPAD, DecodeError, HEXUPPER};
use ed25519_dalek::Signature;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use wasmbus_rpc::core::{Invocation, WasmCloudEntity};

use crate::contract::CONTRACT_ID;
use crate::deadline::unix_time;
use crate::error::without_values;
use crate::front::wasmbus::signature::{Issuers, Signed};
use crate::json;

/// The header of tokens as every host writes it.
const USUAL_HEADER: &str = "eyJ0eXAiOiJqd3QiLCJhbGciOiJFZDI1NTE5In0";

/// What is wrong with an invocation. Quotes nothing of its claims.
#[derive(Debug, thiserror::Error)]
pub enum InvocationError {
    /// The token does not have three parts.
    #[error("the invocation's claims are not a token of three parts")]
    NotThreeParts,
    /// A part of the token is not base64.
    #[error("the {part} of the invocation's token is not base64")]
    NotBase64 {
        /// The part.
        part: &'static str,
        /// Where it is not.
        source: DecodeError,
    },
    /// A part of the token is not the JSON that it should be.
    #[error("the {part} of the invocation's token cannot be read: {problem}")]
    Unreadable {
        /// The part.
        part: &'static str,
        /// The decoder's words, without values.
        problem: String,
    },
    /// The token is of another kind.
    #[error("the invocation's claims are not a JWT signed with Ed25519")]
    OtherAlgorithm,
    /// Another cluster signed it.
    #[error("the invocation's issuer is not one of this cluster")]
    UnknownIssuer,
    /// The signature is not base64.
    #[error("the invocation's signature is not base64")]
    SignatureNotBase64(#[source] DecodeError),
    /// The signature is not one, or not the issuer's.
    #[error("invalid signature: the issuer did not sign these claims of the invocation")]
    InvalidSignature,
    /// The claims hold no longer.
    #[error("the invocation's claims have expired")]
    Expired,
    /// The claims do not hold before a later time.
    #[error("the invocation's claims are not valid yet")]
    NotValidYet,
    /// The host id is not that of a host.
    #[error("the invocation names no host")]
    NoHost,
    /// The claims are those of another id.
    #[error("the invocation's id is not the one its claims name")]
    OtherId,
    /// The claims lack the target.
    #[error("the invocation's claims name no target")]
    NoTarget,
    /// The claims name another target or operation.
    #[error("the invocation's target is not the one its claims name")]
    OtherTarget,
    /// The claims name another origin.
    #[error("the invocation's origin is not the one its claims name")]
    OtherOrigin,
    /// It is not for this provider.
    #[error("the invocation is for another provider, or another link name")]
    OtherProvider,
    /// The claims have the hash of another body.
    #[error("the invocation's body is not the one that was signed")]
    OtherBody,
    /// It was left out of those that were checked together.
    #[error("not checked")]
    NotChecked,
}

/// Verifies invocations for one provider.
pub struct Verifier {
    /// The provider, and its URL.
    provider: WasmCloudEntity,
    provider_url: String,
    /// Issuers of the cluster.
    issuers: Issuers,
}

/// The claims of an invocation whose signature is valid.
pub struct InvocationClaims {
    /// Whether they name the id of the invocation.
    is_same_id: bool,
    exp: Option<u64>,
    nbf: Option<u64>,
    /// When they were made, in seconds since 1970.
    pub iat: Option<u64>,
    wascap: Option<ClaimedCall>,
}

/// What a token claims.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    /// Id of the invocation.
    #[serde(borrow)]
    sub: Cow<'a, str>,
    exp: Option<u64>,
    nbf: Option<u64>,
    iat: Option<u64>,
    wascap: Option<ClaimedCall>,
}

#[derive(Deserialize)]
struct ClaimedCall {
    target_url: String,
    origin_url: String,
    hash: String,
}

#[derive(Deserialize)]
struct Header {
    typ: String,
    alg: String,
}

impl Verifier {
    /// Makes a verifier of invocations for this provider that these issuers signed.
    pub fn new(provider_key: &str, link_name: &str, cluster_issuers: &[String]) -> Self {
        let provider = WasmCloudEntity {
            public_key: provider_key.to_owned(),
            link_name: link_name.to_owned(),
            contract_id: CONTRACT_ID.to_owned(),
        };
        Self {
            provider_url: provider.url(),
            provider,
            issuers: Issuers::new(cluster_issuers),
        }
    }

    /// Checks everything of these invocations that does not need the body: issuer,
    /// signature, times, host, target and origin. Their signatures are checked together.
    /// Returns for each, in their order, its claims or what is wrong with it.
    pub fn check_all(
        &self,
        invocations: &[&Invocation],
    ) -> Vec<Result<InvocationClaims, InvocationError>> {
        let read: Vec<_> = invocations
            .iter()
            .map(|invocation| self.read(invocation))
            .collect();
        let signed: Vec<Signed<'_>> = read.iter().flatten().map(|(_, signed)| *signed).collect();
        let mut valid = self.issuers.are_valid(&signed).into_iter();
        read.into_iter()
            .zip(invocations)
            .map(|(read, invocation)| {
                let (claims, _) = read?;
                if valid.next() != Some(true) {
                    return Err(InvocationError::InvalidSignature);
                }
                self.check_claims(&claims, invocation)?;
                Ok(claims)
            })
            .collect()
    }

    fn check_claims(
        &self,
        claims: &InvocationClaims,
        invocation: &Invocation,
    ) -> Result<(), InvocationError> {
        let now = unix_time().as_secs();
        if claims.exp.is_some_and(|exp| exp < now) {
            return Err(InvocationError::Expired);
        }
        if claims.nbf.is_some_and(|nbf| nbf > now) {
            return Err(InvocationError::NotValidYet);
        }
        // OTP hosts send the cluster's key here: any public key will do.
        if !invocation.host_id.starts_with('N') && invocation.host_id.len() != 56 {
            return Err(InvocationError::NoHost);
        }
        // The id is the name of the body in the object store, and is in the answer.
        if !claims.is_same_id {
            return Err(InvocationError::OtherId);
        }
        let subject = claims.wascap.as_ref();
        let subject = subject.ok_or(InvocationError::NoTarget)?;
        let (target, url) = (&invocation.target, &subject.target_url);
        // Hosts also hand over calls of any other contract under which an actor is linked.
        let operation = match *target == self.provider {
            true => url.strip_prefix(&self.provider_url),
            false => url.strip_prefix(&target.url()),
        };
        if operation.and_then(|rest| rest.strip_prefix('/')) != Some(&invocation.operation) {
            return Err(InvocationError::OtherTarget);
        }
        if !is_url_of(&subject.origin_url, &invocation.origin) {
            return Err(InvocationError::OtherOrigin);
        }
        if target.public_key != self.provider.public_key
            || target.link_name != self.provider.link_name
        {
            return Err(InvocationError::OtherProvider);
        }
        Ok(())
    }

    /// Reads the token of an invocation: its claims, and the signature that is to be checked.
    fn read<'a>(
        &self,
        invocation: &'a Invocation,
    ) -> Result<(InvocationClaims, Signed<'a>), InvocationError> {
        let token = &invocation.encoded_claims;
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvocationError::NotThreeParts);
        };
        if header != USUAL_HEADER {
            let text = decoded("header", header)?;
            let Header { typ, alg } = parsed("header", &text)?;
            if typ != "jwt" || alg != "Ed25519" {
                return Err(InvocationError::OtherAlgorithm);
            }
        }
        let text = decoded("claims", payload)?;
        let claimed: Payload<'_> = parsed("claims", &text)?;
        let key = self.issuers.key(&claimed.iss);
        let key = key.ok_or(InvocationError::UnknownIssuer)?;
        let signature = BASE64URL_NOPAD
            .decode(signature.as_bytes())
            .map_err(InvocationError::SignatureNotBase64)?;
        let signature = Signature::from_slice(&signature);
        let signature = signature.map_err(|_| InvocationError::InvalidSignature)?;
        let text = &token.as_bytes()[..header.len() + 1 + payload.len()];
        let signed = Signed {
            text,
            signature,
            key,
        };
        let claims = InvocationClaims {
            is_same_id: claimed.sub == invocation.id,
            exp: claimed.exp,
            nbf: claimed.nbf,
            iat: claimed.iat,
            wascap: claimed.wascap,
        };
        Ok((claims, signed))
    }
}

impl InvocationClaims {
    /// Checks that the body is the one that was signed. Origin and target were found to be
    /// those of the claims before.
    ///
    /// # Errors
    /// `OtherBody`.
    pub fn check_body(&self, invocation: &Invocation, body: &[u8]) -> Result<(), InvocationError> {
        let subject = self.wascap.as_ref();
        let holds = subject.is_some_and(|subject| {
            let mut hash = Sha256::new();
            hash.update(&subject.origin_url);
            hash.update(&subject.target_url);
            hash.update(&invocation.operation);
            hash.update(body);
            subject.hash == HEXUPPER.encode(&hash.finalize())
        });
        match holds {
            true => Ok(()),
            false => Err(InvocationError::OtherBody),
        }
    }
}

/// Returns the part of an invocation's claims that is signed, which nobody can change.
pub fn signed_part(invocation: &Invocation) -> &str {
    let token = &invocation.encoded_claims;
    token.rsplit_once('.').map_or(token, |(signed, _)| signed)
}

/// Whether a URL is that of an entity. The URL of an actor is compared without making one.
fn is_url_of(url: &str, entity: &WasmCloudEntity) -> bool {
    match entity.public_key.starts_with('M') {
        true => url.strip_prefix("wasmbus://") == Some(&entity.public_key),
        false => url == entity.url(),
    }
}

fn decoded(part: &'static str, text: &str) -> Result<Vec<u8>, InvocationError> {
    let decoded = BASE64URL_NOPAD.decode(text.as_bytes());
    decoded.map_err(|source| InvocationError::NotBase64 { part, source })
}

fn parsed<'a, T: Deserialize<'a>>(
    part: &'static str,
    text: &'a [u8],
) -> Result<T, InvocationError> {
    json::from_slice(text).map_err(|error| InvocationError::Unreadable {
        part,
        problem: without_values(&error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::wasmbus::msgpack::decode;
    use nkeys::{KeyPair, KeyPairType};

    const ACTOR: &str = "MBW3UGAIONCX3RIDDUGDCQIRGBQQOWS643CVICQ5EZ7SWNQPZLZTSQKU";
    const LINK: &str = "default";
    const PROVIDER: &str = "VAG3QITQQ2ODAOWB5TTQSDJ53XK3SHBEIFNK4AYJ5RKAX2UNSCAPHA5M";
    const BODY: &[u8] = b"\xa7default";

    fn target_url(invocation: &Invocation) -> String {
        format!("{}/{}", invocation.target.url(), invocation.operation)
    }

    fn entity(public_key: &str, link_name: &str, contract_id: &str) -> WasmCloudEntity {
        WasmCloudEntity {
            public_key: public_key.into(),
            link_name: link_name.into(),
            contract_id: contract_id.into(),
        }
    }

    /// An invocation whose claims are signed after `change` has had its way.
    fn signed(key: &KeyPair, change: impl FnOnce(&mut serde_json::Value)) -> Invocation {
        let mut invocation = Invocation::default();
        invocation.origin = entity(ACTOR, "", "");
        invocation.target = entity(PROVIDER, "default", "wasmcloud:latticecontrol");
        invocation.operation = "LatticeController.GetHosts".into();
        invocation.host_id = KeyPair::new(KeyPairType::Server).public_key();
        invocation.id = "id".into();
        let (origin, target) = (invocation.origin.url(), target_url(&invocation));
        let mut hash = Sha256::new();
        for part in [
            origin.as_bytes(),
            target.as_bytes(),
            invocation.operation.as_bytes(),
            BODY,
        ] {
            hash.update(part);
        }
        let mut claims = serde_json::json!({
            "iss": key.public_key(), "sub": "id", "jti": "j", "iat": 1,
            "wascap": { "target_url": target, "origin_url": origin,
                        "hash": HEXUPPER.encode(&hash.finalize()) },
        });
        change(&mut claims);
        let header = BASE64URL_NOPAD.encode(br#"{"typ":"jwt","alg":"Ed25519"}"#);
        let token = format!(
            "{header}.{}",
            BASE64URL_NOPAD.encode(claims.to_string().as_bytes())
        );
        let signature = BASE64URL_NOPAD.encode(&key.sign(token.as_bytes()).unwrap());
        invocation.encoded_claims = format!("{token}.{signature}");
        invocation
    }

    fn verdict(key: &KeyPair, invocation: &Invocation, body: &[u8]) -> Result<(), String> {
        Verifier::new(PROVIDER, LINK, &[key.public_key()])
            .check_all(&[invocation])
            .remove(0)
            .and_then(|claims| claims.check_body(invocation, body))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_usual_header_is_the_one_that_is_accepted() {
        let usual = BASE64URL_NOPAD.decode(USUAL_HEADER.as_bytes()).unwrap();
        assert_eq!(usual, br#"{"typ":"jwt","alg":"Ed25519"}"#);
    }

    proptest::proptest! {
        #[test]
        fn the_url_of_an_entity_is_the_one_that_wasmbus_rpc_makes(
            key in "[MmVn]?[A-Za-z0-9]{0,3}",
            link in "[a-zA-Z ]{0,3}",
            contract in "[a-zA-Z: ]{0,3}",
            other in "wasmbus://[MVn/A-Z]{0,4}",
        ) {
            let entity = entity(&key, &link, &contract);
            proptest::prop_assert!(is_url_of(&entity.url(), &entity));
            proptest::prop_assert_eq!(is_url_of(&other, &entity), other == entity.url());
        }
    }

    #[test]
    fn each_of_several_invocations_gets_its_own_verdict() {
        let key = KeyPair::new(KeyPairType::Cluster);
        let verifier = Verifier::new(PROVIDER, LINK, &[key.public_key()]);
        let good = signed(&key, |_| {});
        let foreign = signed(&KeyPair::new(KeyPairType::Cluster), |_| {});
        let expired = signed(&key, |claims| claims["exp"] = 5.into());
        let mut forged = signed(&key, |_| {});
        let (token, _) = forged.encoded_claims.rsplit_once('.').unwrap();
        forged.encoded_claims = format!("{token}.{}", BASE64URL_NOPAD.encode(&[1; 64]));
        let all = [&good, &foreign, &good, &expired, &forged, &good];
        let verdicts = verifier.check_all(&all).into_iter().map(Result::err);
        let expected = ["", "issuer", "", "expired", "signature", ""];
        for (verdict, expected) in verdicts.zip(expected) {
            let verdict = verdict.map_or_else(String::new, |error| error.to_string());
            assert_eq!(verdict.is_empty(), expected.is_empty(), "{verdict}");
            assert!(verdict.contains(expected), "{verdict}");
        }
    }

    #[test]
    fn a_signed_invocation_counts() {
        let key = KeyPair::new(KeyPairType::Cluster);
        assert_eq!(verdict(&key, &signed(&key, |_| {}), BODY), Ok(()));
    }

    #[test]
    fn what_the_claims_do_not_cover_is_refused() {
        let key = KeyPair::new(KeyPairType::Cluster);
        type Change = fn(&mut Invocation);
        let changes: [(&str, Change); 8] = [
            ("id", |i| i.id = "another".into()),
            ("target", |i| {
                i.operation = "LatticeController.StopHost".into()
            }),
            ("target", |i| i.target.link_name = "other".into()),
            ("origin", |i| i.origin.public_key = "MOTHER".into()),
            ("host", |i| i.host_id = "C1".into()),
            ("three parts", |i| i.encoded_claims = "a.b".into()),
            ("cannot be read", |i| {
                let (_, rest) = i.encoded_claims.split_once('.').unwrap();
                i.encoded_claims = format!("{}.{rest}", BASE64URL_NOPAD.encode(b"{}"));
            }),
            ("signature", |i| {
                let (token, _) = i.encoded_claims.rsplit_once('.').unwrap();
                i.encoded_claims = format!("{token}.{}", BASE64URL_NOPAD.encode(&[1; 64]));
            }),
        ];
        for (expected, change) in changes {
            let mut invocation = signed(&key, |_| {});
            change(&mut invocation);
            let problem = verdict(&key, &invocation, BODY).unwrap_err();
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
        let problem = verdict(&key, &signed(&key, |_| {}), b"\xa5other").unwrap_err();
        assert!(problem.contains("body"), "{problem}");
    }

    #[test]
    fn times_issuer_and_target_are_checked() {
        let key = KeyPair::new(KeyPairType::Cluster);
        let expired = signed(&key, |claims| claims["exp"] = 5.into());
        assert!(
            verdict(&key, &expired, BODY)
                .unwrap_err()
                .contains("expired")
        );
        let early = signed(&key, |claims| claims["nbf"] = 99_999_999_999_u64.into());
        assert!(
            verdict(&key, &early, BODY)
                .unwrap_err()
                .contains("not valid yet")
        );
        let bare = signed(&key, |claims| claims["wascap"] = serde_json::Value::Null);
        assert!(
            verdict(&key, &bare, BODY)
                .unwrap_err()
                .contains("no target")
        );
        let other = KeyPair::new(KeyPairType::Cluster);
        let foreign = signed(&other, |_| {});
        assert!(
            verdict(&key, &foreign, BODY)
                .unwrap_err()
                .contains("issuer")
        );
        let verifier = Verifier::new("VOTHER", LINK, &[key.public_key()]);
        let problem = verifier
            .check_all(&[&signed(&key, |_| {})])
            .remove(0)
            .err()
            .unwrap()
            .to_string();
        assert!(problem.contains("another provider"), "{problem}");
    }

    #[test]
    fn what_is_not_signed_leaves_what_identifies_an_invocation() {
        let key = KeyPair::new(KeyPairType::Cluster);
        let mut invocation = signed(&key, |_| {});
        let before = signed_part(&invocation).to_owned();
        invocation.host_id = KeyPair::new(KeyPairType::Server).public_key();
        assert_eq!(verdict(&key, &invocation, BODY), Ok(()));
        assert_eq!(signed_part(&invocation), before);
        let other = signed(&key, |claims| claims["jti"] = "k".into());
        assert_ne!(signed_part(&other), before);
    }

    #[test]
    fn input_that_is_nested_deeply_is_an_error_and_no_overflow() {
        let mut bytes = b"\x81\xa1x".to_vec();
        bytes.extend(std::iter::repeat_n(0x91, 1_000_000));
        assert!(decode::<Invocation>(&bytes).is_err());
        let text = format!("{{\"x\":{}", "[".repeat(1_000_000));
        assert!(json::from_slice::<Payload<'_>>(text.as_bytes()).is_err());
    }
}
