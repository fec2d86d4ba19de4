//! What is noted as in flight while a plan is carried out, and what comes of it.

use crate::error::{Error, Kind};
use crate::lattice::Lattice;
use crate::lattice::commands::target::Target;
use crate::lattice::dialect::v0::plan::{Command, Plan, effect};
use crate::lattice::model::Running;
use crate::lattice::ops::actors::recipient::Recipient;

impl Lattice {
    /// Notes the commands that the host is about to be sent.
    pub(super) fn note_all(&self, to: &Recipient<'_>, running: Option<&Running>, plan: &Plan) {
        for command in &plan.commands {
            match command {
                Command::Start { .. } | Command::Scale { .. } => self.note(to, running, command),
                // Done when the host acknowledges it, and then shown at once.
                _ => self.roster.commands.in_flight.begin(target_of(to, command)),
            }
        }
    }

    /// Notes what came of a command. What the host did, or never will, is no longer in
    /// flight. Where that is not known, the inventory shows it later.
    pub(super) fn note_result(
        &self,
        to: &Recipient<'_>,
        running: Option<&Running>,
        command: &Command,
        result: &Result<(), Error>,
    ) {
        let is_stop_or_update = matches!(
            command,
            Command::Stop { .. } | Command::StopAmongFirst { .. } | Command::Update { .. }
        );
        let is_done = match command {
            Command::Scale { .. } => to.quirks().scale_is_done_when_acknowledged,
            // The host downloads the image first.
            Command::Start { .. } => false,
            _ => true,
        };
        let is_over = match result {
            Ok(()) => is_done,
            // Some of several commands were acknowledged.
            Err(error) if error.kind() == Kind::Partial => is_done,
            Err(error) => error.kind().certainly_not_carried_out(),
        };
        if is_over {
            self.withdraw(to, running, command);
        } else if is_stop_or_update {
            self.withdraw(to, running, command);
            let in_flight = &self.roster.commands.in_flight;
            in_flight.may_have_happened(target_of(to, command));
            self.note(to, running, command);
        }
    }

    /// Notes what the host will show.
    fn note(&self, to: &Recipient<'_>, running: Option<&Running>, command: &Command) {
        let in_flight = &self.roster.commands.in_flight;
        let target = target_of(to, command);
        if let Command::Start {
            annotations, count, ..
        } = command
        {
            let annotations = to.shown_as(annotations);
            let base = running.map(|running| running.under(annotations));
            return in_flight.add_starts(target, annotations, base, u32::from(*count));
        }
        let nothing = Running::default();
        let before = running.unwrap_or(&nothing);
        for (annotations, count) in effect(to.quirks(), before, command) {
            in_flight.expect_count(target, &annotations, count, before.under(&annotations));
        }
    }

    /// Takes back what was noted of a command.
    pub(super) fn withdraw(
        &self,
        to: &Recipient<'_>,
        running: Option<&Running>,
        command: &Command,
    ) {
        let in_flight = &self.roster.commands.in_flight;
        let target = target_of(to, command);
        match command {
            Command::Start {
                annotations, count, ..
            } => in_flight.remove_starts(target, to.shown_as(annotations), u32::from(*count)),
            Command::Scale { .. } => {
                let nothing = Running::default();
                let before = running.unwrap_or(&nothing);
                for (annotations, _) in effect(to.quirks(), before, command) {
                    in_flight.remove_count(target, &annotations);
                }
            }
            _ => in_flight.end(target),
        }
    }
}

/// Returns what a command is about, with the reference that it names.
fn target_of<'a>(to: &'a Recipient<'_>, command: &'a Command) -> Target<'a> {
    let image_ref = match command {
        Command::Start { image_ref, .. } | Command::Scale { image_ref, .. } => image_ref.as_str(),
        _ => to.image_ref,
    };
    Target {
        image_ref,
        ..to.target()
    }
}
