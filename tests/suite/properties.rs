//! No input breaks a promise of `promises/`. Each promise is tried with inputs
//! that get far, with changes of them, with any bytes, and with every input
//! that ever broke one (`tests/fixtures/crashes/`).

use crate::promises;
use std::collections::BTreeSet;

use crate::promises::{ALL, Promise, files, root};
use lattice_controller::internals::lattice::dialect::Dialect;
use lattice_controller::internals::lattice::dialect::v0::plan;
use lattice_controller::internals::lattice::model::Inventory;
use lattice_controller::internals::lattice::model::Protocol;
use lattice_controller::internals::lattice::model::lenient::parse;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

/// Bytes that often have a meaning.
const WORDS: [&[u8]; 24] = [
    b".",
    b"*",
    b">",
    b" ",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\"",
    b"\\",
    b",",
    b":",
    b"@",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"[]",
    b"{}",
    b"\xc0",
    b"\xdd\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    "é\u{202e}".as_bytes(),
];

/// One change of an input.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let words = select(WORDS.to_vec()).prop_map(<[u8]>::to_vec);
        let bytes = prop_oneof![words, vec(any::<u8>(), 1..8)];
        prop_oneof![
            4 => (any::<Index>(), any::<u8>()).prop_map(|(at, by)| Self::Byte(at, by)),
            1 => any::<Index>().prop_map(Self::Cut),
            2 => (any::<Index>(), 1usize..20).prop_map(|(at, count)| Self::Remove(at, count)),
            4 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
            1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Self::Repeat(from, to)),
        ]
    }

    fn apply(&self, input: &mut Vec<u8>) {
        let at = |index: &Index| index.index(input.len() + 1);
        match self {
            Self::Byte(_, _) if input.is_empty() => {}
            Self::Byte(index, by) => {
                let at = index.index(input.len());
                input[at] ^= by;
            }
            Self::Cut(index) => input.truncate(at(index)),
            Self::Remove(index, count) => {
                let from = at(index);
                let to = (from + count).min(input.len());
                drop(input.drain(from..to));
            }
            Self::Insert(index, bytes) => {
                let at = at(index);
                drop(input.splice(at..at, bytes.iter().copied()));
            }
            Self::Repeat(from, to) => {
                let (from, to) = (at(from), at(to));
                let part = input[from.min(to)..from.max(to)].to_vec();
                input.extend(part);
            }
        }
    }
}

/// Makes any bytes, and inputs that get far with some changes.
fn input(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (select(seeds), vec(Change::any(), 0..6)).prop_map(|(mut input, changes)| {
        changes.iter().for_each(|change| change.apply(&mut input));
        input
    });
    prop_oneof![1 => vec(any::<u8>(), 0..200), 5 => changed]
}

fn holds(name: &str, cases: u32) {
    let promise = promise(name);
    let seeds = (promise.seeds)();
    seeds.iter().for_each(|seed| (promise.check)(seed));
    for path in files(&root().join("tests/fixtures/crashes").join(name)) {
        println!("{}", path.display());
        (promise.check)(&std::fs::read(path).unwrap());
    }
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..Default::default()
    };
    let checked = TestRunner::new(config).run(&input(seeds), |input| {
        (promise.check)(&input);
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{name}: {error}");
    }
}

fn promise(name: &str) -> Promise {
    let mut all = ALL.into_iter();
    all.find(|promise| promise.name == name).unwrap()
}

#[test]
fn no_text_makes_a_subject_of_another_shape_or_another_lattice() {
    holds("subjects", 400);
}

#[test]
fn host_data_is_read_or_refused_without_being_quoted() {
    holds("host_data", 1000);
}

#[test]
fn an_invocation_whose_proof_holds_is_the_one_that_was_signed() {
    holds("invocation", 1000);
}

#[test]
fn every_operation_ends_whatever_its_arguments_are() {
    holds("operations", 600);
}

#[test]
fn whatever_a_lattice_says_is_read_or_passed_over() {
    holds("replies", 1000);
}

#[test]
fn settings_that_are_taken_are_within_their_bounds() {
    holds("settings", 1500);
}

#[test]
fn only_what_was_sealed_for_a_lattice_opens_for_it() {
    holds("store", 1000);
}

#[test]
fn nothing_is_too_deep() {
    holds("nesting", 3);
}

#[test]
fn an_inventory_costs_no_more_than_it_should() {
    promises::replies::check(&promises::replies::crowd(2000));
    // If each were compared with each, this would take minutes.
    let many = promises::replies::crowd(30_000);
    let started = std::time::Instant::now();
    let inventory: Inventory = parse(&many).unwrap();
    let inventory = inventory.without_repetitions();
    let running = plan::running(
        Dialect::of_version(Protocol::V0, Some("0.82.0"))
            .quirks()
            .unwrap(),
        &inventory,
        "M1",
    );
    assert_eq!(running.groups.len(), 30_000);
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn every_subject_is_made_of_names() {
    let made_by = |dialect: &str| -> BTreeSet<String> {
        let path = format!("src/lattice/dialect/{dialect}/subject.rs");
        let source = std::fs::read_to_string(root().join(path)).unwrap();
        let functions = source.lines().filter(|line| !line.ends_with("-> bool {"));
        functions
            .filter_map(|line| line.strip_prefix("pub fn ")?.split_once('('))
            .map(|(name, arguments)| {
                let arguments = arguments.split(')').next().unwrap();
                let is_text = arguments.contains("&str") || arguments.contains("String");
                assert!(!is_text, "{name} takes a text");
                name.to_owned()
            })
            .collect()
    };
    let known = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let templates = promises::subjects::TEMPLATES.map(|(name, _)| name);
    let of_v0: Vec<&str> = templates
        .into_iter()
        .chain([promises::subjects::ENTRY])
        .collect();
    let of_v1 = promises::subjects::V1_TEMPLATES.map(|(name, _)| name);
    assert_eq!(
        made_by("v0"),
        known(&of_v0),
        "promises/subjects.rs has the others"
    );
    assert_eq!(
        made_by("v1"),
        known(&of_v1),
        "promises/subjects.rs has the others"
    );
}

#[test]
fn every_promise_is_fuzzed() {
    let targets = files(&root().join("fuzz/targets"));
    let targets: BTreeSet<_> = targets.iter().filter_map(|path| path.file_stem()).collect();
    let promises = ALL.iter().map(|promise| promise.name.as_ref());
    assert_eq!(targets, promises.collect());
    let inputs = files(&root().join("tests/fixtures/crashes"));
    for path in inputs {
        let name = path.parent().unwrap().file_name().unwrap();
        assert!(
            targets.contains(name),
            "{} is of no promise",
            path.display()
        );
    }
}
