//! The file `host.key`: made once, by whoever comes first, and read by everybody else.

use super::{HostKey, Pair, create_private_dir, host_id_of, kept_from_writers};
use clerver_proto::error::{Code, Error, Result};
use openssl::pkey::{Id, PKey};
use openssl::rand::rand_bytes;
use openssl::sha::sha256;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

const NAME: &str = "host.key";
const BYTES_MAX: u64 = 16 * 1024;

/// Keys in use in this process, by the hash of their file: OpenSSL takes a millisecond to make one of it.
static IN_USE: Mutex<BTreeMap<[u8; 32], Weak<Pair>>> = Mutex::new(BTreeMap::new());

pub(super) fn load_or_create(home: &Path) -> Result<HostKey> {
    let path = home.join(NAME);
    if let Some(key) = load(home, &path)? {
        return Ok(key);
    }
    create_private_dir(home)?;
    check_dir(home)?;
    create(home, &path)?;
    // Read back even our own: whoever came first decided, and what is on the disk is what the next start
    // will find.
    load(home, &path)?.ok_or_else(|| failed("read", &path, "it vanished after it was made", "start again"))
}

fn failed(action: &str, path: &Path, why: impl std::fmt::Display, remedy: &str) -> Error {
    Error::new(Code::KeyFile, format!("{action} the host key {}: {why}", path.display())).with_remedy(remedy)
}

fn check_dir(home: &Path) -> Result<()> {
    let metadata = fs::metadata(home).map_err(|error| {
        failed("look after", home, error, "make the host directory accessible to this user")
    })?;
    kept_from_writers(home, &metadata)
}

/// `None` when there is no key yet.
fn load(home: &Path, path: &Path) -> Result<Option<HostKey>> {
    let quoted = path.display();
    let readable =
        format!("make it readable by this user: chown \"$USER\" '{quoted}' && chmod 600 '{quoted}'");
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let mode = fs::metadata(path).map_or_else(|_| "mode unknown".into(), |found| mode_of(&found));
            return Err(failed("read", path, format!("{error} ({mode})"), &readable));
        }
    };
    let metadata = file.metadata().map_err(|error| failed("read", path, error, &readable))?;
    if !metadata.is_file() {
        return Err(failed("read", path, "it is not a file", "move it away; a new key will be made"));
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        let why = format!("others than its owner may read or write it ({})", mode_of(&metadata));
        let remedy = format!(
            "if nobody else read it, run: chmod 600 '{quoted}'; \
             otherwise move it away, and a new key will be made"
        );
        return Err(failed("use", path, why, &remedy));
    }
    check_dir(home)?;
    let mut pem = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut pem).map_err(|error| failed("read", path, error, &readable))?;
    let hash = sha256(&pem);
    if let Some(known) = IN_USE.lock().get(&hash).and_then(Weak::upgrade) {
        return Ok(Some(HostKey(known)));
    }
    let key = parse(path, &pem)?;
    let mut in_use = IN_USE.lock();
    in_use.retain(|_, key| key.strong_count() > 0);
    in_use.insert(hash, Arc::downgrade(&key.0));
    Ok(Some(key))
}

fn mode_of(metadata: &fs::Metadata) -> String {
    format!("mode {:04o}", metadata.permissions().mode() & 0o7777)
}

fn parse(path: &Path, pem: &[u8]) -> Result<HostKey> {
    let remedy = "restore the file from a backup, or move it away: then a new key is made, which peers must \
                  trust anew";
    // The callback stands in for OpenSSL's own, which would ask at the terminal for a pass phrase.
    let pkey = PKey::private_key_from_pem_callback(pem, |_| Ok(0))
        .map_err(|_| failed("read", path, "it holds no unencrypted private key in PEM form", remedy))?;
    if pkey.id() != Id::ED25519 {
        return Err(failed("use", path, "its key is not an Ed25519 key", remedy));
    }
    let host_id = host_id_of(&pkey).map_err(|error| failed("use", path, error, remedy))?;
    Ok(HostKey(Arc::new(Pair { pkey, host_id })))
}

/// Removes the temporary file however `create` ends.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Nothing can be done about a file that will not go, and it harms nobody: it is private.
        let _ = fs::remove_file(&self.0);
    }
}

