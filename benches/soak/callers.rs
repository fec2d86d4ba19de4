//! Callers, and their checks of each answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use wasmbus_rpc::error::{RpcError, RpcResult};
use wasmcloud_interface_lattice_control::*;

use crate::lattices::{Lattice, Received, strangers};
use crate::random::Random;
use crate::support::actor::Actor;
use crate::support::world::ctx;
use crate::tally::Tally;

/// How long credentials whose setting had an unknown outcome may still take
/// effect: longer than a call can last.
const UNSETTLED: Duration = Duration::from_millis(2500);

/// The state that all callers share.
pub struct Scene {
    pub lattices: Vec<Arc<Lattice>>,
    pub received: Arc<Received>,
    pub tally: Tally,
    pub over: AtomicBool,
    /// The marks of commands that were reported as certainly not carried out.
    pub refused: Mutex<Vec<String>>,
    pub marks: AtomicU64,
}

/// Calls one operation after the other until the soak is over.
pub async fn call_on(scene: Arc<Scene>, actor: Actor, mut random: Random) {
    while !scene.over.load(Relaxed) {
        let lattice = random.one(&scene.lattices).clone();
        let caller = Caller {
            scene: &scene,
            actor: &actor,
            lattice: &lattice,
        };
        match random.of(0..100) {
            0..35 => caller.hosts().await,
            35..55 => caller.inventory(&mut random).await,
            55..70 => caller.auction().await,
            70..90 => caller.command(&mut random).await,
            number => caller.set(&mut random, number >= 95).await,
        }
        tokio::time::sleep(Duration::from_millis(random.of(5..60))).await;
    }
}

struct Caller<'a> {
    scene: &'a Scene,
    actor: &'a Actor,
    lattice: &'a Lattice,
}

impl Caller<'_> {
    async fn hosts(&self) {
        let client = self.actor.lattice();
        let context = ctx();
        let hosts = client.get_hosts(&context, &self.lattice.id);
        let named = |hosts: Vec<Host>| hosts.into_iter().map(|host| host.id).collect();
        self.question("GetHosts", hosts, named).await;
    }

    async fn auction(&self) {
        let client = self.actor.lattice();
        let request = ActorAuctionRequest {
            lattice_id: self.lattice.id.clone(),
            actor_ref: "x".into(),
            constraints: HashMap::new(),
        };
        let context = ctx();
        let bids = client.auction_actor(&context, &request);
        let named = |bids: ActorAuctionAcks| bids.into_iter().map(|bid| bid.host_id).collect();
        self.question("AuctionActor", bids, named).await;
    }

    async fn inventory(&self, random: &mut Random) {
        let client = self.actor.lattice();
        let request = GetHostInventoryRequest {
            lattice_id: self.lattice.id.clone(),
            host_id: self.host(random),
        };
        let context = ctx();
        let inventory = client.get_host_inventory(&context, &request);
        let named = |inventory: HostInventory| vec![inventory.host_id];
        self.question("GetHostInventory", inventory, named).await;
    }

    /// Returns a host of the lattice in a place where it may be now.
    fn host(&self, random: &mut Random) -> String {
        let hosts: Vec<_> = self.lattice.hosts_in(self.lattice.bound()).collect();
        (*random.one(&hosts)).clone()
    }

    /// Makes a query, whose answer must not name a host that the lattice did
    /// not have meanwhile.
    async fn question<T>(
        &self,
        what: &str,
        call: impl Future<Output = RpcResult<T>>,
        named: impl Fn(T) -> Vec<String>,
    ) {
        let (moment, started) = (self.lattice.moment(), Instant::now());
        let answer = call.await;
        let tally = &self.scene.tally;
        match answer {
            Ok(answer) => {
                tally.answered(&tally.ok, started);
                let places = self.lattice.bound_since(moment);
                let strangers = strangers(self.lattice, places, named(answer));
                if !strangers.is_empty() {
                    let id = &self.lattice.id;
                    tally.wrong(format!("{what} of {id} names {strangers:?}"));
                }
            }
            Err(RpcError::Rpc(_)) => tally.answered(&tally.failed, started),
            Err(error) => tally.unanswered(&format!("{what} ({error})"), started),
        }
    }

    /// Gives a command with a mark of its own.
    async fn command(&self, random: &mut Random) {
        let mark = format!("mark/{}", self.scene.marks.fetch_add(1, Relaxed));
        let (client, context, started) = (self.actor.lattice(), ctx(), Instant::now());
        let (lattice_id, host_id) = (self.lattice.id.clone(), self.host(random));
        let ack = match random.of(0..2) {
            0 => {
                let command = StartActorCommand {
                    lattice_id,
                    host_id: host_id.clone(),
                    actor_ref: mark.clone(),
                    annotations: None,
                    count: 1,
                };
                client.start_actor(&context, &command).await
            }
            _ => {
                let command = StartProviderCommand {
                    lattice_id,
                    host_id: host_id.clone(),
                    provider_ref: mark.clone(),
                    link_name: "default".into(),
                    annotations: None,
                    configuration: None,
                };
                client.start_provider(&context, &command).await
            }
        };
        let tally = &self.scene.tally;
        match ack {
            Ok(ack) if ack.accepted => {
                tally.answered(&tally.ok, started);
                let by = self.scene.received.by(&mark);
                if by.as_ref() != Some(&host_id) {
                    tally.wrong(format!(
                        "{mark} to {host_id} was acknowledged, and received by {by:?}"
                    ));
                }
            }
            Ok(_) => {
                tally.answered(&tally.failed, started);
                self.scene.refused.lock().unwrap().push(mark);
            }
            Err(RpcError::Rpc(_)) => tally.answered(&tally.unknown, started),
            Err(error) => tally.unanswered(&format!("a command ({error})"), started),
        }
    }

    /// Sets the same credentials again or those of the other place. One caller
    /// does so at a time, so that it is known which take effect.
    async fn set(&self, random: &mut Random, rotate: bool) {
        let Ok(mut setting) = self.lattice.setting.try_lock() else {
            return;
        };
        if setting
            .unsettled_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        let before = self.lattice.bound();
        let place = match (before, rotate) {
            ([true, false], false) | ([false, true], true) => 0,
            ([false, true], false) | ([true, false], true) => 1,
            _ => random.of(0..2) as usize,
        };
        setting.times += u64::from(rotate);
        let only = [place == 0, place == 1];
        let either = [before[0] | only[0], before[1] | only[1]];
        let request = SetLatticeCredentialsRequest {
            lattice_id: self.lattice.id.clone(),
            nats_url: Some(self.lattice.url(place, setting.times)),
            ..Default::default()
        };
        self.lattice.may_be_in(either);
        let (client, started) = (self.actor.lattice(), Instant::now());
        let ack = client.set_lattice_credentials(&ctx(), &request).await;
        let tally = &self.scene.tally;
        match ack {
            Ok(ack) if ack.accepted => {
                tally.answered(&tally.ok, started);
                tally.rotations.fetch_add(usize::from(rotate), Relaxed);
                self.lattice.may_be_in(only);
            }
            Ok(_) => {
                tally.answered(&tally.failed, started);
                self.lattice.may_be_in(before);
            }
            Err(error) => {
                setting.unsettled_until = Some(Instant::now() + UNSETTLED);
                match error {
                    RpcError::Rpc(_) => tally.answered(&tally.unknown, started),
                    _ => tally.unanswered(&format!("credentials ({error})"), started),
                }
            }
        }
    }
}
