//! The doors by which hosts hand us calls, one folder each.

pub mod wasmbus;
