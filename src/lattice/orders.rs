//! What was asked of the hosts of a lattice a moment ago: orders that go through
//! an inventory take turns, and count before the inventory shows them.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::{Instant, timeout_at};

use super::plan::Group;
use super::wire::TextMap;
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::name::HostId;

/// How long an order counts before the inventory shows it: hosts acknowledge,
/// then download.
const TARGET_COUNTS_FOR: Duration = Duration::from_secs(10);
/// Turns and targets kept before those out of use are swept.
const SWEEP_ABOVE: usize = 1024;

/// Orders of a moment ago.
#[derive(Default)]
pub struct Orders {
    // Plain tables: a lattice has few orders, and there are many lattices.
    turns: Table<Arc<Mutex<()>>>,
    targets: Table<Vec<Target>>,
}

/// By host, and actor or image reference.
type Table<T> = std::sync::Mutex<HashMap<(HostId, String), T>>;

fn locked<T>(table: &Table<T>) -> MutexGuard<'_, HashMap<(HostId, String), T>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many shall run of a set of annotations, as was ordered.
struct Target {
    annotations: TextMap,
    count: u32,
    since: Instant,
}

impl Orders {
    /// Waits until no other order that goes through an inventory is under way
    /// for this actor (a key, or an image reference) on this host.
    ///
    /// # Errors
    /// `Busy` when the call's time is over first.
    pub async fn turn(
        &self,
        host: &HostId,
        actor: &str,
        deadline: Deadline,
    ) -> Result<OwnedMutexGuard<()>, Error> {
        timeout_at(deadline.at(), self.place(host, actor).lock_owned())
            .await
            .map_err(|_| {
                Error::new(
                    Kind::Busy,
                    format!("another order for {actor} on host {host} is under way; try again"),
                )
            })
    }

    fn place(&self, host: &HostId, actor: &str) -> Arc<Mutex<()>> {
        let mut turns = locked(&self.turns);
        if turns.len() > SWEEP_ABOVE {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        let key = (host.clone(), actor.to_owned());
        turns.entry(key).or_default().clone()
    }

    /// Takes that so many shall run of a set of annotations.
    pub fn ordered(&self, host: &HostId, image_ref: &str, annotations: &TextMap, count: u32) {
        let mut table = locked(&self.targets);
        if table.len() > SWEEP_ABOVE {
            table.retain(|_, targets| targets.iter().any(Target::counts));
        }
        let key = (host.clone(), image_ref.to_owned());
        let targets = table.entry(key).or_default();
        targets.retain(|target| target.counts() && target.annotations != *annotations);
        targets.push(Target {
            annotations: annotations.clone(),
            count,
            since: Instant::now(),
        });
    }

    /// What an inventory will show once the host has done what it was told a
    /// moment ago: groups with the counts that were ordered. `image_ref` is the
    /// one asked about, beside those of the groups.
    pub fn expected(&self, host: &HostId, image_ref: &str, shown: &[Group]) -> Vec<Group> {
        let mut expected = shown.to_vec();
        let table = locked(&self.targets);
        let mut refs: Vec<&str> = shown.iter().map(|group| group.image_ref.as_str()).collect();
        refs.push(image_ref);
        refs.sort_unstable();
        refs.dedup();
        for image_ref in refs {
            let Some(targets) = table.get(&(host.clone(), image_ref.to_owned())) else {
                continue;
            };
            for target in targets.iter().filter(|target| target.counts()) {
                let same = |group: &Group| group.annotations == target.annotations;
                match expected.iter_mut().find(|group| same(group)) {
                    Some(group) => group.count = target.count,
                    None => expected.push(Group {
                        annotations: target.annotations.clone(),
                        count: target.count,
                        image_ref: image_ref.to_owned(),
                    }),
                }
            }
        }
        expected.retain(|group| group.count > 0);
        expected
    }
}

impl Target {
    fn counts(&self) -> bool {
        self.since.elapsed() < TARGET_COUNTS_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nkeys::{KeyPair, KeyPairType};

    fn host() -> HostId {
        HostId::parse(&KeyPair::new(KeyPairType::Server).public_key()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_counts_until_the_inventory_should_show_it() {
        let (orders, host) = (Orders::default(), host());
        let group = |pairs: &[(&str, &str)], count| Group {
            annotations: pairs
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            count,
            image_ref: "ref".into(),
        };
        let (bare, noted) = (group(&[], 1), group(&[("a", "b")], 7));
        let expected = |shown: &[Group]| orders.expected(&host, "ref", shown);
        orders.ordered(&host, "ref", &bare.annotations, 3);
        assert_eq!(expected(&[]), [group(&[], 3)]);
        assert_eq!(
            expected(&[bare.clone(), noted.clone()]),
            [group(&[], 3), noted.clone()]
        );
        orders.ordered(&host, "ref", &bare.annotations, 0);
        assert_eq!(expected(std::slice::from_ref(&bare)), []);
        tokio::time::advance(TARGET_COUNTS_FOR).await;
        assert_eq!(expected(std::slice::from_ref(&bare)), [bare]);
    }

    #[tokio::test(start_paused = true)]
    async fn orders_for_one_actor_take_turns_and_others_do_not_wait() {
        let (orders, host) = (Orders::default(), host());
        let deadline = || Deadline::new(Instant::now(), Duration::from_secs(1));
        let turn = orders.turn(&host, "a", deadline()).await.unwrap();
        orders.turn(&host, "b", deadline()).await.unwrap();
        let busy = orders.turn(&host, "a", deadline()).await.err().unwrap();
        assert_eq!(busy.kind(), Kind::Busy);
        drop(turn);
        orders.turn(&host, "a", deadline()).await.unwrap();
    }
}
