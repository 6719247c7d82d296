//! `make install` and `make uninstall`, and programs that are built against what they install.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod library;

use library::{PROFILE, built, compiler, failure, have, output, root, skip, target};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use tempfile::TempDir;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const PREFIX: &str = "/opt/clerver";

/// A directory into which `make install` puts everything.
struct Staged {
    dir: TempDir,
    lib: &'static str,
}

impl Staged {
    fn new(lib: &'static str) -> Staged {
        built();
        Staged { dir: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), lib }
    }

    fn make(&self, goal: &str) -> Command {
        let mut make = Command::new("make");
        make.arg(goal).arg(format!("DESTDIR={}", self.dir.path().display()));
        make.arg(format!("PREFIX={PREFIX}")).arg(format!("PROFILE={}", PROFILE.directory()));
        if self.lib != "lib" {
            make.arg(format!("LIBDIR={PREFIX}/{}", self.lib));
        }
        // Of a make that runs this test nothing is handed down.
        make.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
        make.env("CARGO_TARGET_DIR", target()).current_dir(root());
        make
    }

    fn prefix(&self) -> PathBuf {
        self.dir.path().join(&PREFIX[1..])
    }

    fn library(&self) -> PathBuf {
        self.prefix().join(self.lib)
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.prefix().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Asks pkg-config with the prefix moved to where it really is.
    fn pkg_config(&self, arguments: &[&str]) -> Vec<String> {
        let mut pkg_config = Command::new("pkg-config");
        pkg_config.env("PKG_CONFIG_PATH", self.library().join("pkgconfig"));
        pkg_config.arg(format!("--define-variable=prefix={}", self.prefix().display()));
        let answer = output(pkg_config.args(arguments).arg("clerver"));
        answer.split_whitespace().map(str::to_owned).collect()
    }

    fn foreign(&self, path: &str) {
        let path = self.prefix().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "not ours\n").unwrap();
    }
}

/// All files below a directory, with where a link points to and with the size of a file.
fn listing(place: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut places = vec![place.to_owned()];
    while let Some(here) = places.pop() {
        for entry in std::fs::read_dir(&here).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let what = if metadata.is_dir() {
                places.push(path);
                continue;
            } else if metadata.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else {
                format!("{} bytes", metadata.len())
            };
            files.insert(path.strip_prefix(place).unwrap().display().to_string(), what);
        }
    }
    files
}

/// What shall be installed, but for clerver.hpp, which is installed when it is there.
fn expected(lib: &str) -> Vec<String> {
    let mut names = vec!["include/clerver.h".to_owned(), "share/man/man3/clerver.3".to_owned()];
    if root().join("include/clerver.hpp").exists() {
        names.push("include/clerver.hpp".to_owned());
    }
    let real = format!("libclerver.so.{VERSION}");
    let below_lib = [
        "cmake/clerver/clerver-config-version.cmake",
        "cmake/clerver/clerver-config.cmake",
        "libclerver.a",
        "libclerver.so",
        "libclerver.so.0",
        &real,
        "pkgconfig/clerver.pc",
    ];
    names.extend(below_lib.iter().map(|name| format!("{lib}/{name}")));
    names.sort();
    names
}

#[test]
fn install_works_twice_and_uninstall_takes_away_ours_only() {
    let staged = Staged::new("lib/odd-triplet");
    let foreign =
        ["include/other.h", "lib/odd-triplet/libother.so", "lib/odd-triplet/cmake/other/config.cmake"];
    for path in foreign {
        staged.foreign(path);
    }
    let before = listing(&staged.prefix());
    output(&mut staged.make("install"));
    let first = listing(&staged.prefix());
    let ours: Vec<_> = first.keys().filter(|name| !before.contains_key(*name)).cloned().collect();
    assert_eq!(ours, expected(staged.lib));
    assert_eq!(first["lib/odd-triplet/libclerver.so.0"], format!("-> libclerver.so.{VERSION}"));
    assert_eq!(first["lib/odd-triplet/libclerver.so"], "-> libclerver.so.0");
    output(&mut staged.make("install"));
    assert_eq!(listing(&staged.prefix()), first, "the second install changed something");
    one_version(&staged);

    // An upgrade: the links point to an older library.
    staged.foreign("lib/odd-triplet/libclerver.so.0.0.9");
    let link = staged.library().join("libclerver.so.0");
    std::fs::remove_file(&link).unwrap();
    std::os::unix::fs::symlink("libclerver.so.0.0.9", &link).unwrap();
    output(&mut staged.make("install"));
    assert_eq!(listing(&staged.prefix()), first, "the library of the older version is left");

    output(&mut staged.make("uninstall"));
    assert_eq!(listing(&staged.prefix()), before);
    assert!(!staged.library().join("cmake/clerver").exists(), "our directory is left");
    output(&mut staged.make("uninstall"));
    assert_eq!(listing(&staged.prefix()), before, "uninstall without install touched something");
}

