//! The least that a provider can do: a process that takes the same calls as the
//! provider, does not read them, sends the host the same command, and passes
//! the answers on. Messages that come together go on together: none has a task
//! of its own, or a lock to wait for.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};

use async_nats::Subject;
use bytes::Bytes;
use futures::StreamExt as _;

use crate::accounting::Process;

/// The argument that makes this program a relay.
pub const ARGUMENT: &str = "relay";

/// A running relay, which ends when this is dropped.
pub struct Relay(Child);

impl Relay {
    /// Starts a relay that sends `command` to `to` on the other server for each
    /// message on `subject`.
    pub fn start(from: &str, subject: &str, other: &str, to: &str, command: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([ARGUMENT, from, subject, other, to, command])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut ready).unwrap();
        assert_eq!(ready.trim(), "ready");
        Self(child)
    }

    /// Returns its process.
    pub fn process(&self) -> Process {
        Process::of(self.0.id())
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the relay in its own process until that is killed.
pub async fn run(arguments: &[String]) -> ExitCode {
    let [from, subject, other, to, command] = arguments else {
        return ExitCode::from(64);
    };
    let home = async_nats::connect(from).await.unwrap();
    let remote = async_nats::connect(other).await.unwrap();
    let mut questions = home.subscribe(subject.clone()).await.unwrap();
    let inbox = remote.new_inbox();
    let mut answers = remote.subscribe(format!("{inbox}.*")).await.unwrap();
    let waiting: Arc<Mutex<HashMap<u64, Subject>>> = Arc::default();
    crate::support::fence(&home).await;
    crate::support::fence(&remote).await;
    println!("ready");
    let asked = waiting.clone();
    let command = Bytes::from(command.clone());
    let (to, start) = (Subject::from(to.as_str()), inbox.len() + 1);
    tokio::spawn(async move {
        let mut number = 0;
        while let Some(question) = questions.next().await {
            number += 1;
            let Some(reply) = question.reply else {
                continue;
            };
            asked.lock().unwrap().insert(number, reply);
            let inbox = format!("{inbox}.{number}");
            let sent = remote.publish_with_reply(to.clone(), inbox, command.clone());
            sent.await.unwrap();
        }
    });
    while let Some(answer) = answers.next().await {
        let number = answer.subject[start..].parse().unwrap();
        let reply = waiting.lock().unwrap().remove(&number);
        let sent = home.publish(reply.unwrap(), answer.payload);
        sent.await.unwrap();
    }
    ExitCode::SUCCESS
}
