//! Commands to one host, `cmd.{host}.{verb}`: what it answers, when, and what
//! it does only after that (docs/hosts.md#update-overtakes-scale).

use std::time::Duration;

use serde_json::Value;

use super::bodies::{accepted, refused};
use super::running::are_annotations;
use super::table::State;
use super::{Generation, Shared};

/// The time limit of a Rust host's stop where the command has none.
const DEFAULT_SHUTDOWN: Duration = Duration::from_secs(10);

/// What a host answers, and after how long.
#[derive(Default)]
pub struct Answer {
    pub body: Option<Value>,
    pub late: Duration,
}

impl Answer {
    pub fn now(body: Value) -> Self {
        Self::late(body, Duration::ZERO)
    }

    pub fn late(body: Value, late: Duration) -> Self {
        let body = Some(body);
        Self { body, late }
    }

    /// Leaves the command unanswered.
    pub fn silence() -> Self {
        Self::default()
    }
}

/// A command that is acknowledged and not carried out yet.
pub struct Owed {
    pub verb: String,
    pub body: Value,
    /// When it was acknowledged, on the host's own clock of what it did.
    pub since: u64,
    /// Whether it takes only a host's ordinary pause.
    pub ordinary: bool,
}

/// What a host does with a command.
pub enum Taken {
    Answered(Answer),
    /// Acknowledged, to be carried out later.
    Owed(Value),
}

impl Shared {
    /// Takes a command, and carries out what comes before the answer.
    pub fn order(&self, verb: &str, body: &[u8]) -> Taken {
        let body = serde_json::from_slice::<Value>(body).ok();
        let answer = match (verb, self.generation.is_otp()) {
            ("la" | "scale" | "sa" | "upd", true) => self.otp_order(verb, body.as_ref()),
            ("la" | "scale" | "sa" | "upd", false) => self.rust_order(verb, body.as_ref()),
            ("lp", _) => Some(self.start_provider(body.as_ref())),
            ("sp", _) => Some(self.stop_provider(body.as_ref())),
            ("stop", otp) => Some(match &body {
                Some(order @ Value::Object(_)) => Answer::now(self.stop_host(order)),
                // Its error path raises
                // (docs/hosts.md#unreadable-command-has-no-answer).
                _ if otp => Answer::silence(),
                _ => Answer::now(refused("failed to deserialize stop command")),
            }),
            _ if self.generation.is_g3() => Some(Answer::now(refused("unsupported subject"))),
            // G1 and G2 answer nothing.
            _ => Some(Answer::silence()),
        };
        match answer {
            Some(answer) => Taken::Answered(answer),
            None => Taken::Owed(body.unwrap_or_default()),
        }
    }

    /// Takes a command about actors on a Rust host; `None` where it is
    /// acknowledged and carried out later.
    fn rust_order(&self, verb: &str, body: Option<&Value>) -> Option<Answer> {
        if verb == "la" && self.generation.is_g3() {
            return Some(Answer::now(refused("unsupported subject")));
        }
        let (words, numbers) = match verb {
            "la" => ("failed to deserialize actor launch command", true),
            "scale" => ("failed to deserialize actor scale command", true),
            "sa" => (
                "failed to deserialize actor stop command",
                !self.generation.counts_maximum(),
            ),
            _ => ("failed to deserialize actor update command", false),
        };
        let texts: &[&str] = match verb {
            "upd" => &["actor_id", "new_actor_ref"],
            _ => &["actor_ref"],
        };
        let text = |body: &Value, name: &&str| body.get(*name).is_none_or(Value::is_string);
        let number = |body: &Value| match body.get("count") {
            None => true,
            // Only a scale that has "without limit" takes null for a count
            // (docs/hosts.md#missing-count-differs).
            Some(Value::Null) => {
                let optional = matches!(self.generation, Generation::G2b | Generation::G3a);
                optional && verb == "scale"
            }
            Some(count) => count.as_u64().is_some_and(|count| match self.generation {
                Generation::G3b => count <= u64::from(u32::MAX),
                _ => count <= u64::from(u16::MAX),
            }),
        };
        let body = body.filter(|body| {
            let read =
                body.is_object() && are_annotations(body) && texts.iter().all(|n| text(body, n));
            read && (!numbers || number(body))
        });
        let Some(body) = body else {
            return Some(Answer::now(refused(words)));
        };
        match (verb, self.generation.counts_maximum()) {
            ("sa", true) => Some(self.stop_maximum(body)),
            ("sa", false) => Some(self.stop_instances(body)),
            ("upd", true) => Some(self.update_maximum(body)),
            ("upd", false) => Some(self.update_instances(body)),
            ("scale", false) => Some(self.scale_instances(body)),
            _ => None,
        }
    }

    /// Carries out a command that was acknowledged.
    pub fn carry_out(&self, state: &mut State, owed: &Owed) {
        match (owed.verb.as_str(), self.generation.counts_maximum()) {
            _ if self.generation.is_otp() => self.otp_carry_out(state, owed),
            ("la", false) => self.launch_instances(state, owed),
            ("la", true) => self.launch_maximum(state, owed),
            _ => self.scale_maximum(state, owed),
        }
        state.tidy();
    }

    /// Answers `stop` (docs/hosts.md#stopping-a-host).
    fn stop_host(&self, order: &Value) -> Value {
        let state = &mut *self.state.lock().unwrap();
        // OTP hosts up to 0.60 publish it twice.
        let times = if self.generation <= Generation::Otp60 {
            2
        } else {
            1
        };
        self.purge(state, times);
        state.stopped = true;
        // OTP hosts read the time limit and do not use it. Nor does 0.78.0, as
        // its source says.
        if self.generation > Generation::G2a {
            let given = order["timeout"].as_u64().map(Duration::from_millis);
            state.ends_within = Some(given.unwrap_or(DEFAULT_SHUTDOWN));
        }
        accepted()
    }

    /// Ends everything on the host.
    pub fn purge(&self, state: &mut State, times: usize) {
        let actors = std::mem::take(&mut state.actors);
        let providers = std::mem::take(&mut state.providers);
        state.lost.clear();
        if self.generation.is_otp() {
            for actor in &actors {
                for instance in &actor.instances {
                    self.say_actor_stopped(state, &actor.key, instance);
                }
            }
            for provider in &providers {
                let data = self.provider_stopped(provider);
                state.say("provider_stopped", data);
            }
        }
        self.say_stopped(state, times);
    }
}
