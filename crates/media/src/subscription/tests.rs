use super::*;
use crate::api::LayerSpec;
use crate::codec::{Detail, Meta};
use crate::congestion::pacer::{SendExtensions, SendQueueConfig};
use crate::rtp::RtpHeader;
use crate::rtp::rtcp::parse_compound;
use crate::rtp::rtcp::report::write_sender_report;
use crate::track::receiver::Ingress;
use crate::track::testing::*;

const MS: Duration = Duration::from_millis(1);
const SSRC: u32 = 0xAAAA;
const RTX_SSRC: u32 = 0xBBBB;

fn send(payload_type: u8, codec: CodecKind, rtx: Option<u8>) -> SendPayload {
    SendPayload {
        codec,
        payload_type,
        rtx,
        clock_rate: codec.clock_rate(),
        nack: true,
    }
}

/// A publisher, one subscription and what it sent.
struct Pair {
    bench: Bench,
    queue: SendQueue,
    subscription: Subscription,
    received: Vec<Received>,
    sequences: [u16; 8],
}

#[derive(Clone, Debug)]
struct Received {
    header: RtpHeader,
    payload: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    at: Instant,
}

impl Received {
    fn vp8(&self) -> (u16, u8, u8) {
        let meta = Meta::parse(CodecKind::Vp8, &self.payload, self.header.marker).unwrap();
        let Detail::Vp8(descriptor) = meta.detail else {
            panic!()
        };
        (
            descriptor.picture_id.unwrap(),
            descriptor.tl0_picture_index.unwrap(),
            descriptor.key_index.unwrap(),
        )
    }
}

fn table() -> LayerTable {
    let layer = |quality: u8| LayerSpec {
        quality,
        rid: String::new(),
        width: 320 << quality,
        height: 180 << quality,
        bitrate: 0,
        ssrc: 0,
    };
    LayerTable::new(&[layer(0), layer(1), layer(2)])
}

impl Pair {
    fn new(
        section: crate::track::ReceiveSection,
        payloads: Vec<SendPayload>,
        settings: TrackSettings,
    ) -> Self {
        let kind = section.kind;
        let svc = section.svc;
        let bench = Bench::new(vec![section]);
        let mut queue = SendQueue::new(SendQueueConfig::default(), bench.clock);
        let id = queue.add_section(SendExtensions::default(), "0");
        let format = SendFormat {
            ssrc: SSRC,
            rtx_ssrc: RTX_SSRC,
            payloads,
            section: id,
        };
        let mut subscription = Subscription::new(kind, format, table(), svc, settings, 0xF000);
        subscription.connected();
        Self {
            bench,
            queue,
            subscription,
            received: Vec::new(),
            sequences: [100; 8],
        }
    }

    fn simulcast(quality: u8) -> Self {
        let payloads = vec![
            send(120, CodecKind::Vp8, Some(121)),
            send(122, CodecKind::Vp9, None),
        ];
        Self::new(
            simulcast_section(1, "1"),
            payloads,
            TrackSettings {
                quality,
                ..Default::default()
            },
        )
    }

    fn audio(payloads: Vec<SendPayload>) -> Self {
        Self::new(
            audio_section(1, "0", 10),
            payloads,
            TrackSettings::default(),
        )
    }

    fn receive(&mut self, rtp: &Rtp) {
        let out = self.bench.receive(rtp);
        self.forward(&out);
    }

    fn forward(&mut self, packets: &[Ingress]) {
        for packet in packets {
            self.subscription
                .forward(self.bench.now, &packet.packet, &mut self.queue);
        }
        self.flush();
    }

