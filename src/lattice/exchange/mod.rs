//! Questions to one host and to all of them, and when a gather ends.

pub mod gather;
pub mod pings;
pub mod request;
