//! What a plan consists of.

use crate::lattice::model::TextMap;

/// One thing to tell a host about an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `la`: so many more.
    Start {
        /// Annotations of the new instances.
        annotations: TextMap,
        /// How many.
        count: u16,
        /// Reference to name.
        image_ref: String,
    },
    /// `scale`: so many.
    Scale {
        /// The set of annotations.
        annotations: TextMap,
        /// How many; `None` is without limit.
        count: Option<u32>,
        /// Reference to name.
        image_ref: String,
    },
    /// `sa`: stop instances.
    Stop {
        /// Annotations they have.
        annotations: TextMap,
        /// How many, 0 for all; hosts that count maximums have no such member.
        count: Option<u16>,
    },
    /// `sa`, repeated: OTP hosts from 0.60 on take the first so many instances, and stop
    /// those of them that match.
    StopAmongFirst {
        /// Annotations they have.
        annotations: TextMap,
        /// How many to stop.
        count: u32,
        /// How many match before.
        matching: u32,
    },
    /// `upd`: another revision.
    Update {
        /// Annotations of the instances.
        annotations: TextMap,
        /// Reference of the new revision.
        image_ref: String,
    },
}

/// Which of the commands in flight must have taken effect before a plan is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// All but starts: the host adds those up by itself.
    AllButStarts,
    /// Those for these sets of annotations: the others do not matter.
    Groups(Vec<TextMap>),
    /// All for this actor.
    Everything,
}

/// Commands that together do what an operation means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to tell the host, in this order; nothing where all is as wanted.
    pub commands: Vec<Command>,
    /// What must have taken effect before.
    pub after: After,
    /// Whether the host acknowledges before it knows whether it can do it. Success is
    /// then what the inventory shows.
    pub until_shown: bool,
}

impl Plan {
    pub(super) fn of(commands: Vec<Command>, after: After) -> Self {
        Self {
            commands,
            after,
            until_shown: false,
        }
    }

    /// Plans nothing: all is as wanted once the commands in flight took effect.
    pub(super) fn nothing() -> Self {
        Self::of(Vec::new(), After::Everything)
    }

    /// Has the answer wait until the host shows what the plan does.
    pub(super) fn until_shown(self) -> Self {
        Self {
            until_shown: true,
            ..self
        }
    }

    /// Tells whether the host instantiates code for it.
    pub fn starts_code(&self) -> bool {
        self.commands.iter().any(|command| match command {
            Command::Start { .. } => true,
            Command::Scale { count, .. } => *count != Some(0),
            _ => false,
        })
    }

    /// Tells whether the host takes code by the reference that the plan names.
    pub fn names_code(&self) -> bool {
        let updates = |command: &Command| matches!(command, Command::Update { .. });
        self.starts_code() || self.commands.iter().any(updates)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Objection {
    /// No instance matches.
    NothingRuns,
    /// This host would do something else, for this reason.
    Cannot(String),
}

pub(super) fn cannot(why: impl Into<String>) -> Objection {
    Objection::Cannot(why.into())
}
