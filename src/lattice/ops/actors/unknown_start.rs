//! What became of a start from a reference of which the actor was not known, on a host
//! where other actors run: it may be of one of them.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::deadline::Deadline;
use crate::error::{Error, Kind, quoted};
use crate::lattice::Lattice;
use crate::lattice::commands::in_flight::SHOWN_WITHIN;
use crate::lattice::commands::locks::Hold;
use crate::lattice::commands::target::Target;
use crate::lattice::dialect::v0::plan::take_back;
use crate::lattice::model::{Inventory, Listed, TextMap, listed};
use crate::lattice::ops::actors::decide::LOOK_AGAIN_AFTER;
use crate::lattice::ops::actors::recipient::Recipient;
use crate::name::ActorId;

/// How long a call waits to see of which actor a start was.
const SEEN_WITHIN: Duration = Duration::from_millis(250);

/// What became of such a start.
enum Started {
    /// It is what was meant.
    Itself,
    /// It is code of an actor that runs from another reference there, under a wrong name.
    Other { key: String, runs_from: String },
    /// The host did not start it, for this reason.
    Failed(String),
}

impl Lattice {
    /// Waits until the host shows what it started. Hosts from 0.79.1 on may have started
    /// the code of an actor that they have, under the new reference: that is taken back.
    /// Others say in an event that they refuse. Where it takes long, a task goes on
    /// waiting after the call.
    ///
    /// # Errors
    /// `Refused` where it was taken back, or the host did not start it; `Partial` where it
    /// could not be taken back.
    pub(super) async fn check_started(
        &self,
        to: &Recipient<'_>,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let by = self.deadline.within(SEEN_WITHIN);
        if let Some(started) = self.what_was_started(to, began, by).await {
            return self.take_back(to, annotations, started).await;
        }
        let lattice = self.beyond_the_call(SHOWN_WITHIN);
        let (host, software) = (to.host.clone(), to.software);
        let (image_ref, annotations) = (to.image_ref.to_owned(), annotations.clone());
        // The drain at shutdown does not wait for it.
        tokio::spawn(async move {
            let to = Recipient::of_reference(&host, software, None, &image_ref);
            match lattice.what_was_started(&to, began, lattice.deadline).await {
                Some(started) => {
                    if let Err(error) = lattice.take_back(&to, &annotations, started).await {
                        warn!(%error, "an actor that was started does not run");
                    }
                }
                None => info!(%host, image_ref, "an actor that was started is not there yet"),
            }
        });
        Ok(())
    }

    async fn what_was_started(
        &self,
        to: &Recipient<'_>,
        began: Instant,
        by: Deadline,
    ) -> Option<Started> {
        let commands = &self.roster.commands;
        while !by.remaining().is_zero() {
            let inventory = self.inventory(to.host, by).await.ok()?;
            if let Some(started) = shown_as(&inventory, to.image_ref) {
                commands.learned.learn_all(to.host, &inventory);
                return Some(started);
            }
            let failure = commands.in_flight.failure(to.host, to.image_ref, began);
            if let Some(reason) = failure {
                return Some(Started::Failed(reason));
            }
            sleep(LOOK_AGAIN_AFTER).await;
        }
        None
    }

    async fn take_back(
        &self,
        to: &Recipient<'_>,
        annotations: &TextMap,
        started: Started,
    ) -> Result<(), Error> {
        let host = self.display_host(to.host);
        let (key, runs_from) = match started {
            Started::Itself => return Ok(()),
            Started::Failed(reason) => {
                let failed = format!("{host} did not start {}: {reason}", quoted(to.image_ref));
                return Err(Error::new(Kind::Refused, failed));
            }
            Started::Other { key, runs_from } => (key, runs_from),
        };
        let why = format!(
            "{} is of actor {key}, which runs on {host} from {}, and such a host would run that \
             code under the new name; use UpdateActor",
            quoted(to.image_ref),
            quoted(&runs_from)
        );
        let actor = ActorId::parse(&key)?;
        let taken = self.take_group_back(to, &actor, annotations).await;
        taken.map_err(|error| {
            Error::new(
                Kind::Partial,
                format!("{why}. It was not taken back: {error}"),
            )
            .caused_by(error)
        })?;
        Err(Error::new(
            Kind::Refused,
            format!("{why}. It was taken back"),
        ))
    }

    /// Stops a set of annotations that was started under a wrong reference, and waits until
    /// the host shows that.
    async fn take_group_back(
        &self,
        to: &Recipient<'_>,
        actor: &ActorId,
        annotations: &TextMap,
    ) -> Result<(), Error> {
        let to = Recipient::of_actor(to.host, to.software, actor, to.image_ref);
        let target = Target {
            image_ref: "",
            ..to.target()
        };
        let commands = &self.roster.commands;
        let lock = commands.locks.target(target, Hold::Alone, self.deadline);
        let _lock = lock.await?;
        // This is the start that was in flight.
        let why = "it is of another actor";
        let in_flight = &commands.in_flight;
        in_flight.failed(to.host, to.image_ref, Some(annotations), why);
        // Meanwhile, an update may have made it right.
        let inventory = self.read_inventory(to.host).await?;
        if !matches!(
            shown_as(&inventory, to.image_ref),
            Some(Started::Other { .. })
        ) {
            return Ok(());
        }
        let running = self.running(&to, &inventory);
        let plan = take_back(annotations, to.image_ref);
        self.note_all(&to, Some(&running), &plan);
        self.carry_out(&to, Some(&running), &plan).await
    }
}

/// Returns as what an inventory shows a reference, where it does.
fn shown_as(inventory: &Inventory, image_ref: &str) -> Option<Started> {
    let is_from_it = |listed: &Listed<'_>| listed.image_ref == image_ref;
    let ours = listed(inventory).find(is_from_it)?;
    let mut same_actor = listed(inventory).filter(|listed| listed.key == ours.key);
    let other = same_actor.find(|listed| listed.image_ref != image_ref);
    Some(match other {
        None => Started::Itself,
        Some(other) => Started::Other {
            key: other.key.to_owned(),
            runs_from: other.image_ref.to_owned(),
        },
    })
}
