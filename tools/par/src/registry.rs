//! Archives in OCI registries, in the form that hosts and `wash` give them: one
//! layer, a blank configuration. See docs/wasmbus.md#archives.

use std::path::Path;

use anyhow::{Context as _, bail};
use oci_client::Reference;
use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;

use crate::{Access, archive};

/// The layer.
const LAYER: &str = "application/vnd.wasmcloud.provider.archive.layer.v1+par";
/// The configuration.
const CONFIG: &str = "application/vnd.wasmcloud.provider.archive.config";
/// What hosts take as layer, too.
const TAR: &str = "application/vnd.oci.image.layer.v1.tar";

/// Pushes an archive.
///
/// # Errors
/// Why it is no archive, or what the registry says.
pub async fn push(reference: &str, path: &Path, access: &Access) -> anyhow::Result<()> {
    let reference = parse(reference)?;
    let bytes = archive::read(path).await?;
    archive::parse(&bytes, &path.display()).await?;
    let layer = ImageLayer::new(bytes, LAYER.to_owned(), None);
    let config = Config::new(b"{}".to_vec(), CONFIG.to_owned(), None);
    let pushed = client(&reference, access)?
        .push(&reference, &[layer], config, &auth(access)?, None)
        .await
        .with_context(|| format!("{reference} cannot be pushed{}", hint(access)))?;
    println!("{}", pushed.manifest_url);
    Ok(())
}

/// Pulls an archive, and checks that it is one.
///
/// # Errors
/// What the registry says, or why it is no archive.
pub async fn pull(reference: &str, path: &Path, access: &Access) -> anyhow::Result<()> {
    let reference = parse(reference)?;
    let image = client(&reference, access)?
        .pull(&reference, &auth(access)?, vec![LAYER, TAR])
        .await
        .with_context(|| format!("{reference} cannot be pulled{}", hint(access)))?;
    let bytes: Vec<u8> = image.layers.iter().flat_map(|l| l.data.to_vec()).collect();
    archive::parse(&bytes, &reference).await?;
    tokio::fs::write(path, &bytes)
        .await
        .with_context(|| format!("{} cannot be written", path.display()))?;
    println!("{}: {} bytes", path.display(), bytes.len());
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<Reference> {
    // As hosts take it, with or without the scheme.
    let bare = text.trim_start_matches("oci://");
    let reference: Reference = bare
        .parse()
        .with_context(|| format!("{text} is no image reference"))?;
    match reference.tag() {
        // Hosts refuse it unless they are told to take it.
        Some("latest") | None => bail!("{text} needs a tag other than latest"),
        Some(_) => Ok(reference),
    }
}

fn client(reference: &Reference, access: &Access) -> anyhow::Result<Client> {
    // Fails where there is one already, which is as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let protocol = match access.insecure {
        true => ClientProtocol::HttpsExcept(vec![reference.resolve_registry().to_owned()]),
        false => ClientProtocol::Https,
    };
    Client::try_from(ClientConfig {
        protocol,
        ..ClientConfig::default()
    })
    .context("no client")
}

fn auth(access: &Access) -> anyhow::Result<RegistryAuth> {
    Ok(match (&access.user, &access.password) {
        (Some(user), Some(password)) => RegistryAuth::Basic(user.clone(), password.clone()),
        (None, None) => RegistryAuth::Anonymous,
        _ => bail!("a user name needs a password, and a password a user name"),
    })
}

fn hint(access: &Access) -> &'static str {
    match access.insecure {
        true => "",
        false => " (over HTTPS; --insecure speaks plain HTTP)",
    }
}
