//! A real host as a process, with a folder and keys of its own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use lattice_controller::internals::lattice::model::Protocol;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use nkeys::{KeyPair, KeyPairType};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::site::Archive;
use crate::support::nats::NatsServer;
use crate::support::provider::Identity;
use crate::support::time::{scaled, timeout};

/// How long a host may take until it answers pings.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// The program of a host.
#[derive(Clone, Debug)]
pub struct Binary {
    pub path: PathBuf,
    pub version: String,
    /// What it speaks: that on whose ping it answers.
    pub protocol: Protocol,
    /// Our provider's archive, where it can run on this host.
    pub archive: Option<Archive>,
    /// The option that names its lattice.
    lattice_flag: &'static str,
}

impl Binary {
    /// Finds out what a program is, for which it is started once.
    ///
    /// # Errors
    /// Where it is no host that this test can start.
    pub async fn at(path: &str) -> Result<Self, String> {
        let say = |flag: &str| {
            let said = Command::new(path).arg(flag).stdin(Stdio::null()).output();
            let said = said.map_err(|error| format!("{path} {flag}: {error}"))?;
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            Ok::<_, String>(said)
        };
        let (version, help) = (say("--version")?, say("--help")?);
        let version = version.split_whitespace().last().map(str::to_owned);
        let lattice_flag = match help.contains("--lattice ") {
            true => "--lattice",
            false => "--lattice-prefix",
        };
        if !help.contains(lattice_flag) || !help.contains("--allow-file-load") {
            return Err(format!(
                "{path} --help names no flags of a wasmCloud host from 0.78 on"
            ));
        }
        let version = version.ok_or_else(|| format!("{path} tells no version"))?;
        // It is started in another folder.
        let path = Path::new(path).canonicalize();
        let path = path.map_err(|error| error.to_string())?;
        let mut binary = Self {
            path,
            version,
            protocol: Protocol::default(),
            archive: None,
            lattice_flag,
        };
        let (nats, identity) = (NatsServer::start(), Identity::new());
        let start = Start {
            lattice: "which",
            port: nats.port(),
            cluster_seed: identity.cluster.seed().map_err(|error| error.to_string())?,
            plain_registry: String::new(),
        };
        let client = nats.client().await;
        let host = RealHost::spawn(&binary, &start);
        binary.protocol = host.answers_pings(&start, &client).await?;
        Ok(binary)
    }
}

/// What a host is started with.
pub struct Start<'a> {
    pub lattice: &'a str,
    /// The port of the server.
    pub port: u16,
    /// With what it signs; hosts of 1.x sign nothing.
    pub cluster_seed: String,
    /// The registry that it may ask without encryption.
    pub plain_registry: String,
}

/// A running host. It ends when this is dropped, and so do the providers that
/// it started.
pub struct RealHost {
    pub id: String,
    child: Child,
    /// A host may end when this closes.
    _input: Option<ChildStdin>,
    folder: TempDir,
}

impl RealHost {
    /// Starts a host, and waits until it answers.
    ///
    /// # Panics
    /// Where it does not, or as a host of another kind than it was.
    pub async fn start(binary: &Binary, start: &Start<'_>, nats: &async_nats::Client) -> Self {
        let host = Self::spawn(binary, start);
        let protocol = host.answers_pings(start, nats).await;
        assert_eq!(protocol, Ok(binary.protocol), "{}", binary.path.display());
        host
    }

    /// Starts a host in the way of all versions: each reads what it knows.
    fn spawn(binary: &Binary, start: &Start<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::new(KeyPairType::Server);
        let log = File::create(folder.path().join("log")).unwrap();
        let port = start.port.to_string();
        let mut child = Command::new(&binary.path)
            .args([binary.lattice_flag, start.lattice, "--allow-file-load"])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            // Of 0.x, of 1.x, and of tools/host.
            .env("NATS_HOST", "127.0.0.1")
            .env("NATS_PORT", &port)
            .env("WASMCLOUD_NATS_HOST", "127.0.0.1")
            .env("WASMCLOUD_NATS_PORT", &port)
            .env("WASMCLOUD_NATS_URL", format!("nats://127.0.0.1:{port}"))
            .env("WASMCLOUD_CLUSTER_SEED", &start.cluster_seed)
            .env("WASMCLOUD_HOST_SEED", key.seed().unwrap())
            .env("WASMCLOUD_OCI_ALLOWED_INSECURE", &start.plain_registry)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // It leads a process group with the providers that it starts, so
            // that they can be ended together.
            .process_group(0)
            .spawn()
            .unwrap();
        Self {
            id: key.public_key(),
            _input: child.stdin.take(),
            child,
            folder,
        }
    }

    /// Waits until it answers one of the two pings, and returns whose.
    ///
    /// # Errors
    /// What it logged, where it does not.
    async fn answers_pings(
        &self,
        start: &Start<'_>,
        nats: &async_nats::Client,
    ) -> Result<Protocol, String> {
        let lattice = start.lattice;
        let pings = [
            (
                Protocol::V0,
                format!("wasmbus.ctl.{lattice}.ping.hosts"),
                "",
            ),
            (
                Protocol::V1,
                format!("wasmbus.ctl.v1.{lattice}.host.ping"),
                "/response",
            ),
        ];
        let until = Instant::now() + scaled(UP_WITHIN);
        while Instant::now() < until {
            for (protocol, subject, place) in &pings {
                let asked = nats.request(subject.clone(), "".into());
                let Ok(Ok(reply)) = timeout(Duration::from_secs(1), asked).await else {
                    continue;
                };
                let reply: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
                if reply
                    .pointer(place)
                    .is_some_and(|ping| ping["id"] == *self.id)
                {
                    return Ok(*protocol);
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the host did not come up:\n{}", self.log()))
    }

    /// Returns what it and its providers logged.
    pub fn whole_log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Returns the last lines of that.
    pub fn log(&self) -> String {
        let log = self.whole_log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// Returns its folder, for files that it loads.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns whether it ends by itself within 15 s (scaled).
    pub async fn ends(&mut self) -> bool {
        let until = Instant::now() + scaled(Duration::from_secs(15));
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for RealHost {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id() as i32), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}
