//! Any host data is read or refused. A refusal does not quote it, and what is
//! read can start the provider.

use std::time::Duration;

use data_encoding::BASE64;
use lattice_controller::internals::controller::Controller;
use lattice_controller::internals::front::wasmbus::host_data::HostData;
use lattice_controller::internals::front::wasmbus::invocation::Verifier;
use lattice_controller::internals::serve::links::LinkTable;
use lattice_controller::internals::settings::ProviderSettings;
use nkeys::KeyPairType;
use secrecy::ExposeSecret as _;
use serde_json::Value;

/// Checks the promise. The input is the line, and also what the line decodes
/// to.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    read(&String::from_utf8_lossy(input));
    read(&BASE64.encode(input));
    if let Ok(json) = serde_json::from_slice::<Value>(input) {
        let read_json = |json: &Value| read(&BASE64.encode(json.to_string().as_bytes()));
        // The host of a URL is shown, and what stands before it is not.
        let mut all = super::marked(json.clone());
        if let Some(members) = all.as_object_mut() {
            members.remove("lattice_rpc_url");
        }
        read_json(&all);
        // An input with one secret at a time gets further.
        for member in ["lattice_rpc_user_jwt", "lattice_rpc_user_seed"] {
            let mut json = json.clone();
            if let Some(value) = json.get_mut(member) {
                *value = super::marked(value.take());
                read_json(&json);
            }
        }
        let mut json = json;
        if let Some(members) = json.as_object_mut() {
            let url = format!("nats://{0}:{0}@h", super::secret());
            members.insert("lattice_rpc_url".into(), url.into());
            read_json(&json);
        }
    }
}

fn read(line: &str) {
    let data = match HostData::read(line.as_bytes()) {
        Ok(data) => data,
        Err(problem) => return super::check_message(&problem.to_string(), 300),
    };
    let is_token = lattice_controller::internals::name::is_token;
    assert!(is_token(&data.provider_key) && is_token(&data.link_name));
    assert!(data.lattice.split('.').all(is_token));
    assert!(!data.access.servers().is_empty());
    assert!(data.rpc_timeout > Duration::ZERO && data.rpc_timeout <= Duration::from_secs(3600));
    let shown = format!("{:?} {}", data.access, data.access.address());
    assert!(!shown.contains(&super::secret()), "{shown}");
    // The program does this with it.
    let _ = data.access.options("x".into());
    let _ = Verifier::new(&data.provider_key, &data.link_name, &data.cluster_issuers);
    let table = LinkTable::new(&data.provider_key, &data.link_name);
    data.links.into_iter().for_each(|link| table.put(link));
    let config = data.config_json.as_ref().map(|text| text.expose_secret());
    let settings = ProviderSettings::parse(config);
    let _ = data.access.with_tls(ProviderSettings::tls_at_least(config));
    let settings = settings.unwrap_or_default();
    let _ = Controller::new(settings, "x".into(), data.cluster_seed.as_ref());
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let cluster = super::key(KeyPairType::Cluster);
    let user = super::key(KeyPairType::User);
    let part = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let header = part(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#);
    let jwt = format!("{header}.e30.{}", part(&[7; 64]));
    let json = serde_json::json!({
        "host_id": super::key(KeyPairType::Server).public_key(),
        "lattice_rpc_prefix": "default",
        "link_name": "default",
        "lattice_rpc_user_jwt": jwt,
        "lattice_rpc_user_seed": user.seed().unwrap(),
        "lattice_rpc_url": "nats://127.0.0.1:4222, tls://h",
        "lattice_rpc_tls": 0,
        "provider_key": super::key(KeyPairType::Service).public_key(),
        "invocation_seed": cluster.seed().unwrap(),
        "env_values": {},
        "instance_id": "i",
        "link_definitions": [{
            "actor_id": "M1", "provider_id": super::key(KeyPairType::Service).public_key(),
            "link_name": "default", "contract_id": "c", "values": { "lattices": "a" }, "id": "x"
        }],
        "cluster_issuers": [cluster.public_key()],
        "config_json": r#"{"max_calls":7,"default_lattice_url":"nats://u:p@h"}"#,
        "default_rpc_timeout_ms": 3000,
        "structured_logging": true,
        "log_level": "notice",
        "js_domain": "hub",
    });
    let mut plain = json.clone();
    for member in [
        "lattice_rpc_user_jwt",
        "lattice_rpc_user_seed",
        "config_json",
    ] {
        plain[member] = Value::Null;
    }
    plain["lattice_rpc_url"] = "nats://user:password@h:1,nats://user:password@h:2".into();
    let line = BASE64.encode(plain.to_string().as_bytes());
    vec![
        json.to_string().into_bytes(),
        plain.to_string().into_bytes(),
        line.into_bytes(),
    ]
}
