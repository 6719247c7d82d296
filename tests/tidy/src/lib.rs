//! The house rules of Clerver, as tests.
//!
//! Each rule is a plain function from text to findings, so that a unit test can break it on a few lines.
//! The integration test `house` runs all of them over the files that git knows or would add. It is not a
//! parser: it masks comments and string literals, then counts braces and words. What it cannot see, clippy
//! or a reader must. Exceptions stand in `exceptions.txt`, which may only shrink; the layers stand in
//! `layers.txt`.

pub mod code;
pub mod exceptions;
pub mod layers;
pub mod mask;
pub mod project;
pub mod text;

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Short name of the rule, as used in `exceptions.txt`.
    pub rule: &'static str,
    /// What the exception list calls the place: a path, or `path::function`.
    pub key: String,
    /// Line in the file, from 1.
    pub line: usize,
    /// How much: the length for rules on length, else 1.
    pub weight: usize,
    /// What is wrong and what to do.
    pub what: String,
}

impl Finding {
    /// A finding of weight 1 whose key is the path.
    pub fn at(rule: &'static str, path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { rule, key: path.to_string(), line, weight: 1, what: what.into() }
    }

    /// The line that a person reads.
    pub fn report(&self) -> String {
        format!("{}:{}: [{}] {}", self.key, self.line, self.rule, self.what)
    }
}

/// A file of the project: its path from the root, and its bytes.
#[derive(Debug, Clone)]
pub struct File {
    /// Path from the root, with forward slashes.
    pub path: String,
    /// Content as it is on disk.
    pub bytes: Vec<u8>,
}

impl File {
    /// The content as text, or nothing for a binary file.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok().filter(|text| !text.contains('\0'))
    }
}

/// Runs every rule over `files`. `layers` is the text of `layers.txt`.
pub fn check(files: &[File], layers: &str) -> Vec<Finding> {
    let mut findings = project::check(files);
    for file in files {
        findings.extend(text::size(&file.path, file.bytes.len()));
        let Some(content) = file.text() else { continue };
        findings.extend(text::check(&file.path, content));
        if file.path.ends_with(".rs") {
            findings.extend(code::check(&file.path, content));
        }
    }
    findings.extend(layers::check(files, layers));
    findings
}