/// Everything that names a version names that of the workspace.
fn one_version(staged: &Staged) {
    let number = |name: &str| {
        let header = staged.read("include/clerver.h");
        let line = header.lines().find_map(|line| line.strip_prefix(&format!("#define CLV_VERSION_{name} ")));
        line.expect("the header has the number").to_owned()
    };
    assert_eq!(format!("{}.{}.{}", number("MAJOR"), number("MINOR"), number("PATCH")), VERSION, "clerver.h");
    let package = staged.read(&format!("{}/pkgconfig/clerver.pc", staged.lib));
    assert!(package.contains(&format!("\nVersion: {VERSION}\n")), "{package}");
    let cmake = staged.read(&format!("{}/cmake/clerver/clerver-config-version.cmake", staged.lib));
    assert!(cmake.contains(&format!("PACKAGE_VERSION \"{VERSION}\"")), "{cmake}");
    let page = staged.read("share/man/man3/clerver.3");
    assert!(page.contains(&format!("Clerver {VERSION}\n")), "clerver.3");
    for template in std::fs::read_dir(root().join("ffi/package")).unwrap() {
        let name = template.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".in") else { continue };
        let path = listing(&staged.prefix()).into_keys().find(|path| path.ends_with(&format!("/{name}")));
        let text = staged.read(&path.unwrap_or_else(|| panic!("{name} is not installed")));
        let hole = text.split_whitespace().find(|word| word.contains('@') && word.matches('@').count() > 1);
        assert_eq!(hole, None, "{name} has a place that was not filled in");
    }
}

#[test]
fn a_wrong_place_is_refused() {
    for (variable, value) in [("PREFIX", "opt/clerver"), ("LIBDIR", "/a b"), ("PROFILE", "fast")] {
        let mut make = Command::new("make");
        make.arg("install").arg(format!("DESTDIR={}", env!("CARGO_TARGET_TMPDIR")));
        make.arg(format!("{variable}={value}")).env_remove("MAKEFLAGS").current_dir(root());
        let said = failure(&mut make);
        assert!(said.contains(&format!("\"{value}\"")), "{said}");
    }
}

/// Where a program finds its libraries.
enum Libraries<'a> {
    ByItself,
    In(&'a Path),
}

