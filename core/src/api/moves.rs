//! Where the peer of a session can be reached, and sessions that move from one address to another.

use super::Session;
use crate::address::Address;
use clerver_proto::error::Result;
use clerver_proto::node::PeerAddress;

impl Session {
    /// Where the peer can be reached: the addresses that connects gave, then those that it announced. Does not block.
    ///
    /// Errors: `HANDLE` when it is over and forgotten.
    pub fn addresses(&self) -> Result<Vec<PeerAddress>> {
        self.change(|shard, _| shard.node.session_addresses(self.id()))
    }

    /// Moves the session to another connection: to this address of the peer first, or to any that no
    /// connection uses. The old one goes when the new one is proven, and nothing is delayed or lost by it. Does not
    /// block: the events `MoveBegan` and then `LinkAttached` or `MoveFailed` tell how it went.
    ///
    /// Errors: `STATE` when this end knows no address of the peer; `ARG`; `LOST`, `CLOSED`.
    pub fn roam(&self, address: Option<&str>) -> Result<()> {
        let address = in_one_form(address)?;
        self.change(|shard, now| shard.node.session_roam(now, self.id(), address.as_deref()))
    }

    /// Asks the peer, which dials, to move the session to this address of ours first, or to any other. If nobody
    /// answers there it takes the next one. Does not block.
    ///
    /// Errors: `ARG`; `AGAIN` no room now; `LOST`, `CLOSED`.
    pub fn go_to(&self, address: Option<&str>) -> Result<()> {
        let address = in_one_form(address)?;
        self.change(|shard, now| shard.node.session_goto(now, self.id(), address.as_deref()))
    }
}

/// An address that can be dialled, if it is one, as it is known everywhere.
fn in_one_form(address: Option<&str>) -> Result<Option<String>> {
    address.map(|text| text.parse::<Address>().map(|address| address.to_string())).transpose()
}
