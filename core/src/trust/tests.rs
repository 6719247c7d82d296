//! What a user relies on: who gets in, who does not, and what the files look like afterwards.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const ONE: HostId = HostId([1; 32]);
const TWO: HostId = HostId([2; 32]);
const OWN: HostId = HostId([9; 32]);

fn home_with(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        write(dir.path(), name, content);
    }
    dir
}

fn write(home: &Path, name: &str, content: &[u8]) {
    fs::write(home.join(name), content).unwrap();
    fs::set_permissions(home.join(name), fs::Permissions::from_mode(0o644)).unwrap();
}

#[test]
fn levels_and_blocks_are_read_with_comments_and_blank_lines() {
    let authorized = format!("# who may come\n\n  {ONE} 7 the laptop # of Ann\n{TWO}\r\n");
    let dir =
        home_with(&[("authorized", authorized.as_bytes()), ("blocked", format!("{TWO} stolen").as_bytes())]);
    let store = TrustStore::load(dir.path()).unwrap();
    assert_eq!(store.level_of(ONE), Some(7));
    assert_eq!(store.level_of(TWO), Some(LEVEL_DEFAULT));
    assert_eq!(store.level_of(OWN), None);
    assert!(store.is_blocked(TWO) && !store.is_blocked(ONE));
}

#[test]
fn a_directory_without_files_trusts_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = TrustStore::load(&dir.path().join("not/there")).unwrap();
    assert_eq!(
        *store.snapshot(),
        TrustSnapshot {
            authorized_path: Some(dir.path().join("not/there/authorized")),
            ..Default::default()
        }
    );
}

#[test]
fn one_bad_line_refuses_the_whole_file_and_is_named() {
    let mistyped = ONE.to_string().replacen('A', "B", 1);
    let cases: Vec<(&str, Vec<u8>, usize, &str)> = vec![
        ("authorized", format!("{ONE} 1\n{TWO} 256\n").into(), 2, "256"),
        ("authorized", format!("{ONE} 1\n{TWO} -1\n").into(), 2, "-1"),
        ("authorized", format!("{ONE} 1\n{ONE} 2\n").into(), 2, "level 1 in a line above"),
        ("authorized", b"# fine\n\nAAAA 1\n".to_vec(), 3, "needs 56"),
        ("authorized", b"#\nfine? \xff\n".to_vec(), 2, "UTF-8"),
        ("blocked", mistyped.clone().into(), 1, "group"),
        ("blocked", format!("{ONE}\n{TWO}\x00\n").into(), 2, "control"),
        ("known_hosts", b"db.example:7400\n".to_vec(), 1, "missing"),
        ("known_hosts", format!("\u{feff}a:1 {ONE}\n").into(), 1, "byte order mark"),
        ("known_hosts", format!("a:1 {ONE}\na:1 {TWO}\n").into(), 2, "line 1"),
    ];
    for (name, content, line, why) in cases {
        let dir = home_with(&[(name, &content)]);
        let error = TrustStore::load(dir.path()).unwrap_err();
        assert_eq!(error.code, Code::KeyFile);
        let place = format!("{} line {line}:", dir.path().join(name).display());
        assert!(error.message.contains(&place), "{error} should name {place}");
        assert!(error.message.contains(why), "{error} should say {why}");
    }
}

#[test]
fn files_that_others_can_write_or_nobody_can_read_are_refused() {
    for name in ["authorized", "known_hosts", "blocked"] {
        for mode in [0o666, 0o664, 0o602] {
            let dir = home_with(&[(name, b"")]);
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
            let error = TrustStore::load(dir.path()).unwrap_err();
            assert_eq!(error.code, Code::KeyFile);
            assert!(error.to_string().contains(&format!("{mode:04o}")), "{error}");
            assert!(error.to_string().contains("chmod go-w"), "{error}");
        }
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(name)).unwrap();
        assert_eq!(TrustStore::load(dir.path()).unwrap_err().code, Code::KeyFile);
    }
}

#[test]
fn a_directory_that_others_can_write_is_refused() {
    let dir = home_with(&[]);
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = TrustStore::load(dir.path()).unwrap_err();
    assert_eq!(error.code, Code::KeyFile);
    assert!(error.to_string().contains("chmod go-w"), "{error}");
}

