//! Secrets are used and occur in no log. Every provider that the suite starts
//! logs at trace, and its log is searched for secrets when it ends (see
//! `support::provider`). The tests here make the calls that carry secrets.

use std::collections::HashMap;
use std::sync::Arc;

use crate::support::actor::Actor;
use crate::support::jwt::Operator;
use crate::support::nats::NatsServer;
use crate::support::operator::accepted;
use crate::support::provider::{Identity, Provider};
use crate::support::secrets::{found_in, plant};
use crate::support::world::{World, ctx};
use nkeys::{KeyPair, KeyPairType};
use serde_json::json;
use wasmcloud_interface_lattice_control::*;

/// Starts a server without JetStream that requires JWTs.
fn server_of(operator: &Operator) -> NatsServer {
    NatsServer::with_config_without_jetstream(&operator.server_config())
}

#[tokio::test]
async fn a_jwt_and_its_seed_connect_to_a_lattice() {
    let operator = Operator::new();
    let remote = server_of(&operator);
    let world = World::start().await;
    let user = operator.user(0);
    let request = SetLatticeCredentialsRequest {
        lattice_id: "x".into(),
        nats_url: Some(remote.address()),
        user_jwt: Some(user.jwt.clone()),
        user_seed: Some(user.seed.clone()),
        js_domain: None,
    };
    let client = world.actor.lattice();
    accepted(client.set_lattice_credentials(&ctx(), &request).await);
    assert!(client.get_hosts(&ctx(), "x").await.unwrap().is_empty());
    assert_eq!(remote.open_connections("for lattices"), 1);
    // An anonymous login is refused there.
    world.set_lattice("y", &remote.url()).await;
    let error = client.get_hosts(&ctx(), "y").await.unwrap_err().to_string();
    assert!(error.contains("rejected the credentials"), "{error}");
}

#[tokio::test]
async fn a_jwt_that_expired_or_belongs_to_another_is_refused_when_it_is_set() {
    let operator = Operator::new();
    let world = World::start().await;
    let (expired, user, other) = (
        operator.user(1_700_000_000),
        operator.user(0),
        operator.user(0),
    );
    for (jwt, seed, expected) in [
        (&expired.jwt, &expired.seed, "has expired"),
        (&user.jwt, &other.seed, "different users"),
    ] {
        let request = SetLatticeCredentialsRequest {
            lattice_id: "x".into(),
            nats_url: None,
            user_jwt: Some(jwt.clone()),
            user_seed: Some(seed.clone()),
            js_domain: None,
        };
        let client = world.actor.lattice();
        let ack = client
            .set_lattice_credentials(&ctx(), &request)
            .await
            .unwrap();
        assert!(
            !ack.accepted && ack.error.contains(expected),
            "{}",
            ack.error
        );
        assert_eq!(found_in(&ack.error), None);
    }
}

#[tokio::test]
async fn host_datas_jwt_and_seed_connect_to_our_lattice_and_to_no_other() {
    let operator = Operator::new();
    let home = server_of(&operator);
    let (ours, actors) = (operator.user(0), operator.user(0));
    let identity = Identity::new();
    let mut data = identity.host_data(&home.url());
    data["lattice_rpc_user_jwt"] = ours.jwt.clone().into();
    data["lattice_rpc_user_seed"] = ours.seed.clone().into();
    let provider = Provider::start(&data);
    provider.ready().await;
    let seed = Arc::new(KeyPair::from_seed(&actors.seed).unwrap());
    let nats =
        wasmbus_rpc::async_nats::ConnectOptions::with_jwt(actors.jwt.clone(), move |nonce| {
            let seed = seed.clone();
            async move {
                seed.sign(&nonce)
                    .map_err(wasmbus_rpc::async_nats::AuthError::new)
            }
        });
    let nats = nats.connect(home.address()).await.unwrap();
    let actor = Actor::over(nats, &identity, &identity.actor, &identity.cluster);
    let request = SetLatticeCredentialsRequest {
        lattice_id: "x".into(),
        nats_url: Some(home.address()),
        ..Default::default()
    };
    let client = actor.lattice();
    client
        .set_lattice_credentials(&ctx(), &request)
        .await
        .unwrap();
    // Our own server requires a JWT. A lattice does not get ours.
    let error = client.get_hosts(&ctx(), "x").await.unwrap_err().to_string();
    assert!(error.contains("rejected the credentials"), "{error}");
}

