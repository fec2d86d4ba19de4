//! JSON of secrets that leaves no copy of them in memory. A buffer that grows would
//! leave one, and so would the buffer in which serde_json resolves escapes.

use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

/// Writes a value as JSON, into a buffer that never grows.
pub(super) fn written(value: &impl Serialize) -> Option<Zeroizing<Vec<u8>>> {
    let mut length = Length(0);
    serde_json::to_writer(&mut length, value).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.0));
    serde_json::to_writer(&mut *bytes, value).ok()?;
    Some(bytes)
}

/// A writer that only counts bytes.
struct Length(usize);

impl std::io::Write for Length {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the text of a JSON string; `None` where it is something else.
pub(super) fn secret(raw: &RawValue) -> Option<SecretString> {
    let escaped = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    // The text is never longer than its JSON.
    let mut text = Zeroizing::new(String::with_capacity(escaped.len()));
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => unescaped(&mut chars)?,
            c => c,
        });
    }
    Some(SecretString::from(text.as_str()))
}

/// Returns the character that an escape stands for; `chars` starts behind its `\`.
fn unescaped(chars: &mut std::str::Chars<'_>) -> Option<char> {
    Some(match chars.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => match unit(chars)? {
            // One character of two UTF-16 units.
            high @ 0xd800..=0xdbff => {
                chars.as_str().strip_prefix("\\u")?;
                chars.nth(1);
                let low = unit(chars)?
                    .checked_sub(0xdc00)
                    .filter(|low| *low < 0x400)?;
                char::from_u32(0x10000 + ((high - 0xd800) << 10) + low)?
            }
            unit => char::from_u32(unit)?,
        },
        c @ ('"' | '\\' | '/') => c,
        _ => return None,
    })
}

fn unit(chars: &mut std::str::Chars<'_>) -> Option<u32> {
    let mut digits = (0..4).map(|_| chars.next()?.to_digit(16));
    digits.try_fold(0, |unit, digit| Some(unit * 16 + digit?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn the_buffer_of_a_secret_never_grows() {
        let large = ["\"\\\u{1}é".repeat(50_000), "x".into()];
        let bytes = written(&large).unwrap();
        assert_eq!(bytes.capacity(), bytes.len());
        let read: [String; 2] = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(read, large);
    }

    fn read(json: &str) -> Option<String> {
        let raw: &RawValue = serde_json::from_str(json).ok()?;
        Some(secret(raw)?.expose_secret().to_owned())
    }

    #[test]
    fn what_is_no_text_is_told_from_text() {
        for json in [
            "7",
            "null",
            "[\"a\"]",
            r#""\ud800""#,
            r#""\ud800A""#,
            r#""\udc00""#,
            r#""\ud800\ud800""#,
        ] {
            assert_eq!(read(json), None, "{json}");
        }
        assert_eq!(
            read(r#""\/\"\\\b\f\n\r\tA\u00e9\uD83D\ude00é""#).unwrap(),
            "/\"\\\u{8}\u{c}\n\r\tAé😀é"
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_as_it_was_written(text: String) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read(&json), Some(text.clone()));
            // And with nothing but escapes.
            let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
            let json = format!("\"{}\"", units.collect::<String>());
            prop_assert_eq!(read(&json), Some(text));
        }

        #[test]
        fn whatever_stands_there_is_read_as_serde_reads_it(inner in r#"[\\"/bfnrtuU0-9a-fD é]{0,12}"#) {
            let json = format!("\"{inner}\"");
            let expected: Option<String> = serde_json::from_str(&json).ok();
            prop_assert_eq!(read(&json), expected);
        }
    }
}
