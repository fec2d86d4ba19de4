//! What every call passes, whichever door it came by.

pub mod admission;
pub mod links;
pub mod replay;
