//! The archive that `make par` makes is read, unpacked, started and called as
//! hosts do it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::support::host::Generation;
use crate::support::nats::NatsServer;
use crate::support::operator::*;
use crate::support::provider::{Identity, Provider};
use crate::support::world::World;
use data_encoding::BASE64;
use provider_archive::ProviderArchive;
use serde_json::Value;

/// Returns the name that hosts have for this machine's target.
fn target() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

fn path() -> PathBuf {
    let folder = env!("CARGO_MANIFEST_DIR");
    let path = PathBuf::from(folder).join("build/lattice-controller.par.gz");
    assert!(path.exists(), "no {}: run `make par`", path.display());
    path
}

/// Reads the archive's binary for this machine, as a host does.
async fn archive() -> ProviderArchive {
    ProviderArchive::try_load_target_from_file(path(), &target())
        .await
        .unwrap()
}

fn schema() -> Value {
    let text = include_str!("../../config-schema.json");
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn the_archived_provider_starts_and_is_called() {
    let archive = archive().await;
    let claims = archive.claims().unwrap();
    let metadata = claims.metadata.unwrap();
    assert_eq!(metadata.capid, "wasmcloud:latticecontrol");
    assert_eq!(metadata.ver.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(metadata.name.is_some() && !metadata.vendor.is_empty() && metadata.rev.is_some());
    assert_eq!(metadata.config_schema, Some(schema()));

    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("provider");
    std::fs::write(&program, archive.target_bytes(&target()).unwrap()).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();

    let nats = NatsServer::start();
    // Hosts identify the provider by the subject of the claims.
    let identity = Identity {
        provider_key: claims.subject,
        ..Identity::new()
    };
    let host_data = identity.host_data(&nats.url()).to_string();
    let line = BASE64.encode(host_data.as_bytes());
    let provider = Provider::start_program(&program, &format!("{line}\r\n"), &[]);
    let world = World::around(provider, identity, nats).await;
    world.set_lattice(LATTICE, &world.nats.url()).await;
    let lattice = Operated::in_world(world, &[(Generation::G2b, &[])]).await;
    let hosts = lattice.get_hosts().await.unwrap();
    assert_eq!(hosts[0].id, lattice.hosts[0].id);
    accepted(
        lattice
            .start_actor(&lattice.hosts[0].id, 2, &Annotations::new())
            .await,
    );
    assert_eq!(lattice.hosts[0].instances(ACTOR), 2);
}

/// Returns the versions of glibc that a binary needs, from symbols such as
/// `GLIBC_2.17`.
fn glibc_needs(binary: &[u8]) -> BTreeSet<(u32, u32)> {
    const NAME: &[u8] = b"GLIBC_";
    let found = binary.windows(NAME.len()).enumerate();
    let found = found.filter(|(_, window)| *window == NAME);
    found
        .filter_map(|(at, _)| {
            let rest = &binary[at + NAME.len()..];
            let end = rest
                .iter()
                .position(|b| !b.is_ascii_digit() && *b != b'.')?;
            let text = std::str::from_utf8(&rest[..end]).ok()?;
            let mut parts = text.split('.').map(|part| part.parse().ok());
            Some((parts.next()??, parts.next()??))
        })
        .collect()
}

fn contains(binary: &[u8], name: &[u8]) -> bool {
    binary.windows(name.len()).any(|window| window == name)
}

#[tokio::test]
async fn the_archived_binary_starts_on_the_images_of_old_hosts() {
    // Debian 11 has glibc 2.31; the archive is built for 2.28.
    let archive = archive().await;
    let binary = archive.target_bytes(&target()).unwrap();
    let needs = glibc_needs(&binary);
    assert!(!needs.is_empty());
    let newest = needs.last().unwrap();
    assert!(*newest <= (2, 28), "{needs:?}");
    // A version without a number: relative relocations need glibc 2.36.
    assert!(!contains(&binary, b"GLIBC_ABI_DT_RELR"));
}

/// Reads the files in a folder of the repository. A folder that is not in the
/// package has none.
fn texts(folder: &str) -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let texts = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
    texts.collect()
}

#[test]
fn what_is_fetched_to_make_it_is_named_by_its_hash() {
    let is_hash = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let wanted = include_str!("../../scripts/zig.txt");
    let lines = wanted.lines().filter(|line| !line.starts_with('#'));
    let (hashes, packages): (Vec<_>, Vec<_>) = lines.partition(|line| line.contains("--hash"));
    let names: Vec<_> = packages
        .iter()
        .filter_map(|p| p.split("==").next())
        .collect();
    assert_eq!(names, ["cargo-zigbuild", "ziglang"]);
    assert!(hashes.len() >= 9);
    for line in hashes {
        let hash = line.trim().trim_end_matches([' ', '\\']);
        let hash = hash.strip_prefix("--hash=sha256:").unwrap_or_default();
        assert!(is_hash(hash, 64), "{line}");
    }
    for script in texts("scripts") {
        for command in script.split("bin/pip\"").skip(1) {
            let command = command.split("||").next().unwrap();
            assert!(command.contains("--require-hashes"), "{command}");
        }
    }
    for workflow in texts(".github/workflows") {
        for line in workflow.lines().filter(|line| line.contains("uses:")) {
            let version = line.split_once('@').unwrap().1.split(' ').next().unwrap();
            assert!(is_hash(version, 40), "{line}");
        }
    }
}
