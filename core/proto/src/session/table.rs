//! The table that both ends compare at each attach (S9).
//!
//! Each end checks what only it can know for sure, so that a table which was long on its way is never taken
//! for a loss: that the peer holds no more than was sent from here, and that the peer still keeps what is not
//! held here.

use super::streams::Streams;
use crate::channel::Channel;
use crate::error::{Code, Error, Result};
use crate::wire::{Table, TableRow};

impl Streams {
    /// What this end has of each open channel.
    pub(crate) fn table(&self) -> Table {
        let row = |channel: &Channel| TableRow {
            channel: channel.id,
            kept: channel.send.kept().min(channel.send.sent()),
            written: channel.send.written(),
            held: self.held_for_good(channel),
        };
        Table { opened: self.opened_here, seen: self.opened_by_peer, rows: self.iter().map(row).collect() }
    }

    /// Bytes of the peer that this end will not ask for again, whatever happens to it.
    pub(super) fn held_for_good(&self, channel: &Channel) -> u64 {
        // It may be a stored one, and its header is nowhere yet.
        if self.keeps && self.unread.contains(&channel.id) { 0 } else { channel.held_for_good() }
    }

    /// Compares the peer's table with what is here: each side checks what only it can know for sure.
    pub(crate) fn check_table(&self, table: &Table) -> Result<()> {
        self.check_what_is_over(table)?;
        for row in &table.rows {
            let broken = |what: String| {
                Err(Error::new(
                    Code::Discontinuity,
                    format!("compare channel {} at attach: {what}", row.channel),
                ))
            };
            let (counter, by_arbiter) = (row.channel.counter(), row.channel.is_by_arbiter());
            match self.channels.get(row.channel) {
                Some(channel) => {
                    if row.held > channel.send.reach() {
                        return broken(format!(
                            "the peer holds {} bytes, {} were sent from here",
                            row.held,
                            channel.send.reach()
                        ));
                    }
                    if row.kept > channel.receive.held() && !channel.receive.is_complete() {
                        let held = channel.receive.held();
                        return broken(format!(
                            "the peer keeps bytes from {} on, held here are {held}",
                            row.kept
                        ));
                    }
                }
                None if counter == 0 => {}
                None if by_arbiter == self.is_arbiter => {
                    if counter > self.opened_here {
                        return broken("the peer has a channel that this end never opened".into());
                    }
                }
                None => {
                    if counter > self.opened_by_peer && row.kept > 0 {
                        return broken("the peer forgot bytes of a channel that never came here".into());
                    }
                }
            }
        }
        Ok(())
    }

    /// A channel that is over at the peer must have come whole: its last word is not kept any more.
    fn check_what_is_over(&self, table: &Table) -> Result<()> {
        for channel in self.iter().filter(|channel| !channel.receive.is_final()) {
            let counter = channel.id.counter();
            let known = if channel.opened_here { table.seen } else { table.opened };
            let has_row = || table.rows.binary_search_by_key(&channel.id, |row| row.channel).is_ok();
            if counter != 0 && counter <= known && !has_row() {
                let what =
                    format!("compare channel {} at attach: it is over at the peer, not here", channel.id);
                return Err(Error::new(Code::Discontinuity, what));
            }
        }
        let unseen = |row: &&TableRow| {
            let (counter, by_arbiter) = (row.channel.counter(), row.channel.is_by_arbiter());
            by_arbiter != self.is_arbiter && counter > self.opened_by_peer
        };
        let never_came = table.opened.saturating_sub(self.opened_by_peer);
        if table.rows.iter().filter(unseen).count() as u64 != never_came || table.seen > self.opened_here {
            let what =
                "compare channels at attach: one was opened and is over at the peer, and never was here";
            return Err(Error::new(Code::Discontinuity, what));
        }
        Ok(())
    }

    /// Takes the peer's word for what it holds: that need not be sent again. Answers whether it holds more than
    /// was known.
    pub(crate) fn apply_table(&mut self, table: &Table) -> bool {
        let mut news = false;
        for row in &table.rows {
            if let Some(channel) = self.channels.get_mut(row.channel) {
                let held = row.held.min(channel.send.reach());
                news |= channel.send.on_held(channel.send.kept()..held.max(channel.send.kept())) > 0;
                self.settle_sent(row.channel);
            }
        }
        news
    }
}
