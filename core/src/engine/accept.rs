//! Listeners, and who is let in to a handshake: bounded in number, in time, and in rate per source.
//!
//! Whether a peer is trusted is decided after its handshake, by the protocol. A connection that says nothing
//! takes no handshake's place. Invariants: what a stranger can make this node hold before that is bounded by
//! `handshakes_max`, `SILENT_MAX` and the size of the table of sources; a connection for which there is no place
//! yet waits in the kernel's backlog, and nobody is closed for want of places who was not given his time to speak.

use super::command::Command;
use super::driver::{Driver, Happened, Timer};
use super::event::LogLevel;
use super::handshake::{FIRST_BYTE_TIME, Handshake, Origin};
use super::sources::Source;
use super::{Engine, clock};
use crate::address::{Address, is_local_peer};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::time::Instant;
use mio::Interest;
use socket2::{Domain, Protocol, Socket, Type};
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Connections that wait in the kernel, which takes no more than `net.core.somaxconn` of them.
const BACKLOG: i32 = 65_535;
/// Connections accepted from one listener before others get a turn.
const ACCEPTS_PER_TURN: usize = 64;
/// Handshakes that run at once, unless the program says how many: as many as a core makes in a round trip of 30 ms.
const HANDSHAKES_PER_CORE: usize = 32;
/// Pause after the system refused to accept, such as for want of descriptors.
const PAUSE: Duration = Duration::from_millis(100);
/// Connections that have said nothing yet.
const SILENT_MAX: usize = 512;
/// So long one may be silent while others wait for its place; who dials speaks within a round trip.
const PATIENCE: Duration = Duration::from_secs(1);
/// Sources whose rate is remembered; when there are more, the one seen longest ago is forgotten.
const SOURCES_MAX: usize = 4096;

/// An open listener.
pub(super) struct Listener {
    socket: TcpListener,
    level_min: u8,
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The listeners of one node, and accepted connections on their way in. Made by the first listener.
#[derive(Debug, Default)]
pub(super) struct Door {
    /// Tokens.
    listeners: Vec<usize>,
    rates: SourceRates,
    /// Handshakes that run.
    admitted: usize,
    silent: Silent,
    /// Those that spoke, and wait until fewer handshakes run.
    ready: VecDeque<usize>,
    /// For want of places, connections may have been left in the kernel's backlog.
    is_held: bool,
}

/// Accepted connections that have said nothing, by token and so by age: where they come from, and since when.
#[derive(Debug, Default)]
struct Silent {
    by_token: BTreeMap<usize, (IpAddr, Instant)>,
}

impl Silent {
    fn is_full(&self) -> bool {
        self.by_token.len() >= SILENT_MAX
    }

    fn insert(&mut self, token: usize, source: IpAddr, now: Instant) {
        self.by_token.insert(token, (source, now));
    }

