//! Rules on one Rust file: lengths, the clock, `unsafe`, ignored tests, and what the sans-IO core may name.

use crate::mask::{FILL, is_word, mask};
use crate::text::word_offsets;
use crate::{Finding, text};

/// A longer file is missing a noun.
pub const FILE_LINES_MAX: usize = 600;
/// A longer function is missing a name.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Columns, not counting what a string literal or an address holds.
pub const COLUMNS_MAX: usize = 120;

const CLOCK_CALLS: [&str; 3] =
    [concat!("Instant::", "now"), concat!("SystemTime::", "now"), concat!("thread::", "sleep")];
const CLOCK_FILES: [&str; 3] =
    ["core/src/engine/clock.rs", "tests/proxy/src/clock.rs", "tests/sim/src/cli.rs"];
/// A module of system calls, the one that talks to Node and libuv, and the C
/// face, which is all pointers, with the fuzz target that calls it.
const UNSAFE_PLACES: [&str; 6] = [
    "bindings/node/src/js/",
    "core/src/engine/descriptor.rs",
    "core/src/tls/unzeroed.rs",
    "ffi/src/",
    "tests/fuzz/fuzz_targets/c_calls",
    "bindings/python/src/data.rs",
];
const SANS_IO: &str = "core/proto/";
const SANS_IO_STD: [&str; 6] = ["net", "thread", "fs", "process", "os", "env"];
const SANS_IO_CRATES: [&str; 4] = ["openssl", "mio", "socket2", "libc"];

/// All rules on one Rust file.
pub fn check(path: &str, source: &str) -> Vec<Finding> {
    let masked = mask(source);
    let mut findings = Vec::from_iter(file_length(path, source));
    findings.extend(widths(path, source, &masked));
    findings.extend(function_lengths(path, &masked));
    findings.extend(clock(path, &masked));
    findings.extend(unsafe_code(path, &masked));
    findings.extend(ignored_tests(path, &masked));
    if path.starts_with(SANS_IO) {
        findings.extend(sans_io(path, &masked));
    }
    findings
}

fn file_length(path: &str, source: &str) -> Option<Finding> {
    let lines = source.lines().count();
    (lines > FILE_LINES_MAX).then(|| {
        let what = format!("{lines} lines, more than {FILE_LINES_MAX}: a noun is missing");
        Finding { weight: lines, ..Finding::at("file-lines", path, 1, what) }
    })
}

fn widths(path: &str, source: &str, masked: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (line, masked)) in source.lines().zip(masked.lines()).enumerate() {
        let literal = masked.chars().filter(|&c| c == FILL).count();
        let address = line
            .split_whitespace()
            .filter(|word| word.contains("://"))
            .map(|word| word.chars().count())
            .max();
        let columns = line.chars().count() - literal.max(address.unwrap_or(0));
        if columns > COLUMNS_MAX {
            let what =
                format!("{columns} columns, more than {COLUMNS_MAX} (literals and addresses not counted)");
            findings.push(Finding::at("columns", path, index + 1, what));
        }
    }
    findings
}

fn function_lengths(path: &str, masked: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for function in functions(masked) {
        let lines = function.last - function.first + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("fn {}: {lines} lines, more than {FUNCTION_LINES_MAX}", function.name);
            let key = format!("{path}::{}", function.name);
            findings.push(Finding { rule: "function-lines", key, line: function.first, weight: lines, what });
        }
    }
    findings
}

struct Function<'a> {
    name: &'a str,
    first: usize,
    last: usize,
}

/// Every function with a body, by counting braces.
fn functions(masked: &str) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for at in word_offsets(masked, "fn") {
        let rest = masked[at + 2..].trim_start();
        let name = &rest[..rest.find(|c: char| !is_word(c)).unwrap_or(rest.len())];
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&masked[at..]) {
            found.push(Function { name, first: line_of(masked, at), last: line_of(masked, at + end) });
        }
    }
    found
}

/// Offset of the brace that closes the body, or nothing for a signature only.
fn body_end(from_fn: &str) -> Option<usize> {
    let (mut braces, mut brackets) = (0i32, 0i32);
    for (offset, c) in from_fn.char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            '{' if brackets == 0 || braces > 0 => braces += 1,
            '}' if braces > 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(offset);
                }
            }
            ';' if braces == 0 && brackets == 0 => return None,
            _ => {}
        }
    }
    None
}

fn clock(path: &str, masked: &str) -> Vec<Finding> {
    if CLOCK_FILES.contains(&path) {
        return Vec::new();
    }
    let found = CLOCK_CALLS.iter().flat_map(|call| word_offsets(masked, call).map(move |at| (at, call)));
    let what =
        |call| format!("`{call}`: time comes from outside; only core/src/engine/clock.rs reads it or waits");
    found.map(|(at, call)| Finding::at("clock", path, line_of(masked, at), what(call))).collect()
}

fn unsafe_code(path: &str, masked: &str) -> Vec<Finding> {
    if UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
        return Vec::new();
    }
    let what = format!("unsafe code stands only in {}", UNSAFE_PLACES.join(", "));
    word_offsets(masked, "unsafe")
        .map(|at| Finding::at("unsafe", path, line_of(masked, at), what.clone()))
        .collect()
}

fn ignored_tests(path: &str, masked: &str) -> Vec<Finding> {
    let what = "an ignored test proves nothing: run it, or remove it";
    let found = masked.match_indices(concat!("#[ig", "nore"));
    found.map(|(at, _)| Finding::at("ignore", path, line_of(masked, at), what)).collect()
}

