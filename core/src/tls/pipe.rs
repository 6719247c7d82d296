//! The two byte queues that OpenSSL reads and writes instead of a socket.
//!
//! Not a socket: it never blocks on writing, and an empty input is "would block" until the end is announced.
//!
//! Invariant: `at <= input.len()`; bytes before `at` were taken by OpenSSL.

use std::io::{self, Read, Write};

/// Ciphertext in and ciphertext out, in memory.
#[derive(Debug, Default)]
pub(super) struct MemoryPipe {
    input: Vec<u8>,
    at: usize,
    input_is_lent: bool,
    /// No more input will come.
    pub(super) ended: bool,
    /// Ciphertext that waits for the socket.
    pub(super) output: Vec<u8>,
    /// Bytes that OpenSSL took so far.
    pub(super) taken: u64,
}

impl MemoryPipe {
    pub(super) fn waiting(&self) -> usize {
        self.input.len() - self.at
    }

    pub(super) fn feed(&mut self, ciphertext: &[u8]) {
        if self.waiting() == 0 {
            self.input.clear();
            self.at = 0;
        } else if self.at > self.input.len() / 2 {
            self.input.drain(..self.at);
            self.at = 0;
        }
        self.input.extend_from_slice(ciphertext);
    }

    /// Takes a whole buffer without copying it, when nothing else waits.
    pub(super) fn feed_lent(&mut self, ciphertext: Vec<u8>) {
        if self.waiting() == 0 {
            self.input = ciphertext;
            self.at = 0;
            self.input_is_lent = true;
        } else {
            self.feed(&ciphertext);
        }
    }

    pub(super) fn take_spent(&mut self) -> Vec<u8> {
        if self.waiting() > 0 {
            return Vec::new();
        }
        self.at = 0;
        self.input_is_lent = false;
        let mut spent = std::mem::take(&mut self.input);
        spent.clear();
        spent
    }

    /// An idle link keeps no buffer; one that was lent stays for its owner to fetch.
    pub(super) fn release(&mut self) {
        if self.waiting() == 0 && !self.input_is_lent {
            self.input = Vec::new();
            self.at = 0;
        }
    }
}

impl Read for MemoryPipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let waiting = &self.input[self.at..];
        if waiting.is_empty() {
            return if self.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let size = waiting.len().min(into.len());
        into[..size].copy_from_slice(&waiting[..size]);
        self.at += size;
        self.taken += size as u64;
        Ok(size)
    }
}

impl Write for MemoryPipe {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(from);
        Ok(from.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
