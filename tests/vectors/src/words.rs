//! Words of a line: data as one word without blanks, and back. `README.md` says how they are written.

/// Bytes of data that a line shows; longer data is named by its length.
const SHOWN_BYTES: usize = 64;
/// The pattern repeats after this many bytes: a prime, so that no message boundary falls into step with it.
const PATTERN: usize = 251;

/// `size` bytes of the pattern from a place on.
pub fn pattern(from: usize, size: usize) -> Vec<u8> {
    (from..from + size).map(|at| (at % PATTERN) as u8).collect()
}

/// The data of a word.
pub fn decode(word: &str) -> Vec<u8> {
    let count = |start| word.strip_prefix(start).and_then(|count: &str| count.parse().ok());
    if let Some(size) = count("bytes:") {
        return pattern(0, size);
    }
    if let Some(size) = count("letters:") {
        return vec![b'a'; size];
    }
    if word == "-" {
        return Vec::new();
    }
    let mut data = Vec::new();
    let mut rest = word.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        (rest, _) = match escaped {
            Some(escaped) if byte == b'%' => (&after[2..], data.push(escaped)),
            _ => (after, data.push(byte)),
        };
    }
    data
}

/// The text of a word.
pub fn text(word: &str) -> String {
    String::from_utf8_lossy(&decode(word)).into_owned()
}

/// Data as one word: short data as text, long data by its length if it is known.
pub fn encode(data: &[u8]) -> String {
    if data.is_empty() {
        return "-".into();
    }
    if data.len() > SHOWN_BYTES {
        let is_letters = data.iter().all(|&byte| byte == b'a');
        let is_pattern = data.iter().enumerate().all(|(at, &byte)| usize::from(byte) == at % PATTERN);
        let known = if is_pattern {
            "bytes"
        } else if is_letters {
            "letters"
        } else {
            "other"
        };
        return format!("{known}:{}", data.len());
    }
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || b"._~".contains(&byte) || (byte == b'-' && data.len() > 1);
    data.iter()
        .map(|&byte| if plain(byte) { char::from(byte).into() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_comes_back_and_is_one_word() {
        for data in ["", "-", "--", "a b\n", "bytes:3", "100%", "%41", "ä~._"] {
            let word = encode(data.as_bytes());
            assert_eq!(text(&word), data);
            assert_eq!(word.split_whitespace().count(), 1);
        }
        for word in ["bytes:65", "letters:255", "bytes:100000", "-", "%2D"] {
            assert_eq!(encode(&decode(word)), word);
        }
        assert_eq!(encode(&[7; 100]), "other:100");
        assert_eq!(pattern(250, 3), [250, 0, 1]);
    }
}
