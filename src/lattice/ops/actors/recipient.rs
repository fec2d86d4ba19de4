//! Which host a command goes to, and what it is about.

use std::sync::LazyLock;

use crate::error::{Error, Kind};
use crate::lattice::commands::target::Target;
use crate::lattice::dialect::Software;
use crate::lattice::dialect::quirks::Quirks;
use crate::lattice::model::TextMap;
use crate::name::{ActorId, HostId};

/// The host that commands go to, and the actor that they are about.
pub(super) struct Recipient<'a> {
    pub(super) host: &'a HostId,
    pub(super) software: Software,
    /// The actor, where the caller names it or its reference is known.
    pub(super) actor: Option<&'a ActorId>,
    /// Empty where the caller names none.
    pub(super) image_ref: &'a str,
    /// Whether the caller names the actor itself.
    pub(super) names_actor: bool,
}

impl<'a> Recipient<'a> {
    /// For commands where the caller names the actor.
    pub(super) fn of_actor(
        host: &'a HostId,
        software: Software,
        actor: &'a ActorId,
        image_ref: &'a str,
    ) -> Self {
        Self {
            host,
            software,
            actor: Some(actor),
            image_ref,
            names_actor: true,
        }
    }

    /// For commands where the caller names a reference; `actor` is that of the reference,
    /// where it is known.
    pub(super) fn of_reference(
        host: &'a HostId,
        software: Software,
        actor: Option<&'a ActorId>,
        image_ref: &'a str,
    ) -> Self {
        Self {
            host,
            software,
            actor,
            image_ref,
            names_actor: false,
        }
    }

    pub(super) fn quirks(&self) -> &'static Quirks {
        self.software.quirks
    }

    /// Returns the key of the actor.
    ///
    /// # Errors
    /// `Internal` where it is not known; only starts go without.
    pub(super) fn key(&self) -> Result<&'a ActorId, Error> {
        self.actor
            .ok_or_else(|| Error::new(Kind::Internal, "an order without the actor's key"))
    }

    pub(super) fn target(&self) -> Target<'a> {
        Target {
            host: self.host,
            key: self.actor.map(ActorId::as_str),
            image_ref: self.image_ref,
            names_actor: self.names_actor,
        }
    }

    /// Returns the annotations that the inventory will show of instances with these.
    pub(super) fn shown_as<'b>(&self, annotations: &'b TextMap) -> &'b TextMap {
        static NONE: LazyLock<TextMap> = LazyLock::new(TextMap::new);
        match self.quirks().shows_annotations {
            true => annotations,
            false => &NONE,
        }
    }

    /// Returns the actor or its reference, for messages.
    pub(super) fn name(&self) -> &'a str {
        self.actor.map_or(self.image_ref, ActorId::as_str)
    }
}
