//! A server, a real host of 1.x, a registry, and the provider with two actors that call
//! it.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use async_nats::Client;
use nkeys::{KeyPair, KeyPairType};
use provider_archive::ProviderArchive;
use serde_json::{Value, json};
use wasmbus_rpc::wascap::prelude::KeyPair as WascapKey;

use crate::host::{Binary, RealHost};
use crate::orders::contract::Kind;
use crate::orders::run::Ground;
use crate::orders::seen::Running;
use crate::support::actor::Actor;
use crate::support::nats::NatsServer;
use crate::support::provider::{Identity, Provider};
use crate::v1::component;
use crate::v1::registry::Registry;

/// The lattice of the host.
pub const LATTICE: &str = "real";
/// How many calls a look makes: where two revisions run, calls go to both in turns.
const CALLS: usize = 24;
/// Counts calls that were not answered.
const NO_ANSWER: &str = "no answer";

/// Everything around one host. What was started last ends first.
pub struct Site1x {
    pub callers: [Actor; 2],
    pub control: Client,
    /// The key of the archive of a provider that does nothing.
    pub idle_key: String,
    registry: Registry,
    _provider: Provider,
    pub host: RealHost,
    pub nats: NatsServer,
}

impl Site1x {
    /// Starts all of it. The provider has credentials of no lattice yet.
    pub async fn start(binary: &Binary) -> Self {
        let nats = NatsServer::start();
        let control = nats.client().await;
        let identity = Identity::new();
        let registry = Registry::start().await;
        let seed = identity.cluster.seed().unwrap();
        let insecure = [("WASMCLOUD_OCI_ALLOWED_INSECURE", registry.address.as_str())];
        let host = RealHost::start(binary, LATTICE, nats.port(), &seed, &insecure, &control);
        let host = host.await;
        let mut host_data = identity.host_data(&nats.url());
        // More than the call itself: a new component is compiled first.
        host_data["default_rpc_timeout_ms"] = json!(4000);
        let provider = Provider::start(&host_data);
        provider.ready().await;
        let callers = [
            Actor::connect(&nats.url(), &identity).await,
            Actor::connect(&nats.url(), &identity).await,
        ];
        let idle_key = archive_idle(&host).await;
        Self {
            callers,
            control,
            idle_key,
            registry,
            _provider: provider,
            host,
            nats,
        }
    }

    /// Returns the reference of a revision of a component, which the registry has from now
    /// on.
    pub fn image(&self, name: &str, revision: u32) -> String {
        let tag = revision.to_string();
        self.registry.keep(name, &tag, component::bytes(revision));
        self.missing_image(name, revision)
    }

    /// Returns a reference that the registry does not have.
    pub fn missing_image(&self, name: &str, revision: u32) -> String {
        format!("{}/{name}:{revision}", self.registry.address)
    }

    /// Returns the id that is derived of the references of a component.
    pub fn id(&self, name: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        format!("{}_{name}", self.registry.address)
            .chars()
            .map(plain)
            .collect()
    }

    /// Returns the reference of the provider that does nothing.
    pub fn idle(&self) -> String {
        format!("file://{}", idle_path(&self.host).display())
    }

    /// Asks or tells the hosts something as another client.
    pub async fn tell(&self, rest: &str, body: &Value) -> Value {
        let subject = format!("wasmbus.ctl.v1.{LATTICE}.{rest}");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let reply = self.control.request(subject, body.into()).await;
        serde_json::from_slice(&reply.unwrap().payload).unwrap_or_default()
    }
}

fn idle_path(host: &RealHost) -> std::path::PathBuf {
    host.folder().join("idle.par.gz")
}

/// Makes the archive of a provider that does nothing, and returns its key.
async fn archive_idle(host: &RealHost) -> String {
    let script = b"#!/bin/sh\nexec /bin/sleep 600\n";
    let revision = Some(7);
    let mut archive = ProviderArchive::new("a:b", "idle", "x", revision, Some("0.7.0".into()));
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    archive.add_library(&target, script).unwrap();
    let key = |kind| WascapKey::from_seed(&KeyPair::new(kind).seed().unwrap()).unwrap();
    let (issuer, subject) = (key(KeyPairType::Account), key(KeyPairType::Service));
    let path = idle_path(host);
    archive.write(&path, &issuer, &subject, true).await.unwrap();
    let readable = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(&path, readable).unwrap();
    subject.public_key()
}

impl Ground for Site1x {
    fn kind(&self) -> Kind {
        Kind::V1
    }

    fn lattice(&self) -> &str {
        LATTICE
    }

    fn host(&self) -> &str {
        &self.host.id
    }

    fn callers(&self) -> [&Actor; 2] {
        [&self.callers[0], &self.callers[1]]
    }

    fn control(&self) -> &Client {
        &self.control
    }

    fn new_actor(&mut self) -> String {
        let key = KeyPair::new(KeyPairType::Module).public_key();
        self.id(&key.to_lowercase())
    }

    async fn reference(&self, id: &str, revision: u32) -> String {
        let prefix = self.id("");
        self.image(id.strip_prefix(&prefix).unwrap(), revision)
    }

    fn tells_apart(&self) -> bool {
        true
    }

    async fn answers(&self, id: &str) -> Option<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        for _ in 0..CALLS {
            let Some(revision) = component::call(&self.control, LATTICE, id).await else {
                // Where nothing runs, no call is answered; otherwise each must be.
                if !answers.is_empty() {
                    answers.insert(NO_ANSWER.into(), 1);
                }
                break;
            };
            *answers.entry(format!("R{revision}")).or_default() += 1;
        }
        Some(answers)
    }

    // A real host does not tell what it has lost; its answers do.
    fn running(&self, _: &str) -> Option<Vec<Running>> {
        None
    }
}
