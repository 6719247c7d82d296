//! examples/legacy: the programs of the 1990s, before and after, over a proxy that cuts their connections.

use crate::support::{Program, Workshop, address};
use clerver_proxy::Proxy;
use std::path::PathBuf;

/// Each connection is cut after so many bytes, both directions together.
const CUT_AFTER: u64 = 150_000;
const LINES: usize = 100_000;
/// The server needs seconds for so many.
const MANY_LINES: usize = 2_000_000;

struct Legacy {
    shop: Workshop,
    server: Program,
    client: PathBuf,
    proxy: Proxy,
    file: String,
}

fn legacy(shop: Workshop, which: &str, lines: usize) -> Legacy {
    let program = |name: &str| shop.compile("cc", "gnu99", &format!("examples/legacy/{which}/{name}.c"), &[]);
    let (server, client) = (program("server"), program("client"));
    let file: String = (0..lines).map(|line| format!("{line}\n")).collect();
    let path = shop.path().join("file");
    std::fs::write(&path, &file).unwrap();
    let (host, port) = address();
    let mut server = shop.start(&server, [&*host, &port.to_string(), path.to_str().unwrap()]);
    server.says(&format!("serving {} at {host}:{port}", path.display()));
    let proxy = Proxy::start(format!("{host}:{port}").parse().unwrap()).unwrap();
    Legacy { shop, server, client, proxy, file }
}

impl Legacy {
    fn start_client(&self) -> Program {
        let port = self.proxy.address().port().to_string();
        self.shop.start(&self.client, ["localhost", &port])
    }

    fn copies_all(&self) {
        let lines = self.start_client().good_rest();
        assert!(lines.iter().eq(self.file.lines()), "{} of {LINES} lines", lines.len());
    }
}

#[test]
fn before_it_works_until_the_connection_is_cut() {
    let legacy = legacy(Workshop::new(), "before", LINES);
    legacy.copies_all();
    legacy.proxy.reset_after(Some(CUT_AFTER));
    let (lines, status, complaints) = legacy.start_client().rest();
    assert!(!status.success() && complaints.contains("the connection broke"), "{status} {complaints}");
    assert!(lines.len() < LINES);
    legacy.server.kill();
}

#[test]
fn after_it_survives_every_cut() {
    let legacy = legacy(Workshop::new(), "after", LINES);
    legacy.proxy.reset_after(Some(CUT_AFTER));
    legacy.copies_all();
    let cuts = legacy.proxy.counters().resets;
    assert!(cuts >= 3, "only {cuts} cuts");
    // Several clients at once, as its select is for.
    legacy.proxy.reset_after(None);
    let (first, second) = (legacy.start_client(), legacy.start_client());
    assert_eq!((first.good_rest().len(), second.good_rest().len()), (LINES, LINES));
    legacy.server.kill();
}

#[test]
fn after_it_never_takes_a_part_for_the_whole() {
    let legacy = legacy(Workshop::impatient(), "after", MANY_LINES);
    let mut client = legacy.start_client();
    client.says("0");
    legacy.server.kill();
    let (lines, status, complaints) = client.rest();
    assert!(!status.success() && complaints.contains("the connection broke"), "{status} {complaints}");
    assert!(lines.len() < MANY_LINES, "the server was too fast to be killed in the middle");
}