    /// Lets the queue send all it has, without time passing for the rest.
    fn flush(&mut self) {
        let mut at = self.bench.now;
        while let Some(deadline) = self.queue.deadline(at) {
            at = at.max(deadline);
            let (mut buffer, mut starts) = (Vec::new(), Vec::new());
            self.queue
                .release(at, &mut buffer, |_, packet| starts.push(packet.start));
            starts.push(buffer.len());
            for ends in starts.windows(2) {
                let packet = &buffer[ends[0]..ends[1]];
                let header = RtpHeader::parse(packet).unwrap();
                let payload = header.payload(packet).to_vec();
                let extensions = header.extensions(packet);
                let extensions = extensions.map(|(id, value)| (id, value.to_vec())).collect();
                self.received.push(Received {
                    header,
                    payload,
                    extensions,
                    at,
                });
            }
        }
    }

    /// One frame of one packet of a simulcast layer.
    fn frame(&mut self, layer: u8, key: bool, picture: u16, temporal: u8, timestamp: u32) {
        let rid = ["q", "h", "f"][usize::from(layer)];
        let sequence = self.next(layer);
        let rtp = Rtp::new(VP8, 10 + u32::from(layer), sequence, timestamp)
            .payload(&vp8(true, key, picture, picture as u8, temporal))
            .with(MID_ID, b"1")
            .with(RID_ID, rid.as_bytes())
            .marker();
        self.receive(&rtp);
    }

    fn next(&mut self, layer: u8) -> u16 {
        let sequence = &mut self.sequences[usize::from(layer)];
        *sequence += 1;
        *sequence
    }

    fn wish(&mut self) -> Option<KeyframeWish> {
        self.subscription.poll_wish()
    }

    fn layers(&self) -> Vec<u8> {
        // Each layer's pictures are told apart by the payload's picture ids in the tests that need it.
        self.received
            .iter()
            .map(|received| received.header.payload_type)
            .collect()
    }

    fn assert_continuous(&self) {
        for pair in self.received.windows(2) {
            let (a, b) = (&pair[0].header, &pair[1].header);
            assert_eq!(b.sequence, a.sequence.wrapping_add(1));
            assert!(b.timestamp.wrapping_sub(a.timestamp) < 0x8000_0000);
        }
    }
}

#[test]
fn opus_comes_out_with_the_subscribers_numbers() {
    let mut pair = Pair::audio(vec![send(109, CodecKind::Opus, None)]);
    for index in 0..100u16 {
        pair.receive(&Rtp::new(
            OPUS,
            10,
            65_500u16.wrapping_add(index),
            960 * u32::from(index),
        ));
        pair.bench.pass(20 * MS);
    }
    assert_eq!(pair.received.len(), 100);
    pair.assert_continuous();
    let first = pair.received[0].header;
    assert!(first.sequence < 0x8000);
    assert_eq!((first.ssrc, first.payload_type), (SSRC, 109));
    assert_eq!(
        pair.received[99].header.timestamp,
        first.timestamp.wrapping_add(99 * 960)
    );
    assert_eq!(pair.received[50].payload, [0xAB; 20]);
}

#[test]
fn red_passes_to_those_who_took_it_and_opus_to_the_others() {
    let mut body = Vec::new();
    crate::codec::red::write(
        &mut body,
        OPUS,
        [(960u32, &b"older"[..])].into_iter(),
        b"newest",
    );
    let red = Rtp::new(RED, 10, 1, 960).payload(&body);
    let opus = Rtp::new(OPUS, 10, 2, 1920);
    let mut with = Pair::audio(vec![
        send(63, CodecKind::Red, None),
        send(111, CodecKind::Opus, None),
    ]);
    with.receive(&red);
    with.receive(&opus);
    assert_eq!(
        (with.received[0].payload.as_slice(), with.layers()),
        (&body[..], vec![63, 111])
    );
    let mut without = Pair::audio(vec![send(111, CodecKind::Opus, None)]);
    without.receive(&red);
    without.receive(&opus);
    assert_eq!(
        (without.received[0].payload.as_slice(), without.layers()),
        (&b"newest"[..], vec![111, 111])
    );
    without.assert_continuous();
}

