//! Questions to JetStream that leave nothing behind.
//!
//! Those of async-nats do: its requests share a table with a place for every
//! answer, and a place (316 bytes) stays for as long as the connection where no
//! answer comes, as where JetStream is away, or a permission is missing. So
//! questions are asked here with a subscription each, which ends with the question.

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
use async_nats::{Client, HeaderMap, Message, Request, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::error::{quoted, without_values};
use crate::name::JsDomain;
use crate::nats::error_feed::{ErrorFeed, Notice};
use crate::nats::own_lattice::{OpenRequests, OwnLattice};

/// Why JetStream did not do something.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// It says that it did not, and why.
    #[error("{}", quoted(&.0.to_string()))]
    No(jetstream::Error),
    /// Nobody listens there, so that nothing was done.
    #[error("nobody listens there (no responders)")]
    Nobody,
    /// It was not sent.
    #[error("{0}")]
    NotSent(String),
    /// Our server did not take it, in its own words.
    #[error("our NATS server said {0}")]
    Refused(String),
    /// It is larger than the server takes, and nothing was done.
    #[error("{0}; nothing was carried out")]
    TooLarge(String),
    /// It was sent, and no answer came. Nobody knows.
    #[error("JetStream does not answer")]
    Silence,
    /// The same, and our server said something meanwhile.
    #[error("JetStream does not answer; our NATS server said {0}")]
    Unheard(String),
    /// It was sent, and the connection broke. Nobody knows.
    #[error("the connection broke{0}")]
    Broke(String),
    /// Something came that is no answer. Nobody knows.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl NoAnswer {
    /// Whether nothing was done for sure.
    pub fn is_definite(&self) -> bool {
        matches!(
            self,
            Self::No(_) | Self::Nobody | Self::NotSent(_) | Self::Refused(_) | Self::TooLarge(_)
        )
    }

    /// The code of the error that JetStream told.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::No(error) => Some(error.error_code()),
            _ => None,
        }
    }
}

/// What an answer of JetStream says.
///
/// # Errors
/// `No`, `Nobody` or `Unreadable`.
pub fn read<T: DeserializeOwned>(answer: &Message) -> Result<T, NoAnswer> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(NoAnswer::Nobody);
    }
    let unreadable =
        |error: serde_json::Error| NoAnswer::Unreadable(without_values(&error.to_string()));
    // An object and nothing else: what the library derives takes lists as well.
    let members: Map<String, Value> =
        serde_json::from_slice(&answer.payload).map_err(unreadable)?;
    match serde_json::from_value(Value::Object(members)).map_err(unreadable)? {
        Response::Ok(answer) => Ok(answer),
        Response::Err { error } => Err(NoAnswer::No(error)),
    }
}

/// Sends a request and waits for its answer in this inbox, until this is dropped.
/// What waits for the answer ends then.
///
/// # Errors
/// `NotSent`, `Broke`, or those of [`read`].
async fn ask<T: DeserializeOwned>(
    client: &Client,
    subject: &str,
    inbox: &str,
    request: Request,
) -> Result<T, NoAnswer> {
    let request = request.inbox(inbox.to_owned()).timeout(None);
    match client.send_request(subject.to_owned(), request).await {
        Ok(answer) => read(&answer),
        Err(error) => Err(match error.kind() {
            RequestErrorKind::NoResponders => NoAnswer::Nobody,
            RequestErrorKind::MaxPayloadExceeded | RequestErrorKind::InvalidSubject => {
                NoAnswer::NotSent(error.to_string())
            }
            RequestErrorKind::TimedOut => NoAnswer::Silence,
            RequestErrorKind::Other => NoAnswer::Broke(String::new()),
        }),
    }
}

/// What JetStream is asked to have a stream handed over.
pub fn consumer_of(stream: &str, config: &OrderedConfig) -> serde_json::Value {
    let config = config.clone().into_consumer_config();
    json!({ "stream_name": stream, "config": config })
}

/// What the subjects of the API begin with, in a domain where there is one.
pub fn api(domain: Option<&JsDomain>) -> String {
    match domain {
        Some(domain) => format!("$JS.{domain}.API"),
        None => "$JS.API".to_owned(),
    }
}

/// That of the library: only for what is done once JetStream has answered.
pub fn context(client: Client, domain: Option<&JsDomain>) -> Context {
    match domain {
        Some(domain) => jetstream::with_domain(client, domain.as_str()),
        None => jetstream::new(client),
    }
}

/// What JetStream answers that is asked for one message of a stream.
#[derive(Deserialize)]
pub struct Last {
    message: RawMessage,
}

