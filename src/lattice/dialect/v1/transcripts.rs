//! What hosts 1.0.0 and 1.9.2 said, out of `tests/fixtures/real/`.

const PAGES: [&str; 4] = [
    include_str!("../../../../tests/fixtures/real/host-1.0.0.txt"),
    include_str!("../../../../tests/fixtures/real/host-1.9.2.txt"),
    include_str!("../../../../tests/fixtures/real/host-v1-extra.txt"),
    include_str!("../../../../tests/fixtures/real/host-1.9.2-provider.txt"),
];

/// A request to a host and its reply.
pub(super) struct Exchange {
    /// Which request it was, with its body.
    pub(super) request: String,
    /// The body of the reply.
    pub(super) reply: String,
}

/// Returns every request of 1.x whose reply is there as a whole. Long lines were cut.
pub(super) fn exchanges() -> Vec<Exchange> {
    let mut found = Vec::new();
    for page in PAGES {
        let mut request = "";
        for line in page.lines() {
            let reply = match line.trim_start().split_once("PING ") {
                Some((_, reply)) => {
                    request = "PING";
                    Some(reply.trim_end_matches(" None"))
                }
                None if line.trim_start().starts_with("=>") => line.find('{').map(|at| &line[at..]),
                None => {
                    if line.contains(" <-") {
                        request = line;
                    }
                    None
                }
            };
            let Some(reply) = reply.filter(|reply| reply.starts_with(r#"{"success""#)) else {
                continue;
            };
            if serde_json::from_str::<serde_json::Value>(reply).is_ok() {
                found.push(Exchange {
                    request: request.to_owned(),
                    reply: reply.to_owned(),
                });
            }
        }
    }
    assert!(found.len() > 60, "{}", found.len());
    found
}

/// Returns the kind and the data of every event that is there as a whole.
pub(super) fn events() -> Vec<(String, String)> {
    let of_line = |line: &str| {
        let (_, event) = line.split_once("EVENT wasmbus.evt.")?;
        let (subject, rest) = event.split_once(' ')?;
        let kind = subject.rsplit('.').next()?;
        let data = &rest[rest.find('{')?..];
        let whole = serde_json::from_str::<serde_json::Value>(data).is_ok();
        whole.then(|| (kind.to_owned(), data.to_owned()))
    };
    let found: Vec<_> = PAGES
        .iter()
        .flat_map(|page| page.lines())
        .filter_map(of_line)
        .collect();
    assert!(found.len() > 60, "{}", found.len());
    found
}
