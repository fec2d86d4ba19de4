//! The bucket of credentials as other clients see it.

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, kv};
use lattice_controller::internals::credentials::vault::bucket;

use super::nats::NatsServer;
use super::provider::Identity;

pub const KEPT: &str = "credentials are kept in JetStream";
pub const IN_MEMORY: &str = "credentials are kept in memory only";
pub const UNOPENED: &str = "cannot be opened and are ignored";

/// Opens the bucket of credentials in the provider's own lattice.
pub async fn bucket_of(nats: &NatsServer, lattice: &str) -> kv::Store {
    let jetstream = jetstream::new(nats.client().await);
    let name = bucket::name(lattice);
    jetstream.get_key_value(name).await.unwrap()
}

/// Returns the key of a lattice's entry.
pub fn key(identity: &Identity, lattice: &str) -> String {
    let (provider, link) = (&identity.provider_key, &identity.link_name);
    format!("{provider}.{link}.{lattice}")
}

/// Returns the sequence number of the last message written there.
pub async fn last_written(bucket: &kv::Store) -> u64 {
    bucket.stream.get_info().await.unwrap().state.last_sequence
}

/// Changes the configuration of the bucket's stream.
pub async fn edit(nats: &NatsServer, bucket: &kv::Store, change: impl FnOnce(&mut Config)) {
    let mut config = bucket.stream.get_info().await.unwrap().config;
    change(&mut config);
    let jetstream = jetstream::new(nats.client().await);
    jetstream.update_stream(config).await.unwrap();
}
