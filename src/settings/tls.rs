//! Settings of TLS that contradict each other.

use crate::nats::Tls;
use crate::settings::reading::Reading;

/// Adds what the files lack together.
pub(super) fn contradictions(tls: &Tls, reading: &mut Reading) {
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => reading.mistake("tls_key_file", "it is missing: tls_cert_file needs it"),
        (None, Some(_)) => reading.mistake("tls_cert_file", "it is missing: tls_key_file needs it"),
        // What is wrong with one of them was said already.
        (Some(cert), Some(key)) if Tls::check_cert(cert).is_ok() && Tls::check_key(key).is_ok() => {
            if let Err(problem) = Tls::check_pair(cert, key) {
                reading.mistake("tls_key_file", problem);
            }
        }
        // Nothing would be shown to them.
        (None, None) if !tls.client_servers.is_empty() => reading.mistake(
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
        let read = ProviderSettings::parse(Some(&settings.to_string()));
        read.unwrap_err().to_string()
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
