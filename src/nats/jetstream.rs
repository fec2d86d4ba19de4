//! Sends requests to JetStream without leaking memory.
//!
//! The requests of async-nats share a table with an entry (316 bytes) for each answer.
//! Where no answer comes, because JetStream is away or a permission is missing, the
//! entry stays for as long as the connection. Requests here have a subscription each,
//! which ends with the request.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::consumer::push::OrderedConfig;
use async_nats::jetstream::consumer::{self, Consumer, IntoConsumerConfig as _};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::RawMessage;
use async_nats::jetstream::{self, Context, ErrorCode};
use async_nats::{Client, HeaderMap, Request, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::error::{quoted, without_values};
use crate::name::JsDomain;
use crate::nats::error_feed::{ErrorFeed, Notice};
use crate::nats::own_lattice::{OpenRequests, OwnLattice};

/// Why a request to JetStream failed.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// JetStream refused it, and says why.
    #[error("{}", quoted(&.0.to_string()))]
    No(jetstream::Error),
    /// Nobody listens there. Nothing was carried out.
    #[error("nobody listens there (no responders)")]
    Nobody,
    /// It was not sent.
    #[error("{0}")]
    NotSent(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Our server refused it, in these words.
    #[error("our NATS server said {0}")]
    Refused(String),
    /// It is larger than the server takes. Nothing was carried out.
    #[error("{0}; nothing was carried out")]
    TooLarge(String),
    /// It was sent, and no answer came. The outcome is unknown.
    #[error("JetStream does not answer")]
    Silence,
    /// It was sent, no answer came, and our server reported an error meanwhile. The
    /// outcome is unknown.
    #[error("JetStream does not answer; our NATS server said {0}")]
    Unheard(String),
    /// It was sent, and the connection broke. The outcome is unknown.
    #[error("the connection broke{0}")]
    Broke(String),
    /// The answer cannot be read. The outcome is unknown.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl NoAnswer {
    /// Returns whether it is certain that nothing was carried out.
    pub fn is_definite(&self) -> bool {
        matches!(
            self,
            Self::No(_) | Self::Nobody | Self::NotSent(_) | Self::Refused(_) | Self::TooLarge(_)
        )
    }

    /// Returns JetStream's error code, where it refused the request.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::No(error) => Some(error.error_code()),
            _ => None,
        }
    }
}

/// Reads an answer of JetStream.
///
/// # Errors
/// `No`, `Nobody` or `Unreadable`.
pub fn read<T: DeserializeOwned>(status: Option<StatusCode>, answer: &[u8]) -> Result<T, NoAnswer> {
    if status == Some(StatusCode::NO_RESPONDERS) {
        return Err(NoAnswer::Nobody);
    }
    let unreadable =
        |error: serde_json::Error| NoAnswer::Unreadable(without_values(&error.to_string()));
    // Objects only: the types of async-nats accept lists as well.
    let members: Map<String, Value> = serde_json::from_slice(answer).map_err(unreadable)?;
    match serde_json::from_value(Value::Object(members)).map_err(unreadable)? {
        Response::Ok(answer) => Ok(answer),
        Response::Err { error } => Err(NoAnswer::No(error)),
    }
}

/// Sends a request and waits for its answer in this inbox. Dropping the future ends the
/// subscription.
///
/// # Errors
/// `NotSent`, `Broke`, or those of [`read`].
async fn request<T: DeserializeOwned>(
    client: &Client,
    subject: &str,
    inbox: &str,
    request: Request,
) -> Result<T, NoAnswer> {
    let request = request.inbox(inbox.to_owned()).timeout(None);
    match client.send_request(subject.to_owned(), request).await {
        Ok(answer) => read(answer.status, &answer.payload),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::NoResponders => NoAnswer::Nobody,
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                NoAnswer::NotSent(error.into())
            }
            RequestErrorKind::TimedOut => NoAnswer::Silence,
            RequestErrorKind::Other => NoAnswer::Broke(String::new()),
        }),
    }
}

/// Returns the body of a request for a consumer of a stream.
pub fn consumer_of(stream: &str, config: &OrderedConfig) -> serde_json::Value {
    let config = config.clone().into_consumer_config();
    json!({ "stream_name": stream, "config": config })
}

/// Returns the prefix of the API's subjects, in a domain where there is one.
pub fn api(domain: Option<&JsDomain>) -> String {
    match domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    }
}

/// Returns the context of async-nats: only for use once JetStream has answered.
pub fn context(client: Client, domain: Option<&JsDomain>) -> Context {
    match domain {
        Some(domain) => jetstream::with_domain(client, domain.as_str()),
        None => jetstream::new(client),
    }
}

/// The answer to a request for one message of a stream.
#[derive(Deserialize)]
pub struct Last {
    message: RawMessage,
}

impl Last {
    /// Returns the body of a request for the newest message under a subject.
    pub fn under(subject: &str) -> Value {
        json!({ "last_by_subj": subject })
    }

    /// Returns the message.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn message(self) -> Result<StreamMessage, NoAnswer> {
        let message = StreamMessage::try_from(self.message);
        message.map_err(|error| NoAnswer::Unreadable(error.to_string()))
    }
}

/// JetStream over the connection to our own NATS.
#[derive(Clone)]
pub struct JetStream {
    client: Client,
    server_errors: ErrorFeed,
    requests: Arc<OpenRequests>,
    /// What subjects begin with where there is a domain.
    prefix: String,
    within: Duration,
    context: Context,
}

