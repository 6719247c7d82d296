//! Files that a user edits: options (TOML), authorised hosts, known hosts, the block list. Read or refused,
//! never read in part.
#![no_main]

use arbitrary::Arbitrary;
use clerver::options::Options;
use clerver::trust::TrustStore;
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Options(&'a [u8]),
    Option { name: &'a str, value: &'a str },
    Trust { authorized: &'a [u8], known_hosts: &'a [u8], blocked: &'a [u8] },
}

thread_local! {
    static HOME: OnceCell<TempDir> = const { OnceCell::new() };
}

fn with_file(files: &[(&str, &[u8])], each: impl FnOnce(&std::path::Path)) {
    HOME.with(|home| {
        let home = home.get_or_init(|| tempfile::tempdir().expect("make a directory for the files"));
        for (name, content) in files {
            let path = home.path().join(name);
            fs::write(&path, content).expect("write a file to be read");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("make it private");
        }
        each(home.path());
    });
}

fuzz_target!(|input: Input| match input {
    Input::Options(content) => with_file(&[("clerver.toml", content)], |home| {
        let mut options = Options::new();
        if options.load_file(&home.join("clerver.toml")).is_ok() {
            let _ = options.resolve();
        }
    }),
    Input::Option { name, value } => {
        let mut options = Options::new();
        if options.set(name, value).is_ok() {
            let _ = options.resolve();
        }
    }
    Input::Trust { authorized, known_hosts, blocked } => {
        let files = [("authorized", authorized), ("known_hosts", known_hosts), ("blocked", blocked)];
        with_file(&files, |home| {
            if let Ok(store) = TrustStore::load(home) {
                let snapshot = store.snapshot();
                let lines = |content: &[u8]| content.split(|byte| *byte == b'\n').count();
                assert!(snapshot.levels.len() <= lines(authorized));
                assert!(snapshot.blocked.len() <= lines(blocked));
            }
        });
    }
});
