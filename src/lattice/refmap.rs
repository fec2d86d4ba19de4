//! Which actor an image reference is of, as OTP hosts from 0.60 on keep it in the
//! metadata bucket: `REFMAP_{base64url(reference)}`, written with every start and
//! update. Source: docs/hosts.md.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout_at;

use super::wire::{self, BucketKey};
use super::{Lattice, subject};
use crate::name::ActorId;

/// Longest wait for the bucket: orders can do without it.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Entry {
    public_key: String,
}

impl Lattice {
    /// Key of the actor that a reference is of; `None` where the bucket does not
    /// say so in time.
    pub(super) async fn key_in_bucket(&self, image_ref: &str) -> Option<ActorId> {
        let memory = &self.roster.orders.memory;
        if memory.is_refused() {
            return None;
        }
        let most = TOLD_WITHIN.min(self.deadline.remaining() / 4);
        let by = self.deadline.within(most);
        let question = [
            subject::bucket_get(&self.id, self.js_domain.as_ref()),
            subject::bucket_get(&self.id, None),
        ];
        let refusals = self.connection.refusals_from_now();
        let read = async {
            let stream = self.bucket().await.ok()??;
            let entry = BucketKey::of_reference(image_ref);
            let entry = subject::bucket_entry(&self.id, None, &entry);
            let message = stream.get_last_raw_message_by_subject(entry.as_str());
            message.await.ok()
        };
        let message = tokio::select! {
            message = timeout_at(by.at(), read) => message.ok()??,
            _ = refusals.naming(&question) => {
                memory.may_not_ask();
                return None;
            }
        };
        let entry: Entry = wire::parse(&message.payload).ok()?;
        ActorId::parse(&entry.public_key).ok()
    }
}
