//! Dialling one address: look its names up afresh, race v6 and v4, and shake hands with the winner.
//!
//! When to dial again is the protocol's decision. Invariants: a dial ends with exactly one of `LinkUp`,
//! `DialFailed` and its cancellation; the failure names every address that was tried, and why it failed.

use super::alarm::NodeNumber;
use super::command::Command;
use super::driver::{DialKey, Driver, Timer};
use super::handshake::{Handshake, Origin};
use super::sources::Source;
use super::workers::Task;
use super::{Engine, clock};
use crate::address::{Address, is_local_peer};
use clerver_proto::error::{Class, Code, Error, Result};
use clerver_proto::id::{AttemptId, HostId};
use clerver_proto::node::Input;
use clerver_proto::time::Instant;
use mio::Interest;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// From the start to the end of TLS, names and all addresses included.
const TIME_MAX: Duration = Duration::from_secs(10);
/// An address has this long before the next one is tried beside it (RFC 8305).
const HEAD_START: Duration = Duration::from_millis(250);
/// A connection whose TLS handshake takes longer than this does not hold up the other addresses any more.
const HANDSHAKE_HEAD_START: Duration = Duration::from_millis(1500);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;

/// One dial that goes on.
pub(super) struct Dial {
    name: String,
    expected: Option<HostId>,
    waiting: VecDeque<SocketAddr>,
    /// Tokens of connections and handshakes that run.
    active: BTreeSet<usize>,
    failures: Vec<(Option<SocketAddr>, Error)>,
    until: Instant,
    /// Gone with the dial, which tells a look-up that still waits that nobody wants it.
    is_wanted: Arc<()>,
}

/// A TCP connection that is being made.
pub(super) struct Connecting {
    attempt: AttemptId,
    socket: Socket,
    place: SocketAddr,
}

