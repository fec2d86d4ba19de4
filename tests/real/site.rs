//! A server, a real host, the provider in one of its two ways to run, and two
//! linked actors that call it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use lattice_controller::internals::lattice::model::Protocol;
use provider_archive::ProviderArchive;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wasmbus_rpc::common::Message;
use wasmbus_rpc::core::WasmCloudEntity;
use wasmbus_rpc::rpc_client::RpcClient;
use wasmbus_rpc::wascap::prelude::KeyPair;
use wasmcloud_interface_lattice_control::LatticeController as _;

use crate::host::{Binary, RealHost, Start};
use crate::modules::{FUNCTION, INSTANCE, Module};
use crate::orders::contract::Kind;
use crate::orders::run::Ground;
use crate::orders::seen::Running;
use crate::registry::Registry;
use crate::support::actor::Actor;
use crate::support::nats::NatsServer;
use crate::support::provider::{Identity, Provider};
use crate::support::time::scaled;
use crate::support::world::ctx;
use crate::{stand_in, wrpc};

/// The lattice of the host.
pub const LATTICE: &str = "real";

/// How many calls of an actor a look makes: enough to meet each of a few
/// groups.
const CALLS: usize = 24;

/// Counts calls that were not answered.
const NO_ANSWER: &str = "no answer";

/// How the provider runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As an archive that the commanded host starts.
    Archive,
    /// As a process beside the host, in a lattice of its own.
    Alone,
}

impl Way {
    pub const BOTH: [Self; 2] = [Self::Archive, Self::Alone];

    pub fn name(self) -> &'static str {
        match self {
            Self::Archive => "archive on the host",
            Self::Alone => "standing alone",
        }
    }
}

/// Everything around one host. What was started last ends first.
pub struct Site {
    pub callers: [Actor; 2],
    pub modules: Vec<Module>,
    /// A provider that the host can start.
    pub archive: Archive,
    pub way: Way,
    pub control: Client,
    pub protocol: Protocol,
    pub registry: Arc<Registry>,
    cluster: Arc<KeyPair>,
    kind: Kind,
    /// Whether its host says that it does not find an image: those of 1.1.1 and later.
    says_failures: bool,
    rpc: RpcClient,
    provider: Option<Provider>,
    pub host: RealHost,
    pub nats: NatsServer,
}

/// The provider's archive.
#[derive(Clone, Debug)]
pub struct Archive {
    /// The reference that hosts get.
    pub reference: String,
    /// The provider's key.
    pub key: String,
}

impl Archive {
    /// Reads the claims of an archive.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub async fn at(path: &Path) -> Result<Self, String> {
        let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
        let archive = ProviderArchive::try_load_target_from_file(path, &target).await;
        let archive = archive.map_err(|error| format!("{}: {error}", path.display()))?;
        let path = path.canonicalize().map_err(|error| error.to_string())?;
        Ok(Self {
            reference: format!("file://{}", path.display()),
            key: archive.claims().ok_or("the archive has no claims")?.subject,
        })
    }
}

impl Site {
    /// Starts all of it. The provider has credentials of no lattice yet.
    pub async fn start(binary: &Binary, way: Way) -> Self {
        Self::start_with(binary, way, &json!({})).await
    }

    /// Starts all of it. A provider that stands alone has these settings.
    pub async fn start_with(binary: &Binary, way: Way, settings: &Value) -> Self {
        let nats = NatsServer::start();
        let control = nats.client().await;
        let mut identity = Identity::new();
        let registry = Arc::new(Registry::start().await);
        let start = Start {
            lattice: LATTICE,
            port: nats.port(),
            cluster_seed: identity.cluster.seed().unwrap(),
            plain_registry: registry.address.clone(),
        };
        let host = RealHost::start(binary, &start, &control).await;
        let archive = match &binary.archive {
            Some(archive) => archive.clone(),
            None => stand_in::archive(host.folder()).await,
        };
        let provider = match way {
            Way::Archive => {
                identity.lattice = LATTICE.into();
                identity.host_id = host.id.clone();
                identity.provider_key = archive.key.clone();
                start_archive(&control, &identity, &archive).await;
                None
            }
            Way::Alone => {
                let mut host_data = identity.host_data(&nats.url());
                host_data["config_json"] = settings.to_string().into();
                let provider = Provider::start(&host_data);
                provider.ready().await;
                Some(provider)
            }
        };
        let callers = [
            Actor::connect(&nats.url(), &identity).await,
            Actor::connect(&nats.url(), &identity).await,
        ];
        answers(&callers[0], &host).await;
        let rpc = wasmbus_rpc::async_nats::connect(nats.url()).await.unwrap();
        let timeout = Some(Duration::from_secs(2));
        let cluster: Arc<KeyPair> = identity.cluster.clone();
        Self {
            callers,
            modules: Vec::new(),
            archive,
            way,
            control,
            protocol: binary.protocol,
            registry,
            kind: match binary.protocol {
                Protocol::V0 => Kind::of(&binary.version),
                Protocol::V1 => Kind::V1,
            },
            says_failures: binary.protocol == Protocol::V1
                && !["1.0.", "1.1.0"]
                    .iter()
                    .any(|old| binary.version.starts_with(old)),
            rpc: RpcClient::new(rpc, host.id.clone(), timeout, cluster.clone()),
            cluster,
            provider,
            host,
            nats,
        }
    }

