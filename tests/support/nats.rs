//! Real `nats-server` processes on free ports of 127.0.0.1.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::eventually;
use super::time::scaled;

/// Part of the name of the provider's connections to lattices.
pub const OURS: &str = "for lattices";

/// A running server, which is killed when this is dropped.
pub struct NatsServer {
    child: Child,
    dir: TempDir,
    config: String,
    jetstream: bool,
    ports: Ports,
}

/// The ports that a server listens on.
struct Ports {
    client: u16,
    monitor: u16,
    websocket: Option<u16>,
    cluster: Option<u16>,
}

/// Returns the server's program: `NATS_SERVER`, else `nats-server` on the PATH,
/// else the place where Debian has it, which is not on the PATH of users.
pub fn program() -> String {
    const DEBIAN: &str = "/usr/sbin/nats-server";
    let on_path = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join("nats-server").is_file())
    };
    match std::env::var("NATS_SERVER") {
        Ok(named) if !named.is_empty() => named,
        _ if !on_path() && Path::new(DEBIAN).is_file() => DEBIAN.into(),
        _ => "nats-server".into(),
    }
}

impl NatsServer {
    /// Starts a server with JetStream that is open to all.
    pub fn start() -> Self {
        Self::launch("", true, None)
    }

    /// Starts a server without JetStream.
    pub fn without_jetstream() -> Self {
        Self::launch("", false, None)
    }

    /// Starts a server with JetStream and this configuration.
    pub fn with_config(config: &str) -> Self {
        Self::launch(config, true, None)
    }

    /// Starts a server without JetStream and with this configuration.
    pub fn with_config_without_jetstream(config: &str) -> Self {
        Self::launch(config, false, None)
    }

    /// Finds a free port for a server that is to start there later. It is below
    /// the ports that the system gives to outgoing connections.
    pub fn free_port() -> u16 {
        let start = 20_000 + (std::process::id() % 10_000) as u16;
        (start..32_000)
            .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap()
    }

    /// Starts a server with JetStream on this port.
    pub fn on_port(port: u16) -> Self {
        Self::launch("", true, Some(port))
    }

    fn launch(config: &str, jetstream: bool, port: Option<u16>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (child, ports) = spawn(dir.path(), config, jetstream, port);
        Self {
            child,
            dir,
            config: config.to_owned(),
            jetstream,
            ports,
        }
    }

    /// Starts the two servers of a cluster without JetStream, each with this
    /// configuration.
    pub async fn cluster(config: &str) -> (Self, Self) {
        let cluster = |port: i32, routes: &str| {
            format!(
                "{config}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}"
            )
        };
        let mut one = Self::with_config_without_jetstream(&cluster(-1, ""));
        let port = one.ports.cluster.unwrap();
        one.config = cluster(port.into(), "");
        let route = format!("\"nats://127.0.0.1:{port}\"");
        let two = Self::with_config_without_jetstream(&cluster(-1, &route));
        for server in [&one, &two] {
            eventually("a route", || async {
                // Later versions of the server make several routes for one.
                (server.monitoring("/routez")["num_routes"].as_u64() >= Some(1)).then_some(())
            })
            .await;
        }
        (one, two)
    }

