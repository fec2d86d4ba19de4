//! How many calls may be under way, and how old one may be.

use std::time::Duration;

use serde_json::Value;

use crate::settings::Mistakes;

/// Limits of calls, in the provider's settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallLimits {
    /// `max_calls`.
    all: Option<usize>,
    /// `max_actor_calls`.
    actor: Option<usize>,
    /// `max_lattice_calls`.
    lattice: Option<usize>,
    /// `invocation_window_ms`.
    window: Option<Duration>,
}

impl CallLimits {
    /// Every key that [`CallLimits::take`] knows.
    pub(super) const KEYS: [&str; 4] = [
        "invocation_window_ms",
        "max_actor_calls",
        "max_calls",
        "max_lattice_calls",
    ];

    /// Takes what stands under `key`, one of [`CallLimits::KEYS`].
    pub(super) fn take(&mut self, key: &str, value: &Value, mistakes: &mut Mistakes) {
        let limit = match key {
            // Less would refuse calls of hosts whose clocks are 30 s behind.
            "invocation_window_ms" => {
                let ms = mistakes.number(key, value, 30_000, 3_600_000);
                self.window = ms.map(Duration::from_millis);
                return;
            }
            "max_actor_calls" => &mut self.actor,
            "max_calls" => &mut self.all,
            "max_lattice_calls" => &mut self.lattice,
            _ => return mistakes.unknown(key, &Self::KEYS),
        };
        *limit = mistakes
            .number(key, value, 1, 100_000)
            .map(|calls| calls as usize);
    }

    /// Adds what could never count.
    pub(super) fn contradictions(&self, mistakes: &mut Mistakes) {
        for (key, part) in [
            ("max_actor_calls", self.actor),
            ("max_lattice_calls", self.lattice),
        ] {
            if let (Some(part), Some(all)) = (part, self.all)
                && part > all
            {
                mistakes.add(key, "it must not be more than max_calls");
            }
        }
    }

    /// `max_calls`: calls under way at once.
    pub fn all(&self) -> usize {
        self.all.unwrap_or(1024)
    }

    /// `max_actor_calls`: calls of one actor; half of all unless set, so that
    /// none can take every place.
    pub fn of_actor(&self) -> usize {
        self.actor.unwrap_or(self.all().div_ceil(2))
    }

    /// `max_lattice_calls`: calls to one lattice; the same for those.
    pub fn to_lattice(&self) -> usize {
        self.lattice.unwrap_or(self.all().div_ceil(2))
    }

    /// `invocation_window_ms`: how old a call may be.
    pub fn window(&self) -> Duration {
        self.window.unwrap_or(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[(&str, u64)]) -> Result<CallLimits, String> {
        let (mut limits, mut mistakes) = (CallLimits::default(), Mistakes::default());
        for (key, value) in values {
            limits.take(key, &(*value).into(), &mut mistakes);
        }
        limits.contradictions(&mut mistakes);
        mistakes.none().map(|()| limits)
    }

    #[test]
    fn no_actor_and_no_lattice_has_every_place_unless_it_is_said() {
        let limits = read(&[("max_calls", 5)]).unwrap();
        assert_eq!((limits.of_actor(), limits.to_lattice()), (3, 3));
        let limits = read(&[("max_calls", 5), ("max_actor_calls", 5)]).unwrap();
        assert_eq!((limits.of_actor(), limits.to_lattice()), (5, 3));
        let problem = read(&[("max_calls", 5), ("max_lattice_calls", 6)]).unwrap_err();
        assert!(
            problem.contains("max_lattice_calls: it must not be more"),
            "{problem}"
        );
    }
}
