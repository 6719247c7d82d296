//! Windows, budgets and messages of whole channels, pumped by hand.

use super::*;
use crate::limits::CHANNEL_BASE_BYTES;
use crate::wire::header::Purpose;

const MESSAGE_MAX: u64 = 100_000;

fn channel(id: u64) -> Channel {
    let mut channel = Channel::new(ChannelId(id), true, CHANNEL_BASE_BYTES, MESSAGE_MAX);
    channel.header =
        Some(Header { purpose: Purpose::Messages, bulk: false, stored: false, name: String::new() });
    channel
}

fn write(from: &mut Channel, message: Vec<u8>) {
    from.write_message(Bytes::from(message).into());
}

/// Carries everything that credit allows from one end to the other, and credit back.
fn pump(from: &mut Channel, to: &mut Channel, budget: &mut Budget) {
    loop {
        let mut moved = false;
        while let Some(range) = from.send.next_range(3000) {
            let mut at = range.start;
            from.send.slices(range.clone(), |slice| {
                let slice = Bytes::copy_from_slice(slice.bytes());
                at += slice.len() as u64;
                to.receive.on_data(at - slice.len() as u64, slice).unwrap();
            });
            from.send.on_held(range);
            moved = true;
        }
        to.settle_receiving(budget);
        moved |= from.send.on_credit(to.receive.limit());
        if !moved {
            return;
        }
    }
}

#[test]
fn a_message_longer_than_the_smallest_budget_window_passes_whole() {
    let (mut a, mut b, mut budget) = (channel(2), channel(2), Budget::new(0));
    write(&mut a, vec![7; MESSAGE_MAX as usize]);
    pump(&mut a, &mut b, &mut budget);
    assert!(b.is_readable());
    assert_eq!(budget.message_holder(), Some(ChannelId(2)), "until it is taken");
    assert_eq!(b.take(0).unwrap().unwrap().len(), MESSAGE_MAX as usize);
    b.settle_receiving(&mut budget);
    assert_eq!(budget.message_holder(), None);
    assert_eq!(b.receive.outstanding(), CHANNEL_BASE_BYTES);
}

#[test]
fn a_second_long_message_waits_for_the_first_and_then_passes() {
    let mut budget = Budget::new(0);
    let (mut a1, mut b1, mut a2, mut b2) = (channel(2), channel(2), channel(4), channel(4));
    write(&mut a1, vec![1; 50_000]);
    write(&mut a2, vec![2; 50_000]);
    pump(&mut a1, &mut b1, &mut budget);
    pump(&mut a2, &mut b2, &mut budget);
    assert!(b1.is_readable() && !b2.is_readable());
    b1.take(0).unwrap();
    assert_eq!(b1.settle_receiving(&mut budget), Some(ChannelId(4)));
    pump(&mut a2, &mut b2, &mut budget);
    assert!(b2.is_readable());
}

#[test]
fn a_message_over_the_limit_is_an_error_that_names_both_sizes() {
    let (mut a, mut b, mut budget) = (channel(2), channel(2), Budget::new(0));
    write(&mut a, vec![7; MESSAGE_MAX as usize + 1]);
    pump(&mut a, &mut b, &mut budget);
    let error = b.take(0).unwrap_err();
    assert_eq!(error.code, Code::Size);
    assert!(error.message.contains("100001") && error.message.contains("100000"), "{error}");
}

#[test]
fn a_stopped_reader_is_granted_its_window_and_not_a_byte_more() {
    let (mut a, mut b, mut budget) = (channel(2), channel(2), Budget::new(1 << 20));
    for _ in 0..1000 {
        write(&mut a, vec![9; 999]);
    }
    pump(&mut a, &mut b, &mut budget);
    assert!(b.receive.outstanding() <= CHANNEL_BASE_BYTES, "nothing was taken, so the window did not grow");
    let mut taken = 0;
    while taken < 1000 {
        while b.take(0).unwrap().is_some() {
            taken += 1;
        }
        pump(&mut a, &mut b, &mut budget);
    }
    assert!(b.receive.outstanding() > 4 * CHANNEL_BASE_BYTES, "a reader that keeps up gets a larger window");
}

#[test]
fn a_message_cut_off_by_its_end_is_an_error_and_not_an_end() {
    let (mut a, mut b, mut budget) = (channel(2), channel(2), Budget::new(0));
    write(&mut a, vec![7; 60]);
    pump(&mut a, &mut b, &mut budget);
    b.receive.on_data(61, Bytes::from_static(&[5, 1])).unwrap();
    assert_eq!(b.take(0).unwrap().unwrap().len(), 60);
    assert_eq!(b.take(0), Ok(None));
    b.receive.on_end(63).unwrap();
    b.settle_receiving(&mut budget);
    assert!(b.is_readable(), "the reader has to learn of it");
    assert_eq!(b.take(0).unwrap_err().code, Code::Protocol);
}

#[test]
fn sending_room_is_the_base_then_the_pool_then_one_message() {
    let (mut a, mut b, mut c, mut budget) = (channel(2), channel(4), channel(6), Budget::new(10_000));
    assert_eq!(a.make_room(&mut budget, 4096), 4096);
    a.send.write(Bytes::from(vec![0; 4096]));
    assert_eq!(a.make_room(&mut budget, 10_000), 10_000);
    a.send.write(Bytes::from(vec![0; 10_000]));
    assert_eq!(a.make_room(&mut budget, 5000), 0, "it fits once the peer holds what went before");
    assert_eq!(b.make_room(&mut budget, 5000), 5000, "the pool is empty, so it takes the message slot");
    b.send.write(Bytes::from(vec![0; 5000]));
    assert_eq!(b.make_room(&mut budget, 5000), 0);
    assert_eq!(c.make_room(&mut budget, 5000), 0);
    assert_eq!(c.make_room(&mut budget, 4096), 4096, "the base is always there");
    a.send.on_credit(1 << 20);
    while let Some(range) = a.send.next_range(1 << 20) {
        a.send.on_held(range);
    }
    assert!(a.settle_sending(&mut budget));
    assert_eq!(budget.free(), 10_000);
    assert_eq!(c.make_room(&mut budget, 5000), 5000);
}

#[test]
fn a_message_that_never_fits_beside_others_takes_the_slot_behind_them() {
    let (mut a, mut budget) = (channel(2), Budget::new(10_000));
    assert_eq!(a.make_room(&mut budget, 6000), 6000);
    a.send.write(Bytes::from(vec![0; 6000]));
    let len = CHANNEL_WINDOW_BYTES_MAX + 1;
    assert_eq!(a.make_room(&mut budget, len), len);
}

/// What comes may be cut so that the next grant is always due at exactly half a window.
#[test]
fn a_window_grows_while_its_reader_keeps_up_whatever_the_pieces_are() {
    for piece in [1000, 1024, 2048, 3000] {
        let (mut b, mut budget) = (channel(2), Budget::new(64 << 20));
        b.header.as_mut().unwrap().purpose = Purpose::Bytes;
        let mut at = 0;
        for _ in 0..20_000 {
            let size = piece.min(b.receive.limit() - at);
            b.receive.on_data(at, Bytes::from(vec![0; size as usize])).unwrap();
            at += size;
            while b.take(1 << 20).unwrap().is_some() {}
            b.settle_receiving(&mut budget);
        }
        let granted = b.receive.limit() - at;
        assert!(granted > CHANNEL_WINDOW_BYTES_MAX / 2, "pieces of {piece}: {granted}");
    }
}
