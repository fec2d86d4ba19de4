//! Each room of `src/` imports only from rooms that it may know, and no import
//! goes in a circle, neither between rooms nor between the files of a room.
//!
//! The test reads `use` declarations and paths in code, and skips what is
//! compiled for unit tests only. A re-exported name counts as the file that
//! defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms, each with the rooms below it that it may know beside [`BASE`].
/// `main.rs` puts them together and may know all of them.
const ROOMS: [(&str, &[&str]); 9] = [
    ("front", &["serve", "contract", "settings", "nats"]),
    (
        "controller",
        &[
            "contract",
            "serve",
            "credentials",
            "connections",
            "lattice",
            "settings",
            "nats",
        ],
    ),
    (
        "lattice",
        &["connections", "credentials", "settings", "nats"],
    ),
    ("connections", &["credentials", "settings", "nats"]),
    ("credentials", &["settings", "nats"]),
    ("serve", &["contract", "settings", "nats"]),
    ("settings", &["contract", "nats"]),
    ("nats", &[]),
    ("contract", &[]),
];

/// Rooms that all of [`ROOMS`] may know, and what each of these may know.
const BASE: [(&str, &[&str]); 10] = [
    ("telemetry", &["error", "name", "lock"]),
    ("metadata_bucket", &["name"]),
    ("name", &["error"]),
    ("error", &[]),
    ("json", &[]),
    ("deadline", &[]),
    ("backoff", &[]),
    ("lock", &[]),
    ("shares", &["lock"]),
    ("fair", &["lock", "shares"]),
];

/// What `connections` and `lattice` know of `credentials`: values that they are
/// given, and nothing of which lattice has which.
const VALUES: [&str; 4] = [
    "src/credentials/value.rs",
    "src/credentials/fingerprint.rs",
    "src/credentials/shared.rs",
    "src/credentials/route.rs",
];

/// The most lines of a file.
const MOST_LINES: usize = 500;

/// A module path below the crate: `["lattice", "ops"]`.
type Module = Vec<String>;

/// A file of `src/`.
struct File {
    path: String,
    /// Modules that it declares.
    children: BTreeSet<String>,
    /// Paths that its code names, with the line of each.
    named: Vec<(usize, Module)>,
    /// Names that it re-exports, and what they stand for.
    exports: BTreeMap<String, Module>,
}

/// An import of one file by another, and the place of it.
struct Import {
    from: Module,
    to: Module,
    place: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the Rust files below a folder, as paths from the root.
fn files_below(folder: &str) -> Vec<String> {
    let (mut folders, mut files) = (vec![root().join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let path = path.strip_prefix(root()).unwrap();
                files.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// Returns the module that a file of `src/` holds; the crate itself for `lib.rs`.
fn module_of(path: &str) -> Module {
    let path = Path::new(path).strip_prefix("src").unwrap();
    let mut parts: Module = path.with_extension("").iter().map(text).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib")) {
        parts.pop();
    }
    parts
}

fn text(part: &std::ffi::OsStr) -> String {
    part.to_str().unwrap().to_owned()
}

/// Returns the lines of a file without comments. Lines of items for unit tests
/// are empty. This relies on the layout of rustfmt, where an item ends at its
/// own indentation.
fn code_of(text: &str) -> Vec<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut test_item: Option<usize> = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap().trim_end();
        // A visibility is no import.
        let line = line.replace("pub(in crate::", "pub(in ");
        let line = line.as_str();
        if test_item.is_none() && line.trim_start().starts_with("#[cfg(test)]") {
            test_item = Some(indent(line));
            lines.push(String::new());
            continue;
        }
        let Some(outer) = test_item else {
            lines.push(line.to_owned());
            continue;
        };
        // Other attributes may stand between `cfg` and its item.
        let ends = line.ends_with([';', '}', ',']) && !line.trim_start().starts_with('#');
        if ends && indent(line) == outer {
            test_item = None;
        }
        lines.push(String::new());
    }
    lines
}

/// Returns the paths of a `use` tree, each with the name that it gets: `a::{b,
/// c::d as e}` has `a::b` and `a::c::d`.
fn paths_of(tree: &str, before: &[String]) -> Vec<(Module, String)> {
    let tree = tree.trim();
    if let Some(inner) = tree
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
    {
        let (mut paths, mut depth, mut start) = (Vec::new(), 0, 0);
        for (at, c) in inner.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    paths.extend(paths_of(&inner[start..at], before));
                    start = at + 1;
                }
                _ => {}
            }
        }
        paths.extend(paths_of(&inner[start..], before));
        return paths;
    }
    if tree.is_empty() {
        return Vec::new();
    }
    if let Some((head, rest)) = tree.split_once("::") {
        let mut before = before.to_vec();
        before.push(head.trim().to_owned());
        return paths_of(rest, &before);
    }
    let (last, name) = tree.split_once(" as ").unwrap_or((tree, tree));
    let mut path = before.to_vec();
    if last != "self" || path.is_empty() {
        path.push(last.to_owned());
    }
    let name = match name {
        "self" => path.last().unwrap().clone(),
        name => name.to_owned(),
    };
    vec![(path, name)]
}

