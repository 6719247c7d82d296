use super::file::NAME;
use super::*;
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(30);

/// What the thread of a store said.
#[derive(Debug, PartialEq)]
enum Said {
    Done(u64),
    Trouble(Option<Error>),
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn start(store: &mut Store) -> Receiver<Said> {
    let (done, said): (Sender<Said>, _) = channel();
    let trouble = done.clone();
    let done = Box::new(move |number| drop(done.send(Said::Done(number))));
    store.start(done, Box::new(move |error| drop(trouble.send(Said::Trouble(error))))).unwrap();
    said
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Change {
    Change::Put { key: key.as_ref().into(), value: value.as_ref().into() }
}

fn delete(prefix: impl AsRef<[u8]>) -> Change {
    Change::Delete { prefix: prefix.as_ref().into() }
}

fn prune(first: impl AsRef<[u8]>, last: impl AsRef<[u8]>) -> Change {
    Change::Prune { first: first.as_ref().into(), last: last.as_ref().into() }
}

/// Makes these changes, one batch each, in a store that is opened and closed for it.
fn change(place: &Path, changes: impl IntoIterator<Item = Change>) {
    let (mut store, _) = Store::open(place).unwrap();
    let said = start(&mut store);
    let mut last = 0;
    for change in changes {
        last += 1;
        store.submit(last, vec![change]);
    }
    assert!(store.close(LONG));
    assert_eq!(said.iter().last(), Some(Said::Done(last)));
}

fn load(place: &Path) -> Loaded {
    Store::open(place).unwrap().1
}

fn keys(place: &Path) -> Vec<Vec<u8>> {
    load(place).records.into_iter().map(|(key, _)| key).collect()
}

fn fails(place: &Path) -> Error {
    let Err(error) = Store::open(place) else { panic!("it was opened") };
    error
}

/// Changes a closed store behind its back.
fn meddle(place: &Path, statements: &str) {
    Connection::open(place.join(NAME)).unwrap().execute_batch(statements).unwrap();
}

#[test]
fn what_was_committed_is_there_in_the_order_of_keys() {
    let place = directory();
    assert!(load(place.path()).records.is_empty());
    let large = vec![7; 300_000];
    change(place.path(), [put("b", "2"), put("a", "1"), put([0xff], &large), put("", ""), put("a", "3")]);
    let loaded = load(place.path());
    let record = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let expected = [record(b"", b""), record(b"a", b"3"), record(b"b", b"2"), record(&[0xff], &large)];
    assert_eq!(loaded.records, expected);
    assert!(loaded.damaged.is_empty());
}

#[test]
fn it_and_its_directory_are_made_for_their_owner_only() {
    let place = directory();
    let inner = place.path().join("a/b");
    let (mut store, _) = Store::open(&inner).unwrap();
    let said = start(&mut store);
    store.submit(1, vec![put("a", "1")]);
    assert_eq!(said.recv(), Ok(Said::Done(1)));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&inner), mode(&place.path().join("a"))), (0o700, 0o700));
    let mut names: Vec<_> = fs::read_dir(&inner)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [NAME, "clerver.db-wal"], "no memory is shared");
    assert!(names.iter().all(|name| mode(&inner.join(name)) == 0o600));
    assert!(store.close(LONG));
    assert!(!inner.join("clerver.db-wal").exists(), "nothing is left to do for the next open");
}

#[test]
fn commits_are_synchronous_and_in_a_log() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    let file = store.file.get_mut().as_ref().unwrap();
    let number = |name| file.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    let text = |name| file.connection.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        (number("synchronous"), number("application_id"), number("user_version")),
        (2, 0x434c_5652, 1)
    );
    assert_eq!((text("journal_mode"), text("locking_mode")), ("wal".into(), "exclusive".into()));
}

#[test]
fn what_is_done_is_there_when_the_process_ends_at_once() {
    let (place, copy) = (directory(), directory());
    let (mut store, _) = Store::open(place.path()).unwrap();
    let said = start(&mut store);
    store.submit(1, vec![put("a", "1"), put("b", "2")]);
    assert_eq!(said.recv(), Ok(Said::Done(1)));
    for name in [NAME, "clerver.db-wal"] {
        fs::copy(place.path().join(name), copy.path().join(name)).unwrap();
    }
    assert_eq!(keys(copy.path()), [b"a", b"b"]);
    assert!(store.close(LONG));
}

