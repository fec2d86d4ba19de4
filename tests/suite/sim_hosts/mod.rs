//! The simulated hosts answer as real ones do, and do what real ones do: as the
//! transcripts of real hosts say (OTP 0.54.0, 0.59.0, 0.60.0, 0.63.2, Rust 0.78.0,
//! 0.80.0, 0.82.0), and with the members of the fixtures of every generation.

mod fixtures;
mod harms;
mod otp;
mod rust;
mod transcripts;
mod truth;
mod updates;

use crate::support::time::timeout;
use std::time::Duration;

use async_nats::Client;
use serde_json::Value;

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Reply(Value),
    Silence,
    NoResponders,
}

/// Asks, and waits this long for the answer.
async fn ask_for(nats: &Client, subject: &str, body: &str, patience: Duration) -> Outcome {
    let request = nats.request(subject.to_owned(), body.to_owned().into());
    match timeout(patience, request).await {
        Err(_) => Outcome::Silence,
        Ok(Err(_)) => Outcome::NoResponders,
        Ok(Ok(reply)) => Outcome::Reply(serde_json::from_slice(&reply.payload).unwrap()),
    }
}

async fn ask(nats: &Client, subject: &str, body: &str) -> Outcome {
    ask_for(nats, subject, body, Duration::from_millis(300)).await
}
