//! The seventeen operations, grouped by what they are about. Each checks its
//! request, leases a connection to the lattice, says in [`crate::lattice`]'s
//! words what is wanted, and turns the answer into the contract's types.

mod actors;
mod auctions;
mod bounds;
mod call;
mod claims;
mod credentials;
mod hosts;
mod links;
mod providers;
mod service;
mod wiped;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use tracing::info;
use wasmbus_rpc::common::{Context, Message, MessageDispatch as _};
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::connections::Connections;
use crate::controller::call::{Call, denied};
#[doc(hidden)]
pub use crate::controller::hosts::described;
use crate::credentials::Registry;
use crate::credentials::vault::key::SealingKey;
use crate::error::{Error, Kind};
use crate::front::wasmbus::{self, Handler};
use crate::home::Home;
use crate::lattice::rosters::Rosters;
use crate::serve::admission::Limiter;
use crate::settings::{Allowed, CallLimits, LinkSettings, OPERATIONS, ProviderSettings, READ};
use crate::telemetry::Complaints;
use crate::telemetry::security::Cause;

/// Carries out the operations of the contract.
pub struct Controller {
    settings: Result<ProviderSettings, String>,
    credentials: Arc<Registry>,
    connections: Connections,
    rosters: Rosters,
    /// Places for the calls to each lattice.
    lattices: Arc<Limiter>,
    /// What goes on when its call is over, and must not be left half done.
    duties: TaskTracker,
    /// Whoever finds none is told; the log is now and then.
    busy: Complaints,
}

impl Controller {
    /// A controller that knows no lattice yet. Wrong settings leave it up, but
    /// every call is refused with what is wrong with them.
    ///
    /// `name` is how its connections show up at NATS servers; credentials are
    /// sealed with a key that is derived from `cluster_seed` where the settings
    /// have none.
    ///
    /// # Errors
    /// That the operating system gives no random numbers.
    pub fn new(
        settings: Result<ProviderSettings, String>,
        name: String,
        cluster_seed: Option<&SecretString>,
    ) -> Result<Self, String> {
        let (pool, tls) = match &settings {
            Ok(settings) => (settings.pool.clone(), settings.tls.clone()),
            Err(_) => Default::default(),
        };
        let key = match &pool.key {
            Some(seed) => SealingKey::from_seed(seed),
            None => cluster_seed.and_then(SealingKey::of_cluster),
        };
        let calls = settings
            .as_ref()
            .map_or_else(|_| CallLimits::default(), |known| known.calls);
        Ok(Self {
            settings,
            credentials: Arc::new(Registry::new(&pool, key)?),
            connections: Connections::new(name, &pool, tls),
            rosters: Rosters::default(),
            lattices: Limiter::new(calls.to_lattice()),
            duties: TaskTracker::new(),
            busy: Complaints::default(),
        })
    }

    /// The settings.
    ///
    /// # Errors
    /// `Misconfigured`, with every mistake in them.
    fn settings(&self) -> Result<&ProviderSettings, Error> {
        self.settings.as_ref().map_err(|problem| {
            Error::new(
                Kind::Misconfigured,
                format!("the provider's configuration is wrong: {problem}"),
            )
        })
    }

    /// Limits of calls; with wrong settings, of those that are refused for it.
    fn calls(&self) -> CallLimits {
        self.settings
            .as_ref()
            .map_or_else(|_| CallLimits::default(), |settings| settings.calls)
    }

    /// What an actor may do: decided here, and nowhere else.
    ///
    /// # Errors
    /// `Misconfigured`.
    fn allowed<'a>(&'a self, link: &'a LinkSettings) -> Result<Allowed<'a>, Error> {
        let settings = self.settings()?;
        Ok(settings.default_policy.with_link(&link.policy))
    }
}

/// The operation's own name, where the contract has it.
fn known(operation: &str) -> RpcResult<&'static str> {
    operation
        .rsplit_once('.')
        .filter(|(service, _)| *service == "LatticeController")
        .and_then(|(_, name)| OPERATIONS.into_iter().find(|known| *known == name))
        .ok_or_else(|| RpcError::MethodNotHandled(crate::error::quoted(operation)))
}

/// Whether the operation answers with `CtlOperationAck`.
fn acknowledges(operation: &str) -> bool {
    operation != "SetRegistryCredentials" && !READ.contains(&operation)
}

#[async_trait]
impl Handler for Controller {
    fn admit(&self, operation: &str, actor: &str, link: &LinkSettings) -> Result<(), Error> {
        // One that there is not is refused as that.
        let Ok(operation) = known(operation) else {
            return Ok(());
        };
        let allowed = self.allowed(link)?.operation(operation);
        allowed.map_err(|by| denied(Cause::Operation, actor, operation, by))
    }

    async fn call(&self, incoming: &wasmbus::Call) -> RpcResult<Vec<u8>> {
        let operation = known(&incoming.operation);
        let call = Call::new(self, incoming);
        let result = match operation {
            Err(error) => Err(error),
            Ok(operation) => match self.admit(&incoming.operation, &incoming.actor, &incoming.link)
            {
                Err(error) => {
                    call.failed(&error);
                    self.refuse(&incoming.operation, error)
                }
                // The generated code decodes without such a limit.
                Ok(()) if !wasmbus::is_shallow(&incoming.argument) => Err(RpcError::Deser(
                    format!("'{operation}': the arguments are nested too deeply"),
                )),
                Ok(()) => {
                    let message = Message {
                        method: operation,
                        arg: incoming.argument.as_slice().into(),
                    };
                    let ctx = Context {
                        actor: Some(incoming.actor.clone()),
                        ..Context::default()
                    };
                    call.dispatch(&ctx, message).await
                }
            },
        };
        call.ended(&result);
        result
    }

    fn refuse(&self, operation: &str, error: Error) -> RpcResult<Vec<u8>> {
        if acknowledges(known(operation)?) {
            wasmbus_rpc::common::serialize(&error.into_ack()?)
        } else {
            Err(error.into_rpc())
        }
    }

    fn max_calls(&self) -> usize {
        self.calls().all()
    }

    fn max_actor_calls(&self) -> usize {
        self.calls().of_actor()
    }

    fn changes(&self, operation: &str) -> bool {
        known(operation).is_ok_and(|name| !READ.contains(&name))
    }

    fn invocation_window(&self) -> Duration {
        self.calls().window()
    }

    fn call_budget(&self) -> Option<Duration> {
        self.settings.as_ref().ok()?.limits.call_budget
    }

    fn at_home(&self, home: Home) {
        // With wrong settings nobody is served.
        if self.settings.is_ok() {
            crate::credentials::follow(&self.credentials, home);
        }
    }

    async fn finish(&self) {
        self.duties.close();
        if !self.duties.is_empty() {
            info!(
                duties = self.duties.len(),
                "orders are carried out to their end"
            );
        }
        self.duties.wait().await;
    }

    fn health(&self) -> Result<(), String> {
        self.settings().map_err(|error| error.to_string())?;
        self.credentials.health()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_known_by_their_full_names_only() {
        assert_eq!(known("LatticeController.GetHosts").unwrap(), "GetHosts");
        for other in ["GetHosts", "X.GetHosts", "LatticeController.Nope", "", "."] {
            let error = known(other).unwrap_err();
            assert!(matches!(error, RpcError::MethodNotHandled(_)), "{other}");
        }
    }

    #[test]
    fn ten_operations_answer_with_an_acknowledgement() {
        let count = OPERATIONS.iter().filter(|name| acknowledges(name)).count();
        assert_eq!(count, 10);
    }
}
