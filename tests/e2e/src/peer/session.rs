//! Commands about sessions: state, calls, objects, close.

use super::node::text_of;
use super::{Peer, named, number, say, time, wait};
use clerver_e2e::{pattern, words::quote};
use clerver_proto::error::{Code, Error, Result};
use clerver_proto::id::ObjectId;
use clerver_proto::node::{ChannelOptions, SessionState};
use std::time::Duration;

impl Peer {
    pub(super) fn session_command(&self, words: &[&str]) -> Option<Result<String>> {
        Some(match words {
            ["state", session] => named(&self.sessions, session).map(|s| s.state().name().to_owned()),
            ["info", session] => self.info(session),
            ["addresses-of", session] => self.addresses_of(session),
            ["roam", session, address @ ..] => named(&self.sessions, session)
                .and_then(|session| session.roam(address.first().copied()))
                .map(|()| String::new()),
            ["goto", session, address @ ..] => named(&self.sessions, session)
                .and_then(|session| session.go_to(address.first().copied()))
                .map(|()| String::new()),
            ["wait", session, state, limit] => self.wait_state(session, state, limit),
            ["loss", session] => self.loss(session),
            ["call", session, service, request, limit] => {
                self.call(session, service, request.as_bytes(), limit)
            }
            ["call-big", session, service, bytes, limit] => self.call_big(session, service, bytes, limit),
            ["call-start", session, call, service, request, limit] => {
                self.call_start(session, call, service, request, limit)
            }
            ["call-take", call, limit] => self.call_take(call, limit),
            ["attach", session, kind, text, ttl] => self.attach(session, kind, text, ttl),
            ["enter", session, object, gate] => self.enter(session, object, gate),
            ["print", session] => named(&self.sessions, session)
                .and_then(|session| session.print_objects())
                .map(|lines| quote(&lines.join("; "))),
            ["release", session, object] => self.release(session, object),
            ["channel", session, channel, name, kind, limit] => {
                self.open_channel(session, channel, name, kind, limit)
            }
            ["take", session, channel, limit] => self.take_channel(session, channel, limit),
            ["close", session, limit] => self.close_session(session, limit),
            ["use", session, channel] => self.use_lease(session, channel),
            _ => return None,
        })
    }

    /// Each address with who named it, and `*` when a link uses it.
    fn addresses_of(&self, session: &str) -> Result<String> {
        let rows = named(&self.sessions, session)?.addresses()?;
        let row = |row: &clerver::PeerAddress| {
            format!("{} {:?}{}", row.address, row.origin, if row.is_in_use { " *" } else { "" })
        };
        Ok(quote(&rows.iter().map(row).collect::<Vec<_>>().join("; ")))
    }

    fn info(&self, session: &str) -> Result<String> {
        let info = named(&self.sessions, session)?.info()?;
        Ok(format!(
            "state={} links={} links_total={} level={} ttl_ms={} sid={} peer={}",
            info.state.name(),
            info.links,
            info.links_total,
            info.level,
            info.ttl.as_millis(),
            info.sid,
            info.peer
        ))
    }

    fn wait_state(&self, session: &str, state: &str, limit: &str) -> Result<String> {
        let wanted = |now: SessionState| state.split(',').any(|name| name == now.name());
        let reached = named(&self.sessions, session)?.wait_state(wanted, wait(limit)?)?;
        if wanted(reached) {
            return Ok(reached.name().into());
        }
        Err(Error::new(Code::State, format!("wait for {state}: it is {} for good", reached.name())))
    }

    fn loss(&self, session: &str) -> Result<String> {
        let Some(report) = named(&self.sessions, session)?.loss_report() else { return Ok("none".into()) };
        let channels: Vec<String> = report
            .channels
            .iter()
            .map(|c| format!("{}:{}/{}/{}/{}/{}", c.channel, c.written, c.sent, c.held, c.received, c.taken))
            .collect();
        Ok(format!(
            "cause={} channels={} calls={} objects={}",
            report.cause.code.name(),
            quote(&channels.join(",")),
            report.calls.len(),
            report.objects.len()
        ))
    }

