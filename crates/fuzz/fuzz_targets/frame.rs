//! Frames put together from any packets, in any order.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use roomful_media::codec::{CodecKind, Meta};
use roomful_media::frame::{Assembler, Part};

const CODECS: [CodecKind; 4] = [
    CodecKind::Vp8,
    CodecKind::Vp9,
    CodecKind::H264,
    CodecKind::Av1,
];

fuzz_target!(|data: &[u8]| {
    let Some((choice, mut rest)) = data.split_first() else {
        return;
    };
    let codec = CODECS[usize::from(choice % 4)];
    let start = Instant::now();
    let mut assembler = Assembler::new(codec);
    // Each packet: number, time and flags, length, payload.
    while let [sequence, timing, len, after @ ..] = rest {
        let (payload, after) = after.split_at(usize::from(*len).min(after.len()));
        rest = after;
        let marker = timing & 1 != 0;
        let meta = Meta::parse(codec, payload, marker);
        assembler.insert(Part {
            sequence: u64::from(*sequence),
            timestamp: u32::from(timing >> 4),
            marker,
            start: meta.is_ok_and(|meta| meta.start_of_frame),
            key: meta.is_ok_and(|meta| meta.keyframe),
            payload: payload.to_vec().into(),
        });
        let now = start + Duration::from_millis(u64::from(timing & 0x0E) * 100);
        while assembler.poll(now).is_some() {}
    }
});
