//! Sends the answer to a call.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_nats::Subject;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{error, warn};
use wasmbus_rpc::core::InvocationResponse;
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::deadline::Deadline;
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::large_bodies::{LargeBodyError, MAX_ANSWER, THRESHOLD};
use crate::front::wasmbus::largest_answer::too_large;
use crate::front::wasmbus::object::CHUNK;
use crate::nats::error_feed::{ErrorReader, Notice};
use crate::nats::is_payload_violation;
use crate::serve::Operations;

impl<O: Operations> Door<O> {
    /// Sends the answer to a call, through the object store where it is large.
    /// Hosts take no answer without `content_length` or under another id.
    pub(super) async fn answer(
        &self,
        reply: Subject,
        id: String,
        result: RpcResult<Vec<u8>>,
        deadline: Deadline,
    ) {
        let mut response = InvocationResponse::default();
        response.content_length = Some(0);
        match result {
            Ok(body) if body.len() <= THRESHOLD => {
                response.content_length = Some(body.len() as u64);
                response.msg = body;
            }
            Ok(body) if body.len() > MAX_ANSWER => {
                if self.logs.large_answers.is_due() {
                    let bytes = body.len();
                    warn!(id, bytes, "an answer is too large for any actor");
                }
                response.error = Some(format!(
                    "the answer has {} bytes; more than {MAX_ANSWER} are sent to no actor",
                    body.len()
                ));
            }
            Ok(body) => {
                let bytes = body.len();
                match Box::pin(self.store(&id, body, deadline)).await {
                    Ok(()) => response.content_length = Some(bytes as u64),
                    Err(problem) => {
                        if self.logs.large_answers.is_due() {
                            let problem = problem.to_string();
                            warn!(id, problem, bytes, "a large answer was not sent");
                        }
                        response.error = Some(format!(
                            "the answer has {bytes} bytes, and what is over {THRESHOLD} needs \
                             JetStream in the provider's lattice: {problem}"
                        ));
                    }
                }
            }
            Err(error) => response.error = Some(error.to_string()),
        }
        response.invocation_id = id;
        // A body under the threshold must be in the message itself, where hosts look for it.
        let limit = self.home.client.max_payload();
        match encoded(&response) {
            Ok(bytes) if bytes.len() <= limit => {
                let sent = self
                    .largest_answer
                    .sends(bytes.len(), &reply, &response.invocation_id);
                match sent {
                    Ok(()) => self.publish(reply, bytes).await,
                    Err(from) => {
                        let problem = too_large(bytes.len(), from);
                        self.answer_instead(reply, response, problem).await;
                    }
                }
            }
            Ok(bytes) => {
                if self.logs.large_answers.is_due() {
                    let bytes = bytes.len();
                    warn!(
                        bytes,
                        limit, "an answer is larger than our NATS server takes"
                    );
                }
                let problem = format!(
                    "the answer has {} bytes, and the NATS server of the provider's lattice takes \
                     {limit}",
                    bytes.len()
                );
                self.answer_instead(reply, response, problem).await;
            }
            Err(error) => error!(%error, "an answer cannot be encoded"),
        }
    }

    /// Sends in the place of an answer why it cannot be sent.
    async fn answer_instead(
        &self,
        reply: Subject,
        mut response: InvocationResponse,
        problem: String,
    ) {
        response.error = Some(problem);
        response.msg = Vec::new();
        response.content_length = Some(0);
        match encoded(&response) {
            Ok(bytes) => self.publish(reply, bytes).await,
            Err(error) => error!(%error, "an answer cannot be encoded"),
        }
    }

    /// Stores the body of a large answer.
    ///
    /// # Errors
    /// Why it is not stored.
    async fn store(
        &self,
        id: &str,
        body: Vec<u8>,
        deadline: Deadline,
    ) -> Result<(), LargeBodyError> {
        self.largest_answer.sends_other(CHUNK);
        let (store, id) = (self.large_bodies.clone(), id.to_owned());
        let key = id.clone();
        // It goes on when it is late: only a body that is stored as a whole can be removed.
        let mut stored = tokio::spawn(async move { store.store_answer(&key, body).await });
        tokio::select! {
            stored = &mut stored => stored.unwrap_or(Err(LargeBodyError::Panicked)),
            () = sleep_until(deadline.at() + self.reply_margin / 2) => {
                let store = self.large_bodies.clone();
                tokio::spawn(async move {
                    if matches!(stored.await, Ok(Ok(()))) {
                        store.remove_answer(&id).await;
                    }
                });
                Err(LargeBodyError::StoredLate)
            }
            () = self.service.drain.until_cut_off() => Err(LargeBodyError::Stopped),
        }
    }

    /// Answers every call whose answer the server did not take for its size: it says so.
    pub(super) async fn answer_too_large(self: Arc<Self>, mut server_errors: ErrorReader) {
        let violation = |notice: &Notice| match notice {
            // The server quotes these words.
            Notice::Other(words) => is_payload_violation(words.trim_matches('"')).then_some(()),
            Notice::Refusal(_) => None,
        };
        loop {
            server_errors.find(violation).await;
            // The headers of these messages have less than 1024 bytes.
            let others = self.home.requests.largest.load(Ordering::Acquire) + 1024;
            let Some((bytes, large)) = self.largest_answer.too_large(others) else {
                continue;
            };
            warn!(bytes, "our NATS server takes no answers as large as this");
            let error = RpcError::Nats(too_large(bytes, bytes));
            let deadline = Deadline::new(Instant::now(), self.budget);
            // Anything that is written before the reconnect is lost like the answer.
            let mut connects = self.home.connects.clone();
            let broken = *connects.borrow_and_update();
            let again = connects.wait_for(|connects| *connects > broken);
            if timeout_at(deadline.at(), again).await.is_err() {
                continue;
            }
            self.answer(large.reply, large.id, Err(error), deadline)
                .await;
        }
    }
}

/// Encodes a response. The memory for it is taken once, in its size.
fn encoded(response: &InvocationResponse) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let error = response.error.as_ref().map_or(0, String::len);
    let bytes = response.msg.len() + response.invocation_id.len() + error + 128;
    let mut encoded = Vec::with_capacity(bytes);
    rmp_serde::encode::write_named(&mut encoded, response)?;
    Ok(encoded)
}
