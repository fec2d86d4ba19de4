//! Time limits of calls: those of the provider, and shorter ones of a link.

use std::time::Duration;

/// How long a gather waits for one more answer, unless it is set.
pub const STALL: Duration = Duration::from_millis(300);
/// How long a gather waits for new hosts and late bids, unless it is set.
pub(super) const GRACE: Duration = Duration::from_millis(30);

/// Time limits as the provider's settings or a link's values have them, under the same
/// keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeLimits {
    /// `call_budget_ms`: longest time for one call; less than the host allows.
    pub call_budget: Option<Duration>,
    /// `request_limit_ms`: longest wait for the answer of one host.
    pub request: Option<Duration>,
    /// `gather_limit_ms`: longest wait for the answers of all hosts.
    pub gather: Option<Duration>,
    /// `stall_ms`: longest wait for one more answer of hosts that are not known.
    pub stall: Option<Duration>,
    /// `grace_ms`: wait for new hosts, and for late bids, once every known host has
    /// answered.
    pub grace: Option<Duration>,
}

impl TimeLimits {
    /// Returns the limits of calls over a link: each of the link's limits counts where it
    /// is less than the provider's.
    pub fn with_link(&self, link: &Self) -> Limits {
        let less = |ours: Option<Duration>, theirs: Option<Duration>| {
            [ours, theirs].into_iter().flatten().min()
        };
        let shortened = |ours: Duration, theirs: Option<Duration>| {
            theirs.map_or(ours, |theirs| ours.min(theirs))
        };
        let gather = less(self.gather, link.gather);
        let most = gather.unwrap_or(Duration::MAX);
        // A default stall is never shorter than a grace that is set.
        let default = STALL.max(self.grace.unwrap_or_default());
        let stall = shortened(self.stall.unwrap_or(default), link.stall).min(most);
        let grace = shortened(self.grace.unwrap_or(GRACE), link.grace);
        Limits {
            request: less(self.request, link.request),
            gather,
            stall,
            grace: grace.min(stall),
        }
    }
}

/// The time limits of a call, beside its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest wait for the answer of one host.
    pub request: Option<Duration>,
    /// Longest wait for the answers of all hosts.
    pub gather: Option<Duration>,
    /// Longest wait for one more answer of hosts that are not known.
    pub stall: Duration,
    /// Wait for new hosts, and for late bids, once every known host has answered.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        TimeLimits::default().with_link(&TimeLimits::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{LinkSettings, SettingsError};

    fn read(pairs: &[(&str, u64)]) -> Result<TimeLimits, SettingsError> {
        let values = pairs
            .iter()
            .map(|(key, ms)| ((*key).to_owned(), ms.to_string()));
        LinkSettings::parse(&values.collect()).map(|link| link.limits)
    }

    #[test]
    fn a_part_longer_than_its_whole_is_a_mistake() {
        for (part, whole) in [
            ("request_limit_ms", "call_budget_ms"),
            ("gather_limit_ms", "call_budget_ms"),
            ("stall_ms", "gather_limit_ms"),
            ("stall_ms", "call_budget_ms"),
            ("grace_ms", "stall_ms"),
            ("grace_ms", "gather_limit_ms"),
            ("grace_ms", "call_budget_ms"),
        ] {
            let problem = read(&[(part, 600), (whole, 500)]).unwrap_err().to_string();
            assert!(
                problem.contains(part) && problem.contains(whole),
                "{problem}"
            );
            read(&[(part, 500), (whole, 500)]).unwrap();
        }
    }

    #[test]
    fn defaults_fit_into_what_is_set() {
        let limits = read(&[("gather_limit_ms", 20)]).unwrap();
        let limits = limits.with_link(&TimeLimits::default());
        assert_eq!(limits.stall, Duration::from_millis(20));
        assert_eq!(limits.grace, Duration::from_millis(20));
        assert_eq!(Limits::default().stall, STALL);
        assert_eq!(Limits::default().grace, GRACE);
    }

    #[test]
    fn a_link_can_only_shorten() {
        let provider = read(&[("request_limit_ms", 500), ("stall_ms", 200)]).unwrap();
        let link = read(&[("request_limit_ms", 900), ("stall_ms", 100)]).unwrap();
        let limits = provider.with_link(&link);
        assert_eq!(limits.request, Some(Duration::from_millis(500)));
        assert_eq!(limits.stall, Duration::from_millis(100));
        assert_eq!(limits.gather, None);
    }
}
