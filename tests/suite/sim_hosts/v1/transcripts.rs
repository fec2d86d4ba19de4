//! Reads the transcripts of 1.x hosts: `host-1.0.0`, `host-1.9.2`,
//! `host-v1-extra` and `host-1.9.2-provider` in `tests/fixtures/real/`.

use serde_json::Value;

use super::super::Outcome;
use crate::support::fixtures;

/// A line of a transcript, as far as it is replayed.
pub enum Line {
    Step(Step),
    /// An event and its data, where the transcript has all of it.
    Event(String, Option<Value>),
    /// An entry of a bucket.
    Entry(String, Value),
    /// The text that calls were answered with.
    Calls(String),
    /// What the inventory had of component `cfg1`.
    Listed(Value),
    /// The process of the provider was killed.
    Killed,
}

/// A request, and what the real host did.
pub struct Step {
    pub name: String,
    pub body: String,
    /// `None` for a reply that the transcript shortens.
    pub outcome: Option<Outcome>,
    /// How long the answer took, in milliseconds.
    pub took: u64,
}

/// Reads the part of a transcript that begins with this line, up to the next
/// part. The host under test is `{h}`.
pub fn lines(transcript: &str, part: &str) -> Vec<Line> {
    let text = fixtures::text(&format!("real/{transcript}.txt"));
    let begins = |line: &str| line.starts_with("##### ") || line.starts_with("== ");
    let after = match part {
        "" => text.as_str(),
        part => text.split_once(part).unwrap().1.split_once('\n').unwrap().1,
    };
    let part: Vec<&str> = after.lines().take_while(|line| !begins(line)).collect();
    let id = part.iter().find_map(|line| {
        let response = line.split_once("\"id\":\"N")?.1;
        Some(format!("N{}", response.split_once('"')?.0))
    });
    let id = id.unwrap_or_else(|| "no ping".into());
    let mut lines = Vec::new();
    for line in part {
        read(&line.replace(&id, "{h}"), &mut lines);
    }
    lines
}

fn read(line: &str, lines: &mut Vec<Line>) {
    let mut line = line.trim_start();
    if let Some((first, rest)) = line.split_once(' ')
        && first.contains('.')
        && first.parse::<f64>().is_ok()
    {
        line = rest.trim_start();
    }
    if let Some(answer) = line.strip_prefix("=> ") {
        let took = answer
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("ms] "));
        let (took, answer) = took.unwrap_or(("0", answer));
        if let Some(Line::Step(step)) = last_step(lines) {
            step.took = took.parse().unwrap();
            step.outcome = match answer {
                silence if silence.contains("TIMEOUT") || silence.starts_with('!') => {
                    Some(Outcome::Silence)
                }
                error if error.starts_with("ERR no responders") => Some(Outcome::NoResponders),
                reply => serde_json::from_str(reply).ok().map(Outcome::Reply),
            };
        }
    } else if let Some(event) = line.strip_prefix("EVENT ") {
        let (subject, data) = event.split_once(' ').unwrap();
        let data = data.split_once("data=").map_or(data, |(_, data)| data);
        let name = subject.rsplit('.').next().unwrap().to_owned();
        lines.push(Line::Event(name, serde_json::from_str(data).ok()));
    } else if let Some(entry) = line.strip_prefix("KV ") {
        let entry = entry.replace(" = ", " ");
        let (key, value) = entry.split_once(" {").unwrap();
        let key = key.rsplit(' ').next().unwrap().to_owned();
        let value = serde_json::from_str(&format!("{{{value}")).unwrap();
        lines.push(Line::Entry(key, value));
    } else if let Some(ping) = line.strip_prefix("PING ") {
        let told = serde_json::from_str(ping).ok();
        lines.extend(told.map(|told| {
            Line::Step(Step {
                name: "ping".into(),
                body: String::new(),
                outcome: Some(Outcome::Reply(told)),
                took: 0,
            })
        }));
    } else if let Some((name, body)) = line.split_once(" <-") {
        let mut body = body.trim().to_owned();
        if body.starts_with('{') && serde_json::from_str::<Value>(&body).is_err() {
            // The transcript cuts the order that starts a long id.
            body.push_str("\", \"count\": 1, \"host_id\": \"{h}\"}");
        }
        lines.push(Line::Step(Step {
            name: name.into(),
            body,
            outcome: None,
            took: 0,
        }));
    } else if line.contains("INVOKE") {
        lines.push(Line::Calls(line.into()));
    } else if let Some(listed) = line.strip_prefix("CFG1 ") {
        let listed = listed.replace('\'', "\"").replace("None", "null");
        lines.push(Line::Listed(serde_json::from_str(&listed).unwrap()));
    } else if line.starts_with("kill ") {
        lines.push(Line::Killed);
    }
}

fn last_step(lines: &mut [Line]) -> Option<&mut Line> {
    let mut steps = lines.iter_mut().rev();
    steps.find(|line| matches!(line, Line::Step(_)))
}

/// Returns the subject of the step with this name.
pub fn subject(step: &Step) -> String {
    let name = step.name.as_str();
    let of = |noun: &str| format!("{noun}.{{h}}");
    match name {
        "inv" => of("host.get"),
        "ping" => "host.ping".into(),
        "unknown verb" => of("component.fly"),
        "start again" | "same provider id on the other host" => of("provider.start"),
        "same link again" | "other config name" => "link.put".into(),
        "content of link config changed" => "config.put.lcfg2".into(),
        "content of provider config changed" => "config.put.pcfg".into(),
        "config.put dotted" => "config.put.a.b".into(),
        "config.put non string" => "config.put.n1".into(),
        "config.put empty map" => "config.put.n2".into(),
        "config.put" | "config.get" | "config.del" => format!("{name}.cfg1"),
        "config.get unknown" => "config.get.nope".into(),
        "auction running provider" => "provider.auction".into(),
        name if name.starts_with("auction ") => "component.auction".into(),
        name if name.starts_with("scale ") || name.starts_with("same count") => {
            of("component.scale")
        }
        name if name.starts_with("update ") => of("component.update"),
        name => {
            let word = name.split_whitespace().next().unwrap();
            let alone = ["host.stop", "provider.start", "provider.stop", "label.put"];
            match alone.contains(&word) {
                true => of(word),
                false => word.to_owned(),
            }
        }
    }
}