/// Returns a path as one from the root of the crate, or `None` where it leads
/// to another crate.
fn absolute(path: &[String], module: &Module, children: &BTreeSet<String>) -> Option<Module> {
    let mut base = module.clone();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while rest.first().is_some_and(|part| part == "super") {
                base.pop();
                rest = &rest[1..];
            }
        }
        child if children.contains(child) => {}
        _ => return None,
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Returns the modules that a file declares.
fn children_of(code: &[String]) -> BTreeSet<String> {
    let declared = code.iter().filter_map(|line| {
        let (_, name) = line.strip_suffix(';')?.split_once("mod ")?;
        let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
        is_name.then(|| name.to_owned())
    });
    declared.collect()
}

fn parse(path: &str) -> File {
    let (code, module) = (code_of(&read(path)), module_of(path));
    let children = children_of(&code);
    let (mut named, mut exports) = (Vec::new(), BTreeMap::new());
    let mut number = 0;
    while number < code.len() {
        let (first, line) = (number, &code[number]);
        number += 1;
        let start = line.trim_start();
        let (public, used) = match start.split_once("use ") {
            Some(("", used)) => (false, used),
            Some((before, used)) if before.starts_with("pub") => (true, used),
            _ => {
                for path in inline_paths(line) {
                    named.extend(absolute(&path, &module, &children).map(|to| (first + 1, to)));
                }
                continue;
            }
        };
        let mut tree = used.to_owned();
        while !tree.ends_with(';') {
            tree.push_str(code[number].trim());
            number += 1;
        }
        for (path, name) in paths_of(tree.trim_end_matches(';'), &[]) {
            let Some(to) = absolute(&path, &module, &children) else {
                continue;
            };
            match public {
                true => drop(exports.insert(name, to)),
                false => named.push((first + 1, to)),
            }
        }
    }
    File {
        path: path.to_owned(),
        children,
        named,
        exports,
    }
}

/// Returns the paths that a line of code names, outside of `use`.
fn inline_paths(line: &str) -> Vec<Module> {
    let is_of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let words = line.split(|c| !is_of_path(c));
    let paths = words.filter(|word| word.contains("::") && !word.starts_with("::"));
    let parts = |path: &str| path.split("::").map(str::to_owned).collect::<Module>();
    paths
        .map(parts)
        .map(|path| path.into_iter().filter(|part| !part.is_empty()).collect())
        .collect()
}

/// Returns the module of the file that defines what a path names.
fn home_of(files: &BTreeMap<Module, File>, path: &Module) -> Option<Module> {
    // A re-export may lead to another one.
    let mut path = path.clone();
    for _ in 0..10 {
        let known = |length: &usize| files.contains_key(&path[..*length]);
        let length = (0..=path.len()).rev().find(known)?;
        let (module, rest) = path.split_at(length);
        let exported = rest
            .first()
            .and_then(|name| files[module].exports.get(name));
        match exported {
            Some(to) => path = to.iter().chain(&rest[1..]).cloned().collect(),
            None => return Some(module.to_vec()),
        }
    }
    None
}

/// Reads the files of `src/` and what each imports.
fn imports() -> (BTreeMap<Module, File>, Vec<Import>) {
    let paths = files_below("src");
    let mut files: BTreeMap<Module, File> = paths
        .iter()
        .filter(|path| *path != "src/main.rs")
        .map(|path| (module_of(path), parse(path)))
        .collect();
    // Files of unit tests are declared only for those.
    let declared: BTreeSet<Module> = files
        .iter()
        .flat_map(|(module, file)| {
            let below = |child: &String| module.iter().chain([child]).cloned().collect();
            file.children.iter().map(below)
        })
        .collect();
    files.retain(|module, _| module.is_empty() || declared.contains(module));
    let mut imports = Vec::new();
    for (from, file) in &files {
        for (line, path) in &file.named {
            let to = home_of(&files, path).unwrap();
            if to != *from {
                imports.push(Import {
                    from: from.clone(),
                    to,
                    place: format!("{}:{line}", file.path),
                });
            }
        }
    }
    assert!(files.len() > 50 && imports.len() > 100, "{}", imports.len());
    (files, imports)
}

