//! Random orders for one actor on one host, and whether they did what the
//! contract says and nothing else. Used with simulated hosts (`tests/suite/random_orders`)
//! and with real ones (`tests/real`).
//!
//! - [`contract`]: what may come of an order
//! - [`generate`]: which order comes next
//! - [`seen`]: what is seen of the host afterwards
//! - [`run`]: gives the orders and judges them
//! - [`tally`]: what came of a run

pub mod contract;
pub mod generate;
pub mod run;
pub mod seen;
pub mod tally;

#[path = "../../benches/soak/random.rs"]
pub mod random;
