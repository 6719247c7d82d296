//! Where a node is reached, as a user writes it.
//!
//! Text and numbers only: nothing is resolved or connected here. Invariant: an [`Address`] prints as text
//! that reads back as the same address.

use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::HostId;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 7400;
const SCHEME: &str = "clv://";
const TEXT_BYTES_MAX: usize = 1024;
const HOST_BYTES_MAX: usize = 255;

/// A place to dial or to listen on. Plain data.
///
/// Written `host`, `host:port`, `[v6]:port`, `clv://host:port` or `clv://HOSTID@host:port/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A DNS name, an IPv4 address, or an IPv6 address without brackets (and with a zone such as `%eth0`).
    pub host: String,
    /// TCP port; 0 means any free one and is only good for listening.
    pub port: u16,
    /// Who must answer there; then nothing is pinned.
    pub host_id: Option<HostId>,
    /// The node wanted there, if several share the port.
    pub name: Option<String>,
}

impl Address {
    /// `host:port`, the name that this address is pinned under in `known_hosts`.
    pub fn pin_name(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host_id.is_none() && self.name.is_none() {
            return f.write_str(&self.pin_name());
        }
        f.write_str(SCHEME)?;
        if let Some(host_id) = self.host_id {
            write!(f, "{host_id}@")?;
        }
        f.write_str(&self.pin_name())?;
        match &self.name {
            Some(name) => write!(f, "/{name}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    /// Reads an address; `ARG` with what is wrong and how it should look.
    fn from_str(text: &str) -> Result<Address> {
        parse(text).map_err(|(why, remedy)| {
            let shown: String = text.chars().take(100).collect();
            Error::new(Code::Argument, format!("read the address \"{}\": {why}", shown.escape_debug()))
                .with_remedy(remedy)
        })
    }
}

/// What is wrong, and what to do.
type Refusal = (String, &'static str);
const FORMS: &str = "write it as host:port, [v6]:port or clv://HOSTID@host:port/name";

fn parse(text: &str) -> Result<Address, Refusal> {
    let refuse = |why: &str| Err((why.to_string(), FORMS));
    if text.len() > TEXT_BYTES_MAX {
        return refuse("it is longer than 1024 bytes");
    }
    if text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return refuse("it has a space or a control character");
    }
    let has_scheme = text.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    if !has_scheme {
        if text.contains("://") {
            return refuse("its scheme is not clv://");
        }
        if text.contains(['@', '/']) {
            return refuse("a host id or a node name needs clv:// in front");
        }
        let (host, port) = host_and_port(text)?;
        return Ok(Address { host, port, host_id: None, name: None });
    }
    let rest = &text[SCHEME.len()..];
    let (rest, name) = match rest.split_once('/') {
        Some((rest, "")) => (rest, None),
        Some((rest, name)) => (rest, Some(node_name(name)?)),
        None => (rest, None),
    };
    let (rest, host_id) = match rest.split_once('@') {
        Some((id, rest)) => (rest, Some(id.parse().map_err(|error: Error| (error.message, FORMS))?)),
        None => (rest, None),
    };
    let (host, port) = host_and_port(rest)?;
    Ok(Address { host, port, host_id, name })
}

fn node_name(name: &str) -> Result<String, Refusal> {
    if name.contains(['/', '?', '#']) {
        return Err((format!("the node name \"{}\" has one of / ? #", name.escape_debug()), FORMS));
    }
    Ok(name.into())
}

fn host_and_port(text: &str) -> Result<(String, u16), Refusal> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(("the bracket [ is not closed".into(), FORMS));
        };
        let port = match after.strip_prefix(':') {
            Some(port) => read_port(port)?,
            None if after.is_empty() => DEFAULT_PORT,
            None => return Err((format!("\"{}\" follows the bracket", after.escape_debug()), FORMS)),
        };
        check_v6(host)?;
        return Ok((host.into(), port));
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => {
            Err(("more than one colon".into(), "put an IPv6 address in brackets, as in [::1]:7400"))
        }
        Some((host, port)) => Ok((check_host(host)?, read_port(port)?)),
        None => Ok((check_host(text)?, DEFAULT_PORT)),
    }
}

fn check_v6(host: &str) -> Result<(), Refusal> {
    let (ip, zone) = host.split_once('%').map_or((host, None), |(ip, zone)| (ip, Some(zone)));
    let is_zone_good = zone.is_none_or(|zone| {
        !zone.is_empty()
            && zone.len() <= 32
            && zone.chars().all(|letter| letter.is_ascii_alphanumeric() || "-._".contains(letter))
    });
    if ip.parse::<Ipv6Addr>().is_err() || !is_zone_good {
        return Err((format!("\"{}\" is no IPv6 address", host.escape_debug()), FORMS));
    }
    Ok(())
}