#[test]
fn every_room_knows_only_the_rooms_below_it() {
    let (files, imports) = imports();
    let (rooms, base) = (BTreeMap::from(ROOMS), BTreeMap::from(BASE));
    let may = |from: &str, to: &str| match rooms.get(from) {
        Some(below) => below.contains(&to) || base.contains_key(to),
        None => base.get(from).is_some_and(|below| below.contains(&to)),
    };
    let mut wrong = BTreeSet::new();
    for room in files.keys().filter_map(|module| module.first()) {
        let room = room.as_str();
        if !rooms.contains_key(room) && !base.contains_key(room) {
            wrong.insert(format!("src/{room}: it is not in the table of rooms"));
        }
    }
    for import in &imports {
        let (Some(from), Some(to)) = (import.from.first(), import.to.first()) else {
            let place = &import.place;
            wrong.insert(format!("{place}: only rooms import, and from rooms"));
            continue;
        };
        if from != to && !may(from, to) {
            wrong.insert(format!("{}: {from} knows {to}", import.place));
        }
        let path = &files[&import.to].path;
        let in_part = from == "connections" || from == "lattice";
        if in_part && to == "credentials" && !VALUES.contains(&path.as_str()) {
            wrong.insert(format!("{}: {from} knows {path}", import.place));
        }
    }
    let wrong: Vec<_> = wrong.into_iter().collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Returns the imports between the parts of a folder: its files, and its
/// folders with all files below them. The folder's own `mod.rs` is the part
/// `mod`.
fn within(folder: &Module, imports: &[Import]) -> BTreeMap<String, BTreeMap<String, String>> {
    let part_of = |module: &Module| {
        let rest = module.strip_prefix(folder.as_slice())?;
        Some(rest.first().cloned().unwrap_or_else(|| "mod".into()))
    };
    let mut graph: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for import in imports {
        if let (Some(from), Some(to)) = (part_of(&import.from), part_of(&import.to))
            && from != to
        {
            let place = import.place.clone();
            graph.entry(from).or_default().entry(to).or_insert(place);
        }
    }
    graph
}

/// Returns whether a way of imports leads from one to the other.
fn leads(
    graph: &BTreeMap<String, BTreeMap<String, String>>,
    from: &String,
    to: &String,
    seen: &mut BTreeSet<String>,
) -> bool {
    let next = graph.get(from).into_iter().flat_map(BTreeMap::keys);
    let mut next = next.filter(|next| *next == to || seen.insert((*next).clone()));
    let next: Vec<&String> = next.by_ref().collect();
    next.contains(&to) || next.into_iter().any(|next| leads(graph, next, to, seen))
}

#[test]
fn nothing_is_imported_in_a_circle() {
    let (files, imports) = imports();
    let folders: BTreeSet<Module> = files
        .keys()
        .filter_map(|module| Some(module.split_last()?.1.to_vec()))
        .collect();
    let mut circles = String::new();
    for folder in folders {
        let graph = within(&folder, &imports);
        for (from, to, place) in graph
            .iter()
            .flat_map(|(from, all)| all.iter().map(move |(to, place)| (from, to, place)))
        {
            if leads(&graph, to, from, &mut BTreeSet::new()) {
                let folder = folder.join("/");
                circles.push_str(&format!("src/{folder}: {from} -> {to} ({place})\n"));
            }
        }
    }
    assert!(
        circles.is_empty(),
        "imports that are part of a circle:\n{circles}"
    );
}

#[test]
fn no_file_has_more_than_500_lines() {
    let folders = ["src", "tests", "benches", "examples", "fuzz", "tools"];
    let files = folders.iter().flat_map(|folder| files_below(folder));
    let files = files.filter(|path| !path.contains("/target/"));
    let lines = files.map(|path| (read(&path).lines().count(), path));
    let long: Vec<_> = lines.filter(|(lines, _)| *lines > MOST_LINES).collect();
    assert!(long.is_empty(), "{long:?}");
}
