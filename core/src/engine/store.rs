//! The store of a node: an ordered map of bytes to bytes in one SQLite file, `clerver.db` in a directory of its own.
//!
//! Changes come as numbered batches. One thread takes all that are queued and commits them as one transaction, so a
//! slow disk makes transactions larger and not the queue longer. It does not know what keys and values mean (that is
//! the protocol), it does not read again what it wrote, and it does not bound what is queued (who submits does).
//!
//! Invariants: a batch is on the disk whole or not at all, and none before those with lower numbers; `done` is said
//! after the disk confirmed, never before; what cannot be stored stays queued and is tried again; one process has the
//! file, and nothing else in that process opens it: closing a second descriptor would let the lock of the first go.

mod failure;
mod file;
#[cfg(test)]
mod tests;
mod writer;

use super::clock::{deadline, now};
use super::descriptor::SignalMask;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::store::{Change, Record};
use file::StoreFile;
use parking_lot::{Condvar, Mutex};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use writer::Writer;

/// What failed is tried again after this time.
const RETRY: Duration = Duration::from_secs(1);

/// A number and what changes.
type Batch = (u64, Vec<Change>);
/// Told that the batch of this number, and all before it, are on the disk.
type Done = Box<dyn Fn(u64) + Send>;
/// Told why nothing can be stored at the moment, and `None` when it can again.
type Trouble = Box<dyn Fn(Option<Error>) + Send>;

/// What was in a store when it was opened.
pub(crate) struct Loaded {
    /// All good records, in the order of their keys.
    pub(crate) records: Vec<Record>,
    /// Keys of records whose value is damaged.
    pub(crate) damaged: Vec<Vec<u8>>,
}

/// See the module.
pub(crate) struct Store {
    /// Until the thread has it.
    file: Mutex<Option<StoreFile>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    mailbox: Arc<Mailbox>,
}

impl Store {
    /// Opens or makes the store in a directory, which is made too when it is missing; takes it for this process, and
    /// reads everything.
    ///
    /// Errors: `IN_USE`; `VERSION` when another version of Clerver wrote it; `CONFIG` when it is damaged, is not a
    /// store, or may not be written; `SYSTEM`.
    pub(crate) fn open(directory: &Path) -> Result<(Store, Loaded)> {
        let file = StoreFile::open(directory)?;
        let loaded = file.load()?;
        Ok((
            Store { file: Mutex::new(Some(file)), thread: Mutex::default(), mailbox: Arc::default() },
            loaded,
        ))
    }

    /// Moves all records whose key has `part` at byte `at` into the table `set_aside`, with the time and the reason:
    /// people can look there, and nothing of it is loaded again. Before `start`.
    ///
    /// Errors: `STATE` after `start`; as `open`.
    pub(crate) fn set_aside(&mut self, at: usize, part: &[u8], why: &str) -> Result<()> {
        let file = self.file.get_mut().as_ref();
        file.ok_or_else(|| Error::new(Code::State, "set records aside: the store has started"))?
            .set_aside(at, part, why)
    }

    /// Starts the thread. `done(n)`: the batch n and all before it are on the disk. `trouble(error)`: a commit failed
    /// and is tried again each second; said once, again when the error changes, and with `None` when it went well.
    /// Both run on the thread of the store, with no lock held.
    ///
    /// Errors: `STATE` when it has started or is closed; `SYSTEM` when there are no more threads: the store is closed
    /// then.
    pub(crate) fn start(&mut self, done: Done, trouble: Trouble) -> Result<()> {
        let file = self.file.get_mut().take();
        let file =
            file.ok_or_else(|| Error::new(Code::State, "start a store: it has started, or is closed"))?;
        self.mailbox.state.lock().has_thread = true;
        let leaving = Leaving(Arc::clone(&self.mailbox));
        let committer = Committer { file, done, trouble, leaving };
        let started = std::thread::Builder::new().name("clerver-store".into()).spawn(move || committer.run());
        let failed = |error| Error::new(Code::System, format!("start the thread of the store: {error}"));
        *self.thread.lock() = Some(started.map_err(failed)?);
        Ok(())
    }

    /// Queues a batch. Never blocks. The numbers rise.
    pub(crate) fn submit(&self, number: u64, changes: Vec<Change>) {
        let mut state = self.mailbox.state.lock();
        if state.is_leaving {
            return;
        }
        debug_assert!(
            state.queue.last().is_none_or(|(last, _)| *last < number),
            "batch {number} is out of order"
        );
        state.queue.push((number, changes));
        drop(state);
        self.mailbox.work.notify_one();
    }

