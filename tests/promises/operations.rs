//! Every operation ends with an answer or an error, whatever its arguments are.
//! While no lattice has credentials, it opens no socket and starts no task.

use std::sync::Arc;
use std::time::Duration;

use lattice_controller::internals::contract::{
    Operation, SetLatticeCredentialsRequest, SetRegistryCredentialsRequest,
};
use lattice_controller::internals::controller::Controller;
use lattice_controller::internals::deadline::Deadline;
use lattice_controller::internals::front::wasmbus::body::decode_arguments;
use lattice_controller::internals::front::wasmbus::decode;
use lattice_controller::internals::serve::{Call, KeptForAnswer, Operations as _};
use lattice_controller::internals::settings::ProviderSettings;
use nkeys::KeyPairType;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

thread_local! {
    static RUNTIME: Runtime = runtime();
}

/// Makes a runtime without IO: opening a socket panics.
fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

/// Checks the promise. The input is the arguments of each operation in turn.
pub fn check(input: &[u8]) {
    super::new_secret(input);
    for operation in Operation::ALL {
        check_one(operation, input);
    }
    check_secrets(input);
}

fn check_one(operation: Operation, argument: &[u8]) {
    let name = operation.name();
    match call(operation, argument) {
        Ok(()) => {
            let may = operation == Operation::SetLatticeCredentials;
            assert!(may, "{name}: carried out by nobody");
        }
        Err(problem) => super::check_message(&problem, 1000),
    }
}

/// No error quotes credentials.
fn check_secrets(input: &[u8]) {
    let marked = |text: &mut Option<String>| {
        if let Some(text) = text {
            text.insert_str(0, &super::secret());
        }
    };
    if let Ok(mut set) = decode::<SetLatticeCredentialsRequest>(input) {
        for member in 0..3 {
            let mut set = set.clone();
            match member {
                0 => marked(&mut set.nats_url),
                1 => marked(&mut set.user_jwt),
                _ => marked(&mut set.user_seed),
            }
            let argument = rmp_serde::to_vec_named(&set).unwrap();
            check_one(Operation::SetLatticeCredentials, &argument);
        }
        set.nats_url = set
            .nats_url
            .map(|url| format!("nats://{}@{url}", super::secret()));
        let argument = rmp_serde::to_vec_named(&set).unwrap();
        check_one(Operation::SetLatticeCredentials, &argument);
    }
    if let Ok(mut set) = decode::<SetRegistryCredentialsRequest>(input) {
        for credential in set.credentials.iter_mut().flat_map(|all| all.values_mut()) {
            marked(&mut credential.password);
            marked(&mut credential.token);
            marked(&mut credential.username);
        }
        let argument = rmp_serde::to_vec_named(&set).unwrap();
        check_one(Operation::SetRegistryCredentials, &argument);
    }
}

/// Calls an operation of a provider that has credentials of no lattice.
fn call(operation: Operation, argument: &[u8]) -> Result<(), String> {
    let settings = ProviderSettings::parse(Some(r#"{"credentials_store":"memory"}"#));
    let controller = Controller::new(settings.unwrap(), "x".into(), None).unwrap();
    let actor = super::key(KeyPairType::Module).public_key();
    let call = Call {
        id: "id",
        operation,
        actor: &actor,
        link: Arc::default(),
        deadline: Deadline::new(Instant::now(), Duration::from_secs(2)),
        kept: &KeptForAnswer::default(),
    };
    let request = decode_arguments(operation, argument).map_err(|error| error.to_string())?;
    let carry_out = |runtime: &Runtime, most: usize| {
        let answer = runtime.block_on(controller.carry_out(&call, request));
        let tasks = runtime.metrics().num_alive_tasks();
        assert!(tasks <= most, "{} left something behind", operation.name());
        answer.map(drop).map_err(|error| error.to_string())
    };
    match operation {
        // A task learns the hosts of a lattice whose credentials are new.
        Operation::SetLatticeCredentials => carry_out(&runtime(), 1),
        _ => RUNTIME.with(|runtime| carry_out(runtime, 0)),
    }
}

/// Returns inputs that get far.
pub fn seeds() -> Vec<Vec<u8>> {
    let public = |kind| super::key(kind).public_key();
    let user = super::key(KeyPairType::User);
    let claims = json!({ "sub": user.public_key(), "exp": 0 }).to_string();
    let jwt = data_encoding::BASE64URL_NOPAD.encode(claims.as_bytes());
    let (host, actor) = (public(KeyPairType::Server), public(KeyPairType::Module));
    let provider = public(KeyPairType::Service);
    let arguments: [Value; 9] = [
        json!("default"),
        // The members of all requests at once: unknown members are ignored.
        json!({ "latticeId": "default", "hostId": host, "actorId": actor, "actorRef": "a/b:1",
                "newActorRef": "a/b:2", "providerId": provider, "providerRef": "a/c:1",
                "contractId": "c:d", "linkName": "default", "count": 3, "timeout": 5,
                "annotations": { "a": "b" }, "constraints": { "c": "d" },
                "configuration": "{}" }),
        json!({ "latticeId": "default", "link": { "actor_id": actor, "provider_id": provider,
                "link_name": "default", "contract_id": "c:d", "values": { "a": "b" } } }),
        json!({ "latticeId": "x", "natsUrl": "nats://u:p@h:1, tls://u:p@i", "jsDomain": "hub" }),
        json!({ "latticeId": "x", "userJwt": format!("e30.{jwt}.e30"),
                "userSeed": user.seed().unwrap() }),
        json!({ "latticeId": "x", "credentials": { "https://ghcr.io/a": {
                "registryType": "oci", "username": "u", "password": "p" } } }),
        json!({ "latticeId": "x", "credentials": { "b@c": {
                "registryType": "bindle", "token": "t" } } }),
        json!(["default", host, "a/b:1", { "a": "b" }, 3]),
        json!({ "latticeId": "default", "hostId": "N1", "count": -1, "timeout": u64::MAX }),
    ];
    arguments
        .iter()
        .map(|argument| rmp_serde::to_vec_named(argument).unwrap())
        .collect()
}
