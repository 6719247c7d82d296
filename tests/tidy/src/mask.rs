//! Masks what is not code: comments become spaces, the content of string and character literals becomes
//! [`FILL`]. Line breaks stay, and the result has as many characters per line as the source. Pure, and no
//! more than a scanner.

/// Stands for one character inside a literal.
pub const FILL: char = '\u{1}';

/// The source with comments and literals masked.
pub fn mask(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut scan = Scan { chars: &chars, at: 0, out: String::with_capacity(source.len()) };
    while scan.at < chars.len() {
        scan.step();
    }
    scan.out
}

/// True for a character that can stand in an identifier.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

struct Scan<'a> {
    chars: &'a [char],
    at: usize,
    out: String,
}

impl Scan<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn keep(&mut self, count: usize) {
        let end = (self.at + count).min(self.chars.len());
        self.out.extend(&self.chars[self.at..end]);
        self.at = end;
    }

    fn hide(&mut self, count: usize, fill: char) {
        let end = (self.at + count).min(self.chars.len());
        self.out.extend(self.chars[self.at..end].iter().map(|&c| if c == '\n' { c } else { fill }));
        self.at = end;
    }

    fn step(&mut self) {
        let after_word = self.at > 0 && is_word(self.chars[self.at - 1]);
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                let rest = &self.chars[self.at..];
                let length = rest.iter().position(|&c| c == '\n').unwrap_or(rest.len());
                self.hide(length, ' ');
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('\'', _) => self.quote(),
            ('r' | 'b' | 'c', _) if !after_word => self.prefixed(),
            _ => self.keep(1),
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.hide(1, ' ');
                    continue;
                }
            }
            self.hide(2, ' ');
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.keep(1);
        while self.at < self.chars.len() {
            match self.peek(0) {
                '\\' => self.hide(2, FILL),
                '"' => return self.keep(1),
                _ => self.hide(1, FILL),
            }
        }
    }

    /// A character literal, or the tick of a lifetime.
    fn quote(&mut self) {
        if self.peek(1) == '\\' {
            self.keep(1);
            self.hide(2, FILL);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.hide(1, FILL);
            }
            self.keep(1);
        } else if self.peek(2) == '\'' {
            self.keep(1);
            self.hide(1, FILL);
            self.keep(1);
        } else {
            self.keep(1);
        }
    }

    /// Perhaps `r"`, `r#"`, `br"`, `cr#"`; else an ordinary word.
    fn prefixed(&mut self) {
        let letters = if self.peek(0) != 'r' && self.peek(1) == 'r' { 2 } else { 1 };
        let raw = self.peek(letters - 1) == 'r';
        let mut hashes = 0;
        while raw && self.peek(letters + hashes) == '#' {
            hashes += 1;
        }
        if !raw || self.peek(letters + hashes) != '"' {
            return self.keep(1);
        }
        self.keep(letters + hashes + 1);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|n| self.peek(n) == '#') {
                return self.keep(hashes + 1);
            }
            self.hide(1, FILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> String {
        mask(source).replace(FILL, ".")
    }

    #[test]
    fn comments_and_literals_are_masked() {
        assert_eq!(shown("a // b\nc"), "a     \nc");
        assert_eq!(shown("a /* x /* y */ z */ b"), "a                   b");
        assert_eq!(shown(r#"f("}\"{", '{', b'\'', 'x')"#), r#"f("....", '.', b'..', '.')"#);
        assert_eq!(shown(r###"r#"a"b"# + br"c\" + r#fn"###), r###"r#"..."# + br".." + r#fn"###);
        assert_eq!(
            shown("fn f<'a>(x: &'a str) -> char { '\\u{7d}' }"),
            "fn f<'a>(x: &'a str) -> char { '......' }"
        );
        assert_eq!(shown("bar\"x\" // \"\nrest"), "bar\".\"     \nrest");
    }

    #[test]
    fn open_ends_do_not_hang() {
        for source in ["\"", "'", "'\\", "/*", "r#\"", "b'", "//"] {
            assert_eq!(mask(source).chars().count(), source.chars().count());
        }
    }
}