#[test]
fn batches_are_done_in_their_order_and_together() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    // They wait for the thread.
    for number in 1..=3 {
        store.submit(number, vec![put("a", [u8::try_from(number).unwrap()])]);
    }
    let said = start(&mut store);
    assert_eq!(said.recv(), Ok(Said::Done(3)), "one transaction for all that waited");
    let mut seen = 3;
    for number in 4..=300_u16 {
        store.submit(number.into(), vec![put(number.to_be_bytes(), "")]);
    }
    while seen < 300 {
        let Ok(Said::Done(number)) = said.recv() else { panic!("trouble") };
        assert!(number > seen, "{number} after {seen}");
        seen = number;
    }
    store.submit(301, vec![]);
    assert_eq!(said.recv(), Ok(Said::Done(301)), "a batch may be empty");
    assert!(store.close(LONG));
    assert_eq!(load(place.path()).records.len(), 1 + 297);
}

#[test]
fn what_is_queued_at_close_is_stored_and_what_comes_later_is_not() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    let said = start(&mut store);
    for number in 1..=100_u8 {
        store.submit(number.into(), vec![put([number], "")]);
    }
    assert!(store.close(LONG));
    store.submit(101, vec![put("late", "")]);
    assert!(store.close(Duration::ZERO), "the second close does nothing");
    assert_eq!(said.iter().last(), Some(Said::Done(100)), "all was said before the close returned");
    let (mut store, loaded) = Store::open(place.path()).unwrap();
    assert_eq!(loaded.records.len(), 100);
    store.submit(1, vec![]);
    assert!(!store.close(LONG), "without a thread nothing is stored, and nobody waits");
    assert_eq!(store.start(Box::new(|_| ()), Box::new(|_| ())).unwrap_err().code, Code::State);
    drop(Store::open(place.path()).unwrap());
}

#[test]
fn a_store_is_started_once_and_is_over_when_it_is_dropped() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    let said = start(&mut store);
    assert_eq!(store.start(Box::new(|_| ()), Box::new(|_| ())).unwrap_err().code, Code::State);
    assert_eq!(store.set_aside(0, b"a", "why").unwrap_err().code, Code::State);
    drop(store);
    assert_eq!(said.iter().last(), None, "the thread ended");
}

#[test]
fn a_panic_in_a_callback_keeps_no_close_waiting() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    store.start(Box::new(|_| panic!("as the test wants")), Box::new(|_| ())).unwrap();
    store.submit(1, vec![put("a", "")]);
    assert!(!store.close(Duration::MAX));
    assert_eq!(keys(place.path()), [b"a"]);
}

#[test]
fn delete_takes_all_keys_that_begin_so_and_no_others() {
    let all: [&[u8]; 9] =
        [b"", b"a", b"a\x00", b"a\xfe\xff", b"a\xff", b"a\xff\xff\x01", b"b", b"\xff", b"\xff\xff\x07"];
    let cases: [(&[u8], &[&[u8]]); 7] = [
        (b"a", &[b"", b"b", b"\xff", b"\xff\xff\x07"]),
        (b"a\xff", &[b"", b"a", b"a\x00", b"a\xfe\xff", b"b", b"\xff", b"\xff\xff\x07"]),
        (b"a\xff\xff\xff", &all),
        (b"c", &all),
        (b"\xff", &[b"", b"a", b"a\x00", b"a\xfe\xff", b"a\xff", b"a\xff\xff\x01", b"b"]),
        (b"\xff\xff", &[b"", b"a", b"a\x00", b"a\xfe\xff", b"a\xff", b"a\xff\xff\x01", b"b", b"\xff"]),
        (b"", &[]),
    ];
    for (prefix, left) in cases {
        let place = directory();
        change(place.path(), all.iter().map(|key| put(key, "x")).chain([delete(prefix)]));
        assert_eq!(keys(place.path()), left, "{prefix:?}");
    }
}

