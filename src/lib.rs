//! The lattice controller: a wasmCloud capability provider through which actors run lattices
//! (contract `wasmcloud:latticecontrol`).
//!
//! The path of a call, from the message to the answer:
//!
//! ```text
//! host --NATS--> front::wasmbus   intake   takes the calls that are there, as there are places
//!                                 batch    decodes and verifies them together
//!                                 call     the steps of one call, in one function
//!   --> serve        is the actor linked, may it do that, did the call come before, is there room
//!   --> controller   checks the request, and says what the operation means
//!   --> credentials, connections   connects to the lattice
//!   --> lattice      subjects, bodies, answers of hosts
//! host <-- front::wasmbus::replies <-- the result, back the same way
//! ```
//!
//! | room | what is decided there |
//! | --- | --- |
//! | [`front`] | the protocols by which hosts start the provider and hand over calls |
//! | [`serve`] | what every call passes, whichever protocol it came by |
//! | [`contract`] | the operations, their arguments and answers |
//! | [`controller`] | what each operation means |
//! | [`credentials`] | which lattice is reached with what, and where that is kept |
//! | [`connections`] | one connection for each set of credentials |
//! | [`lattice`] | how hosts are asked and told, and how they differ |
//! | [`settings`] | what can be configured |
//! | [`error`] | why a call fails |
//! | [`nats`], [`telemetry`], [`name`], [`json`], [`deadline`], [`backoff`] | what all of them share |

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