#[test]
fn a_failed_reload_changes_nothing_and_a_good_one_says_whether_something_changed() {
    let dir = home_with(&[("blocked", ONE.to_string().as_bytes())]);
    let mut store = TrustStore::load(dir.path()).unwrap();
    let early = store.snapshot();
    assert!(!store.reload().unwrap());
    write(dir.path(), "blocked", b"oops");
    assert_eq!(store.reload().unwrap_err().code, Code::KeyFile);
    assert!(store.is_blocked(ONE), "a damaged block list is not an empty one");
    write(dir.path(), "blocked", format!("{TWO}\n").as_bytes());
    assert!(store.reload().unwrap());
    assert!(store.is_blocked(TWO) && !store.is_blocked(ONE));
    assert!(early.is_blocked(ONE), "a snapshot never changes");
}

#[test]
fn a_new_name_is_pinned_once_and_outlives_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    let mut store = TrustStore::load(&home).unwrap();
    assert_eq!(store.check_dial("db.example:7400", None, ONE).unwrap(), Pinned::New);
    assert_eq!(store.check_dial("db.example:7400", None, ONE).unwrap(), Pinned::Known);
    assert_eq!(store.check_dial("db.example:7401", None, TWO).unwrap(), Pinned::New, "names, not machines");
    let text = fs::read_to_string(home.join("known_hosts")).unwrap();
    assert_eq!(text, format!("db.example:7400 {ONE}\ndb.example:7401 {TWO}\n"));
    let mut next = TrustStore::load(&home).unwrap();
    assert_eq!(next.check_dial("db.example:7400", None, ONE).unwrap(), Pinned::Known);
    assert_eq!(next.pinned("db.example:7400"), Some(ONE));
}

#[test]
fn another_key_under_a_known_name_is_refused_with_everything_one_needs() {
    let dir = home_with(&[("known_hosts", format!("# mine\ndb:7400 {ONE}\n").as_bytes())]);
    let mut store = TrustStore::load(dir.path()).unwrap();
    let error = store.check_dial("db:7400", None, TWO).unwrap_err();
    assert_eq!(error.code, Code::WrongIdentity);
    let place = format!("{} line 2", dir.path().join("known_hosts").display());
    for part in [&place, &ONE.to_string(), &TWO.to_string()] {
        assert!(error.message.contains(part), "{error} should name {part}");
    }
    assert!(error.remedy().contains(&place), "{error}");
    assert_eq!(store.check_dial("db:7400", None, ONE).unwrap(), Pinned::Known, "the pin is as it was");
    write(dir.path(), "known_hosts", b"# mine\n");
    assert_eq!(
        store.check_dial("db:7400", None, TWO).unwrap(),
        Pinned::New,
        "once the user removed the line"
    );
}

#[test]
fn an_address_with_a_host_id_must_match_and_never_pins() {
    let dir = home_with(&[]);
    let mut store = TrustStore::load(dir.path()).unwrap();
    assert_eq!(store.check_dial("db:7400", Some(ONE), ONE).unwrap(), Pinned::Expected);
    let error = store.check_dial("db:7400", Some(ONE), TWO).unwrap_err();
    assert_eq!(error.code, Code::WrongIdentity);
    assert!(error.message.contains(&ONE.to_string()) && error.message.contains(&TWO.to_string()), "{error}");
    assert!(!dir.path().join("known_hosts").exists());
}

#[test]
fn a_pin_of_another_process_counts_and_a_missing_newline_does_no_harm() {
    let dir = home_with(&[("known_hosts", b"# no newline at the end")]);
    let mut first = TrustStore::load(dir.path()).unwrap();
    let mut second = TrustStore::load(dir.path()).unwrap();
    assert_eq!(first.check_dial("db:7400", None, ONE).unwrap(), Pinned::New);
    assert_eq!(second.check_dial("db:7400", None, TWO).unwrap_err().code, Code::WrongIdentity);
    assert_eq!(second.check_dial("db:7400", None, ONE).unwrap(), Pinned::Known);
    let text = fs::read_to_string(dir.path().join("known_hosts")).unwrap();
    assert_eq!(text, format!("# no newline at the end\ndb:7400 {ONE}\n"));
}

#[test]
fn many_processes_that_pin_at_once_lose_no_line() {
    let dir = home_with(&[]);
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let home = dir.path();
            scope.spawn(move || {
                let mut store = TrustStore::load(home).unwrap();
                for port in 0..10 {
                    store.check_dial(&format!("h{number}:{port}"), None, HostId([number; 32])).unwrap();
                }
            });
        }
    });
    let store = TrustStore::load(dir.path()).unwrap();
    for number in 0..8u8 {
        for port in 0..10 {
            assert_eq!(store.pinned(&format!("h{number}:{port}")), Some(HostId([number; 32])));
        }
    }
}

