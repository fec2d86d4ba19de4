//! A registry of images, as far as hosts ask it: plain HTTP, a login for what is under
//! `private/`, and no answer for what is under `silent/`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use data_encoding::{BASE64, HEXLOWER};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The login for what is under `private/`.
pub const USER: &str = "walker";
pub const PASSWORD: &str = "nowhere-else";

/// What it has: manifests and blobs by their paths.
type Stored = Arc<Mutex<HashMap<String, (&'static str, Vec<u8>)>>>;

/// A running registry. It ends when this is dropped.
pub struct Registry {
    /// Its name in references.
    pub address: String,
    stored: Stored,
    hung_up: CancellationToken,
    task: JoinHandle<()>,
}

impl Registry {
    /// Starts it without an image.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stored = Stored::default();
        let hung_up = CancellationToken::new();
        let task = tokio::spawn(serve(listener, stored.clone(), hung_up.clone()));
        Self {
            address,
            stored,
            hung_up,
            task,
        }
    }

    /// From now on, hangs up on who asks for what is under `silent/`.
    pub fn hang_up(&self) {
        self.hung_up.cancel();
    }

    /// Puts a component there, and returns its reference.
    pub fn push(&self, repository: &str, tag: &str, component: Vec<u8>) -> String {
        let blob = |kind, bytes: Vec<u8>| {
            let digest = format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(&bytes)));
            let described = json!({"mediaType": kind, "digest": digest, "size": bytes.len()});
            self.put(&format!("/v2/{repository}/blobs/{digest}"), kind, bytes);
            described
        };
        let config = json!({"architecture": "wasm", "os": "wasip2", "layerDigests": []});
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": blob(CONFIG, config.to_string().into_bytes()),
            "layers": [blob("application/wasm", component)],
        });
        let path = format!("/v2/{repository}/manifests/{tag}");
        self.put(&path, MANIFEST, manifest.to_string().into_bytes());
        format!("{}/{repository}:{tag}", self.address)
    }

    fn put(&self, path: &str, kind: &'static str, bytes: Vec<u8>) {
        let mut stored = self.stored.lock().unwrap();
        stored.insert(path.to_owned(), (kind, bytes));
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, stored: Stored, hung_up: CancellationToken) {
    while let Ok((client, _)) = listener.accept().await {
        let (stored, hung_up) = (stored.clone(), hung_up.clone());
        tokio::spawn(async move {
            // A host that hangs up is none of our business.
            let _ = answer_all(client, &stored, &hung_up).await;
        });
    }
}

/// Answers the requests of a connection, none of which has a body.
async fn answer_all(
    client: TcpStream,
    stored: &Stored,
    hung_up: &CancellationToken,
) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let (mut first, mut logged_in) = (String::new(), false);
        loop {
            let mut line = String::new();
            if client.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            match line.trim() {
                "" => break,
                text if first.is_empty() => first = text.to_owned(),
                text => logged_in |= is_login(text),
            }
        }
        let mut words = first.split(' ');
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        if path.starts_with("/v2/silent/") {
            hung_up.cancelled().await;
            return Ok(());
        }
        let (status, kind, bytes) = answer(path, logged_in, stored);
        let digest = HEXLOWER.encode(&Sha256::digest(&bytes));
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: sha256:{digest}\r\n\
             WWW-Authenticate: Basic realm=\"registry\"\r\n\r\n",
            bytes.len()
        );
        client.write_all(head.as_bytes()).await?;
        if method != "HEAD" {
            client.write_all(&bytes).await?;
        }
    }
}

fn is_login(header: &str) -> bool {
    let login = BASE64.encode(format!("{USER}:{PASSWORD}").as_bytes());
    let (name, value) = header.split_once(": ").unwrap_or_default();
    name.eq_ignore_ascii_case("authorization") && value == format!("Basic {login}")
}

fn answer(path: &str, logged_in: bool, stored: &Stored) -> (&'static str, &'static str, Vec<u8>) {
    let no = |status, code| {
        let error = json!({"errors": [{"code": code, "message": code}]});
        (status, "application/json", error.to_string().into_bytes())
    };
    if path == "/v2/" {
        return ("200 OK", "application/json", b"{}".to_vec());
    }
    if path.starts_with("/v2/private/") && !logged_in {
        return no("401 Unauthorized", "UNAUTHORIZED");
    }
    match stored.lock().unwrap().get(path) {
        Some((kind, bytes)) => ("200 OK", kind, bytes.clone()),
        None => no("404 Not Found", "NOT_FOUND"),
    }
}
