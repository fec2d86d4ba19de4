//! Settings of TLS.

use std::path::PathBuf;

use serde_json::Value;

use crate::nats::Tls;
use crate::settings::Mistakes;
use crate::settings::servers::servers;

/// Every key that [`take`] knows.
pub(super) const KEYS: [&str; 5] = [
    "tls_ca_file",
    "tls_cert_file",
    "tls_client_servers",
    "tls_first_servers",
    "tls_key_file",
];

/// Longest path.
const MAX_PATH: usize = 1024;

/// Takes what stands under `key`, one of [`KEYS`]; checks files.
pub(super) fn take(tls: &mut Tls, key: &str, value: &Value, mistakes: &mut Mistakes) {
    let list = match key {
        "tls_client_servers" => &mut tls.client_servers,
        "tls_first_servers" => &mut tls.first_servers,
        _ => return take_file(tls, key, value, mistakes),
    };
    match servers(value) {
        Ok(servers) => *list = servers,
        Err(problems) => problems.iter().for_each(|it| mistakes.add(key, it)),
    }
}

fn take_file(tls: &mut Tls, key: &str, value: &Value, mistakes: &mut Mistakes) {
    let (file, check): (_, fn(&std::path::Path) -> _) = match key {
        "tls_ca_file" => (&mut tls.ca_file, Tls::check_ca),
        "tls_cert_file" => (&mut tls.cert_file, Tls::check_cert),
        "tls_key_file" => (&mut tls.key_file, Tls::check_key),
        _ => return mistakes.unknown(key, &KEYS),
    };
    let Some(path) = value.as_str().filter(|path| !path.trim().is_empty()) else {
        return mistakes.add(key, "it must be the path of a file");
    };
    // Messages show paths, and what is in such a file may be a key.
    if path.len() > MAX_PATH || path.contains(char::is_control) || path.contains("-----") {
        return mistakes.add(key, "it must be the path of a file, not what is in it");
    }
    let path = PathBuf::from(path);
    if let Err(problem) = check(&path) {
        mistakes.add(key, &problem);
    }
    *file = Some(path);
}

/// Adds what the files lack together.
pub(super) fn contradictions(tls: &Tls, mistakes: &mut Mistakes) {
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => mistakes.add("tls_key_file", "it is missing: tls_cert_file needs it"),
        (None, Some(_)) => mistakes.add("tls_cert_file", "it is missing: tls_key_file needs it"),
        // What is wrong with one of them was said already.
        (Some(cert), Some(key)) if Tls::check_cert(cert).is_ok() && Tls::check_key(key).is_ok() => {
            if let Err(problem) = Tls::check_pair(cert, key) {
                mistakes.add("tls_key_file", &problem);
            }
        }
        // Nothing would be shown to them.
        (None, None) if !tls.client_servers.is_empty() => mistakes.add(
            "tls_cert_file",
            "it is missing: tls_client_servers needs it, and its key",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use serde_json::json;

    use crate::settings::ProviderSettings;

    fn problem(settings: &serde_json::Value) -> String {
        ProviderSettings::parse(Some(&settings.to_string())).unwrap_err()
    }

    #[test]
    fn files_that_cannot_be_used_are_mistakes_with_their_paths_and_without_their_text() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = || {
            let CertifiedKey { cert, signing_key } = generate_simple_self_signed([]).unwrap();
            (cert.pem(), signing_key.serialize_pem())
        };
        let (cert_pem, key_pem) = pair();
        let (cert, key) = (file("cert", &cert_pem), file("key", &key_pem));
        let of_other = file("other", &pair().1);
        let broken = file("broken", &key_pem.replace("-----END", "-----"));
        let no_ca = file(
            "no-ca",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        );
        for (settings, expected) in [
            (
                json!({ "tls_ca_file": "/nowhere/ca.pem", "tls_cert_file": dir.path(),
                        "tls_key_file": cert, "max_calls": 0 }),
                vec![
                    "tls_ca_file: /nowhere/ca.pem cannot be read: No such file",
                    "tls_cert_file: ",
                    "tls_key_file: ",
                    "cert holds no key in PEM",
                    "max_calls",
                ],
            ),
            (
                json!({ "tls_ca_file": key, "tls_key_file": broken }),
                vec![
                    "key holds no certificate in PEM",
                    "broken cannot be read: it is not PEM",
                    "tls_cert_file: it is missing: tls_key_file needs it",
                ],
            ),
            (
                json!({ "tls_ca_file": no_ca, "tls_cert_file": cert }),
                vec![
                    "no-ca holds no CA that can be used",
                    "tls_key_file: it is missing: tls_cert_file needs it",
                ],
            ),
            (
                json!({ "tls_ca_file": " ", "tls_cert_file": 1, "tls_key_file": key_pem }),
                vec![
                    "tls_ca_file: it must be the path of a file",
                    "tls_key_file: it must be the path of a file, not what is in it",
                    "tls_cert_file: it must be the path of a file",
                ],
            ),
            (
                json!({ "tls_cert_file": cert, "tls_key_file": of_other }),
                vec![
                    "tls_key_file: ",
                    "other does not hold the key of the certificate",
                ],
            ),
            (
                json!({ "tls_client_servers": ["a", "http://b"], "tls_first_servers": [] }),
                vec![
                    "tls_client_servers: entry 2: ",
                    "tls_first_servers: it has no entry",
                ],
            ),
            (
                json!({ "tls_client_servers": "*.example.com" }),
                vec!["tls_cert_file: it is missing: tls_client_servers needs it"],
            ),
        ] {
            let problem = problem(&settings);
            for part in expected {
                assert!(problem.contains(part), "no {part:?} in {problem}");
            }
            for line in key_pem.lines() {
                assert!(!problem.contains(line), "{problem}");
            }
        }
        let good = json!({ "tls_ca_file": cert, "tls_cert_file": cert, "tls_key_file": key });
        let settings = ProviderSettings::parse(Some(&good.to_string())).unwrap();
        assert_eq!(settings.tls.key_file.as_deref(), Some(key.as_path()));
    }

    #[test]
    fn tls_is_read_beside_mistakes() {
        let settings = json!({ "tls_ca_file": "/nowhere", "tls_first_servers": "h", "x": 1,
                               "max_calls": 0 });
        for settings in [settings.to_string(), format!("\u{feff}{settings}")] {
            let tls = ProviderSettings::tls_at_least(Some(&settings));
            assert_eq!(tls.ca_file.as_deref(), Some("/nowhere".as_ref()));
            let h = crate::nats::Access::parse("h", crate::nats::Login::Anonymous).unwrap();
            assert!(tls.is_first(&h.servers()[0]));
        }
    }
}
