//! What every call passes, whichever door it came by.
//!
//! - [`Service`]: all of the following, and what carries calls out
//! - [`links`]: which actors may call, and with which settings
//! - [`policy`]: what an actor may do
//! - [`replay`]: each command is carried out once
//! - [`admission`]: how many calls are in flight at once; [`places`] shares them among actors
//! - `copies`: how many copies of one call are in flight
//! - [`drain`]: how calls end when the provider stops
//! - [`Call`]: a call that passed all of that

pub mod admission;
mod call;
mod copies;
pub mod drain;
pub mod links;
pub mod places;
pub mod policy;
pub mod replay;
mod service;
mod unread;

pub use crate::serve::call::{Call, KeptForAnswer, Operations};
pub use crate::serve::service::{Rules, Service};
pub use crate::serve::unread::UnreadRoom;
