//! A node: one running clerver in this process.

use super::{CallContext, Connecting, Kind, LogLevel, NodeEvent, ServiceOptions, Session, Wait, timed_out};
use crate::engine::{Engine, Leftover, Place, Service, own_address};
use crate::options::Options;
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{HostId, NodeId, SessionId};
use clerver_proto::node::{self, ChannelReport, Counters};
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

/// A node whose last handle is dropped without `close` gets this long to end in good order.
const DROP_TIME: Duration = Duration::from_secs(1);

/// Who may connect to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenOptions {
    /// Level that a peer needs; 1, every authorised peer, by default.
    pub level_min: u8,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions { level_min: 1 }
    }
}

/// Where and how to connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConnectOptions {
    /// Addresses of one node; 1 to 64. Names are looked up anew with each attempt. They are tried in this order, those
    /// that the peer announces after them.
    pub addresses: Vec<String>,
    /// Dial all addresses at once and take the fastest, instead of one after the other.
    pub race: bool,
    /// Accept a session with another node at these addresses when the first is gone. Also on when the node's
    /// option `any_node` is.
    pub any_node: bool,
    /// Further links of role bulk that are kept beside the primary one, 0 to 8; on ways that no other link uses, if
    /// the peer has so many addresses.
    pub bulk_links: u8,
    /// Links that are kept ready, 0 to 4, on ways of their own if there are any: when the one that carries fails, such
    /// a one goes on at once. Costs a connection with its beats.
    pub standby_links: u8,
}

/// A channel whose data did not all arrive.
#[derive(Debug, Clone)]
pub struct Undelivered {
    /// The session.
    pub session: SessionId,
    /// With whom, if that was still known.
    pub peer: Option<NodeId>,
    /// Counts of the channel: `written` minus `held` bytes are not with the peer.
    pub channel: ChannelReport,
}

/// What was left when a drain ended.
#[derive(Debug, Clone, Default)]
pub struct DrainReport {
    /// Channels with data that the peer does not hold yet.
    pub undelivered: Vec<Undelivered>,
    /// What still ran, such as `service "echo"`.
    pub running: Vec<String>,
}

/// How a close went.
#[derive(Debug, Clone, Default)]
pub struct CloseReport {
    /// Channels with data that the peer does not hold.
    pub undelivered: Vec<Undelivered>,
    /// Handlers and object callbacks that did not return in time. What they use is leaked, not freed.
    pub stuck: Vec<String>,
}

struct Inner(Arc<Engine>);

/// One running clerver: client and server at once. Clones are the same node; dropping the last one closes it
/// within a second, whatever sessions are still held.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Node").field(&self.id()).finish()
    }
}

impl Node {
    /// Starts a node, and its thread unless it is caller-driven. What the options leave open comes from the
    /// `CLERVER_*` environment, then from the configuration file, then from the defaults. Makes the host key
    /// on first use. Blocks for the disk.
    ///
    /// Errors: `CONFIG` naming option, value and source; `KEY_FILE`; `SYSTEM`; `FORKED` in a child whose parent had
    /// nodes open when it forked.
    pub fn open(mut options: Options) -> Result<Node> {
        options.load_process()?;
        Ok(Node(Arc::new(Inner(Engine::start(options.resolve()?)?))))
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.0.0
    }

    /// Who this node is: host key and start.
    pub fn id(&self) -> NodeId {
        self.engine().id
    }

    /// The id of the key that it runs under, which peers authorise.
    pub fn host_id(&self) -> HostId {
        self.engine().host_id()
    }

    /// Accepts connections of authorised peers at `host:port`; port 0 takes a free one. Answers the address
    /// that it got. Blocks for the resolver when the host is a name.
    ///
    /// Errors: `IN_USE` with the way to find the process that has the port; `ARG`; `RESOLVE`; `SYSTEM`.
    pub fn listen(&self, address: &str) -> Result<SocketAddr> {
        let level = u8::try_from(self.engine().settings.listener_level).unwrap_or(u8::MAX);
        self.listen_with(address, ListenOptions { level_min: level })
    }

    /// As [`Node::listen`], for peers of at least a level.
    pub fn listen_with(&self, address: &str, options: ListenOptions) -> Result<SocketAddr> {
        self.engine().change(|_, _| Ok(()))?;
        self.engine().listen(address, options.level_min)
    }

