//! Names of things: hosts, processes, nodes, sessions, links, channels, objects.
//!
//! Values only: no lookup tables, no allocation of numbers. A [`HostId`] proves continuity of a key, not the
//! uniqueness of a machine (DESIGN.md 3.5b).

use crate::error::{Code, Error, Result};
use std::fmt;
use std::str::FromStr;

/// SHA-256 of a host's public key (SPKI, DER).
///
/// Its text form is base32 (RFC 4648 alphabet) in four blocks of 13 characters, each followed by one check
/// character that catches any single mistyped character and any swap of two, printed in eight groups of
/// seven.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub [u8; 32]);

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BLOCK: usize = 13;
const BLOCKS: usize = 4;
/// Characters between two dashes.
const GROUP: usize = 7;

/// Multiply by two in GF(32) with x^5 + x^2 + 1, whose powers of two are all different up to the 31st.
fn double(value: u8) -> u8 {
    let shifted = value << 1;
    if shifted & 0x20 != 0 { (shifted ^ 0x25) & 0x1f } else { shifted }
}

/// Horner's rule in GF(32): every position has its own non-zero weight, so one wrong or two swapped
/// characters show.
fn check_of(block: &[u8]) -> u8 {
    double(block.iter().fold(1, |sum, &symbol| double(sum) ^ symbol))
}

impl HostId {
    /// The bits from `5 * index` on, as many as there are.
    fn symbol(&self, index: usize) -> u8 {
        let (byte, bit) = (index * 5 / 8, index * 5 % 8);
        let at = |byte: usize| u16::from(self.0.get(byte).copied().unwrap_or(0));
        let both = at(byte) << 8 | at(byte + 1);
        (both >> (11 - bit)) as u8 & 0x1f
    }

    fn symbols(&self) -> [u8; BLOCK * BLOCKS] {
        std::array::from_fn(|index| self.symbol(index))
    }

    /// The first group of the text form, for logs that name a host many times.
    pub fn short(&self) -> String {
        (0..GROUP).map(|index| char::from(ALPHABET[usize::from(self.symbol(index))])).collect()
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(64);
        for block in self.symbols().chunks(BLOCK) {
            for &symbol in block.iter().chain([check_of(block)].iter()) {
                if text.len() % (GROUP + 1) == GROUP {
                    text.push('-');
                }
                text.push(char::from(ALPHABET[usize::from(symbol)]));
            }
        }
        f.write_str(&text)
    }
}

impl fmt::Debug for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostId({})", self.short())
    }
}

impl FromStr for HostId {
    type Err = Error;

    /// Reads the text form; case, spaces and dashes do not matter, and 0, 1 and 8 are read as O, I and B.
    fn from_str(text: &str) -> Result<HostId> {
        let bad = |what: String| {
            Error::new(Code::Argument, format!("read host id \"{}\": {what}", text.escape_debug()))
                .with_remedy("copy the host id again from the peer (56 letters and digits in eight groups)")
        };
        let mut symbols = Vec::with_capacity(56);
        for letter in text.chars().filter(|letter| !letter.is_whitespace() && *letter != '-') {
            let upper = match letter.to_ascii_uppercase() {
                '0' => 'O',
                '1' => 'I',
                '8' => 'B',
                other => other,
            };
            match ALPHABET.iter().position(|&known| char::from(known) == upper) {
                Some(value) => symbols.push(value as u8),
                None => return Err(bad(format!("'{}' cannot stand in it", letter.escape_debug()))),
            }
        }
        if symbols.len() != (BLOCK + 1) * BLOCKS {
            return Err(bad(format!("it has {} characters and needs 56", symbols.len())));
        }
        let mut bytes = [0u8; 32];
        let mut position = 0;
        for (number, block) in symbols.chunks(BLOCK + 1).enumerate() {
            let (body, check) = block.split_at(BLOCK);
            if check_of(body) != check[0] {
                return Err(bad(format!(
                    "a character is wrong in groups {} and {} (their check character does not fit)",
                    2 * number + 1,
                    2 * number + 2
                )));
            }
            for bit in body.iter().flat_map(|&symbol| (0..5).map(move |bit| (symbol >> (4 - bit)) & 1)) {
                match bytes.get_mut(position / 8) {
                    Some(byte) => *byte = (*byte << 1) | bit,
                    None if bit != 0 => return Err(bad("its last group is wrong".into())),
                    None => {}
                }
                position += 1;
            }
        }
        Ok(HostId(bytes))
    }
}

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:02x}{:02x}{:02x}{:02x})"), self.0[0], self.0[1], self.0[2], self.0[3])
            }
        }
    };
}

