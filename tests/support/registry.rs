//! A real registry server, Debian's `docker-registry`, on a free port.

use std::net::{TcpListener, TcpStream};
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
        // Below those that connections are made from, and free a moment ago;
        // taken meanwhile, the server says so and ends.
        let start = 20_000 + (std::process::id() % 10_000) as u16;
        let port = (start..32_000)
            .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap();
        let log = dir.path().join("log");
        let config = dir.path().join("config.yml");
        let store = dir.path().join("store");
        let text = format!(
            "version: 0.1\nlog: {{ level: warn }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
             http: {{ addr: 127.0.0.1:{port} }}\n",
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
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                panic!("docker-registry did not come up ({ended:?}):\n{log}");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
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

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
