//! clerver.hpp and examples/cpp.

use crate::c::{jobs_are_queued_and_come_back, names};
use crate::library::have;
use crate::support::{Workshop, has, read};

/// The compilers that are here.
fn compilers() -> impl Iterator<Item = &'static str> {
    ["g++", "clang++"].into_iter().filter(|compiler| has(compiler))
}

#[test]
fn everything_of_the_c_header_is_reachable() {
    let (header, face) = (read("include/clerver.h"), read("include/clerver.hpp"));
    let words: Vec<&str> = face.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let mut count = 0;
    for line in header.lines() {
        let function = line.split_once('(').and_then(|(head, _)| head.rsplit([' ', '*']).next());
        let is_function = !line.starts_with([' ', '/', '#', '}', 't']) && !line.contains("(*");
        let constant = line.strip_prefix("#define ").and_then(|rest| rest.split([' ', '(']).next());
        let names = function.filter(|_| is_function).into_iter().chain(constant);
        for name in names.filter(|name| name.starts_with("clv_") || name.starts_with("CLV_")) {
            // How first values are made, and room that strings do not need.
            if !["CLV_SIZED", "CLV_SIZED_FOR_LEVEL"].contains(&name) {
                count += 1;
                assert!(words.contains(&name), "clerver.hpp does not use {name}");
            }
        }
    }
    assert!(count > 150, "only {count} names were found");
}

#[test]
fn the_face_compiles_with_every_standard_and_does_what_it_says() {
    if !have("the_face_compiles_with_every_standard_and_does_what_it_says", &["g++"]) {
        return;
    }
    let source = "ffi/tests/cpp/face.cpp";
    for standard in ["c++14", "c++17", "c++20"] {
        Workshop::check("g++", standard, source, &[]);
    }
    for compiler in compilers().filter(|compiler| *compiler != "g++") {
        Workshop::check(compiler, "c++11", source, &[]);
        Workshop::check(compiler, "c++20", source, &[]);
    }
    let shop = Workshop::new();
    let program = shop.compile("g++", "c++11", source, &[]);
    assert_eq!(shop.start(&program, []).good_rest(), ["the C++ face: all good"]);
}

#[test]
fn every_example_compiles_without_a_warning_and_says_how_it_is_built() {
    for name in names("examples/cpp", ".cpp") {
        let source = format!("examples/cpp/{name}");
        compilers().for_each(|compiler| Workshop::check(compiler, "c++11", &source, &[]));
        assert!(read(&source).contains("$(pkg-config --cflags --libs clerver)"), "{source}");
    }
}

#[test]
fn the_pair_works_with_itself_and_with_the_one_in_c() {
    if !have("the_pair_works_with_itself_and_with_the_one_in_c", &["g++"]) {
        return;
    }
    let shop = Workshop::impatient();
    let program = |name: &str| shop.compile("g++", "c++11", &format!("examples/cpp/{name}.cpp"), &[]);
    let (server, client) = (program("jobs_server"), program("jobs_client"));
    let c_program = |name: &str| shop.compile("cc", "c99", &format!("examples/c/{name}.c"), &[]);
    jobs_are_queued_and_come_back(&shop, &server, &client);
    jobs_are_queued_and_come_back(&shop, &server, &c_program("jobs_client"));
    jobs_are_queued_and_come_back(&shop, &c_program("jobs_server"), &client);
}
