//! What is sent again.

use super::*;
use crate::subscription::resend::{BURST, RATE};

#[test]
fn a_lost_packet_is_sent_again_by_rtx() {
    let mut pair = Pair::simulcast(0);
    for index in 0..10u16 {
        pair.frame(0, index == 0, index, 0, 3000 * u32::from(index));
    }
    let lost = pair.received[4].clone();
    let before = pair.received.len();
    pair.subscription
        .handle_nack(pair.bench.now, [lost.header.sequence], &mut pair.queue);
    pair.flush();
    let again = pair.received[before].clone();
    assert_eq!(
        (again.header.ssrc, again.header.payload_type),
        (RTX_SSRC, 121)
    );
    assert_eq!(again.header.timestamp, lost.header.timestamp);
    assert_eq!(again.payload[..2], lost.header.sequence.to_be_bytes());
    assert_eq!(again.payload[2..], lost.payload);
    // A request that crossed the repetition is not answered twice; one after the round trip is.
    pair.subscription
        .handle_nack(pair.bench.now, [lost.header.sequence], &mut pair.queue);
    pair.bench.pass(30 * MS);
    pair.subscription
        .handle_nack(pair.bench.now, [lost.header.sequence], &mut pair.queue);
    pair.flush();
    assert_eq!(pair.received.len(), before + 2);
    assert_eq!(
        pair.received[before + 1].header.sequence,
        again.header.sequence + 1
    );
}

#[test]
fn without_rtx_the_packet_goes_out_as_it_was() {
    let mut pair = Pair::audio(vec![send(109, CodecKind::Opus, None)]);
    pair.receive(&Rtp::new(OPUS, 10, 1, 0));
    let first = pair.received[0].clone();
    pair.subscription
        .handle_nack(pair.bench.now, [first.header.sequence], &mut pair.queue);
    pair.flush();
    assert_eq!(pair.received[1].header, first.header);
    assert_eq!(pair.received[1].payload, first.payload);
}

#[test]
fn what_is_sent_again_as_it_was_is_told_apart_from_what_is_new() {
    let repeated = |rtx: Option<u8>| {
        let mut pair = Pair::audio(vec![send(109, CodecKind::Opus, rtx)]);
        pair.receive(&Rtp::new(OPUS, 10, 1, 0));
        let sequence = pair.received[0].header.sequence;
        pair.subscription
            .handle_nack(pair.bench.now, [sequence], &mut pair.queue);
        let mut seen = Vec::new();
        pair.queue
            .release(pair.bench.now, &mut Vec::new(), |_, packet| {
                seen.push(packet.repeated)
            });
        seen
    };
    assert_eq!(repeated(None), [true]);
    assert_eq!(repeated(Some(110)), [false]);
}

#[test]
fn resending_is_bounded_by_bitrate_and_lets_a_whole_key_frame_through() {
    let mut pair = Pair::simulcast(0);
    pair.frame(0, true, 0, 0, 0);
    for index in 0..200u16 {
        let sequence = pair.next(0);
        let rtp = Rtp::new(VP8, 10, sequence, 3000)
            .payload(&[vp8(index == 0, false, 1, 1, 0), vec![0; 1000]].concat());
        pair.receive(&rtp);
    }
    let sequences: Vec<u16> = pair
        .received
        .iter()
        .map(|received| received.header.sequence)
        .collect();
    let before = pair.received.len();
    pair.subscription
        .handle_nack(pair.bench.now, sequences.iter().copied(), &mut pair.queue);
    pair.flush();
    assert_eq!(pair.received.len(), 2 * before);
    for _ in 0..100 {
        pair.bench.pass(10 * MS);
        pair.subscription
            .handle_nack(pair.bench.now, sequences.iter().copied(), &mut pair.queue);
    }
    pair.flush();
    let bytes: usize = pair.received[2 * before..]
        .iter()
        .map(|received| received.payload.len())
        .sum();
    assert!(bytes as u64 <= BURST + RATE * 2, "{bytes}");
}

#[test]
fn history_is_bounded_in_time_and_unknown_numbers_are_ignored() {
    let mut pair = Pair::simulcast(0);
    pair.frame(0, true, 0, 0, 0);
    let old = pair.received[0].header.sequence;
    for index in 1..100u16 {
        pair.bench.pass(33 * MS);
        pair.frame(0, false, index, 0, 3000 * u32::from(index));
    }
    let before = pair.received.len();
    pair.subscription
        .handle_nack(pair.bench.now, [old, 5, 60_000], &mut pair.queue);
    pair.flush();
    assert_eq!(pair.received.len(), before);
}
