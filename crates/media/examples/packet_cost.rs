//! What reading, sealing and opening one packet costs: `cargo run --release --example packet_cost`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use roomful_media::codec::{CodecKind, Meta};
use roomful_media::rtp::{HeaderFields, RtpHeader};
use roomful_media::srtp::{SrtpProfile, from_keying_material};

/// Bytes of payload in a full video packet.
const PAYLOAD_LEN: usize = 1_100;
/// Packets in a measurement; below 2^16 so that no sequence number comes twice.
const PACKETS: u16 = 64_000;
/// Packets at a time, so that they stay in the cache as they do on their way.
const BATCH: u16 = 64;

fn main() {
    let plain = packet(0);
    report("parse a header, find one of three extensions", || {
        let header = RtpHeader::parse(black_box(&plain)).expect("well-formed");
        black_box(header.extensions(&plain).find(|(id, _)| *id == 4));
    });
    let vp8 = [
        0x90, 0xF0, 0x92, 0x34, 0x56, 0xA7, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x80, 0x02, 0x68,
        0x41,
    ];
    let vp9 = [0xE4, 0x05, 0x53, 0x77, 0x00];
    let h264 = [0x7C, 0x81, 0x9A];
    for (name, codec, payload) in [
        ("parse a VP8 payload", CodecKind::Vp8, &vp8[..]),
        ("parse a VP9 payload", CodecKind::Vp9, &vp9),
        ("parse an H.264 payload", CodecKind::H264, &h264),
    ] {
        report(name, || {
            let _ = black_box(Meta::parse(codec, black_box(payload), true));
        });
    }
    for profile in [
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::Aes128CmSha1_80,
    ] {
        let material = vec![7; profile.keying_material_len()];
        let (mut sender, _) = from_keying_material(profile, &material, true).expect("long enough");
        let (_, mut receiver) =
            from_keying_material(profile, &material, false).expect("long enough");
        let header_len = usize::from(RtpHeader::parse(&plain).expect("well-formed").header_len);
        let (mut sealed, mut opened) = (Duration::ZERO, Duration::ZERO);
        for round in 0..PACKETS / BATCH {
            let mut packets: Vec<Vec<u8>> =
                (0..BATCH).map(|at| packet(round * BATCH + at)).collect();
            let start = Instant::now();
            for packet in &mut packets {
                sender.protect_rtp(packet, header_len).expect("fresh");
            }
            sealed += start.elapsed();
            let start = Instant::now();
            for packet in &mut packets {
                receiver.unprotect_rtp(packet).expect("authentic");
            }
            opened += start.elapsed();
        }
        let each = |total: Duration| total.as_nanos() / u128::from(PACKETS);
        println!(
            "{:>8} ns  seal, {:>5} ns open {PAYLOAD_LEN} B, {profile:?}",
            each(sealed),
            each(opened)
        );
    }
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut out = Vec::with_capacity(PAYLOAD_LEN + 64);
    let fields = HeaderFields {
        payload_type: 96,
        sequence,
        ssrc: 1,
        ..HeaderFields::default()
    };
    let extensions: [(u8, &[u8]); 3] = [(2, &[1, 2, 3]), (3, &[4, 5]), (4, b"0")];
    fields.write(&mut out, &[], &extensions).expect("fits");
    out.resize(out.len() + PAYLOAD_LEN, 0x55);
    out
}

fn report(name: &str, mut work: impl FnMut()) {
    const ROUNDS: u32 = 10_000_000;
    let start = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    let nanos = start.elapsed().as_nanos() as f64 / f64::from(ROUNDS);
    println!("{nanos:>8.1} ns  {name}");
}
