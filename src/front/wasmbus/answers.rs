//! The answer to a call, from its result to the message.

use async_nats::Subject;
use tokio::time::sleep_until;
use tracing::{error, warn};
use wasmbus_rpc::core::InvocationResponse;
use wasmbus_rpc::error::RpcResult;

use crate::deadline::Deadline;
use crate::front::wasmbus::Handler;
use crate::front::wasmbus::chunks::{CHUNK, MAX_ANSWER, THRESHOLD};
use crate::front::wasmbus::oversize::too_large;
use crate::front::wasmbus::server::Server;

impl<H: Handler> Server<H> {
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
                if self.noise.large.is_due() {
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
                        if self.noise.large.is_due() {
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
        // Hosts look for what is under the threshold in the message itself.
        let limit = self.client.max_payload();
        match encoded(&response) {
            Ok(bytes) if bytes.len() <= limit => {
                let sent = self
                    .largest
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
                if self.noise.large.is_due() {
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

    /// Sends, in the place of an answer, that it cannot be sent.
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

    async fn store(&self, id: &str, body: Vec<u8>, deadline: Deadline) -> Result<(), String> {
        self.largest.sends_other(CHUNK);
        let (chunks, id) = (self.chunks.clone(), id.to_owned());
        let key = id.clone();
        // Goes on where it is late: only what is stored whole can be removed.
        let mut stored = tokio::spawn(async move { chunks.leave(&key, &body).await });
        tokio::select! {
            stored = &mut stored => stored.unwrap_or_else(|_| Err("it was not stored".into())),
            () = sleep_until(deadline.at() + self.rest / 2) => {
                let chunks = self.chunks.clone();
                tokio::spawn(async move {
                    if matches!(stored.await, Ok(Ok(()))) {
                        chunks.withdraw(&id).await;
                    }
                });
                Err("it was not stored in time".into())
            }
            () = self.cut_off.cancelled() => Err("the provider stopped".into()),
        }
    }
}

/// A response as it is on the wire, written into room for all of it.
fn encoded(response: &InvocationResponse) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let error = response.error.as_ref().map_or(0, String::len);
    let bytes = response.msg.len() + response.invocation_id.len() + error + 128;
    let mut encoded = Vec::with_capacity(bytes);
    rmp_serde::encode::write_named(&mut encoded, response)?;
    Ok(encoded)
}
