//! JWTs and seeds as people paste them are accepted as they are meant, or
//! refused at once with a hint what belongs where.

use crate::support::jwt::{Operator, User};
use crate::support::nats::NatsServer;
use crate::support::provider::{Identity, Provider};
use crate::support::secrets::found_in;
use crate::support::world::{World, ctx};
use wasmcloud_interface_lattice_control::{
    CtlOperationAck, LatticeController as _, SetLatticeCredentialsRequest,
};

fn server_of(operator: &Operator) -> NatsServer {
    NatsServer::with_config_without_jetstream(&operator.server_config())
}

/// Puts around a part of a credentials file what `nsc` and people put around
/// it.
fn armoured(label: &str, part: &str) -> String {
    format!("-----BEGIN {label}-----\n{part}\n------END {label}------\n\n")
}

fn armoured_jwt(user: &User) -> String {
    armoured("NATS USER JWT", &user.jwt)
}

fn armoured_seed(user: &User) -> String {
    armoured("USER NKEY SEED", &user.seed)
}

/// Sets these credentials as they are.
async fn set_as(world: &World, url: &str, jwt: &str, seed: &str) -> CtlOperationAck {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let request = SetLatticeCredentialsRequest {
        lattice_id: "x".into(),
        nats_url: Some(url.into()),
        user_jwt: some(jwt),
        user_seed: some(seed),
        js_domain: None,
    };
    let client = world.actor.lattice();
    let ack = client.set_lattice_credentials(&ctx(), &request).await;
    ack.unwrap()
}

#[tokio::test]
async fn a_jwt_and_a_seed_are_taken_as_they_are_pasted() {
    let operator = Operator::new();
    let server = server_of(&operator);
    let world = World::start().await;
    let user = operator.user(0);
    let User { jwt, seed, .. } = &user;
    for (jwt, seed) in [
        (armoured_jwt(&user), armoured_seed(&user)),
        (format!("\u{feff}{}", armoured_jwt(&user)), seed.clone()),
        (format!("\u{feff}{jwt}\r\n"), format!("\u{feff}{seed}\r\n")),
        (format!("\"{jwt}\""), format!(" '{seed}' \n")),
        (
            armoured_jwt(&user).replace('\n', "\r\n"),
            armoured_seed(&user).replace('\n', ""),
        ),
    ] {
        let ack = set_as(&world, &server.url(), &jwt, &seed).await;
        assert!(ack.accepted, "{}", ack.error);
        assert!(world.hosts("x").await.unwrap().is_empty());
    }
    // All of these texts are the same credentials.
    assert_eq!(server.open_connections("for lattices"), 1);
}

#[tokio::test]
async fn what_can_never_log_in_is_refused_when_it_is_set() {
    let operator = Operator::new();
    let server = server_of(&operator);
    let world = World::start().await;
    let user = operator.user(0);
    let User { jwt, seed, .. } = &user;
    let file = armoured_jwt(&user) + &armoured_seed(&user);
    let (signed, _) = jwt.rsplit_once('.').unwrap();
    let (_, unheaded) = jwt.split_once('.').unwrap();
    // {"alg":"HS256","typ":"JWT"}
    let other = format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{unheaded}");
    let whole = "is a whole credentials file";
    for (jwt, seed, expected) in [
        (file.as_str(), "", whole),
        ("", file.as_str(), whole),
        (&file, &file, whole),
        (jwt, &file, whole),
        (
            &armoured_seed(&user),
            &armoured_jwt(&user),
            "holds what belongs in",
        ),
        (&jwt[..jwt.len() - 7], seed, "it is cut short"),
        (signed, seed, "it is cut short"),
        (&format!("{signed}."), seed, "it is cut short"),
        (&other, seed, "ed25519-nkey"),
        (jwt, &seed[..40], "userSeed is not the seed of a NATS user"),
    ] {
        let ack = set_as(&world, &server.url(), jwt, seed).await;
        assert!(
            !ack.accepted && ack.error.contains(expected),
            "{}",
            ack.error
        );
        assert_eq!(found_in(&ack.error), None);
    }
    assert_eq!(server.dials(), 0);
}

#[tokio::test]
async fn host_datas_login_is_taken_as_it_was_pasted() {
    let operator = Operator::new();
    let home = server_of(&operator);
    let user = operator.user(0);
    let identity = Identity::new();
    let mut data = identity.host_data(&home.url());
    data["lattice_rpc_user_jwt"] = armoured_jwt(&user).into();
    data["lattice_rpc_user_seed"] = format!("\u{feff}\"{}\"\r\n", armoured_seed(&user)).into();
    data["config_json"] = "\u{feff}{\"max_calls\": 7}".into();
    let line = data_encoding::BASE64.encode(format!("\u{feff}{data}").as_bytes());
    let provider = Provider::start_with(&format!("\u{feff}{line}\r\n"), &[]);
    provider.ready().await;
    assert!(!provider.log().contains("the configuration is wrong"));
    // A provider that can never log in ends, and says which part belongs where.
    let file = armoured_jwt(&user) + &armoured_seed(&user);
    data["lattice_rpc_user_seed"] = file.into();
    let mut provider = Provider::start(&data);
    assert_eq!(provider.ended().await.code(), Some(1));
    let whole = "lattice_rpc_user_seed is a whole credentials file";
    provider.logged(whole).await;
}
