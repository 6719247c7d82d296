//! The file that is sent, and the hash of a file.

use crate::Failure;
use openssl::sha::Sha256;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// Size of the file that is made when none is given.
const BYTES: u64 = 64 << 20;

/// The file that the user gave, or one of noise in `dir`.
pub(crate) fn given_or_made(given: Option<&Path>, dir: &Path) -> Result<PathBuf, Failure> {
    let Some(given) = given else {
        println!("making a file of {} MiB", BYTES >> 20);
        let file = dir.join("noise");
        make(&file)?;
        return Ok(file);
    };
    let about = std::fs::metadata(given).map_err(|error| format!("{}: {error}", given.display()))?;
    if !about.is_file() {
        return Err(format!("{}: it is not a file", given.display()).into());
    }
    Ok(given.canonicalize()?)
}

/// Writes noise: different at every place, the same at every run, and not worth compressing.
fn make(path: &Path) -> Result<(), Failure> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..BYTES / 8 {
        // xorshift64*
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        file.write_all(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes())?;
    }
    file.flush()?;
    Ok(())
}

/// SHA-256 of what is on the disk, in hexadecimal.
pub(crate) fn hash_of(path: &Path) -> Result<String, Failure> {
    let mut file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(hash.finish().iter().map(|byte| format!("{byte:02x}")).collect()),
            size => hash.update(&piece[..size]),
        }
    }
}