fn check_host(host: &str) -> Result<String, Refusal> {
    if host.is_empty() {
        return Err((
            "the host is missing".into(),
            "write a host; to listen on all addresses, 0.0.0.0 or [::]",
        ));
    }
    if host.len() > HOST_BYTES_MAX {
        return Err(("the host is longer than 255 bytes".into(), FORMS));
    }
    match host.chars().find(|letter| !letter.is_ascii_alphanumeric() && !"-._".contains(*letter)) {
        Some(letter) => {
            let why = format!("'{}' cannot stand in a host name", letter.escape_debug());
            Err((why, "write the host in ASCII; an international name in its xn-- form"))
        }
        None => Ok(host.into()),
    }
}

fn read_port(text: &str) -> Result<u16, Refusal> {
    let digits_only = text.chars().all(|letter| letter.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits_only => Ok(port),
        _ => Err((format!("the port \"{}\" is not a number from 0 to 65535", text.escape_debug()), FORMS)),
    }
}

/// Whether a connection comes from this machine: over loopback, or from the very address it arrived at.
/// `peer` and `own` are the two ends of the socket.
pub fn is_local_peer(peer: IpAddr, own: IpAddr) -> bool {
    let (peer, own) = (peer.to_canonical(), own.to_canonical());
    peer.is_loopback() || peer == own
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn plain(host: &str, port: u16) -> Address {
        Address { host: host.into(), port, host_id: None, name: None }
    }

    #[test]
    fn every_form_is_read() {
        let id = HostId([3; 32]);
        assert_eq!(read("db.example:7401"), plain("db.example", 7401));
        assert_eq!(read("db.example"), plain("db.example", DEFAULT_PORT));
        assert_eq!(read("10.0.0.1:0"), plain("10.0.0.1", 0));
        assert_eq!(read("[::1]:80"), plain("::1", 80));
        assert_eq!(read("[fe80::1%eth0]"), plain("fe80::1%eth0", DEFAULT_PORT));
        assert_eq!(read("clv://db:1"), plain("db", 1));
        assert_eq!(read("CLV://db/"), plain("db", DEFAULT_PORT));
        assert_eq!(
            read(&format!("clv://{id}@[::1]:9/mail")),
            Address { host: "::1".into(), port: 9, host_id: Some(id), name: Some("mail".into()) }
        );
        assert_eq!(read(&format!("clv://{id}@db")).host_id, Some(id));
        assert_eq!(read("clv://db/mail").name.as_deref(), Some("mail"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "host is missing"),
            (":7400", "host is missing"),
            ("clv://", "host is missing"),
            ("::1", "more than one colon"),
            ("[::1", "not closed"),
            ("[::1]7400", "follows the bracket"),
            ("[db]:1", "no IPv6 address"),
            ("[::1%]:1", "no IPv6 address"),
            ("db:", "port"),
            ("db:65536", "65536"),
            ("db:+1", "+1"),
            ("db:x", "port"),
            ("d b:1", "space"),
            ("d\u{e9}:1", "ASCII"),
            ("http://db", "scheme"),
            ("db/mail", "clv://"),
            ("clv://AAAA@db", "56"),
            ("clv://db/a/b", "node name"),
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert_eq!(error.code, Code::Argument);
            assert!(error.to_string().contains(why), "{error} should say {why}");
        }
    }

    #[test]
    fn a_peer_on_the_same_machine_is_recognised() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(is_local_peer(ip("127.0.0.1"), ip("127.0.0.1")));
        assert!(is_local_peer(ip("::1"), ip("::1")));
        assert!(is_local_peer(ip("::ffff:127.0.0.5"), ip("::ffff:127.0.0.1")));
        assert!(is_local_peer(ip("10.0.0.1"), ip("::ffff:10.0.0.1")));
        assert!(!is_local_peer(ip("10.0.0.2"), ip("10.0.0.1")));
        assert!(!is_local_peer(ip("fe80::2"), ip("fe80::1")));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,60}") {
            if let Ok(address) = text.parse::<Address>() {
                prop_assert_eq!(read(&address.to_string()), address);
            }
        }

        #[test]
        fn likely_texts_print_as_they_read(
            scheme in "(clv://)?([A-Z2-7]{7}@)?",
            host in "\\[?[0-9a-f:.]{0,12}(%[a-z]{0,2})?\\]?|[a-z.-]{0,9}",
            rest in "(:[0-9]{0,6})?(/[a-z/]{0,3})?",
        ) {
            if let Ok(address) = format!("{scheme}{host}{rest}").parse::<Address>() {
                prop_assert_eq!(read(&address.to_string()), address);
            }
        }

        #[test]
        fn an_address_prints_and_reads_back(
            host in "[a-z0-9.-]{1,20}",
            port: u16,
            id: Option<[u8; 32]>,
            name in "[a-z]{0,5}",
        ) {
            let name = if name.is_empty() { None } else { Some(name) };
            let address = Address { host, port, host_id: id.map(HostId), name };
            prop_assert_eq!(read(&address.to_string()), address);
        }
    }
}
