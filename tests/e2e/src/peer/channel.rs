//! Commands about channels: messages, patterns of bytes, ends.

use super::{Peer, named, number, say, wait};
use bytes::Bytes;
use clerver::api::Channel;
use clerver_e2e::{pattern, words::quote};
use clerver_proto::error::{Code, Error, Result};
use std::time::Duration;

impl Peer {
    pub(super) fn channel_command(&self, words: &[&str]) -> Option<Result<String>> {
        let (verb, channel) = (words.first()?, words.get(1)?);
        let channel_named = || named(&self.channels, channel);
        let done = |()| String::new();
        Some(match (*verb, &words[2..]) {
            ("send", [text, limit]) => {
                channel_named().and_then(|channel| channel.send(text.as_bytes(), wait(limit)?)).map(done)
            }
            ("send-big", [bytes, limit]) => channel_named()
                .and_then(|channel| channel.send_bytes(pattern::make(1, 0, number(bytes)?), wait(limit)?))
                .map(done),
            ("recv", [limit]) => channel_named()
                .and_then(|channel| channel.receive(wait(limit)?))
                .map(|bytes| quote(&String::from_utf8_lossy(&bytes))),
            ("write", [seed, total, piece, limit]) => channel_named().and_then(|channel| {
                write(&channel, number(seed)?, number(total)?, number(piece)?, wait(limit)?)
            }),
            ("check", [seed, total, limit]) => channel_named()
                .and_then(|channel| check(&channel, number(seed)?, number(total)?, wait(limit)?)),
            ("produce", [first, end, limit]) => channel_named()
                .and_then(|channel| produce(&channel, number(first)?, number(end)?, wait(limit)?)),
            ("consume", [done_every, limit]) => {
                channel_named().and_then(|channel| consume(&channel, number(done_every)?, wait(limit)?))
            }
            ("restart-point", [text, limit]) => channel_named()
                .and_then(|channel| channel.set_restart_point(text.as_bytes(), wait(limit)?))
                .map(done),
            ("take-one", [limit]) => {
                channel_named().and_then(|channel| channel.take(wait(limit)?)).map(|took| {
                    let (data, point) =
                        (String::from_utf8_lossy(&took.data), String::from_utf8_lossy(&took.restart_point));
                    format!("{} {} {} at={}", quote(&data), took.end, took.redelivered, quote(&point))
                })
            }
            ("ack", [end, limit]) => {
                channel_named().and_then(|channel| channel.ack(number(end)?, wait(limit)?)).map(done)
            }
            ("produced", []) => channel_named()
                .and_then(|channel| channel.report())
                .map(|report| (report.written / PRODUCT_BYTES).to_string()),
            ("stuff", [piece]) => channel_named().and_then(|channel| stuff(&channel, number(piece)?)),
            ("end", []) => channel_named().and_then(|channel| channel.end()).map(done),
            ("reset", [why]) => channel_named().and_then(|channel| channel.reset(why)).map(done),
            ("stop", []) => channel_named().map(|channel| channel.stop()).map(done),
            ("drop", []) => {
                self.channels.lock().remove(*channel);
                Ok(String::new())
            }
            ("report", []) => channel_named().and_then(|channel| channel.report()).map(|report| {
                format!(
                    "written={} sent={} held={} received={} taken={}",
                    report.written, report.sent, report.held, report.received, report.taken
                )
            }),
            _ => return None,
        })
    }
}

/// Sends so many bytes of a pattern in pieces.
fn write(channel: &Channel, seed: u64, total: u64, piece: u64, wait: Option<Duration>) -> Result<String> {
    let mut sent = 0;
    while sent < total {
        let size = piece.min(total - sent);
        channel.send_bytes(pattern::make(seed, sent, size as usize), wait)?;
        sent += size;
    }
    Ok(sent.to_string())
}

/// Length of a message of [`produce`] in its channel, whose header is shorter.
const PRODUCT_BYTES: u64 = 1002;

fn product(number: u64) -> Bytes {
    let mut message = number.to_be_bytes().to_vec();
    message.extend_from_slice(&pattern::make(number, 0, PRODUCT_BYTES as usize - 10));
    message.into()
}

/// Sends numbered messages and says each that is confirmed.
fn produce(channel: &Channel, first: u64, end: u64, wait: Option<Duration>) -> Result<String> {
    for number in first..end {
        channel.send_bytes(product(number), wait)?;
        say(&format!("! confirmed {number}"));
    }
    Ok(end.to_string())
}

/// Takes numbered messages until the end, is done with them in groups, and says both.
fn consume(channel: &Channel, done_every: u64, wait: Option<Duration>) -> Result<String> {
    let mut taken = 0;
    loop {
        let delivery = match channel.take(wait) {
            Ok(delivery) => delivery,
            Err(why) if why.code == Code::End => return Ok(taken.to_string()),
            Err(why) => return Err(why),
        };
        let number = delivery.data.get(..8).and_then(|first| first.try_into().ok()).map(u64::from_be_bytes);
        let number = number.filter(|&number| delivery.data == product(number));
        let number = number.ok_or_else(|| Error::new(Code::Protocol, "a message that nobody sent"))?;
        taken += 1;
        say(&format!("! took {number} {}", if delivery.redelivered { "again" } else { "first" }));
        if number % done_every == done_every - 1 {
            say(&format!("! acks {number}"));
            channel.ack(delivery.end, wait)?;
            say(&format!("! acked {number}"));
        }
    }
}

/// Receives so many bytes and compares them with the pattern; 0 is as many as come before the end.
fn check(channel: &Channel, seed: u64, total: u64, wait: Option<Duration>) -> Result<String> {
    let mut received = 0;
    while total == 0 || received < total {
        let bytes = match channel.receive(wait) {
            Err(error) if error.code == Code::End && total == 0 => break,
            Err(error) => {
                let message = format!("{} (after {received} good bytes)", error.message);
                return Err(Error { message, ..error });
            }
            Ok(bytes) => bytes,
        };
        if let Some(place) = pattern::first_wrong(seed, received, &bytes) {
            return Err(Error::new(Code::Bug, format!("byte {place} is not what was sent")));
        }
        received += bytes.len() as u64;
    }
    Ok(received.to_string())
}

/// Without a reader, what the peer holds is known after this time.
const SETTLED: Duration = Duration::from_secs(1);

/// Sends until there is no room for another byte, and none comes: bytes that went, and the error. Room comes a little
/// later than it could, when the peer says what it holds.
fn stuff(channel: &Channel, piece: usize) -> Result<String> {
    let mut sent = 0u64;
    let mut left = piece;
    loop {
        let message = pattern::make(2, sent, left);
        match channel.try_send(&message) {
            Ok(size) => sent += size as u64,
            Err(error) if error.code != Code::Again => {
                return Ok(format!("{sent} {}", super::error_words(&error)));
            }
            Err(_) if left == piece && channel.send(&message, Some(SETTLED)).is_ok() => sent += left as u64,
            Err(error) if left == 1 => return Ok(format!("{sent} {}", super::error_words(&error))),
            Err(_) => left /= 2,
        }
    }
}
