//! The tests of the whole program, with real NATS servers, the real provider
//! process and simulated hosts. They are one binary, so that what they share is
//! compiled once.
//!
//! `cargo test --locked --test suite vault::` runs those of one module.

#[allow(dead_code, reason = "reports on real hosts use the rest")]
#[path = "../orders/mod.rs"]
mod orders;
#[path = "../promises/mod.rs"]
mod promises;
#[path = "../support/mod.rs"]
mod support;

mod actor_references;
mod actor_stops;
mod allowed_servers;
mod archive;
mod auctions;
mod autoscaler;
mod bounds;
mod citations;
mod component;
mod concurrent_calls;
mod connection_lifecycle;
mod connections;
mod contract;
mod credentials_set_again;
mod deadlines;
mod dials;
mod docs;
mod drills;
mod floods;
mod gathers;
mod generations;
mod health;
mod hosts;
mod hosts_1x;
mod hosts_1x_events;
mod hosts_1x_orders;
mod invocations;
mod isolation;
mod learning;
mod linked_actors;
mod links;
mod logins;
mod memory;
mod metadata_bucket;
mod metadata_bucket_faults;
mod metadata_bucket_gaps;
mod nats_accounts;
mod neighbours;
mod newcomers;
mod non_nats_servers;
mod operator_tool;
mod orders_in_flight;
mod overload;
mod pasted_credentials;
mod permissions;
mod permissions_1x;
mod policy;
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
mod server_limits;
mod settings_table;
mod shutdown;
mod sim_hosts;
mod tls;
mod updates;
mod vault;
mod vault_entries;
mod vault_without_jetstream;
mod wasmcloud_test_util;
mod wire;
