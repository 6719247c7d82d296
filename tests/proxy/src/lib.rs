//! A TCP proxy on loopback that breaks connections on command: resets, half-open connections, black holes.
//!
//! Two threads carry the bytes of each connection; faults are set while it runs and count at once. It never looks into
//! the bytes, and apart from cutting a connection it loses none of them.
//!
//! Invariants: what is forwarded is a prefix of what came, in order; a cut is a TCP reset to both sides, wherever in
//! the stream it happens; dropping the [`Proxy`] ends all its connections and threads.

mod clock;
mod pump;

pub use clock::Stopwatch;

use parking_lot::{Condvar, Mutex};
use pump::Pump;
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// The way that bytes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the dialling side to the upstream address.
    Up,
    /// From the upstream address to the dialling side.
    Down,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted, refused ones included.
    pub connections: u64,
    /// Of them, refused.
    pub refused: u64,
    /// Of them, ended by a reset of ours.
    pub resets: u64,
    /// Of them, open now; half-open ones included.
    pub open: u64,
    /// Bytes forwarded to the upstream address.
    pub bytes_up: u64,
    /// Bytes forwarded to the dialling side.
    pub bytes_down: u64,
}

/// What goes wrong; by default nothing.
#[derive(Debug, Clone, Copy, Default)]
struct Faults {
    reset_after: Option<u64>,
    refuse: bool,
    stall_up: bool,
    stall_down: bool,
    delay: Duration,
}

/// One proxied connection.
#[derive(Debug)]
struct Connection {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
    bytes: u64,
    /// Keeps both sides open and forwards nothing, for ever.
    half_open: bool,
    cut: bool,
    /// Directions that still run.
    running: u8,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    faults: Faults,
    counters: Counters,
    connections: BTreeMap<u64, Connection>,
    closed: bool,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rings at every change of `state`.
    bell: Condvar,
}

/// See the module. Its methods may be called from any thread.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `upstream`.
    ///
    /// # Errors
    /// What the system says when it has no port or thread.
    pub fn start(upstream: SocketAddr) -> io::Result<Proxy> {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0")?);
        let address = listener.local_addr()?;
        let state = State {
            upstream,
            faults: Faults::default(),
            counters: Counters::default(),
            connections: BTreeMap::new(),
            closed: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), bell: Condvar::new() });
        let (mine, theirs) = (Arc::clone(&shared), Arc::clone(&listener));
        let accept = move || mine.accept_all(&theirs);
        let acceptor = Some(std::thread::Builder::new().name("proxy accept".into()).spawn(accept)?);
        Ok(Proxy { shared, listener, address, acceptor })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets a fault and tells all threads.
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.shared.state.lock());
        self.shared.bell.notify_all();
    }

    /// New connections go there from now on.
    pub fn set_upstream(&self, upstream: SocketAddr) {
        self.change(|state| state.upstream = upstream);
    }

    /// Resets each connection once it carried this many bytes, both directions together; `None` stops that.
    pub fn reset_after(&self, bytes: Option<u64>) {
        self.change(|state| state.faults.reset_after = bytes);
    }

    /// Resets new connections as soon as they are made.
    pub fn refuse(&self, on: bool) {
        self.change(|state| state.faults.refuse = on);
    }

    /// Black hole: nothing is forwarded in this direction, nothing is dropped, and nobody is told.
    pub fn stall(&self, direction: Direction, on: bool) {
        self.change(|state| match direction {
            Direction::Up => state.faults.stall_up = on,
            Direction::Down => state.faults.stall_down = on,
        });
    }

    /// Black hole in both directions.
    pub fn stall_both(&self, on: bool) {
        self.stall(Direction::Up, on);
        self.stall(Direction::Down, on);
    }

    /// Each piece that is read waits this long before it goes on; pieces wait one after the other.
    pub fn delay(&self, delay: Duration) {
        self.change(|state| state.faults.delay = delay);
    }

    /// Stops forwarding the newest connection for ever and keeps both its sides open, so that neither learns of the
    /// other's end. False when there is no connection.
    pub fn half_open_newest(&self) -> bool {
        let mut state = self.shared.state.lock();
        let newest = state.connections.values_mut().rev().find(|connection| !connection.half_open);
        let found = newest.map(|connection| connection.half_open = true).is_some();
        drop(state);
        self.shared.bell.notify_all();
        found
    }

    /// Resets every connection now, half-open ones included.
    pub fn cut_all(&self) {
        self.change(State::cut_all);
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.shared.state.lock().counters
    }

    /// Waits until the counts are as wanted; false when they are not within `wait`.
    pub fn wait_until(&self, wanted: impl Fn(&Counters) -> bool, wait: Duration) -> bool {
        let watch = Stopwatch::start();
        let mut state = self.shared.state.lock();
        while !wanted(&state.counters) {
            let left = watch.left_of(wait);
            if left.is_zero() {
                return false;
            }
            self.shared.bell.wait_for(&mut state, left);
        }
        true
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.change(|state| {
            state.closed = true;
            state.cut_all();
        });
        // Wakes the thread in accept; on an error it is not waiting there.
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        let mut state = self.shared.state.lock();
        while state.counters.open > 0 {
            self.shared.bell.wait(&mut state);
        }
    }
}

impl State {
    fn cut(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if std::mem::replace(&mut connection.cut, true) {
            return;
        }
        self.counters.resets += 1;
        for stream in [&connection.client, &connection.server] {
            reset_when_closed(stream);
            // Ends a read that waits, and tells the other side nothing.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    fn cut_all(&mut self) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cut(id));
    }
}

/// The last close of this socket sends a reset and drops what is unsent.
fn reset_when_closed(stream: &TcpStream) {
    // On an error the socket is dead already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Shared {
    fn accept_all(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.state.lock().closed {
                return;
            }
            if let Ok((client, _)) = accepted {
                self.admit(client);
                self.bell.notify_all();
            }
        }
    }

    fn admit(self: &Arc<Self>, client: TcpStream) {
        let (upstream, refuse) = {
            let mut state = self.state.lock();
            state.counters.connections += 1;
            (state.upstream, state.faults.refuse)
        };
        let server = if refuse { None } else { TcpStream::connect(upstream).ok() };
        let Some(server) = server else {
            self.state.lock().counters.refused += 1;
            return reset_when_closed(&client);
        };
        let mut state = self.state.lock();
        if state.closed {
            return [&client, &server].into_iter().for_each(reset_when_closed);
        }
        let id = state.counters.connections;
        let (client, server) = (Arc::new(client), Arc::new(server));
        for stream in [&client, &server] {
            pump::prepare(stream);
        }
        let (up, down) = (Arc::clone(&client), Arc::clone(&server));
        let connection = Connection { client, server, bytes: 0, half_open: false, cut: false, running: 2 };
        state.connections.insert(id, connection);
        state.counters.open += 1;
        drop(state);
        for (direction, from, to) in
            [(Direction::Up, Arc::clone(&up), Arc::clone(&down)), (Direction::Down, down, up)]
        {
            let pump = Pump { shared: Arc::clone(self), id, direction, from, to };
            pump.spawn();
        }
    }
}

#[cfg(test)]
mod tests;
