//! The provider as a process, started as hosts start it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use data_encoding::BASE64;
use lattice_controller::internals::front::wasmbus;
use lattice_controller::internals::front::wasmbus::host_data::HostData;
use lattice_controller::internals::serve::{Operations, Rules};
use lattice_controller::internals::settings::ProviderSettings;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use wasmbus_rpc::core::HealthCheckResponse;
use wasmbus_rpc::wascap::prelude::KeyPair as WascapKey;

use super::nats::NatsServer;
use super::{eventually, secrets, time};

/// The keys and names around one provider.
#[derive(Clone)]
pub struct Identity {
    /// The key that signs invocations.
    pub cluster: Arc<WascapKey>,
    pub host_id: String,
    pub lattice: String,
    pub provider_key: String,
    pub link_name: String,
    /// The linked actor.
    pub actor: String,
}

/// Adds a link of another actor to host data, with the values of the first.
pub fn link_another(host_data: &mut Value, actor: &str) {
    let links = host_data["link_definitions"].as_array_mut().unwrap();
    let mut link = links[0].clone();
    link["actor_id"] = actor.into();
    links.push(link);
}

impl Identity {
    /// Returns new keys, in a lattice of its own: `wasmbus-rpc` keeps one JetStream
    /// client per name of a lattice for the whole process, so two tests that
    /// shared a name would send what is over 900 KiB to the server of the first.
    pub fn new() -> Self {
        static LATTICES: AtomicUsize = AtomicUsize::new(0);
        let number = LATTICES.fetch_add(1, Ordering::Relaxed);
        Self {
            cluster: Arc::new(signing_key(KeyPairType::Cluster)),
            host_id: KeyPair::new(KeyPairType::Server).public_key(),
            lattice: format!("home-{number}"),
            provider_key: KeyPair::new(KeyPairType::Service).public_key(),
            link_name: "default".into(),
            actor: KeyPair::new(KeyPairType::Module).public_key(),
        }
    }

    /// Returns a link of an actor to the provider.
    pub fn link(&self, actor: &str, values: Value) -> Value {
        json!({
            "actor_id": actor, "provider_id": self.provider_key, "link_name": self.link_name,
            "contract_id": "wasmcloud:latticecontrol", "values": values,
        })
    }

    /// Returns host data as a Rust host 0.78 writes it, with log level trace.
    pub fn host_data(&self, nats_url: &str) -> Value {
        json!({
            "host_id": self.host_id,
            "lattice_rpc_prefix": self.lattice,
            "link_name": self.link_name,
            "lattice_rpc_user_jwt": "",
            "lattice_rpc_user_seed": "",
            "lattice_rpc_url": nats_url,
            "provider_key": self.provider_key,
            "invocation_seed": secrets::plant(self.cluster.seed().unwrap()),
            "env_values": {},
            "instance_id": "0f2f5b1a-6b1c-4c57-9c44-6a9d6f1d6c11",
            "link_definitions": [self.link(&self.actor, json!({}))],
            "cluster_issuers": [self.cluster.public_key()],
            "default_rpc_timeout_ms": 2000,
            "structured_logging": false,
            "log_level": "trace",
            "otel_config": { "traces_exporter": null, "exporter_otlp_endpoint": null },
        })
    }

    /// Returns a subject of the provider; `""` is the one for calls.
    pub fn subject(&self, rest: &str) -> String {
        let (lattice, provider, link) = (&self.lattice, &self.provider_key, &self.link_name);
        let dot = if rest.is_empty() { "" } else { "." };
        format!("wasmbus.rpc.{lattice}.{provider}.{link}{dot}{rest}")
    }
}

/// Makes a key that can sign invocations.
pub fn signing_key(kind: KeyPairType) -> WascapKey {
    WascapKey::from_seed(&KeyPair::new(kind).seed().unwrap()).unwrap()
}

