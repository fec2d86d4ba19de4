//! Random commands for one actor on one host, and whether they did what the
//! contract says and nothing else. They go to simulated hosts
//! (`tests/suite/random_orders`) and to real ones (`tests/real`).
//!
//! - [`contract`]: the right outcomes of a command
//! - [`contract_1x`]: what it adds for hosts of 1.x
//! - [`generate`]: chooses the next command
//! - [`seen`]: what is seen of the host afterwards
//! - [`run`]: gives the commands and judges them
//! - [`tally`]: the outcome of a run

pub mod contract;
pub mod contract_1x;
pub mod generate;
pub mod run;
pub mod seen;
pub mod tally;

#[path = "../../benches/soak/random.rs"]
pub mod random;
