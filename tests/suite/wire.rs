//! What hosts receive: every request body equals the fixture of the host's
//! generation, which comes from the client that its hosts were released with.

use crate::support;
use crate::support::fixtures;
use crate::support::host::Generation;
use crate::support::operator::*;
use serde_json::Value;

use Generation::{G1a, G1b, G2a, G2b, G3a, G3b};

/// Reads the fixture of a version, which has one of its own where it differs
/// from its generation.
fn fixture(generation: Generation, name: &str) -> Value {
    let folders: &[&str] = match generation {
        G1a => &["G1-otp-0.54", "G1"],
        G1b | Generation::Otp51 | Generation::Otp59 | Generation::Otp60 => &["G1"],
        G2a => &["G2-rust-0.78", "G2"],
        G2b => &["G2"],
        G3a => &["G3-rust-0.81", "G3"],
        G3b => &["G3"],
    };
    let exists = |folder: &&&str| {
        let path = format!(
            "{}/tests/fixtures/{folder}/{name}",
            env!("CARGO_MANIFEST_DIR")
        );
        std::path::Path::new(&path).exists()
    };
    let folder = folders
        .iter()
        .find(exists)
        .unwrap_or_else(|| panic!("no {name}"));
    fixtures::json(&format!("{folder}/{name}"))
}

/// Asserts that the first body on a subject equals the fixture, apart from the
/// host id and `change`.
#[track_caller]
fn received(
    generation: Generation,
    lattice: &Operated,
    subject: &str,
    name: &str,
    change: impl FnOnce(&mut Value),
) {
    let mut expected = fixture(generation, &format!("{name}.request.json"));
    if expected.get("host_id").is_some() {
        expected["host_id"] = lattice.hosts[0].id.clone().into();
    }
    change(&mut expected);
    let received = lattice.hosts[0].received_on(subject);
    let first = received
        .first()
        .unwrap_or_else(|| panic!("{generation:?}: nothing on {subject}"));
    assert_eq!(first.json(), expected, "{generation:?} {subject}");
}

const AS_IS: fn(&mut Value) = |_| {};

#[tokio::test]
async fn auctions_ask_as_the_fixtures_do() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let constraints = [("hostcore.os", "linux")];
        lattice.auction_actor(&constraints).await.unwrap();
        lattice.auction_provider(&constraints).await.unwrap();
        received(generation, &lattice, "auction.actor", "AuctionActor", AS_IS);
        received(
            generation,
            &lattice,
            "auction.provider",
            "AuctionProvider",
            AS_IS,
        );
    }
}

#[tokio::test]
async fn questions_are_empty() {
    for generation in Generation::ALL {
        let lattice = Operated::without_bucket(&[(generation, &[])]).await;
        lattice.get_hosts().await.unwrap();
        lattice.inventory(&lattice.hosts[0].id).await.unwrap();
        lattice.links().await.unwrap();
        lattice.claims().await.unwrap();
        for subject in ["ping.hosts", ".inv", "get.links", "get.claims"] {
            let received = lattice.hosts[0].received_on(subject);
            assert!(!received.is_empty(), "{subject}");
            assert!(
                received.iter().all(|message| message.body.is_empty()),
                "{subject}"
            );
        }
    }
}

#[tokio::test]
async fn actors_are_started_as_the_fixtures_do() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0].id;
        if generation.is_g3() {
            // In the fixture, three instances are added to two.
            accepted(lattice.scale_actor(host, 2, &managed()).await);
            accepted(lattice.start_actor(host, 3, &managed()).await);
            let scales = lattice.hosts[0].received_on(".scale");
            let mut expected = fixture(G3b, "StartActor.as-scale.request.json");
            expected["host_id"] = host.clone().into();
            assert_eq!(scales[1].json(), expected);
            assert!(lattice.hosts[0].received_on(".la").is_empty());
        } else {
            accepted(lattice.start_actor(host, 3, &managed()).await);
            // The client of 0.80 sends a scale, too.
            let subject = if generation == G2b { ".scale" } else { ".la" };
            received(generation, &lattice, subject, "StartActor", AS_IS);
        }
    }
}

#[tokio::test]
async fn actors_are_scaled_as_the_fixtures_do() {
    for generation in [G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0].id;
        accepted(lattice.scale_actor(host, 5, &managed()).await);
        received(generation, &lattice, ".scale", "ScaleActor", AS_IS);
    }
    // Where annotations are not shown, nobody can count by them, and the
    // command has none.
    let lattice = Operated::one(G1a).await;
    let host = &lattice.hosts[0].id;
    accepted(lattice.scale_actor(host, 5, &Annotations::new()).await);
    received(G1a, &lattice, ".scale", "ScaleActor", |expected| {
        expected.as_object_mut().unwrap().remove("annotations");
    });
}

#[tokio::test]
async fn otp_hosts_whose_scale_knows_no_annotations_are_not_told_to_scale() {
    let lattice = Operated::one(G1b).await;
    let host = &lattice.hosts[0].id;
    accepted(lattice.scale_actor(host, 5, &managed()).await);
    received(G1b, &lattice, ".la", "StartActor", |expected| {
        expected["count"] = 5.into();
    });
    accepted(lattice.scale_actor(host, 3, &managed()).await);
    received(G1b, &lattice, ".sa", "StopActor", |expected| {
        expected["count"] = 2.into();
    });
    assert!(lattice.hosts[0].received_on(".scale").is_empty());
}