#[test]
fn a_codec_that_was_not_negotiated_is_refused() {
    let mut pair = Pair::audio(vec![send(0, CodecKind::Pcmu, None)]);
    pair.receive(&Rtp::new(OPUS, 10, 1, 0));
    assert!(pair.received.is_empty());
}

#[test]
fn nothing_is_sent_or_asked_for_before_the_transport_is_up() {
    let mut pair = Pair::simulcast(2);
    let format = pair.subscription.format.clone();
    pair.subscription = Subscription::new(
        MediaKind::Video,
        format,
        table(),
        false,
        TrackSettings {
            quality: 2,
            ..Default::default()
        },
        1,
    );
    assert_eq!(pair.wish(), None, "its key frame would pass unseen");
    pair.frame(2, true, 1, 0, 0);
    assert!(pair.received.is_empty());
    pair.subscription.connected();
    assert_eq!(
        pair.wish(),
        Some(KeyframeWish {
            layer: 2,
            urgent: true
        })
    );
    pair.frame(2, false, 2, 0, 3000);
    assert!(pair.received.is_empty());
    pair.frame(2, true, 3, 0, 6000);
    assert_eq!(pair.received.len(), 1);
}

#[test]
fn a_higher_layer_takes_over_at_its_key_frame_with_everything_continuous() {
    let mut pair = Pair::simulcast(2);
    let start = pair.bench.now;
    for index in 0..60u16 {
        let time = 3000 * u32::from(index);
        pair.frame(0, index == 0, 100 + index, 0, time);
        if index >= 10 {
            pair.frame(2, index == 30, 7000 + index, 0, 1_000_000 + time);
        }
        pair.bench.pass(33 * MS);
    }
    assert!(pair.received.iter().all(|received| received.at >= start));
    pair.assert_continuous();
    let pictures: Vec<_> = pair.received.iter().map(Received::vp8).collect();
    for next in pictures.windows(2) {
        assert_eq!(next[1].0, (next[0].0 + 1) & 0x7FFF);
        assert_eq!(next[1].1, next[0].1.wrapping_add(1));
    }
    // The low layer until the key frame (30 and the frame at the same time), then the high one.
    assert_eq!(pair.subscription.current_layer(), Some(2));
    assert_eq!(pair.received.len(), 31 + 30);
    let stamps: Vec<_> = pair
        .received
        .iter()
        .map(|received| received.header.timestamp)
        .collect();
    assert!(
        stamps
            .windows(2)
            .all(|pair| pair[1] > pair[0] && pair[1] - pair[0] < 9000),
        "{stamps:?}"
    );
    // KEYIDX goes on at the switch.
    assert_eq!(pictures[31].2, pictures[30].2 + 1);
}

#[test]
fn vp9_by_real_simulcast_forwards_one_layer_at_a_time() {
    let mut pair = Pair::simulcast(2);
    let packet = |pair: &mut Pair, layer: u8, key: bool, picture: u8, timestamp: u32| {
        let sequence = pair.next(layer);
        // Picture id of 7 bits, layer byte with spatial id 0 in every rid.
        let first = 0b1010_1100 | if key { 0 } else { 0x40 };
        let rtp = Rtp::new(VP9, 10 + u32::from(layer), sequence, timestamp)
            .payload(&[first, picture & 0x7F, 0, picture, 9, layer])
            .with(MID_ID, b"1")
            .with(RID_ID, ["q", "h", "f"][usize::from(layer)].as_bytes())
            .marker();
        pair.receive(&rtp);
    };
    for index in 0..200u32 {
        for layer in 0..3u8 {
            let key = index == 20 * u32::from(layer);
            packet(
                &mut pair,
                layer,
                key,
                index as u8,
                u32::from(layer) * 77_777 + 3000 * index,
            );
        }
        pair.bench.pass(33 * MS);
    }
    pair.assert_continuous();
    let sources: Vec<u8> = pair
        .received
        .iter()
        .map(|received| *received.payload.last().unwrap())
        .collect();
    assert!(sources.is_sorted(), "no layer comes back after a switch");
    assert_eq!(sources.last(), Some(&2));
    let pictures: Vec<u16> = pair
        .received
        .iter()
        .map(|received| {
            let Detail::Vp9(descriptor) = Meta::parse(CodecKind::Vp9, &received.payload, true)
                .unwrap()
                .detail
            else {
                panic!()
            };
            assert_eq!(descriptor.picture_id_bits, 15);
            descriptor.picture_id.unwrap()
        })
        .collect();
    assert!(
        pictures.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{pictures:?}"
    );
    let stamps: Vec<_> = pair
        .received
        .iter()
        .map(|received| received.header.timestamp)
        .collect();
    assert!(stamps.windows(2).all(|pair| pair[1] > pair[0]));
}