impl Last {
    /// What it is asked to have the newest message under a subject.
    pub fn under(subject: &str) -> Value {
        json!({ "last_by_subj": subject })
    }

    /// The message.
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
    /// Before subjects, where there is a domain.
    prefix: String,
    within: Duration,
    context: Context,
}

impl JetStream {
    /// JetStream, in a domain where there is one, which answers within this time.
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

    /// That of the library: only for what is done once JetStream has answered.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Asks the API.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn api<T: DeserializeOwned>(
        &self,
        question: impl Display,
        body: &impl Serialize,
    ) -> Result<T, NoAnswer> {
        let body = serde_json::to_vec(body);
        let body = body.map_err(|error| NoAnswer::NotSent(error.to_string()))?;
        let plain = format!("$JS.API.{question}");
        let subject = match self.prefix.as_str() {
            "" => plain.clone(),
            prefix => format!("{prefix}{question}"),
        };
        self.sends(body.len());
        self.send([&subject, &plain], Request::new().payload(body.into()))
            .await
    }

    /// The newest message of a stream under a subject, as the leader has it: a
    /// replica that lags must not say that there is none.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<StreamMessage>, NoAnswer> {
        let question = format!("STREAM.MSG.GET.{stream}");
        match self.api::<Last>(question, &Last::under(subject)).await {
            Ok(last) => last.message().map(Some),
            Err(error) if error.code() == Some(ErrorCode::NO_MESSAGE_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Publishes into a stream, and waits until it has it.
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

    /// Has a stream handed over.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn consumer(
        &self,
        stream: &str,
        config: OrderedConfig,
    ) -> Result<Consumer<OrderedConfig>, NoAnswer> {
        let question = format!("CONSUMER.CREATE.{stream}");
        let info: consumer::Info = self.api(question, &consumer_of(stream, &config)).await?;
        Ok(Consumer::new(config, info, self.context.clone()))
    }

    fn sends(&self, bytes: usize) {
        self.requests.largest.fetch_max(bytes, Ordering::AcqRel);
    }

    /// Sends to the first of two subjects; the other is what a server of the domain
    /// makes of it before it looks at permissions.
    async fn send<T: DeserializeOwned>(
        &self,
        subjects: [&str; 2],
        request: Request,
    ) -> Result<T, NoAnswer> {
        let (mut heard, inbox) = (self.server_errors.subscribe(), self.client.new_inbox());
        let place = timeout(self.within, self.requests.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            let why = "others wait for JetStream, which does not answer; try again";
            return Err(NoAnswer::NotSent(why.into()));
        };
        let asked = ask(&self.client, subjects[0], &inbox, request);
        let asked = timeout(self.within, asked);
        tokio::pin!(asked);
        let mut said = None;
        loop {
            tokio::select! {
                biased;
                answer = &mut asked => return match (answer, said) {
                    (Ok(Err(NoAnswer::Broke(_))) | Err(_), Some(words)) => {
                        Err(NoAnswer::Unheard(words))
                    }
                    (Ok(answer), _) => answer,
                    (Err(_), None) => Err(NoAnswer::Silence),
                },
                word = heard.next() => match word {
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
                        said = Some(quoted(&refusal.words));
                    }
                    Notice::Refusal(_) => {}
                    Notice::Other(words) => said = Some(words),
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &'static str, status: Option<StatusCode>) -> Message {
        Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status,
            description: None,
            length: payload.len(),
        }
    }

    #[test]
    fn what_jetstream_says_with_an_error_is_definite_and_silence_is_not() {
        let stored = r#"{"stream":"KV_x","seq":7}"#;
        let ack: PublishAck = read(&answer(stored, None)).unwrap();
        assert_eq!(ack.sequence, 7);
        let full = r#"{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"KV_x","seq":0}"#;
        let error = read::<PublishAck>(&answer(full, None)).unwrap_err();
        assert!(error.is_definite());
        assert_eq!(error.code(), Some(ErrorCode::STREAM_STORE_FAILED));
        assert!(error.to_string().contains("maximum bytes exceeded"));
        let nobody = answer("", Some(StatusCode::NO_RESPONDERS));
        assert!(read::<PublishAck>(&nobody).unwrap_err().is_definite());
        for odd in ["", "{}", "[]", r#"["KV_x",7]"#, "\"+OK\""] {
            let error = read::<PublishAck>(&answer(odd, None)).unwrap_err();
            assert!(matches!(error, NoAnswer::Unreadable(_)), "{odd}");
            assert!(!error.is_definite(), "{odd}");
        }
        assert!(!NoAnswer::Silence.is_definite() && !NoAnswer::Broke(String::new()).is_definite());
    }
}
