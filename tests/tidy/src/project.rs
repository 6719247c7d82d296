//! Rules on the project as a whole: titles of pages, names of decision pages, manifests.

use std::collections::BTreeMap;

use crate::text::has_word;
use crate::{File, Finding};

const DECISIONS: &str = "docs/decisions/";
const SANS_IO_MANIFEST: &str = "core/proto/Cargo.toml";
const SANS_IO_BANNED: [&str; 4] = ["openssl", "mio", "socket2", "libc"];

/// All rules that look at names and at more than one file.
pub fn check(files: &[File]) -> Vec<Finding> {
    let outside = files
        .iter()
        .find(|file| file.path == "Cargo.toml")
        .and_then(File::text)
        .map(excluded)
        .unwrap_or_default();
    let mut findings = decisions(files);
    for file in files {
        let Some(text) = file.text() else { continue };
        if file.path.ends_with(".md") {
            findings.extend(title(&file.path, text));
        }
        if file.path.ends_with("Cargo.toml") && !outside.iter().any(|dir| file.path.starts_with(dir)) {
            findings.extend(manifest(&file.path, text));
        }
    }
    findings
}

/// Exactly one `# ` title, outside code blocks.
fn title(path: &str, text: &str) -> Option<Finding> {
    let (mut titles, mut fenced) = (0, false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced && line.starts_with("# ") {
            titles += 1;
        }
    }
    (titles != 1).then(|| {
        Finding::at("title", path, 1, format!("{titles} titles; a page has one line that starts with `# `"))
    })
}

/// `NNNN-name.md`, and no number twice.
fn decisions(files: &[File]) -> Vec<Finding> {
    let mut numbers: BTreeMap<&str, &str> = BTreeMap::new();
    let mut findings = Vec::new();
    for file in files {
        let Some(name) = file.path.strip_prefix(DECISIONS) else { continue };
        let number = name.get(..4).filter(|number| number.chars().all(|c| c.is_ascii_digit()));
        let stem = name.get(4..).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".md"));
        let (Some(number), Some(_)) = (number, stem.filter(|stem| !stem.is_empty() && !stem.contains('/')))
        else {
            findings.push(Finding::at("decision", &file.path, 1, "a decision page is named NNNN-name.md"));
            continue;
        };
        if let Some(other) = numbers.insert(number, name) {
            findings.push(Finding::at(
                "decision",
                &file.path,
                1,
                format!("number {number} is taken by {other}"),
            ));
        }
    }
    findings
}

/// Every crate shares the version and the lints of the workspace; the sans-IO core depends on no I/O.
fn manifest(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let sections = sections(text);
    let has = |section: &str, line: &str| {
        sections.get(section).is_some_and(|lines| lines.iter().any(|(_, l)| l == line))
    };
    if sections.contains_key("[package]") {
        if !has("[package]", "version.workspace=true") && !has("[package]", "version={workspace=true}") {
            findings.push(Finding::at("manifest", path, 1, "write `version.workspace = true`"));
        }
        if !has("[lints]", "workspace=true") {
            findings.push(Finding::at("manifest", path, 1, "write `[lints]` with `workspace = true`"));
        }
    }
    if path == SANS_IO_MANIFEST {
        for (number, line) in
            sections.iter().filter(|(name, _)| name.contains("dependencies")).flat_map(|(_, lines)| lines)
        {
            if SANS_IO_BANNED.iter().any(|name| has_word(line, name)) {
                findings.push(Finding::at(
                    "sans-io",
                    path,
                    *number,
                    format!("the sans-IO core depends on no I/O: `{line}`"),
                ));
            }
        }
    }
    findings
}

/// Lines of each section, without blanks, with their numbers. Enough for the shapes that we write.
fn sections(text: &str) -> BTreeMap<String, Vec<(usize, String)>> {
    let mut sections: BTreeMap<String, Vec<(usize, String)>> = BTreeMap::new();
    let mut current = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or("").trim();
        if line.starts_with('[') {
            current = line.to_string();
            sections.entry(current.clone()).or_default();
        } else if !line.is_empty() && !line.starts_with('#') {
            let squeezed = line.chars().filter(|c| !c.is_whitespace()).collect();
            sections.entry(current.clone()).or_default().push((index + 1, squeezed));
        }
    }
    sections
}

/// Directories that the root manifest keeps out of the workspace; they cannot inherit from it.
fn excluded(root: &str) -> Vec<String> {
    let line = root.lines().find(|line| line.starts_with("exclude")).unwrap_or("");
    line.split('"').skip(1).step_by(2).map(|dir| format!("{dir}/")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(files: &[(&str, &str)]) -> Vec<&'static str> {
        let made =
            |&(path, text): &(&str, &str)| File { path: path.to_string(), bytes: text.as_bytes().to_vec() };
        check(&files.iter().map(made).collect::<Vec<_>>()).iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_page_without_one_title_is_found() {
        assert_eq!(rules(&[("a.md", "# A\n## B\n```sh\n# not one\n```\n")]), [""; 0]);
        assert_eq!(rules(&[("a.md", "## A\n")]), ["title"]);
        assert_eq!(rules(&[("a.md", "# A\n# B\n")]), ["title"]);
    }

    #[test]
    fn a_misnamed_decision_is_found() {
        assert_eq!(
            rules(&[("docs/decisions/0001-a.md", "# A\n"), ("docs/decisions/0002-b.md", "# B\n")]),
            [""; 0]
        );
        for name in ["README.md", "1-a.md", "0001.md", "0001-.md", "00a1-b.md", "0001-a.txt"] {
            assert_eq!(rules(&[(&format!("docs/decisions/{name}"), "# A\n")]), ["decision"], "{name}");
        }
        assert_eq!(
            rules(&[("docs/decisions/0001-a.md", "# A\n"), ("docs/decisions/0001-b.md", "# B\n")]),
            ["decision"]
        );
    }

    #[test]
    fn a_crate_of_its_own_mind_is_found() {
        let good = "[package]\nname = \"a\"\nversion.workspace = true\n[lints]\nworkspace = true\n";
        let bad = "[package]\nname = \"a\"\nversion = \"1.0.0\"\n";
        let root = ("Cargo.toml", "[workspace]\nexclude = [\"tests/fuzz\"]\n");
        assert_eq!(rules(&[root, ("a/Cargo.toml", good)]), [""; 0]);
        assert_eq!(rules(&[root, ("a/Cargo.toml", bad)]), ["manifest", "manifest"]);
        assert_eq!(rules(&[root, ("tests/fuzz/Cargo.toml", bad)]), [""; 0]);
    }

    #[test]
    fn an_io_dependency_of_the_core_is_found() {
        for name in SANS_IO_BANNED {
            let text = format!(
                "[package]\nversion.workspace = true\n[lints]\nworkspace = true\n[dependencies]\n{name}.workspace = true\n"
            );
            assert_eq!(rules(&[(SANS_IO_MANIFEST, &text)]), ["sans-io"], "{name}");
        }
    }
}