    /// Commits what is queued and ends the thread, which lets the file go; waits at most `wait`, and then what is not
    /// stored is given up. False when something was not stored. The second call does nothing. Not from `done` or
    /// `trouble`.
    pub(crate) fn close(&self, wait: Duration) -> bool {
        let mut state = self.mailbox.state.lock();
        if std::mem::replace(&mut state.is_closing, true) {
            return state.is_stored();
        }
        self.mailbox.work.notify_one();
        let until = deadline(Some(wait));
        while state.has_thread && now() < until {
            self.mailbox.left.wait_for(&mut state, until.since(now()));
        }
        state.is_leaving = true;
        let (is_stored, has_left) = (state.is_stored(), !state.has_thread);
        drop(state);
        self.mailbox.work.notify_one();
        let thread = self.thread.lock().take();
        // What it did last may be the end of its node.
        let is_other = |thread: &JoinHandle<()>| thread.thread().id() != std::thread::current().id();
        if let Some(thread) = thread.filter(|thread| has_left && is_other(thread)) {
            // It sent, so it must not end beside the exit handlers of the program, as the thread of the loop.
            let _ = thread.join();
        }
        // Without a thread it is still here.
        drop(self.file.lock().take());
        is_stored
    }
}

impl Drop for Store {
    /// Who wants the rest stored closes it before.
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

#[derive(Default)]
struct State {
    queue: Vec<Batch>,
    /// The thread has batches that it has not stored yet.
    is_storing: bool,
    /// There is a thread, and it has the file.
    has_thread: bool,
    /// The thread leaves when nothing is queued.
    is_closing: bool,
    /// The thread leaves as soon as it can, and takes nothing more.
    is_leaving: bool,
}

impl State {
    fn is_stored(&self) -> bool {
        self.queue.is_empty() && !self.is_storing
    }
}

/// What the store and its thread share.
#[derive(Default)]
struct Mailbox {
    state: Mutex<State>,
    /// The thread sleeps on it.
    work: Condvar,
    /// Who closes sleeps on it.
    left: Condvar,
}

impl Mailbox {
    /// What is queued, all of it; `None` when the thread shall leave. What it took before is stored.
    fn take(&self) -> Option<Vec<Batch>> {
        let mut state = self.state.lock();
        state.is_storing = false;
        loop {
            if state.is_leaving {
                return None;
            }
            if !state.queue.is_empty() {
                state.is_storing = true;
                return Some(std::mem::take(&mut state.queue));
            }
            if state.is_closing {
                state.is_leaving = true;
                return None;
            }
            self.work.wait(&mut state);
        }
    }

    /// Waits until what failed is worth another attempt: a second, or until the store begins to close. False when the
    /// thread shall leave.
    fn pause(&self) -> bool {
        let mut state = self.state.lock();
        let (until, was_closing) = (deadline(Some(RETRY)), state.is_closing);
        while !state.is_leaving && state.is_closing == was_closing && now() < until {
            self.work.wait_for(&mut state, until.since(now()));
        }
        !state.is_leaving
    }
}

/// Says, when it is dropped, that the thread let the file go; also when a callback panicked.
struct Leaving(Arc<Mailbox>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        (state.has_thread, state.is_leaving) = (false, true);
        drop(state);
        self.0.left.notify_all();
    }
}

/// What runs on the thread.
struct Committer {
    // The fields go in this order: whoever hears of the leave finds the file free.
    file: StoreFile,
    done: Done,
    trouble: Trouble,
    leaving: Leaving,
}

impl Committer {
    fn run(self) {
        SignalMask::all().apply();
        let mut writer = Writer::new(&self.file);
        while let Some(batches) = self.leaving.0.take() {
            if !self.store(&mut writer, &batches) {
                return;
            }
            if let Some((number, _)) = batches.last() {
                (self.done)(*number);
            }
        }
    }

    /// Commits batches, however often it takes. False when that was given up.
    fn store(&self, writer: &mut Writer<'_>, batches: &[Batch]) -> bool {
        let mut said = None;
        while let Err(error) = writer.commit(batches) {
            if said.as_ref() != Some(&error) {
                said = Some(error.clone());
                (self.trouble)(Some(error));
            }
            if !self.leaving.0.pause() {
                return false;
            }
        }
        if said.is_some() {
            (self.trouble)(None);
        }
        true
    }
}
