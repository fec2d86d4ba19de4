//! The host that started us, and the actors that call: everything that goes
//! over wasmbus RPC. Knows nothing of the lattices we control.
//!
//! - [`host_data`]: the line on standard input
//! - [`links`]: which actors may call
//! - [`invocation`]: what a call must prove; `signature`: by whom it is signed
//! - [`head`]: what is read of a call that is not served
//! - [`chunks`]: calls and answers too large for one message
//! - [`server`]: connection, health, shutdown
//! - `subscriptions`: made again when they are `lost`
//! - `missed`: links that changed while NATS was away
//! - [`repeats`]: calls that come again
//! - `decode`: MessagePack from outside
//! - `arrivals`: calls that came, as many as there is room for
//! - `calls`: from there to their results
//! - `answers`: from there to its answer; `oversize`: too large for our server

mod answers;
mod arrivals;
mod calls;
pub mod chunks;
mod decode;
pub mod head;
pub mod host_data;
pub mod invocation;
mod lost;
mod missed;
mod oversize;
pub mod server;
mod shutdown;
mod signature;
mod subscriptions;

#[doc(hidden)]
pub use crate::front::wasmbus::decode::{decode, is_shallow};

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer};
use wasmbus_rpc::error::RpcResult;
use zeroize::Zeroizing;

use crate::deadline::Deadline;
use crate::error::Error;
use crate::nats::OwnLattice;
use crate::settings::LinkSettings;

/// A call that has proved itself.
pub struct Call {
    /// Id of the invocation.
    pub id: String,
    /// `LatticeController.{Operation}`.
    pub operation: String,
    /// MessagePack arguments; they may hold secrets.
    pub argument: Zeroizing<Vec<u8>>,
    /// Public key of the actor that calls.
    pub actor: String,
    /// Settings of the actor's link.
    pub link: Arc<LinkSettings>,
    /// When the actor must have its answer.
    pub deadline: Deadline,
}

/// What serves calls.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Whether the link of an actor allows an operation.
    ///
    /// # Errors
    /// That it does not, and what decides.
    fn admit(&self, _operation: &str, _actor: &str, _link: &LinkSettings) -> Result<(), Error> {
        Ok(())
    }

    /// Carries out a call; the MessagePack result goes to the actor.
    async fn call(&self, call: &Call) -> RpcResult<Vec<u8>>;

    /// Says, in the way of the operation, that it was not carried out.
    fn refuse(&self, operation: &str, error: Error) -> RpcResult<Vec<u8>>;

    /// How many calls may be under way at once.
    fn max_calls(&self) -> usize;

    /// How many of them one actor may have.
    fn max_actor_calls(&self) -> usize {
        self.max_calls()
    }

    /// Whether a call of the operation may change something, so that it counts
    /// once.
    fn changes(&self, _operation: &str) -> bool {
        true
    }

    /// How old a call may be.
    fn invocation_window(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// The longest time for a call, where it is less than hosts allow.
    fn call_budget(&self) -> Option<Duration> {
        None
    }

    /// Takes note of our own lattice, before the first call.
    fn at_home(&self, _home: OwnLattice) {}

    /// Ends what goes on without a call, and begins nothing that could be left
    /// half done. The provider is stopping.
    async fn finish(&self) {}

    /// Whether all is well.
    ///
    /// # Errors
    /// What is not.
    fn health(&self) -> Result<(), String>;
}

/// A member that may be null, which counts as missing.
pub(crate) fn or_default<'de, D, T>(input: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(input)?.unwrap_or_default())
}
