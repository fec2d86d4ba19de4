//! Our contract is the published one: the same bytes on the wire, the same
//! shapes in the model.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::fixtures;
use lattice_controller::internals::contract as ours;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wasmbus_rpc::common::{deserialize, serialize};
use wasmcloud_interface_lattice_control as published;

/// Asserts that our type and the published one encode a value to the same
/// bytes, and that each decodes what the other encodes.
fn same<Ours, Theirs>(name: &str, sample: &Value)
where
    Ours: Serialize + DeserializeOwned + PartialEq,
    Theirs: Serialize + DeserializeOwned + PartialEq,
{
    let mine: Ours = serde_json::from_value(sample.clone()).unwrap();
    let theirs: Theirs = serde_json::from_value(sample.clone()).unwrap();
    let bytes = serialize(&mine).unwrap();
    assert_eq!(bytes, serialize(&theirs).unwrap(), "{name}: {sample}");
    assert!(
        deserialize::<Ours>(&bytes).unwrap() == mine,
        "{name}: {sample}"
    );
    assert!(
        deserialize::<Theirs>(&bytes).unwrap() == theirs,
        "{name}: {sample}"
    );
    // The sample has exactly the members that the type writes.
    let written: Value = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(&written, sample, "{name}");
}

macro_rules! same {
    ($($name:ident: $($sample:expr),+;)+) => {{
        $($(same::<ours::$name, published::$name>(stringify!($name), &$sample);)+)+
        [$(stringify!($name)),+]
    }};
}

