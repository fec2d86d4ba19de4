//! The statements of `examples/component` are true.

use crate::support::operator::*;
use wasmbus_rpc::common::{deserialize, serialize};
use wasmcloud_interface_lattice_control::{Host, Hosts};

fn readme() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/component/README.md");
    std::fs::read_to_string(path).unwrap()
}

/// Returns the bytes that the component's README shows under this name.
fn shown(name: &str) -> Vec<u8> {
    let readme = readme();
    let lines = readme.lines();
    let line = lines.filter_map(|line| line.strip_prefix(name)).next();
    let bytes = line.unwrap_or_else(|| panic!("{name} is not shown"));
    let bytes = bytes.split_whitespace();
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[tokio::test]
async fn the_bytes_in_the_components_readme_are_those_on_the_wire() {
    let readme = readme();
    let operation = "wasmcloud:latticecontrol/LatticeController.GetHosts";
    assert!(readme.contains(&format!("\noperation  {operation}\n")));
    assert_eq!(shown("payload "), serialize(&LATTICE).unwrap());
    // The host passes on the text behind the last slash.
    let (_, operation) = operation.rsplit_once('/').unwrap();
    let lattice = Operated::with(&[]).await;
    let actor = &lattice.world.actor;
    let reply = actor.call_raw(operation, shown("payload ")).await;
    assert_eq!(reply.unwrap(), shown("nobody "));
    let host = Host {
        id: "NABC".into(),
        uptime_human: Some("5m".into()),
        uptime_seconds: 300,
        ..Default::default()
    };
    let hosts = vec![host];
    let shown_hosts: Hosts = deserialize(&shown("one host ")).unwrap();
    assert_eq!(shown_hosts, hosts);
    assert_eq!(serialize(&hosts).unwrap(), shown("one host "));
    let ack = "82 a8 61 63 63 65 70 74 65 64 c3 a5 65 72 72 6f 72 a0";
    assert!(readme.contains(ack));
    let bytes = ack
        .split(' ')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap());
    let ack: wasmcloud_interface_lattice_control::CtlOperationAck =
        deserialize(&bytes.collect::<Vec<_>>()).unwrap();
    assert!(ack.accepted && ack.error.is_empty());
}

#[test]
fn the_components_world_imports_what_its_readme_says() {
    let mut wit = wit_parser::Resolve::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/component/wit");
    let (package, _) = wit.push_dir(path).unwrap();
    let world = wit.select_world(&[package], None).unwrap();
    let world = &wit.worlds[world];
    let names = |items: Vec<&wit_parser::WorldKey>| -> Vec<String> {
        items
            .into_iter()
            .map(|key| wit.name_world_key(key))
            .collect()
    };
    // The types that the interface `host` uses come with it.
    let imports = names(world.imports.keys().collect());
    assert_eq!(imports, ["wasmcloud:bus/lattice", "wasmcloud:bus/host"]);
    let exports = names(world.exports.keys().collect());
    assert_eq!(exports, ["wasmcloud:bus/guest"]);
    let readme = readme();
    assert!(readme.contains("`wasmcloud:bus/host.call-sync`"));
    assert!(readme.contains("  import wasmcloud:bus/host;\n"));
    let mut interfaces = wit.interfaces.iter();
    let is_host = |name: Option<&str>| name == Some("host");
    let host = interfaces.find(|(_, interface)| is_host(interface.name.as_deref()));
    let (_, host) = host.unwrap();
    let call = &host.functions["call-sync"];
    let params: Vec<_> = call
        .params
        .iter()
        .map(|param| param.name.as_str())
        .collect();
    assert_eq!(params, ["target", "operation", "payload"]);
    for param in params {
        assert!(readme.contains(&format!("- `{param}`: ")), "{param}");
    }
}
