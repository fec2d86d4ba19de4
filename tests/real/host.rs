//! A real host as a process, with a folder and keys of its own.
//!
//! Which control protocol a host speaks shows when it answers: hosts of 0.x and of 1.x
//! listen for pings on subjects of their own.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use nkeys::{KeyPair, KeyPairType};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::support::nats::NatsServer;
use crate::support::time::{scaled, timeout};

/// How long a host may take until it answers pings.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// The control protocol of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Of hosts 0.x.
    V0,
    /// Of hosts 1.x.
    V1,
}

impl Protocol {
    const BOTH: [Self; 2] = [Self::V0, Self::V1];

    fn ping(self, lattice: &str) -> String {
        match self {
            Self::V0 => format!("wasmbus.ctl.{lattice}.ping.hosts"),
            Self::V1 => format!("wasmbus.ctl.v1.{lattice}.host.ping"),
        }
    }

    /// Returns what a host says of itself.
    fn said(self, reply: &[u8]) -> Value {
        let reply: Value = serde_json::from_slice(reply).unwrap_or_default();
        match self {
            Self::V0 => reply,
            Self::V1 => reply["response"].clone(),
        }
    }
}

/// The program of a host.
#[derive(Clone, Debug)]
pub struct Binary {
    pub path: String,
    /// As the host tells it.
    pub version: String,
    pub protocol: Protocol,
    /// The option that names its lattice.
    lattice_flag: &'static str,
}

impl Binary {
    /// Starts a program once, to find out what it is.
    ///
    /// # Errors
    /// Where it is no host that this test can start.
    pub async fn at(path: &str) -> Result<Self, String> {
        let help = Command::new(path)
            .arg("--help")
            .stdin(Stdio::null())
            .output();
        let help = help.map_err(|error| format!("{path} --help: {error}"))?;
        let help = String::from_utf8_lossy(&help.stdout).into_owned();
        let lattice_flag = match help.contains("--lattice ") {
            true => "--lattice",
            false => "--lattice-prefix",
        };
        if !help.contains(lattice_flag) || !help.contains("--allow-file-load") {
            return Err(format!(
                "{path} --help names no flags of a wasmCloud host from 0.78 on"
            ));
        }
        let nats = NatsServer::start();
        let mut binary = Self {
            path: path.into(),
            version: String::new(),
            protocol: Protocol::V0,
            lattice_flag,
        };
        let client = nats.client().await;
        let seed = KeyPair::new(KeyPairType::Cluster).seed().unwrap();
        let host = RealHost::start(&binary, "probe", nats.port(), &seed, &[], &client).await;
        let version = host.ping["version"].as_str();
        binary.version = version
            .ok_or_else(|| format!("{path} tells no version"))?
            .into();
        binary.protocol = host.protocol;
        Ok(binary)
    }
}

/// A running host. It ends when this is dropped, and so do the providers that
/// it started.
pub struct RealHost {
    pub id: String,
    protocol: Protocol,
    /// What it said of itself when it was up.
    ping: Value,
    child: Child,
    folder: TempDir,
}

impl RealHost {
    /// Starts a host on the server at this port, with this environment beside the usual
    /// one. One of 0.x signs with this seed.
    pub async fn start(
        binary: &Binary,
        lattice: &str,
        port: u16,
        cluster_seed: &str,
        environment: &[(&str, &str)],
        nats: &async_nats::Client,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::new(KeyPairType::Server);
        let log = File::create(folder.path().join("log")).unwrap();
        let child = Command::new(&binary.path)
            .args([binary.lattice_flag, lattice, "--allow-file-load"])
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", folder.path())
            .env("TMPDIR", folder.path())
            .env("NATS_HOST", "127.0.0.1")
            .env("NATS_PORT", port.to_string())
            .env("WASMCLOUD_NATS_HOST", "127.0.0.1")
            .env("WASMCLOUD_NATS_PORT", port.to_string())
            .env("WASMCLOUD_NATS_URL", format!("nats://127.0.0.1:{port}"))
            .envs(environment.iter().copied())
            .env("WASMCLOUD_CLUSTER_SEED", cluster_seed)
            .env("WASMCLOUD_HOST_SEED", key.seed().unwrap())
            // The host of tools/host ends when this is closed.
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // It leads a process group with the providers that it starts, so
            // that they can be ended together.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut host = Self {
            id: key.public_key(),
            protocol: Protocol::V0,
            ping: Value::Null,
            child,
            folder,
        };
        host.answers_pings(lattice, nats).await;
        host
    }

    /// Waits until it answers a ping, and notes which and what it said.
    async fn answers_pings(&mut self, lattice: &str, nats: &async_nats::Client) {
        let until = Instant::now() + scaled(UP_WITHIN);
        while Instant::now() < until {
            for protocol in Protocol::BOTH {
                let asked = nats.request(protocol.ping(lattice), "".into());
                if let Ok(Ok(reply)) = timeout(Duration::from_secs(1), asked).await {
                    let ping = protocol.said(&reply.payload);
                    if ping["id"] == *self.id {
                        (self.protocol, self.ping) = (protocol, ping);
                        return;
                    }
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("the host did not come up:\n{}", self.log());
    }

    /// Returns the last lines that it and its providers logged.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
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
