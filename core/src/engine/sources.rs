//! Everything whose descriptor a driver watches: by token, and by the node that it belongs to.
//!
//! A table only: it registers nothing and closes nothing. Invariants: a token is never used twice; each source has
//! exactly one node, and `of` finds all that a node has without a look at the others.

use super::Engine;
use super::accept::Listener;
use super::alarm::NodeNumber;
use super::bridge::Bridge;
use super::dial::Connecting;
use super::handshake::Handshake;
use super::link::Link;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

/// What a token stands for.
pub(super) enum Source {
    Listener(Listener),
    Connecting(Connecting),
    Handshake(Box<Handshake>),
    Link(Arc<Link>),
    /// All was sent; the peer's last bytes are thrown away, because closing before they came would cut off
    /// ours.
    Lingering(Arc<Link>),
    /// A local connection of the program, which is carried to and from a channel.
    Bridge(Box<Bridge>),
}

impl Source {
    fn is_shaking_dial(&self) -> bool {
        matches!(self, Source::Handshake(handshake) if handshake.is_dialled())
    }
}

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Source::Listener(listener) => listener.as_raw_fd(),
            Source::Connecting(connecting) => connecting.as_raw_fd(),
            Source::Handshake(handshake) => handshake.as_raw_fd(),
            Source::Link(link) | Source::Lingering(link) => link.as_raw_fd(),
            Source::Bridge(bridge) => bridge.as_raw_fd(),
        }
    }
}

/// See the module.
pub(super) struct Sources {
    by_token: BTreeMap<usize, (Arc<Engine>, Source)>,
    by_node: BTreeSet<(NodeNumber, usize)>,
    next_token: usize,
    /// Dialled connections whose handshake runs.
    dials_shaking: usize,
}

impl Sources {
    pub(super) fn new(first_token: usize) -> Sources {
        Sources {
            by_token: BTreeMap::new(),
            by_node: BTreeSet::new(),
            next_token: first_token,
            dials_shaking: 0,
        }
    }

    /// A fresh token, for a source that is registered at once.
    pub(super) fn token(&mut self) -> usize {
        let token = self.next_token;
        self.next_token += 1;
        token
    }

    pub(super) fn get(&self, token: usize) -> Option<&Source> {
        self.by_token.get(&token).map(|(_, source)| source)
    }

    pub(super) fn get_mut(&mut self, token: usize) -> Option<&mut Source> {
        self.by_token.get_mut(&token).map(|(_, source)| source)
    }

    /// The node that a source belongs to.
    pub(super) fn node_of(&self, token: usize) -> Option<Arc<Engine>> {
        self.by_token.get(&token).map(|(engine, _)| Arc::clone(engine))
    }

    /// Puts a source in, or another one in its place.
    pub(super) fn insert(&mut self, engine: &Arc<Engine>, token: usize, source: Source) {
        self.by_node.insert((engine.number, token));
        self.dials_shaking += usize::from(source.is_shaking_dial());
        if let Some((_, before)) = self.by_token.insert(token, (Arc::clone(engine), source)) {
            self.dials_shaking -= usize::from(before.is_shaking_dial());
        }
    }

    /// Dialled connections whose handshake runs.
    pub(super) fn dials_shaking(&self) -> usize {
        self.dials_shaking
    }

    pub(super) fn remove(&mut self, token: usize) -> Option<(Arc<Engine>, Source)> {
        let found = self.by_token.remove(&token)?;
        self.by_node.remove(&(found.0.number, token));
        self.dials_shaking -= usize::from(found.1.is_shaking_dial());
        Some(found)
    }

    /// Tokens of all sources of a node, the oldest first.
    pub(super) fn of(&self, node: NodeNumber) -> Vec<usize> {
        self.by_node.range((node, 0)..=(node, usize::MAX)).map(|&(_, token)| token).collect()
    }

    /// Tokens of all sources, node by node.
    pub(super) fn all(&self) -> Vec<usize> {
        self.by_node.iter().map(|&(_, token)| token).collect()
    }
}