fn create(home: &Path, path: &Path) -> Result<()> {
    let remedy = "set CLERVER_HOME to a directory on a local disk that this user may write";
    let make = |error: &dyn std::fmt::Display| failed("make", path, error, remedy);
    let key = HostKey::generate()?;
    let pem = key.pkey().private_key_to_pem_pkcs8().map_err(|error| make(&error))?;
    let mut random = [0; 8];
    rand_bytes(&mut random).map_err(|error| make(&error))?;
    let temporary = Temporary(home.join(format!("{NAME}.{:016x}.tmp", u64::from_be_bytes(random))));
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create_new(true).mode(0o600).open(&temporary.0).map_err(|error| make(&error))?;
    file.write_all(&pem).and_then(|()| file.sync_all()).map_err(|error| make(&error))?;
    // A hard link, because unlike a rename it never replaces the key of a process that was faster.
    match fs::hard_link(&temporary.0, path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => return Err(make(&error)),
    }
    File::open(home).and_then(|dir| dir.sync_all()).map_err(|error| make(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_use_makes_a_private_key_and_the_next_finds_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("deep/home");
        let first = HostKey::load_or_create(&home).unwrap();
        assert_eq!(HostKey::load_or_create(&home).unwrap().host_id(), first.host_id());
        assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(home.join(NAME)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1, "no temporary file is left");
        let pem = fs::read_to_string(home.join(NAME)).unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS#8");
    }

    #[test]
    fn a_key_that_is_used_is_made_once_and_its_file_is_checked_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        HostKey::load_or_create(&home).unwrap();
        let (first, second) =
            (HostKey::load_or_create(&home).unwrap(), HostKey::load_or_create(&home).unwrap());
        assert!(Arc::ptr_eq(&first.0, &second.0));
        set_mode(&home.join(NAME), 0o644);
        assert_eq!(HostKey::load_or_create(&home).unwrap_err().code, Code::KeyFile);
        fs::remove_file(home.join(NAME)).unwrap();
        assert_ne!(HostKey::load_or_create(&home).unwrap().host_id(), first.host_id());
        let gone = Arc::downgrade(&first.0);
        drop((first, second));
        assert!(gone.upgrade().is_none());
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        let barrier = std::sync::Barrier::new(8);
        let ids = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                HostKey::load_or_create(&home).unwrap().host_id()
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(ids.len(), 1);
        assert_eq!(fs::read_dir(&home).unwrap().count(), 1);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_command_that_helps() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        HostKey::load_or_create(&home).unwrap();
        let path = home.join(NAME);
        for mode in [0o640, 0o604, 0o660, 0o666, 0o610] {
            set_mode(&path, mode);
            let error = HostKey::load_or_create(&home).unwrap_err();
            assert_eq!(error.code, Code::KeyFile);
            let text = error.to_string();
            assert!(text.contains(&format!("{mode:04o}")), "{text}");
            assert!(text.contains(&format!("chmod 600 '{}'", path.display())), "{text}");
        }
        set_mode(&path, 0o400);
        HostKey::load_or_create(&home).unwrap();
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        HostKey::load_or_create(&home).unwrap();
        set_mode(&home, 0o777);
        let error = HostKey::load_or_create(&home).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }

    #[test]
    fn what_is_no_ed25519_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        HostKey::load_or_create(&home).unwrap();
        let path = home.join(NAME);
        let x25519 = PKey::generate_x25519().unwrap().private_key_to_pem_pkcs8().unwrap();
        let cipher = openssl::symm::Cipher::aes_128_cbc();
        let pkey = PKey::generate_ed25519().unwrap();
        let encrypted = pkey.private_key_to_pem_pkcs8_passphrase(cipher, b"secret").unwrap();
        for content in [b"".to_vec(), b"not a key\n".to_vec(), vec![0xff; 40_000], x25519, encrypted] {
            fs::write(&path, &content).unwrap();
            let error = HostKey::load_or_create(&home).unwrap_err();
            assert_eq!(error.code, Code::KeyFile, "{error}");
            assert!(error.to_string().contains("host.key"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), content, "a key that cannot be read is never replaced");
        }
    }

    #[test]
    fn the_private_key_is_not_printed() {
        let key = HostKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("HostKey {{ host_id: {:?}, .. }}", key.host_id()));
    }
}
