//! Reads the transcripts of OTP hosts, `tests/fixtures/real/otp-*.txt`. Their
//! first lines explain the format.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Outcome;
use crate::support::fixtures;

/// A line of a transcript, as far as it is replayed.
pub enum Line {
    /// A run in this lattice begins with a new host.
    Run(String),
    /// A part of a run begins.
    Part(String),
    /// The host was started again under another id.
    Restart,
    Step(Step),
}

/// A request, and what the real host did.
pub struct Step {
    pub name: String,
    pub subject: String,
    pub body: String,
    /// The headers of a value in the bucket.
    pub operation: Option<String>,
    pub outcome: Real,
    /// How long the answer took, in milliseconds.
    pub took: u64,
    /// The events that it published, each with its name and data.
    pub events: Vec<(String, Value)>,
}

/// What a real host answered.
pub enum Real {
    Told(Outcome),
    /// A reply that the transcript shortens.
    Shortened,
    /// The reply to the last request of that kind again.
    Again,
    /// The reply to the last request of that kind with these members changed.
    AgainWith(Value),
}

/// Replaces names by keys and ids.
pub fn named(text: &str, names: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for (name, value) in names {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

/// Reads the lines of a transcript. `names` stand for keys, and every host is
/// `{h}`, the one under test.
pub fn lines(transcript: &str, names: &BTreeMap<String, String>) -> Vec<Line> {
    let text = fixtures::text(&format!("real/{transcript}.txt"));
    let mut lines = Vec::new();
    for line in text.lines().skip(8) {
        let line = named(line, names);
        if let Some(run) = line.strip_prefix("##### ") {
            lines.push(Line::Run(run.into()));
        } else if let Some(part) = line.strip_prefix("## ") {
            lines.push(Line::Part(part.into()));
        } else if line.starts_with("restarted") || line.ends_with(") restarting") {
            lines.push(Line::Restart);
        } else if let Some(step) = begun(&line) {
            lines.push(Line::Step(step));
        } else if let Some(Line::Step(step)) = lines.last_mut() {
            go_on(step, line.trim());
        }
    }
    lines
}

/// Reads a step, which begins with this line.
fn begun(line: &str) -> Option<Step> {
    let (name, rest) = line.split_once(" | ")?;
    let (subject, body) = rest.split_once(" <-")?;
    let (body, operation) = match body.split_once(" {'KV-Operation': '") {
        Some((body, rest)) => (body, rest.split('\'').next().map(Into::into)),
        None => (body, None),
    };
    Some(Step {
        name: name.into(),
        subject: subject.into(),
        body: body.trim().into(),
        operation,
        // Where the line has no answer, nobody bid.
        outcome: Real::Told(Outcome::Silence),
        took: 0,
        events: Vec::new(),
    })
}

/// Adds to a step what the line after it says.
fn go_on(step: &mut Step, line: &str) {
    let line = line.trim_end_matches(" +traceparent");
    if let Some(event) = line.strip_prefix("EVENT ") {
        let mut words = event.splitn(3, ' ');
        let (name, _source, data) = (words.next(), words.next(), words.next());
        let data = data.and_then(|data| data.strip_prefix("data="));
        let data = data.and_then(|data| serde_json::from_str(data).ok());
        if let (Some(name), Some(data)) = (name, data) {
            step.events.push((name.into(), data));
        }
        return;
    }
    let Some(answer) = line.strip_prefix("=> ") else {
        return;
    };
    let answer = match answer
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("ms] "))
    {
        Some((took, answer)) => {
            step.took = took.parse().unwrap();
            answer
        }
        None => answer.trim(),
    };
    step.outcome = if answer.starts_with("NO REPLY") {
        Real::Told(Outcome::Silence)
    } else if answer.starts_with("NO RESPONDERS") || answer.contains("'503'") {
        Real::Told(Outcome::NoResponders)
    } else if answer.starts_with("(as the") {
        Real::Again
    } else if let Some(changed) = answer.strip_suffix(" (the rest as before)") {
        Real::AgainWith(serde_json::from_str(changed).unwrap())
    } else {
        match serde_json::from_str(answer) {
            Ok(reply) => Real::Told(Outcome::Reply(reply)),
            Err(_) => Real::Shortened,
        }
    };
}
