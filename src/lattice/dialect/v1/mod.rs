//! The control protocol of hosts 1.x: JSON on `wasmbus.ctl.v1.{lattice}.…`.
//!
//! - [`subject`]: every subject, built from validated names only
//! - [`behaviour`]: what differs from version to version
//! - [`ids`]: what components and providers are called
//! - [`configs`]: named configs
//! - [`requests`]: queries and commands, as subject and body
//! - [`replies`]: what they answer
//! - [`inventory`]: what runs on a host, and what of that the model shows
//! - [`events`]: what they publish by themselves
//! - [`plan`]: from what an operation means to orders for a host

pub mod behaviour;
pub mod configs;
pub mod events;
pub mod ids;
pub mod inventory;
pub mod plan;
pub mod replies;
pub mod requests;
pub mod subject;

#[cfg(test)]
mod transcripts;
