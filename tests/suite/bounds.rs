//! The table of bounds in docs/scaling.md has the numbers that the code has.

use std::path::Path;

use lattice_controller::internals::settings::table::{Kind, PROVIDER};

/// Returns the rows of the table, as their cells.
fn rows() -> Vec<Vec<String>> {
    let page = read("docs/scaling.md");
    let (_, section) = page.split_once("## What is bounded\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let cells = |row: &str| row.split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Returns the number that a cell says: `4 MiB`, `10,000`, `1,024 bytes`.
fn said(cell: &str) -> u64 {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let number: u64 = number
        .replace(',', "")
        .parse()
        .unwrap_or_else(|_| panic!("{cell}"));
    match unit {
        "MiB" => number << 20,
        "KiB" => number << 10,
        "" | "bytes" => number,
        other => panic!("{other}"),
    }
}

/// Returns the value of a constant, which is a product of numbers.
fn constant(name: &str, path: &str) -> u64 {
    let code = read(path);
    let begin = format!("const {name}: ");
    let found = code.lines().find_map(|line| line.split_once(&begin));
    let (_, rest) = found.unwrap_or_else(|| panic!("no {name} in {path}"));
    let (_, value) = rest.split_once(" = ").unwrap();
    let factors = value.trim_end_matches(';').split('*');
    let number = |factor: &str| factor.trim().replace('_', "").parse::<u64>();
    factors
        .map(|factor| number(factor).unwrap_or_else(|_| panic!("{name} = {value}")))
        .product()
}

#[test]
fn every_bound_on_the_page_is_that_of_the_code() {
    let rows = rows();
    assert!(rows.len() > 30, "{}", rows.len());
    for row in rows {
        let [_, what, most, _, _, decided_by, _] = row.as_slice() else {
            panic!("{row:?}");
        };
        let names: Vec<&str> = decided_by.split('`').skip(1).step_by(2).collect();
        match names.as_slice() {
            [name, path] => assert_eq!(said(most), constant(name, path), "{what}"),
            [setting] => {
                let setting = PROVIDER.iter().find(|one| one.key == *setting).unwrap();
                match setting.kind {
                    Kind::Number {
                        default: Some(default),
                        ..
                    } => {
                        assert_eq!(said(most), default, "{what}");
                    }
                    _ => assert_eq!(most, setting.otherwise, "{what}"),
                }
            }
            _ => panic!("{decided_by}"),
        }
    }
}
