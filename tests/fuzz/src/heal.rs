//! The end of a script: faults stop, and then everything that was promised must come true.

use crate::world::{World, trust};
use clerver_proto::id::{LinkId, SessionId};
use clerver_proto::node::SessionState;
use std::time::Duration;

impl World {
    pub fn heal(&mut self) {
        self.end_lies();
        for link in self.wires.keys().copied().collect::<Vec<LinkId>>() {
            if self.wires.get(&link).is_some_and(|wire| wire.is_hole != [false, false]) {
                self.cut(link);
            }
        }
        for who in [0, 1] {
            let _ = self.command(who, |node, now| node.set_trust(now, trust(None)));
        }
        self.pass(self.quiet(), true, World::live);
        if !self.twin_seen {
            self.everything_arrived();
        }
        self.give_everything_back();
        self.close_everything();
    }

    /// Long enough to redial, to notice a loss, and to end every object.
    fn quiet(&self) -> Duration {
        self.ttl * 2 + Duration::from_secs(6)
    }

    /// What applications do in a quiet time.
    fn live(&mut self) {
        for who in [0, 1] {
            while !self.ends[who].dials.is_empty() {
                self.dial(who, true);
                self.settle();
            }
            for session in self.ends[who].app.sessions.clone() {
                while self.accept(who, session) {}
            }
            for (session, call) in self.ends[who].app.running.clone() {
                self.reply(who, session, call, 1, true);
                self.finish_call(who, session, call);
            }
            for (session, channel) in self.ends[who].app.channels.clone() {
                while self.receive(who, session, channel, 10_000) {}
            }
            while let Some(&action) = self.ends[who].app.actions.first() {
                self.answer(who, action, true);
            }
            for (session, object) in self.ends[who].app.entered.clone() {
                self.leave(who, session, object);
            }
        }
        self.settle();
    }

    /// Sessions that are live at both ends.
    fn live_pairs(&self) -> Vec<[SessionId; 2]> {
        let mut pairs = Vec::new();
        for (&a, sid) in self.ends[0].app.sids.iter().filter(|(_, sid)| self.vetted.contains(sid)) {
            for (&b, _) in self.ends[1].app.sids.iter().filter(|(_, other)| *other == sid) {
                if self.is_live(0, a) && self.is_live(1, b) {
                    pairs.push([a, b]);
                }
            }
        }
        assert!(pairs.len() <= 1, "two nodes have {} live sessions", pairs.len());
        pairs
    }

    fn everything_arrived(&mut self) {
        for sessions in self.live_pairs() {
            let sid = self.ends[0].app.sids[&sessions[0]];
            for (&(of, channel, writer), flow) in &self.ledger.flows {
                let is_known = self.ends[1 - writer].app.channels.contains(&(sessions[1 - writer], channel));
                let is_promised = !flow.reader_gone && !flow.may_be_missing;
                if of == sid && is_promised && (is_known || !self.was_drained) {
                    let left = flow.expected.len();
                    let who = [0, 1].map(|who| self.ends[who].node.channel_report(sessions[who], channel));
                    assert!(
                        left == 0,
                        "{left} writes of {writer} on channel {channel} never arrive: {who:?}"
                    );
                }
            }
        }
    }

    fn give_everything_back(&mut self) {
        for who in [0, 1] {
            for (session, channel) in self.ends[who].app.channels.clone() {
                self.release(who, session, channel);
            }
        }
        self.pass(Duration::from_millis(500), true, World::live);
        for who in [0, 1] {
            for (session, channel) in self.ends[who].app.channels.clone() {
                self.release(who, session, channel);
            }
        }
        self.pass(Duration::from_millis(500), true, World::live);
        if self.twin_seen {
            return;
        }
        for sessions in self.live_pairs() {
            let left = [0, 1]
                .map(|who| self.ends[who].node.session_info(sessions[who]).map_or(0, |info| info.channels));
            assert_eq!(left, [1, 1], "channels that nobody has are kept");
        }
    }

    fn close_everything(&mut self) {
        let pairs = self.live_pairs();
        for who in [0, 1] {
            for connector in std::mem::take(&mut self.ends[who].app.connectors) {
                let _ = self.command(who, |node, now| node.connect_cancel(now, connector));
            }
        }
        for who in [0, 1] {
            for session in self.ends[who].app.sessions.clone() {
                for _ in 0..5 {
                    self.close(who, session, self.quiet());
                }
            }
        }
        self.pass(self.quiet(), true, World::live);
        for sessions in pairs.into_iter().filter(|_| !self.twin_seen) {
            for (who, session) in sessions.into_iter().enumerate() {
                let state = self.ends[who].app.states.get(&session).copied();
                assert_eq!(state, Some(SessionState::Closed), "a quiet session does not close");
            }
        }
        for who in [0, 1] {
            for session in self.ends[who].app.sessions.clone() {
                let _ = self.command(who, |node, now| node.session_forget(now, session));
            }
        }
        self.pass(Duration::from_secs(200), true, World::live);
        if self.is_undisturbed && !self.twin_seen {
            for who in [0, 1] {
                let split = self.ends[who].app.closed.intersection(&self.ends[1 - who].app.lost).count();
                assert_eq!(split, 0, "one end closed what the other lost");
            }
        }
        for end in &self.ends {
            let counters = end.node.counters();
            let left =
                (counters.sessions, counters.links, counters.timers, counters.buffered, counters.objects);
            assert_eq!(left, (0, 0, 0, 0, 0), "something is left at the end");
        }
    }
}
