//! Addresses as texts: which part of one says where it leads. Nothing is resolved here.

/// `host:port` of an address, without what else it may say: `clv://`, a host id, the name of a node.
pub(crate) fn place_of(address: &str) -> &str {
    let rest = address.strip_prefix("clv://").unwrap_or(address);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    rest.split_once('/').map_or(rest, |(place, _)| place)
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
}
