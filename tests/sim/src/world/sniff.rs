//! Reading along: frames as they are written, for the trace and for I6; and the forger, who changes some (I16).

use super::{Pid, World};
use crate::checker::flows::FlowKey;
use crate::checker::{Invariant, Verdict, broken, ensure};
use crate::plan::Forgery;
use bytes::{Bytes, BytesMut};
use clerver_proto::error::Code;
use clerver_proto::id::{CONTROL, ChannelId, LinkId, SessionId};
use clerver_proto::limits::{CHANNEL_BASE_BYTES, CONTROL_WINDOW_BYTES, FRAME_BYTES_MAX};
use clerver_proto::wire::{Frame, Offer};

impl World {
    /// Looks at what a node sends, and answers what goes into the link.
    pub(super) fn sniff(
        &mut self,
        pid: Pid,
        id: LinkId,
        key: u64,
        side: usize,
        parts: Vec<Bytes>,
    ) -> Verdict<Vec<Bytes>> {
        let Some(link) = self.links.get_mut(&key) else { return Ok(parts) };
        let mut frames = Vec::new();
        let sniffer = &mut link.dirs[side].sniffer;
        for part in &parts {
            sniffer.push(BytesMut::from(&part[..]));
            loop {
                match sniffer.next(FRAME_BYTES_MAX) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => break,
                    Err(error) => {
                        return broken(
                            Invariant::I13,
                            format!("process {pid} sends what follows no rule on link {id}: {error}"),
                        );
                    }
                }
            }
        }
        let parts = match link.forgery {
            Some(how) => forge(link, side, how, &parts),
            None => parts,
        };
        for frame in frames {
            self.note(pid, || format!("-> link {id}: {}", describe(&frame)));
            self.seen(pid, id, &frame)?;
        }
        Ok(parts)
    }

    fn seen(&mut self, pid: Pid, id: LinkId, frame: &Frame) -> Verdict {
        let Some(&session) = self.procs[pid].sessions_of_links.get(&id) else { return Ok(()) };
        match frame {
            Frame::Credit { channel, limit } => {
                self.check.credit.granted(pid, session, *channel, *limit)?;
                self.check_budget(pid, session)
            }
            Frame::Data { channel, offset, bytes } | Frame::Rest { channel, offset, bytes } => {
                self.check_within_credit(pid, session, *channel, offset + bytes.len() as u64)
            }
            _ => Ok(()),
        }
    }

    /// Outstanding grants of a session stay within its budget (I6).
    fn check_budget(&mut self, pid: Pid, session: SessionId) -> Verdict {
        let Some(node) = self.procs[pid].node.as_ref() else { return Ok(()) };
        let Some(view) = self.check.sessions.get(pid, session) else { return Ok(()) };
        let budget = self.plan.nodes[self.procs[pid].slot].options.limits.budget_bytes;
        let mut sum = 0;
        for (channel, limit) in self.check.credit.of(pid, session) {
            let theirs = FlowKey { sid: view.sid, channel, by_arbiter: !view.arbiter };
            // What comes on a channel that nobody reads is dropped, and beyond its end nothing comes.
            let over = self.check.flows.is_broken(theirs) || self.check.flows.is_ended(theirs);
            if let (Ok(report), false) = (node.channel_report(session, channel), over) {
                sum += limit.saturating_sub(report.taken);
            }
        }
        ensure!(
            sum <= budget,
            I6,
            "process {pid} granted {sum} bytes in session {session} that were not taken, its budget is {budget}"
        );
        Ok(())
    }

    /// Nobody sends beyond what the other end granted (X4).
    fn check_within_credit(&self, pid: Pid, session: SessionId, channel: ChannelId, end: u64) -> Verdict {
        let Some(view) = self.check.sessions.get(pid, session) else { return Ok(()) };
        let base = if channel == CONTROL { CONTROL_WINDOW_BYTES } else { CHANNEL_BASE_BYTES };
        let ends = self.check.sessions.others(view.sid, view.arbiter);
        if ends.is_empty() {
            return Ok(());
        }
        let granted =
            ends.iter().filter_map(|&(other, theirs)| self.check.credit.limit(other, theirs, channel));
        let limit = granted.max().unwrap_or(0).max(base);
        ensure!(
            end <= limit,
            I6,
            "process {pid} sent to offset {end} of channel {channel}, granted is {limit}"
        );
        Ok(())
    }
}

/// A frame in one line, without its data.
fn describe(frame: &Frame) -> String {
    match frame {
        Frame::Data { channel, offset, bytes } => {
            format!("DATA channel {channel} offset {offset} + {}", bytes.len())
        }
        Frame::Rest { channel, offset, bytes } => {
            format!("REST channel {channel} offset {offset} + {}", bytes.len())
        }
        Frame::Hello(hello) => {
            format!("HELLO {} link {} role {:?}", hello.node, hello.link_counter, hello.role)
        }
        other => format!("{other:?}"),
    }
}

/// The bytes with the first word about the session falsified.
fn forge(link: &mut super::net::Link, side: usize, how: Forgery, parts: &[Bytes]) -> Vec<Bytes> {
    let mut out = BytesMut::new();
    for part in parts {
        link.dirs[side].forger.push(BytesMut::from(&part[..]));
        while let Ok(Some(frame)) = link.dirs[side].forger.next(FRAME_BYTES_MAX) {
            if !link.muted {
                let (false_frame, last) = falsified(frame.clone(), how);
                link.dirs[side].altered |= false_frame != frame;
                link.dirs[side].genuine_gone |= matches!(frame, Frame::Gone { .. });
                false_frame.encode(&mut out);
                link.muted |= last;
            }
        }
    }
    if out.is_empty() { Vec::new() } else { vec![out.freeze()] }
}

/// What the forger makes of a frame, and whether it was the forger's last word.
fn falsified(frame: Frame, how: Forgery) -> (Frame, bool) {
    let flip = |mut proof: [u8; 32]| {
        proof[7] ^= 0x10;
        proof
    };
    let sid = match &frame {
        Frame::Attach { sid, .. } | Frame::Session { sid, offer: Offer::Existing { .. }, .. } => *sid,
        _ => return (frame, false),
    };
    match (how, frame) {
        (Forgery::Proof, Frame::Attach { sid, table, proof }) => {
            (Frame::Attach { sid, table, proof: flip(proof) }, false)
        }
        (Forgery::Proof, Frame::Session { sid, n, offer: Offer::Existing { table, proof } }) => {
            (Frame::Session { sid, n, offer: Offer::Existing { table, proof: flip(proof) } }, false)
        }
        (Forgery::Gone, _) => (Frame::Gone { sid, code: Code::Lost as u16, proof: None }, true),
        (_, _) => (Frame::Refuse { code: Code::Denied as u16, text: "forged".into() }, true),
    }
}
