//! A certificate authority and the certificates that it issues, as files for
//! one test.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use super::secrets;

/// An authority. Its files are removed when it is dropped.
pub struct Certs {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certs {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        // Each has a name of its own: two authorities of one name would be
        // mistaken for each other.
        let name = dir.path().to_string_lossy().into_owned();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        Self { dir, ca }
    }

    /// Returns the file of the authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Issues a certificate for these host names and addresses into
    /// `{name}.pem` and `{name}-key.pem`, over an earlier one of that name.
    pub fn issue(&self, name: &str, hosts: &[&str]) -> Pair {
        self.issue_until(name, hosts, 2100)
    }

    /// Issues a certificate for a server on this machine.
    pub fn server(&self) -> Pair {
        self.issue("server", &["127.0.0.1", "localhost"])
    }

    /// Issues a certificate for a server on this machine that expired years
    /// ago.
    pub fn expired_server(&self) -> Pair {
        self.issue_until("expired", &["127.0.0.1", "localhost"], 2020)
    }

    fn issue_until(&self, name: &str, hosts: &[&str], year: i32) -> Pair {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.ca).unwrap();
        let pair = Pair {
            cert: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}-key.pem")),
        };
        let key = key.serialize_pem();
        secrets::plant(key.lines().nth(1).unwrap());
        std::fs::write(&pair.cert, cert.pem()).unwrap();
        std::fs::write(&pair.key, key).unwrap();
        pair
    }

    /// Writes `ca.pem`, `client.pem` and `client-key.pem`, which the settings
    /// in documents name, and returns the text with our folder in the place of
    /// theirs.
    pub fn in_place_of_documented(&self, text: &str) -> String {
        self.issue("client", &[]);
        text.replace("/etc/lattice-controller", self.dir.path().to_str().unwrap())
    }
}

impl Pair {
    /// Returns the configuration of a server with this certificate.
    pub fn config(&self) -> String {
        self.config_with("")
    }

    /// Returns the configuration of a server with this certificate that lets in
    /// only clients with a certificate of this authority.
    pub fn config_for_clients_of(&self, certs: &Certs) -> String {
        let ca = certs.ca();
        self.config_with(&format!("ca_file: \"{}\"\nverify: true", ca.display()))
    }

    fn config_with(&self, rest: &str) -> String {
        let (cert, key) = (self.cert.display(), self.key.display());
        format!("tls {{\ncert_file: \"{cert}\"\nkey_file: \"{key}\"\n{rest}\n}}\n")
    }
}
