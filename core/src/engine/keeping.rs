//! A node with a store: what it finds there when it starts, and who waits for what is stored.
//!
//! The protocol decides what is stored; `store` stores it. Invariant: the epochs of restored sessions are on the disk
//! before the node says a word.

use super::event::{LogLevel, NodeEvent};
use super::shard::Batch;
use super::store::Store;
use super::{Engine, Place};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::{ChannelId, SessionId};
use clerver_proto::node::{Input, Node, SessionState, StoredChannel};
use clerver_proto::time::Instant;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

/// For the first words in the store; a disk that takes longer is not there.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// Whom the store tells; known once the engine is made.
pub(super) type Listener = Arc<Mutex<Weak<Engine>>>;

/// A store, and what is to be said of what was in it.
pub(super) struct Opened {
    pub(super) store: Arc<Store>,
    pub(super) listener: Listener,
    /// For people: sessions that could not be read.
    pub(super) notices: Vec<String>,
}

/// Takes over what is in the store of a new node.
///
/// Errors: as [`Store::open`]; `SYSTEM` when it does not store what it has to.
pub(super) fn open(directory: &Path, node: &mut Node, now: Instant) -> Result<Opened> {
    let (mut store, loaded) = Store::open(directory)?;
    let restored = node.restore(now, loaded.records, &loaded.damaged)?;
    let mut notices = Vec::new();
    for (sid, why) in restored.unreadable {
        let text = format!("a session in the store cannot be read and was set aside: {why}");
        store.set_aside(1, &sid.0, &text)?;
        notices.push(text);
    }
    for (key, why) in restored.unreadable_objects {
        let text = format!("an embalmed object in the store cannot be read and was set aside: {why}");
        store.set_aside(0, &key, &text)?;
        notices.push(text);
    }
    let listener = Listener::default();
    let (tell, told) = mpsc::channel();
    let (of_done, of_trouble, tell_trouble) = (Arc::clone(&listener), Arc::clone(&listener), tell.clone());
    let done = move |number| {
        if number == 0 {
            // Nobody listens any more when it came too late.
            let _ = tell.send(Ok(()));
        } else if let Some(engine) = engine_of(&of_done) {
            engine.on_stored(number);
        }
    };
    let trouble = move |why: Option<Error>| match (engine_of(&of_trouble), why) {
        (Some(engine), why) => engine.on_store_trouble(why),
        (None, Some(why)) => drop(tell_trouble.send(Err(why))),
        (None, None) => {}
    };
    store.start(Box::new(done), Box::new(trouble))?;
    store.submit(0, restored.changes);
    let slow = |_| {
        Err(Error::new(Code::System, format!("use the store in {}: it is too slow", directory.display())))
    };
    if let Err(why) = told.recv_timeout(FIRST_WAIT).unwrap_or_else(slow) {
        store.close(Duration::ZERO);
        return Err(why);
    }
    Ok(Opened { store: Arc::new(store), listener, notices })
}

fn engine_of(listener: &Listener) -> Option<Arc<Engine>> {
    listener.lock().upgrade()
}

impl Engine {
    /// What was found in the store is said once there is somebody to hear it.
    pub(super) fn say_notices(self: &Arc<Self>, notices: Vec<String>) {
        for text in notices {
            self.log(LogLevel::Warn, || text.clone());
            self.with_shard(|shard, _, batch| shard.tell(NodeEvent::Notice { text }, batch));
        }
    }

    fn on_stored(self: &Arc<Self>, number: u64) {
        self.with_shard(|shard, now, batch| {
            shard.input(now, Input::Done { operation: number }, batch);
            // Nobody comes by soon who would send what waited for it.
            batch.is_urgent = true;
            batch.bells.push(self.event_bell());
        });
    }

    fn on_store_trouble(self: &Arc<Self>, why: Option<Error>) {
        let (level, text) = match why {
            Some(why) => {
                (LogLevel::Error, format!("nothing can be stored now, and stored channels wait: {why}"))
            }
            None => (LogLevel::Info, "the store takes what waited for it".to_owned()),
        };
        self.log(level, || text.clone());
        self.with_shard(|shard, _, batch: &mut Batch| shard.tell(NodeEvent::Notice { text }, batch));
    }

    /// Waits until a stored channel is as far as wanted; at once for one that this end does not store.
    pub(crate) fn wait_stored(
        self: &Arc<Self>,
        (session, channel): (SessionId, ChannelId),
        wait: Option<Duration>,
        timed_out: impl FnOnce() -> Error,
        is_there: impl Fn(&StoredChannel) -> bool,
    ) -> Result<()> {
        let place = || Place::At(self.event_bell(), None);
        let over = || Error::new(Code::Lost, format!("wait for the store: session {session} is lost"));
        self.block(wait, place, timed_out, |shard, _, _| match shard.node.channel_stored(session, channel) {
            Ok(Some(stored)) if !is_there(&stored) => {
                let info = shard.node.session_info(session);
                info.is_ok_and(|info| info.state == SessionState::Lost).then(|| Err(over()))
            }
            Ok(_) => Some(Ok(())),
            Err(why) => Some(Err(why)),
        })
    }

    /// Whether this node has a store.
    pub(crate) fn has_store(&self) -> bool {
        self.settings.store_dir.is_some()
    }
}
