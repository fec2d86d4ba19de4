//! Archives made, read, and taken to a real registry and back, by the tool.

#[path = "support/registry.rs"]
mod registry;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nkeys::{KeyPair, KeyPairType};
use provider_archive::ProviderArchive;
use registry::Registry;
use tempfile::TempDir;

const CONTRACT: &str = "wasmcloud:latticecontrol";

/// Runs the tool in a folder, with these variables and none of the keys or
/// passwords of whoever runs the test.
fn par(folder: &Path, env: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_par"));
    for name in [
        "WASH_ISSUER_KEY",
        "WASH_SUBJECT_KEY",
        "WASH_REG_USER",
        "WASH_REG_PASSWORD",
    ] {
        command.env_remove(name);
    }
    let env = env.iter().copied();
    command
        .current_dir(folder)
        .args(args)
        .envs(env)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What it printed; it must have ended well.
#[track_caller]
fn printed(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// What it complained of; it must not have ended well.
#[track_caller]
fn complaint(output: Output) -> String {
    assert!(!output.status.success(), "{}", text(&output.stdout));
    text(&output.stderr)
}

/// A folder with two binaries and a schema.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("one"), b"binary one").unwrap();
    std::fs::write(dir.path().join("two"), vec![7; 300_000]).unwrap();
    std::fs::write(dir.path().join("schema.json"), r#"{"type":"object"}"#).unwrap();
    dir
}

fn pack(folder: &Path, env: &[(&str, &str)], out: &str) -> Output {
    let args = [
        "pack",
        "--binary",
        "x86_64-linux=one",
        "--binary",
        "aarch64-linux=two",
        "--out",
        out,
        "--capid",
        CONTRACT,
        "--name",
        "Lattice Controller",
        "--vendor",
        "us",
        "--ver",
        "0.1.0",
        "--rev",
        "3",
        "--schema",
        "schema.json",
    ];
    par(folder, env, &args)
}

async fn load(path: PathBuf) -> ProviderArchive {
    ProviderArchive::try_load(&std::fs::read(path).unwrap())
        .await
        .unwrap()
}

#[tokio::test]
async fn an_archive_holds_binaries_and_claims() {
    let dir = folder();
    let issuer = KeyPair::new(KeyPairType::Account);
    let subject = KeyPair::new(KeyPairType::Service);
    let (seed, other) = (issuer.seed().unwrap(), subject.seed().unwrap());
    let env = [
        ("WASH_ISSUER_KEY", seed.as_str()),
        ("WASH_SUBJECT_KEY", other.as_str()),
    ];
    for out in ["a.par.gz", "a.par"] {
        let said = printed(pack(dir.path(), &env, out));
        assert!(said.contains(&subject.public_key()), "{said}");
        let archive = load(dir.path().join(out)).await;
        let mut targets = archive.targets();
        targets.sort();
        assert_eq!(targets, ["aarch64-linux", "x86_64-linux"]);
        assert_eq!(archive.target_bytes("x86_64-linux").unwrap(), b"binary one");
        assert_eq!(
            archive.target_bytes("aarch64-linux").unwrap().len(),
            300_000
        );
        let claims = archive.claims().unwrap();
        assert_eq!(claims.issuer, issuer.public_key());
        assert_eq!(claims.subject, subject.public_key());
        let metadata = claims.metadata.unwrap();
        assert_eq!(metadata.capid, CONTRACT);
        assert_eq!(metadata.name.as_deref(), Some("Lattice Controller"));
        assert_eq!(
            (metadata.ver.as_deref(), metadata.rev),
            (Some("0.1.0"), Some(3))
        );
        assert_eq!(
            metadata.config_schema,
            Some(serde_json::json!({ "type": "object" }))
        );
        // As hosts do: their own target only.
        let bytes = std::fs::read(dir.path().join(out)).unwrap();
        let own = ProviderArchive::try_load_target(&bytes, "x86_64-linux")
            .await
            .unwrap();
        assert_eq!(own.targets(), ["x86_64-linux"]);
        let shown = printed(par(dir.path(), &[], &["inspect", out]));
        assert!(
            shown.contains(CONTRACT) && shown.contains("aarch64-linux, x86_64-linux"),
            "{shown}"
        );
    }
    assert!(!dir.path().join("keys").exists());
}

#[tokio::test]
async fn keys_are_made_once_and_kept() {
    let dir = folder();
    let first = pack(dir.path(), &[], "a.par.gz");
    let warning = text(&first.stderr);
    assert!(warning.contains("identity depends on it"), "{warning}");
    printed(first);
    let second = pack(dir.path(), &[], "b.par.gz");
    assert!(second.stderr.is_empty(), "{}", text(&second.stderr));
    printed(second);
    let one = load(dir.path().join("a.par.gz")).await.claims().unwrap();
    let two = load(dir.path().join("b.par.gz")).await.claims().unwrap();
    assert_eq!((one.subject, one.issuer), (two.subject, two.issuer));
    use std::os::unix::fs::PermissionsExt as _;
    let file = std::fs::metadata(dir.path().join("keys/subject.nk")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_that_cannot_be_used_is_named_and_not_shown() {
    let dir = folder();
    let account = KeyPair::new(KeyPairType::Account).seed().unwrap();
    let service = KeyPair::new(KeyPairType::Service).seed().unwrap();
    let (quoted, short) = (format!("\"{service}\""), &service[..57]);
    for (value, expected) in [
        (account.as_str(), "must begin with SV"),
        ("SVNOTASEED", "neither a seed nor a file"),
        (&"S".repeat(58), "neither a seed nor a file"),
        (&quoted, "neither a seed nor a file"),
        (short, "neither a seed nor a file"),
    ] {
        let said = complaint(pack(dir.path(), &[("WASH_SUBJECT_KEY", value)], "a.par.gz"));
        assert!(
            said.contains("subject key") && said.contains(expected),
            "{said}"
        );
        assert!(!said.contains(&value[..10]), "{said}");
    }
    assert!(!dir.path().join("a.par.gz").exists());
}

#[test]
fn what_is_no_archive_is_refused() {
    let dir = folder();
    for args in [
        &["inspect", "one"][..],
        &["inspect", "missing"],
        &["push", "localhost:1/x:1", "one"],
    ] {
        let said = complaint(par(dir.path(), &[], args));
        assert!(said.contains("one") || said.contains("missing"), "{said}");
    }
}

#[test]
fn an_archive_makes_the_round_trip_through_a_registry() {
    let (dir, registry) = (folder(), Registry::start());
    printed(pack(dir.path(), &[], "a.par.gz"));
    let reference = format!("{}/lattice-controller:0.1.0", registry.address());
    // Plain HTTP is spoken only when asked.
    let said = complaint(par(dir.path(), &[], &["push", &reference, "a.par.gz"]));
    assert!(said.contains("--insecure speaks plain HTTP"), "{said}");
    printed(par(
        dir.path(),
        &[],
        &["push", "--insecure", &reference, "a.par.gz"],
    ));
    printed(par(
        dir.path(),
        &[],
        &["pull", "--insecure", &reference, "b.par.gz"],
    ));
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    assert_eq!(read("a.par.gz"), read("b.par.gz"));
    let claims = |name: &str| -> serde_json::Value {
        let shown = printed(par(dir.path(), &[], &["inspect", "--json", name]));
        serde_json::from_str(&shown).unwrap()
    };
    assert_eq!(claims("a.par.gz"), claims("b.par.gz"));
    // What hosts look at: one layer of the right type.
    let manifest = manifest(&registry.address(), "lattice-controller", "0.1.0");
    assert_eq!(
        manifest["config"]["mediaType"],
        "application/vnd.wasmcloud.provider.archive.config"
    );
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    assert_eq!(
        layers[0]["mediaType"],
        "application/vnd.wasmcloud.provider.archive.layer.v1+par"
    );
    assert_eq!(layers[0]["size"], read("a.par.gz").len());
}

#[test]
fn a_reference_without_a_tag_of_its_own_is_refused() {
    let dir = folder();
    printed(pack(dir.path(), &[], "a.par.gz"));
    for reference in ["localhost:1/x", "localhost:1/x:latest"] {
        let said = complaint(par(dir.path(), &[], &["push", reference, "a.par.gz"]));
        assert!(said.contains("needs a tag"), "{said}");
    }
}

/// The manifest as the registry hands it out.
fn manifest(address: &str, name: &str, tag: &str) -> serde_json::Value {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET /v2/{name}/manifests/{tag} HTTP/1.0\r\nHost: {address}\r\n\
         Accept: application/vnd.oci.image.manifest.v1+json\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

// --- scripts/pack ---

/// Packs with the script and, where it is there, this `wash`.
fn script(folder: &Path, wash: Option<&str>) -> Output {
    let bin = folder.join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    if let Some(text) = wash {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(bin.join("wash"), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bin.join("wash"), mode).unwrap();
    }
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/pack"));
    for name in ["WASH_ISSUER_KEY", "WASH_SUBJECT_KEY", "VENDOR", "REVISION"] {
        command.env_remove(name);
    }
    command
        .current_dir(folder)
        .env("PAR", env!("CARGO_BIN_EXE_par"))
        .env("PATH", path_of_tools(&bin))
        .args(["out/a.par.gz", "x86_64-linux=one", "aarch64-linux=two"])
        .output()
        .unwrap()
}

/// A PATH of what is in this folder and the tools that scripts use, and nothing
/// else: whoever runs the test may have a wash.
fn path_of_tools(bin: &Path) -> String {
    for tool in [
        "sh", "sed", "head", "grep", "mkdir", "dirname", "env", "uname", "cat", "ls", "touch",
        "python3", "rm", "id",
    ] {
        let path = std::env::var_os("PATH").unwrap();
        let found = std::env::split_paths(&path).map(|dir| dir.join(tool));
        if let Some(found) = found.into_iter().find(|path| path.is_file())
            && !bin.join(tool).exists()
        {
            std::os::unix::fs::symlink(found, bin.join(tool)).unwrap();
        }
    }
    bin.display().to_string()
}

#[tokio::test]
async fn without_wash_the_script_packs_by_itself() {
    let dir = folder();
    let said = printed(script(dir.path(), None));
    let archive = load(dir.path().join("out/a.par.gz")).await;
    assert_eq!(archive.target_bytes("x86_64-linux").unwrap(), b"binary one");
    let claims = archive.claims().unwrap();
    assert!(said.contains(&claims.subject), "{said}");
    let metadata = claims.metadata.unwrap();
    assert_eq!(metadata.capid, CONTRACT);
    let schema = include_str!("../../../config-schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    assert_eq!(metadata.config_schema, Some(schema));
}

/// Stands in for wash, which cannot be had here: it writes down its arguments,
/// and which key files it was given. What it does with them is not tested.
const WASH: &str = r#"#!/bin/sh
case "$*" in
    --version) echo "wash-cli VERSION" ;;
    "par create --help") echo "  --schema <SCHEMA>" ;;
    *) echo "$* [$WASH_ISSUER_KEY $WASH_SUBJECT_KEY]" >> wash.log ;;
esac
"#;

#[test]
fn with_a_wash_of_the_time_it_packs_with_that() {
    let dir = folder();
    printed(script(dir.path(), Some(&WASH.replace("VERSION", "0.26.0"))));
    let log = std::fs::read_to_string(dir.path().join("wash.log")).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!(lines.len(), 2, "{log}");
    for part in [
        "par create --capid wasmcloud:latticecontrol",
        "--arch x86_64-linux --binary one --destination out/a.par.gz --compress",
        "--disable-keygen --schema",
        "[keys/issuer.nk keys/subject.nk]",
    ] {
        assert!(lines[0].contains(part), "{part}: {log}");
    }
    assert!(
        lines[1].contains("par insert --arch aarch64-linux --binary two"),
        "{log}"
    );
    assert!(dir.path().join("keys/subject.nk").exists());
}

#[tokio::test]
async fn a_wash_for_later_hosts_is_not_used() {
    let dir = folder();
    let output = script(dir.path(), Some(&WASH.replace("VERSION", "1.0.0")));
    assert!(text(&output.stderr).contains("not for hosts up to 0.82"));
    printed(output);
    assert!(!dir.path().join("wash.log").exists());
    load(dir.path().join("out/a.par.gz")).await;
}

#[test]
fn targets_without_a_standard_library_are_left_out_and_said_to_be() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = folder();
    let bin = dir.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    // Two standard libraries, and a cargo that builds at once. The first
    // argument of `cargo zigbuild` that names a target says what it makes.
    let libs = dir.path().join("libs");
    for target in ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] {
        std::fs::create_dir_all(libs.join(target)).unwrap();
        std::fs::write(libs.join(target).join("libstd-1.rlib"), "").unwrap();
    }
    let rustc = format!("#!/bin/sh\necho \"{}/$4\"\n", libs.display());
    let cargo = "#!/bin/sh\n[ -z \"${WASH_SUBJECT_KEY:-}\" ] || exit 9\n\
        for word; do target=${word%.2.28}; done\n\
        mkdir -p \"$CARGO_TARGET_DIR/$target/release\"\n\
        echo \"$target\" > \"$CARGO_TARGET_DIR/$target/release/lattice-controller\"\n";
    for (name, text) in [("rustc", rustc.as_str()), ("cargo", cargo)] {
        std::fs::write(bin.join(name), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(bin.join(name), mode).unwrap();
    }
    let archive = dir.path().join("a.par.gz");
    let seed = KeyPair::new(KeyPairType::Service).seed().unwrap();
    let issuer = KeyPair::new(KeyPairType::Account).seed().unwrap();
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/par"))
        .current_dir(dir.path())
        .env("PATH", path_of_tools(&bin))
        .env("CARGO", "cargo")
        .env("CARGO_TARGET_DIR", dir.path().join("target"))
        .env("PAR", env!("CARGO_BIN_EXE_par"))
        // Nothing that builds may see them.
        .env("WASH_SUBJECT_KEY", &seed)
        .env("WASH_ISSUER_KEY", &issuer)
        // What the real one installs is not needed here.
        .env("ZIG_TOOLS", &bin)
        .arg("full")
        .arg(&archive)
        .output()
        .unwrap();
    let said = text(&output.stderr);
    printed(output);
    for left_out in [
        "arm-linux",
        "x86_64-macos",
        "aarch64-macos",
        "x86_64-windows",
    ] {
        assert!(said.contains(&format!("left out: {left_out} ")), "{said}");
    }
    let shown = printed(par(dir.path(), &[], &["inspect", "a.par.gz"]));
    assert!(
        shown.contains("targets   aarch64-linux, x86_64-linux\n"),
        "{shown}"
    );
}