    /// Tells the peers where this node can be reached, from now on and instead of what it finds out itself: `host:port`
    /// each, at most 64. `None` finds out again: where it listens, on each interface that is up. Does not block.
    ///
    /// Errors: `ARG`; then nothing changes.
    pub fn announce(&self, addresses: Option<&[&str]>) -> Result<()> {
        let fixed = addresses.map(|list| list.iter().map(|text| own_address(text)).collect::<Result<_>>());
        self.engine().set_announced(fixed.transpose()?)
    }

    /// Where this node tells its peers that it can be reached. Does not block.
    ///
    /// Errors: `CLOSED`; `FORKED`.
    pub fn addresses(&self) -> Result<Vec<String>> {
        let own = self.engine().change(|shard, _| Ok(shard.node.addresses().to_vec()))?;
        Ok(own.into_iter().map(|own| own.address.to_string()).collect())
    }

    /// Connects to a node at `host:port` or `clv://HOSTID@host:port/name` and answers the session, which is
    /// shared when there is one with that node already. Dials again until it works, for at most `wait`.
    ///
    /// Errors: `TIMEOUT` with the last failure; `WRONG_IDENTITY`, `DENIED`, `BLOCKED` and `VERSION` at once;
    /// `SELF`; `ARG`.
    pub fn connect(&self, address: &str, wait: Wait) -> Result<Session> {
        let options = ConnectOptions { addresses: vec![address.to_owned()], ..ConnectOptions::default() };
        self.connect_with(options, wait)
    }

    /// As [`Node::connect`], with several addresses of one node, and options. Errors also: `MISMATCH` when
    /// the session is shared and its options are others.
    pub fn connect_with(&self, options: ConnectOptions, wait: Wait) -> Result<Session> {
        if crate::engine::is_inline() {
            return Err(Error::new(Code::InCallback, "connect in an inline handler"));
        }
        self.connect_start(options, wait)?.take(wait)
    }

    /// Starts to connect and does not wait for it. It dials until it works, for at most `wait`. Does not block.
    ///
    /// Errors: `ARG`; `DRAINING`.
    pub fn connect_start(&self, options: ConnectOptions, wait: Wait) -> Result<Connecting> {
        Connecting::start(self.engine(), &options, wait)
    }

    /// Takes the next session that a peer made with this node. Blocks until there is one, for at most `wait`.
    /// Its calls are served whether it is taken or not.
    ///
    /// Errors: `TIMEOUT`.
    pub fn accept(&self, wait: Wait) -> Result<Session> {
        let engine = self.engine();
        let bell = engine.accept_bell();
        let over = || timed_out("accept a session", wait);
        let place = || Place::At(bell.clone(), None);
        engine.block(wait, place, over, |shard, _, _| {
            while let Some(session) = shard.accepted.pop_front() {
                if let Ok(session) = Session::counted(engine, shard, session) {
                    return Some(Ok(session));
                }
            }
            None
        })
    }

    /// Offers a service to peers. The handler's bytes are the reply; its error becomes the caller's
    /// `CALL_FAILED` with its message (`NOT_RUN`, `BUSY` and `DENIED` stay), and so does a panic. It runs on
    /// a worker, beside others.
    ///
    /// Errors: `IN_USE` the name is taken; `ARG`; `LIMIT`.
    pub fn serve(
        &self,
        name: &str,
        options: ServiceOptions,
        handler: impl Fn(&CallContext) -> Result<Vec<u8>> + Send + Sync + 'static,
    ) -> Result<()> {
        let service = Arc::new(Service {
            handler: Box::new(move |call| handler(&CallContext::new(call))),
            is_inline: options.inline,
        });
        let kept = Arc::clone(&service);
        let result = self.engine().change(|shard, now| {
            let rules = node::ServiceOptions { level_min: options.level_min };
            shard.node.service_register(now, name, rules)?;
            shard.services.insert(name.to_owned(), service);
            Ok(())
        });
        // What a refused handler owns is dropped here, where no lock is held.
        drop(kept);
        result
    }

    /// Offers a service no more; calls that run go on. Does not block.
    ///
    /// Errors: `NO_SERVICE`.
    pub fn unserve(&self, name: &str) -> Result<()> {
        let removed = self.engine().change(|shard, now| {
            shard.node.service_remove(now, name)?;
            Ok(shard.services.remove(name))
        });
        // What the handler owns is dropped here, where no lock is held.
        removed.map(drop)
    }

