//! `config-schema.json` and the tables of settings in README.md are what
//! `src/settings/table.rs` says. After a change there,
//! `UPDATE=1 cargo test --locked --test suite settings_table::` writes them anew.

use lattice_controller::internals::settings::ProviderSettings;
use lattice_controller::internals::settings::table::{Kind, LINK, PROVIDER, Setting};
use serde_json::{Map, Value, json};

/// Compares a file with what it must be, or writes it.
fn check(file: &str, expected: impl FnOnce(&str) -> String) {
    let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = expected(&text);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, expected).unwrap();
    } else {
        assert_eq!(
            text, expected,
            "{file} is not what src/settings/table.rs says: run \
             `UPDATE=1 cargo test --locked --test suite settings_table::`"
        );
    }
}

/// The value of a setting that is not set, in the form of its kind.
fn default(setting: &Setting) -> Option<Value> {
    match setting.kind {
        _ if !setting.otherwise.is_empty() => None,
        Kind::Time { default, .. } | Kind::Number { default, .. } => default.map(Value::from),
        Kind::Words([(word, _), ..]) => Some((*word).into()),
        Kind::Urls { default } => Some(default.into()),
        _ => None,
    }
}

fn row(setting: &Setting) -> String {
    let default = match default(setting) {
        Some(Value::String(word)) => format!("`{word}`"),
        Some(number) => format!("`{number}`"),
        None => setting.otherwise.to_owned(),
    };
    assert!(!default.is_empty(), "{} has no default", setting.key);
    format!(
        "| `{}` | {} | {default} | `{}` | {} |\n",
        setting.key, setting.unit, setting.example, setting.meaning
    )
}

/// Returns `readme` with the first table under a heading made anew.
fn with_table(readme: &str, heading: &str, settings: &[Setting]) -> String {
    const HEAD: &str =
        "| key | unit | default | example | meaning |\n| --- | --- | --- | --- | --- |\n";
    let section = readme.find(&format!("\n## {heading}\n")).unwrap();
    let start = section + readme[section..].find("\n| ").unwrap() + 1;
    let end = start + readme[start..].find("\n\n").unwrap() + 1;
    let rows: String = settings.iter().map(row).collect();
    format!("{}{HEAD}{rows}{}", &readme[..start], &readme[end..])
}

#[test]
fn the_readme_has_the_settings_of_the_table() {
    check("README.md", |readme| {
        let readme = with_table(readme, "Settings of the provider", &PROVIDER);
        with_table(&readme, "Settings of a link", &LINK)
    });
}

/// Returns a meaning as a sentence without Markdown.
fn sentence(setting: &Setting) -> String {
    let mut plain = String::new();
    let mut rest = setting.meaning;
    while let Some((before, link)) = rest.split_once('[') {
        let (text, after) = link.split_once("](").unwrap();
        plain.extend([before, text]);
        rest = after.split_once(')').unwrap().1;
    }
    let plain = (plain + rest).replace('`', "");
    let (first, others) = plain.split_at(1);
    let otherwise = match setting.otherwise {
        "" => String::new(),
        otherwise => format!(" Without it: {}.", otherwise.replace('`', "")),
    };
    format!("{}{others}.{otherwise}", first.to_uppercase())
}

fn properties(settings: &[Setting], describe: fn(&Setting) -> Value) -> Map<String, Value> {
    let property = |setting: &Setting| {
        let mut property = describe(setting);
        property["description"] = sentence(setting).into();
        (setting.key.to_owned(), property)
    };
    settings.iter().map(property).collect()
}

/// The values of a link are texts.
fn of_link(setting: &Setting) -> Value {
    match setting.kind {
        Kind::Time { .. } => json!({ "type": "string", "pattern": "^[0-9]*$" }),
        _ => json!({ "type": "string" }),
    }
}

fn of_provider(setting: &Setting) -> Value {
    let mut property = match setting.kind {
        Kind::Time { range, .. } | Kind::Number { range, .. } => {
            json!({ "type": "integer", "minimum": range.0, "maximum": range.1 })
        }
        Kind::Words(words) => {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            json!({ "enum": words })
        }
        Kind::Lattices | Kind::Operations | Kind::Servers(_) => {
            json!({ "type": ["string", "array"], "items": { "type": "string" }, "minItems": 1 })
        }
        Kind::Seed => json!({ "type": "string", "pattern": "^SX[A-Z2-7]+$" }),
        Kind::Ids => {
            let id = json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]{1,128}$" });
            json!({ "type": "object", "additionalProperties": id })
        }
        Kind::File { .. } | Kind::Urls { .. } => json!({ "type": "string" }),
    };
    if let Some(default) = default(setting) {
        property["default"] = default;
    }
    property
}

#[test]
fn the_schema_has_the_settings_of_the_table() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of a link to the lattice controller",
        "description": "Everything is optional; without any, the actor may do everything, \
                        unless the provider has other defaults.",
        "type": "object",
        "additionalProperties": false,
        "properties": properties(&LINK, of_link),
        "$defs": {
            "settings": {
                "title": "Configuration of the provider, as it is started with",
                "type": "object",
                "additionalProperties": false,
                "properties": properties(&PROVIDER, of_provider),
            },
        },
    });
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    check("config-schema.json", |_| text);
}

#[test]
fn numbers_are_taken_within_their_range_and_words_as_they_are_listed() {
    let takes = |key: &str, value: Value| {
        // No part is more than its whole.
        let mut text = json!({ "max_lattices": 100_000, "max_credentials_bytes": 1 << 30 });
        text[key] = value;
        ProviderSettings::parse(Some(&text.to_string())).is_ok()
    };
    let mut ranges = 0;
    for setting in &PROVIDER {
        let key = setting.key;
        match setting.kind {
            Kind::Time { range, .. } | Kind::Number { range, .. } => {
                let (least, most) = (range.0 as i64, range.1 as i64);
                assert!(takes(key, least.into()) && takes(key, most.into()), "{key}");
                for wrong in [
                    json!(least - 1),
                    json!(most + 1),
                    json!("200"),
                    json!(200.5),
                ] {
                    assert!(!takes(key, wrong), "{key}");
                }
                ranges += 1;
            }
            Kind::Words(words) => {
                assert!(words.iter().all(|(word, _)| takes(key, (*word).into())));
                assert!(
                    !takes(key, "Auto".into()) && !takes(key, Value::Null),
                    "{key}"
                );
            }
            _ => assert!(!takes(key, json!(7)), "{key}"),
        }
    }
    assert_eq!(ranges, 17);
}
