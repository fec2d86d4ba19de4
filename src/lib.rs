//! The lattice controller: a wasmCloud capability provider through which actors run lattices
//! (contract `wasmcloud:latticecontrol`).
//!
//! The path of a call, from the message to the answer:
//!
//! ```text
//! host --NATS--> front::wasmbus   intake   takes as many calls as there are places
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
//! | `front` | the protocols by which hosts start the provider and hand over calls |
//! | `serve` | what every call passes, whichever protocol it came by |
//! | `contract` | the operations, their arguments and answers |
//! | `controller` | what each operation means |
//! | `credentials` | which lattice is reached with what, and where that is kept |
//! | `connections` | one connection for each set of credentials |
//! | `lattice` | what an operation sends to hosts, and how hosts differ |
//! | `settings` | what can be configured |
//! | `error` | why a call fails |
//! | `nats`, `telemetry`, `name`, `metadata_bucket`, `json`, `deadline`, `backoff`, `lock`, `shares`, `fair` | what all of them share |

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

mod backoff;
mod connections;
mod contract;
mod controller;
mod credentials;
mod deadline;
mod error;
mod fair;
mod front;
mod json;
mod lattice;
mod lock;
mod metadata_bucket;
mod name;
mod nats;
mod serve;
mod settings;
mod shares;
mod telemetry;

pub use crate::controller::Controller;
pub use crate::front::wasmbus::host_data::HostData;
pub use crate::front::wasmbus::serve as serve_wasmbus;
pub use crate::serve::Rules;
pub use crate::settings::ProviderSettings;
pub use crate::telemetry::{Lines, start_log};

/// Everything inside, for the tests, benches, examples and fuzzers of this repository.
/// It may change with every commit.
#[doc(hidden)]
pub mod internals {
    pub mod contract {
        pub use crate::contract::*;
    }
    pub mod controller {
        pub use crate::controller::*;
    }
    pub mod credentials {
        pub use crate::credentials::*;
    }
    pub mod deadline {
        pub use crate::deadline::*;
    }
    pub mod error {
        pub use crate::error::*;
    }
    pub mod front {
        pub use crate::front::*;
    }
    pub mod lattice {
        pub use crate::lattice::*;
    }
    pub mod metadata_bucket {
        pub use crate::metadata_bucket::*;
    }
    pub mod name {
        pub use crate::name::*;
    }
    pub mod nats {
        pub use crate::nats::*;
    }
    pub mod serve {
        pub use crate::serve::*;
    }
    pub mod settings {
        pub use crate::settings::*;
    }
    pub mod telemetry {
        pub use crate::telemetry::*;
    }
}

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
