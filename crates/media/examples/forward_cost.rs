//! What forwarding costs: nanoseconds per outgoing packet of 1,100 bytes, from a received packet to the
//! sealed one in the send buffer, for several shapes of a room.
//!
//! `cargo run --release --example forward_cost`

use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use roomful_media::api::{LayerSpec, MediaKind, TrackSettings};
use roomful_media::codec::CodecKind;
use roomful_media::congestion::pacer::Written;
use roomful_media::congestion::{SendExtensions, SendQueue, SendQueueConfig};
use roomful_media::rtp::{ExtensionKind, HeaderFields};
use roomful_media::subscription::{LayerTable, SendFormat, SendPayload, Subscription};
use roomful_media::track::{ReceivePayload, ReceiveSection, ReceiveSsrc, Receiver, WallClock};

const PAYLOAD: usize = 1100;
const PACKETS_A_FRAME: u16 = 8;

struct Subscriber {
    queue: SendQueue,
    subscriptions: Vec<Subscription>,
}

fn receiver(clock: WallClock, now: Instant, streams: u32) -> Receiver {
    let mut receiver = Receiver::new(clock, 1, "cost".into());
    for stream in 0..streams {
        let payload = ReceivePayload {
            payload_type: 96,
            codec: CodecKind::Vp8,
            clock_rate: 90_000,
            repeats: None,
            nack: true,
            pli: true,
            fir: true,
            transport_cc: true,
            remb: false,
        };
        let section = ReceiveSection {
            tag: stream,
            mid: stream.to_string(),
            kind: MediaKind::Video,
            svc: false,
            rids: Vec::new(),
            ssrcs: vec![ReceiveSsrc {
                ssrc: 1000 + stream,
                rtx: None,
                layer: 0,
            }],
            payloads: vec![payload],
            extensions: vec![(3, ExtensionKind::TransportCc)],
            muted: false,
        };
        receiver.set_section(now, section, &mut Vec::new());
    }
    receiver
}

fn subscriber(clock: WallClock, streams: u32) -> Subscriber {
    let config = SendQueueConfig {
        gap: Duration::ZERO,
        ..SendQueueConfig::default()
    };
    let mut queue = SendQueue::new(config, clock);
    let ids = SendExtensions::new([
        (3, ExtensionKind::TransportCc),
        (4, ExtensionKind::AbsSendTime),
    ]);
    let subscriptions = (0..streams).map(|stream| {
        let section = queue.add_section(ids, &stream.to_string());
        let payloads = vec![SendPayload {
            codec: CodecKind::Vp8,
            payload_type: 96,
            rtx: Some(97),
            clock_rate: 90_000,
            nack: true,
        }];
        let format = SendFormat {
            ssrc: 5000 + stream,
            rtx_ssrc: 9000 + stream,
            payloads,
            section,
        };
        let layer = LayerSpec {
            quality: 2,
            rid: String::new(),
            width: 1280,
            height: 720,
            bitrate: 0,
            ssrc: 0,
        };
        let settings = TrackSettings {
            quality: 2,
            ..TrackSettings::default()
        };
        let mut subscription = Subscription::new(
            MediaKind::Video,
            format,
            LayerTable::new(&[layer]),
            false,
            settings,
            1,
        );
        subscription.connected();
        subscription
    });
    let subscriptions = subscriptions.collect();
    Subscriber {
        queue,
        subscriptions,
    }
}

fn packet(stream: u32, sequence: u16, timestamp: u32, key: bool, last: bool) -> Vec<u8> {
    let header = HeaderFields {
        marker: last,
        payload_type: 96,
        sequence,
        timestamp,
        ssrc: 1000 + stream,
    };
    let mut bytes = Vec::with_capacity(PAYLOAD + 20);
    let number = sequence.to_be_bytes();
    if header.write(&mut bytes, &[], &[(3, &number)]).is_err() {
        return bytes;
    }
    let start = sequence.is_multiple_of(PACKETS_A_FRAME);
    bytes.extend_from_slice(&[0x80 | if start { 0x10 } else { 0 }, 0xF0, 0x80, 1, 1, 0x20]);
    bytes.resize(bytes.len() + PAYLOAD - 6, if key { 0 } else { 1 });
    bytes
}