#[tokio::test]
async fn user_info_in_urls_logs_in_and_is_not_shown() {
    let (user, password) = (plant("operator-alice"), plant("p%40ss-w0rd-of-alice"));
    let clear = plant("p@ss-w0rd-of-alice");
    let config =
        format!("authorization {{ users: [ {{ user: \"{user}\", password: \"{clear}\" }} ] }}");
    let (home, remote) = (
        NatsServer::with_config(&config),
        NatsServer::with_config(&config),
    );
    let identity = Identity::new();
    let url = |server: &NatsServer| format!("nats://{user}:{password}@{}", server.address());
    let provider = Provider::start(&identity.host_data(&url(&home)));
    provider.ready().await;
    // The old client takes passwords in URLs without decoding them.
    let nats = wasmbus_rpc::async_nats::ConnectOptions::with_user_and_password(user.clone(), clear);
    let nats = nats.connect(home.address()).await.unwrap();
    let actor = Actor::over(nats, &identity, &identity.actor, &identity.cluster);
    let request = SetLatticeCredentialsRequest {
        lattice_id: "x".into(),
        nats_url: Some(url(&remote)),
        ..Default::default()
    };
    let client = actor.lattice();
    accepted(client.set_lattice_credentials(&ctx(), &request).await);
    assert!(client.get_hosts(&ctx(), "x").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_sent_on_to_hosts_is_not_shown() {
    let world = World::with_lattice().await;
    let client = world.actor.lattice();
    let configuration = plant("configuration-with-a-secret");
    let command = StartProviderCommand {
        lattice_id: "default".into(),
        host_id: KeyPair::new(KeyPairType::Server).public_key(),
        provider_ref: "x".into(),
        link_name: "default".into(),
        annotations: None,
        configuration: Some(configuration),
    };
    client.start_provider(&ctx(), &command).await.unwrap();
    let request = SetRegistryCredentialsRequest {
        lattice_id: "default".into(),
        credentials: Some(HashMap::from([(
            "ghcr.io".to_owned(),
            RegistryCredential {
                token: Some(plant("registry-token-abc")),
                username: Some("alice".into()),
                password: Some(plant("registry-password-abc")),
                registry_type: "oci".into(),
            },
        )])),
    };
    let error = client
        .set_registry_credentials(&ctx(), &request)
        .await
        .unwrap_err();
    assert_eq!(found_in(&error.to_string()), None);
    let mut link = wasmbus_rpc::core::LinkDefinition::default();
    link.actor_id = KeyPair::new(KeyPairType::Module).public_key();
    link.provider_id = KeyPair::new(KeyPairType::Service).public_key();
    link.link_name = "default".into();
    link.contract_id = "wasmcloud:keyvalue".into();
    link.values = HashMap::from([("URL".into(), plant("redis://u:link-value-secret@h"))]);
    let request = AdvertiseLinkRequest {
        lattice_id: "default".into(),
        link,
    };
    client.advertise_link(&ctx(), &request).await.unwrap();
    // The log has all lines of these calls.
    world
        .provider
        .logged("LatticeController.AdvertiseLink")
        .await;
}

#[tokio::test]
async fn link_values_that_are_no_settings_are_not_shown() {
    let nats = NatsServer::start();
    let identity = Identity::new();
    let mut data = identity.host_data(&nats.url());
    let secret = plant("a-secret-in-link-values");
    data["link_definitions"][0]["values"] = json!({ "password": secret, "operations": secret });
    let provider = Provider::start(&data);
    provider.ready().await;
    provider.logged("link refused").await;
}

#[tokio::test]
async fn the_configuration_is_not_shown() {
    let secret = plant("a-secret-in-the-configuration");
    let world = World::start_on(NatsServer::start(), |data| {
        data["config_json"] =
            format!("{{\"default_lattice_url\": \"http://u:{secret}@h\", \"x\": \"{secret}\"}}")
                .into();
    })
    .await;
    let error = world.hosts("x").await.unwrap_err();
    assert!(error.contains("default_lattice_url"), "{error}");
    assert_eq!(found_in(&error), None);
}

/// Returns how often a text occurs in the memory of a process, or `None` where
/// that cannot be read.
fn in_memory(pid: u32, text: &[u8]) -> Option<usize> {
    use std::os::unix::fs::FileExt as _;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut found = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (from, to) = range.split_once('-')?;
        let number = |hex| u64::from_str_radix(hex, 16).ok();
        let (from, to) = (number(from)?, number(to)?);
        let mut bytes = vec![0; (to - from) as usize];
        if rights.starts_with("rw") && memory.read_exact_at(&mut bytes, from).is_ok() {
            found += bytes
                .windows(text.len())
                .filter(|part| *part == text)
                .count();
        }
    }
    Some(found)
}

#[tokio::test]
async fn what_the_host_wrote_is_not_left_in_memory() {
    let (home, identity) = (NatsServer::without_jetstream(), Identity::new());
    let mut data = identity.host_data(&home.url());
    let secret = plant("a-password-of-a-default");
    let url = format!("nats://alice:{secret}@h");
    data["config_json"] = json!({ "default_lattice_url": url }).to_string().into();
    // So much that its buffer has to grow.
    let link = |_| identity.link(&KeyPair::new(KeyPairType::Module).public_key(), json!({}));
    data["link_definitions"] = (0..150).map(link).collect();
    let provider = Provider::start(&data);
    provider.ready().await;
    let count = |text: &str| in_memory(provider.pid(), text.as_bytes());
    let Some(known) = count(&identity.host_id) else {
        return eprintln!("skipped: the memory of a child process cannot be read here");
    };
    // A text that is no secret is found, so the search works.
    assert!(known > 0);
    let line = data_encoding::BASE64.encode(data.to_string().as_bytes());
    assert_eq!(count(&identity.cluster.seed().unwrap()), Some(0));
    for start in (0..line.len() - 64).step_by(4 * 1024) {
        assert_eq!(count(&line[start..start + 64]), Some(0), "at {start}");
    }
    // The settings are in memory once, where they are kept.
    assert_eq!(count(&secret), Some(1));
}

#[test]
fn no_public_type_shows_a_secret_in_its_debug_output() {
    use lattice_controller::internals::credentials::{
        Credentials, FingerprintKey, GivenCredentials,
    };
    use lattice_controller::internals::name::{JsDomain, LatticeId};
    use lattice_controller::internals::nats::{Access, Login};
    use lattice_controller::internals::settings::ProviderSettings;
    let user = Operator::new().user(0);
    let password = plant("debugged-password");
    let entry = |urls: &str, with_jwt: bool| GivenCredentials {
        lattice: LatticeId::parse("x").unwrap(),
        actor: "M".into(),
        set_at: 0,
        urls: urls.into(),
        jwt: with_jwt.then(|| user.jwt.as_str().into()),
        seed: with_jwt.then(|| user.seed.as_str().into()),
        js_domain: Some(JsDomain::parse("hub").unwrap()),
    };
    let urls = format!("nats://u:{password}@h:4222");
    let with_password = Credentials::new(&entry(&urls, false)).unwrap();
    let with_jwt = Credentials::new(&entry("h", true)).unwrap();
    let key = plant(nkeys::XKey::new().seed().unwrap());
    let settings = json!({ "credentials_key": key, "default_lattice_url": urls }).to_string();
    let settings = ProviderSettings::parse(Some(&settings)).unwrap();
    let access = Access::parse(&urls, Login::Anonymous).unwrap();
    let fingerprint = with_jwt.fingerprint(&FingerprintKey::new([7; 16]));
    let shown = [
        format!(
            "{with_password:?} {with_jwt:?} {access:?} {:?}",
            access.login()
        ),
        format!(
            "{settings:?} {:?} {fingerprint:?} {fingerprint}",
            settings.lattices
        ),
        format!("{:?}", Login::Nkey(user.seed.as_str().into())),
        format!("{:?}", Login::Token(password.as_str().into())),
        format!(
            "{:?}",
            Credentials::new(&entry("http://h", true)).unwrap_err()
        ),
    ];
    for text in shown {
        assert_eq!(found_in(&text), None, "{text}");
    }
}
