//! What is learned from the events of hosts.
//!
//! An event says that a host may have come, gone, or changed its version; only its reply
//! to a ping is believed. Events also say what came of starts, and which providers run.
//! Somebody who may publish events, and lies, can make us do this: ping, wait no longer for
//! a host than it usually takes, wait for newcomers that are not there, no longer wait for
//! what a host was told a moment ago, refuse commands that name a reference, as that of
//! another actor, and leave the bid of a host out of an auction of a provider, or count it,
//! against what its inventory says. It is not more than that.

use async_nats::Message;

use crate::lattice::dialect::Dialect;
use crate::lattice::dialect::v0::events;
use crate::lattice::model::HostNews;
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
pub(super) fn note(roster: &Roster, epoch: u64, event: &Message) -> Ping {
    if event.payload.len() > MAX_EVENT {
        return Ping::Needless;
    }
    let Some(event) = events::read(&event.payload) else {
        return Ping::Needless;
    };
    let Ok(host) = HostId::parse(&event.host) else {
        return Ping::Needless;
    };
    let was_known = roster.knows(&host);
    let mut asks = !roster.heard(&host, epoch);
    match event.news {
        HostNews::Beats { version, providers } => {
            roster.export_check.alive(&host);
            let dialect = Dialect::of_version(version.as_deref());
            asks |= roster.note_version(&host, dialect);
            if let Some(providers) = providers {
                roster.note_beat(&host, providers);
            }
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
            roster.stopped(&host);
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
        HostNews::ProviderFailed => roster.provider_failed(&host),
        HostNews::Other => {}
    }
    match asks {
        true => Ping::Of(host),
        false => Ping::Needless,
    }
}
