use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::assembler::PATIENCE;
use super::*;
use crate::codec::Meta;

const CODECS: [CodecKind; 4] = [
    CodecKind::Vp8,
    CodecKind::Vp9,
    CodecKind::H264,
    CodecKind::Av1,
];

/// A frame as an encoder gives it, with `body` as its picture.
fn encoded(codec: CodecKind, key: bool, body: &[u8]) -> Vec<u8> {
    match codec {
        CodecKind::Vp8 => [&[u8::from(!key), 0, 0], body].concat(),
        CodecKind::H264 => {
            let mut frame = Vec::new();
            // Emulation prevention keeps start codes out of a body.
            let body: Vec<u8> = body.iter().map(|byte| byte | 1).collect();
            if key {
                for parameters in [&[0x67, 0x42, 0xC0, 0x1F][..], &[0x68, 0xCE, 0x3C, 0x80]] {
                    frame.extend_from_slice(&[0, 0, 0, 1]);
                    frame.extend_from_slice(parameters);
                }
            }
            frame.extend_from_slice(&[0, 0, 0, 1, if key { 0x65 } else { 0x41 }]);
            frame.extend_from_slice(&body);
            frame
        }
        CodecKind::Av1 => {
            let mut unit = vec![0x12, 0];
            if key {
                unit.extend_from_slice(&[0x0A, 3, 1, 2, 3]);
            }
            unit.push(0x32);
            let mut length = body.len();
            while length >= 0x80 {
                unit.push(length as u8 | 0x80);
                length >>= 7;
            }
            unit.push(length as u8);
            unit.extend_from_slice(body);
            unit
        }
        _ => body.to_vec(),
    }
}

/// What a sender of `frames` makes of them.
fn parts(codec: CodecKind, frames: &[(bool, Vec<u8>)], size: usize) -> Vec<Part> {
    let mut packetizer = Packetizer::new(codec, size, 32_766);
    let mut parts = Vec::new();
    for (index, (key, frame)) in frames.iter().enumerate() {
        let payloads = packetizer.packetize(frame, *key);
        let last = payloads.len() - 1;
        for (n, payload) in payloads.into_iter().enumerate() {
            assert!(payload.len() <= size);
            let meta = Meta::parse(codec, &payload, n == last).unwrap();
            let certain = matches!(codec, CodecKind::Vp8 | CodecKind::Vp9);
            parts.push(Part {
                sequence: 1_000 + parts.len() as u64,
                timestamp: 3_000 * index as u32,
                marker: n == last,
                start: certain && meta.start_of_frame,
                key: meta.keyframe,
                payload,
            });
        }
    }
    parts
}

fn poll_all(assembler: &mut Assembler, now: Instant) -> Vec<(u32, bool, Vec<u8>)> {
    std::iter::from_fn(|| assembler.poll(now))
        .map(|frame| (frame.timestamp / 3_000, frame.key, frame.data))
        .collect()
}

fn clip(codec: CodecKind, sizes: &[usize]) -> Vec<(bool, Vec<u8>)> {
    let frame = |(index, size): (usize, &usize)| {
        let body = vec![index as u8 + 1; *size];
        (index == 0, encoded(codec, index == 0, &body))
    };
    sizes.iter().enumerate().map(frame).collect()
}

#[test]
fn frames_come_back_as_they_were_encoded() {
    let now = Instant::now();
    for codec in CODECS {
        let frames = clip(codec, &[5_000, 1, 40, 2_399, 1_200]);
        let mut assembler = Assembler::new(codec);
        let mut out = Vec::new();
        for part in parts(codec, &frames, 1_200) {
            assembler.insert(part);
            out.extend(poll_all(&mut assembler, now));
        }
        assert_eq!(out.len(), frames.len(), "{codec:?}");
        for ((n, key, data), (index, (was_key, frame))) in out.iter().zip(frames.iter().enumerate())
        {
            assert_eq!(
                (*n, key, data),
                (index as u32, was_key, frame),
                "{codec:?} {index}"
            );
        }
    }
}

