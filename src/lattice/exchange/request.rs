//! One question to a lattice, one reply.
//!
//! Every request fails in the same ways. After `NotConnected`, `NotPermitted`,
//! `NoResponders` and `Refused`, it was certainly not carried out. After `Timeout`,
//! `ConnectionLost`, `Unheard` and `BadReply`, it was sent, and may have been. Where there
//! is no room for the reply, a question is `Busy`, and a command `BadReply`.

use async_nats::{StatusCode, Subject};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};

use crate::connections::{Held, NoRoom, Refusal};
use crate::deadline::Deadline;
use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::dialect::request::Request;
use crate::lattice::dialect::v0::replies::Ack;
use crate::lattice::dialect::{v0, v1};
use crate::lattice::exchange::failure::{Addressee, reason_of_loss};
use crate::lattice::model::Protocol;
use crate::lattice::model::lenient::{self, Unreadable};
use crate::name::HostId;

impl Lattice {
    /// Sends a command to a host, and waits until the host acknowledges it.
    ///
    /// # Errors
    /// As every request, see the module.
    pub(crate) async fn tell_host(&self, host: &HostId, command: Request) -> Result<(), Error> {
        self.have_acknowledged(Addressee::Host(self, host), command)
            .await
    }

    /// Sends an order to a host of 1.x, and waits until the host takes it.
    ///
    /// # Errors
    /// As every request, see the module.
    pub(crate) async fn tell_host_1x(
        &self,
        host: &HostId,
        order: Request,
    ) -> Result<v1::replies::Ack, Error> {
        self.order_1x(Addressee::Host(self, host), order).await
    }

    async fn order_1x(&self, to: Addressee<'_>, order: Request) -> Result<v1::replies::Ack, Error> {
        let reply = self.ask(to, order, self.deadline).await;
        let reply = reply.and_then(|reply| reply.weighed().map_err(|full| to.no_room(full)));
        match v1::replies::Ack::parse(&reply.map_err(not_read)?) {
            Ok(v1::replies::Ack::Refused(reason)) => Err(to.refused(&reason)),
            Ok(taken) => Ok(taken),
            Err(problem) => Err(to.unreadable(problem)),
        }
    }

    /// Sends an order to the hosts of 1.x, of which one takes it.
    ///
    /// # Errors
    /// As every request, see the module.
    pub(crate) async fn tell_hosts_1x(&self, order: Request) -> Result<(), Error> {
        self.order_1x(Addressee::Hosts(self), order).await.map(drop)
    }

    /// Sends a command to the hosts, and waits until one of them acknowledges it.
    ///
    /// # Errors
    /// As every request, see the module.
    pub(crate) async fn tell_hosts(&self, command: Request) -> Result<(), Error> {
        self.have_acknowledged(Addressee::Hosts(self), command)
            .await
    }

    async fn have_acknowledged(&self, to: Addressee<'_>, command: Request) -> Result<(), Error> {
        let reply = self.ask(to, command, self.deadline).await;
        let reply = reply.and_then(|reply| reply.weighed().map_err(|full| to.no_room(full)));
        acknowledged(to, &reply.map_err(not_read)?)
    }

    /// Asks the hosts of a protocol a question that is all in its subject, and reads the
    /// reply of the one that answers.
    ///
    /// # Errors
    /// As every request, see the module.
    pub(crate) async fn ask_hosts<T: DeserializeOwned>(
        &self,
        protocol: Protocol,
        question: Subject,
    ) -> Result<Held<T>, Error> {
        let to = Addressee::Hosts(self);
        let question = Request::empty(question);
        let reply = self.ask(to, question, self.deadline).await?;
        read(reply, protocol).map_err(|problem| problem.into_error(to))
    }

