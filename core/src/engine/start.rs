//! Starting a node: key, trust, protocol and sockets from its settings, and its thread.

use super::alarm::Alarm;
use super::bell::Bell;
use super::descriptor::{self, EventFd};
use super::driver::Driver;
use super::presence::Presence;
use super::shard::Shard;
use super::workers::Workers;
use super::{Engine, Inline, clock, log, system};
use crate::identity::{HostKey, home_dir};
use crate::keyed_hash::HmacSha256;
use crate::options::Settings;
use crate::tls::TlsContext;
use crate::trust::{TrustSnapshot, TrustStore};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::limits::SessionLimits;
use clerver_proto::node::{Node, NodeOptions, Trust};
use mio::{Poll, Waker};
use openssl::rand::rand_bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

/// Threads that look names up.
const RESOLVERS: usize = 4;

/// Levels and block list as the protocol wants them.
pub(super) fn protocol_trust(snapshot: &TrustSnapshot) -> Trust {
    Trust { levels: snapshot.levels.clone(), blocked: snapshot.blocked.clone() }
}

fn node_options(settings: &Settings, trust: Trust) -> NodeOptions {
    let ms = Duration::from_millis;
    NodeOptions {
        host_name: settings.host_name.clone().unwrap_or_else(system_host_name),
        node_name: settings.node_name.clone().unwrap_or_else(program_name),
        beat: ms(settings.beat_ms),
        ttl: ms(settings.ttl_ms),
        ttl_max: ms(settings.ttl_max_ms),
        grace: ms(settings.grace_ms),
        limits: SessionLimits {
            message_bytes_max: settings.message_bytes_max,
            budget_bytes: settings.session_budget_bytes,
            channels_max: settings.channels_max,
        },
        skew_max: settings.max_skew_ms.map(ms),
        trust,
        ..NodeOptions::default()
    }
}

/// What people call this machine; empty when the system does not say.
fn system_host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    bounded(name.trim())
}

fn program_name() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    bounded(&path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default())
}

/// A name that fits its frame.
fn bounded(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(60).collect()
}

impl Engine {
    /// Starts a node. Blocks for the disk, where key and trust files are.
    ///
    /// Errors: `KEY_FILE`, `CONFIG`, `SYSTEM`; `FORKED` in a child whose parent had nodes open.
    pub(crate) fn start(settings: Settings) -> Result<Arc<Engine>> {
        let presence = Presence::enter()?;
        let home = match &settings.home {
            Some(home) => home.clone(),
            None => home_dir(|name| std::env::var_os(name))?,
        };
        let key = HostKey::load_or_create(&home)?;
        let trust = TrustStore::load(&home)?;
        let tls = TlsContext::new(&key)?;
        let hash = Arc::new(HmacSha256::new()?);
        let mut seed = [0; 32];
        rand_bytes(&mut seed).map_err(|error| Error::new(Code::System, format!("draw a seed: {error}")))?;
        let options = node_options(&settings, protocol_trust(&trust.snapshot()));
        options.check()?;
        let node = Node::new(options, key.host_id(), hash, seed, clock::now(), clock::wall_ms())?;
        let engine =
            Arc::new(Engine::around(node, settings, tls, trust).map_err(|e| system("start a node", &e))?);
        *engine.presence.lock() = Some(presence);
        engine.with_shard(|_, _, _| ());
        if !engine.settings.caller_driven {
            let thread = Arc::clone(&engine);
            let started = std::thread::Builder::new().name("clerver".into()).spawn(move || thread.run());
            let thread = started.map_err(|error| system("start the thread of a node", &error))?;
            *engine.driver_thread.lock() = Some(thread);
        }
        Ok(engine)
    }

    fn around(node: Node, settings: Settings, tls: TlsContext, trust: TrustStore) -> std::io::Result<Engine> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let waker = Waker::new(&registry, Driver::WAKER)?;
        let alarm = Arc::new(Alarm::new()?);
        let events_max = usize::try_from(settings.events_max).unwrap_or(usize::MAX);
        let workers = if settings.caller_driven { 0 } else { settings.workers };
        let (accept_bell, event_bell) = (Bell::default(), Bell::default());
        let bells = (accept_bell.clone(), event_bell.clone());
        Ok(Engine {
            accept_bell,
            event_bell,
            process_mark: descriptor::process_mark(),
            id: node.id(),
            tls,
            trust: Mutex::new(trust),
            driver: Mutex::new(Driver::new(poll, &*alarm)?),
            shard: Mutex::new(Shard::new(
                node,
                Arc::clone(&alarm),
                events_max,
                settings.session_budget_bytes,
                bells,
            )),
            mail: Mutex::new(VecDeque::new()),
            is_awake: AtomicBool::new(false),
            waker,
            registry,
            alarm,
            event_fd: EventFd::new()?,
            event_fd_raised: Mutex::new(false),
            workers: Workers::new(usize::try_from(workers).unwrap_or(usize::MAX)),
            resolvers: Workers::new(RESOLVERS),
            log: log::Log::default(),
            is_stopping: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            closing: AtomicU8::new(super::bridge::closing::NO),
            lingering: AtomicUsize::new(0),
            presence: Mutex::default(),
            driver_thread: Mutex::default(),
            driver_ended: Mutex::new(false),
            driver_ended_bell: Condvar::new(),
            settings,
        })
    }

    /// The thread of the node.
    fn run(self: Arc<Self>) {
        let _inline = Inline::enter();
        // Handlers of the program's signals run on threads of the program.
        descriptor::SignalMask::all().apply();
        let mut driver = self.driver.lock();
        while !self.is_stopping.load(Ordering::Acquire) {
            self.turn(&mut driver, None, true);
            if self.is_forked() {
                // An inline handler came back in a child, where all this belongs to the parent.
                return std::mem::forget((Arc::clone(&self), driver));
            }
        }
        driver.clear();
        drop(driver);
        self.release();
        *self.driver_ended.lock() = true;
        self.driver_ended_bell.notify_all();
    }
}
