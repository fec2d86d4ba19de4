//! How many calls may be in flight, and how old one may be.

use std::time::Duration;

/// Limits of calls, in the provider's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// `max_calls`.
    pub(super) all: usize,
    /// `max_actor_calls`.
    pub(super) actor: Option<usize>,
    /// `max_lattice_calls`.
    pub(super) lattice: Option<usize>,
    /// `invocation_window_ms`.
    pub(super) window: Duration,
}

impl CallLimits {
    /// Before the defaults of the table are filled in.
    pub(super) const UNSET: Self = Self {
        all: 0,
        actor: None,
        lattice: None,
        window: Duration::ZERO,
    };

    /// `max_calls`: calls in flight.
    pub fn all(&self) -> usize {
        self.all
    }

    /// `max_actor_calls`: calls of one actor in flight; half of all unless set. Sharing
    /// gives no actor more than that.
    pub fn of_actor(&self) -> usize {
        self.actor.unwrap_or(self.all.div_ceil(2))
    }

    /// `max_lattice_calls`: calls to one lattice in flight; half of all unless set, so
    /// that no lattice can take every place.
    pub fn to_lattice(&self) -> usize {
        self.lattice.unwrap_or(self.all.div_ceil(2))
    }

    /// Calls of one actor to one lattice in flight: a sixteenth of the places is left to
    /// others that call it.
    pub fn of_actor_to_lattice(&self) -> usize {
        self.to_lattice() - self.to_lattice() / 16
    }

    /// Copies of the calls of one actor in flight, and one call: a quarter of the actor's
    /// places is left to its other calls.
    pub fn copies(&self) -> usize {
        let most = self.of_actor();
        most - (most / 4).max(1).min(most - 1)
    }

    /// `invocation_window_ms`: how old a call may be.
    pub fn window(&self) -> Duration {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{SettingsError, parse};

    fn read(values: &[(&str, u64)]) -> Result<CallLimits, SettingsError> {
        let pairs: Vec<_> = values.iter().map(|(key, n)| (*key, (*n).into())).collect();
        parse::of(&pairs).map(|settings| settings.calls)
    }

    #[test]
    fn an_actor_and_a_lattice_have_half_of_the_places_unless_it_is_said() {
        let limits = read(&[("max_calls", 5)]).unwrap();
        assert_eq!((limits.of_actor(), limits.to_lattice()), (3, 3));
        let limits = read(&[("max_calls", 5), ("max_actor_calls", 5)]).unwrap();
        assert_eq!((limits.of_actor(), limits.to_lattice()), (5, 3));
        let problem = read(&[("max_calls", 5), ("max_lattice_calls", 6)])
            .unwrap_err()
            .to_string();
        assert!(
            problem.contains("max_lattice_calls: it must not be more"),
            "{problem}"
        );
    }
}
