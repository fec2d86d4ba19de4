//! Updates that go on when their call is over.

use std::future::Future;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::error::{Error, Kind};
use crate::name::HostId;

/// Has an update of an actor on a host go on in a task to its end, for which the process
/// waits before it stops. Returns what came of it, or, when the call is over, what `late`
/// says; then only the log says the rest.
///
/// # Errors
/// Those of the update, and what `late` returns.
pub(super) async fn update_beyond_call(
    duties: &TaskTracker,
    by: Instant,
    host: HostId,
    actor: String,
    update: impl Future<Output = Result<(), Error>> + Send + 'static,
    late: impl FnOnce() -> Error,
) -> Result<(), Error> {
    let (send_result, result) = oneshot::channel();
    duties.spawn(async move {
        match send_result.send(update.await) {
            Ok(()) => {}
            Err(Ok(())) => {
                info!(%host, %actor, "an update that took longer than its call is done");
            }
            Err(Err(error)) => warn!(%host, %actor, %error, "an update failed after its call"),
        }
    });
    match timeout_at(by, result).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err(Error::new(Kind::Internal, "the update ended unexpectedly")),
        Err(_) => Err(late()),
    }
}