#[test]
fn prune_keeps_the_greatest_of_a_range() {
    let cases: [(&str, &str, &[&str]); 6] = [
        ("b", "d", &["a", "d", "e"]),
        ("b", "c5", &["a", "c", "d", "e"]),
        ("", "z", &["e"]),
        ("b5", "b9", &["a", "b", "c", "d", "e"]),
        ("c", "c", &["a", "b", "c", "d", "e"]),
        ("d", "b", &["a", "b", "c", "d", "e"]),
    ];
    for (first, last, left) in cases {
        let place = directory();
        change(
            place.path(),
            ["a", "b", "c", "d", "e"].map(|key| put(key, "x")).into_iter().chain([prune(first, last)]),
        );
        let left: Vec<_> = left.iter().map(|key| key.as_bytes().to_vec()).collect();
        assert_eq!(keys(place.path()), left, "{first} to {last}");
    }
}

#[test]
fn changes_of_one_batch_happen_in_their_order() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    let said = start(&mut store);
    store.submit(
        7,
        vec![put("a1", "x"), put("a2", "x"), delete("a"), put("a3", "x"), put("a4", "x"), prune("a", "b")],
    );
    assert_eq!(said.recv(), Ok(Said::Done(7)));
    assert!(store.close(LONG));
    assert_eq!(keys(place.path()), [b"a4"]);
}

#[test]
fn a_second_open_is_refused_and_leaves_the_first_as_it_is() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    for _ in 0..2 {
        let error = fails(place.path());
        assert_eq!(error.code, Code::InUse, "{error}");
        assert!(error.message.contains(&place.path().display().to_string()), "{error}");
    }
    let said = start(&mut store);
    store.submit(1, vec![put("a", "1")]);
    assert_eq!(said.recv(), Ok(Said::Done(1)));
    assert_eq!(fails(place.path()).code, Code::InUse);
    assert!(store.close(LONG));
    assert_eq!(keys(place.path()), [b"a"]);
}

#[test]
fn a_store_of_another_version_or_program_is_refused_and_not_written() {
    let place = directory();
    change(place.path(), [put("a", "1")]);
    meddle(place.path(), "PRAGMA user_version = 7");
    let before = fs::read(place.path().join(NAME)).unwrap();
    let error = fails(place.path());
    assert_eq!(error.code, Code::Version);
    assert!(error.message.contains("version 7") && error.message.contains("version 1"), "{error}");
    assert_eq!(fs::read(place.path().join(NAME)).unwrap(), before);

    for statements in ["CREATE TABLE theirs (x)", "PRAGMA application_id = 5", "PRAGMA user_version = 1"] {
        let place = directory();
        meddle(place.path(), statements);
        let before = fs::read(place.path().join(NAME)).unwrap();
        let error = fails(place.path());
        assert_eq!(error.code, Code::Config);
        assert!(error.message.contains("not a store of Clerver"), "{error}");
        assert_eq!(fs::read(place.path().join(NAME)).unwrap(), before);
    }
}

#[test]
fn a_store_that_was_not_made_to_its_end_is_made() {
    let place = directory();
    fs::write(place.path().join(NAME), "").unwrap();
    assert!(keys(place.path()).is_empty());
    let place = directory();
    meddle(place.path(), "PRAGMA journal_mode = WAL");
    assert!(keys(place.path()).is_empty());
    change(place.path(), [put("a", "1")]);
    assert_eq!(keys(place.path()), [b"a"]);
}

