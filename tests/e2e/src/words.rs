//! Words of a line: any text without spaces or ends of line, and back.

/// The text as one word; the empty text is `%-`.
pub fn quote(text: &str) -> String {
    if text.is_empty() {
        return "%-".into();
    }
    let mut word = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '%' => word.push_str("%%"),
            ' ' => word.push_str("%s"),
            '\n' => word.push_str("%n"),
            '\r' => word.push_str("%r"),
            '\t' => word.push_str("%t"),
            other => word.push(other),
        }
    }
    word
}

/// The text of a word.
pub fn unquote(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('s') => text.push(' '),
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some('-') | None => {}
            Some(other) => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_and_is_one_word() {
        for text in ["", "a", "a b\n%s\t\r", "%", "%-", "% -", "ä"] {
            let word = quote(text);
            assert_eq!(unquote(&word), text);
            assert_eq!(word.split_whitespace().count(), 1, "{word}");
        }
    }
}
