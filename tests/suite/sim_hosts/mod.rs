//! Simulated hosts do and answer what real hosts did and answered, by the
//! transcripts of OTP 0.54.0, 0.59.0, 0.60.0 and 0.63.2 and Rust 0.78.0, 0.80.0,
//! 0.82.0, 1.0.0 and 1.9.2, and with the members of the fixtures of every
//! generation.

mod fixtures;
mod harms;
mod otp;
mod rust;
mod transcripts;
mod truth;
mod updates;
mod v1;

use crate::support::time::timeout;
use std::time::Duration;

use async_nats::Client;
use serde_json::{Value, json};

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Reply(Value),
    Silence,
    NoResponders,
}

/// Sends a request, and waits this long for the answer.
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

/// Returns the part of a value that is the same in every run: without the
/// values of these members, and with sorted lists.
fn without_values_of(changing: &[&str], value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().map(|(name, value)| {
                let value = match changing.contains(&name.as_str()) {
                    true => json!("…"),
                    false => without_values_of(changing, value),
                };
                (name.clone(), value)
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => {
            let items = items.iter().map(|item| without_values_of(changing, item));
            let mut items: Vec<_> = items.collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        plain => plain.clone(),
    }
}
