//! Imports point down only. `layers.txt` says which module may name which; this module reads it and looks
//! for `crate::module` and for `super::` chains that reach the root of the crate. Tests inside a file obey
//! it too.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{first_names, line_of, roots};
use crate::mask::mask;
use crate::text::word_offsets;
use crate::{File, Finding};

const TABLE: &str = "tests/tidy/layers.txt";

#[derive(Debug, Default)]
struct Layers {
    /// Every module must have a row.
    strict: bool,
    rows: BTreeMap<String, Row>,
}

#[derive(Debug, Default)]
struct Row {
    all: bool,
    allowed: BTreeSet<String>,
    banned: BTreeSet<String>,
}

impl Row {
    fn permits(&self, module: &str) -> bool {
        !self.banned.contains(module) && (self.all || self.allowed.contains(module))
    }
}

/// Checks all files of the crates in `table`.
pub fn check(files: &[File], table: &str) -> Vec<Finding> {
    let (crates, mut findings) = parse(table);
    for (root, layers) in &crates {
        let inside: Vec<(&File, Vec<&str>)> =
            files.iter().filter_map(|file| Some((file, module_path(&file.path, root)?))).collect();
        let modules: BTreeSet<&str> = inside.iter().filter_map(|(_, path)| path.first().copied()).collect();
        for (file, path) in &inside {
            let (Some(own), Some(source)) = (path.first(), file.text()) else { continue };
            let Some(row) = layers.rows.get(*own) else {
                if layers.strict {
                    let what = format!("module `{own}` has no row in {TABLE}: say what it may import");
                    findings.push(Finding::at("layers", &file.path, 1, what));
                }
                continue;
            };
            for (line, name) in imports(&mask(source), path.len()) {
                if name != *own && modules.contains(name.as_str()) && !row.permits(&name) {
                    let what = format!(
                        "`{own}` may not import `{name}`; a parent carries values between them ({TABLE})"
                    );
                    findings.push(Finding::at("layers", &file.path, line, what));
                }
            }
        }
    }
    findings
}

/// Lines are `strict DIR`, `crate DIR`, or `module: name name * !name`; `#` starts a comment.
fn parse(table: &str) -> (BTreeMap<String, Layers>, Vec<Finding>) {
    let mut crates: BTreeMap<String, Layers> = BTreeMap::new();
    let mut findings = Vec::new();
    let mut current = String::new();
    for (index, line) in table.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        if let Some((module, names)) = line.split_once(':') {
            let mut row = Row::default();
            for name in names.split_whitespace() {
                match name.strip_prefix('!') {
                    Some(banned) => drop(row.banned.insert(banned.to_string())),
                    None if name == "*" => row.all = true,
                    None => drop(row.allowed.insert(name.to_string())),
                }
            }
            crates.entry(current.clone()).or_default().rows.insert(module.trim().to_string(), row);
        } else if let Some((kind @ ("strict" | "crate"), root)) = line.split_once(' ') {
            current = format!("{}/", root.trim());
            crates.entry(current.clone()).or_default().strict = kind == "strict";
        } else {
            findings.push(Finding::at("layers", TABLE, index + 1, format!("cannot read `{line}`")));
        }
    }
    (crates, findings)
}

/// `src/a/b.rs` is `[a, b]`, `src/a/mod.rs` is `[a]`, `src/lib.rs` is empty.
fn module_path<'a>(path: &'a str, root: &str) -> Option<Vec<&'a str>> {
    let inner = path.strip_prefix(root)?.strip_suffix(".rs")?;
    let mut parts: Vec<&str> = inner.split('/').collect();
    if matches!(parts.last(), Some(&"mod")) || matches!(parts[..], ["lib" | "main"]) {
        parts.pop();
    }
    Some(parts)
}

/// Top-level modules that a file at this depth names, with their lines.
fn imports(masked: &str, depth: usize) -> Vec<(usize, String)> {
    let named = roots(masked, "crate").into_iter().map(|(at, name)| (line_of(masked, at), name.to_string()));
    let mut found: Vec<(usize, String)> = named.collect();
    for at in word_offsets(masked, "super") {
        if masked[..at].ends_with("super::") {
            continue;
        }
        let (mut rest, mut steps) = (&masked[at..], 0);
        while let Some(next) = rest.strip_prefix("super::") {
            (rest, steps) = (next, steps + 1);
        }
        // Inside an inline module one more step leads to the root.
        let nested = masked[..at].matches('{').count() != masked[..at].matches('}').count();
        if steps > depth || (steps == depth && !nested) {
            found.extend(first_names(rest).into_iter().map(|name| (line_of(masked, at), name.to_string())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "strict p/src\nid: # base\nchannel: id\nobject: id\nsession: * !node\nnode: *\ncrate c/src\nengine: * !api\n";

    fn found(path: &str, source: &str) -> usize {
        let mut files = vec![File { path: path.to_string(), bytes: source.as_bytes().to_vec() }];
        for name in
            ["p/src/id", "p/src/channel/mod", "p/src/object", "p/src/session/mod", "p/src/node", "c/src/api"]
        {
            files.push(File { path: format!("{name}.rs"), bytes: Vec::new() });
        }
        check(&files, RULES).len()
    }

    #[test]
    fn an_upward_or_sideways_import_is_found() {
        assert_eq!(found("p/src/channel/recv.rs", "use crate::id::HostId;\nuse super::Send;\n"), 0);
        assert_eq!(found("p/src/channel/recv.rs", "use crate::object::Object;\n"), 1);
        assert_eq!(found("p/src/object.rs", "use crate::{id::X, channel::{A, B}};\n"), 1);
        assert_eq!(found("p/src/object.rs", "fn f() -> crate::session::Session { x }\n"), 1);
        assert_eq!(found("p/src/id.rs", "use crate::node::Node;\n"), 1);
        assert_eq!(found("p/src/session/table.rs", "use crate::{channel::A, object::B};\n"), 0);
        assert_eq!(found("p/src/session/table.rs", "use crate::node::Node;\n"), 1);
        assert_eq!(found("p/src/node.rs", "use crate::{session, channel};\n"), 0);
        assert_eq!(found("c/src/engine/shard.rs", "use crate::api::Node;\n"), 1);
        assert_eq!(found("c/src/other.rs", "use crate::api::Node;\n"), 0);
        assert_eq!(found("p/src/lib.rs", "pub use crate::node::Node;\n"), 0);
    }

    #[test]
    fn a_way_round_by_super_is_found() {
        assert_eq!(found("p/src/object.rs", "use super::channel::A;\n"), 1);
        assert_eq!(found("p/src/channel/recv.rs", "use super::super::object::A;\n"), 1);
        assert_eq!(
            found("p/src/object.rs", "mod tests {\n    use super::super::channel;\n    use super::*;\n}\n"),
            1
        );
        assert_eq!(
            found("p/src/channel/recv.rs", "// use super::super::object::A;\nuse super::object;\n"),
            0
        );
    }

    #[test]
    fn a_module_without_a_row_is_found() {
        assert_eq!(found("p/src/novel.rs", ""), 1);
        assert_eq!(found("p/src/novel/inner.rs", ""), 1);
        assert_eq!(parse("strict p/src\nnonsense\n").1.len(), 1);
    }
}
