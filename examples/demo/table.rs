//! Readable tables.

use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;

/// Prints a table with these headings.
pub fn print<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY).set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    println!("{table}");
}

/// Returns the first characters of a key, enough to tell it from others here.
pub fn short(key: &str) -> String {
    let head: String = key.chars().take(8).collect();
    format!("{head}…")
}

/// Returns `a=1 b=2`, sorted.
pub fn pairs(map: &std::collections::HashMap<String, String>) -> String {
    let mut pairs: Vec<_> = map.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.sort();
    pairs.join(" ")
}
