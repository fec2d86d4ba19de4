//! Calls that came together: they are read and verified in one go, and carried out side by
//! side.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use tokio::task::coop;
use tracing::{debug, trace};
use wasmbus_rpc::core::Invocation;
use wasmbus_rpc::error::{RpcError, RpcResult};

use crate::contract::Operation;
use crate::error::without_values;
use crate::front::wasmbus::call::{Received, panicked};
use crate::front::wasmbus::door::Door;
use crate::front::wasmbus::head::id_of;
use crate::front::wasmbus::intake::Admitted;
use crate::front::wasmbus::msgpack::decode;
use crate::serve::{KeptForAnswer, Operations};
use crate::telemetry::security::{self, Cause};

impl<O: Operations> Door<O> {
    /// Serves calls that came together, and answers each as soon as it has ended.
    ///
    /// One task serves all commands: what they send goes out in one piece, and so do their
    /// answers where hosts answer at once. Each query has a task of its own: its answer may
    /// take long to put together.
    pub(super) async fn serve_batch(self: Arc<Self>, mut calls: Vec<Admitted>) {
        trace!(calls = calls.len(), "together");
        let read = self.read_guarded(&calls).unwrap_or_else(|| {
            // One of them makes the reading panic, and only that one fails.
            let alone = |call| self.read_guarded(std::slice::from_ref(call))?.pop();
            let each = calls.iter().map(|call| {
                let id = || catch_unwind(AssertUnwindSafe(|| id_of(&call.payload)));
                alone(call).unwrap_or_else(|| (id().unwrap_or_default(), Err(panicked())))
            });
            each.collect()
        });
        for call in &mut calls {
            // Nothing more is read of it, and it may keep a whole buffer in memory.
            call.payload = Bytes::new();
            call.room = None;
        }
        let is_alone = calls.len() == 1;
        let mut commands = FuturesUnordered::new();
        for (call, (id, received)) in calls.into_iter().zip(read) {
            let operation = received.as_ref().ok().and_then(|one| one.operation);
            let is_command = operation.is_some_and(Operation::is_command);
            let served = self.clone().serve_one(call, id, received);
            match is_alone || is_command {
                // A panic beyond the call's own answer takes no other call with it.
                true => commands.push(AssertUnwindSafe(served).catch_unwind()),
                false => drop(tokio::spawn(served)),
            }
        }
        let all = async { while commands.next().await.is_some() {} };
        match is_alone {
            true => all.await,
            // A batch is so small that other tasks need not run in between, which would
            // have what its commands send go out in pieces.
            false => coop::unconstrained(all).await,
        }
    }

    async fn serve_one(self: Arc<Self>, call: Admitted, id: String, received: RpcResult<Received>) {
        let kept = KeptForAnswer::default();
        let result = self.result(&id, received, call.deadline, &kept).await;
        self.answer(call.reply, id, result, call.deadline).await;
    }

    /// Decodes and verifies calls, as [`Self::read`]; `None` where that panics.
    fn read_guarded(&self, calls: &[Admitted]) -> Option<Vec<(String, RpcResult<Received>)>> {
        catch_unwind(AssertUnwindSafe(|| self.read(calls))).ok()
    }

    /// Decodes and verifies calls. Returns the id of each, and what was read of it.
    fn read(&self, calls: &[Admitted]) -> Vec<(String, RpcResult<Received>)> {
        let decoded: Vec<_> = calls.iter().map(|call| decoded(&call.payload)).collect();
        let invocations: Vec<&Invocation> = decoded.iter().flatten().collect();
        let mut proofs = self.prove(&invocations).into_iter();
        let read = |decoded: Result<Invocation, (String, RpcError)>| match decoded {
            Ok(mut invocation) => {
                let id = std::mem::take(&mut invocation.id);
                let operation = Operation::from_full_name(&invocation.operation);
                // There is one for each.
                let received = proofs.next().ok_or_else(panicked).map(|proof| Received {
                    proof: proof.map_err(|why| why.into_failure(&invocation.origin.public_key)),
                    invocation,
                    operation,
                });
                (id, received)
            }
            Err((id, error)) => (id, Err(error)),
        };
        decoded.into_iter().map(read).collect()
    }
}

/// Decodes an invocation.
///
/// # Errors
/// The id, as far as there is one, and what is wrong.
fn decoded(payload: &[u8]) -> Result<Invocation, (String, RpcError)> {
    decode(payload).map_err(|error| {
        let problem = format!("invocation: {}", without_values(&error.to_string()));
        let id = id_of(payload);
        security::refused_unproved(Cause::Unproved, "", &problem);
        debug!(outcome = "undecodable", id, problem, "call");
        (id, RpcError::Deser(problem))
    })
}
