//! A registry of component images, which can be read by plain HTTP.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use data_encoding::HEXLOWER;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Its content by path, each with its media type.
type Content = Arc<Mutex<HashMap<String, (&'static str, Vec<u8>)>>>;

/// The registry, which ends when this is dropped.
pub struct Registry {
    /// Its host and port, with which references begin.
    pub address: String,
    content: Content,
    serving: JoinHandle<()>,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Registry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let content = Content::default();
        let served = content.clone();
        let serving = tokio::spawn(async move {
            let mut talks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                talks.spawn(async move { serve(stream, &served).await.ok() });
            }
        });
        Self {
            address,
            content,
            serving,
        }
    }

    /// Keeps a component under a name and a tag.
    pub fn keep(&self, name: &str, tag: &str, component: Vec<u8>) {
        let mut content = self.content.lock().unwrap();
        let mut blob = |media_type: &'static str, bytes: Vec<u8>| {
            let digest = digest(&bytes);
            let of = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
            content.insert(format!("/v2/{name}/blobs/{digest}"), (media_type, bytes));
            of
        };
        let config = blob("application/vnd.wasm.config.v0+json", b"{}".to_vec());
        let layer = blob("application/wasm", component);
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": [layer] });
        let path = format!("/v2/{name}/manifests/{tag}");
        content.insert(path, (MANIFEST, manifest.to_string().into_bytes()));
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(bytes)))
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, content: &Content) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut request, mut line) = (String::new(), String::new());
        while stream.read_line(&mut line).await? > 2 {
            request = if request.is_empty() {
                line.clone()
            } else {
                request
            };
            line.clear();
        }
        let mut words = request.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Ok(());
        };
        let found = match path {
            "/v2/" => Some(("application/json", b"{}".to_vec())),
            path => content.lock().unwrap().get(path).cloned(),
        };
        let status = if found.is_some() {
            "200 OK"
        } else {
            "404 Not Found"
        };
        let (media_type, body) = found.unwrap_or_default();
        let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        let digest = digest(&body);
        let _ = write!(
            head,
            "Content-Type: {media_type}\r\nDocker-Content-Digest: {digest}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        if method != "HEAD" {
            stream.write_all(&body).await?;
        }
    }
}
