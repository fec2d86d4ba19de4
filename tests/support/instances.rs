//! Several instances of one provider, in one queue group.

use serde_json::Value;

use super::actor::Actor;
use super::nats::NatsServer;
use super::provider::{Identity, Provider};

/// Instances that share everything but the host that started them.
pub struct Instances {
    pub identity: Identity,
    pub actor: Actor,
    pub providers: Vec<Provider>,
    pub nats: NatsServer,
    data: Vec<Value>,
}

impl Instances {
    /// Starts `count` of them, with host data changed by `change`.
    pub async fn start(count: usize, change: impl Fn(usize, &mut Value)) -> Self {
        Self::start_on(NatsServer::start(), count, change).await
    }

    /// Starts `count` of them on this server.
    pub async fn start_on(
        nats: NatsServer,
        count: usize,
        change: impl Fn(usize, &mut Value),
    ) -> Self {
        Self::start_as(Identity::new(), nats, count, change).await
    }

    /// Starts `count` instances of this provider on this server.
    pub async fn start_as(
        identity: Identity,
        nats: NatsServer,
        count: usize,
        change: impl Fn(usize, &mut Value),
    ) -> Self {
        let data: Vec<Value> = (0..count)
            .map(|number| {
                let mut identity = identity.clone();
                identity.host_id = Identity::new().host_id;
                let mut data = identity.host_data(&nats.url());
                change(number, &mut data);
                data
            })
            .collect();
        let mut instances = Self {
            actor: Actor::connect(&nats.url(), &identity).await,
            providers: Vec::new(),
            identity,
            nats,
            data,
        };
        instances.start_all().await;
        instances
    }

    async fn start_all(&mut self) {
        self.providers = self.data.iter().map(Provider::start).collect();
        for provider in &self.providers {
            provider.ready().await;
        }
    }

    /// Kills all of them, as if their machines had lost power, and starts them
    /// again.
    pub async fn restart(&mut self) {
        self.providers.clear();
        self.start_all().await;
    }

    /// Gives them other settings, which take effect at the next restart.
    pub fn configure(&mut self, settings: Value) {
        for data in &mut self.data {
            data["config_json"] = settings.to_string().into();
        }
    }

    /// Waits until each of them has logged this.
    pub async fn logged(&self, text: &str) {
        for provider in &self.providers {
            provider.logged(text).await;
        }
    }
}