/// Maps hold one entry, since the order of several is not fixed.
#[test]
fn every_type_encodes_byte_for_byte_as_the_published_one() {
    let map = json!({ "k": "v" });
    let link = json!({ "actor_id": "M", "provider_id": "V", "link_name": "l",
        "contract_id": "c", "values": map });
    let instance = json!({ "annotations": map, "instanceId": "i", "revision": -1 });
    let bare_instance = json!({ "instanceId": "i", "revision": 2147483647 });
    let actor = json!({ "id": "M", "imageRef": "r", "instances": [instance, bare_instance],
        "name": "n" });
    let bare_actor = json!({ "id": "M", "instances": [] });
    let provider = json!({ "annotations": map, "id": "V", "imageRef": "r", "linkName": "l",
        "name": "n", "revision": 7 });
    let bare_provider = json!({ "id": "V", "linkName": "l", "revision": 0 });
    let host = json!({ "clusterIssuers": "C", "ctlHost": "c", "id": "N", "jsDomain": "d",
        "labels": map, "latticePrefix": "p", "provRpcHost": "h", "rpcHost": "r",
        "uptimeHuman": "u", "uptimeSeconds": 18446744073709551615_u64, "version": "v" });
    let bare_host = json!({ "id": "N", "uptimeSeconds": 0 });
    let credential =
        json!({ "password": "p", "registryType": "oci", "token": "t", "username": "u" });
    let bare_credential = json!({ "registryType": "bindle" });
    let covered = same! {
        ActorAuctionAck: json!({ "actorRef": "a", "hostId": "N" });
        ActorAuctionAcks: json!([{ "actorRef": "a", "hostId": "N" }]), json!([]);
        ActorAuctionRequest: json!({ "actorRef": "a", "constraints": map, "latticeId": "x" });
        ActorDescription: actor, bare_actor;
        ActorDescriptions: json!([actor]);
        ActorInstance: instance, bare_instance;
        ActorInstances: json!([instance]);
        AdvertiseLinkRequest: json!({ "latticeId": "x", "link": link });
        AnnotationMap: map;
        ConfigurationString: json!("x");
        ConstraintMap: map;
        CtlKVList: json!([map]);
        CtlOperationAck: json!({ "accepted": true, "error": "" });
        GetClaimsRequest: json!({ "latticeId": "x" });
        GetClaimsResponse: json!({ "claims": [map] });
        GetHostInventoryRequest: json!({ "hostId": "N", "latticeId": "x" });
        GetHostsRequest: json!({ "latticeId": "x" });
        Host: host, bare_host;
        HostInventory: json!({ "actors": [actor], "hostId": "N", "labels": map,
            "providers": [provider] });
        Hosts: json!([host, bare_host]);
        KeyValueMap: map;
        LabelsMap: map;
        LinkDefinitionList: json!({ "links": [link] });
        ProviderAuctionAck: json!({ "hostId": "N", "linkName": "l", "providerRef": "p" });
        ProviderAuctionAcks: json!([{ "hostId": "N", "linkName": "l", "providerRef": "p" }]);
        ProviderAuctionRequest: json!({ "constraints": map, "latticeId": "x", "linkName": "l",
            "providerRef": "p" });
        ProviderDescription: provider, bare_provider;
        ProviderDescriptions: json!([provider]);
        RegistryCredential: credential, bare_credential;
        RegistryCredentialMap: json!({ "ghcr.io": credential });
        RemoveLinkDefinitionRequest: json!({ "actorId": "M", "contractId": "c",
            "latticeId": "x", "linkName": "l" });
        ScaleActorCommand: json!({ "actorId": "M", "actorRef": "r", "annotations": map,
            "count": 65535, "hostId": "N", "latticeId": "x" }),
            json!({ "actorId": "M", "actorRef": "r", "count": 0, "hostId": "N", "latticeId": "x" });
        SetLatticeCredentialsRequest: json!({ "jsDomain": "d", "latticeId": "x", "natsUrl": "u",
            "userJwt": "j", "userSeed": "s" }), json!({ "latticeId": "x" });
        SetRegistryCredentialsRequest: json!({ "credentials": { "ghcr.io": credential },
            "latticeId": "x" }), json!({ "latticeId": "x" });
        StartActorCommand: json!({ "actorRef": "r", "annotations": map, "count": 300,
            "hostId": "N", "latticeId": "x" }),
            json!({ "actorRef": "r", "count": 1, "hostId": "N", "latticeId": "x" });
        StartProviderCommand: json!({ "annotations": map, "configuration": "c", "hostId": "N",
            "latticeId": "x", "linkName": "l", "providerRef": "p" }),
            json!({ "hostId": "N", "latticeId": "x", "linkName": "l", "providerRef": "p" });
        StopActorCommand: json!({ "actorId": "M", "annotations": map, "count": 2, "hostId": "N",
            "latticeId": "x" }),
            json!({ "actorId": "M", "count": 2, "hostId": "N", "latticeId": "x" });
        StopHostCommand: json!({ "hostId": "N", "latticeId": "x", "timeout": 5000 }),
            json!({ "hostId": "N", "latticeId": "x" });
        StopProviderCommand: json!({ "annotations": map, "contractId": "c", "hostId": "N",
            "latticeId": "x", "linkName": "l", "providerId": "V" }),
            json!({ "contractId": "c", "hostId": "N", "latticeId": "x", "linkName": "l",
                "providerId": "V" });
        UpdateActorCommand: json!({ "actorId": "M", "annotations": map, "hostId": "N",
            "latticeId": "x", "newActorRef": "r" }),
            json!({ "actorId": "M", "hostId": "N", "latticeId": "x", "newActorRef": "r" });
    };
    // No type is left out.
    let model = Model::read(&ours_text());
    let types: BTreeSet<&str> = model.shapes.keys().map(String::as_str).collect();
    assert_eq!(covered.into_iter().collect::<BTreeSet<_>>(), types);
}

#[test]
fn known_bytes_are_what_they_were() {
    let hex = |bytes: Vec<u8>| data_encoding::HEXLOWER.encode(&bytes);
    assert_eq!(hex(serialize(&"default").unwrap()), "a764656661756c74");
    let ack = ours::CtlOperationAck {
        accepted: true,
        error: String::new(),
    };
    assert_eq!(
        hex(serialize(&ack).unwrap()),
        "82a86163636570746564c3a56572726f72a0"
    );
    let command = ours::StartActorCommand {
        actor_ref: "ghcr.io/x/y:1".into(),
        annotations: None,
        count: 1,
        host_id: "NABC".into(),
        lattice_id: "default".into(),
    };
    assert_eq!(
        hex(serialize(&command).unwrap()),
        "84a86163746f72526566ad676863722e696f2f782f793a31a5636f756e7401a6686f73744964a44e414243\
         a96c6174746963654964a764656661756c74"
    );
}

// --- the models ---

