//! Tells a host a plan, one command after the other.

use tokio::time::{Instant, sleep};

use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::dialect::v0::plan::{Command, Plan, effect};
use crate::lattice::dialect::v0::requests;
use crate::lattice::model::{Running, TextMap};
use crate::lattice::ops::actors::decide::LOOK_AGAIN_AFTER;
use crate::lattice::ops::actors::recipient::Recipient;

impl Lattice {
    /// Tells a host a plan that is noted as in flight already. `running` is what runs
    /// before, where that is known.
    ///
    /// # Errors
    /// As every command; `Partial` where some of it was carried out, `Timeout` where the
    /// host does not show in time what the answer waits for.
    pub(super) async fn carry_out(
        &self,
        to: &Recipient<'_>,
        running: Option<&Running>,
        plan: &Plan,
    ) -> Result<(), Error> {
        let began = Instant::now();
        for (done, command) in plan.commands.iter().enumerate() {
            let result = self.tell(to, command).await;
            self.note_result(to, running, command, &result);
            let Err(error) = result else { continue };
            for command in &plan.commands[done + 1..] {
                self.withdraw(to, running, command);
            }
            return Err(match done {
                0 => error,
                // Something was carried out, so that "not accepted" would be wrong.
                _ => Error::new(
                    Kind::Partial,
                    format!(
                        "{done} of {} commands were carried out, then: {error}",
                        plan.commands.len()
                    ),
                )
                .caused_by(error),
            });
        }
        match (running, plan.until_shown) {
            (Some(running), true) => self.until_fewer(to, running, &plan.commands, began).await,
            _ => Ok(()),
        }
    }

    /// Tells a host one command.
    ///
    /// # Errors
    /// As every command.
    pub(super) async fn tell(&self, to: &Recipient<'_>, command: &Command) -> Result<(), Error> {
        let (lattice, host) = (&self.id, to.host);
        let request = match command {
            Command::Start {
                annotations,
                count,
                image_ref,
            } => requests::start_actor(lattice, host, image_ref, annotations, *count),
            Command::Scale {
                annotations,
                count,
                image_ref,
            } => {
                let (quirks, actor) = (to.quirks(), to.actor);
                requests::scale_actor(lattice, host, quirks, actor, image_ref, annotations, *count)
            }
            Command::Stop { annotations, count } => {
                requests::stop_actor(lattice, host, to.key()?, annotations, *count)
            }
            Command::Update {
                annotations,
                image_ref,
            } => requests::update_actor(lattice, host, to.actor, annotations, image_ref),
            Command::StopAmongFirst {
                annotations,
                count,
                matching,
            } => {
                return self
                    .stop_among_first(to, annotations, *count, *matching)
                    .await;
            }
        };
        self.tell_host(host, request?).await
    }

    /// Waits until the host shows that a scale has stopped what it should: the host
    /// acknowledges first, and then fetches the image, which may be gone.
    async fn until_fewer(
        &self,
        to: &Recipient<'_>,
        before: &Running,
        commands: &[Command],
        began: Instant,
    ) -> Result<(), Error> {
        let targets: Vec<_> = commands
            .iter()
            .flat_map(|command| effect(to.quirks(), before, command))
            .collect();
        let mut ends = self.deadline.earlier(LOOK_AGAIN_AFTER);
        ends = ends.earlier(self.deadline.remaining() / 20);
        loop {
            // The command was acknowledged, whether or not this question is answered.
            if let Ok(inventory) = self.inventory(to.host, ends).await {
                let shown = self.running(to, &inventory);
                let is_there =
                    |(annotations, count): &(TextMap, u32)| shown.under(annotations) <= *count;
                if targets.iter().all(is_there) {
                    return Ok(());
                }
            }
            let failed = commands.iter().find_map(|command| match command {
                Command::Scale { image_ref, .. } => {
                    let in_flight = &self.roster.commands.in_flight;
                    let reason = in_flight.failure(to.host, image_ref, began)?;
                    Some((image_ref, reason))
                }
                _ => None,
            });
            if let Some((image_ref, reason)) = failed {
                return Err(Error::new(
                    Kind::Partial,
                    format!(
                        "{} did not do all of it with {}: {reason}",
                        self.display_host(to.host),
                        quoted(image_ref)
                    ),
                ));
            }
            if ends.remaining().is_zero() {
                return Err(Error::new(
                    Kind::Timeout,
                    format!(
                        "{} acknowledged the command and does not show it yet: to stop some of an actor and \
                         not the rest it must fetch the image first; check that the registry is \
                         there, or stop the whole actor, which needs none",
                        self.display_host(to.host)
                    ),
                ));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
    }
}
