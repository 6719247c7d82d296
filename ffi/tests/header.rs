//! `include/clerver.h` is made from this crate and committed; this test makes it again and compares.
//! `make header` (CLERVER_UPDATE=1) writes it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write;
use std::path::{Path, PathBuf};

const WIDTH: usize = 119;

fn package() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = package().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every type that a source file declares; cbindgen leaves out what no function of the same file names.
fn types(source: &str) -> Vec<String> {
    let declared = source.lines().filter_map(|line| {
        let rest = line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub type "))?;
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
    });
    declared.map(str::to_owned).collect()
}

/// What one source file declares for C.
fn declarations(module: &str) -> String {
    let path = package().join(format!("src/{module}.rs"));
    let config = cbindgen::Config {
        language: cbindgen::Language::C,
        style: cbindgen::Style::Both,
        documentation_style: cbindgen::DocumentationStyle::C,
        usize_is_size_t: true,
        no_includes: true,
        sort_by: cbindgen::SortKey::None,
        line_length: WIDTH,
        tab_width: 4,
        export: cbindgen::ExportConfig { include: types(&read(&path)), ..Default::default() },
        ..cbindgen::Config::default()
    };
    let bindings =
        cbindgen::Builder::new().with_config(config).with_src(path).generate().expect("declarations");
    let mut text = Vec::new();
    bindings.write(&mut text);
    tidied(&String::from_utf8(text).unwrap())
}

/// In the style of the examples: short comments on one line, constants in one block, no tags where names do.
fn tidied(text: &str) -> String {
    let mut out: Vec<String> = Vec::new();
    let mut lines = text.lines().map(str::trim_end);
    while let Some(line) = lines.next() {
        if line.trim() == "/*" {
            let indent = &line[..line.len() - 2];
            let body: Vec<&str> =
                lines.by_ref().take_while(|line| line.trim() != "*/").map(str::trim).collect();
            out.extend(comment(indent, &body));
            continue;
        }
        let line = if line.starts_with("typedef struct") {
            line.to_owned()
        } else {
            line.replace("struct clv_", "clv_")
        };
        match line.split_once(" -").filter(|_| line.starts_with("#define")) {
            Some((name, number)) => out.push(format!("{name} (-{number})")),
            None => out.push(line),
        }
    }
    without_gaps(&out).join("\n").trim().to_owned()
}

/// One comment. The contract for callers from Rust ("Safety") is that of the laws.
fn comment(indent: &str, body: &[&str]) -> Vec<String> {
    let end = body.iter().position(|line| *line == "# Safety").unwrap_or(body.len());
    let mut body: Vec<String> = body[..end].iter().map(|line| line.replace('`', "")).collect();
    while body.last().is_some_and(String::is_empty) {
        body.pop();
    }
    if body.len() == 1 {
        return vec![format!("{indent}/* {} */", body[0])];
    }
    let inner = body.iter().map(|line| format!("{indent} * {line}").trim_end().to_owned());
    let mut comment = vec![format!("{indent}/*")];
    comment.extend(inner);
    comment.push(format!("{indent} */"));
    comment
}

/// Constants that stand one below the other are one block.
fn without_gaps(lines: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let follows_constant = at > 0 && lines[at - 1].starts_with("#define");
        let rest = &lines[at + 1..];
        let next = rest.iter().position(|line| line.starts_with("#define"));
        let constant_follows = next.is_some_and(|next| {
            rest[..next].iter().all(|line| line.starts_with("/*") || line.starts_with(" *"))
        });
        if !(line.is_empty() && follows_constant && constant_follows) {
            out.push(line.clone());
        }
    }
    out
}

fn boxed(title: &str) -> String {
    format!("\n/* ---- {title} {} */\n\n", "-".repeat(WIDTH - 13 - title.len()))
}

fn preamble() -> String {
    let mut text = String::from("/*\n");
    let program = read("../examples/c/first.c").replace("/*", "//").replace("*/", "");
    let program = program.lines().map(|line| format!("    {}", line.trim_end()));
    let laws = read("header/laws.txt");
    for line in laws.lines().map(str::to_owned).chain(program) {
        let line = format!(" * {line}");
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text + " */\n"
}

fn header() -> String {
    let mut text = preamble();
    text += "#ifndef CLERVER_H\n#define CLERVER_H\n\n#include <stddef.h>\n#include <stdint.h>\n\n";
    text += "#ifdef __cplusplus\nextern \"C\" {\n#endif\n";
    for line in read("header/sections.txt").lines() {
        let (module, title) = line.split_once(' ').unwrap();
        text += &boxed(title.trim());
        text += &declarations(module);
        text += "\n";
    }
    text += &boxed("First values");
    text += &read("header/inits.txt");
    text + "\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n"
}

#[test]
fn the_header_is_fresh() {
    let path = package().join("../include/clerver.h");
    let fresh = header();
    if std::env::var_os("CLERVER_UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let at = committed.lines().zip(fresh.lines()).position(|(old, new)| old != new);
    assert!(
        committed == fresh,
        "include/clerver.h is not what ffi/src says (first difference in line {:?}): run `make header`",
        at.map(|line| line + 1)
    );
}

#[test]
fn every_module_with_c_functions_has_its_section() {
    let sections = read("header/sections.txt");
    for entry in std::fs::read_dir(package().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let module = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let has_functions = read(&path).contains("#[unsafe(no_mangle)]");
        let has_section = sections.lines().any(|line| line.split_whitespace().next() == Some(&module));
        assert!(!has_functions || has_section, "{module} is missing in ffi/header/sections.txt");
    }
}

#[test]
fn every_declaration_has_its_comment() {
    let header = header();
    let lines: Vec<&str> = header.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let declares =
            (line.contains(" clv_") && line.contains('(') && !line.starts_with([' ', '#', '/', '}']))
                || line.starts_with("#define CLV_E")
                || line.starts_with("typedef");
        let is_commented = lines[..at].last().is_some_and(|before| before.trim_end().ends_with("*/"));
        let is_helper = line.contains("INIT ") || line.contains("template") || line.contains("inline");
        assert!(!declares || is_commented || is_helper, "line {}: {line}", at + 1);
    }
}
