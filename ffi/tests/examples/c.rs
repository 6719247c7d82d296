//! examples/c.

use crate::library::skip;
use crate::support::{Program, Workshop, has, package, place, read, root};
use std::path::{Path, PathBuf};

fn compile(shop: &Workshop, name: &str) -> PathBuf {
    shop.compile("cc", "c99", &format!("examples/c/{name}.c"), &[])
}

/// The names of all files of a directory.
pub(crate) fn names(directory: &str, ending: &str) -> Vec<String> {
    let entries = std::fs::read_dir(root(directory)).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

#[test]
fn every_example_compiles_without_a_warning_and_says_how_it_is_built() {
    for name in names("examples/c", ".c") {
        let source = format!("examples/c/{name}");
        let text = read(&source);
        let head: Vec<&str> = text.lines().take_while(|line| !line.starts_with("#include")).collect();
        let flags = if text.contains("<uv.h>") { package("libuv") } else { Some(Vec::new()) };
        let Some(flags) = flags else {
            skip(&source, "needs libuv1-dev");
            continue;
        };
        for compiler in ["gcc", "clang"].into_iter().filter(|compiler| has(compiler)) {
            Workshop::check(compiler, "c99", &source, &flags);
        }
        // The one in the header has its command beside it there.
        let is_told = head.iter().any(|line| line.contains("$(pkg-config --cflags --libs clerver"));
        assert!(is_told || name == "first.c", "{source} does not say how it is built");
    }
}

#[test]
fn first_shouts() {
    let (shop, place) = (Workshop::new(), place());
    let first = compile(&shop, "first");
    let mut server = shop.start(&first, ["serve", &place]);
    let mut client = shop.start(&first, ["any text", &place]);
    client.says("ANY TEXT");
    client.good_rest();
    server.tell("");
    server.says("serving; Enter ends it");
    server.good_rest();
}

#[test]
fn two_ways_moves_its_session() {
    let shop = Workshop::new();
    let program = compile(&shop, "two_ways");
    let mut server = shop.start(&program, ["serve", "127.0.0.1:0", "127.0.0.2:0"]);
    let [first, second] = [0, 1].map(|_| server.says_rest_of("serving at "));
    let mut client = shop.start(&program, ["talk", &first]);
    client.tell("hello");
    client.says_later("HELLO");
    client.tell("");
    client.tell("still here?");
    client.says_later("moving: as you wish");
    client.says_later("STILL HERE?");
    server.tell(&second);
    // The server's wish and the client's calls go different ways, and the client tells only when it has a line.
    let mut tells = || {
        client.tell("and now?");
        client.line().unwrap() == "moving: the server asked for it"
    };
    assert!((0..100_000).any(|_| tells()), "it did not move");
    client.finish_input();
    client.good_rest();
    server.finish_input();
    server.good_rest();
}

/// A server and three clients, each in C or C++: jobs are added, taken, given back by a killed worker, and done.
pub(crate) fn jobs_are_queued_and_come_back(shop: &Workshop, server: &Path, client: &Path) {
    let mut server = shop.start(server, ["127.0.0.1:0"]);
    let place = server.says_rest_of("serving at ");
    let start = |words: &[&str]| shop.start(client, std::iter::once(&*place).chain(words.iter().copied()));

    let adding = start(&["add", "wash the car", "feed the cat"]);
    assert_eq!(adding.good_rest(), ["queued: wash the car", "queued: feed the cat"]);
    server.says("queued: wash the car");
    server.says("queued: feed the cat");

    let number = |worker: &mut Program, job: &str| {
        let line = worker.says_rest_of("working on ");
        assert!(line.ends_with(job), "{line}");
    };
    let mut unlucky = start(&["work"]);
    number(&mut unlucky, " wash the car");
    let mut lazy = start(&["work"]);
    number(&mut lazy, " feed the cat");

    unlucky.kill();
    server.says("back in the queue: wash the car");
    lazy.finish_input();
    assert_eq!(lazy.good_rest(), [""; 0]);
    server.says("back in the queue: feed the cat");

    let mut good = start(&["work"]);
    number(&mut good, " feed the cat");
    good.tell("");
    number(&mut good, " wash the car");
    good.tell("");
    let (_, status, complaints) = good.rest();
    assert!(!status.success() && complaints.contains("no job is waiting"), "{complaints}");
    server.says("done: feed the cat");
    server.says("done: wash the car");
    server.tell("");
    assert_eq!(server.good_rest(), [""; 0]);
}

#[test]
fn a_killed_workers_job_comes_back() {
    let shop = Workshop::impatient();
    let (server, client) = (compile(&shop, "jobs_server"), compile(&shop, "jobs_client"));
    jobs_are_queued_and_come_back(&shop, &server, &client);
}

#[test]
fn a_queue_of_jobs_survives_the_death_of_both_sides() {
    let (shop, place) = (Workshop::impatient(), place());
    let program = compile(&shop, "stored");
    let start = |what: &str| {
        let store = shop.path().join(format!("{what}.store"));
        shop.start(&program, [what, &place, store.to_str().unwrap()])
    };
    let give = |giver: &mut Program, job: &str| {
        giver.tell(job);
        giver.says(&format!("given: {job}"));
    };
    let (mut worker, mut giver) = (start("work"), start("give"));
    ["one", "two", "three"].into_iter().for_each(|job| give(&mut giver, job));
    worker.says("job: one");
    worker.tell("");
    worker.says("job: two");
    worker.kill();
    give(&mut giver, "four");
    giver.kill();

    let mut giver = start("give");
    give(&mut giver, "five");
    let mut worker = start("work");
    worker.says("again?: two");
    for job in ["three", "four", "five"] {
        worker.tell("");
        let line = worker.line().unwrap();
        let (how, which) = line.split_once(": ").unwrap();
        // Whether the third one had come before is a matter of moments.
        assert!(which == job && (how == "job" || job == "three"), "{line}");
    }
    giver.finish_input();
    giver.good_rest();
    worker.tell("");
    worker.finish_input();
    worker.kill();
}

#[test]
fn people_chat_in_one_thread_each() {
    let (shop, place) = (Workshop::new(), place());
    let chat = compile(&shop, "poll_chat");
    let mut host = shop.start(&chat, ["host", &place]);
    host.says("write lines; the end of input ends it");
    let mut join = || {
        let mut member = shop.start(&chat, ["join", &place]);
        member.says("write lines; the end of input ends it");
        host.says("(somebody joined)");
        member
    };
    let mut first = join();
    let mut second = join();
    first.says("(somebody joined)");

    first.tell("hello");
    host.says("hello");
    second.says("hello");
    host.tell("welcome");
    first.says("welcome");
    second.says("welcome");

    second.finish_input();
    assert_eq!(second.good_rest(), [""; 0]);
    host.says("(somebody left)");
    host.finish_input();
    assert_eq!(host.good_rest(), [""; 0]);
    first.says("(somebody left)");
    first.finish_input();
    first.good_rest();
}

#[test]
fn a_libuv_loop_makes_many_calls() {
    let Some(flags) = package("libuv") else {
        return skip("a_libuv_loop_makes_many_calls", "needs libuv1-dev");
    };
    let (shop, place) = (Workshop::new(), place());
    let program = shop.compile("cc", "c99", "examples/c/uv_shout.c", &flags);
    let mut server = shop.start(&compile(&shop, "first"), ["serve", &place]);
    let client = shop.start(&program, [&*place, "one", "two", "three"]);
    let mut lines = client.good_rest();
    lines.sort();
    assert_eq!(lines, ["0: ONE", "1: TWO", "2: THREE"]);
    server.tell("");
    server.good_rest();
}

#[test]
fn a_program_with_one_thread_serves_and_calls() {
    let shop = Workshop::new();
    let program = compile(&shop, "caller_driven");
    let mut server = shop.start(&program, ["serve", "127.0.0.1:0"]);
    let place = server.says_rest_of("serving at ");
    for numbers in [["1", "2", "3"], ["4", "5", "6"]] {
        assert_eq!(shop.start(&program, ["count", &place]).good_rest(), numbers);
    }
    server.terminate();
    server.good_rest();
}
