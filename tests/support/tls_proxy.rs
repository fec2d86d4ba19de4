//! A proxy that speaks TLS before anything else, in front of a server without
//! TLS. Clients see a server with `handshake_first`, a setting that nats-server
//! has from 2.10.4 on.

use std::net::SocketAddr;
use std::sync::Arc;

use async_nats::rustls::ServerConfig;
use async_nats::rustls::pki_types::pem::PemObject as _;
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::certs::Pair;

/// A running proxy. It and its connections end when this is dropped.
pub struct TlsFirst {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsFirst {
    /// Starts a proxy with this certificate to the server at `host:port`.
    pub async fn to(server: &str, pair: &Pair) -> Self {
        let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap();
        let chain = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = server.to_owned();
        let accepting = tokio::spawn(async move {
            // The connections end with this task.
            let mut carried = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                carried.spawn(carry(acceptor.clone(), client, server.clone()));
            }
        });
        Self { address, accepting }
    }

    /// Returns `host:port`, without a scheme.
    pub fn address(&self) -> String {
        self.address.to_string()
    }
}

impl Drop for TlsFirst {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Carries one connection. Sends nothing before the client has begun with TLS,
/// and closes the connection where the client begins with something else or
/// waits, as servers do after their timeout.
async fn carry(acceptor: TlsAcceptor, client: TcpStream, server: String) {
    const TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);
    let accepted = super::time::timeout(TIMEOUT, acceptor.accept(client)).await;
    let (Ok(Ok(mut client)), Ok(mut server)) = (accepted, TcpStream::connect(server).await) else {
        return;
    };
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}
