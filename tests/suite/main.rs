//! The tests of the whole program, in one binary, so that what they share is
//! compiled once: real NATS servers, the real provider process, simulated hosts.
//!
//! `cargo test --locked --test suite store::` runs those of one module.

#[path = "../orders/mod.rs"]
mod orders;
#[path = "../promises/mod.rs"]
mod promises;
#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod actors;
mod allowed;
mod archive;
mod autoscaler;
mod beyond;
mod bounds;
mod bucket;
mod component;
mod connections;
mod contract;
mod deadlines;
mod docs;
mod drills;
mod gathers;
mod generations;
mod health;
mod hosts;
mod invocations;
mod isolation;
mod limits;
mod linked;
mod links;
mod logins;
mod memory;
mod metadata;
mod operator;
mod pasted;
mod permissions;
mod places;
mod policy;
mod pool;
mod process;
mod properties;
mod providers;
mod random_orders;
mod readme;
mod registries;
mod replay;
mod replies;
mod requests;
mod rooms;
mod secrets;
mod sets;
mod shutdown;
mod sim_hosts;
mod store;
mod storeless;
mod strangers;
mod test_util;
mod tls;
mod together;
mod updates;
mod wire;