#[test]
fn frame_numbers_and_picture_ids_go_on_over_a_change_of_layers() {
    let mut pair = Pair::simulcast(0);
    let ids = SendExtensions::new([(9, crate::rtp::ExtensionKind::DependencyDescriptor)]);
    pair.queue
        .set_section(pair.subscription.section(), ids, "0");
    let send = |pair: &mut Pair, layer: u8, key: bool, frame: u16, timestamp: u32| {
        let [high, low] = frame.to_be_bytes();
        // One template, which a key frame brings along.
        let structure = if key { &[0x80, 0x00, 0xE0][..] } else { &[] };
        let descriptor = [&[0xC0, high, low], structure].concat();
        let sequence = pair.next(layer);
        let rtp = Rtp::new(VP8, 10 + u32::from(layer), sequence, timestamp)
            .payload(&vp8(true, key, frame, frame as u8, 0))
            .with(MID_ID, b"1")
            .with(RID_ID, ["q", "h", "f"][usize::from(layer)].as_bytes())
            .with(DEPENDENCY_ID, &descriptor)
            .marker();
        pair.receive(&rtp);
    };
    send(&mut pair, 0, true, 30_000, 0);
    send(&mut pair, 0, false, 30_001, 3000);
    pair.subscription.set_settings(TrackSettings {
        quality: 1,
        ..Default::default()
    });
    send(&mut pair, 1, true, 5, 3000);
    send(&mut pair, 1, false, 6, 6000);
    let sequence = pair.received[3].header.sequence;
    pair.subscription
        .handle_nack(pair.bench.now, [sequence], &mut pair.queue);
    pair.flush();
    let frames: Vec<u16> = pair
        .received
        .iter()
        .map(|received| {
            let (_, value) = &received.extensions[0];
            u16::from_be_bytes([value[1], value[2]])
        })
        .collect();
    assert_eq!(frames, [30_000, 30_001, 30_002, 30_003, 30_003]);
    let pictures: Vec<u16> = pair.received[..4].iter().map(|it| it.vp8().0).collect();
    assert!(
        pictures.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{pictures:?}"
    );
}

#[test]
fn a_layer_that_stops_is_replaced_by_one_that_arrives_and_comes_back() {
    let mut pair = Pair::simulcast(2);
    let mut time = 0;
    let mut step = |pair: &mut Pair, layers: &[u8], key: bool| {
        time += 3000;
        for layer in layers {
            pair.frame(*layer, key, (time / 3000) as u16, 0, time);
        }
        pair.bench.pass(33 * MS);
    };
    step(&mut pair, &[0, 2], true);
    step(&mut pair, &[0, 2], false);
    assert_eq!(pair.subscription.current_layer(), Some(2));
    pair.wish();
    // The highest stops; the middle one never came.
    let mut asked = None;
    for _ in 0..30 {
        step(&mut pair, &[0], false);
        asked = asked.or(pair.wish());
    }
    assert_eq!(
        asked,
        Some(KeyframeWish {
            layer: 0,
            urgent: true
        })
    );
    step(&mut pair, &[0], true);
    assert_eq!(pair.subscription.current_layer(), Some(0));
    // The wish stays: when the layer returns, its key frame is asked for at once and taken.
    step(&mut pair, &[0, 2], false);
    assert_eq!(
        pair.wish(),
        Some(KeyframeWish {
            layer: 2,
            urgent: false
        })
    );
    step(&mut pair, &[0, 2], true);
    assert_eq!(pair.subscription.current_layer(), Some(2));
    pair.assert_continuous();
}