#[tokio::test]
async fn actors_are_stopped_as_the_fixtures_do() {
    for generation in [G1b, G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0].id;
        // Two of three are stopped where the fixture has a count, and all where
        // it has none.
        let (running, stop) = match generation {
            G1b | G2a => (3, 2),
            _ => (2, 2),
        };
        accepted(lattice.start_actor(host, running, &managed()).await);
        accepted(lattice.stop_actor(host, stop, &managed()).await);
        received(generation, &lattice, ".sa", "StopActor", |expected| {
            if generation.counts_maximum() {
                // Hosts that would lose what does not match get a command to
                // stop all.
                expected.as_object_mut().unwrap().remove("annotations");
            }
        });
    }
}

#[tokio::test]
async fn some_of_a_maximum_are_stopped_by_a_scale() {
    for generation in [G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0].id;
        accepted(lattice.scale_actor(host, 7, &managed()).await);
        accepted(lattice.stop_actor(host, 2, &managed()).await);
        let scales = lattice.hosts[0].received_on(".scale");
        // Five instances are left, as the fixture scales to five.
        let mut expected = fixture(generation, "ScaleActor.request.json");
        expected["host_id"] = host.clone().into();
        assert_eq!(scales[1].json(), expected, "{generation:?}");
        assert!(lattice.hosts[0].received_on(".sa").is_empty());
    }
}

#[tokio::test]
async fn hosts_that_show_no_annotations_are_told_without_them() {
    let lattice = Operated::one(G1a).await;
    let (host, none) = (&lattice.hosts[0].id, Annotations::new());
    let bare = |expected: &mut Value| {
        expected.as_object_mut().unwrap().remove("annotations");
    };
    accepted(lattice.start_actor(host, 3, &none).await);
    accepted(lattice.stop_actor(host, 2, &none).await);
    received(G1a, &lattice, ".sa", "StopActor", bare);
    accepted(lattice.update_actor(host, &none).await);
    received(G1a, &lattice, ".upd", "UpdateActor", bare);
    accepted(lattice.start_provider(host).await);
    accepted(lattice.stop_provider(host, &none).await);
    received(G1a, &lattice, ".sp", "StopProvider", bare);
}

#[tokio::test]
async fn actors_are_updated_as_the_fixtures_do() {
    for generation in [G1b, G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0].id;
        accepted(lattice.start_actor(host, 1, &managed()).await);
        accepted(lattice.update_actor(host, &managed()).await);
        received(generation, &lattice, ".upd", "UpdateActor", AS_IS);
    }
}

#[tokio::test]
async fn providers_are_started_and_stopped_as_the_fixtures_do() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let host = &lattice.hosts[0].id;
        let started = lattice.start_provider_with(host, "eyJmb28iOiJiYXIifQ==");
        accepted(started.await);
        received(generation, &lattice, ".lp", "StartProvider", AS_IS);
        if generation != G1a {
            accepted(lattice.stop_provider(host, &managed()).await);
            received(generation, &lattice, ".sp", "StopProvider", AS_IS);
        }
    }
}

#[tokio::test]
async fn hosts_are_stopped_as_the_fixtures_do() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        accepted(lattice.stop_host(&lattice.hosts[0].id, Some(30)).await);
        received(generation, &lattice, ".stop", "StopHost", |expected| {
            // The client of OTP hosts sent seconds; the hosts ignore the
            // member.
            expected["timeout"] = 30_000.into();
        });
    }
    let lattice = Operated::one(G1b).await;
    accepted(lattice.stop_host(&lattice.hosts[0].id, None).await);
    received(G1b, &lattice, ".stop", "StopHost.no-timeout", AS_IS);
}

#[tokio::test]
async fn registry_credentials_are_sent_as_the_fixtures_do() {
    for generation in Generation::ALL {
        let lattice = Operated::one(generation).await;
        let set = lattice.set_registry("wasmcloud.azurecr.io", "oci").await;
        // Old hosts confirm nothing.
        assert_eq!(set.is_ok(), generation != G1a);
        received(
            generation,
            &lattice,
            "registries.put",
            "SetRegistryCredentials",
            |expected| {
                expected["wasmcloud.azurecr.io"]["password"] = "s3cret-registry-password".into();
            },
        );
    }
}

#[tokio::test]
async fn links_are_put_and_removed_by_hosts_as_the_fixtures_do() {
    for generation in Generation::ALL {
        let lattice = Operated::without_bucket(&[(generation, &[])]).await;
        accepted(lattice.advertise_link().await);
        accepted(lattice.remove_link().await);
        received(generation, &lattice, "linkdefs.put", "AdvertiseLink", AS_IS);
        received(generation, &lattice, "linkdefs.del", "RemoveLink", AS_IS);
    }
}

#[tokio::test]
async fn links_are_written_into_the_bucket_as_clients_do() {
    use futures::StreamExt as _;
    for generation in [G1b, G2a, G2b, G3a, G3b] {
        let lattice = Operated::one(generation).await;
        let nats = lattice.world.nats.client().await;
        let key = "LINKDEF_6EEC1926DB5D71600C9CDF6E0585F4A9AFA548D579F5CA2E5C30F633A67D5192";
        let mut bucket = nats.subscribe("$KV.LATTICEDATA_default.>").await.unwrap();
        support::fence(&nats).await;
        accepted(lattice.advertise_link().await);
        let written = bucket.next().await.unwrap();
        assert!(written.subject.ends_with(key), "{}", written.subject);
        let value: Value = serde_json::from_slice(&written.payload).unwrap();
        assert_eq!(value, fixture(generation, "AdvertiseLink.request.json"));
        accepted(lattice.remove_link().await);
        let removed = bucket.next().await.unwrap();
        // Rust hosts would keep the link after a PURGE
        // (docs/hosts.md#removal-unseen-by-rust-hosts).
        let headers = removed.headers.unwrap();
        assert_eq!(headers.get("KV-Operation").unwrap().as_str(), "DEL");
        assert!(lattice.hosts[0].received_on("linkdefs").is_empty());
    }
}
