//! The credentials of lattices: which lattice has which, whose they are, how many
//! there may be, and where they are kept. Nothing here knows connections.
//!
//! | file | what it has |
//! | --- | --- |
//! | `given` | credentials as an actor gave them |
//! | `value` | credentials that were checked; `fingerprint`: their keyed hash |
//! | `shared` | one value for all lattices with equal credentials |
//! | `bindings` | which lattice is bound to what, and which of two bindings counts |
//! | `owners`, `ledger`, `locks` | whose they are; limits; one call at a time for a lattice |
//! | [`vault`] | the bucket of sealed credentials |
//! | `registry` | all of that together, and how a call sets credentials |
//! | `find` | how a call finds them |
//! | `stored`, `follow`, `rewrite` | what the bucket says, and what it lacks |

mod bindings;
mod find;
mod fingerprint;
mod follow;
mod given;
mod ledger;
mod locks;
mod owners;
mod registry;
mod rewrite;
mod route;
mod shared;
mod stored;
mod value;
pub mod vault;

pub use crate::credentials::fingerprint::{Fingerprint, FingerprintKey, NoRandomNumbers};
pub use crate::credentials::follow::follow;
pub use crate::credentials::given::GivenCredentials;
pub use crate::credentials::registry::Registry;
pub use crate::credentials::route::Route;
pub use crate::credentials::shared::SharedCredentials;
#[cfg(test)]
pub(crate) use crate::credentials::shared::tests;
pub use crate::credentials::value::Credentials;
