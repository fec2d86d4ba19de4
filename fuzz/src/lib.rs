//! Runs the promises of `tests/promises/` as fuzz targets.

#[path = "../../tests/promises/mod.rs"]
pub mod promises;

use promises::{ALL, root};

/// Gives a target the inputs that get far as its first inputs.
pub fn seed(name: &str) {
    let folder = root().join("fuzz/corpus").join(name);
    let promise = ALL.iter().find(|promise| promise.name == name).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    for (number, seed) in (promise.seeds)().iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
    }
}

/// Defines the target of a promise.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(
            init: $crate::seed(stringify!($name)),
            |input: &[u8]| $crate::promises::$name::check(input)
        );
    };
}