impl JetStream {
    /// Makes a client for JetStream of our own lattice. Each answer must come within this
    /// time.
    pub fn new(home: &OwnLattice, within: Duration) -> Self {
        let (client, domain) = (home.client.clone(), home.js_domain.as_ref());
        let mut context = context(client.clone(), domain);
        context.set_timeout(within);
        Self {
            client,
            server_errors: home.server_errors.clone(),
            requests: home.requests.clone(),
            prefix: domain.map_or_else(String::new, |_| api(domain) + "."),
            within,
            context,
        }
    }

    /// Returns the context of async-nats: only for use once JetStream has answered.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Sends a request to the API and returns its answer.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn api<T: DeserializeOwned>(
        &self,
        endpoint: impl Display,
        body: &impl Serialize,
    ) -> Result<T, NoAnswer> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| NoAnswer::NotSent(error.into()))?;
        let plain = format!("$JS.API.{endpoint}");
        let subject = match self.prefix.as_str() {
            "" => plain.clone(),
            prefix => format!("{prefix}{endpoint}"),
        };
        self.sends(body.len());
        self.send([&subject, &plain], Request::new().payload(body.into()))
            .await
    }

    /// Returns the newest message of a stream under a subject. The leader is asked: a
    /// replica that lags must not answer that there is none.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StreamMessage>, NoAnswer> {
        let endpoint = format!("STREAM.MSG.GET.{stream}");
        match self.api::<Last>(endpoint, &Last::under(subject)).await {
            Ok(last) => last.message().map(Some),
            Err(error) if error.code() == Some(ErrorCode::NO_MESSAGE_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes into a stream and waits for its acknowledgement.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn publish(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<PublishAck, NoAnswer> {
        self.sends(body.len());
        let request = Request::new().headers(headers).payload(body);
        self.send([&format!("{}{subject}", self.prefix), subject], request)
            .await
    }

    /// Makes an ordered consumer of a stream.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn consumer(
        &self,
        stream: &str,
        config: OrderedConfig,
    ) -> Result<Consumer<OrderedConfig>, NoAnswer> {
        let endpoint = format!("CONSUMER.CREATE.{stream}");
        let info: consumer::Info = self.api(endpoint, &consumer_of(stream, &config)).await?;
        Ok(Consumer::new(config, info, self.context.clone()))
    }

    /// Remembers the size of the largest request.
    fn sends(&self, bytes: usize) {
        self.requests.largest.fetch_max(bytes, Ordering::AcqRel);
    }

    /// Sends a request to the first of two subjects. The second is what a server of the
    /// domain makes of it before it checks permissions, so its refusals name that one.
    async fn send<T: DeserializeOwned>(
        &self,
        subjects: [&str; 2],
        request: Request,
    ) -> Result<T, NoAnswer> {
        let (mut errors, inbox) = (self.server_errors.subscribe(), self.client.new_inbox());
        let place = timeout(self.within, self.requests.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            let why = "others wait for JetStream, which does not answer; try again";
            return Err(NoAnswer::NotSent(why.into()));
        };
        let answer = timeout(
            self.within,
            self::request(&self.client, subjects[0], &inbox, request),
        );
        tokio::pin!(answer);
        let mut reported = None;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return match (answer, reported) {
                    (Ok(Err(NoAnswer::Broke(_))) | Err(_), Some(words)) => {
                        Err(NoAnswer::Unheard(words))
                    }
                    (Ok(answer), _) => answer,
                    (Err(_), None) => Err(NoAnswer::Silence),
                },
                notice = errors.next() => match notice {
                    Notice::Refusal(refusal) if !refusal.subscription => {
                        let subject = refusal.subject.as_str();
                        if subjects.contains(&subject) || subject == inbox {
                            return Err(NoAnswer::Refused(quoted(&refusal.words)));
                        }
                    }
                    Notice::Refusal(refusal) if refusal.subject == inbox => {
                        return Err(NoAnswer::Unheard(quoted(&refusal.words)));
                    }
                    // It may be the subscription for the answer.
                    Notice::Refusal(refusal) if refusal.is_unnamed() => {
                        reported = Some(quoted(&refusal.words));
                    }
                    Notice::Refusal(_) => {}
                    Notice::Other(words) => reported = Some(words),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_jetstream_says_with_an_error_is_definite_and_silence_is_not() {
        let stored = r#"{"stream":"KV_x","seq":7}"#;
        let ack: PublishAck = read(None, stored.as_bytes()).unwrap();
        assert_eq!(ack.sequence, 7);
        let full = r#"{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"KV_x","seq":0}"#;
        let error = read::<PublishAck>(None, full.as_bytes()).unwrap_err();
        assert!(error.is_definite());
        assert_eq!(error.code(), Some(ErrorCode::STREAM_STORE_FAILED));
        assert!(error.to_string().contains("maximum bytes exceeded"));
        let nobody = read::<PublishAck>(Some(StatusCode::NO_RESPONDERS), b"");
        assert!(nobody.unwrap_err().is_definite());
        for odd in ["", "{}", "[]", r#"["KV_x",7]"#, "\"+OK\""] {
            let error = read::<PublishAck>(None, odd.as_bytes()).unwrap_err();
            assert!(matches!(error, NoAnswer::Unreadable(_)), "{odd}");
            assert!(!error.is_definite(), "{odd}");
        }
        assert!(!NoAnswer::Silence.is_definite() && !NoAnswer::Broke(String::new()).is_definite());
    }
}