    /// Whose place is given away next, and when: the oldest of the source that has the most, so that one source
    /// that says nothing takes no place from the others for longer than its patience.
    fn next_to_go(&self) -> Option<(usize, Instant)> {
        let mut sources: BTreeMap<IpAddr, (usize, Reverse<usize>)> = BTreeMap::new();
        for (&token, (source, _)) in &self.by_token {
            sources.entry(*source).or_insert((0, Reverse(token))).0 += 1;
        }
        let (_, Reverse(token)) = sources.into_values().max()?;
        self.by_token.get(&token).map(|(_, since)| (token, *since + PATIENCE))
    }
}

/// Connections per source address: a bucket of tokens for each.
#[derive(Debug, Default)]
pub(super) struct SourceRates {
    buckets: BTreeMap<IpAddr, (f64, Instant)>,
}

impl SourceRates {
    /// Whether this source may open one more connection now.
    pub(super) fn admit(&mut self, source: IpAddr, per_s: u64, now: Instant) -> bool {
        let source = network_of(source);
        if self.buckets.len() >= SOURCES_MAX && !self.buckets.contains_key(&source) {
            let oldest = self.buckets.iter().min_by_key(|(_, (_, at))| *at).map(|(source, _)| *source);
            oldest.map(|oldest| self.buckets.remove(&oldest));
        }
        let burst = 2.0 * per_s as f64;
        let (tokens, at) = self.buckets.entry(source).or_insert((burst, now));
        *tokens = (*tokens + now.since(*at).as_secs_f64() * per_s as f64).min(burst);
        *at = now;
        let is_admitted = *tokens >= 1.0;
        *tokens -= f64::from(u8::from(is_admitted));
        is_admitted
    }
}

/// Whoever has a v6 address has a whole /64 of them.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

/// Opens a listening socket. Blocks for the resolver when the address is a name.
///
/// Errors: `ARG`, `RESOLVE`, `IN_USE`, `SYSTEM`.
pub(crate) fn bind(text: &str) -> Result<(TcpListener, SocketAddr)> {
    let address: Address = text.parse()?;
    let resolve = |why: String| Error::new(Code::Resolve, format!("listen on {text}: {why}"));
    let mut found =
        (address.host.as_str(), address.port).to_socket_addrs().map_err(|e| resolve(e.to_string()))?;
    let place = found.next().ok_or_else(|| resolve("the name has no address".into()))?;
    let listener = open_listener(place).map_err(|error| bind_failed(text, place, &error))?;
    let place = listener.local_addr().map_err(|error| bind_failed(text, place, &error))?;
    Ok((listener, place))
}

fn open_listener(place: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(place), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if place.is_ipv6() && place.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&place.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_failed(text: &str, place: SocketAddr, error: &io::Error) -> Error {
    let what = format!("listen on {text} ({place}): {error}");
    match error.kind() {
        ErrorKind::AddrInUse => Error::new(Code::InUse, what).with_remedy(format!(
            "choose another port, or find the process that has it: ss -ltnp 'sport = :{}'",
            place.port()
        )),
        ErrorKind::PermissionDenied => {
            let remedy = "choose a port above 1023, or give the program CAP_NET_BIND_SERVICE";
            Error::new(Code::System, what).with_remedy(remedy)
        }
        ErrorKind::AddrNotAvailable => {
            let remedy = "use an address of this machine; \"ip address\" lists them";
            Error::new(Code::Argument, what).with_remedy(remedy)
        }
        _ => Error::new(Code::System, what),
    }
}

impl Driver {
    pub(super) fn listen(&mut self, engine: &Arc<Engine>, socket: TcpListener, level_min: u8) {
        let token = self.sources.token();
        if let Err(error) = self.watch(socket.as_raw_fd(), token, Interest::READABLE) {
            engine.log(LogLevel::Error, || format!("watch a listener: {error}"));
            return;
        }
        self.sources.insert(engine, token, Source::Listener(Listener { socket, level_min }));
        self.door(engine).listeners.push(token);
        self.accept(engine, token);
    }

    fn door(&mut self, engine: &Engine) -> &mut Door {
        self.doors.entry(engine.number).or_default()
    }

    pub(super) fn stop_listening(&mut self, engine: &Engine) {
        let Some(door) = self.doors.get_mut(&engine.number) else { return };
        for token in std::mem::take(&mut door.listeners) {
            self.remove(token);
        }
    }

    /// Accepts again everywhere: a handshake ended, or a pause is over.
    pub(super) fn accept_all(&mut self, engine: &Arc<Engine>) {
        while self.door(engine).admitted < engine.handshakes_max() {
            let Some(token) = self.door(engine).ready.pop_front() else { break };
            self.let_in(engine, token);
            self.shaking.push_back(Happened::turn_of(token));
        }
        self.door(engine).is_held = false;
        for token in self.door(engine).listeners.clone() {
            self.accept(engine, token);
        }
    }

    /// An accepted connection speaks TLS: whether its handshake may run now.
    pub(super) fn spoke(&mut self, engine: &Engine, token: usize) -> bool {
        let handshakes_max = engine.handshakes_max();
        self.door(engine).silent.by_token.remove(&token);
        self.place_is_free(engine);
        let door = self.door(engine);
        if door.admitted < handshakes_max {
            self.let_in(engine, token);
            return true;
        }
        door.ready.push_back(token);
        false
    }

    /// A connection has left its place: whoever waits for one gets it, in a turn of his own, for that may come back
    /// here.
    fn place_is_free(&mut self, engine: &Engine) {
        let door = self.door(engine);
        if door.is_held || !door.ready.is_empty() {
            self.timers.set(Timer::Accept(engine.number), clock::now());
        }
    }

    /// Whether one connection more may be accepted. If not, it waits in the kernel's backlog, where it costs nothing,
    /// until somebody leaves or speaks or has lost his patience.
    fn has_place(&mut self, engine: &Engine, now: Instant) -> bool {
        let handshakes_max = engine.handshakes_max();
        let door = self.door(engine);
        if door.admitted >= handshakes_max || !door.ready.is_empty() {
            door.is_held = true;
            return false;
        }
        if !door.silent.is_full() {
            return true;
        }
        let until = door.silent.next_to_go().map(|(_, until)| until);
        let Some(until) = until.filter(|&until| until > now) else { return true };
        door.is_held = true;
        self.timers.set(Timer::Accept(engine.number), until);
        false
    }

    /// Makes room for one more that is silent, at the expense of one that was long enough.
    fn make_silent_place(&mut self, engine: &Arc<Engine>) {
        let Some((token, _)) = self.door(engine).silent.next_to_go() else { return };
        // What it said may not have been looked at yet.
        self.shake(engine, token, false);
        if self.door(engine).silent.by_token.remove(&token).is_some() {
            self.remove(token);
        }
    }

    fn let_in(&mut self, engine: &Engine, token: usize) {
        if let Some(Source::Handshake(handshake)) = self.sources.get_mut(token)
            && let Some(until) = handshake.begin()
        {
            self.door(engine).admitted += 1;
            self.timers.set(Timer::Handshake(token), until);
        }
    }

    /// An accepted connection is a handshake no more.
    pub(super) fn left_door(&mut self, engine: &Arc<Engine>, token: usize, was_admitted: bool) {
        let door = self.door(engine);
        if was_admitted {
            door.admitted -= 1;
        } else {
            door.silent.by_token.remove(&token);
            door.ready.retain(|&waiting| waiting != token);
        }
        self.place_is_free(engine);
    }

    pub(super) fn accept(&mut self, engine: &Arc<Engine>, token: usize) {
        let now = clock::now();
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.has_place(engine, now) {
                return;
            }
            let Some(Source::Listener(listener)) = self.sources.get(token) else { return };
            let level_min = listener.level_min;
            match listener.socket.accept() {
                Ok((socket, peer)) => self.admit(engine, socket, peer, level_min, now),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    engine.log(LogLevel::Error, || {
                        format!("accept a connection: {error}; again in {} ms", PAUSE.as_millis())
                    });
                    return self.timers.set(Timer::Accept(engine.number), now + PAUSE);
                }
            }
        }
        self.timers.set(Timer::Accept(engine.number), now);
    }

