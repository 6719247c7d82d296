//! Starting a node: key, trust and protocol from its settings, and a place on a loop.

use super::alarm::{NodeAlarm, NodeNumber};
use super::bell::Bell;
use super::event_loop::EventLoop;
use super::presence::Presence;
use super::shard::Shard;
use super::workers::Workers;
use super::{Engine, clock, descriptor, keeping, log};
use crate::identity::{HostKey, home_dir};
use crate::keyed_hash;
use crate::options::Settings;
use crate::sharing::equal_of;
use crate::tls::TlsContext;
use crate::trust::{TrustSnapshot, TrustStore};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::limits::SessionLimits;
use clerver_proto::node::{Embalming, Node, NodeOptions, Redial, Trust};
use openssl::rand::rand_bytes;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// Settings of the node that started last: those of many nodes are often the same.
static SETTINGS: Mutex<Weak<Settings>> = Mutex::new(Weak::new());
/// As `SETTINGS`, what the protocol is told of them.
static OPTIONS: Mutex<Weak<NodeOptions>> = Mutex::new(Weak::new());

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
        redial: Redial {
            first: ms(settings.redial_ms),
            max: ms(settings.redial_max_ms),
            attempts: settings.redial_attempts.map(|most| u32::try_from(most).unwrap_or(u32::MAX)),
        },
        volatile: settings.volatile,
        embalming: Embalming {
            span: ms(settings.embalm_ms),
            sessions_max: usize::try_from(settings.embalm_sessions_max).unwrap_or(usize::MAX),
            bytes_max: settings.embalm_bytes_max,
        },
        roams: settings.roam,
        has_store: settings.store_dir.is_some(),
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
        let tls = TlsContext::shared(&key)?;
        let hash = keyed_hash::shared()?;
        let mut seed = [0; 32];
        rand_bytes(&mut seed).map_err(|error| Error::new(Code::System, format!("draw a seed: {error}")))?;
        let options = node_options(&settings, protocol_trust(&trust.snapshot()));
        options.check()?;
        let options = equal_of(&mut OPTIONS.lock(), options);
        let now = clock::now();
        let mut node = Node::new(options, key.host_id(), hash, seed, now, clock::wall_ms())?;
        let opened = match &settings.store_dir {
            Some(directory) => Some(keeping::open(directory, &mut node, now)?),
            None => None,
        };
        let (event_loop, number) = EventLoop::enter(&settings)?;
        let settings = equal_of(&mut SETTINGS.lock(), settings);
        let engine = Arc::new(Engine::around(node, settings, tls, trust, (event_loop, number)));
        let notices = opened.map(|opened| engine.adopt_store(opened)).unwrap_or_default();
        engine.event_loop.join(&engine)?;
        *engine.presence.lock() = Some(presence);
        engine.with_shard(|_, _, _| ());
        engine.say_notices(notices);
        Ok(engine)
    }

    fn adopt_store(self: &Arc<Self>, opened: keeping::Opened) -> Vec<String> {
        self.shard.lock().store = Some(opened.store);
        *opened.listener.lock() = Arc::downgrade(self);
        opened.notices
    }

    fn around(
        node: Node,
        settings: Arc<Settings>,
        tls: TlsContext,
        trust: TrustStore,
        (event_loop, number): (Arc<EventLoop>, NodeNumber),
    ) -> Engine {
        let events_max = usize::try_from(settings.events_max).unwrap_or(usize::MAX);
        let workers = if settings.caller_driven { 0 } else { settings.workers };
        let (accept_bell, event_bell) = (Bell::default(), Bell::default());
        let bells = (accept_bell.clone(), event_bell.clone());
        let alarm = Arc::clone(&event_loop.alarm);
        let node_alarm = NodeAlarm::new(Arc::clone(&alarm), number);
        Engine {
            accept_bell,
            event_bell,
            process_mark: descriptor::process_mark(),
            id: node.id(),
            tls,
            trust: Mutex::new(trust),
            shard: Mutex::new(Shard::new(node, node_alarm, events_max, settings.session_budget_bytes, bells)),
            event_loop,
            number,
            alarm,
            event_fd: OnceLock::new(),
            event_fd_raised: Mutex::new(false),
            workers: Workers::new(usize::try_from(workers).unwrap_or(usize::MAX)),
            log: log::Log::default(),
            announcing: Mutex::default(),
            has_left: AtomicBool::new(false),
            closing: AtomicU8::new(super::bridge::closing::NO),
            presence: Mutex::default(),
            settings,
        }
    }
}
