//! A real registry server, Debian's `docker-registry`, on a free port.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A registry that ends with this value.
pub struct Registry {
    child: Child,
    _dir: TempDir,
    port: u16,
}

impl Registry {
    /// A registry open to all, over plain HTTP.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let config = dir.path().join("config.yml");
        let store = dir.path().join("store");
        let text = format!(
            "version: 0.1\nlog: {{ level: info }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: \"127.0.0.1:0\" }}\n",
            store.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "docker-registry does not start ({error}): run `scripts/install-servers` \
                     (Debian: apt-get install docker-registry)"
                )
            });
        let until = Instant::now() + Duration::from_secs(10);
        let port = loop {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(port) = listening_on(&said) {
                break port;
            }
            let ended = child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                panic!("docker-registry did not come up ({ended:?}):\n{said}");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        };
        Self {
            child,
            _dir: dir,
            port,
        }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }
}

/// The port in `listening on 127.0.0.1:PORT"`, of the server's log.
fn listening_on(log: &str) -> Option<u16> {
    let (_, rest) = log.split_once("listening on 127.0.0.1:")?;
    rest.split_once('"')?.0.parse().ok()
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
