//! What comes from the network before and after TLS: a handshake whose bytes are delayed, damaged or replaced.
//! Nothing is readable before it is done, and nothing is ever read that was not written.
#![no_main]

use arbitrary::Arbitrary;
use clerver::identity::HostKey;
use clerver::tls::{HandshakeState, TlsContext, TlsLink};
use libfuzzer_sys::fuzz_target;
use std::cell::OnceCell;

#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Deliver this much of what the other side sent.
    Carry {
        to_dialler: bool,
        bytes: u16,
    },
    CarryAll,
    /// Change one byte that is on the way.
    Damage {
        to_dialler: bool,
        at: u16,
        bits: u8,
    },
    /// Bytes that nobody sent.
    Inject {
        to_dialler: bool,
        bytes: &'a [u8],
    },
    Write {
        by_dialler: bool,
        bytes: u16,
    },
    End {
        of_dialler: bool,
    },
    Shutdown {
        by_dialler: bool,
    },
}

struct Side {
    tls: TlsLink,
    /// Ciphertext on the way to it.
    coming: Vec<u8>,
    written: Vec<u8>,
    read: Vec<u8>,
}

thread_local! {
    static CONTEXTS: OnceCell<[TlsContext; 2]> = const { OnceCell::new() };
}

fn contexts() -> [TlsContext; 2] {
    let context = |_| {
        let key = HostKey::generate().expect("make a key");
        TlsContext::new(&key).expect("make a context")
    };
    CONTEXTS.with(|contexts| contexts.get_or_init(|| [0, 1].map(context)).clone())
}

fn move_on(sides: &mut [Side; 2]) {
    for who in [0, 1] {
        let side = &mut sides[who];
        let is_done = matches!(side.tls.handshake(), Ok(HandshakeState::Done { .. }));
        if is_done {
            let _ = side.tls.read(&mut side.read, usize::MAX);
        } else {
            let before = side.read.len();
            assert!(side.tls.read(&mut side.read, 100).is_err(), "readable before the handshake is done");
            assert_eq!(side.read.len(), before, "readable before the handshake is done");
        }
        let out = side.tls.take_output();
        sides[1 - who].coming.extend(out);
        let (read, written) = (&sides[who].read, &sides[1 - who].written);
        assert!(written.starts_with(read), "read what was not written");
    }
}

fn step(sides: &mut [Side; 2], step: &Step) {
    match *step {
        Step::Carry { to_dialler, bytes } => {
            let side = &mut sides[usize::from(!to_dialler)];
            let some: Vec<u8> = side.coming.drain(..side.coming.len().min(usize::from(bytes))).collect();
            side.tls.feed(&some);
        }
        Step::CarryAll => {
            for side in sides {
                let all = std::mem::take(&mut side.coming);
                side.tls.feed(&all);
            }
        }
        Step::Damage { to_dialler, at, bits } => {
            let coming = &mut sides[usize::from(!to_dialler)].coming;
            if !coming.is_empty() {
                let at = usize::from(at) % coming.len();
                coming[at] ^= bits;
            }
        }
        Step::Inject { to_dialler, bytes } => sides[usize::from(!to_dialler)].tls.feed(bytes),
        Step::Write { by_dialler, bytes } => {
            let side = &mut sides[usize::from(!by_dialler)];
            let data: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
            if side.tls.write(&[&data]).is_ok() {
                side.written.extend(data);
            }
        }
        Step::End { of_dialler } => sides[usize::from(!of_dialler)].tls.feed_end(),
        Step::Shutdown { by_dialler } => sides[usize::from(!by_dialler)].tls.shutdown(),
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let [a, b] = contexts();
    let side = |tls| Side { tls, coming: vec![], written: vec![], read: vec![] };
    let (dialler, acceptor) = (a.connect("b").expect("start a link"), b.accept("a").expect("start a link"));
    let mut sides = [side(dialler), side(acceptor)];
    move_on(&mut sides);
    for each in steps.iter().take(64) {
        step(&mut sides, each);
        move_on(&mut sides);
    }
});
