//! Links that changed while the provider's NATS was away. Hosts tell of a change once, and a
//! provider that is not connected does not hear it: an actor whose link was removed could go
//! on to call.
//!
//! Hosts keep links in the metadata bucket of their lattice, and a removal leaves a marker
//! there. After each reconnect, the provider reads the newest message under the key of each
//! link in its table. A message counts if it is newer than what the table knows: a marker
//! removes the link, and a value of exactly this link replaces it. In every other case the
//! link stays as it is: no bucket, no permission, no answer, no message, or a value of
//! another provider.
//!
//! Clocks do not decide which is newer. While the provider is connected, it asks for the last
//! sequence number of the bucket whenever links were put. A message with a higher number was
//! written later than these puts. That also makes a look cheap: mostly the bucket did not
//! change meanwhile. Else one entry is asked for at a time, which needs only one permission,
//! leaves nothing at the server, and costs as much as the provider has links, not as much as
//! the whole lattice has.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use crate::backoff::Backoff;
use crate::front::wasmbus::link_definition::WireLinkDefinition;
use crate::json;
use crate::metadata_bucket::{self, BucketKey};
use crate::name::LatticeId;
use crate::nats::OwnLattice;
use crate::nats::is_removal;
use crate::nats::jetstream::{JetStream, NoAnswer};
use crate::serve::links::{LinkDefinition, LinkId, LinkTable};

/// Pause after a reconnect. The instances of a provider reconnect together, and must not all
/// ask at once.
const SPREAD_OVER: Backoff = Backoff::steady(Duration::from_secs(2));
/// Pause after a put. Puts mostly come together.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for the last sequence number of the bucket.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for a look at all links.
const LOOKED_WITHIN: Duration = Duration::from_secs(60);
/// How many entries are asked for at once.
const AT_ONCE: usize = 16;
/// Pauses before a look that failed is tried again.
const AGAIN: Backoff = Backoff::doubling(Duration::from_secs(5), Duration::from_secs(300));

/// Looks for changes of links that were missed.
pub(super) struct MissedLinks {
    links: Arc<LinkTable>,
    connects: watch::Receiver<u64>,
    puts: watch::Receiver<u64>,
    jetstream: JetStream,
    lattice: LatticeId,
    link_name: String,
    known: Option<BucketState>,
}

/// The state of the bucket up to which no change was missed.
#[derive(Clone, Copy)]
struct BucketState {
    /// When the bucket was made, in nanoseconds since 1970: another bucket has other
    /// sequence numbers.
    era: i128,
    /// Sequence of the newest message.
    sequence: u64,
    /// Number of the last put before that state.
    puts: u64,
    /// Number of the connection.
    connects: u64,
}

/// How a look ended.
enum Looked {
    Well,
    /// It failed, and may not fail later.
    Failed,
    /// There was no answer. Without permission there never is one.
    Unanswered,
}

impl MissedLinks {
    /// Makes a value that knows nothing yet; `None` where the lattice can have no bucket:
    /// hosts make none for names with dots.
    pub(super) fn new(home: &OwnLattice, links: Arc<LinkTable>) -> Option<Self> {
        Some(Self {
            puts: links.puts(),
            links,
            connects: home.connects.clone(),
            jetstream: JetStream::new(home, ANSWERS_WITHIN),
            lattice: LatticeId::parse(&home.lattice).ok()?,
            link_name: home.link_name.clone(),
            known: None,
        })
    }

    /// Looks after each reconnect and after puts, until the process ends.
    pub(super) async fn follow(mut self) {
        let (mut failed, mut again) = (0, None);
        // Whether to look after puts: not where there was no answer.
        let mut is_answered = true;
        loop {
            let due = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                connected = self.connects.changed() => {
                    if connected.is_err() {
                        return;
                    }
                    sleep(SPREAD_OVER.pause(0)).await;
                }
                put = self.puts.changed(), if is_answered && again.is_none() => {
                    if put.is_err() {
                        return;
                    }
                    sleep(SETTLED_AFTER).await;
                }
                () = due => {}
            }
            let looked = self.look().await;
            is_answered = !matches!(looked, Looked::Unanswered) || self.known.is_some();
            (again, failed) = match looked {
                Looked::Well => (None, 0),
                // The bucket answered once, so it will again.
                _ if self.known.is_some() => {
                    (Some(Instant::now() + AGAIN.pause(failed)), failed + 1)
                }
                _ => (None, 0),
            };
        }
    }

    /// Compares the links with the bucket, if it changed while the provider was away, and
    /// notes the state of the bucket.
    async fn look(&mut self) -> Looked {
        // Read before the question: a put after it may be newer than the answer.
        let connects = *self.connects.borrow_and_update();
        let puts = *self.puts.borrow_and_update();
        let question = format!("STREAM.INFO.{}", metadata_bucket::stream(&self.lattice));
        let info: Info = match self.jetstream.api(question, &()).await {
            Ok(info) => info,
            Err(NoAnswer::Silence | NoAnswer::Unheard(_) | NoAnswer::Refused(_)) => {
                return Looked::Unanswered;
            }
            Err(error) => {
                debug!(%error, "the state of the bucket with links is not known");
                return Looked::Failed;
            }
        };
        let now = BucketState {
            era: info.created.unix_timestamp_nanos(),
            sequence: info.state.last_sequence,
            puts,
            connects,
        };
        if let Some(known) = self.known
            && known.era == now.era
            && known.connects != connects
            && known.sequence < now.sequence
        {
            let compared = timeout(LOOKED_WITHIN, self.compare(known)).await;
            let failed = match compared {
                Ok(compared) => compared.err().map(|error| error.to_string()),
                Err(_) => Some("it took too long".into()),
            };
            if let Some(error) = failed {
                debug!(error, "links were not compared with the bucket");
                return Looked::Failed;
            }
        }
        self.known = Some(now);
        debug!(
            sequence = now.sequence,
            puts, connects, "the state of the bucket with links is known"
        );
        Looked::Well
    }

    /// Compares all links that were put before a state of the bucket with its changes since.
    async fn compare(&self, known: BucketState) -> Result<(), NoAnswer> {
        let links = self.links.put_up_to(known.puts);
        let count = links.len();
        let compared = links.into_iter().map(|link| self.compare_one(known, link));
        let compared = futures::stream::iter(compared).buffer_unordered(AT_ONCE);
        let failed = compared.filter_map(|one| async { one.err() });
        let failed: Vec<NoAnswer> = failed.collect().await;
        debug!(
            links = count,
            failed = failed.len(),
            "links were compared with the bucket"
        );
        // A look that is repeated changes nothing where this one succeeded.
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    /// Compares one link with its entry, if that changed since.
    async fn compare_one(&self, known: BucketState, link: LinkId) -> Result<(), NoAnswer> {
        let stream = metadata_bucket::stream(&self.lattice);
        let key = BucketKey::of_link(&link.actor, &link.contract, &self.link_name);
        let entry = format!("{}{key}", metadata_bucket::entries(&self.lattice));
        let message = self.jetstream.last(stream.as_str(), &entry).await?;
        let Some(message) = message.filter(|message| message.sequence > known.sequence) else {
            return Ok(());
        };
        if is_removal(Some(&message.headers)) {
            self.links.forget(&link, known.puts);
        } else if let Ok(found) = json::from_slice::<WireLinkDefinition>(&message.payload) {
            let found = LinkDefinition::from(found);
            if found.actor_id == link.actor && found.contract_id == link.contract {
                self.links.renew(found, known.puts);
            }
        }
        Ok(())
    }
}