    /// Makes a kind of objects known, before objects of it are attached. Does not block.
    ///
    /// Errors: `IN_USE` the name is taken; `ARG`; `LIMIT`.
    pub fn register_kind(&self, name: &str, kind: Kind) -> Result<()> {
        let callbacks = Arc::new(kind.0);
        let kept = Arc::clone(&callbacks);
        let result = self.engine().change(|shard, now| {
            shard.node.kind_register(now, name, callbacks.options)?;
            shard.kinds.insert(name.to_owned(), callbacks);
            Ok(())
        });
        // What a refused kind owns is dropped here, where no lock is held.
        drop(kept);
        result
    }

    /// Takes the next event of the node. Blocks until there is one, for at most `wait`. The queue is bounded
    /// (`events_max`): when it is full the oldest event is dropped and counted in `NodeEvent::Dropped`.
    ///
    /// Errors: `TIMEOUT`.
    pub fn next_event(&self, wait: Wait) -> Result<NodeEvent> {
        let engine = self.engine();
        let bell = engine.event_bell();
        let over = || timed_out("wait for an event of the node", wait);
        let place = || Place::At(bell.clone(), None);
        engine.block(wait, place, over, |shard, _, batch| shard.next_event(batch).map(Ok))
    }

    /// Takes an event of the node if one waits. Does not block.
    pub fn try_next_event(&self) -> Option<NodeEvent> {
        self.engine().check_process().ok()?;
        self.engine().with_shard(|shard, _, batch| shard.next_event(batch))
    }

    /// A descriptor for `poll` and the like, level-triggered: readable while events of the node wait or, in
    /// caller-driven mode, while [`Node::run_once`] has work. Valid as long as the node; do not read or close
    /// it. The first call makes it; a node that is never asked has none.
    ///
    /// Errors: `SYSTEM` when the process has no more descriptors.
    pub fn event_descriptor(&self) -> Result<BorrowedFd<'_>> {
        self.engine().event_descriptor()
    }

    /// In caller-driven mode: waits for sockets and timers, for at most `wait`, does what there is to do, and
    /// then runs handlers and object callbacks on this thread. To be called at least every `max_gap_ms`.
    ///
    /// Errors: `STATE` the node has its own thread, or another thread is in here.
    pub fn run_once(&self, wait: Wait) -> Result<()> {
        self.engine().run_once(wait)
    }

    /// Takes no new sessions, channels and calls from now on, tells the peers, and waits for at most `wait`
    /// until everything written is with them and all handlers have returned. The report says what was left
    /// then.
    ///
    /// Meanwhile the event [`NodeEvent::Draining`] tells how far it is. Peers that take any node (`any_node`) and know
    /// another one make a session there, and keep this one until they close it.
    pub fn drain(&self, wait: Wait) -> Result<DrainReport> {
        let drained = self.engine().drain(wait)?;
        Ok(DrainReport { undelivered: undelivered(drained.undelivered), running: drained.running })
    }

    /// Ends all sessions in good order, then the node with its threads and objects. Returns within `wait` and
    /// about half a second, whatever hangs; the report names it. The second close does nothing. From a
    /// handler it does not wait.
    pub fn close(&self, wait: Duration) -> Result<CloseReport> {
        let closed = self.engine().close(wait)?;
        Ok(CloseReport { undelivered: undelivered(closed.undelivered), stuck: closed.stuck })
    }

    /// Counters since the start and gauges of now; zeros in a forked child. Does not block.
    pub fn counters(&self) -> Counters {
        if self.engine().is_forked() {
            return Counters::default();
        }
        self.engine().with_shard(|shard, _, _| shard.node.counters())
    }

    /// Reads the trust files again; sessions with hosts that are refused now end. Blocks for the disk.
    ///
    /// Errors: `KEY_FILE` with file and line; then everything stays as it was.
    pub fn reload_trust(&self) -> Result<()> {
        self.engine().reload_trust()
    }

    /// Sends log lines of this level and more important ones to `log`, in order, on a worker thread. Replaces
    /// the function set before. Does not block; lines beyond 1,024 waiting ones are dropped and counted.
    pub fn set_log(&self, level: LogLevel, log: impl Fn(LogLevel, &str) + Send + Sync + 'static) {
        if !self.engine().is_forked() {
            self.engine().set_log(level, Arc::new(log));
        }
    }
}

fn undelivered(leftovers: Vec<Leftover>) -> Vec<Undelivered> {
    leftovers.into_iter().map(|(session, peer, channel)| Undelivered { session, peer, channel }).collect()
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.0.is_forked() {
            // The child runs no destructor of the parent's things.
            std::mem::forget(Arc::clone(&self.0));
            return;
        }
        // It fails only in a forked child.
        let _ = self.0.close(DROP_TIME);
    }
}
