//! Addresses as texts: which part of one says where it leads. Nothing is resolved here.

/// `host:port` of an address, without what else it may say: `clv://`, a host id, the name of a node.
pub(crate) fn place_of(address: &str) -> &str {
    let rest = address.strip_prefix("clv://").unwrap_or(address);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(place, _)| place)
}

/// As `place_of`, of an address that a peer names: `None` for what says more than it may, or nothing.
pub(crate) fn named_place(address: &str) -> Option<&str> {
    let place = place_of(address);
    let is_plain = !place.is_empty() && !place.contains(['@', '/']) && !place.contains(char::is_whitespace);
    is_plain.then_some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_are_left() {
        for (address, place) in [
            ("clv://AAAA-BBBB@10.0.0.1:7/till", "10.0.0.1:7"),
            ("clv://db.example:7", "db.example:7"),
            ("[fe80::1%eth0]:7", "[fe80::1%eth0]:7"),
            ("", ""),
        ] {
            assert_eq!(place_of(address), place);
        }
    }

    #[test]
    fn a_peer_names_places_and_nothing_else() {
        assert_eq!(named_place("clv://AAAA@a:7/till"), Some("a:7"));
        for refused in ["", "clv://", "a@b@c:7", "a b:7", "clv://x@/till"] {
            assert_eq!(named_place(refused), None, "{refused}");
        }
    }
}
