//! The two keys of an archive: the issuer (an account) signs it; the subject (a
//! service) is the provider's identity, which links, subjects and credentials
//! of actors name. Another subject is another provider.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use nkeys::{KeyPair, KeyPairType};

/// Where keys come from: the environment, as for `wash`, else files.
#[derive(Args)]
pub struct Keys {
    /// Seed of the issuer (`SA…`), or a file that holds it.
    #[arg(long, env = "WASH_ISSUER_KEY", hide_env_values = true)]
    issuer: Option<String>,
    /// Seed of the subject (`SV…`), or a file that holds it.
    #[arg(long, env = "WASH_SUBJECT_KEY", hide_env_values = true)]
    subject: Option<String>,
    /// Folder of the key files where neither is given; they are made where
    /// missing.
    #[arg(long, default_value = "keys")]
    keys: PathBuf,
}

impl Keys {
    /// The issuer and the subject.
    ///
    /// # Errors
    /// Which of them cannot be used, never its text.
    pub fn load(&self) -> anyhow::Result<(KeyPair, KeyPair)> {
        let issuer = self.key(&self.issuer, "issuer", KeyPairType::Account)?;
        let subject = self.key(&self.subject, "subject", KeyPairType::Service)?;
        Ok((issuer, subject))
    }

    fn key(
        &self,
        given: &Option<String>,
        name: &str,
        kind: KeyPairType,
    ) -> anyhow::Result<KeyPair> {
        let given = given.as_deref().map(str::trim);
        let seed = match given.filter(|text| !text.is_empty()) {
            Some(seed) if KeyPair::from_seed(seed).is_ok() => seed.to_owned(),
            // Not named where it is missing: it may be a seed with a slip in it.
            Some(path) => fs::read_to_string(path)
                .map_err(|_| anyhow::anyhow!("{name} key: neither a seed nor a file"))?,
            None => self.kept(name, kind.clone())?,
        };
        parse(seed.trim(), &kind).with_context(|| format!("{name} key"))
    }

    fn kept(&self, name: &str, kind: KeyPairType) -> anyhow::Result<String> {
        let path = self.keys.join(format!("{name}.nk"));
        if path.exists() {
            return read(&path);
        }
        let seed = KeyPair::new(kind).seed().map_err(|_| no_seed())?;
        fs::create_dir_all(&self.keys)
            .with_context(|| format!("{} cannot be made", self.keys.display()))?;
        write_private(&path, &seed).with_context(|| format!("{}", path.display()))?;
        eprintln!(
            "warning: made {} anew. The provider's identity depends on it: keep it, and set \
             WASH_{}_KEY to the same seed wherever else archives are made",
            path.display(),
            name.to_uppercase()
        );
        Ok(seed)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Writes a new file that only its owner may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

fn parse(seed: &str, kind: &KeyPairType) -> anyhow::Result<KeyPair> {
    let key = KeyPair::from_seed(seed).map_err(|_| no_seed())?;
    if key.key_pair_type() != *kind {
        bail!(
            "it is the seed of another kind of key; it must begin with {}",
            match kind {
                KeyPairType::Account => "SA",
                _ => "SV",
            }
        );
    }
    Ok(key)
}

fn no_seed() -> anyhow::Error {
    anyhow::anyhow!("it is no seed")
}
