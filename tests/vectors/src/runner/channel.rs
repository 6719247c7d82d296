//! Commands about channels.

use super::{Answer, End, number, wait};
use crate::words;
use clerver::{Channel, ChannelOptions, Code, Error, Result, Wait};
use std::time::Duration;

impl End {
    pub(crate) fn channel_command(&mut self, words: &[&str]) -> Answer {
        let done = |()| String::new();
        let channel = |word: &str| self.channels.get(word).expect("a channel that was opened or taken");
        Some(match words {
            ["channel", number, form, name, limit @ ..] => {
                self.open_channel(number, form, name, limit).map(done)
            }
            ["take", number] => self.take_channel(number),
            ["send", number, data] => channel(number).send(&words::decode(data), wait(&[])).map(done),
            ["receive", number, limit @ ..] => {
                channel(number).receive(wait(limit)).map(|data| words::encode(&data))
            }
            ["write", name, total, piece, limit @ ..] => {
                write(channel(name), number(total), number(piece), wait(limit)).map(done)
            }
            ["check", name, "end"] => check(channel(name), None),
            ["check", name, total] => check(channel(name), Some(number(total))),
            ["end", number] => channel(number).end().map(done),
            ["reset", number, why] => channel(number).reset(&words::text(why)).map(done),
            ["stop", number] => {
                channel(number).stop();
                Ok(String::new())
            }
            ["let-go", number] => {
                self.channels.remove(*number);
                Ok(String::new())
            }
            _ => return None,
        })
    }

    /// Without a limit it does not wait for room.
    fn open_channel(&mut self, number: &str, form: &str, name: &str, limit: &[&str]) -> Result<()> {
        let options = ChannelOptions {
            name: words::text(name),
            bytes: form == "bytes",
            bulk: false,
            ..ChannelOptions::default()
        };
        let limit = if limit.is_empty() { Some(Duration::ZERO) } else { wait(limit) };
        let opened = self.session().open_with(options, limit).map_err(|error| match error.code {
            // What the end of a wait of nothing means, as `Session::open` says it.
            Code::Timeout if limit == Some(Duration::ZERO) => Error { code: Code::Channels, ..error },
            _ => error,
        });
        self.channels.insert(number.to_owned(), opened?);
        Ok(())
    }

    fn take_channel(&mut self, number: &str) -> Result<String> {
        let taken = self.session().accept_channel(wait(&[]))?;
        let form = if taken.is_bytes() { "bytes" } else { "messages" };
        let answer = format!("{form} {}", words::encode(taken.name().as_bytes()));
        self.channels.insert(number.to_owned(), taken);
        Ok(answer)
    }
}

/// Sends so many bytes of the pattern, in pieces.
fn write(channel: &Channel, total: usize, piece: usize, wait: Wait) -> Result<()> {
    let mut pieces = (0..total).step_by(piece);
    pieces.try_for_each(|from| channel.send(&words::pattern(from, piece.min(total - from)), wait))
}

/// Receives so many bytes, or all until the end, and compares them with the pattern.
fn check(channel: &Channel, total: Option<usize>) -> Result<String> {
    let mut received = 0;
    while total.is_none_or(|total| received < total) {
        let bytes = match channel.receive(wait(&[])) {
            Err(error) if error.code == Code::End && total.is_none() => break,
            result => result?,
        };
        let wanted = words::pattern(received, bytes.len());
        if let Some(at) = bytes.iter().zip(wanted).position(|(byte, wanted)| *byte != wanted) {
            return Err(Error::new(Code::Bug, format!("byte {} is wrong", received + at)));
        }
        received += bytes.len();
    }
    Ok(received.to_string())
}
