//! An actor sets the URL of something that is no NATS server, or that says more
//! than one would. The actor does not get to read its words, and its words
//! cannot forge lines of our log.

use crate::support::eventually;
use crate::support::nats::NatsServer;
use crate::support::time::assert_under;
use crate::support::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const INFO: &str = r#"INFO {"server_id":"x","version":"2.10.0","proto":1,"max_payload":1000}"#;

/// A listening socket, which is closed when this is dropped.
pub struct Listener {
    pub address: String,
    accepting: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Starts a server that sends this to every connection, and then reads until
/// the connection ends.
pub async fn saying(words: Vec<u8>) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepting = tokio::spawn(async move {
        let mut talks = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let words = words.clone();
            talks.spawn(async move {
                let _ = stream.write_all(&words).await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    Listener { address, accepting }
}

/// Returns 1 MB that would be a red line of its own if it were shown as it is.
fn flood() -> String {
    let line = "\n\x1b[31m2026-01-01T00:00:00Z ERROR lattice_controller: forged\x1b[0m";
    line.repeat(1_000_000 / line.len())
}

/// Returns what the actor is told by a query and by a command.
async fn told(world: &World, lattice: &str) -> [String; 2] {
    [
        world.hosts(lattice).await.unwrap_err(),
        world.order_refused(lattice).await,
    ]
}

/// Asserts that the log has no line and no control character from elsewhere.
fn is_ours(log: &str) {
    for line in log.lines() {
        assert!(line.len() < 2_000, "{} bytes: {:.100}", line.len(), line);
        let shown: String = line.chars().take(200).collect();
        assert!(!line.contains(char::is_control), "{shown:?}");
        assert!(!line.starts_with("2026-01-01"), "{shown:?}");
    }
}

#[tokio::test]
async fn what_is_no_nats_server_is_not_shown_to_actors() {
    const FIXED: &str = "(what answers there is no NATS server)";
    let world = World::start().await;
    for (number, words) in [
        "SSH-2.0-x\r\n".to_owned(),
        format!("SSH-2.0-x{}\r\n", flood()),
        format!(
            "INFO {{\"server_id\":[\"SSH{}\"]}}\r\n",
            "x".repeat(100_000)
        ),
        "INFO SSH\r\n".to_owned(),
        // What a NATS server would say later.
        "-ERR 'authorization violation SSH'\r\n".to_owned(),
        format!("-ERR '{}SSH'\r\n", flood()),
        "220 SSH ESMTP\r\n".to_owned(),
        "-ERR\r\n".to_owned(),
        format!("{INFO}\r\nSSH-2.0-x{}\r\n", flood()),
    ]
    .into_iter()
    .enumerate()
    {
        let stranger = saying(words.into_bytes()).await;
        for scheme in ["nats", "ws"] {
            let lattice = format!("{scheme}{number}");
            let url = format!("{scheme}://{}", stranger.address);
            world.set_lattice(&lattice, &url).await;
            for error in told(&world, &lattice).await {
                assert!(error.contains("no connection to"), "{error:.300}");
                assert!(error.contains(FIXED), "{url} {number}: {error:.300}");
                assert!(!error.contains("SSH"), "{error:.300}");
                assert!(error.len() < 400, "{} bytes", error.len());
            }
        }
    }
    world.provider.logged("SSH-2.0-x").await;
    let log = world.provider.log();
    is_ours(&log);
    // The log tells the operator what was heard.
    let warned = |line: &&str| line.contains(FIXED.trim_matches(['(', ')']));
    let lines: Vec<&str> = log.lines().filter(warned).collect();
    let heard = |line: &&&str| line.contains(" WARN ") && line.contains("heard=");
    assert!(
        lines
            .iter()
            .any(|line| heard(&line) && line.contains("SSH-2.0-x"))
    );
}

#[tokio::test]
async fn many_callers_are_one_line_in_the_log() {
    let world = World::start().await;
    let stranger = saying(format!("SSH-2.0-x{}\r\n", flood()).into_bytes()).await;
    world
        .set_lattice("x", &format!("nats://{}", stranger.address))
        .await;
    let calls = (0..50).map(|_| world.hosts("x"));
    for answer in futures::future::join_all(calls).await {
        assert!(answer.unwrap_err().len() < 400);
    }
    world.provider.logged("heard=").await;
    let log = world.provider.log();
    let warned = log.lines().filter(|line| line.contains("heard=")).count();
    assert_eq!(warned, 1);
    is_ours(&log);
}

#[tokio::test]
async fn words_of_a_nats_server_are_quoted_and_cut() {
    let world = World::start().await;
    let flood = flood().replace('\n', "\u{2028}\u{85}\u{1b}");
    for (lattice, rejected) in [("x", "Authorization Violation, really"), ("y", "no")] {
        let server = saying(format!("{INFO}\r\n-ERR '{rejected}{flood}'\r\n").into_bytes()).await;
        world
            .set_lattice(lattice, &format!("nats://{}", server.address))
            .await;
        for error in told(&world, lattice).await {
            assert!(error.contains(&format!("(\"{rejected}")), "{error:.300}");
            assert!(error.contains("\\u{1b}"), "{error:.300}");
            assert!(
                !error.contains(['\u{1b}', '\u{2028}', '\u{85}']),
                "{error:.300}"
            );
            assert!(error.len() < 600, "{} bytes", error.len());
        }
    }
    is_ours(&world.provider.log());
}

#[tokio::test]
async fn a_real_server_is_still_heard() {
    let server = NatsServer::with_config_without_jetstream("max_connections: 1");
    let _other = server.client().await;
    let world = World::start().await;
    world.set_lattice("x", &server.url()).await;
    eventually("its words", || async {
        let error = world.hosts("x").await.err()?;
        error
            .contains("(\"maximum connections exceeded\")")
            .then_some(())
    })
    .await;
}

/// Starts a NATS server that lets everybody in, and sends this when somebody
/// publishes.
async fn saying_when_asked(words: &'static str) -> Listener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let accepting = tokio::spawn(async move {
        let mut talks = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            talks.spawn(async move {
                let _ = stream.write_all(format!("{INFO}\r\n").as_bytes()).await;
                let mut heard = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = stream.read(&mut heard).await {
                    let heard = String::from_utf8_lossy(&heard[..count]);
                    let words = match (heard.contains("PUB "), heard.contains("PING")) {
                        (true, _) => words,
                        (false, true) => "PONG\r\n",
                        _ => continue,
                    };
                    let _ = stream.write_all(words.as_bytes()).await;
                }
            });
        }
    });
    Listener { address, accepting }
}

#[tokio::test]
async fn a_call_ends_at_once_when_the_task_of_its_connection_dies() {
    let world = World::start().await;
    // async-nats panics on an error without a text.
    for words in ["-ERR\r\n", "MSG nonsense\r\n"] {
        let server = saying_when_asked(words).await;
        let url = format!("nats://{}", server.address);
        world.set_lattice("x", &url).await;
        let started = std::time::Instant::now();
        let error = world.hosts("x").await.unwrap_err();
        // It may have died before the call, as it was made when the credentials were set.
        let is_told = error.contains("it broke") || error.contains("is closed");
        assert!(is_told, "{error}");
        assert_under(std::time::Duration::from_secs(1), started.elapsed());
    }
}
