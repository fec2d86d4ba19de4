//! Links that changed while our NATS was away. Hosts tell of a change once, and
//! whoever is not connected does not hear it: an actor whose link was removed
//! would go on to call.
//!
//! Hosts keep links in the metadata bucket of our own lattice, and a removal leaves
//! a marker there. After each reconnect, the newest message under the key of each
//! link that we have is looked at. It counts where it is newer than what we know:
//! a marker removes the link, a value of exactly this link takes its place. All
//! else changes nothing: no bucket, no permission, no answer, no message, a value
//! that is of another provider.
//!
//! What is newer is not a matter of clocks. While we are connected, the bucket is
//! asked how far it has come whenever links were put to us. A message beyond that
//! was written later than those puts. It is also what makes looking cheap: mostly,
//! a bucket has not moved while we were away. Else one entry is asked for at a time,
//! which needs no more than one permission and leaves nothing at the server, and
//! costs what our own links are, not what the whole lattice is.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::Info;
use futures::StreamExt as _;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use crate::backoff::Backoff;
use crate::home::Home;
use crate::json;
use crate::lattice::dialect::v0::bucket_key::BucketKey;
use crate::lattice::dialect::v0::place::Place as Bucket;
use crate::lattice::dialect::v0::subject;
use crate::name::LatticeId;
use crate::nats::is_removal;
use crate::nats::jetstream::{JetStream, NoAnswer};
use crate::serve::links::{LinkDefinition, LinkTable, Place};

/// Pause after a reconnect: instances of a lattice come back together, and must not
/// all ask at once.
const SPREAD_OVER: Backoff = Backoff::steady(Duration::from_secs(2));
/// Pause after a put, which rarely comes alone.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for JetStream to say how far the bucket has come.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// Longest time for all links.
const LOOKED_WITHIN: Duration = Duration::from_secs(60);
/// Entries that are asked for at once.
const AT_ONCE: usize = 16;
/// Pauses before a look that failed is tried again.
const AGAIN: Backoff = Backoff::doubling(Duration::from_secs(5), Duration::from_secs(300));

/// Looks for changes of links that were missed.
pub(super) struct Missed {
    links: Arc<LinkTable>,
    connects: watch::Receiver<u64>,
    puts: watch::Receiver<u64>,
    jetstream: JetStream,
    lattice: LatticeId,
    link_name: String,
    known: Option<Known>,
}

/// How far the bucket had come when nothing was missed.
#[derive(Clone, Copy)]
struct Known {
    /// When the bucket was made, in nanoseconds since 1970: another one counts
    /// anew.
    era: i128,
    /// Sequence of the newest message.
    sequence: u64,
    /// Number of the last put that had come by then.
    puts: u64,
    /// Number of the connection.
    connects: u64,
}

/// What came of a look.
enum Looked {
    Well,
    /// It may go better later.
    Failed,
    /// Nobody answers: without permission, nobody ever will.
    Unanswered,
}

impl Missed {
    /// Nothing is known yet. None where the lattice can have no bucket: hosts make
    /// none for names with dots.
    pub(super) fn new(home: &Home, links: Arc<LinkTable>) -> Option<Self> {
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

    /// Looks after each reconnect and after puts, for ever.
    pub(super) async fn follow(mut self) {
        let (mut failed, mut again) = (0, None);
        // Whether puts are a reason to ask: not where nobody answered.
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
                // It was there once, so that there is something to be found.
                _ if self.known.is_some() => {
                    (Some(Instant::now() + AGAIN.pause(failed)), failed + 1)
                }
                _ => (None, 0),
            };
        }
    }

    async fn look(&mut self) -> Looked {
        // Before the question: what comes after it may be newer than the answer.
        let connects = *self.connects.borrow_and_update();
        let puts = *self.puts.borrow_and_update();
        let question = format!("STREAM.INFO.{}", subject::bucket(&self.lattice));
        let info: Info = match self.jetstream.api(question, &()).await {
            Ok(info) => info,
            Err(NoAnswer::Silence | NoAnswer::Unheard(_) | NoAnswer::Refused(_)) => {
                return Looked::Unanswered;
            }
            Err(error) => {
                debug!(%error, "the bucket does not say what became of links");
                return Looked::Failed;
            }
        };
        let now = Known {
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
            if let Err(error) = compared.unwrap_or_else(|_| Err("it took too long".into())) {
                debug!(error, "links were not compared with the bucket");
                return Looked::Failed;
            }
        }
        self.known = Some(now);
        debug!(
            sequence = now.sequence,
            puts, connects, "what the bucket has of links is known"
        );
        Looked::Well
    }

    /// Compares all links that were put by then with what came since.
    async fn compare(&self, known: Known) -> Result<(), String> {
        let links = self.links.put_up_to(known.puts);
        let count = links.len();
        let compared = links
            .into_iter()
            .map(|place| self.compare_one(known, place));
        let compared = futures::stream::iter(compared).buffer_unordered(AT_ONCE);
        let failed = compared.filter_map(|one| async { one.err() });
        let failed: Vec<String> = failed.collect().await;
        debug!(
            links = count,
            failed = failed.len(),
            "links were compared with the bucket"
        );
        // Those that succeeded come to the same again.
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    async fn compare_one(&self, known: Known, place: Place) -> Result<(), String> {
        let key = BucketKey::of_link(&place.actor, &place.contract, &self.link_name);
        // As it is in the stream, whatever the domain is.
        let entries = subject::bucket_entries(&self.lattice, &Bucket::Here);
        let (stream, entry) = (subject::bucket(&self.lattice), format!("{entries}{key}"));
        let message = self.jetstream.last(&stream, &entry).await;
        let message = message.map_err(|error| error.to_string())?;
        let Some(message) = message.filter(|message| message.sequence > known.sequence) else {
            return Ok(());
        };
        if is_removal(Some(&message.headers)) {
            self.links.forget(&place, known.puts);
        } else if let Ok(link) = json::from_slice::<LinkDefinition>(&message.payload)
            && link.actor_id == place.actor
            && link.contract_id == place.contract
        {
            self.links.renew(link, known.puts);
        }
        Ok(())
    }
}
