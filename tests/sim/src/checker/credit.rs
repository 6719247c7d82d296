//! I6: credit as it goes over the wire. The sum of what an end granted and was not taken yet stays within its budget,
//! and no end sends beyond what it was granted.

use super::{Verdict, ensure};
use crate::world::Pid;
use clerver_proto::id::{CONTROL, ChannelId, SessionId};
use std::collections::BTreeMap;

/// Limits that each end announced, by channel.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    limits: BTreeMap<(Pid, SessionId, ChannelId), u64>,
}

impl Credit {
    /// An end writes CREDIT; a limit never falls (X4: it is an absolute offset).
    pub(crate) fn granted(
        &mut self,
        pid: Pid,
        session: SessionId,
        channel: ChannelId,
        limit: u64,
    ) -> Verdict {
        let known = self.limits.entry((pid, session, channel)).or_default();
        ensure!(
            limit >= *known,
            I6,
            "process {pid} lowered the credit of channel {channel} of session {session} from {known} to {limit}"
        );
        *known = limit;
        Ok(())
    }

    /// Limits above `base` that an end announced for the channels of a session, but for control.
    pub(crate) fn of(&self, pid: Pid, session: SessionId) -> impl Iterator<Item = (ChannelId, u64)> {
        self.limits
            .range((pid, session, ChannelId(0))..=(pid, session, ChannelId(u64::MAX)))
            .map(|((_, _, channel), limit)| (*channel, *limit))
            .filter(|(channel, _)| *channel != CONTROL)
    }

    /// The limit that an end announced for a channel, if it did.
    pub(crate) fn limit(&self, pid: Pid, session: SessionId, channel: ChannelId) -> Option<u64> {
        self.limits.get(&(pid, session, channel)).copied()
    }
}
