//! Stopping some of the instances of an actor where the host chooses among the first.

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::requests;
use crate::lattice::model::{TextMap, total};
use crate::lattice::ops::actors::recipient::Recipient;

impl Lattice {
    /// Stops `count` of the `matching` instances that match, on OTP hosts from 0.60 on,
    /// where others run beside them.
    ///
    /// A stop with count N takes the first N instances and stops those of them that match.
    /// So after each stop, instances that do not match are known to come first. The next
    /// one reaches past them by what is left to stop: it never stops one too many, whatever
    /// somebody else does meanwhile. It never reaches the last instance, because the others
    /// would then hear no calls.
    pub(super) async fn stop_among_first(
        &self,
        to: &Recipient<'_>,
        annotations: &TextMap,
        count: u32,
        matching: u32,
    ) -> Result<(), Error> {
        let target = matching - count;
        let (mut left, mut passed) = (count, 0);
        while left > 0 {
            let part = |error: Error| {
                let stopped = count - left;
                match stopped {
                    0 => error,
                    _ => Error::new(
                        Kind::Partial,
                        format!("{stopped} of {count} instances were stopped, then: {error}"),
                    )
                    .caused_by(error),
                }
            };
            let reach = u16::try_from(passed + left).unwrap_or(u16::MAX);
            let stop =
                requests::stop_actor(&self.id, to.host, to.key()?, annotations, Some(reach))?;
            self.tell_host(to.host, stop).await.map_err(part)?;
            let inventory = self.inventory(to.host, self.deadline).await;
            // The host acknowledged the stop: it is not known how many it stopped.
            let inventory = inventory.map_err(|error| {
                let why = format!("some of {count} instances were stopped, then: {error}");
                Error::new(Kind::Partial, why).caused_by(error)
            })?;
            self.roster.commands.learned.learn_all(to.host, &inventory);
            let shown = self.running(to, &inventory);
            let all = shown.groups.iter().map(|group| group.count).sum::<u32>();
            let running = total(&shown.matching(annotations));
            left = running.saturating_sub(target).min(left);
            passed += left;
            if left > 0 && passed + left >= all {
                let why = "what is left to stop stands at the end of its list by now, and the \
                           others would get no calls";
                return Err(Error::new(
                    Kind::Partial,
                    format!("{} of {count} instances were stopped: {why}", count - left),
                ));
            }
        }
        Ok(())
    }
}