/// A running provider, which is killed when this is dropped. Its log must hold
/// no secret that a test planted.
pub struct Provider {
    child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Provider {
    /// Starts it with this host data.
    pub fn start(host_data: &Value) -> Self {
        Self::start_by(Command::new(program()), host_data)
    }

    /// Starts it with this host data by a command that executes it.
    pub fn start_by(command: Command, host_data: &Value) -> Self {
        let line = BASE64.encode(host_data.to_string().as_bytes());
        Self::start_command(command, &format!("{line}\r\n"), &[])
    }

    /// Starts it with these environment variables and no others, writes `line`
    /// to its standard input and closes that.
    pub fn start_with(line: &str, env: &[(&str, &str)]) -> Self {
        Self::start_program(&program(), line, env)
    }

    /// Starts this program in the same way.
    pub fn start_program(program: &Path, line: &str, env: &[(&str, &str)]) -> Self {
        Self::start_command(Command::new(program), line, env)
    }

    /// Starts what becomes the provider: its program, or one that executes it.
    pub fn start_command(mut command: Command, line: &str, env: &[(&str, &str)]) -> Self {
        let mut child = command
            .env_clear()
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The test deals with a provider that does not read.
        let _ = child.stdin.take().unwrap().write_all(line.as_bytes());
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap());
        let kept = log.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = kept.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
        }
    }

    /// Starts it with its log going into a pipe of the test.
    pub fn start_into(host_data: &Value, log: std::io::PipeWriter) -> Self {
        let mut child = Command::new(program())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let line = BASE64.encode(host_data.to_string().as_bytes());
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        Self {
            child,
            log: Arc::default(),
            reader: None,
        }
    }

    /// Returns what it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until it has logged a line with `text`.
    pub async fn logged(&self, text: &str) {
        let found = || async { self.log().contains(text).then_some(()) };
        eventually(&format!("{text:?} in the log"), found).await;
    }

    /// Waits until it has subscribed.
    pub async fn ready(&self) {
        self.logged("ready").await;
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns its resident memory in KiB.
    pub fn resident(&self) -> i64 {
        self.status("VmRSS:")
    }

    /// Returns the number of its threads.
    pub fn threads(&self) -> i64 {
        self.status("Threads:")
    }

    /// Returns a number that the kernel has of its process.
    fn status(&self, name: &str) -> i64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let mut lines = status.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)).unwrap();
        value.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let child = Mutex::new(&mut self.child);
        eventually("the provider to end", || async {
            child.lock().unwrap().try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        let log = self.log();
        if std::thread::panicking() {
            eprintln!("--- log of the provider ---\n{log}");
        } else if let Some(secret) = secrets::found_in(&log) {
            panic!("the provider logged a secret, {secret:?}:\n{log}");
        }
    }
}

/// Asks for its health in MessagePack.
pub async fn health(nats: &async_nats::Client, identity: &Identity) -> HealthCheckResponse {
    let request = nats.request(identity.subject("health"), "".into());
    let reply = time::timeout(Duration::from_secs(5), request);
    rmp_serde::from_slice(&reply.await.unwrap().unwrap().payload).unwrap()
}

/// Waits until it answers a request for its health, for tests that cannot read
/// its log.
pub async fn answers_health(nats: &async_nats::Client, identity: &Identity) {
    eventually("health", || async {
        let asked = nats.request(identity.subject("health"), "".into());
        asked.await.ok()
    })
    .await;
}

/// Serves with operations of a test and these settings in the test's own
/// process.
pub async fn serve_here(operations: impl Operations, settings: &str) -> (NatsServer, Identity) {
    let (nats, identity) = (NatsServer::start(), Identity::new());
    let data = identity.host_data(&nats.url()).to_string();
    let host = HostData::parse(&BASE64.encode(data.as_bytes())).unwrap();
    let rules = Rules::of(&ProviderSettings::parse(Some(settings)));
    tokio::spawn(wasmbus::serve(host, rules, operations));
    answers_health(&nats.client().await, &identity).await;
    (nats, identity)
}

/// Returns the path of the provider's binary: cargo tells it to tests, and
/// examples find it beside themselves.
pub fn program() -> std::path::PathBuf {
    match option_env!("CARGO_BIN_EXE_lattice-controller") {
        Some(path) => path.into(),
        None => {
            let example = std::env::current_exe().unwrap();
            let target = example.parent().unwrap().parent().unwrap();
            target.join("lattice-controller")
        }
    }
}