bytes16! {
    /// Random 128 bits, new at each start of a node.
    ProcessId
}
bytes16! {
    /// Random 128 bits that name a session on the wire (`sid`).
    Sid
}

/// One running clerver: the key it runs under and its start. Ordered; the lower of two is their arbiter (S3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId {
    /// Whose key it runs under.
    pub host: HostId,
    /// Which start of it.
    pub process: ProcessId,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second, third, fourth, ..] = self.process.0;
        write!(f, "{}/{first:02x}{second:02x}{third:02x}{fourth:02x}", self.host.short())
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// A link as the engine names it; local to the process, rising, never reused (L1).
    LinkId
}
number! {
    /// A session as this process names it; local, rising, never reused.
    SessionId
}
number! {
    /// A standing wish to be connected somewhere.
    ConnectorId
}
number! {
    /// One dial; a late answer to an old attempt changes nothing.
    AttemptId
}
number! {
    /// A channel within a session: (counter << 1) | end, where end is 1 for channels that the arbiter opened.
    /// 0 is control.
    ChannelId
}
number! {
    /// A living object within a session, by counter; 0 is the registration object.
    ObjectId
}

/// Channel 0: ordered control (objects, close).
pub const CONTROL: ChannelId = ChannelId(0);

impl ChannelId {
    /// The channel that an end opens as so many-th; ids of both ends differ in their last bit (X1).
    pub fn nth(counter: u64, by_arbiter: bool) -> ChannelId {
        ChannelId(counter << 1 | u64::from(by_arbiter))
    }

    /// As so many-th its end opened it; 0 for channel 0.
    pub fn counter(self) -> u64 {
        self.0 >> 1
    }

    /// Whether the arbiter opened it.
    pub fn is_by_arbiter(self) -> bool {
        self.0 & 1 == 1
    }
}
/// The first object of a session, which dies last.
pub const REGISTRATION: ObjectId = ObjectId(0);

/// A link as both ends of its session name it: who dialled, and the dialler's counter (L1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkName {
    /// True when the session's arbiter dialled.
    pub by_arbiter: bool,
    /// Rises by one with each link that this dialler starts.
    pub counter: u64,
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.by_arbiter { 'a' } else { 'b' }, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_id_has_eight_groups_of_seven() {
        let text = HostId([0xa5; 32]).to_string();
        assert_eq!(text.len(), 63);
        assert!(text.split('-').all(|group| group.len() == 7));
    }

    proptest! {
        #[test]
        fn host_id_text_reads_back(bytes: [u8; 32]) {
            let id = HostId(bytes);
            prop_assert_eq!(id.to_string().parse::<HostId>().unwrap(), id);
            prop_assert_eq!(id.short(), &id.to_string()[..7]);
            prop_assert_eq!(id.to_string().to_lowercase().replace('-', " ").parse::<HostId>().unwrap(), id);
        }

        #[test]
        fn one_mistyped_character_is_caught(bytes: [u8; 32], at in 0usize..63, to in 0usize..32) {
            let text = HostId(bytes).to_string().into_bytes();
            let mut wrong = text.clone();
            prop_assume!(wrong[at] != b'-' && wrong[at] != ALPHABET[to]);
            wrong[at] = ALPHABET[to];
            prop_assert!(String::from_utf8(wrong).unwrap().parse::<HostId>().is_err());
        }

        #[test]
        fn two_swapped_neighbours_are_caught(bytes: [u8; 32], at in 0usize..62) {
            let mut wrong = HostId(bytes).to_string().into_bytes();
            let next = if wrong[at + 1] == b'-' { at + 2 } else { at + 1 };
            prop_assume!(next < 63 && wrong[at] != b'-' && wrong[at] != wrong[next]);
            // Neighbours in two different blocks are two independent single errors, which both check
            // characters see.
            wrong.swap(at, next);
            prop_assert!(String::from_utf8(wrong).unwrap().parse::<HostId>().is_err());
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,80}") {
            let _ = text.parse::<HostId>();
        }
    }
}
