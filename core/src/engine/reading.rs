//! The receiving side of links: socket, TLS, protocol, in that order and each with its own lock.

use super::driver::Driver;
use super::link::{Link, Receive, Received};
use super::sources::Source;
use super::{Engine, clock};
use bytes::BytesMut;
use clerver_proto::error::Error;
use clerver_proto::id::LinkId;
use clerver_proto::node::Input;
use std::sync::Arc;

impl Driver {
    /// Reads a link, at most `reads` buffers; if there may be more, it gets another turn after the others. A short
    /// receive emptied the socket, and the next bytes make a new event; but an end that was announced already
    /// (`is_ended`) is only found by reading on.
    pub(super) fn read_link(&mut self, engine: &Arc<Engine>, token: usize, reads: usize, is_ended: bool) {
        let Some(Source::Link(link)) = self.sources.get(token) else { return };
        let link = Arc::clone(link);
        // A caller that reads it sees the end too.
        if !link.seat.take_or_miss(clock::now()) {
            return;
        }
        self.read_seated(engine, &link, token, reads, is_ended);
        link.leave_read(engine);
    }

    fn read_seated(&mut self, engine: &Arc<Engine>, link: &Link, token: usize, reads: usize, is_ended: bool) {
        for _ in 0..reads {
            match link.receive(&mut self.cipher, &mut self.plain, Receive::Now) {
                Received::Nothing => return,
                Received::Bytes { bytes, more } => {
                    engine.received(link.id, bytes);
                    if !more && !is_ended {
                        return;
                    }
                }
                Received::Ended { bytes, why } => {
                    engine.received(link.id, bytes);
                    link.send_last_words();
                    return self.close_link(engine, token, why);
                }
            }
        }
        self.unread.push_back((token, is_ended));
    }

    /// What came together with the end of the handshake is in TLS already; then the socket gets its turn.
    pub(super) fn read_first(&mut self, engine: &Arc<Engine>, token: usize) {
        let Some(Source::Link(link)) = self.sources.get(token) else { return };
        let link = Arc::clone(link);
        match link.receive(&mut self.cipher, &mut self.plain, Receive::Nothing) {
            Received::Nothing => {}
            Received::Bytes { bytes, .. } => engine.received(link.id, bytes),
            Received::Ended { bytes, why } => return self.end_first(engine, token, &link, bytes, why),
        }
        // The event of an end may have come during the handshake.
        self.unread.push_back((token, true));
    }

    fn end_first(
        &mut self,
        engine: &Arc<Engine>,
        token: usize,
        link: &Arc<super::link::Link>,
        bytes: BytesMut,
        why: Error,
    ) {
        engine.received(link.id, bytes);
        link.send_last_words();
        self.close_link(engine, token, why);
    }
}

impl Engine {
    fn received(self: &Arc<Self>, link: LinkId, bytes: BytesMut) {
        if !bytes.is_empty() {
            self.with_shard(|shard, now, batch| shard.input(now, Input::Bytes { link, bytes }, batch));
        }
    }
}
