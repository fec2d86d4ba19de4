//! One order to every host of 1.x, each of which answers it.

use std::time::Duration;

use async_nats::StatusCode;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep_until};

use crate::connections::Refusal;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::request::Request;
use crate::lattice::dialect::v1::replies::Ack;
use crate::lattice::exchange::failure::{Addressee, reason_of_loss};

/// How long one more answer is waited for where some are missing.
const STALL: Duration = Duration::from_secs(1);

impl Lattice {
    /// Sends an order to every host of 1.x, of which there are so many as far as is known,
    /// and waits until each has answered.
    ///
    /// # Errors
    /// `NoResponders`, `NotPermitted`, `ConnectionLost`; `Refused` where every host refuses,
    /// and `Partial` where some do; `Timeout` where one does not answer: others may have
    /// carried it out.
    pub(crate) async fn tell_every_host_1x(
        &self,
        Request { subject, body }: Request,
        hosts: usize,
    ) -> Result<(), Error> {
        let to = Addressee::Hosts(self);
        let lost = self.connection.lost_from_now(&self.id)?;
        let refusals = self.connection.refusals_from_now();
        let order = self.connection.question(subject, body);
        let room = self.roster.answers.empty();
        let sent = self.connection.send_questions(&[&order], room).await;
        let mut replies = sent.map_err(|error| self.not_asked(to, error))?;
        let inbox = self.connection.inbox();
        let ours = |refusal: &Refusal| {
            let subject = refusal.subject.as_str();
            subject == inbox || subject == &*order.subject || subject == &*order.reply
        };
        let refused = refusals.of(ours);
        tokio::pin!(lost, refused);
        let deadline = self.deadline.within(self.limits.request).at();
        let (mut taken, mut refusals, mut until) = (0, Vec::new(), deadline);
        while taken + refusals.len() < hosts.max(1) {
            tokio::select! {
                biased;
                reply = replies.next() => match reply {
                    Some(reply) if reply.status == Some(StatusCode::NO_RESPONDERS) => {
                        return Err(to.no_responders());
                    }
                    Some(reply) => {
                        match Ack::parse(&reply.payload) {
                            Ok(Ack::Refused(reason)) => refusals.push(reason),
                            Ok(_) => taken += 1,
                            Err(problem) => return Err(to.unreadable(problem)),
                        }
                        until = deadline.min(Instant::now() + STALL);
                    }
                    None => {
                        let loss = reason_of_loss(lost).await;
                        return Err(self.order_lost(&loss.said()));
                    }
                },
                loss = &mut lost => return Err(self.order_lost(&loss.said())),
                refusal = &mut refused => return Err(self.not_permitted(&refusal)),
                () = sleep_until(until) => {
                    return Err(Error::new(
                        Kind::Timeout,
                        format!(
                            "{} of {hosts} hosts of wasmCloud 1.x of {} answered in time{}; \
                             whether the others carried it out is unknown: a host that waits for a \
                             registry answers late",
                            taken + refusals.len(),
                            self.display_name(),
                            match refusals.first() {
                                None => String::new(),
                                Some(reason) => {
                                    format!(" ({} refused: {})", refusals.len(), quoted(reason))
                                }
                            }
                        ),
                    ));
                }
            }
        }
        match refusals.first() {
            None => Ok(()),
            Some(reason) if taken == 0 => Err(to.refused(reason)),
            Some(reason) => Err(Error::new(
                Kind::Partial,
                format!(
                    "{taken} of {hosts} hosts of wasmCloud 1.x of {} carried it out, and {} \
                     refused: {}",
                    self.display_name(),
                    refusals.len(),
                    quoted(reason)
                ),
            )),
        }
    }

    fn order_lost(&self, said: &str) -> Error {
        Error::new(
            Kind::ConnectionLost,
            format!(
                "the connection broke while the hosts of {} had not answered yet{said}",
                self.display_name()
            ),
        )
    }
}
