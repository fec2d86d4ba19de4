//! Questions to a lattice over its connection, and how they end.
//!
//! - [`request`]: one question, one reply
//! - [`inventory`]: the question what runs on a host
//! - [`ask_all`]: one question to every host
//! - `acks`: one order to every host of 1.x
//! - [`failure`]: why a question was not sent or not answered, in words

mod acks;
pub mod ask_all;
pub mod failure;
pub mod inventory;
pub mod request;
