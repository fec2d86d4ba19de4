//! A provider for hosts of 1.x that does nothing. The real one speaks the protocol of
//! 0.x hosts only.

use std::path::Path;

use data_encoding::BASE64;
use provider_archive::ProviderArchive;
use serde_json::Value;
use wasmbus_rpc::wascap::prelude::KeyPair;

use crate::site::Archive;

/// What it writes down of what its host tells it.
const TOLD: &str = "told";

/// Makes its archive in a folder.
pub async fn archive(folder: &Path) -> Archive {
    let told = folder.join(TOLD);
    let program = format!(
        "#!/bin/sh\n/bin/cat >'{}'\nexec /bin/sleep 86400\n",
        told.display()
    );
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let mut archive =
        ProviderArchive::new("wasmcloud:latticecontrol", "stand-in", "test", None, None);
    archive.add_library(&target, program.as_bytes()).unwrap();
    let (issuer, subject) = (KeyPair::new_account(), KeyPair::new_service());
    let path = folder.join("stand-in.par.gz");
    archive.write(&path, &issuer, &subject, true).await.unwrap();
    Archive {
        reference: format!("file://{}", path.display()),
        key: subject.public_key(),
    }
}

/// Returns the host data that one was last started with, where one was.
pub fn told(folder: &Path) -> Option<Value> {
    let told = std::fs::read(folder.join(TOLD)).ok()?;
    let told = BASE64.decode(told.trim_ascii()).ok()?;
    serde_json::from_slice(&told).ok()
}
