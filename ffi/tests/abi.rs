//! What programs that are built already rely on: the symbols of the library, and the numbers, layouts and
//! signatures of the header. `ffi/abi/clerver.abi.txt` holds them; `make abi` (CLERVER_UPDATE=1) writes it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod library;

use library::{built, compiler, output, root};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;

const SNAPSHOT: &str = "ffi/abi/clerver.abi.txt";

/// The header without comments; with `-dM` its macros instead.
fn preprocessed(more: &[&str]) -> String {
    output(compiler().args(["-E", "-P"]).args(more).arg(root().join("include/clerver.h")))
}

/// What the header declares, each with single blanks.
fn declarations() -> Vec<String> {
    let text = preprocessed(&[]);
    let (mut all, mut one, mut depth) = (Vec::new(), String::new(), 0);
    for letter in text.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if letter == ';' && depth == 0 {
            all.push(one.split_whitespace().collect::<Vec<_>>().join(" "));
            one.clear();
        } else {
            one.push(letter);
        }
    }
    all.into_iter().filter(|one| one.contains("clv_")).collect()
}

struct Function {
    name: String,
    signature: String,
}

/// `type` of `type name`: what a parameter is called is not part of an ABI.
fn without_name(parameter: &str) -> &str {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let kind = parameter.trim().trim_end_matches(is_name).trim_end();
    if kind.is_empty() { parameter.trim() } else { kind }
}

fn functions() -> Vec<Function> {
    let declarations = declarations().into_iter().filter(|one| !one.starts_with("typedef"));
    let mut functions: Vec<Function> = declarations
        .map(|one| {
            let (head, parameters) = one.split_once('(').unwrap_or_else(|| panic!("not a function: {one}"));
            let result = without_name(head);
            let name = head[result.len()..].trim().to_owned();
            let parameters: Vec<&str> =
                parameters.strip_suffix(')').unwrap().split(',').map(without_name).collect();
            let signature = format!("{result} {name}({})", parameters.join(", "));
            Function { name, signature }
        })
        .collect();
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    functions
}

/// Lines of C that print one constant, type or member each.
fn questions() -> String {
    let mut text = String::new();
    let macros = preprocessed(&["-dM"]);
    let constants: BTreeSet<&str> =
        macros.lines().filter_map(|line| line.strip_prefix("#define CLV_")).collect();
    for line in constants {
        let (name, value) = line.split_once(' ').unwrap();
        if name.ends_with("_INIT") {
            writeln!(text, "    puts(\"init CLV_{name} {value}\");").unwrap();
        } else if !name.contains('(') && !name.starts_with("VERSION_") {
            writeln!(text, "    printf(\"constant CLV_{name} %lld\\n\", (long long)(CLV_{name}));").unwrap();
        }
    }
    let mut types = declarations();
    types.sort();
    for one in types {
        let Some(declared) = one.strip_prefix("typedef ") else { continue };
        match declared.split_once('{') {
            Some((_, body)) => layout(&mut text, body),
            None => writeln!(text, "    puts(\"type {declared}\");").unwrap(),
        }
    }
    text
}

/// The questions about one struct, from its members and name.
fn layout(text: &mut String, body: &str) {
    let (members, name) = body.rsplit_once('}').unwrap();
    let name = name.trim();
    writeln!(text, "    printf(\"struct {name} %zu bytes\\n\", sizeof({name}));").unwrap();
    for member in members.split(';').map(str::trim).filter(|member| !member.is_empty()) {
        let called = match member.split_once("(*") {
            Some((_, rest)) => rest.split(')').next().unwrap(),
            None => {
                let plain = member.split('[').next().unwrap();
                &plain[without_name(plain).len()..]
            }
        }
        .trim();
        let place = format!("offsetof({name}, {called}), sizeof((({name} *)0)->{called})");
        writeln!(text, "    printf(\"member {name} at %zu, %zu bytes: {member}\\n\", {place});").unwrap();
    }
}

fn soname() -> String {
    let dynamic = output(Command::new("readelf").arg("-dW").arg(built().join("libclerver.so")));
    let line = dynamic.lines().find(|line| line.contains("(SONAME)")).expect("the library has a soname");
    line.split(['[', ']']).nth(1).unwrap().to_owned()
}

/// What the header and the library say today.
fn snapshot() -> String {
    let scratch = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (source, program) = (scratch.path().join("ask.c"), scratch.path().join("ask"));
    let body = questions();
    let code =
        format!("#include <clerver.h>\n#include <stdio.h>\n\nint main(void)\n{{\n{body}    return 0;\n}}\n");
    std::fs::write(&source, code).unwrap();
    output(compiler().arg("-I").arg(root().join("include")).arg(&source).arg("-o").arg(&program));
    let mut text = String::from(
        "The ABI of the C library on 64-bit Linux, from include/clerver.h. `make abi` makes it anew.\n\n",
    );
    writeln!(text, "soname {}", soname()).unwrap();
    text += &output(&mut Command::new(program));
    for function in functions() {
        writeln!(text, "function {}", function.signature).unwrap();
    }
    text
}

/// The lines of `one` that `other` does not have.
fn only_in(one: &str, other: &str) -> String {
    let known: BTreeSet<&str> = other.lines().collect();
    let lines: Vec<&str> = one.lines().filter(|line| !known.contains(line)).collect();
    if lines.is_empty() { "  nothing".into() } else { format!("  {}", lines.join("\n  ")) }
}

#[test]
#[cfg(target_pointer_width = "64")]
fn the_abi_is_the_accepted_one() {
    let path = root().join(SNAPSHOT);
    let fresh = snapshot();
    if std::env::var_os("CLERVER_UPDATE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let accepted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        accepted == fresh,
        "the ABI is not what {SNAPSHOT} says\n\
         gone or changed, which breaks programs that are built already:\n{}\n\
         new, which does not, nor does a member at the end of a struct that begins with struct_size:\n{}\n\
         If it is meant: `make abi`, and say it in CHANGELOG.md; what breaks programs needs a new minor version.\n",
        only_in(&accepted, &fresh),
        only_in(&fresh, &accepted),
    );
}

#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let symbols =
        output(Command::new("nm").args(["-D", "--defined-only"]).arg(built().join("libclerver.so")));
    let exported: BTreeSet<&str> =
        symbols.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    let functions = functions();
    let declared: BTreeSet<&str> = functions.iter().map(|function| function.name.as_str()).collect();
    let foreign: Vec<_> = exported.iter().filter(|name| !name.starts_with("clv_")).collect();
    assert!(foreign.is_empty(), "exported, and not ours: {foreign:?}");
    let hidden: Vec<_> = exported.difference(&declared).collect();
    assert!(hidden.is_empty(), "exported, and not in include/clerver.h: {hidden:?}");
    let missing: Vec<_> = declared.difference(&exported).collect();
    assert!(missing.is_empty(), "in include/clerver.h, and not exported: {missing:?}");
    assert!(declared.len() > 70, "only {} functions were found in the header", declared.len());
}