    fn admit(
        &mut self,
        engine: &Arc<Engine>,
        socket: TcpStream,
        peer: SocketAddr,
        level_min: u8,
        now: Instant,
    ) {
        let is_local = socket.local_addr().is_ok_and(|own| is_local_peer(peer.ip(), own.ip()));
        let rate = engine.settings.source_rate_per_s;
        // Who is on this machine can stop this process by other means.
        if !is_local && !self.door(engine).rates.admit(peer.ip(), rate, now) {
            engine.log(LogLevel::Debug, || format!("connection from {peer} closed: too many per second"));
            return;
        }
        let with = format!("{peer}");
        let prepared = socket.set_nonblocking(true).and_then(|()| socket.set_nodelay(true));
        let made = prepared
            .map_err(|error| Error::new(Code::LinkFailed, format!("accept from {with}: {error}")))
            .and_then(|()| engine.tls.accept(&with));
        let tls = match made {
            Ok(tls) => tls,
            Err(error) => return engine.log(LogLevel::Warn, || error.to_string()),
        };
        let token = self.sources.token();
        if let Err(error) = self.watch(socket.as_raw_fd(), token, Interest::READABLE | Interest::WRITABLE) {
            return engine.log(LogLevel::Warn, || format!("accept from {with}: {error}"));
        }
        if self.door(engine).silent.is_full() {
            self.make_silent_place(engine);
        }
        self.door(engine).silent.insert(token, network_of(peer.ip()), now);
        let origin = Origin::Accepted { level_min, until: now + engine.handshake_time() };
        self.timers.set(Timer::Handshake(token), now + FIRST_BYTE_TIME.min(engine.handshake_time()));
        let handshake = Handshake::new(socket, tls, with, is_local, origin);
        self.sources.insert(engine, token, Source::Handshake(Box::new(handshake)));
    }
}

