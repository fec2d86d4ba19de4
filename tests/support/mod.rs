//! What the tests run with: real NATS servers, the real provider process,
//! simulated hosts, and an actor that calls.

pub mod actor;
pub mod certs;
pub mod clock;
pub mod drill;
pub mod every_operation;
#[allow(dead_code, reason = "benches use the rest")]
pub mod fast_host;
pub mod fixtures;
pub mod host;
pub mod host_v1;
pub mod hostile;
pub mod instances;
pub mod invocation;
pub mod jwt;
pub mod names;
pub mod nats;
pub mod neighbours;
pub mod operator;
pub mod provider;
pub mod proxy;
pub mod secrets;
pub mod store;
pub mod time;
pub mod tls_proxy;
pub mod world;

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Returns the path of an example's binary, which `cargo test` builds beside
/// the tests.
pub fn example(name: &str) -> std::path::PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().unwrap().parent().unwrap();
    let path = target.join("examples").join(name);
    assert!(
        path.exists(),
        "no {}: cargo build --examples",
        path.display()
    );
    path
}

/// Asks again and again until there is an answer, for 10 s (scaled) at most.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let patience = time::scaled(Duration::from_secs(10));
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < until, "waited {patience:?} for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// Waits for a round trip to the server: subscriptions made before get what
/// others publish after it. `Client::flush` waits for the socket only.
pub async fn fence(client: &async_nats::Client) {
    use futures::StreamExt as _;
    let inbox = client.new_inbox();
    let mut back = client.subscribe(inbox.clone()).await.unwrap();
    client.publish(inbox, "".into()).await.unwrap();
    let back = time::timeout(Duration::from_secs(10), back.next()).await;
    assert!(back.unwrap().is_some(), "the connection broke");
}

/// Answers every request on `subject` with these replies, until it is dropped.
pub async fn respond(nats: &async_nats::Client, subject: &str, replies: Vec<Vec<u8>>) -> Responder {
    use futures::StreamExt as _;
    let mut requests = nats.subscribe(subject.to_owned()).await.unwrap();
    fence(nats).await;
    let nats = nats.clone();
    Responder(tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            for reply in &replies {
                let to = request.reply.clone().unwrap();
                nats.publish(to, reply.clone().into()).await.unwrap();
            }
            fence(&nats).await;
        }
    }))
}

/// A task that answers requests until it is dropped.
pub struct Responder(tokio::task::JoinHandle<()>);

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.abort();
    }
}
