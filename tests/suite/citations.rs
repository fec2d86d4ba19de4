//! The facts about hosts that the code rests on are in the repository. Every
//! citation leads to a heading of `docs/hosts.md` or `docs/wasmbus.md`, and
//! every quirk of hosts has a test that holds it and code that needs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folders that may cite these pages.
const FOLDERS: [&str; 6] = ["src", "tests", "benches", "examples", "fuzz", "tools"];
/// The folders whose tests may hold a quirk.
const WITH_TESTS: [&str; 2] = ["src", "tests"];
/// The fields of a quirk, in this order.
const FIELDS: [&str; 4] = ["Versions", "Seen", "What we do", "Held by"];
/// The pages that are cited by their headings.
const PAGES: [&str; 2] = ["docs/hosts.md", "docs/wasmbus.md"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the path and text of every Rust file of these folders, without this
/// file, which names what must not be there.
fn rust_files(folders: &[&str]) -> Vec<(PathBuf, String)> {
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            match path.is_dir() {
                true if name != "target" => open.push(path),
                false if name.ends_with(".rs") && name != "citations.rs" => {
                    let text = read(&path);
                    files.push((path, text));
                }
                _ => {}
            }
        }
    }
    assert!(files.len() > 100, "{}", files.len());
    files
}

/// Returns what follows each `mark` in a text, as far as it consists of these
/// characters.
fn after(text: &str, mark: &str, may_have: impl Fn(char) -> bool + Copy) -> Vec<String> {
    let found = text.split(mark).skip(1);
    found
        .map(|rest| rest.chars().take_while(|c| may_have(*c)).collect())
        .collect()
}

fn is_of_anchor(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_')
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Returns the anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A quirk: its name, and what stands below its heading.
struct Quirk {
    name: String,
    text: String,
}

impl Quirk {
    /// Returns its fields as names and values.
    fn fields(&self) -> Vec<(String, String)> {
        let fields = self.text.split("\n- **").skip(1);
        let field = |field: &str| {
            let (name, value) = field.split_once(":**").unwrap_or((field, ""));
            (name.to_owned(), value.trim().to_owned())
        };
        fields.map(field).collect()
    }
}

/// Returns every quirk of the page, which are the headings of the fourth level.
fn quirks() -> Vec<Quirk> {
    let page = read(&root().join("docs/hosts.md"));
    let (_, quirks) = page.split_once("\n## Quirks\n").expect("a section Quirks");
    let quirks = quirks.split("\n## ").next().unwrap();
    let quirk = |part: &str| {
        let (heading, text) = part.split_once('\n').unwrap_or((part, ""));
        let name = heading
            .strip_prefix('`')
            .and_then(|name| name.strip_suffix('`'));
        Quirk {
            name: name.unwrap_or_else(|| panic!("{heading}")).to_owned(),
            text: text.split("\n### ").next().unwrap().to_owned(),
        }
    };
    let quirks: Vec<_> = quirks.split("\n#### ").skip(1).map(quirk).collect();
    assert!(quirks.len() > 30, "{}", quirks.len());
    quirks
}

/// Returns the names of all tests: functions with the attribute of a test, and
/// those that a macro makes tests of.
fn tests() -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for (_, text) in rust_files(&WITH_TESTS) {
        for mark in ["#[test]", "#[tokio::test"] {
            for part in text.split(mark).skip(1) {
                let (_, rest) = part.split_once("fn ").unwrap_or_default();
                tests.insert(rest.chars().take_while(|c| is_of_name(*c)).collect());
            }
        }
        // `macro_rules! name` with a test in it, and `name! { one two }`.
        for name in after(&text, "macro_rules! ", is_of_name) {
            if !text.contains("async fn $") {
                continue;
            }
            for part in text.split(&format!("\n{name}! {{")).skip(1) {
                let names = part.split('}').next().unwrap().split_whitespace();
                tests.extend(names.map(str::to_owned));
            }
        }
    }
    tests
}

#[test]
fn every_citation_leads_to_a_heading() {
    let mut cited = 0;
    for page in PAGES {
        let text = read(&root().join(page));
        let headings = text.lines().filter(|line| line.starts_with('#'));
        let anchors: BTreeSet<String> = headings.map(anchor).collect();
        for (path, text) in rust_files(&FOLDERS) {
            for place in after(&text, &format!("{page}#"), is_of_anchor) {
                let path = path.display();
                assert!(anchors.contains(&place), "{path}: {page}#{place}");
                cited += 1;
            }
        }
    }
    assert!(cited > 50, "{cited}");
}

#[test]
fn nothing_is_cited_that_a_clone_does_not_have() {
    for (path, text) in rust_files(&FOLDERS) {
        for (number, line) in text.lines().enumerate() {
            let place = format!("{}:{}: {line}", path.display(), number + 1);
            let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
            let is_number = |word: &str| {
                let digits = word.strip_prefix('T').unwrap_or_default();
                matches!(digits.len(), 1..=2) && digits.bytes().all(|b| b.is_ascii_digit())
            };
            assert!(!words.any(is_number), "a number of a trap: {place}");
            let lower = line.to_lowercase();
            for gone in ["wasmbus-abi", "reference, section", "control-interface ref"] {
                assert!(!lower.contains(gone), "{gone}: {place}");
            }
        }
    }
}

#[test]
fn every_quirk_says_what_it_is_and_which_tests_hold_it() {
    let tests = tests();
    for quirk in quirks() {
        let name = &quirk.name;
        let is_slug = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(name.chars().all(is_slug) && name.contains('-'), "{name}");
        let fields = quirk.fields();
        let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, FIELDS, "{name}");
        assert!(fields.iter().all(|(_, value)| !value.is_empty()), "{name}");
        let mut held_by = 0;
        for test in fields[3].1.split('`').skip(1).step_by(2) {
            assert!(tests.contains(test), "{name}: no test {test}");
            held_by += 1;
        }
        assert!(held_by > 0, "{name}");
    }
}

#[test]
fn every_quirk_is_needed() {
    let files = rust_files(&FOLDERS);
    let cited: BTreeSet<String> = files
        .iter()
        .flat_map(|(_, text)| after(text, "docs/hosts.md#", is_of_anchor))
        .collect();
    let mut names = BTreeSet::new();
    for quirk in quirks() {
        assert!(cited.contains(&quirk.name), "nothing cites {}", quirk.name);
        assert!(names.insert(quirk.name.clone()), "{} twice", quirk.name);
    }
}
