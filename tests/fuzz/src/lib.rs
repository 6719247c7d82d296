//! Two real nodes in memory, driven by a script: honest applications in any order, a network that cuts, delays and
//! blocks, inputs that are stale or come at the wrong time, and a third peer that says what it likes.
//!
//! What is asserted (numbers are those of INVARIANTS.md): no panic; the drain law, `Wake` once, last and later
//! than now, `Send` within what was granted, nothing sent on a link that is gone (I13); stale input changes
//! nothing (I12); what is taken is a prefix of what was written, once (I1); what a sender forgot is held (I5);
//! grants and buffers are bounded (I6); states follow the graph (I10); a request runs at most once (I15); a
//! peer without the secret joins no session (I16); an honest link is never refused for breaking the protocol.
//! At the end the network heals, and everything written must arrive (I2), every session must close in good
//! order at both ends, and nothing may be left (I18).
//!
//! `TRACE=1` prints the steps, the events and the bytes of a script.

mod app;
mod check;
mod heal;
mod hostile;
mod ledger;
mod ops;
mod script;
mod toy;
mod world;

pub use script::{Lie, Op, Script, Setup};

/// Carries a script out; panics when a rule is broken.
pub fn run(script: &Script) {
    let setup = &script.setup;
    let mut world = world::World::new(setup);
    if setup.connected {
        world.apply(&Op::Connect { who: false, bulk: setup.spare >> 4, any_node: false, timeout: false });
        world.dial(0, true);
        world.settle();
    }
    for (step, op) in script.ops.iter().enumerate() {
        if world.is_traced {
            eprintln!("{:>4} ms: {op:?}", world.now.0 / 1_000_000);
        }
        world.apply(op);
        if setup.dials_work {
            world.dial(0, true);
            world.dial(1, true);
        }
        if (step + 1).checked_rem(usize::from(setup.settle_every % 8)) == Some(0) {
            world.settle();
        }
        world.check(step);
    }
    world.heal();
}