#[test]
fn padding_and_numbers_of_another_layer_touch_nothing() {
    let mut pair = Pair::simulcast(0);
    pair.frame(0, true, 1, 0, 0);
    pair.frame(2, true, 1, 0, 0);
    for index in 0..50u16 {
        // Padding only on the other layer, with the numbers the forwarded layer will use.
        let mut padding = Rtp::new(VP8, 12, pair.sequences[0] + index % 7, 0)
            .payload(&[0, 0, 0, 4])
            .bytes();
        padding[0] |= 0x20;
        let mut out = Vec::new();
        let _ = pair
            .bench
            .receiver
            .handle_rtp(pair.bench.now, &padding, &mut out);
        pair.forward(&out);
        pair.frame(0, false, 2 + index, 0, 3000 * u32::from(index + 1));
    }
    assert_eq!(pair.received.len(), 51);
    pair.assert_continuous();
}

#[test]
fn the_current_layer_goes_on_until_the_wanted_one_has_a_key_frame() {
    let mut pair = Pair::simulcast(0);
    pair.frame(0, true, 1, 0, 0);
    pair.frame(1, true, 1, 0, 0);
    pair.wish();
    pair.subscription.set_settings(TrackSettings {
        quality: 1,
        ..Default::default()
    });
    assert_eq!(
        pair.wish(),
        Some(KeyframeWish {
            layer: 1,
            urgent: false
        })
    );
    for index in 1..20u16 {
        pair.frame(0, false, 1 + index, 0, 3000 * u32::from(index));
        pair.bench.pass(33 * MS);
    }
    assert_eq!(pair.received.len(), 20);
    assert_eq!(pair.subscription.current_layer(), Some(0));
}

#[test]
fn a_late_key_frame_packet_starts_nothing() {
    let mut pair = Pair::simulcast(2);
    pair.frame(2, true, 1, 0, 0);
    assert_eq!(pair.received.len(), 1);
    pair.subscription.set_settings(TrackSettings {
        disabled: true,
        ..Default::default()
    });
    pair.frame(2, false, 2, 0, 3000);
    assert_eq!(pair.received.len(), 1);
    pair.subscription.set_settings(TrackSettings {
        quality: 2,
        ..Default::default()
    });
    assert_eq!(
        pair.wish(),
        Some(KeyframeWish {
            layer: 2,
            urgent: true
        })
    );
    // The key frame's packet comes after the one that follows it.
    pair.sequences[2] += 1;
    pair.frame(2, false, 4, 0, 9000);
    pair.sequences[2] -= 2;
    pair.frame(2, true, 3, 0, 6000);
    assert_eq!(pair.received.len(), 1);
    pair.sequences[2] += 1;
    pair.frame(2, true, 5, 0, 12_000);
    assert_eq!(pair.received.len(), 2);
    pair.assert_continuous();
}

