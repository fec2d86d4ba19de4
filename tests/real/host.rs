//! A real host as a process, with a folder and keys of its own.

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

use crate::support::time::{scaled, timeout};

/// How long a host may take until it answers pings.
const UP_WITHIN: Duration = Duration::from_secs(20);

/// The program of a host.
#[derive(Clone, Debug)]
pub struct Binary {
    pub path: String,
    pub version: String,
    /// The option that names its lattice.
    lattice_flag: &'static str,
}

impl Binary {
    /// Finds out the version of a program.
    ///
    /// # Errors
    /// Where it is no host that this test can start.
    pub fn at(path: &str) -> Result<Self, String> {
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
                "{path} --help names no flags of a wasmCloud host up to 0.82"
            ));
        }
        Ok(Self {
            path: path.into(),
            version: version.ok_or_else(|| format!("{path} tells no version"))?,
            lattice_flag,
        })
    }
}

/// A running host. It ends when this is dropped, and so do the providers that
/// it started.
pub struct RealHost {
    pub id: String,
    child: Child,
    folder: TempDir,
}

impl RealHost {
    /// Starts a host on the server at this port; it signs with this seed.
    pub async fn start(
        binary: &Binary,
        lattice: &str,
        port: u16,
        cluster_seed: &str,
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
            .env("WASMCLOUD_CLUSTER_SEED", cluster_seed)
            .env("WASMCLOUD_HOST_SEED", key.seed().unwrap())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // It leads a process group with the providers that it starts, so
            // that they can be ended together.
            .process_group(0)
            .spawn()
            .unwrap();
        let host = Self {
            id: key.public_key(),
            child,
            folder,
        };
        host.answers_pings(lattice, nats).await;
        host
    }

    async fn answers_pings(&self, lattice: &str, nats: &async_nats::Client) {
        let until = Instant::now() + scaled(UP_WITHIN);
        while Instant::now() < until {
            let asked = nats.request(format!("wasmbus.ctl.{lattice}.ping.hosts"), "".into());
            if let Ok(Ok(reply)) = timeout(Duration::from_secs(1), asked).await {
                let ping: Value = serde_json::from_slice(&reply.payload).unwrap_or_default();
                if ping["id"] == *self.id {
                    return;
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