#[test]
fn what_is_no_database_or_damaged_is_named_with_a_remedy() {
    let place = directory();
    let file = place.path().join(NAME);
    let refused = || {
        let error = fails(place.path());
        assert_eq!(error.code, Code::Config, "{error}");
        assert!(error.message.contains(&file.display().to_string()), "{error}");
        assert!(error.message.contains("damaged") && error.remedy().contains("move"), "{error}");
    };
    fs::write(&file, "this is not a database. ".repeat(1000)).unwrap();
    refused();
    fs::write(&file, "short").unwrap();
    refused();
    fs::remove_file(&file).unwrap();
    change(place.path(), (0..100_u8).map(|key| put([key], vec![key; 1000])));
    let whole = fs::read(&file).unwrap();
    for length in [whole.len() / 2, 4096, 1000] {
        fs::write(&file, &whole[..length]).unwrap();
        refused();
    }
    let mut broken = whole.clone();
    broken[4096..].fill(0x5a);
    fs::write(&file, broken).unwrap();
    refused();
    fs::write(&file, whole).unwrap();
    assert_eq!(keys(place.path()).len(), 100);
}

#[test]
fn a_place_that_cannot_hold_a_store_is_told() {
    let place = directory();
    let file = place.path().join("file");
    fs::write(&file, "").unwrap();
    for wrong in [&file, &file.join("below"), Path::new("")] {
        let error = fails(wrong);
        assert_eq!(error.code, Code::Config, "{error}");
        assert!(error.message.contains(&wrong.display().to_string()), "{error}");
    }
    fs::create_dir(place.path().join(NAME)).unwrap();
    let error = fails(place.path());
    assert_eq!(error.code, Code::Config, "{error}");
    assert!(error.remedy().contains("let this user write"), "{error}");
}

#[test]
fn a_file_that_may_not_be_written_is_refused_at_open() {
    let place = directory();
    change(place.path(), [put("a", "1")]);
    let file = place.path().join(NAME);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    if fs::OpenOptions::new().append(true).open(&file).is_ok() {
        // Root may write everything; the way of the answer is the same from here on.
        let (mut store, _) = Store::open(place.path()).unwrap();
        let file = store.file.get_mut().as_ref().unwrap();
        file.connection.pragma_update(None, "query_only", true).unwrap();
        let error = store.set_aside(0, b"a", "why").unwrap_err();
        assert_eq!(error.code, Code::Config, "{error}");
        assert!(error.remedy().contains("let this user write"), "{error}");
        return;
    }
    let error = fails(place.path());
    assert_eq!(error.code, Code::Config, "{error}");
    assert!(error.message.contains("may not write"), "{error}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let error = fails(place.path());
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(error.code, Code::Config, "{error}");
    assert_eq!(keys(place.path()), [b"a"]);
}

#[test]
fn a_damaged_value_is_told_and_costs_no_other() {
    let place = directory();
    change(place.path(), ["a", "b", "c", "d", "e"].map(|key| put(key, "value")));
    meddle(
        place.path(),
        "UPDATE records SET value = CAST('Value' || substr(value, 6) AS BLOB) WHERE key = CAST('b' AS BLOB);
         UPDATE records SET value = substr(value, 1, 7) WHERE key = CAST('c' AS BLOB);
         UPDATE records SET key = CAST('f' AS BLOB) WHERE key = CAST('d' AS BLOB);",
    );
    let loaded = load(place.path());
    assert_eq!(loaded.damaged, [b"b", b"c", b"f"]);
    assert_eq!(loaded.records, [(b"a".to_vec(), b"value".to_vec()), (b"e".to_vec(), b"value".to_vec())]);
}

#[test]
fn what_is_set_aside_is_kept_and_not_loaded() {
    let place = directory();
    change(place.path(), ["1aa1", "1aa2", "2aa1", "1ab1", "1a", "aa"].map(|key| put(key, "value")));
    let (mut store, _) = Store::open(place.path()).unwrap();
    store.set_aside(1, b"aa", "its session cannot be read").unwrap();
    store.set_aside(usize::MAX, b"aa", "no key is so long").unwrap();
    store.set_aside(3, b"", "short keys have no byte there").unwrap();
    let said = start(&mut store);
    store.submit(1, vec![put("1aa1", "new")]);
    assert!(store.close(LONG));
    drop(said);
    assert_eq!(keys(place.path()), [&b"1a"[..], b"1aa1", b"aa"]);
    let connection = Connection::open(place.path().join(NAME)).unwrap();
    let mut statement =
        connection.prepare("SELECT key, why, unixepoch() - time FROM set_aside ORDER BY rowid").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    let rows: Vec<(Vec<u8>, String, i64)> = rows.map(Result::unwrap).collect();
    let moved: Vec<_> = rows.iter().map(|(key, why, _)| (key.as_slice(), &why[..3])).collect();
    assert_eq!(moved, [(&b"1aa1"[..], "its"), (b"1aa2", "its"), (b"2aa1", "its"), (b"1ab1", "sho")]);
    assert!(rows.iter().all(|(_, _, age)| (0..60).contains(age)), "{rows:?}");
}

/// A started store whose disk is full as long as the flag says so.
fn with_full_disk(place: &Path) -> (Store, Receiver<Said>, Arc<AtomicBool>) {
    let (mut store, _) = Store::open(place).unwrap();
    let is_full = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&is_full);
    store.file.get_mut().as_mut().unwrap().before_commit = Some(Box::new(move |connection| {
        // SQLite never goes below what is there.
        let pages = if flag.load(Ordering::Acquire) { 1 } else { i64::from(u32::MAX) - 1 };
        connection.pragma_update(None, "max_page_count", pages).unwrap();
    }));
    let said = start(&mut store);
    (store, said, is_full)
}

