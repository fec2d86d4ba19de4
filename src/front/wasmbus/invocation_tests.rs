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
        .check_all(&[invocation], |_, claims| Ok::<_, InvocationError>(claims))
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
    let verdicts = verifier
        .check_all(&all, |_, claims| Ok::<_, InvocationError>(claims))
        .into_iter()
        .map(Result::err);
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
        .check_all(&[&signed(&key, |_| {})], |_, claims| {
            Ok::<_, InvocationError>(claims)
        })
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