/// Errors of accept(2) that tell of a connection that broke before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use ErrorKind::*;
    matches!(
        error.kind(),
        Interrupted
            | ConnectionAborted
            | ConnectionReset
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    ) || error.raw_os_error() == Some(libc::EPROTO)
}

/// The processors that this process may use. Asked once: the answer takes a dozen files to read.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

impl Engine {
    fn handshakes_max(&self) -> usize {
        match self.settings.handshakes_max {
            0 => HANDSHAKES_PER_CORE * cores(),
            given => usize::try_from(given).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn handshake_time(&self) -> Duration {
        Duration::from_millis(self.settings.handshake_ms)
    }

    /// Accepts connections at `host:port` from peers of at least `level_min`.
    pub(crate) fn listen(self: &Arc<Self>, address: &str, level_min: u8) -> Result<SocketAddr> {
        let (listener, place) = bind(address)?;
        self.post(Command::Listen { listener, level_min });
        if !place.ip().is_loopback() {
            self.post(Command::WatchNetwork);
        }
        self.note_listening(place);
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_its_burst_then_its_rate() {
        let mut rates = SourceRates::default();
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let start = Instant(1_000_000_000_000);
        let admitted = (0..100).filter(|_| rates.admit(source, 10, start)).count();
        assert_eq!(admitted, 20);
        assert!(rates.admit(source, 10, start + Duration::from_millis(100)));
        assert!(!rates.admit(source, 10, start + Duration::from_millis(100)));
        assert!(rates.admit("192.0.2.2".parse().unwrap(), 10, start), "another source has its own");
    }

    #[test]
    fn the_oldest_of_the_source_with_the_most_silent_connections_goes_first_and_not_before_its_time() {
        let mut silent = Silent::default();
        let [few, many]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let at = |ms| Instant(1_000_000_000_000) + Duration::from_millis(ms);
        silent.insert(1, few, at(0));
        silent.insert(2, many, at(100));
        assert_eq!(silent.next_to_go(), Some((1, at(0) + PATIENCE)), "as many each: the oldest of all");
        silent.insert(3, many, at(200));
        assert_eq!(silent.next_to_go(), Some((2, at(100) + PATIENCE)));
        for token in 4..SILENT_MAX + 1 {
            assert!(!silent.is_full());
            silent.insert(token, many, at(300));
        }
        assert!(silent.is_full());
    }

    #[test]
    fn a_v6_source_is_its_network_and_the_table_is_bounded() {
        let mut rates = SourceRates::default();
        let now = Instant(1);
        for host in 0..3u128 {
            let source = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8 << 96 | host));
            assert_eq!(rates.admit(source, 1, now), host < 2);
        }
        for network in 0..2 * SOURCES_MAX as u128 {
            rates.admit(IpAddr::V6(Ipv6Addr::from_bits(network << 64)), 1, now);
        }
        assert_eq!(rates.buckets.len(), SOURCES_MAX);
    }

    #[test]
    fn a_port_in_use_is_named_with_the_way_to_its_owner() {
        let (_listener, place) = bind("127.0.0.1:0").unwrap();
        let error = bind(&place.to_string()).unwrap_err();
        assert_eq!(error.code, Code::InUse);
        assert!(error.message.contains(&place.to_string()), "{error}");
        assert!(error.remedy().contains(&format!("sport = :{}", place.port())), "{error}");
    }
}
