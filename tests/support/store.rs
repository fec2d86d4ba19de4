//! The bucket of credentials, as others see it.

use async_nats::jetstream::stream::Config;
use async_nats::jetstream::{self, kv};
use lattice_controller::credentials::vault::bucket;

use super::nats::NatsServer;
use super::provider::Identity;

pub const KEPT: &str = "credentials are kept in JetStream";
pub const IN_MEMORY: &str = "credentials are kept in memory only";
pub const UNOPENED: &str = "cannot be opened and are ignored";

/// The bucket of the lattice that the provider lives in.
pub async fn bucket_of(nats: &NatsServer, lattice: &str) -> kv::Store {
    let jetstream = jetstream::new(nats.client().await);
    let name = bucket::name(lattice);
    jetstream.get_key_value(name).await.unwrap()
}

/// The key of a lattice in it.
pub fn key(identity: &Identity, lattice: &str) -> String {
    let (provider, link) = (&identity.provider_key, &identity.link_name);
    format!("{provider}.{link}.{lattice}")
}

/// The number of the last message that anybody wrote there.
pub async fn last_written(bucket: &kv::Store) -> u64 {
    bucket.stream.get_info().await.unwrap().state.last_sequence
}

/// Changes the stream under the bucket.
pub async fn edit(nats: &NatsServer, bucket: &kv::Store, change: impl FnOnce(&mut Config)) {
    let mut config = bucket.stream.get_info().await.unwrap().config;
    change(&mut config);
    let jetstream = jetstream::new(nats.client().await);
    jetstream.update_stream(config).await.unwrap();
}
