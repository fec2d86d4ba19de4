//! What a command is about.

use crate::name::HostId;

/// The actor on a host that a command is about, as far as it is known.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// The host.
    pub host: &'a HostId,
    /// Public key of the actor, where it is known.
    pub key: Option<&'a str>,
    /// Image reference; empty where the command has none.
    pub image_ref: &'a str,
    /// Whether the caller names the actor by its key. If so, the command must wait for
    /// starts from references of which the actor is not known yet.
    pub names_actor: bool,
}