fn ours_text() -> String {
    let read = |name: &str| {
        let path = format!("{}/smithy/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let shapes = read("lattice-control-shapes.smithy");
    let shapes = shapes.split_once("\nnamespace ").unwrap().1;
    let (_, shapes) = shapes.split_once('\n').unwrap();
    read("lattice-control.smithy") + shapes
}

/// Reads a Smithy file as far as this test needs it: shapes by name, and their
/// text without comments and white space.
struct Model {
    service: String,
    operations: BTreeMap<String, String>,
    shapes: BTreeMap<String, String>,
}

impl Model {
    fn read(text: &str) -> Self {
        let code: String = text
            .lines()
            .map(|line| match line.split_once("//") {
                Some((code, _)) => code,
                None => line,
            })
            .collect::<Vec<_>>()
            .join("\n");
        let mut model = Self {
            service: String::new(),
            operations: BTreeMap::new(),
            shapes: BTreeMap::new(),
        };
        let body = code.split_once("\nnamespace ").unwrap().1;
        let mut traits = String::new();
        let mut lines = body.lines().skip(1).map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let keyword = line.split_whitespace().next().unwrap_or_default();
            match keyword {
                "" | "use" => continue,
                "string" | "structure" | "list" | "map" | "operation" | "service" => {}
                _ => {
                    traits.push_str(line);
                    continue;
                }
            }
            let name = line.split(['{', ' ']).nth(1).unwrap().to_owned();
            let mut text = std::mem::take(&mut traits) + line;
            while text.matches('{').count() > text.matches('}').count() {
                text.push_str(lines.next().unwrap());
            }
            text.retain(|c| !c.is_whitespace());
            // Commas between members are optional.
            let text = text
                .replace(",}", "}")
                .replace(",]", "]")
                .replace(",)", ")");
            match keyword {
                "service" => model.service = text,
                "operation" => drop(model.operations.insert(name, text)),
                _ => drop(model.shapes.insert(name, text)),
            }
        }
        model
    }

    /// Returns the members of a structure in order.
    fn members(&self, name: &str) -> Vec<String> {
        let body = self.shapes[name].split_once('{').unwrap().1;
        let members = body.trim_end_matches('}').split(',');
        let names = members.filter_map(|member| member.split_once(':'));
        names
            .map(|(name, _)| name.rsplit_once("@required").map_or(name, |(_, name)| name))
            .map(|name| name.trim_start_matches("@sensitive").to_owned())
            .collect()
    }
}

/// Puts a comma after each member of a structure, so that texts can be
/// compared.
fn normal(text: &str) -> String {
    text.replace(',', "")
}

#[test]
fn our_model_has_the_shapes_members_and_traits_of_the_given_one() {
    let given = Model::read(&fixtures::text("contract/lattice-control-interface.smithy"));
    let ours = Model::read(&ours_text());
    assert_eq!(normal(&ours.service), normal(&given.service));
    for (ours, given) in [
        (&ours.operations, &given.operations),
        (&ours.shapes, &given.shapes),
    ] {
        let names = |of: &BTreeMap<String, String>| of.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(ours), names(given));
        for (name, text) in given {
            assert_eq!(normal(&ours[name]), normal(text), "{name}");
        }
    }
    assert_eq!(given.operations.len(), 17);
}

fn kebab(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[test]
fn the_wit_names_the_same_operations_and_members() {
    let mut wit = wit_parser::Resolve::new();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/wit/lattice-control.wit");
    wit.push_file(path).unwrap();
    let (_, interface) = wit.interfaces.iter().next().unwrap();
    let model = Model::read(&ours_text());

    let operations: BTreeSet<String> = model.operations.keys().map(|name| kebab(name)).collect();
    let functions: BTreeSet<String> = interface.functions.keys().cloned().collect();
    assert_eq!(functions, operations);

    let mut records = BTreeMap::new();
    for (name, id) in &interface.types {
        if let wit_parser::TypeDefKind::Record(record) = &wit.types[*id].kind {
            let fields: BTreeSet<_> = record
                .fields
                .iter()
                .map(|field| field.name.clone())
                .collect();
            records.insert(name.clone(), fields);
        }
    }
    let link = records.remove("link-definition").unwrap();
    let expected = [
        "actor-id",
        "contract-id",
        "link-name",
        "provider-id",
        "values",
    ];
    assert_eq!(link, expected.map(String::from).into());
    let mut structures = BTreeMap::new();
    for (name, text) in &model.shapes {
        // These two operations take the id itself, not a structure.
        let unused = ["GetHostsRequest", "GetClaimsRequest"].contains(&name.as_str());
        if text.contains("structure") && !unused {
            let members = model.members(name).iter().map(|name| kebab(name)).collect();
            structures.insert(kebab(name), members);
        }
    }
    assert_eq!(records, structures);
}