#[test]
fn packets_out_of_order_and_padding_do_not_matter() {
    let now = Instant::now();
    for codec in CODECS {
        let mut parts = parts(codec, &clip(codec, &[3_000, 3_000, 3_000]), 1_200);
        let padding = |sequence, timestamp| Part {
            sequence,
            timestamp,
            marker: false,
            start: false,
            key: false,
            payload: Bytes::new(),
        };
        // Between the second and the third frame.
        let second = parts
            .iter()
            .rposition(|part| part.timestamp == 3_000)
            .unwrap();
        for part in &mut parts[second + 1..] {
            part.sequence += 2;
        }
        let after = parts[second].sequence;
        parts.extend([padding(after + 1, 3_000), padding(after + 2, 3_000)]);
        let mut assembler = Assembler::new(codec);
        for part in parts.into_iter().rev() {
            assembler.insert(part);
        }
        let out = poll_all(&mut assembler, now);
        assert_eq!(out.iter().map(|it| it.0).collect::<Vec<_>>(), [0, 1, 2]);
    }
}

#[test]
fn a_missing_packet_is_waited_for_and_frames_go_on_when_it_comes() {
    let start = Instant::now();
    let mut parts = parts(
        CodecKind::Vp8,
        &clip(CodecKind::Vp8, &[900, 2_000, 900]),
        1_200,
    );
    let late = parts.remove(1);
    let mut assembler = Assembler::new(CodecKind::Vp8);
    parts.into_iter().for_each(|part| assembler.insert(part));
    assert_eq!(poll_all(&mut assembler, start).len(), 1);
    assert!(!assembler.wants_key(start));
    assert_eq!(assembler.deadline(), Some(start + PATIENCE));
    assembler.insert(late);
    assert_eq!(
        poll_all(&mut assembler, start + PATIENCE - Duration::from_millis(1)).len(),
        2
    );
    assert_eq!((assembler.dropped(), assembler.deadline()), (0, None));
}

#[test]
fn nothing_is_waited_for_once_a_hole_is_filled_though_the_frame_goes_on() {
    let start = Instant::now();
    let mut parts = parts(CodecKind::Vp8, &clip(CodecKind::Vp8, &[900, 4_000]), 1_200);
    let last = parts.pop();
    let late = parts.remove(2);
    let mut assembler = Assembler::new(CodecKind::Vp8);
    parts.into_iter().for_each(|part| assembler.insert(part));
    assert_eq!(poll_all(&mut assembler, start).len(), 1);
    assert!(assembler.deadline().is_some());
    assembler.insert(late);
    assert!(poll_all(&mut assembler, start).is_empty());
    assert_eq!(assembler.deadline(), None);
    assembler.insert(last.unwrap());
    assert_eq!(poll_all(&mut assembler, start + 9 * PATIENCE).len(), 1);
}

#[test]
fn a_packet_that_never_comes_costs_frames_until_the_next_key_frame() {
    let start = Instant::now();
    let mut frames = clip(CodecKind::Vp8, &[900, 2_000, 900, 900]);
    let mut lossy = parts(CodecKind::Vp8, &frames, 1_200);
    lossy.remove(2);
    let mut assembler = Assembler::new(CodecKind::Vp8);
    let next = lossy.last().unwrap().sequence + 1;
    lossy.into_iter().for_each(|part| assembler.insert(part));
    assert_eq!(poll_all(&mut assembler, start).len(), 1);
    assert_eq!(poll_all(&mut assembler, start + PATIENCE).len(), 0);
    assert!(assembler.wants_key(start + PATIENCE));
    assert!(!assembler.wants_key(start + PATIENCE));
    // Another key frame: it and what follows.
    frames = clip(CodecKind::Vp8, &[700, 100]);
    for mut part in parts(CodecKind::Vp8, &frames, 1_200) {
        part.sequence = part.sequence - 1_000 + next;
        part.timestamp += 90_000;
        assembler.insert(part);
    }
    let out = poll_all(&mut assembler, start + PATIENCE);
    assert_eq!(out.iter().map(|it| it.1).collect::<Vec<_>>(), [true, false]);
    assert!(!assembler.wants_key(start + 9 * PATIENCE));
}

#[test]
fn a_whole_key_frame_behind_a_hole_ends_the_wait() {
    let now = Instant::now();
    for codec in CODECS {
        let body = vec![9; 2_500];
        let frames: Vec<_> = [true, false, true, false]
            .map(|key| (key, encoded(codec, key, &body)))
            .into();
        let mut parts = parts(codec, &frames, 1_200);
        parts.retain(|part| part.timestamp != 3_000 || part.marker);
        let mut assembler = Assembler::new(codec);
        let mut out = Vec::new();
        for part in parts {
            assembler.insert(part);
            out.extend(poll_all(&mut assembler, now));
        }
        let numbers: Vec<_> = out.iter().map(|it| it.0).collect();
        assert_eq!(numbers, [0, 2, 3], "{codec:?}");
    }
}