#[test]
fn temporal_layers_left_out_leave_no_hole() {
    let mut pair = Pair::simulcast(0);
    let frames = |pair: &mut Pair, from: u16, count: u16| {
        for index in from..from + count {
            let temporal = [0, 2, 1, 2][usize::from(index % 4)];
            pair.frame(
                0,
                index == 0,
                100 + index,
                temporal,
                3000 * u32::from(index),
            );
            pair.bench.pass(33 * MS);
        }
    };
    frames(&mut pair, 0, 40);
    assert_eq!(pair.received.len(), 40);
    pair.subscription.set_settings(TrackSettings {
        fps: 15,
        ..Default::default()
    });
    frames(&mut pair, 40, 40);
    assert_eq!(pair.received.len(), 60);
    pair.subscription.set_settings(TrackSettings {
        fps: 7,
        ..Default::default()
    });
    frames(&mut pair, 80, 40);
    assert_eq!(pair.received.len(), 70);
    pair.subscription.set_settings(TrackSettings::default());
    frames(&mut pair, 120, 40);
    assert_eq!(pair.received.len(), 110);
    pair.assert_continuous();
    let pictures: Vec<_> = pair
        .received
        .iter()
        .map(|received| received.vp8().0)
        .collect();
    assert!(
        pictures.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{pictures:?}"
    );
}

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
fn padding_of_the_publisher_leaves_no_hole() {
    let mut pair = Pair::simulcast(0);
    pair.frame(0, true, 1, 0, 0);
    for index in 1..50u16 {
        let sequence = pair.next(0);
        let mut padding = Rtp::new(VP8, 10, sequence, 3000 * u32::from(index) - 3000)
            .payload(&[0, 0, 0, 4])
            .bytes();
        padding[0] |= 0x20;
        let mut out = Vec::new();
        let _ = pair
            .bench
            .receiver
            .handle_rtp(pair.bench.now, &padding, &mut out);
        pair.forward(&out);
        pair.frame(0, false, 1 + index, 0, 3000 * u32::from(index));
    }
    assert_eq!(pair.received.len(), 50);
    pair.assert_continuous();
}

#[test]
fn each_new_start_of_the_source_asks_for_a_key_frame_of_its_own() {
    let mut pair = Pair::simulcast(0);
    for start in [100u16, 30_000, 10, 20_000] {
        pair.sequences[0] = start;
        // Two packets, as one alone may be a stray.
        pair.frame(0, false, 1, 0, 0);
        pair.frame(0, false, 2, 0, 3000);
        pair.frame(0, false, 3, 0, 6000);
        assert_eq!(
            pair.wish(),
            Some(KeyframeWish {
                layer: 0,
                urgent: true
            }),
            "{start}"
        );
        pair.frame(0, false, 4, 0, 9000);
        assert_eq!(pair.wish(), None);
        let before = pair.received.len();
        pair.frame(0, true, 5, 0, 12_000);
        assert_eq!(pair.received.len(), before + 1);
    }
    pair.assert_continuous();
}

