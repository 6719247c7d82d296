//! What a script may say. Numbers that pick something are taken modulo what there is.

use arbitrary::{Arbitrary, Unstructured};

/// Operations of one script.
const OPS_MAX: usize = 250;

/// A setup, and what happens then.
#[derive(Debug, Clone)]
pub struct Script {
    pub setup: Setup,
    pub ops: Vec<Op>,
}

impl Script {
    /// A script from the fuzzer's bytes. They are continued by noise that depends on them, so that short inputs
    /// make long scripts, and each byte that the fuzzer finds takes the place of noise.
    pub fn new(data: &[u8]) -> Script {
        let mut bytes = data.to_vec();
        let mut noise = data.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |sum, &byte| {
            (sum ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17)
        });
        let count = usize::from(data.len() as u8 ^ data.first().copied().unwrap_or(0)) % OPS_MAX + 1;
        while bytes.len() < count * 16 + 32 {
            noise ^= noise << 13;
            noise ^= noise >> 7;
            noise ^= noise << 17;
            bytes.extend(noise.to_le_bytes());
        }
        let mut from = Unstructured::new(&bytes);
        let setup = from.arbitrary().unwrap_or_default();
        let ops = std::iter::from_fn(|| if from.is_empty() { None } else { from.arbitrary().ok() });
        Script { setup, ops: ops.take(count).collect() }
    }
}

/// How the two nodes are set up.
#[derive(Debug, Clone, Default, Arbitrary)]
pub struct Setup {
    /// Which of the two has the lower id and is arbiter.
    pub swapped: bool,
    pub beat: u8,
    pub ttl: u8,
    pub message: u8,
    pub channels: u8,
    pub spare: u8,
    pub embalm: bool,
    pub discard: bool,
    /// The session is kept past its TTL, for so many quarter seconds, and so many of them.
    pub volatile: bool,
    pub embalm_span: u8,
    pub embalmed: u8,
    /// After each so many steps everything is granted and delivered; 0 never.
    pub settle_every: u8,
    /// How much a link takes at once.
    pub room: u8,
    /// Dials are answered at once.
    pub dials_work: bool,
    /// The script begins with a session.
    pub connected: bool,
}

/// One step.
#[derive(Debug, Clone, Arbitrary)]
pub enum Op {
    Connect {
        who: bool,
        bulk: u8,
        any_node: bool,
        timeout: bool,
    },
    ConnectCancel {
        who: bool,
        pick: u8,
    },
    /// Answers the oldest dial.
    Dial {
        who: bool,
        works: bool,
    },
    Deliver {
        pick: u8,
        to: bool,
        bytes: u16,
    },
    Grant {
        pick: u8,
        to: bool,
        bytes: u16,
    },
    /// Grants and delivers everything until nothing moves.
    Settle,
    Cut {
        pick: u8,
    },
    /// From now on nothing arrives in one direction.
    BlackHole {
        pick: u8,
        to: bool,
    },
    /// Time passes, and both nodes are woken as they asked.
    Pass {
        ms: u16,
        settle: bool,
    },
    /// Time passes and nobody is woken.
    Jump {
        ms: u16,
    },
    Tick {
        who: bool,
    },
    Open {
        who: bool,
        pick: u8,
        bytes: bool,
        bulk: bool,
    },
    Accept {
        who: bool,
        pick: u8,
    },
    Send {
        who: bool,
        pick: u8,
        len: u16,
    },
    Receive {
        who: bool,
        pick: u8,
        max: u16,
    },
    End {
        who: bool,
        pick: u8,
    },
    Reset {
        who: bool,
        pick: u8,
    },
    Stop {
        who: bool,
        pick: u8,
    },
    Release {
        who: bool,
        pick: u8,
    },
    Call {
        who: bool,
        pick: u8,
        len: u16,
        deadline: u8,
        service: bool,
    },
    CallCancel {
        who: bool,
        pick: u8,
    },
    Reply {
        who: bool,
        pick: u8,
        len: u16,
        last: bool,
    },
    CallFail {
        who: bool,
        pick: u8,
    },
    CallFinished {
        who: bool,
        pick: u8,
    },
    Attach {
        who: bool,
        pick: u8,
        ttl: u8,
    },
    ObjectDone {
        who: bool,
        pick: u8,
        ok: bool,
    },
    ObjectEnd {
        who: bool,
        pick: u8,
    },
    ObjectEnter {
        who: bool,
        pick: u8,
    },
    ObjectLeave {
        who: bool,
        pick: u8,
    },
    ObjectRevive {
        who: bool,
        pick: u8,
        to: u8,
    },
    Touch {
        who: bool,
        pick: u8,
    },
    Update {
        who: bool,
        pick: u8,
        len: u16,
    },
    ObjectRelease {
        who: bool,
        pick: u8,
    },
    Close {
        who: bool,
        pick: u8,
        ms: u16,
    },
    Forget {
        who: bool,
        pick: u8,
    },
    Drain {
        who: bool,
    },
    Announce {
        who: bool,
        count: u8,
    },
    /// Of the session itself, or of its peer; to an address that is named or to none.
    Move {
        who: bool,
        pick: u8,
        by_peer: bool,
        to: u8,
    },
    /// What a system says of its network.
    Network {
        who: bool,
        pick: u8,
        doubts: bool,
    },
    SweepAll {
        who: bool,
    },
    Block {
        who: bool,
        blocked: bool,
    },
    /// Input for a link or dial that is over.
    Stale {
        who: bool,
        kind: u8,
        pick: u8,
    },
    /// Input before the node was drained.
    Undrained {
        who: bool,
    },
    /// Arguments that name nothing.
    Nonsense {
        who: bool,
        kind: u8,
        session: u8,
        channel: u8,
    },
    HostileUp {
        who: bool,
        as_who: u8,
        answers_dial: bool,
        hello: bool,
        room: u16,
    },
    HostileSays {
        pick: u8,
        lie: Lie,
        times: u8,
    },
    HostileBytes {
        pick: u8,
        bytes: Vec<u8>,
    },
    HostileDown {
        pick: u8,
    },
}

/// A frame of the peer that lies. `right` means as an honest peer would fill it.
#[derive(Debug, Clone, Arbitrary)]
pub enum Lie {
    Hello {
        version: u8,
        right_binding: bool,
        role: u8,
        counter: u8,
        for_session: bool,
        beat_ms: u32,
        limits: [u16; 3],
    },
    Session {
        right_sid: bool,
        n: u8,
        fresh: bool,
        right: bool,
        table: Vec<[u16; 4]>,
    },
    Attach {
        right_sid: bool,
        right: bool,
        table: Vec<[u16; 4]>,
    },
    Gone {
        right_sid: bool,
        code: u8,
        proof: u8,
    },
    Revive,
    Lack(u16),
    Beat(u8, u8, u32),
    Dead(Vec<(bool, u8)>),
    Retire,
    Role(u8),
    Hop,
    Rekey,
    Shard,
    Credit(u8, u32),
    Reset(u8, u16, u8),
    Stop(u8, u8),
    ChannelCredit(u32),
    Done(u8, u16),
    Data {
        channel: u8,
        offset: u16,
        len: u16,
    },
    /// The header of a channel, with a request behind it if it is a call.
    Open {
        channel: u8,
        kind: u8,
        flags: u8,
        service: bool,
        len: u8,
    },
    End(u8, u16),
    Notice,
    Refuse(u8),
    /// A message on channel 0, in its place.
    Control {
        kind: u8,
        object: u8,
        len: u16,
    },
}

/// Which of two things a flag means.
pub fn side(flag: bool) -> usize {
    usize::from(flag)
}
