//! How many nodes are open in this process, and whether it is the child of one that had some open.
//!
//! A fork copies the table in which sleeping threads wait for locks, but not the threads: in such a child a node could
//! wake what is not there. So none is opened in it. Touches no lock, for the same reason.

use super::descriptor::process_mark;
use clerver_proto::error::{Code, Error, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// Mark of the process in the upper half, open nodes in the lower.
static OPEN: AtomicU64 = AtomicU64::new(0);

fn mark() -> u64 {
    process_mark() << 32
}

const COUNT: u64 = u32::MAX as u64;

/// One open node; dropping it says that it has closed.
#[derive(Debug)]
pub(super) struct Presence(());

impl Presence {
    /// Errors: `FORKED` when the parent had nodes open at the fork.
    pub(super) fn enter() -> Result<Presence> {
        let mark = mark();
        let entered = OPEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            let is_ours = open & !COUNT == mark;
            if is_ours || open & COUNT == 0 { Some(mark | ((open & COUNT) + 1)) } else { None }
        });
        match entered {
            Ok(_) => Ok(Presence(())),
            Err(_) => {
                let what = "open a node in a child process whose parent had nodes open when it forked";
                Err(Error::new(Code::Forked, what)
                    .with_remedy("fork before the first node is opened, or start the child by exec"))
            }
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mark = mark();
        // Of a parent's nodes the child keeps the count, which says that they were open.
        let _ = OPEN.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open & !COUNT == mark && open & COUNT > 0).then(|| open - 1)
        });
    }
}
