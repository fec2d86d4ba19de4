//! How hosts are spoken to, by generation.

pub mod quirks;
pub mod v0;
