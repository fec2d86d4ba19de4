//! Closes connections whose server sends what is no message, without end.
//!
//! async-nats keeps what arrives until it is a whole line or a whole message, however long
//! that is, and there is no hook on the way. It counts bytes and messages, though. So one
//! task for all connections looks at these numbers, seldom while no bytes wait.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_nats::{Client, Statistics};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::connections::reports::Reported;
use crate::lock::Lock;
use crate::shares::{Share, Shares};

/// Most bytes that a server sends in a dial: its INFO, with the addresses of its cluster.
pub const MOST_IN_A_DIAL: u64 = 256 * 1024;
/// Most bytes that may arrive over a connection without a whole message. No NATS server
/// takes messages of more than 64 MiB.
pub const MOST_UNFINISHED: usize = 72 * 1024 * 1024;
/// Most such bytes over all connections. One connection has half of them at most.
pub const MOST_UNFINISHED_TOGETHER: usize = 256 * 1024 * 1024;
/// What a connection may have of them without being counted: usual messages have less.
const UNCOUNTED: usize = 1024 * 1024;

/// Pause between two looks: while no bytes wait, and while any do.
const SELDOM: Duration = Duration::from_millis(500);
const OFTEN: Duration = Duration::from_millis(50);

/// The connections that are looked at.
pub(super) struct UnfinishedMessages {
    watched: Lock<All>,
    unfinished: Arc<Shares<u64>>,
}

#[derive(Default)]
struct All {
    connections: Vec<Watched>,
    /// Whether a task looks at them.
    looking: bool,
}

/// One of the connections.
pub(super) struct Watched {
    client: Client,
    counts: Arc<Statistics>,
    report: Weak<watch::Sender<Reported>>,
    address: Arc<str>,
    /// Cancelled when nobody needs the connection any more.
    released: CancellationToken,
    progress: Progress,
}

/// How far a connection came.
struct Progress {
    /// How many messages had arrived at the last look.
    messages: u64,
    /// How many bytes had arrived when a message was last seen to arrive.
    from: u64,
    /// What the bytes since then take.
    unfinished: Share<u64>,
}

/// What a look at a connection shows.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Usual,
    /// Many bytes wait for the rest of their message.
    Waits,
    /// So many bytes wait, and these are too many.
    TooMuch(usize),
}

impl Default for UnfinishedMessages {
    fn default() -> Self {
        Self {
            watched: Lock::default(),
            unfinished: Shares::new(MOST_UNFINISHED_TOGETHER),
        }
    }
}

impl UnfinishedMessages {
    /// Looks at a connection from now on, until it is released. `number` tells it from
    /// others.
    pub(super) fn watch(
        self: &Arc<Self>,
        client: &Client,
        number: u64,
        address: &Arc<str>,
        report: Weak<watch::Sender<Reported>>,
        released: CancellationToken,
    ) {
        let counts = client.statistics();
        let progress = Progress {
            messages: counts.in_messages.load(Ordering::Relaxed),
            from: counts.in_bytes.load(Ordering::Relaxed),
            unfinished: self.unfinished.share(number),
        };
        let mut all = self.watched.lock();
        all.connections.push(Watched {
            client: client.clone(),
            counts,
            report,
            address: address.clone(),
            released,
            progress,
        });
        if !std::mem::replace(&mut all.looking, true) {
            tokio::spawn(look_on(Arc::downgrade(self)));
        }
    }

    /// Looks at each connection. Returns when to look again; `None` where none is left.
    fn look(&self) -> Option<Duration> {
        let all = &mut *self.watched.lock();
        let mut pause = SELDOM;
        all.connections.retain_mut(|one| {
            if one.released.is_cancelled() {
                return false;
            }
            let arrived = (
                one.counts.in_messages.load(Ordering::Relaxed),
                one.counts.in_bytes.load(Ordering::Relaxed),
            );
            match one.progress.look(arrived) {
                Look::Usual => true,
                Look::Waits => {
                    pause = OFTEN;
                    true
                }
                Look::TooMuch(bytes) => {
                    one.close(bytes);
                    false
                }
            }
        });
        all.looking = !all.connections.is_empty();
        all.looking.then_some(pause)
    }
}

async fn look_on(all: Weak<UnfinishedMessages>) {
    let mut pause = SELDOM;
    loop {
        sleep(pause).await;
        match all.upgrade().and_then(|all| all.look()) {
            Some(next) => pause = next,
            None => return,
        }
    }
}

impl Progress {
    fn look(&mut self, (messages, bytes): (u64, u64)) -> Look {
        if messages != self.messages {
            (self.messages, self.from) = (messages, bytes);
            self.unfinished.give_back();
            return Look::Usual;
        }
        let waiting = usize::try_from(bytes - self.from).unwrap_or(usize::MAX);
        if waiting <= UNCOUNTED {
            return Look::Usual;
        }
        let more = waiting.saturating_sub(self.unfinished.places());
        match waiting <= MOST_UNFINISHED && self.unfinished.take(more) {
            true => Look::Waits,
            false => Look::TooMuch(waiting),
        }
    }
}

impl Watched {
    fn close(&self, bytes: usize) {
        let address = &*self.address;
        warn!(
            address,
            bytes, "a server sends what is no message, without end: the connection is closed"
        );
        if let Some(report) = self.report.upgrade() {
            report.send_modify(|reported| reported.loss.floods(bytes));
        }
        let client = self.client.clone();
        tokio::spawn(async move {
            let _ = client.drain().await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(all: &UnfinishedMessages, number: u64) -> Progress {
        Progress {
            messages: 0,
            from: 0,
            unfinished: all.unfinished.share(number),
        }
    }

    #[test]
    fn the_largest_message_that_there_is_may_arrive_slowly() {
        let all = UnfinishedMessages::default();
        let mut one = progress(&all, 1);
        let mut bytes = 0;
        while bytes < 64 << 20 {
            bytes += 500_000;
            assert!(!matches!(one.look((0, bytes)), Look::TooMuch(_)));
        }
        assert_eq!(one.look((1, bytes)), Look::Usual);
        assert_eq!(one.unfinished.places(), 0);
        let most = bytes + MOST_UNFINISHED as u64;
        assert_eq!(one.look((1, most)), Look::Waits);
        assert!(matches!(one.look((1, most + 1)), Look::TooMuch(_)));
    }

    #[test]
    fn many_servers_that_send_without_end_leave_room_for_others() {
        let all = UnfinishedMessages::default();
        let mut hogs: Vec<_> = (0..20).map(|number| progress(&all, number)).collect();
        for bytes in (0..72 << 20).step_by(1 << 20) {
            for hog in &mut hogs {
                let _ = hog.look((0, bytes));
            }
        }
        assert!(all.unfinished.share(0).of_party().1 <= MOST_UNFINISHED_TOGETHER);
        let mut usual = progress(&all, 200);
        assert_eq!(usual.look((0, 5 << 20)), Look::Waits);
    }
}
