//! Packing and reading archives, with the library that hosts read them with.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use provider_archive::ProviderArchive;

use crate::keys::Keys;

/// What goes into an archive.
#[derive(Args)]
pub struct Pack {
    /// A binary: `x86_64-linux=path`. Hosts take the one that is named after
    /// them.
    #[arg(long = "binary", required = true)]
    binaries: Vec<String>,
    /// The archive to write; `.gz` compresses it.
    #[arg(long)]
    out: PathBuf,
    /// Contract id.
    #[arg(long)]
    capid: String,
    /// Name for people.
    #[arg(long)]
    name: String,
    /// Vendor for people.
    #[arg(long)]
    vendor: String,
    /// Version for people.
    #[arg(long)]
    ver: String,
    /// Revision; hosts keep unpacked archives by it, 0 has them go by the time
    /// of packing.
    #[arg(long, default_value_t = 0)]
    rev: i32,
    /// A file with the JSON schema of what can be configured.
    #[arg(long)]
    schema: Option<PathBuf>,
    #[command(flatten)]
    keys: Keys,
}

/// Packs an archive, and reads it back.
///
/// # Errors
/// What of it cannot be read, written or used.
pub async fn pack(pack: Pack) -> anyhow::Result<()> {
    let (issuer, subject) = pack.keys.load()?;
    let mut archive = ProviderArchive::new(
        &pack.capid,
        &pack.name,
        &pack.vendor,
        Some(pack.rev),
        Some(pack.ver),
    );
    for binary in &pack.binaries {
        let (target, path) = binary
            .split_once('=')
            .ok_or_else(|| anyhow!("--binary {binary}: it must be target=path"))?;
        let bytes = read(Path::new(path)).await?;
        archive.add_library(target, &bytes).map_err(plain)?;
    }
    if let Some(path) = &pack.schema {
        let schema = serde_json::from_slice(&read(path).await?)
            .with_context(|| format!("{} is not JSON", path.display()))?;
        archive.set_schema(schema).map_err(plain)?;
    }
    if let Some(folder) = pack.out.parent() {
        tokio::fs::create_dir_all(folder)
            .await
            .with_context(|| format!("{} cannot be made", folder.display()))?;
    }
    let compressed = pack.out.extension().is_some_and(|end| end == "gz");
    // Read back before it takes the place of an older one.
    let part = pack.out.with_extension("part.gz");
    archive
        .write(&part, &issuer, &subject, compressed)
        .await
        .map_err(plain)?;
    load(&part).await?;
    tokio::fs::rename(&part, &pack.out)
        .await
        .with_context(|| format!("{} cannot be written", pack.out.display()))?;
    println!("{}: {}", pack.out.display(), subject.public_key());
    Ok(())
}

/// Prints the claims of an archive.
///
/// # Errors
/// Why it is none.
pub async fn inspect(path: &Path, json: bool) -> anyhow::Result<()> {
    let archive = load(path).await?;
    let claims = archive.claims().ok_or_else(|| anyhow!("no claims in it"))?;
    if json {
        // Through a value, whose members have an order.
        let claims = serde_json::to_value(&claims)?;
        println!("{}", serde_json::to_string_pretty(&claims)?);
        return Ok(());
    }
    let Some(metadata) = claims.metadata else {
        bail!("its claims are not those of a provider");
    };
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".into());
    let mut targets = archive.targets();
    targets.sort();
    for (name, value) in [
        ("name", text(metadata.name)),
        ("contract", metadata.capid),
        ("vendor", metadata.vendor),
        ("version", text(metadata.ver)),
        ("revision", text(metadata.rev.map(|rev| rev.to_string()))),
        ("provider", claims.subject),
        ("issuer", claims.issuer),
        ("targets", targets.join(", ")),
        ("schema", text(metadata.config_schema.map(|_| "yes".into()))),
    ] {
        println!("{name:9} {value}");
    }
    Ok(())
}

/// An archive in a file, whose hashes are right.
///
/// # Errors
/// Why it is none.
pub async fn load(path: &Path) -> anyhow::Result<ProviderArchive> {
    parse(&read(path).await?, &path.display()).await
}

/// An archive of these bytes, whose hashes are right; `name` is for people.
///
/// # Errors
/// Why they are none.
pub async fn parse(bytes: &[u8], name: &impl std::fmt::Display) -> anyhow::Result<ProviderArchive> {
    ProviderArchive::try_load(bytes)
        .await
        .map_err(plain)
        .with_context(|| format!("{name} is no provider archive"))
}

/// The bytes of a file.
///
/// # Errors
/// Names the file.
pub async fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    tokio::fs::read(path)
        .await
        .with_context(|| format!("{} cannot be read", path.display()))
}

fn plain(error: Box<dyn std::error::Error + Send + Sync>) -> anyhow::Error {
    anyhow!("{error}")
}