#[test]
fn video_that_was_muted_goes_on_without_a_hole() {
    let mut pair = Pair::simulcast(0);
    pair.frame(0, true, 1, 0, 0);
    pair.bench.receiver.set_muted(pair.bench.now, 1, true);
    for index in 1..20u16 {
        pair.frame(0, false, 1 + index, 0, 3000 * u32::from(index));
    }
    pair.bench.receiver.set_muted(pair.bench.now, 1, false);
    pair.frame(0, false, 21, 0, 60_000);
    pair.frame(0, true, 22, 0, 63_000);
    pair.frame(0, false, 23, 0, 66_000);
    assert_eq!(pair.received.len(), 3);
    pair.assert_continuous();
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
    assert!(bytes as u64 <= RESEND_BURST + RESEND_RATE * 2, "{bytes}");
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

#[test]
fn delay_after_unmute_is_what_it_was_before() {
    for pause in [100u64, 500, 1_000, 3_000, 10_000] {
        let mut pair = Pair::audio(vec![send(109, CodecKind::Opus, None)]);
        let start = pair.bench.now;
        let mut sent = 0u32;
        let mut talk = |pair: &mut Pair, count: u32| {
            for _ in 0..count {
                sent += 1;
                pair.receive(&Rtp::new(OPUS, 10, sent as u16, 960 * sent));
                pair.bench.pass(20 * MS);
            }
        };
        talk(&mut pair, 50);
        pair.bench.receiver.set_muted(pair.bench.now, 1, true);
        pair.bench.pass(Duration::from_millis(pause));
        pair.bench.receiver.set_muted(pair.bench.now, 1, false);
        // The publisher's RTP time stood still meanwhile.
        talk(&mut pair, 50);
        let delay = |received: &Received| {
            let played = f64::from(
                received
                    .header
                    .timestamp
                    .wrapping_sub(pair.received[0].header.timestamp),
            ) / 48.0;
            (received.at - start).as_secs_f64() * 1000.0 - played
        };
        let (before, after) = (delay(&pair.received[49]), delay(&pair.received[99]));
        assert!((after - before).abs() <= 50.0, "{pause}: {before} {after}");
        pair.assert_continuous();
    }
}

#[test]
fn an_audio_source_that_starts_anew_goes_on_in_the_same_stream() {
    let mut section = audio_section(1, "0", 10);
    section.ssrcs.clear();
    let mut pair = Pair::new(
        section,
        vec![send(109, CodecKind::Opus, None)],
        TrackSettings::default(),
    );
    for index in 0..10u16 {
        pair.receive(&Rtp::new(OPUS, 10, 50_000 + index, 960 * u32::from(index)));
        pair.bench.pass(20 * MS);
    }
    for index in 0..10u16 {
        pair.receive(&Rtp::new(
            OPUS,
            99,
            7 + index,
            0x8000_0000 + 960 * u32::from(index),
        ));
        pair.bench.pass(20 * MS);
    }
    assert_eq!(pair.received.len(), 20);
    pair.assert_continuous();
    let step = pair.received[10]
        .header
        .timestamp
        .wrapping_sub(pair.received[9].header.timestamp);
    assert!((900..=1020).contains(&step), "{step}");
}

#[test]
fn sender_reports_of_audio_and_video_agree_on_one_clock() {
    let mut audio = Pair::audio(vec![send(109, CodecKind::Opus, None)]);
    let theirs =
        crate::track::clock::micros_to_ntp(audio.bench.clock.micros(audio.bench.now) - 9_000_000);
    let mut report = Vec::new();
    let info = SenderInfo {
        ntp: theirs,
        rtp_timestamp: 960,
        ..Default::default()
    };
    audio.receive(&Rtp::new(OPUS, 10, 1, 960));
    write_sender_report(&mut report, 10, &info, &[]);
    for packet in parse_compound(&report).unwrap() {
        audio
            .bench
            .receiver
            .handle_rtcp(audio.bench.now, &packet.unwrap());
    }
    audio.bench.pass(20 * MS);
    audio.receive(&Rtp::new(OPUS, 10, 2, 1920));
    audio.bench.pass(980 * MS);
    let (clock, now) = (audio.bench.clock, audio.bench.now);
    assert!(audio.subscription.deadline().unwrap() <= now);
    let (ssrc, info) = audio.subscription.poll_report(now, &clock).unwrap();
    assert_eq!((ssrc, info.packets), (SSRC, 2));
    assert_eq!(info.ntp, clock.ntp(now));
    // The moment is one second after RTP time 960, which came out as it was.
    assert!(
        (i64::from(info.rtp_timestamp) - (960 + 48_000)).abs() < 10,
        "{}",
        info.rtp_timestamp
    );
    assert_eq!(audio.subscription.poll_report(now, &clock), None);
}

#[test]
fn a_track_that_stands_still_has_no_timer_and_no_history() {
    let mut pair = Pair::audio(vec![send(109, CodecKind::Opus, None)]);
    pair.receive(&Rtp::new(OPUS, 10, 1, 960));
    let clock = pair.bench.clock;
    while let Some(deadline) = pair.subscription.deadline() {
        assert!(deadline < pair.bench.now + Duration::from_secs(10));
        pair.bench.now = pair.bench.now.max(deadline);
        pair.subscription.poll_report(pair.bench.now, &clock);
    }
    assert!(pair.subscription.history.newest().is_none());
    pair.receive(&Rtp::new(OPUS, 10, 2, 1920));
    assert!(pair.subscription.deadline().is_some());
}

fn svc_packet(pair: &mut Pair, picture: u16, spatial: u8, inter: bool, temporal: u8, last: bool) {
    let first = 0b1010_1100 | if inter { 0x40 } else { 0 };
    let sequence = pair.next(0);
    let [high, low] = (picture | 0x8000).to_be_bytes();
    let layers = temporal << 5 | 0x10 | spatial << 1 | u8::from(spatial > 0);
    let mut rtp = Rtp::new(VP9, 10, sequence, 3000 * u32::from(picture)).payload(&[
        first,
        high,
        low,
        layers,
        picture as u8,
        9,
        9,
        spatial,
    ]);
    if last {
        rtp = rtp.marker();
    }
    pair.receive(&rtp);
}

fn svc_pair(quality: u8) -> Pair {
    let section = crate::track::ReceiveSection {
        svc: true,
        ..video_section(1, "1")
    };
    let settings = TrackSettings {
        quality,
        ..Default::default()
    };
    Pair::new(section, vec![send(122, CodecKind::Vp9, None)], settings)
}

#[test]
fn svc_passes_whole_when_the_highest_layer_is_wanted() {
    let mut pair = svc_pair(2);
    for picture in 0..20u16 {
        for spatial in 0..3 {
            svc_packet(&mut pair, picture, spatial, picture > 0, 0, spatial == 2);
        }
    }
    assert_eq!(pair.received.len(), 60);
    pair.assert_continuous();
    assert!(
        pair.received
            .iter()
            .enumerate()
            .all(|(index, received)| received.header.marker == (index % 3 == 2))
    );
}

#[test]
fn capped_svc_ends_pictures_at_the_cap_and_rises_at_a_key_picture() {
    let mut pair = svc_pair(1);
    for picture in 0..40u16 {
        if picture == 20 {
            pair.subscription.set_settings(TrackSettings {
                quality: 2,
                ..Default::default()
            });
            assert!(pair.wish().is_some());
        }
        for spatial in 0..3 {
            svc_packet(
                &mut pair,
                picture,
                spatial,
                picture > 0 && picture != 30,
                0,
                spatial == 2,
            );
        }
    }
    pair.assert_continuous();
    assert_eq!(pair.received.len(), 30 * 2 + 10 * 3);
    for (index, received) in pair.received[..60].iter().enumerate() {
        assert_eq!(received.header.marker, index % 2 == 1);
        assert_eq!(*received.payload.last().unwrap(), (index % 2) as u8);
    }
    assert!(pair.received[89].header.marker);
}

#[test]
fn a_viewers_lost_picture_asks_for_the_layer_it_gets() {
    let mut pair = Pair::simulcast(2);
    pair.frame(0, true, 1, 0, 0);
    pair.wish();
    pair.subscription.handle_keyframe_request();
    assert_eq!(
        pair.wish(),
        Some(KeyframeWish {
            layer: 0,
            urgent: false
        })
    );
    assert_eq!(pair.wish(), None);
}

#[test]
fn dynacast_is_told_what_the_settings_ask_for() {
    let mut pair = Pair::simulcast(2);
    assert_eq!(pair.subscription.wanted_quality(), Some(2));
    pair.subscription.set_settings(TrackSettings {
        width: 300,
        height: 150,
        ..Default::default()
    });
    assert_eq!(pair.subscription.wanted_quality(), Some(0));
    pair.subscription.set_settings(TrackSettings {
        disabled: true,
        ..Default::default()
    });
    assert_eq!(pair.subscription.wanted_quality(), None);
}

#[test]
fn a_subscription_is_compact() {
    assert!(
        size_of::<Subscription>() <= 640,
        "{}",
        size_of::<Subscription>()
    );
    assert!(
        size_of::<MediaPacket>() <= 320,
        "{}",
        size_of::<MediaPacket>()
    );
}
