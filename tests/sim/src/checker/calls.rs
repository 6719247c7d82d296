//! I15: a handler runs at most once per call and process life, and `not_run` means that none ran.

use super::{Verdict, ensure};
use crate::world::Pid;
use clerver_proto::id::{ChannelId, Sid};
use clerver_proto::node::Outcome;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
struct Call {
    runs: BTreeMap<Pid, u32>,
    /// What each caller was told; a process and its clone may learn different things.
    outcomes: BTreeMap<Pid, Outcome>,
}

/// Every call of the run.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    calls: BTreeMap<(Sid, ChannelId), Call>,
    /// Calls by outcome: reply, not run, unknown.
    pub outcomes: [u64; 3],
}

impl Calls {
    /// A handler was asked to run.
    pub(crate) fn ran(&mut self, sid: Sid, channel: ChannelId, callee: Pid) -> Verdict {
        let call = self.calls.entry((sid, channel)).or_default();
        let runs = call.runs.entry(callee).or_default();
        *runs += 1;
        ensure!(*runs == 1, I15, "call {channel} of {sid} ran {runs} times in process {callee}");
        ensure!(
            !call.outcomes.values().any(|outcome| *outcome == Outcome::NotRun),
            I15,
            "call {channel} of {sid} runs in process {callee} after its caller was told that it is not run"
        );
        Ok(())
    }

    /// A clone of this caller goes on, and gives the numbers of calls that it never made to calls of its own.
    pub(crate) fn forked(&mut self, caller: Pid) {
        for call in self.calls.values_mut() {
            call.outcomes.retain(|pid, outcome| *pid != caller || *outcome != Outcome::NotRun);
        }
    }

    /// The caller learned the outcome.
    pub(crate) fn outcome(&mut self, sid: Sid, channel: ChannelId, caller: Pid, outcome: Outcome) -> Verdict {
        let call = self.calls.entry((sid, channel)).or_default();
        let runs: u32 = call.runs.values().sum();
        match outcome {
            Outcome::NotRun => {
                ensure!(
                    runs == 0,
                    I15,
                    "call {channel} of {sid} is said not to be run, but ran: {:?}",
                    call.runs
                );
            }
            Outcome::Reply => {
                ensure!(runs > 0, I15, "call {channel} of {sid} is said to be answered, but no handler ran");
            }
            Outcome::Unknown => {}
        }
        let before = call.outcomes.insert(caller, outcome);
        ensure!(
            before.is_none_or(|before| before == outcome),
            I15,
            "call {channel} of {sid} had outcome {before:?} and now {outcome:?}"
        );
        if before.is_none() {
            self.outcomes[outcome as usize] += 1;
        }
        Ok(())
    }

    /// A report says this of a call that had no outcome yet.
    pub(crate) fn reported(&mut self, sid: Sid, channel: ChannelId, outcome: Outcome) -> Verdict {
        let runs: u32 = self.calls.get(&(sid, channel)).map_or(0, |call| call.runs.values().sum());
        ensure!(
            outcome != Outcome::NotRun || runs == 0,
            I15,
            "call {channel} of {sid} is reported as not run, but ran {runs} times"
        );
        Ok(())
    }
}
