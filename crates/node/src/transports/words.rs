//! Words that travel in a header: percent-encoded on the way, bounded and printable on arrival.
//!
//! What the other end says is shown to people and logs, so no control character survives.

/// A sentence with its facts; more is not read by anybody.
pub(super) const WORDS_CHARS_MAX: usize = 512;

/// The words as a header's value: ASCII, with everything else percent-encoded.
pub(super) fn encode(words: &str) -> String {
    let mut value = String::new();
    for byte in words.chars().take(WORDS_CHARS_MAX).collect::<String>().bytes() {
        match byte {
            b'%' | 0..0x20 | 0x7f.. => value.push_str(&format!("%{byte:02X}")),
            plain => value.push(char::from(plain)),
        }
    }
    value
}

/// What a header's value says.
pub(super) fn decode(value: &[u8]) -> String {
    printable(&percent_decoded(value))
}

/// Bytes from the other end as words that can be shown: bounded, no control characters.
pub(super) fn printable(bytes: &[u8]) -> String {
    // Four bytes is the longest a character takes.
    let bytes = &bytes[..bytes.len().min(WORDS_CHARS_MAX * 4)];
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    String::from_utf8_lossy(bytes).chars().take(WORDS_CHARS_MAX).map(shown).collect()
}

/// With each `%XX` replaced by its byte; a `%` that opens none stays.
pub(super) fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match (text[at], digit(at + 1), digit(at + 2)) {
            // Two digits of base 16 fit a byte.
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_header() {
        for words in ["no such service", "100 % größer", "a%20b", "", "snow ☃"] {
            let value = encode(words);
            assert!(value.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{value}");
            assert_eq!(decode(value.as_bytes()), words);
        }
    }

    #[test]
    fn what_arrives_is_bounded_and_printable() {
        assert_eq!(decode(b"a%0d%0ab%zz%"), "a\u{fffd}\u{fffd}b%zz%");
        assert_eq!(decode(&[b'x'; 100_000]).len(), WORDS_CHARS_MAX);
        assert_eq!(encode(&"x".repeat(100_000)).len(), WORDS_CHARS_MAX);
        assert_eq!(decode(b"%ff%fe"), "\u{fffd}\u{fffd}");
    }
}
