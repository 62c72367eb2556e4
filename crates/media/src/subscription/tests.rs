use super::*;
use crate::api::LayerSpec;
use crate::codec::{Detail, Meta};
use crate::congestion::outgoing::SendExtensions;
use crate::congestion::pacer::SendQueueConfig;
use crate::rtp::RtpHeader;
use crate::rtp::rtcp::report::write_sender_report;
use crate::rtp::rtcp::{SenderInfo, parse_compound};
use crate::track::receiver::Ingress;
use crate::track::testing::*;

mod layers;
mod resend;

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
#[test]
fn a_muted_track_opens_with_something_and_goes_on_when_it_is_heard() {
    let mut audio = Pair::audio(vec![
        send(63, CodecKind::Red, None),
        send(111, CodecKind::Opus, None),
    ]);
    audio.subscription.open(audio.bench.now, &mut audio.queue);
    audio.flush();
    assert_eq!(audio.layers(), [111; 3]);
    assert!(audio.received.iter().all(|it| it.payload.is_empty()));
    audio.bench.pass(1000 * MS);
    audio.receive(&Rtp::new(OPUS, 10, 7, 123_456));
    audio.assert_continuous();
    let (opening, heard) = (audio.received[2].header, audio.received[3].header);
    let passed = heard.timestamp.wrapping_sub(opening.timestamp);
    assert!((47_000..49_000).contains(&passed), "{passed}");

    let mut video = Pair::simulcast(2);
    video.subscription.open(video.bench.now, &mut video.queue);
    video.flush();
    assert_eq!(video.layers(), [120; 3]);
    video.bench.pass(1000 * MS);
    video.frame(2, true, 1, 0, 90_000);
    video.assert_continuous();
    assert_eq!(video.received.len(), 4);
    assert!(!video.received[3].payload.is_empty());
}