fn sans_io(path: &str, masked: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (at, name) in roots(masked, "std") {
        if SANS_IO_STD.contains(&name) {
            let what = format!("`std::{name}` in the sans-IO core (addresses as plain data: `core::net`)");
            findings.push(Finding::at("sans-io", path, line_of(masked, at), what));
        }
    }
    for name in SANS_IO_CRATES {
        for at in word_offsets(masked, name).filter(|at| masked[at + name.len()..].starts_with("::")) {
            findings.push(Finding::at(
                "sans-io",
                path,
                line_of(masked, at),
                format!("`{name}` in the sans-IO core"),
            ));
        }
    }
    findings
}

/// The first names after `prefix::`, with their offsets; groups in braces are opened.
pub fn roots<'a>(masked: &'a str, prefix: &'a str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for at in text::word_offsets(masked, prefix) {
        let Some(rest) = masked[at + prefix.len()..].strip_prefix("::") else { continue };
        if masked[..at].ends_with("::") && prefix != "super" {
            continue;
        }
        found.extend(first_names(rest).into_iter().map(|name| (at, name)));
    }
    found
}

/// `a::b` gives `a`; `{a::b, c::{d, e}}` gives `a` and `c`.
pub fn first_names(rest: &str) -> Vec<&str> {
    let word = |text: &'_ str| text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    if !rest.starts_with('{') {
        return vec![&rest[..word(rest)]];
    }
    let (mut names, mut depth) = (Vec::new(), 0);
    for (offset, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(c, '{' | ',') {
            let next = rest[offset + 1..].trim_start();
            names.push(&next[..word(next)]);
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Line of a byte offset, from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, source: &str) -> Vec<&'static str> {
        check(path, source).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_long_file_is_found() {
        assert!(rules("a.rs", &"x\n".repeat(FILE_LINES_MAX)).is_empty());
        assert_eq!(rules("a.rs", &"x\n".repeat(FILE_LINES_MAX + 1)), ["file-lines"]);
    }

    #[test]
    fn a_long_line_is_found() {
        assert!(rules("a.rs", &format!("{}\n", "x".repeat(COLUMNS_MAX))).is_empty());
        assert_eq!(rules("a.rs", &format!("{}\n", "é".repeat(COLUMNS_MAX + 1))), ["columns"]);
        assert_eq!(rules("a.rs", &format!("// {}\n", "x ".repeat(COLUMNS_MAX))), ["columns"]);
        assert!(rules("a.rs", &format!("say(\"{}\");\n", "x".repeat(200))).is_empty());
        assert!(rules("a.rs", &format!("/// see https://example.org/{}\n", "x".repeat(200))).is_empty());
    }

    #[test]
    fn a_long_function_is_found() {
        let body = |lines: usize| {
            format!("pub fn long() -> [u8; 2] {{\n{}}}\n", "    if x { \"}\"; }\n".repeat(lines - 2))
        };
        assert!(rules("a.rs", &body(FUNCTION_LINES_MAX)).is_empty());
        let found = check("a.rs", &body(FUNCTION_LINES_MAX + 1));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].rule, found[0].key.as_str(), found[0].weight),
            ("function-lines", "a.rs::long", 71)
        );
        let signatures = format!(
            "trait T {{\n    fn a(&self, f: fn(u8) -> u8);\n{}}}\n",
            "    const X: u8 = 1;\n".repeat(90)
        );
        assert!(rules("a.rs", &signatures).is_empty());
    }

    #[test]
    fn the_clock_is_found() {
        for call in CLOCK_CALLS {
            let source = format!("fn f() {{ std::time::{call}(); }}\n");
            assert_eq!(rules("core/src/a.rs", &source), ["clock"], "{call}");
            assert!(rules(CLOCK_FILES[0], &source).is_empty());
            assert!(rules("core/src/a.rs", &format!("// {call}\n")).is_empty());
        }
    }

    #[test]
    fn unsafe_is_found() {
        let source = "fn f() { unsafe { g() } }\n";
        assert_eq!(rules("core/src/engine/shard.rs", source), ["unsafe"]);
        assert!(rules(UNSAFE_PLACES[0], source).is_empty());
        assert!(rules("a.rs", "#![forbid(unsafe_code)]\n// unsafe\n").is_empty());
    }

    #[test]
    fn an_ignored_test_is_found() {
        let attribute = concat!("#[ig", "nore");
        assert_eq!(rules("a.rs", &format!("{attribute}]\n{attribute} = \"slow\"]\n")), ["ignore", "ignore"]);
    }

    #[test]
    fn io_in_the_core_is_found() {
        for name in SANS_IO_STD {
            assert_eq!(
                rules("core/proto/src/a.rs", &format!("use std::{name}::X;\n")),
                ["sans-io"],
                "{name}"
            );
            assert_eq!(
                rules("core/proto/src/a.rs", &format!("use std::{{fmt, {name}::X}};\n")),
                ["sans-io"],
                "{name}"
            );
            assert!(rules("core/src/a.rs", &format!("use std::{name}::X;\n")).is_empty());
        }
        for name in SANS_IO_CRATES {
            assert_eq!(rules("core/proto/src/a.rs", &format!("use {name}::X;\n")), ["sans-io"], "{name}");
        }
        assert!(
            rules("core/proto/src/a.rs", "use std::{collections::{BTreeMap, net}, time::Duration};\n")
                .is_empty()
        );
    }

    #[test]
    fn groups_are_opened() {
        assert_eq!(first_names("a::b;"), ["a"]);
        assert_eq!(first_names("{\n    a::{b, c},\n    d,\n};"), ["a", "d"]);
        assert_eq!(first_names("{a"), ["a"]);
    }
}
