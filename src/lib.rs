//! The lattice controller: a wasmCloud capability provider through which actors
//! run lattices (contract `wasmcloud:latticecontrol`).
//!
//! The path of a call, one arrow one function:
//!
//! ```text
//! host --NATS--> wasmbus::server --> wasmbus::invocation (verify) --> controller
//!   (check the request, the link's policy) --> pool (lease a connection)
//!   --> lattice (subject and body, request or gather) --> controller --> reply
//! ```
//!
//! State has three owners: the links (`wasmbus`), the connections (`pool`) and
//! what is known of a lattice's hosts (`lattice`).
//!
//! | module | what is decided there |
//! | --- | --- |
//! | [`wasmbus`] | what the host says, who may call |
//! | [`controller`] | what each operation means |
//! | [`lattice`] | how a lattice is spoken to |
//! | [`pool`] | how a lattice is reached |
//! | [`contract`] | types of the contract, generated |
//! | [`error`] | how a call says no |
//! | [`security`] | what was refused, counted and logged |
//! | [`settings`] | what can be configured |
//! | [`json`] | that a list is no object, in what others send |
//! | [`limiter`] | how many calls may be under way at once |
//! | [`name`], [`nats`], [`deadline`], [`backoff`], [`telemetry`] | what all of them share |

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

pub mod backoff;
pub mod connections;
pub mod contract;
pub mod controller;
pub mod credentials;
pub mod deadline;
pub mod error;
pub mod front;
pub mod json;
pub mod lattice;
pub mod name;
pub mod nats;
pub mod serve;
pub mod settings;
pub mod telemetry;

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
