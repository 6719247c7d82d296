//! What went wrong in OpenSSL, said for the person who has to do something about it.

use crate::tls::context::ALPN;
use clerver_proto::error::{Code, Error};
use openssl::ssl::{ErrorCode, SslRef};
use openssl::x509::X509VerifyResult;

/// When a failure happened; it decides what the same OpenSSL reason means to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum During {
    Handshake,
    Traffic,
}

/// The reason in OpenSSL's words; the long form with file and line helps nobody.
fn reason_of(error: &openssl::ssl::Error) -> String {
    let first = error.ssl_error().and_then(|stack| stack.errors().first());
    match first.and_then(|entry| entry.reason()) {
        Some(reason) => reason.to_string(),
        None if error.code() == ErrorCode::SYSCALL => "unexpected eof while reading".into(),
        None => error.to_string(),
    }
}

pub(super) fn explain(error: &openssl::ssl::Error, ssl: &SslRef, during: During, with: &str) -> Error {
    let reason = reason_of(error);
    if reason.contains("unexpected eof") {
        return truncated(during, with);
    }
    match during {
        During::Handshake => handshake_failed(&reason, ssl, with),
        During::Traffic => traffic_failed(&reason, with),
    }
}

fn truncated(during: During, with: &str) -> Error {
    match during {
        During::Handshake => Error::new(
            Code::LinkFailed,
            format!("TLS handshake with {with}: the connection ended before the handshake did"),
        )
        .with_remedy("check that the peer runs Clerver on this port, and what its log says"),
        During::Traffic => Error::new(
            Code::LinkFailed,
            format!("TLS link with {with}: the connection ended without a goodbye, data may be cut off"),
        ),
    }
}

fn traffic_failed(reason: &str, with: &str) -> Error {
    match reason.split_once(" alert ") {
        Some((_, alert)) => Error::new(
            Code::LinkFailed,
            format!("TLS link with {with}: the peer ended it with the alert \"{alert}\""),
        )
        .with_remedy("look at the peer's log for its reason"),
        None => Error::new(
            Code::LinkFailed,
            format!("TLS link with {with}: what arrived is not what the peer sent ({reason})"),
        )
        .with_remedy(
            "nothing to do: the session redials by itself; if it repeats, look for what alters the traffic",
        ),
    }
}

fn handshake_failed(reason: &str, ssl: &SslRef, with: &str) -> Error {
    let fail = |code, what: &str, remedy: &str| {
        Error::new(code, format!("TLS handshake with {with}: {what}")).with_remedy(remedy)
    };
    if ssl.verify_result() == X509VerifyResult::APPLICATION_VERIFICATION {
        return wrong_key(with);
    }
    if let Some((_, alert)) = reason.split_once(" alert ") {
        return match alert {
            "no application protocol" | "protocol version" | "handshake failure" => fail(
                Code::Version,
                &format!("the peer refused it with the alert \"{alert}\""),
                "check that the peer runs Clerver on this port, and update the older side",
            ),
            _ => fail(
                Code::Denied,
                &format!("the peer refused it with the alert \"{alert}\""),
                "look at the peer's log for its reason",
            ),
        };
    }
    match reason {
        "no application protocol" => no_common_protocol(with),
        "unsupported protocol"
        | "wrong version number"
        | "http request"
        | "https proxy request"
        | "wrong ssl version"
        | "version too low" => fail(
            Code::Version,
            &format!("the peer speaks no TLS 1.3 here ({reason})"),
            "check the port: something else may listen there; else update the older side",
        ),
        "peer did not return a certificate" => fail(
            Code::WrongIdentity,
            "the peer showed no certificate",
            "connect with a Clerver node, not a plain TLS client",
        ),
        "no shared signature algorithms" | "no suitable signature algorithm" | "wrong signature type" => {
            wrong_key(with)
        }
        _ => fail(
            Code::Protocol,
            &format!("what the peer sent is no TLS handshake ({reason})"),
            "check the port: something else may speak there; else report it with the log of both sides",
        ),
    }
}

/// The peer's key cannot be a host key.
pub(super) fn wrong_key(with: &str) -> Error {
    Error::new(
        Code::WrongIdentity,
        format!("TLS handshake with {with}: the peer's key is no Ed25519 host key, so it has no host id"),
    )
    .with_remedy("check the port; if it is right, a proxy that opens TLS is in the way")
}

/// The peer speaks TLS, but not our protocol in it.
pub(super) fn no_common_protocol(with: &str) -> Error {
    let name = String::from_utf8_lossy(ALPN);
    Error::new(Code::Version, format!("TLS handshake with {with}: the peer did not agree to speak {name}"))
        .with_remedy("check the port: a web server or a proxy may answer there; else update the older side")
}
