//! The control protocol of hosts 0.x: JSON on `wasmbus.ctl.{lattice}.…`.
//!
//! - [`subject`]: every subject, built from validated names only
//! - [`requests`]: queries and commands, as subject and body
//! - [`replies`]: what they answer, beyond the neutral types of the model
//! - [`events`]: what they publish by themselves
//! - [`plan`]: from what an operation means to commands for a host
//! - [`place`]: where the metadata bucket is written

pub mod events;
pub mod place;
pub mod plan;
pub mod replies;
pub mod requests;
pub mod subject;
