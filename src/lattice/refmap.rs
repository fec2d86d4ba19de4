//! Which actor an image reference is of, as OTP hosts from 0.60 on keep it in the
//! metadata bucket: `REFMAP_{base64url(reference)}`, written with every start and
//! update. Source: control-interface reference, section 3.2.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::timeout_at;

use super::wire::{self, BucketKey};
use super::{Lattice, subject};

/// Longest wait for the bucket: orders can do without it.
const TOLD_WITHIN: Duration = Duration::from_millis(500);

#[derive(Deserialize)]
struct Entry {
    public_key: String,
}

impl Lattice {
    /// Key of the actor that a reference is of; `None` where the bucket does not
    /// say so in time.
    pub(super) async fn key_in_bucket(&self, image_ref: &str) -> Option<String> {
        let most = TOLD_WITHIN.min(self.deadline.remaining() / 4);
        let by = self.deadline.within(most);
        let read = async {
            let stream = self.bucket().await.ok()??;
            let entry = subject::bucket_entry(&self.id, None, &BucketKey::of_reference(image_ref));
            stream
                .get_last_raw_message_by_subject(entry.as_str())
                .await
                .ok()
        };
        let message = timeout_at(by.at(), read).await.ok()??;
        let entry: Entry = wire::parse(&message.payload).ok()?;
        Some(entry.public_key)
    }
}
