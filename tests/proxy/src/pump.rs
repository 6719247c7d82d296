//! One direction of one connection: reads, waits as the faults say, writes.

use crate::{Connection, Direction, Shared, State, reset_when_closed};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes that are read at once, and so the most that a stalled connection holds here.
const PIECE_BYTES: usize = 16 * 1024;
/// A write that finds no room looks again for a cut this often.
const WRITE_LOOK: Duration = Duration::from_millis(20);

/// Options of a socket that is carried.
pub(crate) fn prepare(stream: &TcpStream) {
    // A socket that refuses is dead; the first read shows it.
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(WRITE_LOOK));
}

/// See the module.
pub(crate) struct Pump {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: u64,
    pub(crate) direction: Direction,
    pub(crate) from: Arc<TcpStream>,
    pub(crate) to: Arc<TcpStream>,
}

/// How a direction ended.
enum End {
    /// The sender said that it is done.
    Finished,
    /// A reset of ours, or the end of the proxy.
    Cut,
    /// A side reset it.
    Broken,
}

impl Pump {
    pub(crate) fn spawn(self) {
        let (shared, id) = (Arc::clone(&self.shared), self.id);
        let name = format!("proxy {id} {:?}", self.direction);
        if std::thread::Builder::new().name(name).spawn(move || self.run()).is_err() {
            let mut state = shared.state.lock();
            state.cut(id);
            leave(&mut state, id);
        }
    }

    fn run(self) {
        let end = self.carry();
        let Pump { shared, id, from, to, .. } = self;
        if matches!(end, End::Broken) {
            // As the network would: the other side learns of a reset, not of an end.
            shared.state.lock().pass_on_reset(id);
        } else if matches!(end, End::Finished) {
            let _ = to.shutdown(Shutdown::Write);
        }
        // Before the count goes down: whoever waits for it may rely on the reset being out.
        drop((from, to));
        leave(&mut shared.state.lock(), id);
        shared.bell.notify_all();
    }

    fn carry(&self) -> End {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            if !self.may_go_on() {
                return End::Cut;
            }
            let size = match (&*self.from).read(&mut piece) {
                Ok(0) => return if self.may_go_on() { End::Finished } else { End::Cut },
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return End::Broken,
            };
            if !self.wait_delay() || !self.may_go_on() {
                return End::Cut;
            }
            let (allowed, is_last) = self.book(size);
            if let Some(end) = self.write_all(&piece[..allowed]) {
                return end;
            }
            if is_last {
                self.shared.state.lock().cut(self.id);
                self.shared.bell.notify_all();
                return End::Cut;
            }
        }
    }

    /// Waits while a black hole lasts; false once the connection is cut.
    fn may_go_on(&self) -> bool {
        let mut state = self.shared.state.lock();
        loop {
            let Some(connection) = state.connections.get(&self.id) else { return false };
            let stalled = match self.direction {
                Direction::Up => state.faults.stall_up,
                Direction::Down => state.faults.stall_down,
            };
            if connection.cut {
                return false;
            }
            if !stalled && !connection.half_open {
                return true;
            }
            self.shared.bell.wait(&mut state);
        }
    }

    /// False once the connection is cut.
    fn wait_delay(&self) -> bool {
        let mut state = self.shared.state.lock();
        let delay = state.faults.delay;
        if delay.is_zero() {
            return true;
        }
        let is_cut = |state: &mut State| state.connections.get(&self.id).is_none_or(|c| c.cut);
        let over = self.shared.bell.wait_while_for(&mut state, |state| !is_cut(state), delay);
        over.timed_out()
    }

    /// Counts what is forwarded: how much of it may go, and whether the reset comes after it.
    fn book(&self, size: usize) -> (usize, bool) {
        let mut state = self.shared.state.lock();
        let reset_after = state.faults.reset_after;
        let Some(connection) = state.connections.get_mut(&self.id) else { return (0, true) };
        let left = reset_after.map_or(u64::MAX, |limit| limit.saturating_sub(connection.bytes));
        let allowed = size.min(usize::try_from(left).unwrap_or(usize::MAX));
        connection.bytes += allowed as u64;
        match self.direction {
            Direction::Up => state.counters.bytes_up += allowed as u64,
            Direction::Down => state.counters.bytes_down += allowed as u64,
        }
        (allowed, allowed as u64 == left)
    }

    fn write_all(&self, mut bytes: &[u8]) -> Option<End> {
        while !bytes.is_empty() {
            match (&*self.to).write(bytes) {
                Ok(size) => bytes = &bytes[size..],
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if !self.may_go_on() {
                        return Some(End::Cut);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Some(End::Broken),
            }
        }
        None
    }
}

impl State {
    fn pass_on_reset(&mut self, id: u64) {
        let Some(Connection { client, server, cut, .. }) = self.connections.get_mut(&id) else { return };
        *cut = true;
        for stream in [client, server] {
            reset_when_closed(stream);
            let _ = stream.shutdown(Shutdown::Read);
        }
    }
}

/// One direction less; the sockets close with the last.
fn leave(state: &mut State, id: u64) {
    let Some(connection) = state.connections.get_mut(&id) else { return };
    connection.running -= 1;
    if connection.running == 0 {
        state.connections.remove(&id);
        state.counters.open -= 1;
    }
}
