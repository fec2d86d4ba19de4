//! A NATS server that lets everybody in, and answers what a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const INFO: &[u8] =
    b"INFO {\"server_id\":\"x\",\"version\":\"2.10.0\",\"proto\":1,\"headers\":true,\
    \"max_payload\":67108864}\r\n";

/// What it sends when a message is published.
#[derive(Clone)]
pub enum Says {
    /// Nothing.
    Nothing,
    /// These replies.
    Replies(Vec<Arc<Vec<u8>>>),
    /// These bytes, in place of a reply.
    Raw(Vec<u8>),
    /// The first of these, and then the second again and again.
    WithoutEnd(Vec<u8>, Vec<u8>),
}

/// The server, which ends when this is dropped.
pub struct Hostile {
    address: String,
    accepting: JoinHandle<()>,
    /// How many connections have ended.
    ended: Arc<AtomicUsize>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Hostile {
    /// Starts one that says this of a message with this subject.
    pub async fn start(says: impl Fn(&str) -> Says + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (says, ended) = (Arc::new(says), Arc::new(AtomicUsize::new(0)));
        let count = ended.clone();
        let accepting = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (says, count) = (says.clone(), count.clone());
                talks.spawn(async move {
                    let _ = talk(stream, &*says).await;
                    count.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            address,
            accepting,
            ended,
        }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Returns how many connections have ended.
    pub fn ended(&self) -> usize {
        self.ended.load(Ordering::SeqCst)
    }
}

async fn talk(
    stream: TcpStream,
    says: &(dyn Fn(&str) -> Says + Send + Sync),
) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut read = BufReader::new(read);
    write.write_all(INFO).await?;
    let (mut line, mut inbox) = (String::new(), String::new());
    while read.read_line(&mut line).await? > 0 {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["PING"] => write.write_all(b"PONG\r\n").await?,
            // The other subscriptions are to events.
            ["SUB", subject, sid]
                if !subject.starts_with("wasmbus.") && subject.ends_with(".*") =>
            {
                inbox = (*sid).to_owned();
            }
            ["PUB" | "HPUB", subject, rest @ ..] => {
                let length: usize = rest.last().and_then(|last| last.parse().ok()).unwrap();
                let mut body = vec![0; length + 2];
                read.read_exact(&mut body).await?;
                say(&mut write, says(subject), rest[0], &inbox).await?;
            }
            _ => {}
        }
        line.clear();
    }
    Ok(())
}

async fn say(
    write: &mut OwnedWriteHalf,
    what: Says,
    reply: &str,
    inbox: &str,
) -> std::io::Result<()> {
    match what {
        Says::Nothing => Ok(()),
        Says::Replies(bodies) => {
            for body in bodies {
                let head = format!("MSG {reply} {inbox} {}\r\n", body.len());
                write.write_all(head.as_bytes()).await?;
                write.write_all(&body).await?;
                write.write_all(b"\r\n").await?;
            }
            Ok(())
        }
        Says::Raw(bytes) => write.write_all(&bytes).await,
        Says::WithoutEnd(first, then) => {
            write.write_all(&first).await?;
            loop {
                write.write_all(&then).await?;
            }
        }
    }
}