/// Runs a consumer as server and as client; both have one home, so they trust each other.
fn serves_and_calls(program: &Path, libraries: &Libraries) {
    // An address of this process, so that the port need not be asked for.
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id() % 65_000;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let address = format!("127.{}.{}.{number}:29417", 1 + process / 256, process % 256);
    let home = tempfile::tempdir().unwrap();
    let start = |word: &str| {
        let mut command = Command::new("timeout");
        command.arg("20").arg(program).args([word, &address]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("CLERVER_HOME", home.path());
        if let Libraries::In(place) = libraries {
            command.env("LD_LIBRARY_PATH", place);
        }
        command
    };
    let mut serve = start("serve");
    serve.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = serve.spawn().unwrap();
    // The client dials until the server listens.
    let client = start("hello").stdin(Stdio::null()).output().unwrap();
    drop(server.stdin.take());
    let server = server.wait_with_output().unwrap();
    let said = format!("client {client:?}\nserver {server:?}");
    assert!(client.status.success() && server.status.success(), "{}: {said}", program.display());
    assert_eq!(String::from_utf8_lossy(&client.stdout), "HELLO\n", "{}: {said}", program.display());
}

/// The libraries that a program asks the loader for.
fn needed(program: &Path) -> Vec<String> {
    let dynamic = output(Command::new("readelf").arg("-dW").arg(program));
    let lines = dynamic.lines().filter(|line| line.contains("(NEEDED)"));
    lines.map(|line| line.split(['[', ']']).nth(1).unwrap().to_owned()).collect()
}

fn compile(flags: &[String], more: &[&str], program: &Path) {
    output(compiler().args(more).arg(root().join("examples/c/first.c")).args(flags).arg("-o").arg(program));
}

#[test]
fn a_consumer_is_built_by_pkg_config_shared_and_static() {
    let test = "a_consumer_is_built_by_pkg_config_shared_and_static";
    if !have(test, &["pkg-config"]) {
        return;
    }
    let staged = Staged::new("lib");
    output(&mut staged.make("install"));
    let program = |name: &str| staged.dir.path().join(name);

    let shared = program("shared");
    compile(&staged.pkg_config(&["--cflags", "--libs"]), &[], &shared);
    assert_eq!(needed(&shared), ["libclerver.so.0", "libc.so.6"]);
    serves_and_calls(&shared, &Libraries::In(&staged.library()));

    let flags = staged.pkg_config(&["--cflags", "--static", "--libs"]);
    let with_archive: Vec<String> =
        flags.iter().map(|flag| flag.replace("-lclerver", "-l:libclerver.a")).collect();
    let mixed = program("static");
    compile(&with_archive, &[], &mixed);
    assert!(!needed(&mixed).iter().any(|name| name.contains("clerver")), "{:?}", needed(&mixed));
    serves_and_calls(&mixed, &Libraries::ByItself);

    let archive = output(Command::new("gcc").arg("-print-file-name=libcrypto.a"));
    if archive.starts_with('/') {
        let whole = program("all-static");
        compile(&flags, &["-static"], &whole);
        assert_eq!(needed(&whole), [""; 0]);
        serves_and_calls(&whole, &Libraries::ByItself);
    } else {
        skip(test, "needs libcrypto.a");
    }
}

#[test]
fn a_consumer_is_built_by_cmake_shared_and_static() {
    if !have("a_consumer_is_built_by_cmake_shared_and_static", &["cmake"]) {
        return;
    }
    let staged = Staged::new("lib");
    output(&mut staged.make("install"));
    let build = staged.dir.path().join("build");
    let configure = |version: &str| {
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(root().join("ffi/tests/consumer")).arg("-B").arg(&build);
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", staged.prefix().display()));
        cmake.arg(format!("-DASKED_VERSION={version}"));
        cmake
    };
    let (series, _) = VERSION.rsplit_once('.').unwrap();
    failure(&mut configure("999.0"));
    output(&mut configure(series));
    output(Command::new("cmake").arg("--build").arg(&build).env_remove("MAKEFLAGS"));
    assert!(needed(&build.join("shared")).contains(&"libclerver.so.0".to_owned()));
    assert!(!needed(&build.join("static")).iter().any(|name| name.contains("clerver")));
    serves_and_calls(&build.join("shared"), &Libraries::ByItself);
    serves_and_calls(&build.join("static"), &Libraries::ByItself);
    output(&mut staged.make("uninstall"));
    assert_eq!(listing(&staged.prefix()), BTreeMap::new());
    std::fs::remove_dir_all(&build).unwrap();
    let said = failure(&mut configure(series));
    assert!(said.contains("clerver-config.cmake"), "{said}");
}

#[test]
fn the_manual_page_is_clean_and_its_example_compiles() {
    let page = root().join("ffi/package/clerver.3.in");
    let text = std::fs::read_to_string(&page).unwrap();
    let example = text.split(".Sh EXAMPLE").nth(1).unwrap();
    let code = example.split(".Bd -literal\n").nth(1).unwrap().split(".Ed").next().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let source = scratch.path().join("example.c");
    std::fs::write(&source, code.replace("\\e", "\\")).unwrap();
    output(compiler().arg("-fsyntax-only").arg("-I").arg(root().join("include")).arg(source));
    let header = std::fs::read_to_string(root().join("include/clerver.h")).unwrap();
    for name in text.lines().filter_map(|line| line.strip_prefix(".Fn ")) {
        let name = name.split_whitespace().next().unwrap();
        assert!(
            header.contains(&format!("{name}(")),
            "the page names {name}, which the header does not have"
        );
    }
    if have("the_manual_page_is_clean_and_its_example_compiles", &["groff"]) {
        let groff = Command::new("groff").args(["-mdoc", "-Tutf8", "-ww", "-z"]).arg(&page).output().unwrap();
        let said = String::from_utf8_lossy(&groff.stderr);
        assert!(groff.status.success() && said.is_empty(), "{said}");
    }
}