impl AsRawFd for Connecting {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// v6 first, then in turn (RFC 8305): one family that goes nowhere never hides the other.
fn interleave(found: impl IntoIterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = found.into_iter().partition(SocketAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut order = VecDeque::new();
    loop {
        let before = order.len();
        order.extend(v6.next());
        order.extend(v4.next());
        if order.len() == before {
            order.truncate(ADDRESSES_MAX);
            return order;
        }
    }
}

fn resolve(name: &str, address: &Address) -> Result<Vec<SocketAddr>> {
    let failed = |why: String| Error::new(Code::Resolve, format!("look up {name}: {why}"));
    let found = (address.host.as_str(), address.port).to_socket_addrs().map_err(|e| failed(e.to_string()))?;
    Ok(found.collect())
}

/// Dials that wait until this thread has time for them, the oldest first.
#[derive(Default)]
pub(super) struct HeldDials {
    order: VecDeque<DialKey>,
    wanted: BTreeMap<DialKey, (Arc<Engine>, String, Option<HostId>)>,
}

impl HeldDials {
    pub(super) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The dial is not wanted any more.
    fn forget(&mut self, key: DialKey) {
        self.wanted.remove(&key);
        if self.wanted.is_empty() {
            self.order.clear();
        }
    }

    /// The node closes.
    pub(super) fn forget_node(&mut self, node: NodeNumber) {
        self.wanted.retain(|(of, _), _| *of != node);
    }
}

impl Driver {
    /// Begins a dial as soon as this thread has time to speak on it: in a storm thousands want to dial at once.
    pub(super) fn hold_dial(
        &mut self,
        engine: &Arc<Engine>,
        attempt: AttemptId,
        text: String,
        expected: Option<HostId>,
    ) {
        let key = (engine.number, attempt);
        self.held_dials.order.push_back(key);
        self.held_dials.wanted.insert(key, (Arc::clone(engine), text, expected));
    }

    /// Begins so many of the dials that wait.
    pub(super) fn begin_held_dials(&mut self, count: usize) {
        let mut begun = 0;
        while begun < count && self.may_dial() {
            let Some(key) = self.held_dials.order.pop_front() else { return };
            if let Some((engine, text, expected)) = self.held_dials.wanted.remove(&key) {
                begun += 1;
                self.dial(&engine, key.1, text, expected);
            }
        }
    }

    /// Begins a dial.
    pub(super) fn dial(
        &mut self,
        engine: &Arc<Engine>,
        attempt: AttemptId,
        text: String,
        expected: Option<HostId>,
    ) {
        let address: Address = match text.parse() {
            Ok(address) => address,
            Err(why) => return engine.dial_failed(attempt, why),
        };
        let until = clock::now() + TIME_MAX;
        let name = address.pin_name();
        let expected = address.host_id.or(expected);
        let (waiting, active, failures) = (VecDeque::new(), BTreeSet::new(), Vec::new());
        let is_wanted = Arc::new(());
        let dial = Dial { name: name.clone(), expected, waiting, active, failures, until, is_wanted };
        let wanted = Arc::downgrade(&dial.is_wanted);
        self.dials.insert((engine.number, attempt), dial);
        self.timers.set(Timer::Dial((engine.number, attempt)), until);
        if let Ok(ip) = address.host.parse::<IpAddr>() {
            return self.resolved(engine, attempt, Ok(vec![SocketAddr::new(ip, address.port)]));
        }
        if engine.settings.caller_driven {
            // There is no thread to ask; the program's loop waits for the resolver.
            return self.resolved(engine, attempt, resolve(&name, &address));
        }
        let answer = Arc::clone(engine);
        let task = Task::call(String::new(), move || {
            if wanted.strong_count() == 0 {
                return;
            }
            let result = resolve(&name, &address);
            answer.post(Command::Resolved { attempt, result });
        });
        if engine.event_loop.resolvers.submit(task).is_err() {
            let what = format!("look up {text}: too many names are being looked up");
            self.resolved(engine, attempt, Err(Error::new(Code::Resolve, what)));
        }
    }

    /// The names were looked up.
    pub(super) fn resolved(
        &mut self,
        engine: &Arc<Engine>,
        attempt: AttemptId,
        result: Result<Vec<SocketAddr>>,
    ) {
        let Some(dial) = self.dials.get_mut(&(engine.number, attempt)) else { return };
        match result {
            Ok(found) => dial.waiting = interleave(found),
            Err(why) => dial.failures.push((None, why)),
        }
        self.dial_next(engine, attempt);
    }

    /// Starts with the next address; when there is none and nothing runs, the dial has failed.
    fn dial_next(&mut self, engine: &Arc<Engine>, attempt: AttemptId) {
        let key = (engine.number, attempt);
        loop {
            let Some(dial) = self.dials.get_mut(&key) else { return };
            let Some(place) = dial.waiting.pop_front() else {
                if dial.active.is_empty() {
                    self.dial_over(engine, attempt);
                } else {
                    let until = dial.until;
                    self.timers.set(Timer::Dial(key), until);
                }
                return;
            };
            let until = dial.until;
            match self.begin_connect(engine, attempt, place) {
                Ok(token) => {
                    if let Some(dial) = self.dials.get_mut(&key) {
                        dial.active.insert(token);
                    }
                    return self.timers.set(Timer::Dial(key), until.min(clock::now() + HEAD_START));
                }
                Err(error) => self.note_failure(key, place, Error::new(Code::Unreachable, error.to_string())),
            }
        }
    }

    fn begin_connect(
        &mut self,
        engine: &Arc<Engine>,
        attempt: AttemptId,
        place: SocketAddr,
    ) -> io::Result<usize> {
        let socket = Socket::new(Domain::for_address(place), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // Before the handshake, which is slow otherwise (threading.md section 5).
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&place.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let token = self.sources.token();
        self.watch(socket.as_raw_fd(), token, Interest::READABLE | Interest::WRITABLE)?;
        let connecting = Connecting { attempt, socket, place };
        self.sources.insert(engine, token, Source::Connecting(connecting));
        Ok(token)
    }

    fn note_failure(&mut self, key: DialKey, place: SocketAddr, why: Error) {
        if let Some(dial) = self.dials.get_mut(&key) {
            dial.failures.push((Some(place), why));
        }
    }

    /// Something happened at a connection that is being made.
    pub(super) fn connected(&mut self, engine: &Arc<Engine>, token: usize) {
        let Some(Source::Connecting(connecting)) = self.sources.get(token) else { return };
        let (attempt, place) = (connecting.attempt, connecting.place);
        let failure = match connecting.socket.take_error() {
            Ok(None) if connecting.socket.peer_addr().is_err() => return,
            Ok(None) => None,
            Ok(Some(error)) | Err(error) => Some(error),
        };
        if let Some(error) = failure {
            self.remove(token);
            return self.dial_step_failed(engine, attempt, token, connect_error(place, &error));
        }
        self.put_rivals_back((engine.number, attempt), token);
        engine.with_shard(|shard, now, batch| shard.input(now, Input::DialAnswered { attempt }, batch));
        self.begin_handshake(engine, token);
    }

    /// One address answered: the others are tried only if it turns out to be the wrong one, or goes silent.
    fn put_rivals_back(&mut self, key: DialKey, winner: usize) {
        let Some(dial) = self.dials.get_mut(&key) else { return };
        let rivals: Vec<usize> = dial.active.iter().copied().filter(|&token| token != winner).collect();
        for token in rivals {
            if !matches!(self.sources.get(token), Some(Source::Connecting(_))) {
                continue;
            }
            if let (Some(Source::Connecting(rival)), Some(dial)) =
                (self.remove(token), self.dials.get_mut(&key))
            {
                dial.active.remove(&token);
                dial.waiting.push_front(rival.place);
            }
        }
        if let Some(dial) = self.dials.get(&key) {
            let due = if dial.waiting.is_empty() { dial.until } else { clock::now() + HANDSHAKE_HEAD_START };
            self.timers.set(Timer::Dial(key), due.min(dial.until));
        }
    }

    fn begin_handshake(&mut self, engine: &Arc<Engine>, token: usize) {
        let Some((_, Source::Connecting(connecting))) = self.sources.remove(token) else { return };
        let Connecting { attempt, socket, place } = connecting;
        let Some(dial) = self.dials.get(&(engine.number, attempt)) else { return };
        let place_text = place.to_string();
        let with = if dial.name == place_text { place_text } else { format!("{} ({place_text})", dial.name) };
        let origin = Origin::Dialled { attempt, name: dial.name.clone(), expected: dial.expected };
        let socket = TcpStream::from(socket);
        let is_local = socket.local_addr().is_ok_and(|own| is_local_peer(place.ip(), own.ip()));
        match engine.tls.connect(&with) {
            Ok(tls) => {
                let handshake = Handshake::new(socket, tls, with, is_local, origin);
                self.sources.insert(engine, token, Source::Handshake(Box::new(handshake)));
                self.shake(engine, token, false);
            }
            Err(why) => self.dial_step_failed(engine, attempt, token, why),
        }
    }

    /// One address of a dial failed; its socket is closed already.
    pub(super) fn dial_step_failed(
        &mut self,
        engine: &Arc<Engine>,
        attempt: AttemptId,
        token: usize,
        why: Error,
    ) {
        let Some(dial) = self.dials.get_mut(&(engine.number, attempt)) else { return };
        dial.active.remove(&token);
        dial.failures.push((None, why));
        self.dial_next(engine, attempt);
    }

    /// The head start of an address is over, or the whole dial took too long.
    pub(super) fn dial_due(&mut self, engine: &Arc<Engine>, attempt: AttemptId) {
        let key = (engine.number, attempt);
        let Some(dial) = self.dials.get(&key) else { return };
        if clock::now() < dial.until {
            return self.dial_next(engine, attempt);
        }
        for token in dial.active.clone() {
            let place = match self.remove(token) {
                Some(Source::Connecting(connecting)) => Some(connecting.place),
                _ => None,
            };
            let why = Error::new(Code::Unreachable, format!("no answer within {} s", TIME_MAX.as_secs()));
            if let Some(dial) = self.dials.get_mut(&key) {
                dial.failures.push((place, why));
            }
        }
        self.dial_over(engine, attempt);
    }

    /// Nothing is left to try.
    fn dial_over(&mut self, engine: &Arc<Engine>, attempt: AttemptId) {
        self.timers.clear(Timer::Dial((engine.number, attempt)));
        if let Some(dial) = self.dials.remove(&(engine.number, attempt)) {
            engine.dial_failed(attempt, dial.failure());
        }
    }

    /// The handshake of this dial made a link.
    pub(super) fn dial_done(&mut self, key: DialKey, winner: usize) {
        if let Some(dial) = self.dials.get_mut(&key) {
            dial.active.remove(&winner);
        }
        self.cancel_dial(key);
    }

    /// The dial is not wanted any more.
    pub(super) fn cancel_dial(&mut self, key: DialKey) {
        self.timers.clear(Timer::Dial(key));
        self.held_dials.forget(key);
        if let Some(dial) = self.dials.remove(&key) {
            for token in dial.active {
                self.remove(token);
            }
        }
    }
}

fn connect_error(place: SocketAddr, error: &io::Error) -> Error {
    Error::new(Code::Unreachable, format!("{place}: {error}"))
}

impl Dial {
    /// Every address that was tried, and why it failed. Somebody who decided against us counts more than
    /// silence.
    fn failure(mut self) -> Error {
        let name = &self.name;
        if self.failures.is_empty() {
            let why = format!("look up {name}: no answer within {} s", TIME_MAX.as_secs());
            self.failures.push((None, Error::new(Code::Resolve, why)));
        }
        let worst = self.failures.iter().find(|(_, why)| why.class() == Class::Denied);
        let (_, first) = worst.unwrap_or(&self.failures[0]);
        let is_same = worst.is_some() || self.failures.iter().all(|(_, why)| why.code == first.code);
        let code = if is_same { first.code } else { Code::Unreachable };
        let tried: Vec<String> = self
            .failures
            .iter()
            .map(|(place, why)| match place {
                Some(place) => format!("{place}: {}", why.message),
                None => why.message.clone(),
            })
            .collect();
        let error = Error::new(code, format!("dial {name}: {}", tried.join("; ")));
        if is_same && let Some(remedy) = &first.remedy { error.with_remedy(remedy.clone()) } else { error }
    }
}

impl Engine {
    fn dial_failed(self: &Arc<Self>, attempt: AttemptId, why: Error) {
        self.with_shard(|shard, now, batch| shard.input(now, Input::DialFailed { attempt, why }, batch));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_v6_begins() {
        let places = ["192.0.2.1:1", "192.0.2.2:1", "[2001:db8::1]:1", "192.0.2.3:1"];
        let order = interleave(places.iter().map(|place| place.parse().unwrap()));
        let order: Vec<String> = order.iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[2001:db8::1]:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"]);
    }

    #[test]
    fn a_failure_names_every_address_and_a_refusal_counts_most() {
        let dial = |failures| Dial {
            name: "db:1".into(),
            expected: None,
            waiting: VecDeque::new(),
            active: BTreeSet::new(),
            failures,
            until: Instant(0),
            is_wanted: Arc::default(),
        };
        let refused = connect_error("192.0.2.1:1".parse().unwrap(), &io::ErrorKind::ConnectionRefused.into());
        let wrong = Error::new(Code::WrongIdentity, "connect to db:1: another host").with_remedy("look");
        let error = dial(vec![(None, refused.clone()), (None, wrong)]).failure();
        assert_eq!((error.code, error.remedy()), (Code::WrongIdentity, "look"));
        assert!(error.message.contains("192.0.2.1:1") && error.message.contains("another host"), "{error}");
        assert_eq!(dial(vec![(None, refused)]).failure().code, Code::Unreachable);
        assert_eq!(dial(vec![]).failure().code, Code::Resolve);
    }

    #[test]
    fn a_connection_that_stays_silent_does_not_hide_the_other_addresses() {
        let home = tempfile::tempdir().unwrap();
        let options = crate::options::Options::new().home(home.path()).caller_driven(true);
        let engine = Engine::start(options.resolve().unwrap()).unwrap();
        let (silent, other) = (
            std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
            std::net::TcpListener::bind("127.0.0.1:0").unwrap(),
        );
        other.set_nonblocking(true).unwrap();
        let mut driver = engine.event_loop.driver.lock();
        let attempt = AttemptId(1 << 40);
        let start = clock::now();
        let dial = Dial {
            name: "db:1".into(),
            expected: None,
            waiting: VecDeque::new(),
            active: BTreeSet::new(),
            failures: Vec::new(),
            until: start + TIME_MAX,
            is_wanted: Arc::default(),
        };
        let key = (engine.number, attempt);
        driver.dials.insert(key, dial);
        let places = vec![silent.local_addr().unwrap(), other.local_addr().unwrap()];
        driver.resolved(&engine, attempt, Ok(places));
        while other.accept().is_err() {
            assert!(clock::now() < start + Duration::from_secs(5), "the second address was not tried");
            driver.turn(&engine.event_loop, Some(Duration::from_millis(100)), true);
        }
        assert!(driver.dials[&key].active.len() == 2, "the first one may still answer");
    }
}