    /// Starts a server of JetStream domain `hub`, and a leaf node of it that
    /// has domain `leaf` and this configuration.
    pub async fn hub_and_leaf(leaf: &str) -> (Self, Self) {
        let hub = Self::with_config(
            "server_name: hub, jetstream { domain: hub }
            leafnodes { listen: \"127.0.0.1:-1\" }",
        );
        let port = &hub.monitoring("/varz")["leaf"]["port"];
        let leaf = Self::with_config(&format!(
            "server_name: leaf, jetstream {{ domain: leaf }}
            leafnodes {{ remotes: [ {{ url: \"nats://127.0.0.1:{port}\" }} ] }}
            {leaf}"
        ));
        eventually("the leaf node", || async {
            (hub.monitoring("/leafz")["leafnodes"].as_u64() == Some(1)).then_some(())
        })
        .await;
        (hub, leaf)
    }

    /// Returns the subscriptions of connections whose name contains `name`.
    pub fn subscriptions(&self, name: &str) -> Vec<String> {
        let connections = &self.monitoring("/connz?subs=1")["connections"];
        let connections = connections.as_array().into_iter().flatten();
        connections
            .filter(|c| c["name"].as_str().is_some_and(|n| n.contains(name)))
            .flat_map(|c| c["subscriptions_list"].as_array().cloned())
            .flatten()
            .map(|subject| subject.as_str().unwrap().to_owned())
            .collect()
    }

    /// Starts the three servers of a cluster with JetStream, and waits for its
    /// leader.
    pub async fn jetstream_cluster() -> [Self; 3] {
        let listeners = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = listeners.map(|listener| listener.local_addr().unwrap().port());
        let routes = ports
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .join(",");
        let servers = ports.map(|port| {
            Self::with_config(&format!(
                "server_name: n{port}\ncluster {{ name: c, listen: \"127.0.0.1:{port}\", \
                 routes: [{routes}] }}"
            ))
        });
        eventually("a leader", || async {
            let led =
                |server: &Self| server.monitoring("/jsz")["meta_cluster"]["leader"].is_string();
            servers.iter().all(led).then_some(())
        })
        .await;
        servers
    }

    /// Returns its URL.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    /// Returns `host:port`, without a scheme.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.client)
    }

    pub fn port(&self) -> u16 {
        self.ports.client
    }

    /// Returns `host:port` for websockets, where its configuration has
    /// a `websocket { listen: "127.0.0.1:-1" … }`.
    pub fn websocket_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.websocket.unwrap())
    }

    /// Connects a client.
    pub async fn client(&self) -> async_nats::Client {
        async_nats::connect(self.url()).await.unwrap()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Kills it and starts it again on the same port, with the same store.
    pub fn restart(&mut self) {
        self.kill();
        let port = Some(self.ports.client);
        (self.child, self.ports) = spawn(self.dir.path(), &self.config, self.jetstream, port);
    }

    /// Restarts it with JetStream.
    pub fn restart_with_jetstream(&mut self) {
        self.jetstream = true;
        self.restart();
    }

    /// Restarts it without JetStream.
    pub fn restart_without_jetstream(&mut self) {
        self.jetstream = false;
        self.restart();
    }

    /// Returns whether a file of its JetStream store contains these bytes.
    pub fn stores(&self, bytes: &[u8]) -> bool {
        let mut folders = vec![self.dir.path().join("store")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if std::fs::read(path)
                    .unwrap()
                    .windows(bytes.len())
                    .any(|part| part == bytes)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Restarts it with another configuration.
    pub fn reconfigure(&mut self, config: &str) {
        self.config = config.to_owned();
        self.restart();
    }

    /// Has it read another configuration without a restart.
    pub async fn reload(&mut self, config: &str) {
        let loaded = || self.monitoring("/varz")["config_load_time"].clone();
        let before = loaded();
        std::fs::write(self.dir.path().join("server.conf"), config).unwrap();
        self.signal(Signal::SIGHUP);
        eventually("the server to reload", || async {
            (loaded() != before).then_some(())
        })
        .await;
        self.config = config.to_owned();
    }

    /// Puts it into lame duck mode: it asks its clients to leave, and then
    /// stops.
    pub fn lame_duck(&self) {
        self.signal(Signal::SIGUSR2);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Returns what its monitoring says under `path`.
    pub fn monitoring(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.ports.monitor)).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap()
    }

    /// Returns the number of connections made to it since it started.
    pub fn dials(&self) -> u64 {
        self.monitoring("/varz")["total_connections"]
            .as_u64()
            .unwrap()
    }

    /// Returns the number of open connections whose name contains `name`.
    pub fn open_connections(&self, name: &str) -> usize {
        let connections = &self.monitoring("/connz")["connections"];
        let connections = connections.as_array().into_iter().flatten();
        connections
            .filter(|c| c["name"].as_str().is_some_and(|n| n.contains(name)))
            .count()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(dir: &Path, config: &str, jetstream: bool, port: Option<u16>) -> (Child, Ports) {
    let ports = dir.join("ports");
    let _ = std::fs::remove_dir_all(&ports);
    std::fs::create_dir_all(&ports).unwrap();
    let file = dir.join("server.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(program());
    command
        .args(["-a", "127.0.0.1", "-m", "-1", "-c"])
        .arg(&file)
        .args(["-p", &port.map_or("-1".to_owned(), |port| port.to_string())])
        .arg("--ports_file_dir")
        .arg(&ports)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).unwrap());
    if jetstream {
        command.arg("-js").arg("-sd").arg(dir.join("store"));
    }
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!(
            "nats-server does not start ({error}): run `scripts/install-servers` \
             (Debian: apt-get install nats-server), or name one in NATS_SERVER"
        )
    });
    let until = Instant::now() + scaled(Duration::from_secs(10));
    loop {
        if let Some(ports) = ports_of(&ports, child.id()) {
            return (child, ports);
        }
        let ended = child.try_wait().unwrap();
        if ended.is_some() || Instant::now() > until {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            panic!("nats-server did not come up ({ended:?}):\n{log}");
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Reads the ports that the server has written down, which it does once it
/// listens.
fn ports_of(dir: &Path, pid: u32) -> Option<Ports> {
    let suffix = format!("_{pid}.ports");
    let file = std::fs::read_dir(dir)
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().ends_with(&suffix))?;
    let ports: Value = serde_json::from_slice(&std::fs::read(file.path()).ok()?).ok()?;
    let port = |name: &str| {
        let url = ports[name][0].as_str()?;
        url.rsplit_once(':')?.1.parse().ok()
    };
    Some(Ports {
        client: port("nats")?,
        monitor: port("monitoring")?,
        websocket: port("websocket"),
        cluster: port("cluster"),
    })
}
