//! What is learned from the events of hosts.
//!
//! An event says that a host may have come, gone, or changed its version; only its reply
//! to a ping is believed. Events also say what came of starts, and which providers run.
//! Somebody who may publish events, and lies, can make us do this:
//!
//! - ping
//! - wait no longer for a host than it usually takes
//! - wait for newcomers that are not there, or not for those that are
//! - wait for bids for the whole grace period
//! - ask hosts for their inventories again, or count the bid of a host in an auction of a
//!   provider, or leave it out, against what its inventory would say
//! - no longer wait for what a host was told a moment ago
//! - refuse commands that name a reference, as that of another actor

use async_nats::Message;

use crate::lattice::dialect::{Dialect, v0, v1};
use crate::lattice::model::{HostNews, Protocol};
use crate::lattice::roster::Roster;
use crate::name::HostId;

/// Events of more bytes are not read: no host of a usual server can send one.
pub const MAX_EVENT: usize = 1024 * 1024;

/// Whether hosts should be pinged because of an event.
pub(super) enum Ping {
    /// No.
    Needless,
    /// This host is not known, or seems to have another version now.
    Of(HostId),
    /// This one started, or stopped.
    Now,
}

/// Notes an event that came over the connection of this epoch.
pub(super) fn note(roster: &Roster, epoch: u64, protocol: Protocol, event: &Message) -> Ping {
    if event.payload.len() > MAX_EVENT {
        return Ping::Needless;
    }
    let event = match protocol {
        Protocol::V0 => v0::events::read(&event.payload),
        Protocol::V1 => v1::events::read(&event.payload),
    };
    let Some(event) = event else {
        return Ping::Needless;
    };
    let Ok(host) = HostId::parse(&event.host) else {
        return Ping::Needless;
    };
    // Hosts 0.81 and 0.82 publish every event on the subject of 1.x, too. One that starts may
    // have become a host of the other kind.
    let is_of_other_kind = roster
        .protocol(&host)
        .is_some_and(|known| known != protocol);
    if is_of_other_kind && event.news != HostNews::Started {
        return Ping::Needless;
    }
    // Nobody could find out whether it is there.
    if roster.refused(epoch) == Some(protocol) {
        return Ping::Needless;
    }
    let was_known = roster.knows(&host);
    let mut asks = !roster.heard(&host, epoch);
    roster.commands.note_1x(&host, &event.news);
    match event.news {
        HostNews::Beats { version, providers } => {
            roster.export_check.alive(&host);
            let dialect = Dialect::of_version(protocol, version.as_deref());
            asks |= roster.note_version(&host, dialect);
            roster.note_beat(&host, epoch, providers);
        }
        // A host that starts may have another version than before. One that is doubtful
        // already is pinged soon.
        HostNews::Started => {
            roster.export_check.alive(&host);
            roster.commands.forget(&host);
            roster.started(&host);
            return Ping::Now;
        }
        HostNews::Stopped => {
            roster.export_check.ended(&host);
            roster.commands.forget(&host);
            roster.doubt(&host);
            return match was_known {
                true => Ping::Now,
                false => Ping::Needless,
            };
        }
        HostNews::ActorStarted {
            key,
            image_ref,
            annotations,
        } => {
            let commands = &roster.commands;
            commands.learned.learn(&host, &image_ref, &key);
            if let Some(annotations) = annotations {
                let in_flight = &commands.in_flight;
                in_flight.confirmed(&host, &image_ref, &annotations);
            }
        }
        HostNews::ActorFailed {
            image_ref,
            annotations,
            reason,
        } => {
            let in_flight = &roster.commands.in_flight;
            in_flight.failed(&host, &image_ref, annotations.as_ref(), &reason);
        }
        HostNews::ProviderStarted(started) => roster.provider_started(&host, started),
        HostNews::ProviderStopped { key, link_name } => {
            roster.provider_stopped(&host, &key, &link_name);
        }
        HostNews::ProviderFailed { .. } => roster.provider_failed(&host),
        HostNews::ProvidersChanged => roster.provider_moves(&host),
        HostNews::ComponentScaled { .. } | HostNews::ComponentFailed { .. } | HostNews::Other => {}
    }
    match asks {
        true => Ping::Of(host),
        false => Ping::Needless,
    }
}