/// CPU time of this thread, which other work on the machine does not count into; real time where the
/// system does not tell it.
fn cpu_time(origin: Instant) -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|text| text.split_whitespace().next()?.parse().ok());
    nanos.map_or_else(|| origin.elapsed(), Duration::from_nanos)
}

/// Nanoseconds per outgoing packet, and of those what sealing took alone.
fn measure(subscribers: usize, streams: u32, frames: u32) -> Option<(f64, f64)> {
    let start = Instant::now();
    let clock = WallClock::new(start, Duration::from_secs(1_700_000_000));
    let mut receiver = receiver(clock, start, streams);
    let mut room: Vec<Subscriber> = (0..subscribers)
        .map(|_| subscriber(clock, streams))
        .collect();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).ok()?);
    let mut index = 0u128;
    let mut seal = |buffer: &mut Vec<u8>, Written { start, header, .. }: Written| {
        index += 1;
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&index.to_be_bytes()[4..]);
        let Some((head, body)) = buffer
            .get_mut(start..)
            .and_then(|packet| packet.split_at_mut_checked(header))
        else {
            return;
        };
        let tag = key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&*head),
            body,
        );
        if let Ok(tag) = tag {
            buffer.extend_from_slice(tag.as_ref());
        }
    };
    let mut now = start;
    let mut sent = 0u64;
    let mut ingress = Vec::new();
    let mut buffer = Vec::with_capacity(1 << 16);
    let turns: Vec<(u32, Vec<Vec<u8>>)> = (0..frames)
        .flat_map(|frame| (0..streams).map(move |stream| (frame, stream)))
        .map(|(frame, stream)| {
            let packets = (0..PACKETS_A_FRAME).map(|index| {
                let sequence = (frame as u16)
                    .wrapping_mul(PACKETS_A_FRAME)
                    .wrapping_add(index);
                packet(
                    stream,
                    sequence,
                    frame * 3000,
                    frame == 0,
                    index + 1 == PACKETS_A_FRAME,
                )
            });
            (stream, packets.collect())
        })
        .collect();
    let began = cpu_time(start);
    for (stream, packets) in &turns {
        for bytes in packets {
            // Duplicates and such do not occur here.
            let _ = receiver.handle_rtp(now, bytes, &mut ingress);
        }
        for subscriber in &mut room {
            let Some(subscription) = subscriber.subscriptions.get_mut(*stream as usize) else {
                continue;
            };
            for packet in &ingress {
                subscription.forward(now, &packet.packet, &mut subscriber.queue);
            }
            // Two releases of four packets.
            for _ in 0..2 {
                buffer.clear();
                sent += u64::from(
                    subscriber
                        .queue
                        .release(now, &mut buffer, &mut seal)
                        .packets,
                );
            }
        }
        ingress.clear();
        now += Duration::from_millis(33) / streams;
    }
    let spent = cpu_time(start).saturating_sub(began);
    let began = cpu_time(start);
    for _ in 0..100_000 {
        buffer.clear();
        buffer.resize(PAYLOAD + 24, 1);
        seal(
            &mut buffer,
            Written {
                start: 0,
                header: 24,
                repeated: false,
            },
        );
    }
    let sealing = cpu_time(start).saturating_sub(began).as_nanos() as f64 / 100_000.0;
    Some((spent.as_nanos() as f64 / sent.max(1) as f64, sealing))
}

fn main() {
    println!(
        "{:>11} {:>8} {:>14} {:>14}",
        "subscribers", "streams", "ns per packet", "ns of sealing"
    );
    for (subscribers, streams, frames) in [(1, 1, 4_000), (50, 1, 400), (50, 20, 30), (1, 150, 60)]
    {
        if let Some((cost, sealing)) = measure(subscribers, streams, frames) {
            println!("{subscribers:>11} {streams:>8} {cost:>14.0} {sealing:>14.0}");
        }
    }
}