    /// Sends a request and waits for its reply until `deadline`. The roster learns
    /// whether a host is there. Where there is no room for the reply, it is `Busy`.
    ///
    /// Nothing is queued for a lattice that is disconnected: it would be
    /// delivered long after the caller was told that it failed
    /// (docs/hosts.md#queued-command-arrives-late).
    ///
    /// # Errors
    /// As every request, see the module.
    pub(super) async fn ask(
        &self,
        to: Addressee<'_>,
        request: Request,
        deadline: Deadline,
    ) -> Result<Held<Bytes>, Error> {
        let answer = self.ask_unnoted(to, request, deadline).await;
        match (&answer, to) {
            (Ok(_), Addressee::Host(_, host)) => self.roster.answered(host),
            (Err(error), Addressee::Host(_, host)) if error.kind() == Kind::NoResponders => {
                self.roster.gone(host);
            }
            _ => {}
        }
        answer
    }

    /// Does the same, and the roster learns nothing of it.
    ///
    /// # Errors
    /// As [`Lattice::ask`].
    pub(super) async fn ask_unnoted(
        &self,
        to: Addressee<'_>,
        Request { subject, body }: Request,
        deadline: Deadline,
    ) -> Result<Held<Bytes>, Error> {
        let deadline = deadline.within(self.limits.request);
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let room = self.roster.answers.empty();
        let sent = self.connection.ask(subject.clone(), None, body, room).await;
        let mut sent = sent.map_err(|error| self.not_asked(to, error))?;
        let (reply, inbox) = (sent.reply().clone(), self.connection.inbox());
        let ours = |refusal: &Refusal| {
            [subject.as_str(), reply.as_str(), inbox].contains(&refusal.subject.as_str())
        };
        let began = Instant::now();
        tokio::pin!(lost);
        tokio::select! {
            biased;
            answer = sent.answer() => match answer {
                Some(Ok(answer)) if answer.status == Some(StatusCode::NO_RESPONDERS) => {
                    Err(to.no_responders())
                }
                Some(Ok(answer)) => Ok(answer.payload),
                Some(Err(full)) => Err(to.no_room(full)),
                None => Err(to.lost(&reason_of_loss(lost).await, sent.number())),
            },
            loss = &mut lost => Err(to.lost(&loss, sent.number())),
            refusal = refusals.of(ours) => Err(self.not_permitted(&refusal)),
            () = sleep_until(deadline.at()) => {
                self.connection.doubt();
                Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "{to} did not answer in time{}",
                        self.connection.said_since(began)
                    ),
                ))
            }
        }
    }
}

/// Why a reply is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadReply {
    /// It refuses, for this reason.
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Unreadable(Unreadable),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("it is large, and there was no time for it")]
    NoTime,
    /// The thread that read it died.
    #[error("the attempt failed")]
    Died(#[from] JoinError),
}

impl BadReply {
    pub(super) fn into_error(self, to: Addressee<'_>) -> Error {
        match self {
            Self::Refused(reason) => to.refused(&reason),
            Self::NoRoom(full) => to.no_room(full),
            problem => to.unreadable(problem),
        }
    }
}

/// Reads the reply to a question.
pub(super) fn read<T: DeserializeOwned>(
    reply: Held<Bytes>,
    protocol: Protocol,
) -> Result<Held<T>, BadReply> {
    let (reply, room) = reply.weighed()?.into_parts();
    let refusal = || match protocol {
        Protocol::V0 => v0::replies::refusal(&reply),
        Protocol::V1 => v1::replies::refusal(&reply),
    };
    match lenient::parse(&reply) {
        Ok(read) => Ok(Held::new(read, room)),
        Err(problem) => Err(match refusal() {
            Some(reason) => BadReply::Refused(reason),
            None => BadReply::Unreadable(problem),
        }),
    }
}

/// Returns the error of a command for whose acknowledgement there was no room: it was sent.
fn not_read(error: Error) -> Error {
    match error.kind() {
        Kind::Busy => Error::new(Kind::BadReply, error.to_string()).caused_by(error),
        _ => error,
    }
}

fn acknowledged(to: Addressee<'_>, reply: &[u8]) -> Result<(), Error> {
    match Ack::parse(reply) {
        Ok(Ack::Accepted) => Ok(()),
        Ok(Ack::Refused(reason)) => Err(to.refused(&reason)),
        Err(problem) => Err(to.unreadable(problem)),
    }
}
