//! MessagePack from outside. The decoder calls itself for each level of nesting. Its own
//! limit is a thousand levels, which are too many for the stack of a thread.

use rmp_serde::decode::Error;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Most levels of maps and lists. Nothing in the contract has more than four.
const MAX_DEPTH: usize = 32;

/// Decodes what is not nested too deeply.
///
/// # Errors
/// As [`rmp_serde::from_slice`].
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Error> {
    let mut input = rmp_serde::Deserializer::from_read_ref(bytes);
    input.set_max_depth(MAX_DEPTH);
    T::deserialize(&mut input)
}

/// Whether bytes are not nested too deeply. They may be wrong in any other way.
pub(super) fn is_shallow(bytes: &[u8]) -> bool {
    !matches!(decode::<IgnoredAny>(bytes), Err(Error::DepthLimitExceeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nested_deeply_is_an_error_and_no_overflow() {
        for (levels, shallow) in [(3, true), (31, true), (100, false), (1_000_000, false)] {
            for level in [&[0x91_u8][..], &[0x81, 0xa1, b'x'], &[0xdd, 0, 0, 0, 1]] {
                let mut bytes = level.repeat(levels);
                bytes.push(0xc0);
                assert_eq!(is_shallow(&bytes), shallow, "{levels}");
                assert_eq!(decode::<IgnoredAny>(&bytes).is_ok(), shallow, "{levels}");
            }
        }
        // What is no MessagePack is not deep.
        assert!(is_shallow(b"\xc1") && is_shallow(b""));
    }
}
