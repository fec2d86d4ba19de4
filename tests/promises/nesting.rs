//! No input is nested so deeply that reading or dropping it needs more stack
//! than there is.

/// How deep inputs are nested. A fuzz target has fewer levels, which are still
/// too many for a stack.
const DEPTH: usize = 100_000;
const DEPTH_FUZZED: usize = 10_000;
/// The longest input that is made of them.
const MOST: usize = 1024 * 1024;

/// Checks the promise. The first part of the input comes first, the second is
/// repeated, and the third comes last.
pub fn check(input: &[u8]) {
    let mut parts = input.splitn(3, |byte| *byte == 0xff);
    let mut next = || parts.next().unwrap_or_default();
    let (first, level, last) = (next(), next(), next());
    if level.is_empty() {
        return;
    }
    let most = match super::is_fuzzed() {
        true => DEPTH_FUZZED,
        false => DEPTH,
    };
    let depth = most.min(MOST / level.len());
    let deep = [first, &level.repeat(depth), last].concat();
    super::host_data::check(&deep);
    super::invocation::check(&deep);
    super::operations::check(&deep);
    super::replies::check(&deep);
    super::settings::check(&deep);
    super::store::check(&deep);
}

/// Returns inputs that get far: lists and maps, in JSON and MessagePack, in the
/// place of any value and of a certain one.
pub fn seeds() -> Vec<Vec<u8>> {
    let parts: [(&[u8], &[u8]); 15] = [
        (b"", b"["),
        (b"", br#"{"a":"#),
        (br#"{"id":"#, b"["),
        (br#"{"unknown":"#, br#"{"a":"#),
        (br#"{"labels":{"a":"#, b"["),
        (br#"{"actors":[{"id":"M","instances":"#, b"["),
        (br#"{"links":[{"actor_id":"#, br#"[{"a":"#),
        (br#"{"link_definitions":"#, b"["),
        (br#"{"version":1,"lattice":"#, b"["),
        (b"", b"\x91"),
        (b"", b"\x81\xa1a"),
        (b"\x81\xa6origin", b"\x91"),
        (b"\x81\xa1x", b"\x81\xa1a"),
        (b"\x81\xa9latticeId", b"\x91"),
        (b"\x82\xa9latticeId\xa1x\xabcredentials", b"\x81\xa1a"),
    ];
    parts
        .map(|(first, level)| [first, level].join(&0xff))
        .to_vec()
}
