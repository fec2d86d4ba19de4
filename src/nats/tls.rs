//! Settings of TLS: which certificates are checked with what, and which are shown to
//! whom.

use std::path::{Path, PathBuf};

use async_nats::rustls::pki_types::pem::{Error as PemError, PemObject};
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{ClientConfig, RootCertStore};
use async_nats::{ConnectOptions, ServerAddr};

use crate::nats::servers::Servers;

/// Settings of TLS. Files are read anew for every connection, so that a renewed file
/// counts from the next connection on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The CAs that certificates of servers are checked with; without it the system's.
    pub ca_file: Option<PathBuf>,
    /// Our certificate, and those between it and its CA. It is shown to our own NATS
    /// where that asks for one.
    pub cert_file: Option<PathBuf>,
    /// The key of our certificate.
    pub key_file: Option<PathBuf>,
    /// Servers with which TLS begins before anything else is sent (`handshake_first`).
    pub first_servers: Servers,
    /// Servers of lattices that our certificate is shown to where they ask for one.
    pub client_servers: Servers,
}

impl Tls {
    /// Adds the CAs that servers are checked with.
    pub(super) fn with_authorities(&self, options: ConnectOptions) -> ConnectOptions {
        match &self.ca_file {
            Some(path) => options.add_root_certificates(path.clone()),
            None => options,
        }
    }

    /// Has our certificate shown to a server that asks for one.
    pub(super) fn with_certificate(&self, options: ConnectOptions) -> ConnectOptions {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => options.add_client_certificate(cert.clone(), key.clone()),
            _ => options,
        }
    }

    /// Returns whether our certificate is shown to a server of a lattice that asks for
    /// one.
    pub fn shows_certificate_to(&self, server: &ServerAddr) -> bool {
        self.cert_file.is_some() && self.client_servers.contains(server)
    }

    /// Returns whether TLS must be told to begin first with a server. With `wss://` it
    /// always does.
    pub fn is_first(&self, server: &ServerAddr) -> bool {
        !server.is_websocket() && self.first_servers.contains(server)
    }

    /// Checks that a file holds certificates of CAs.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check_ca(path: &Path) -> Result<(), TlsFileError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(path)? {
            let added = roots.add(certificate);
            added.map_err(|error| failed(path, TlsFileProblem::Ca(error)))?;
        }
        Ok(())
    }

    /// Checks that a file holds certificates.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check_cert(path: &Path) -> Result<(), TlsFileError> {
        certificates(path).map(drop)
    }

    /// Checks that a file holds a key.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn check_key(path: &Path) -> Result<(), TlsFileError> {
        key(path).map(drop)
    }

    /// Checks that a key is that of a certificate.
    ///
    /// # Errors
    /// Why they cannot be used together.
    pub fn check_pair(cert_path: &Path, key_path: &Path) -> Result<(), TlsFileError> {
        let (certificates, key) = (certificates(cert_path)?, key(key_path)?);
        ClientConfig::builder()
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(certificates, key)
            .map(drop)
            .map_err(|_| failed(key_path, TlsFileProblem::OtherKey))
    }
}

/// A file that cannot be used. Quotes nothing of it: it may be a key.
#[derive(Debug, thiserror::Error)]
#[error("{} {problem}", path.display())]
pub struct TlsFileError {
    path: PathBuf,
    #[source]
    problem: TlsFileProblem,
}

#[derive(Debug, thiserror::Error)]
enum TlsFileProblem {
    #[error("cannot be read: {0}")]
    Unreadable(std::io::Error),
    #[error("cannot be read: it is not PEM")]
    NoPem,
    #[error("holds no certificate in PEM")]
    NoCertificate,
    #[error("holds no key in PEM")]
    NoKey,
    #[error("holds no CA that can be used: {0}")]
    Ca(async_nats::rustls::Error),
    #[error("does not hold the key of the certificate")]
    OtherKey,
}

impl TlsFileProblem {
    fn of(error: PemError) -> Self {
        match error {
            PemError::Io(error) => Self::Unreadable(error),
            _ => Self::NoPem,
        }
    }
}

fn failed(path: &Path, problem: TlsFileProblem) -> TlsFileError {
    let path = path.to_owned();
    TlsFileError { path, problem }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match read {
        Ok(certificates) if !Vec::is_empty(&certificates) => Ok(certificates),
        Ok(_) | Err(PemError::NoItemsFound) => Err(failed(path, TlsFileProblem::NoCertificate)),
        Err(error) => Err(failed(path, TlsFileProblem::of(error))),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsFileError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        PemError::NoItemsFound => failed(path, TlsFileProblem::NoKey),
        error => failed(path, TlsFileProblem::of(error)),
    })
}
