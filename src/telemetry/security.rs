//! Counts and logs what was refused because the caller may not do it, or did not prove
//! who it is. Operators can watch for these lines, and a caller that is refused a
//! thousand times a second does not fill the log.
//!
//! Every line has the target `lattice_controller::security` and the fields
//! `cause`, `actor`, `detail`, `count` (of this cause since the start) and
//! `unlogged` (of this cause and actor since its last line). All who did not prove who
//! they are count as one actor, because anyone can make up a name.

use std::sync::LazyLock;
use std::time::Duration;

use tracing::warn;

use crate::telemetry::limiter::Occurrences;
use crate::telemetry::party_limiter::PartyLimiter;

/// Why a call, a link or a server was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The call did not prove where it comes from: its signature, issuer, target, hash
    /// or lifetime is wrong.
    Unproved,
    /// The actor is not linked.
    Unlinked,
    /// The call is too old, or is a replay.
    Repeated,
    /// The link of the actor does not allow the operation.
    Operation,
    /// The link of the actor does not allow the lattice.
    Lattice,
    /// The credentials belong to another actor.
    Owner,
    /// The provider may not connect to the server.
    Server,
    /// The link has a wrong value, or is one too many.
    Link,
}

impl Cause {
    const ALL: [Self; 8] = [
        Self::Unproved,
        Self::Unlinked,
        Self::Repeated,
        Self::Operation,
        Self::Lattice,
        Self::Owner,
        Self::Server,
        Self::Link,
    ];

    /// Returns its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unproved => "unproved",
            Self::Unlinked => "unlinked",
            Self::Repeated => "repeated",
            Self::Operation => "operation",
            Self::Lattice => "lattice",
            Self::Owner => "owner",
            Self::Server => "server",
            Self::Link => "link",
        }
    }
}

/// One limiter for each cause: 20 lines of each actor at once, and one more each three
/// seconds.
static LIMITERS: LazyLock<[PartyLimiter; Cause::ALL.len()]> =
    LazyLock::new(|| Cause::ALL.map(|_| PartyLimiter::new(20, Duration::from_secs(3))));

/// Counts that an actor was refused something which proved that it is this one, and logs
/// it. `detail` says what was refused, and holds no secret.
pub fn refused(cause: Cause, actor: &str, detail: &str) {
    log(cause, Some(actor), actor, detail);
}

/// Counts that somebody was refused something who did not prove to be this actor, and logs
/// it.
pub fn refused_unproved(cause: Cause, actor: &str, detail: &str) {
    log(cause, None, actor, detail);
}

fn log(cause: Cause, party: Option<&str>, actor: &str, detail: &str) {
    let line = LIMITERS[cause as usize].occurrence(party);
    if let Some(Occurrences { count, unlogged }) = line {
        warn!(
            target: "lattice_controller::security",
            cause = cause.name(),
            actor = crate::error::quoted(actor),
            detail,
            count,
            unlogged,
            "refused"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_a_limiter_of_its_own() {
        for (number, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, number);
        }
    }
}
