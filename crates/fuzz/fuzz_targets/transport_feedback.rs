//! Transport-wide feedback, built from any arrivals and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use roomful_media::rtp::rtcp::{RtcpPacket, TransportFeedbackBuilder, parse_compound};

fuzz_target!(|data: &[u8]| {
    let (mut number, mut micros) = (1u64, 1_000_000i64);
    let arrivals: Vec<(u64, i64)> = data
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&[step, d0, d1, d2]| {
            number += 1 + u64::from(step);
            micros += i64::from(i32::from_be_bytes([d0, d1, d2, 0]) >> 8);
            (number, micros)
        })
        .collect();
    let mut builder = TransportFeedbackBuilder::default();
    let mut rest = arrivals.as_slice();
    let mut base = 0;
    while let Some(&(first, _)) = rest.first() {
        let mut out = Vec::new();
        let taken = builder.write(&mut out, 1, 2, base, rest);
        if taken == 0 {
            assert_ne!(base, first, "a packet at the base is always told of");
            base = first;
            continue;
        }
        let Some(Ok(RtcpPacket::TransportFeedback(feedback))) =
            parse_compound(&out).expect("whole").next()
        else {
            panic!("what was written can be read");
        };
        let told = feedback.received().map(|(number, _)| number);
        assert!(told.eq(rest[..taken].iter().map(|(number, _)| *number as u16)));
        base = rest[taken - 1].0 + 1;
        rest = &rest[taken..];
    }
});