#[test]
fn a_full_disk_is_told_once_and_what_waited_is_stored_when_there_is_room() {
    let place = directory();
    let (store, said, is_full) = with_full_disk(place.path());
    store.submit(1, vec![put("a", vec![1; 100_000]), put("b", "")]);
    let Ok(Said::Trouble(Some(error))) = said.recv() else { panic!("no trouble") };
    assert_eq!(error.code, Code::Store);
    assert!(error.message.contains("full") && error.remedy().contains("make room"), "{error}");
    store.submit(2, vec![delete("a")]);
    assert!(said.recv_timeout(RETRY * 2).is_err(), "it is tried again in silence");
    is_full.store(false, Ordering::Release);
    assert_eq!(said.recv(), Ok(Said::Trouble(None)));
    assert_eq!(said.recv(), Ok(Said::Done(1)));
    assert_eq!(said.recv(), Ok(Said::Done(2)));
    assert!(store.close(LONG));
    assert_eq!(keys(place.path()), [b"b"]);
}

#[test]
fn a_close_gives_up_what_cannot_be_stored_in_time() {
    let place = directory();
    let (store, said, _) = with_full_disk(place.path());
    store.submit(1, vec![put("a", vec![1; 100_000])]);
    assert!(matches!(said.recv(), Ok(Said::Trouble(Some(_)))));
    store.submit(2, vec![]);
    assert!(!store.close(Duration::from_millis(100)));
    assert!(!store.close(LONG), "the second close does nothing");
    assert!(said.recv().is_err(), "the thread has left");
    // It says so a moment before the file is free; a close with time left waits for that.
    while Store::open(place.path()).is_err_and(|error| error.code == Code::InUse) {
        std::thread::yield_now();
    }
    assert!(keys(place.path()).is_empty(), "of a batch nothing is there, or all");
}

#[test]
fn an_error_that_changes_is_told_again() {
    let place = directory();
    let (mut store, _) = Store::open(place.path()).unwrap();
    let attempts = std::cell::Cell::new(0);
    store.file.get_mut().as_mut().unwrap().before_commit = Some(Box::new(move |connection| {
        attempts.set(attempts.get() + 1);
        let (pages, query_only) =
            [(1, false), (1_000_000, true)].get(attempts.get() - 1).unwrap_or(&(1_000_000, false));
        connection.pragma_update(None, "max_page_count", pages).unwrap();
        connection.pragma_update(None, "query_only", query_only).unwrap();
    }));
    let said = start(&mut store);
    store.submit(1, vec![put("a", vec![1; 100_000])]);
    let next = || match said.recv() {
        Ok(Said::Trouble(error)) => error.map(|error| error.code),
        other => panic!("{other:?}"),
    };
    assert_eq!([next(), next(), next()], [Some(Code::Store), Some(Code::Config), None]);
    assert_eq!(said.recv(), Ok(Said::Done(1)));
}
