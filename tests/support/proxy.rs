//! A TCP proxy in front of a server that can make connections fail in the ways
//! in which networks fail.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Nobody reads them: they pile up at their sender.
    Freeze,
    /// They are read and dropped, and the sender does not notice.
    Lose,
    /// The connection ends.
    Cut,
}

/// A running proxy. It and its connections end when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    /// For present and later connections.
    mode: Arc<Mutex<watch::Sender<Mode>>>,
    /// For connections that stay lost.
    lost: Mutex<Vec<watch::Sender<Mode>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy to the server at `host:port`.
    pub async fn to(server: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that a frozen connection is soon full.
        socket.set_recv_buffer_size(8192).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(Mutex::new(watch::Sender::new(Mode::Pass)));
        let (server, modes) = (server.to_owned(), mode.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mode = modes.lock().unwrap().subscribe();
                tokio::spawn(carry(client, server.clone(), mode));
            }
        });
        Self {
            address,
            mode,
            lost: Mutex::default(),
            accepting,
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Stops reading on every connection.
    pub fn freeze(&self) {
        self.set(Mode::Freeze);
    }

    /// Drops everything on every connection from now on; the connections stay
    /// open.
    pub fn lose(&self) {
        self.set(Mode::Lose);
    }

    /// Carries everything again, except on connections that stay lost.
    pub fn heal(&self) {
        self.set(Mode::Pass);
    }

    /// Drops everything on the present connections for ever, as a firewall does
    /// that forgot them. New ones can be made.
    pub fn forget_connections(&self) {
        let mut mode = self.mode.lock().unwrap();
        mode.send_replace(Mode::Lose);
        let forgotten = std::mem::replace(&mut *mode, watch::Sender::new(Mode::Pass));
        self.lost.lock().unwrap().push(forgotten);
    }

    /// Ends the present connections. New ones can be made.
    pub fn cut(&self) {
        let mut mode = self.mode.lock().unwrap();
        mode.send_replace(Mode::Cut);
        *mode = watch::Sender::new(Mode::Pass);
    }

    fn set(&self, mode: Mode) {
        self.mode.lock().unwrap().send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

/// Carries one connection. The server sees it once it is neither frozen nor
/// lost.
async fn carry(client: TcpStream, server: String, mut mode: watch::Receiver<Mode>) {
    if mode.wait_for(|mode| *mode == Mode::Pass).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (client, server) = (client.into_split(), server.into_split());
    // Both directions end with the first of them.
    tokio::select! {
        () = pump(client.0, server.1, mode.clone()) => {}
        () = pump(server.0, client.1, mode) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let now = *mode.borrow_and_update();
        let read = tokio::select! {
            changed = mode.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            read = from.read(&mut bytes), if !matches!(now, Mode::Freeze | Mode::Cut) => read,
            () = std::future::ready(()), if now == Mode::Cut => return,
        };
        let Ok(length @ 1..) = read else { return };
        let lost = *mode.borrow() == Mode::Lose;
        if !lost && to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
