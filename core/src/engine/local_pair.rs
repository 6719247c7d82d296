//! Two connected sockets on this machine: one for a program that knows only descriptors, one for its bridge.
//!
//! TCP over loopback by default, because then `getpeername`, `TCP_NODELAY` and, above all, a reset work: what
//! was cut off must not look complete. Nobody but this process can be at the other end.

use clerver_proto::error::{Code, Error, Result};
use socket2::Socket;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

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

fn tcp_pair() -> io::Result<(OwnedFd, Socket)> {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // A namespace may have only one of them.
    let listener =
        TcpListener::bind(v4).or_else(|_| TcpListener::bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))))?;
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
