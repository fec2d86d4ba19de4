//! Claims in the lattice: what hosts write when something starts, and what they
//! answer.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::Shared;
use super::events::Said;
use super::lattice::{Artifact, SimLattice};
use super::table::State;

/// The capability that every actor's claims have.
const CAPS: &str = "wasmcloud:httpserver";

impl SimLattice {
    /// Claims as they are kept in the bucket
    /// (docs/hosts.md#claims-of-several-shapes).
    pub fn stored_claims(&self, artifact: &Artifact) -> Value {
        let (rev, issuer) = (artifact.revision.to_string(), &self.issuer);
        let alias = artifact.call_alias.clone().unwrap_or_default();
        match (self.new_claims, artifact.key.starts_with('M')) {
            (true, true) => json!({
                "call_alias": alias, "capabilities": [CAPS], "issuer": issuer,
                "name": artifact.name, "revision": rev, "subject": artifact.key, "tags": [],
                "version": artifact.version,
            }),
            (true, false) => json!({
                "contract_id": artifact.contract_id, "issuer": issuer, "name": artifact.name,
                "revision": rev, "subject": artifact.key, "version": artifact.version,
            }),
            (false, _) => json!({
                "call_alias": alias, "caps": CAPS, "contract_id": artifact.contract_id,
                "iss": issuer, "name": artifact.name, "rev": rev, "sub": artifact.key,
                "tags": "", "version": artifact.version,
            }),
        }
    }
}

impl Shared {
    /// Notes that something runs: the lattice has its claims from now on and,
    /// where the host is an OTP host, the key behind its reference.
    pub fn know(&self, state: &mut State, artifact: &Artifact, image_ref: &str) {
        let lattice = &self.lattice;
        lattice.know(artifact);
        let mut store = |key: String, value: Value| {
            if self.generation.keeps_bucket() && lattice.has_bucket() {
                state.said.push(Said::Stored(key, value.to_string()));
            }
        };
        let claims = lattice.stored_claims(artifact);
        store(format!("CLAIMS_{}", artifact.key), claims);
        if self.generation.is_otp() {
            lattice.map(image_ref, &artifact.key);
            let entry = json!({ "oci_url": image_ref, "public_key": artifact.key });
            let key = BASE64URL_NOPAD.encode(image_ref.as_bytes());
            store(format!("REFMAP_{key}"), entry);
        }
    }

    /// Returns the answer to `get.claims`.
    pub fn claims_reply(&self) -> Value {
        let known = self.lattice.all_known();
        let claims: Vec<_> = known.iter().map(|a| self.told_claims(a)).collect();
        json!({ "claims": claims })
    }

    fn told_claims(&self, artifact: &Artifact) -> Value {
        let (rev, actor) = (artifact.revision.to_string(), artifact.key.starts_with('M'));
        let mut claims = json!({
            "call_alias": artifact.call_alias.clone().unwrap_or_default(), "caps": CAPS,
            "contract_id": artifact.contract_id, "iss": self.lattice.issuer,
            "name": artifact.name, "rev": rev, "sub": artifact.key, "tags": "",
            "version": artifact.version,
        });
        let members = claims.as_object_mut().unwrap();
        if self.generation.is_otp() && !self.generation.keeps_bucket() {
            members.remove("contract_id");
        }
        if self.generation.is_g3() {
            members.insert("issuer".into(), self.lattice.issuer.clone().into());
            members.insert("subject".into(), artifact.key.clone().into());
            members.insert("revision".into(), rev.into());
            if actor {
                members.remove("contract_id");
                members.insert("capabilities".into(), CAPS.into());
            } else {
                for of_actors in ["call_alias", "caps", "tags"] {
                    members.remove(of_actors);
                }
            }
        }
        claims
    }
}
