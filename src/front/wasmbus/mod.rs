//! The door of wasmbus RPC, by which hosts up to 0.82 start the provider and hand over the
//! calls of actors. It knows what `crate::serve` does with a call, and nothing of lattices.
//!
//! - [`host_data`]: the line on standard input
//! - [`serve`]: from the start to the end
//! - `door`: the state; `connection`: to the NATS of the host
//! - `subscriptions`: the subjects of the provider; `lost_subscriptions`: which are lost
//! - `subjects`: links, health and requests to stop
//! - `intake`: takes calls; `batch`: reads those that came together
//! - `call`: the steps of one call, from its invocation to its result
//! - `proof`: what calls prove; [`invocation`]: their claims; `signature`: who signed them
//! - [`head`]: the part of an invocation that a refusal needs
//! - `msgpack`, [`body`], [`link_definition`]: what comes and goes in MessagePack
//! - [`large_bodies`]: arguments and results that are too large for one message
//! - `failure`: how an answer says what went wrong
//! - `replies`: sends answers; `largest_answer`: which the server does not take
//! - `missed_links`: links that changed while NATS was away

mod batch;
pub mod body;
mod call;
mod connection;
mod door;
mod failure;
pub mod head;
pub mod host_data;
mod intake;
pub mod invocation;
pub mod large_bodies;
mod largest_answer;
pub mod link_definition;
mod lost_subscriptions;
mod missed_links;
mod msgpack;
mod object;
mod proof;
mod replies;
mod server;
mod signature;
mod subjects;
mod subscriptions;

#[doc(hidden)]
pub use crate::front::wasmbus::msgpack::decode;
pub use crate::front::wasmbus::server::serve;