#[test]
fn a_key_frame_without_its_beginning_is_not_taken_for_whole() {
    let now = Instant::now();
    let frames: Vec<_> = [true, false, true, false]
        .map(|key| (key, encoded(CodecKind::H264, key, &[9; 2_500])))
        .into();
    let all = parts(CodecKind::H264, &frames, 1_200);
    let starts = |timestamp| all.iter().position(|it| it.timestamp == timestamp).unwrap();
    for cut in [1, 2] {
        // The parameter sets are lost, and perhaps more; what is left says that it is of a key frame.
        let mut lossy = all.clone();
        let second = starts(6_000);
        for part in &mut lossy[second..] {
            part.key = part.timestamp == 6_000;
        }
        lossy.drain(second..second + cut);
        lossy.drain(..starts(6_000) - 1);
        let mut assembler = Assembler::new(CodecKind::H264);
        lossy.into_iter().for_each(|part| assembler.insert(part));
        assert!(poll_all(&mut assembler, now).is_empty(), "{cut}");
        assert!(assembler.wants_key(now));
        // Sent again, they make it whole.
        let missing = all[second..second + cut].iter().cloned();
        missing.for_each(|part| assembler.insert(part));
        let out = poll_all(&mut assembler, now);
        assert_eq!(out.iter().map(|it| it.0).collect::<Vec<_>>(), [2, 3]);
    }
}

#[test]
fn a_flood_without_end_of_frame_takes_bounded_space_and_time() {
    let now = Instant::now();
    let mut assembler = Assembler::new(CodecKind::Vp8);
    for sequence in 0..20_000 {
        assembler.insert(Part {
            sequence: sequence * 2,
            timestamp: 0,
            marker: false,
            start: false,
            key: true,
            payload: Bytes::from_static(&[0x10; 1_200]),
        });
        if sequence % 1_000 == 0 {
            assert!(assembler.poll(now).is_none());
        }
    }
    assert!(assembler.bytes <= 8 << 20 && assembler.parts.len() <= 4_096);
    // Each the certain beginning of a frame that none ends.
    let mut assembler = Assembler::new(CodecKind::Vp8);
    for sequence in 0..6_000 {
        assembler.insert(Part {
            sequence,
            timestamp: 0,
            marker: false,
            start: true,
            key: true,
            payload: Bytes::from_static(&[0x10; 20]),
        });
        assert!(assembler.poll(now).is_none());
    }
}

#[test]
fn what_is_put_together_of_a_frame_is_its_normal_form() {
    // A delimiter, a short start code, zeros before one, and zeros at the end, as of an encrypted frame.
    let frame = [
        0, 0, 1, 9, 0xF0, 0, 0, 1, 0x67, 1, 0, 0, 0, 0, 1, 0x65, 2, 3, 0, 0,
    ];
    let payloads = Packetizer::new(CodecKind::H264, 1200, 0).packetize(&frame, true);
    let together = unite(CodecKind::H264, payloads.iter().map(|it| &it[..])).unwrap();
    assert_eq!(together, normalised_h264(&frame));
    let normal = [0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x65, 2, 3, 0, 0];
    assert_eq!(together, normal);
}

proptest! {
    #[test]
    fn any_payloads_are_put_together_or_refused(
        codec in prop::sample::select(&CODECS[..]),
        payloads: Vec<Vec<u8>>,
    ) {
        let _ = unite(codec, payloads.iter().map(Vec::as_slice));
    }

    #[test]
    fn any_frame_is_cut_to_size(
        codec in prop::sample::select(&CODECS[..]),
        frame: Vec<u8>,
        key: bool,
        size in 100usize..1_500,
    ) {
        for payload in Packetizer::new(codec, size, 0).packetize(&frame, key) {
            prop_assert!(payload.len() <= size && !payload.is_empty());
        }
    }

    #[test]
    fn frames_of_any_size_survive(
        codec in prop::sample::select(&CODECS[..]),
        sizes in prop::collection::vec(1usize..6_000, 1..5),
        size in 100usize..1_500,
    ) {
        let frames = clip(codec, &sizes);
        let mut assembler = Assembler::new(codec);
        let now = Instant::now();
        parts(codec, &frames, size).into_iter().for_each(|part| assembler.insert(part));
        let mut out = Vec::new();
        while let Some(frame) = assembler.poll(now) {
            out.push((frame.key, frame.data));
        }
        prop_assert_eq!(out, frames);
    }
}
