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

/// The claims of an invocation.
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

    /// Checks everything of these invocations that does not need the body: issuer, times,
    /// host, target, origin and signature. `admit` may refuse those of which only the
    /// signature is left to be checked: that costs most, and they are checked together.
    /// Returns for each, in their order, what `admit` made of its claims, or what is wrong
    /// with it.
    pub fn check_all<T, E: From<InvocationError>>(
        &self,
        invocations: &[&Invocation],
        admit: impl Fn(&Invocation, InvocationClaims) -> Result<T, E>,
    ) -> Vec<Result<T, E>> {
        let mut signed = Vec::with_capacity(invocations.len());
        let mut read = |invocation| -> Result<T, E> {
            let (claims, one) = self.read(invocation)?;
            self.check_claims(&claims, invocation)?;
            let admitted = admit(invocation, claims)?;
            signed.push(one);
            Ok(admitted)
        };
        let read: Vec<_> = invocations.iter().map(|one| read(*one)).collect();
        let mut valid = self.issuers.are_valid(&signed).into_iter();
        let verdict = |read: Result<T, E>| {
            let admitted = read?;
            match valid.next() {
                Some(true) => Ok(admitted),
                _ => Err(InvocationError::InvalidSignature.into()),
            }
        };
        read.into_iter().map(verdict).collect()
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
            name: &invocation.origin.public_key,
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
#[path = "invocation_tests.rs"]
mod tests;
