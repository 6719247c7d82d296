//! What the system says of its interfaces: which addresses this machine has, and when they change (R2, R4).
//!
//! One netlink socket per loop, opened with the first listener or link that is not of this machine alone. Its messages
//! are only a sign to look again, so that none of them has to be read, and one that was lost costs nothing. What a
//! session makes of it is the protocol's. Invariant: a link is doubted only when the address of its own end is on no
//! interface that is up and has a carrier.

use super::alarm::NodeNumber;
use super::driver::{Driver, NETWORK};
use super::event::LogLevel;
use super::event_loop::EventLoop;
use super::sources::Source;
use super::{Engine, system};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::limits::ADDRESSES_MAX;
use clerver_proto::node::{Input, OwnAddress};
use mio::Interest;
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Groups of messages: an interface changed, a v4 address, a v6 address.
const GROUPS: u32 = (libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR) as u32;
/// Messages thrown away in one turn; more wait for the next one.
const MESSAGES_PER_TURN: usize = 256;

/// Tells that the interfaces of this machine changed.
pub(super) struct Network {
    socket: OwnedFd,
    /// What was there when it was last looked at.
    known: BTreeSet<IpAddr>,
}

impl AsRawFd for Network {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Where a node listens, and what it tells its peers of it.
#[derive(Debug, Default)]
pub(super) struct Announcing {
    listening: Vec<SocketAddr>,
    /// What the program said instead.
    fixed: Option<Vec<OwnAddress>>,
}

impl Network {
    fn open() -> io::Result<Network> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Network { socket, known: up_addresses()? })
    }

    /// Throws away what waits.
    fn clear(&self) {
        let mut buffer = [0; 16];
        for _ in 0..MESSAGES_PER_TURN {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                // More came than the system kept for us; what is true now is looked up anyway.
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

/// Addresses on interfaces that are up and have a carrier.
fn up_addresses() -> io::Result<BTreeSet<IpAddr>> {
    // Not RUNNING, which the system updates up to a second later.
    let serves = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_LOWER_UP;
    let up = getifaddrs()?.filter(|interface| interface.flags.contains(serves));
    let ip = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    Ok(up.filter_map(ip).collect())
}

/// Whether others can dial it without knowing more, such as an interface.
fn is_of_use(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}

impl Announcing {
    /// The list for the peers.
    fn list(&self) -> io::Result<Vec<OwnAddress>> {
        if let Some(fixed) = &self.fixed {
            return Ok(fixed.clone());
        }
        let mut found: Vec<SocketAddr> = Vec::new();
        for place in &self.listening {
            if !place.ip().is_unspecified() {
                found.push(*place);
                continue;
            }
            let same_kind = |ip: &IpAddr| place.is_ipv6() || ip.is_ipv4();
            let all =
                up_addresses()?.into_iter().filter(|ip| same_kind(ip) && !ip.is_loopback() && is_of_use(*ip));
            found.extend(all.map(|ip| SocketAddr::new(ip, place.port())));
        }
        let mut seen = BTreeSet::new();
        found.retain(|place| seen.insert(*place));
        found.truncate(ADDRESSES_MAX);
        let own = |place: SocketAddr| OwnAddress {
            address: place.to_string().into(),
            is_local: place.ip().is_loopback(),
        };
        Ok(found.into_iter().map(own).collect())
    }
}

impl Driver {
    /// Looks at the interfaces from now on.
    pub(super) fn watch_network(&mut self, engine: &Arc<Engine>) {
        if self.network.is_some() {
            return;
        }
        let opened = Network::open().and_then(|network| {
            self.watch(network.as_raw_fd(), NETWORK, Interest::READABLE)?;
            Ok(network)
        });
        match opened {
            Ok(network) => {
                self.network = Some(network);
                // What came since the node listens is noticed by nobody else.
                engine.tell_addresses_or_log();
            }
            // Sessions move a few beats later then, when links are silent.
            Err(error) => engine.log(LogLevel::Warn, || format!("watch the interfaces: {error}")),
        }
    }

    /// The interfaces may have changed.
    pub(super) fn network_changed(&mut self, event_loop: &EventLoop) {
        let Some(network) = &mut self.network else { return };
        network.clear();
        let Ok(now) = up_addresses() else { return };
        if now == network.known {
            return;
        }
        let is_larger = now.difference(&network.known).any(|ip| is_of_use(*ip) && !ip.is_loopback());
        network.known = now;
        for engine in event_loop.members() {
            let doubted = self.links_without_address(engine.number);
            engine.tell_addresses_or_log();
            engine.with_shard(|shard, now, batch| {
                for link in doubted {
                    shard.input(now, Input::LinkDoubted { link }, batch);
                }
                if is_larger {
                    shard.input(now, Input::NetworkChanged, batch);
                }
            });
        }
    }

    fn links_without_address(&self, node: NodeNumber) -> Vec<clerver_proto::id::LinkId> {
        let Some(network) = &self.network else { return Vec::new() };
        let lost = |token: usize| match self.sources.get(token) {
            Some(Source::Link(link)) => {
                link.own_ip().filter(|ip| !network.known.contains(ip)).map(|_| link.id)
            }
            _ => None,
        };
        self.sources.of(node).into_iter().filter_map(lost).collect()
    }
}

impl Engine {
    /// It listens there, too.
    pub(super) fn note_listening(self: &Arc<Self>, place: SocketAddr) {
        self.announcing.lock().listening.push(place);
        self.tell_addresses_or_log();
    }

    fn tell_addresses_or_log(self: &Arc<Self>) {
        if let Err(why) = self.tell_addresses() {
            self.log(LogLevel::Warn, || why.to_string());
        }
    }

    /// The program says itself where the node can be reached; `None` finds out again.
    pub(crate) fn set_announced(self: &Arc<Self>, fixed: Option<Vec<OwnAddress>>) -> Result<()> {
        self.check_process()?;
        let before = std::mem::replace(&mut self.announcing.lock().fixed, fixed);
        self.tell_addresses().inspect_err(|_| self.announcing.lock().fixed = before)
    }

    /// Tells the protocol where this node can be reached.
    fn tell_addresses(self: &Arc<Self>) -> Result<()> {
        let announcing = self.announcing.lock();
        let is_wanted = self.settings.announce || announcing.fixed.is_some();
        let list = if is_wanted { announcing.list() } else { Ok(Vec::new()) };
        let list = list.map_err(|error| system("list the addresses of this machine", &error))?;
        // Under the lock of the list, so that of two changes the later is said last.
        match self.change(|shard, now| shard.node.set_addresses(now, list)) {
            Err(error) if error.code == Code::Closed => Ok(()),
            result => result,
        }
    }
}

/// An address as a program gives it for its peers.
///
/// Errors: `ARG`.
pub(crate) fn own_address(text: &str) -> Result<OwnAddress> {
    let address: crate::address::Address = text.parse()?;
    if address.port == 0 {
        let what = format!("announce {text}: port 0 is only good for listening");
        return Err(Error::new(Code::Argument, what));
    }
    let is_local = address.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    Ok(OwnAddress { address: address.pin_name().into(), is_local })
}
