//! A session outlives its connections: a relay between two nodes cuts, or closes, what goes through it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod api_support;

use api_support::{Pair, SOON};
use clerver::api::{CallContext, ServiceOptions};
use clerver_proto::node::{ChannelOptions, SessionState};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Copies one direction; cuts both when `budget` bytes went through in all.
fn copy(mut from: TcpStream, mut to: TcpStream, budget: &AtomicU64) {
    let mut buffer = [0; 16 * 1024];
    loop {
        let size = from.read(&mut buffer).unwrap_or(0);
        if size == 0 {
            // What is on its way the other way still arrives.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        let before = budget.fetch_sub(size as u64, Ordering::SeqCst);
        if before < size as u64 || to.write_all(&buffer[..size]).is_err() {
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
            return;
        }
    }
}

/// A relay to `target` that cuts each connection after `budget` bytes. Ends with the process.
fn relay(target: String, budget: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for near in listener.incoming() {
            let (near, far) = (near.unwrap(), TcpStream::connect(&target).unwrap());
            let budget = Arc::new(AtomicU64::new(budget));
            let (back, forth) = (Arc::clone(&budget), budget);
            let (near_back, far_back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || copy(far_back, near_back, &back));
            std::thread::spawn(move || copy(near, far, &forth));
        }
    });
    address
}

#[test]
fn a_session_survives_a_cut_every_300_kb() {
    // Or the client would find the way around the relay.
    let pair = Pair::with(|options| options.announce(false), |options| options);
    let address = relay(pair.address.clone(), 300_000);
    pair.server
        .serve("len", ServiceOptions::default(), |call: &CallContext| {
            Ok(call.request().len().to_string().into_bytes())
        })
        .unwrap();
    let ours = pair.client.connect(&address, SOON).unwrap();
    let theirs = pair.server.accept(SOON).unwrap();
    let data: Vec<u8> = (0..2_000_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let options = ChannelOptions { name: "file".into(), bytes: true, bulk: false, stored: false };
    let near = ours.open_with(options, SOON).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            near.send(&data, None).unwrap();
            near.end().unwrap();
        });
        scope.spawn(|| {
            for size in [1, 100_000, 1000] {
                assert_eq!(ours.call("len", &vec![0; size], None).unwrap(), size.to_string());
            }
        });
        let mut far = theirs.accept_channel(SOON).unwrap();
        let mut read = Vec::new();
        far.read_to_end(&mut read).unwrap();
        assert!(read == data, "{} of {} bytes", read.len(), data.len());
    });
    assert!(ours.info().unwrap().links_total >= 6, "{:?}", ours.info());
    ours.close(Duration::from_secs(10)).unwrap();
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Closed);
}

#[test]
fn a_peer_that_is_gone_is_lost_within_its_ttl_and_says_what_is_missing() {
    let pair = Pair::with(|options| options.ttl_ms(1000).announce(false), |options| options.ttl_ms(1000));
    // The relay passes the handshake and some messages, then nothing ever again.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = pair.address.clone();
    let address = listener.local_addr().unwrap().to_string();
    let is_cut = Arc::new(AtomicU64::new(u64::MAX / 2));
    let budget = Arc::clone(&is_cut);
    std::thread::spawn(move || {
        let (near, _) = listener.accept().unwrap();
        let far = TcpStream::connect(&target).unwrap();
        let (near_back, far_back) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let back = Arc::clone(&budget);
        std::thread::spawn(move || copy(far_back, near_back, &back));
        copy(near, far, &budget);
        drop(listener);
    });
    let ours = pair.client.connect(&address, SOON).unwrap();
    let theirs = pair.server.accept(SOON).unwrap();
    let channel = ours.open("x").unwrap();
    channel.send(b"held", SOON).unwrap();
    let other = theirs.accept_channel(SOON).unwrap();
    assert_eq!(other.receive(SOON).unwrap(), "held");
    is_cut.store(0, Ordering::SeqCst);
    assert_eq!(ours.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Lost);
    assert_eq!(theirs.wait_state(SessionState::is_final, SOON).unwrap(), SessionState::Lost);
    let report = ours.loss_report().unwrap();
    assert_eq!(report.cause.code.name(), "LOST", "{:?}", report.cause);
    assert!(channel.send(b"more", SOON).is_err() && other.receive(SOON).is_err());
}
