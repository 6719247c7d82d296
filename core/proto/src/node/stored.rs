//! What the application asks of a node about stored channels (D1).

use super::{Node, StoredChannel};
use crate::error::Result;
use crate::id::{ChannelId, SessionId};
use crate::time::Instant;
use bytes::Bytes;

impl Node {
    /// The application is done with what it took of a stored channel before this offset: it does not come again.
    ///
    /// # Errors
    /// `HANDLE`; `ARG` beyond what was taken; `STATE` when the channel is not a stored one.
    pub fn channel_done(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        offset: u64,
    ) -> Result<()> {
        let now = self.now.max(now);
        self.command(now, session)?.done(channel, offset)
    }

    /// How far the application is with the first message of a stored channel that it is not done with: it comes back
    /// with that message when it is delivered again.
    ///
    /// # Errors
    /// `HANDLE`; `SIZE`; `STATE` when the channel is not a stored one.
    pub fn channel_restart_point(
        &mut self,
        now: Instant,
        session: SessionId,
        channel: ChannelId,
        point: Bytes,
    ) -> Result<()> {
        let now = self.now.max(now);
        self.command(now, session)?.set_restart_point(channel, point)
    }

    /// How far a stored channel is; `None` when this end does not store it.
    ///
    /// # Errors
    /// `HANDLE`.
    pub fn channel_stored(&self, session: SessionId, channel: ChannelId) -> Result<Option<StoredChannel>> {
        Ok(self.session(session)?.stored(channel))
    }
}
