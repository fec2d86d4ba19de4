//! Which actor an image reference is of, as OTP hosts from 0.60 on keep it in the
//! metadata bucket: `REFMAP_{base64url(reference)}`, written with every start and
//! update. Source: docs/hosts.md.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout_at;

use crate::lattice::Lattice;
use crate::lattice::bucket::Unanswered;
use crate::lattice::dialect::v0::subject;
use crate::lattice::dialect::v0::wire::{self, BucketKey};
use crate::lattice::exchange::request::json;
use crate::name::ActorId;
use crate::nats::is_removal;
use crate::nats::jetstream::Last;

/// Longest wait for the bucket: orders can do without it.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Entry {
    public_key: String,
}

impl Lattice {
    /// Key of the actor that a reference is of; `None` where the bucket does not
    /// say so in time.
    pub(crate) async fn key_in_bucket(&self, image_ref: &str) -> Option<ActorId> {
        let memory = &self.roster.commands.learned;
        if memory.is_refused() {
            return None;
        }
        let most = TOLD_WITHIN.min(self.deadline.remaining() / 4);
        let by = self.deadline.within(most);
        let place = timeout_at(by.at(), self.bucket()).await.ok()?.ok()??;
        let subjects = subject::bucket_entries(&self.id, &place);
        let entry = format!("{subjects}{}", BucketKey::of_reference(image_ref));
        let question = subject::bucket_get(&self.id, self.js_domain.as_ref());
        let body = json(&Last::under(&entry)).ok()?;
        let message = match self.ask_jetstream::<Last>(question, body, by).await {
            Ok(last) => last.message().ok()?,
            Err(Unanswered::Refused(_)) => {
                memory.may_not_ask();
                return None;
            }
            Err(_) => return None,
        };
        if is_removal(Some(&message.headers)) {
            return None;
        }
        let entry: Entry = wire::parse(&message.payload).ok()?;
        ActorId::parse(&entry.public_key).ok()
    }
}