    /// Returns what another host in the lattice is started with.
    pub fn another(&self) -> Start<'static> {
        Start {
            lattice: LATTICE,
            port: self.nats.port(),
            cluster_seed: self.cluster.seed().unwrap(),
            plain_registry: self.registry.address.clone(),
        }
    }

    /// Returns the reference of a revision of an actor that this site made.
    pub fn file(&self, key: &str, revision: u32) -> String {
        let module = self.modules.iter().find(|module| module.id() == key);
        module.unwrap().reference(revision)
    }

    /// Returns what the provider logged, where it stands alone.
    pub fn provider_log(&self) -> String {
        let log = self.provider.as_ref().map(Provider::log);
        log.unwrap_or_default()
    }

    /// Calls an actor as any other actor would, and returns its answer, or
    /// `None` where there is none.
    async fn call(&self, key: &str) -> Option<String> {
        match self.protocol {
            Protocol::V0 => self.call_actor(key).await,
            Protocol::V1 => {
                let answer = wrpc::call(&self.control, LATTICE, key, INSTANCE, FUNCTION);
                Some(format!("R{}", answer.await?))
            }
        }
    }

    async fn call_actor(&self, key: &str) -> Option<String> {
        let origin = WasmCloudEntity {
            public_key: self.modules[0].key(),
            ..Default::default()
        };
        let target = WasmCloudEntity {
            public_key: key.to_owned(),
            ..Default::default()
        };
        let message = Message {
            method: "Test.Revision",
            arg: Vec::new().into(),
        };
        let answer = self.rpc.send(origin, target, LATTICE, message).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
}

/// Has the host start the archive, and links it.
async fn start_archive(control: &Client, identity: &Identity, archive: &Archive) {
    let link = identity.link(&identity.actor, json!({}));
    ordered(control, "linkdefs.put", &link).await;
    let start = json!({
        "host_id": identity.host_id, "provider_ref": archive.reference,
        "link_name": identity.link_name,
    });
    ordered(control, &format!("cmd.{}.lp", identity.host_id), &start).await;
}

async fn ordered(control: &Client, rest: &str, body: &Value) {
    let subject = format!("wasmbus.ctl.{LATTICE}.{rest}");
    let reply = control.request(subject, body.to_string().into()).await;
    let reply = reply.unwrap().payload;
    let ack: Value = serde_json::from_slice(&reply).unwrap();
    assert_eq!(ack["accepted"], true, "{rest}: {ack}");
}

/// Waits until the provider answers a linked actor.
async fn answers(caller: &Actor, host: &RealHost) {
    let until = Instant::now() + scaled(Duration::from_secs(20));
    loop {
        let asked = caller.lattice().get_hosts(&ctx(), "unknown").await;
        let said = asked.map_or_else(|error| error.to_string(), |_| String::new());
        if said.contains("is unknown") {
            return;
        }
        let late = Instant::now() > until;
        assert!(
            !late,
            "the provider does not answer: {said}\n{}",
            host.log()
        );
        sleep(Duration::from_millis(50)).await;
    }
}

impl Ground for Site {
    fn kind(&self) -> Kind {
        self.kind
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
        let module = match self.protocol {
            Protocol::V0 => Module::actor(self.host.folder().into()),
            Protocol::V1 => {
                let repository = format!("real/shop{}", self.modules.len());
                Module::component(self.registry.clone(), &repository)
            }
        };
        let id = module.id();
        self.modules.push(module);
        id
    }

    async fn reference(&self, key: &str, revision: u32) -> String {
        self.file(key, revision)
    }

    // Files have no tags, so their names tell nothing.
    fn tells_apart(&self) -> bool {
        self.protocol == Protocol::V1
    }

    fn says_failures(&self) -> bool {
        self.says_failures
    }

    async fn answers(&self, key: &str) -> Option<BTreeMap<String, usize>> {
        let mut answers = BTreeMap::new();
        // Calls go one by one: host 0.78 may hang when an actor is called many
        // times at once.
        for _ in 0..CALLS {
            let Some(answer) = self.call(key).await else {
                // Where no instance runs, no call is answered; otherwise each
                // must be.
                if !answers.is_empty() {
                    answers.insert(NO_ANSWER.into(), 1);
                }
                break;
            };
            *answers.entry(answer).or_default() += 1;
        }
        Some(answers)
    }

    // A real host does not tell what it has lost.
    fn running(&self, _: &str) -> Option<Vec<Running>> {
        None
    }
}
