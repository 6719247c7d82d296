//! Two connected sockets on this machine: one for a program that knows only descriptors, one for its bridge.
//!
//! TCP over loopback by default, because then `getpeername`, `TCP_NODELAY` and, above all, a reset work: what
//! was cut off must not look complete. Nobody but this process can be at the other end.

use clerver_proto::error::{Code, Error, Result};
use socket2::Socket;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

/// Strangers that may come to the listener first.
const STRANGERS_MAX: usize = 64;

/// What kind of descriptor a program gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DescriptorKind {
    /// A TCP connection over loopback. When the session is lost, its reader gets `ECONNRESET`.
    #[default]
    Tcp,
    /// A pair of Unix sockets: cheaper, and without ports; but a reader cannot tell a loss from the end.
    Unix,
}

/// The program's end, which blocks, and ours, which does not. Both are closed on exec.
pub(super) fn local_pair(kind: DescriptorKind) -> Result<(OwnedFd, Socket)> {
    let made = match kind {
        DescriptorKind::Tcp => tcp_pair(),
        DescriptorKind::Unix => UnixStream::pair().map(|(theirs, ours)| (theirs.into(), ours.into())),
    };
    let made = made.and_then(|(theirs, ours)| ours.set_nonblocking(true).map(|()| (theirs, ours)));
    made.map_err(|error| {
        Error::new(Code::System, format!("make a local connection: {error}"))
            .with_remedy("allow more descriptors (ulimit -n), or use a descriptor of kind unix")
    })
}

/// Another address of 127.0.0.0/8 each time. With thousands of pairs on one address the system searches long for a
/// free port (1 ms at 10,000), and soon there is none.
fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id() << 12);
    let [b, c, d, _] = number.wrapping_mul(0x9E37_79B1).to_be_bytes();
    Ipv4Addr::new(127, 1 + b % 254, c, d)
}

fn tcp_pair() -> io::Result<(OwnedFd, Socket)> {
    let bind = |address: IpAddr| TcpListener::bind(SocketAddr::from((address, 0)));
    // A namespace may have only some of them.
    let listener = bind(loopback().into())
        .or_else(|_| bind(Ipv4Addr::LOCALHOST.into()))
        .or_else(|_| bind(Ipv6Addr::LOCALHOST.into()))?;
    let theirs = TcpStream::connect(listener.local_addr()?)?;
    let port = theirs.local_addr()?;
    for _ in 0..STRANGERS_MAX {
        let (ours, from) = listener.accept()?;
        if from == port {
            ours.set_nodelay(true)?;
            return Ok((theirs.into(), ours.into()));
        }
    }
    Err(io::Error::other("other processes connect to the same port"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn loopback_addresses_are_spread() {
        let all: Vec<Ipv4Addr> = (0..1000).map(|_| loopback()).collect();
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert!(distinct.len() > 950 && all.iter().all(Ipv4Addr::is_loopback));
    }

    #[test]
    fn both_kinds_are_connected_to_each_other() {
        for kind in [DescriptorKind::Tcp, DescriptorKind::Unix] {
            let (theirs, ours) = local_pair(kind).unwrap();
            let mut theirs = Socket::from(theirs);
            theirs.write_all(b"x").unwrap();
            ours.set_nonblocking(false).unwrap();
            let mut byte = [0];
            (&ours).read_exact(&mut byte).unwrap();
            assert_eq!(&byte, b"x");
            assert_eq!(theirs.peer_addr().unwrap().is_unix(), kind == DescriptorKind::Unix);
        }
    }
}
