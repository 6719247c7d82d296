//! Rules on any text: size, blanks, left-open words, machine paths, registries. They know nothing of a
//! language.

use crate::Finding;
use crate::mask::is_word;

/// No committed file is larger than this.
pub const FILE_BYTES_MAX: usize = 512 * 1024;

// Written in pieces, so that this file does not break its own rules.
const OPEN_WORDS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX"), concat!("HA", "CK")];
const OPEN_MACROS: [&str; 2] = [concat!("to", "do!("), concat!("unimple", "mented!(")];
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const REGISTRY_SETTINGS: [&str; 5] = [
    concat!("replace", "-with"),
    concat!("index", "-url"),
    "registry =",
    "registry=",
    concat!("index", " ="),
];
const CRATES_INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";
const NPM_HOST: &str = "https://registry.npmjs.org/";

/// A file that is too large for a repository of source.
pub fn size(path: &str, bytes: usize) -> Option<Finding> {
    (bytes > FILE_BYTES_MAX).then(|| {
        let what = format!("{bytes} bytes, more than {FILE_BYTES_MAX}: make it when it is needed");
        Finding { weight: bytes, ..Finding::at("size", path, 1, what) }
    })
}

/// All rules on one text file.
pub fn check(path: &str, text: &str) -> Vec<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.starts_with("LICENSE-") {
        return Vec::new();
    }
    let mut findings = blanks(path, text);
    let locked = name == "Cargo.lock" || name == "package-lock.json";
    if locked {
        findings.extend(sources(path, text));
        return findings;
    }
    findings.extend(left_open(path, text));
    findings.extend(machine(path, text));
    if matches!(name, ".npmrc" | "pip.conf" | "requirements.txt") || path.ends_with(".cargo/config.toml") {
        findings.extend(settings(path, text));
    }
    findings
}

fn blanks(path: &str, text: &str) -> Vec<Finding> {
    let tabs_allowed = !path.ends_with(".rs");
    let mut findings = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        if !tabs_allowed && line.contains('\t') {
            findings.push(Finding::at(
                "tab",
                path,
                index + 1,
                "a tab; indent with spaces, write \\t in a string",
            ));
        }
        if line.ends_with([' ', '\t', '\r']) {
            findings.push(Finding::at("trailing", path, index + 1, "blanks at the end of the line"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::at(
            "trailing",
            path,
            text.lines().count(),
            "no line break at the end of the file",
        ));
    }
    findings
}

fn left_open(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for word in OPEN_WORDS
            .iter()
            .filter(|word| has_word(line, word))
            .chain(OPEN_MACROS.iter().filter(|m| line.contains(*m)))
        {
            let what = format!("`{word}`: finish it, or open an issue and say here what holds today");
            findings.push(Finding::at("open", path, index + 1, what));
        }
    }
    findings
}

fn machine(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        for place in MACHINE_PATHS.iter().filter(|place| line.contains(*place)) {
            let what = format!("`{place}` is a path of one machine: name it relative to the project");
            findings.push(Finding::at("machine", path, index + 1, what));
        }
    }
    findings
}

/// Lock files name the public registries only.
fn sources(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        let foreign = (line.starts_with("source = ") && !line.contains(CRATES_INDEX))
            || (line.starts_with("\"resolved\":") && line.contains("://") && !line.contains(NPM_HOST));
        if foreign {
            findings.push(Finding::at(
                "registry",
                path,
                index + 1,
                "not the public registry: lock again without a mirror",
            ));
        }
    }
    findings
}

/// Tool settings never send a user to another registry.
fn settings(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if REGISTRY_SETTINGS.iter().any(|setting| line.contains(setting)) {
            findings.push(Finding::at(
                "registry",
                path,
                index + 1,
                "a registry belongs in the user's settings, not here",
            ));
        }
    }
    findings
}

/// Byte offsets at which `word` stands by itself.
pub fn word_offsets<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

/// True if `word` stands by itself in `text`.
pub fn has_word(text: &str, word: &str) -> bool {
    word_offsets(text, word).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(findings: &[Finding]) -> Vec<&str> {
        findings.iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_large_file_is_found() {
        assert!(size("a.bin", FILE_BYTES_MAX).is_none());
        assert!(size("a.bin", FILE_BYTES_MAX + 1).is_some());
    }

    #[test]
    fn blanks_are_found() {
        assert_eq!(rules(&check("a.rs", "ok\n\tx\n")), ["tab"]);
        assert_eq!(rules(&check("Makefile", "a:\n\tx\n")), [""; 0]);
        assert_eq!(rules(&check("a.md", "x \ny\r\nz")), ["trailing", "trailing", "trailing"]);
    }

    #[test]
    fn what_was_left_open_is_found() {
        for word in OPEN_WORDS {
            assert_eq!(rules(&check("a.rs", &format!("// {word}: later\n"))), ["open"], "{word}");
            assert!(check("a.rs", &format!("x{word}y {word}_S\n")).is_empty(), "{word}");
        }
        for word in OPEN_MACROS {
            assert_eq!(rules(&check("a.rs", &format!("    {word})\n"))), ["open"], "{word}");
        }
        assert!(check("a.sh", "mktemp -d name.XXXXXX\n").is_empty());
    }

    #[test]
    fn a_machine_path_is_found() {
        for place in MACHINE_PATHS {
            assert_eq!(rules(&check("a.md", &format!("see {place}x\n"))), ["machine"], "{place}");
        }
    }

    #[test]
    fn a_private_registry_is_found() {
        let good = format!("source = \"{CRATES_INDEX}\"\n");
        assert!(check("Cargo.lock", &good).is_empty());
        assert_eq!(
            rules(&check("Cargo.lock", "source = \"registry+https://mirror.example/index\"\n")),
            ["registry"]
        );
        let npm = "  \"resolved\": \"https://mirror.example/a.tgz\",\n";
        assert_eq!(rules(&check("bindings/node/package-lock.json", npm)), ["registry"]);
        for setting in REGISTRY_SETTINGS {
            assert_eq!(
                rules(&check(".cargo/config.toml", &format!("{setting} x\n"))),
                ["registry"],
                "{setting}"
            );
        }
    }
}
