//! The house rules over the files that git tracks or would add.

use std::path::{Path, PathBuf};
use std::process::Command;

use clerver_tidy::{File, check, exceptions};

/// Asked at run time: a target directory shared by two clones may hold a test that the other one built.
fn root() -> PathBuf {
    let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("run it by cargo");
    Path::new(&manifest).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join("tests/tidy").join(path)).expect(path)
}

/// A file that is deleted but not yet committed, or a link, is passed over.
fn files() -> Vec<File> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed =
        Command::new("git").args(arguments).current_dir(root()).output().expect("git must be installed");
    let said = String::from_utf8_lossy(&listed.stderr);
    assert!(listed.status.success(), "git ls-files failed: {said}");
    let paths = String::from_utf8(listed.stdout).expect("paths are UTF-8");
    let present = |path: &&str| root().join(path).symlink_metadata().is_ok_and(|meta| meta.is_file());
    let mut files: Vec<File> = paths
        .split_terminator('\0')
        .filter(present)
        .filter_map(|path| {
            Some(File { path: path.to_string(), bytes: std::fs::read(root().join(path)).ok()? })
        })
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    files
}

#[test]
fn the_house_is_tidy() {
    let files = files();
    assert!(
        files.iter().any(|file| file.path == "core/proto/src/lib.rs"),
        "git listed no source: is this the project?"
    );
    let findings = check(&files, &read("layers.txt"));
    let left = exceptions::apply(findings, &read("exceptions.txt"));
    let report: Vec<String> = left.iter().map(|finding| finding.report()).collect();
    assert!(report.is_empty(), "{} breaches of the house rules:\n{}\n", report.len(), report.join("\n"));
}