    fn call(&self, session: &str, service: &str, request: &[u8], limit: &str) -> Result<String> {
        let reply = named(&self.sessions, session)?.call(service, request, wait(limit)?)?;
        Ok(quote(&String::from_utf8_lossy(&reply)))
    }

    /// Calls an echo with so many bytes and compares.
    fn call_big(&self, session: &str, service: &str, bytes: &str, limit: &str) -> Result<String> {
        let request = pattern::make(1, 0, number(bytes)?);
        let reply = named(&self.sessions, session)?.call(service, &request, wait(limit)?)?;
        Ok(if reply == request { "same" } else { "different" }.into())
    }

    fn call_start(
        &self,
        session: &str,
        name: &str,
        service: &str,
        request: &str,
        limit: &str,
    ) -> Result<String> {
        let call = named(&self.sessions, session)?.call_start(service, request.as_bytes(), wait(limit)?)?;
        self.calls.lock().insert(name.into(), call);
        Ok(String::new())
    }

    fn call_take(&self, call: &str, limit: &str) -> Result<String> {
        let call = named(&self.calls, call)?;
        let result = call.receive(wait(limit)?);
        let outcome = format!("{:?}", call.outcome());
        match result {
            Ok(Some(part)) => Ok(format!("part {}", quote(&String::from_utf8_lossy(&part)))),
            Ok(None) => Ok(format!("over {outcome}")),
            Err(error) => Err(Error { message: format!("{} (outcome {outcome})", error.message), ..error }),
        }
    }

    fn attach(&self, session: &str, kind: &str, text: &str, ttl: &str) -> Result<String> {
        let session = named(&self.sessions, session)?;
        let result = session.attach(kind, Box::new(text.to_owned()), wait(ttl)?);
        result.map(|object| object.to_string()).map_err(|(error, _)| error)
    }

    /// Uses an object until a gate opens.
    fn enter(&self, session: &str, object: &str, gate: &str) -> Result<String> {
        let session = named(&self.sessions, session)?;
        session.with_object(ObjectId(number(object)?), |payload| {
            let text = text_of(payload);
            say(&format!("! entered {text}"));
            self.gates.wait(gate);
            say(&format!("! left {text}"));
            text
        })
    }

    fn release(&self, session: &str, object: &str) -> Result<String> {
        named(&self.sessions, session)?.release(ObjectId(number(object)?))?;
        Ok(String::new())
    }

    fn open_channel(
        &self,
        session: &str,
        channel: &str,
        name: &str,
        kind: &str,
        limit: &str,
    ) -> Result<String> {
        let options = ChannelOptions {
            name: name.into(),
            bytes: !matches!(kind, "messages" | "stored"),
            bulk: kind == "bulk",
            stored: kind == "stored",
        };
        let session = named(&self.sessions, session)?;
        let opened = match limit {
            "now" => session.open(name)?,
            _ => session.open_with(options, wait(limit)?)?,
        };
        self.channels.lock().insert(channel.into(), opened);
        Ok(String::new())
    }

    fn take_channel(&self, session: &str, channel: &str, limit: &str) -> Result<String> {
        let taken = named(&self.sessions, session)?.accept_channel(wait(limit)?)?;
        let name = quote(taken.name());
        self.channels.lock().insert(channel.into(), taken);
        Ok(name)
    }

    fn close_session(&self, session: &str, limit: &str) -> Result<String> {
        named(&self.sessions, session)?.close(time(limit)?)?;
        Ok(String::new())
    }

    /// As an owner that trusts its lease: sends a message each 5 ms for as long as it may, and says when it may not.
    fn use_lease(&self, session: &str, channel: &str) -> Result<String> {
        let session = named(&self.sessions, session)?;
        let channel = named(&self.channels, channel)?;
        let mut uses = 0u64;
        loop {
            if session.state().is_final() {
                return Ok(format!("state={} uses={uses}", session.state().name()));
            }
            uses += 1;
            say(&format!("! used {uses}"));
            match channel.send(b"use", Some(Duration::from_secs(60))) {
                Ok(()) => {}
                Err(error) => return Err(error),
            }
            // A turn of 5 ms without sleeping: nothing comes on a channel that the peer never writes to.
            match channel.receive(Some(Duration::from_millis(5))) {
                Err(error) if error.code == Code::Timeout => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }
}