#[test]
fn blocked_hosts_are_refused_both_ways_whatever_their_level() {
    let line = format!("{ONE} 9\n");
    let dir =
        home_with(&[("blocked", format!("{ONE}\n{OWN}\n").as_bytes()), ("authorized", line.as_bytes())]);
    let mut store = TrustStore::load(dir.path()).unwrap();
    assert_eq!(store.check_dial("db:7400", Some(ONE), ONE).unwrap_err().code, Code::Blocked);
    assert_eq!(store.check_dial("db:7400", None, ONE).unwrap_err().code, Code::Blocked);
    let snapshot = store.snapshot();
    assert_eq!(snapshot.admit(ONE, OWN, false, "10.0.0.9:5").unwrap_err().code, Code::Blocked);
    assert_eq!(snapshot.admit(OWN, OWN, true, "127.0.0.1:5").unwrap_err().code, Code::Blocked);
}

#[test]
fn a_stranger_is_refused_with_the_line_that_would_let_it_in() {
    let dir = home_with(&[]);
    let mut store = TrustStore::load(dir.path()).unwrap();
    let error = store.snapshot().admit(ONE, OWN, false, "10.0.0.9:5555").unwrap_err();
    assert_eq!(error.code, Code::Denied);
    assert!(error.message.contains("10.0.0.9:5555"), "{error}");
    assert!(error.remedy().contains(&format!("clerver trust add {ONE}")), "{error}");
    assert!(error.remedy().contains(&dir.path().join("authorized").display().to_string()), "{error}");
    let line = error.remedy().split('"').nth(3).unwrap().to_string();
    write(dir.path(), "authorized", line.as_bytes());
    store.reload().unwrap();
    assert_eq!(store.snapshot().admit(ONE, OWN, false, "10.0.0.9:5555").unwrap(), LEVEL_DEFAULT);
}

#[test]
fn the_own_host_id_is_trusted_from_this_machine_only() {
    let snapshot = TrustStore::in_memory().snapshot();
    assert_eq!(snapshot.admit(OWN, OWN, true, "127.0.0.1:5").unwrap(), LEVEL_OWN);
    assert_eq!(snapshot.admit(OWN, OWN, false, "10.0.0.9:5").unwrap_err().code, Code::Denied);
    assert_eq!(snapshot.admit(ONE, OWN, true, "127.0.0.1:5").unwrap_err().code, Code::Denied);
}

#[test]
fn level_zero_is_refused() {
    let mut store = TrustStore::in_memory();
    store.authorize(ONE, 0, "").unwrap();
    assert_eq!(store.snapshot().admit(ONE, OWN, false, "10.0.0.9:5").unwrap_err().code, Code::Denied);
}

#[test]
fn hosts_are_authorized_and_blocked_from_the_program() {
    let dir = home_with(&[]);
    for mut store in [TrustStore::load(dir.path()).unwrap(), TrustStore::in_memory()] {
        store.authorize(ONE, 3, "Ann").unwrap();
        store.authorize(ONE, 3, "again").unwrap();
        assert_eq!(store.authorize(ONE, 4, "").unwrap_err().code, Code::State);
        assert_eq!(store.level_of(ONE), Some(3));
        store.block(TWO, "").unwrap();
        store.block(TWO, "again").unwrap();
        assert!(store.is_blocked(TWO));
        assert_eq!(store.block(ONE, "two\nlines").unwrap_err().code, Code::Argument);
    }
    assert_eq!(fs::read_to_string(dir.path().join("authorized")).unwrap(), format!("{ONE} 3 Ann\n"));
    assert_eq!(fs::read_to_string(dir.path().join("blocked")).unwrap(), format!("{TWO}\n"));
}

#[test]
fn names_that_would_not_come_back_out_of_the_file_are_refused() {
    let mut store = TrustStore::in_memory();
    for name in ["", "a b", "a\nb", "#a", "a\u{0}", &"x".repeat(1025)] {
        assert_eq!(store.check_dial(name, None, ONE).unwrap_err().code, Code::Argument, "{name:?}");
    }
}

proptest! {
    #[test]
    fn any_content_is_read_or_refused_with_its_line(content in prop::collection::vec(any::<u8>(), 0..300)) {
        let path = Path::new("/x/list");
        for result in [
            lines::levels(path, &content).map(|_| ()),
            lines::known(path, &content).map(|_| ()),
            lines::blocked(path, &content).map(|_| ()),
        ] {
            if let Err(error) = result {
                prop_assert!(error.message.starts_with("read /x/list line "), "{}", error);
            }
        }
    }
}
