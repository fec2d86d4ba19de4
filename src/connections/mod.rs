//! Connections to NATS servers, one for each set of credentials.

pub(crate) mod capacity;
pub(crate) mod connection;
pub(crate) mod failure;
pub(crate) mod inbox;
pub(crate) mod permissions;
pub(crate) mod reach;
pub(crate) mod reports;
pub(crate) mod sizes;
pub(crate) mod slot;
pub(crate) mod supervisor;
pub(crate) mod usage;

pub use connection::{Asked, Connection, NotAsked, Question, Sent};
pub use inbox::Replies;
pub use permissions::{Heard, Refusal};
pub use reports::Loss;
pub use usage::Held;
