use super::*;
use crate::rtp::header::{HeaderFields, RtpError, RtpHeader, append_padding};

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AeadAes256Gcm,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::Aes128CmSha1_80,
];
const SSRC: u32 = 0xCAFE_BABE;

/// Reads hexadecimal text; blanks are skipped.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// The sender of the DTLS client and the receiver of the server.
fn pair(profile: SrtpProfile) -> (SrtpSender, SrtpReceiver) {
    let material: Vec<u8> = (0..profile.keying_material_len())
        .map(|byte| byte as u8)
        .collect();
    let (sender, _) = from_keying_material(profile, &material, true).unwrap();
    let (_, receiver) = from_keying_material(profile, &material, false).unwrap();
    (sender, receiver)
}

fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = Vec::new();
    let fields = HeaderFields {
        payload_type: 96,
        sequence,
        ssrc,
        ..HeaderFields::default()
    };
    fields
        .write(&mut out, &[], &[(3, &sequence.to_be_bytes())])
        .unwrap();
    out.extend_from_slice(b"payload");
    out
}

fn sealed(sender: &mut SrtpSender, ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = packet(ssrc, sequence);
    sender.protect_rtp(&mut out, 20).unwrap();
    out
}

fn report(ssrc: u32) -> Vec<u8> {
    let mut out = vec![0x80, 201, 0, 1];
    out.extend_from_slice(&ssrc.to_be_bytes());
    out
}

fn sealed_report(sender: &mut SrtpSender, ssrc: u32) -> Vec<u8> {
    let mut out = report(ssrc);
    sender.protect_rtcp(&mut out).unwrap();
    out
}

#[test]
fn packets_open_to_what_was_sealed() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let mut bytes = sealed(&mut sender, SSRC, 7);
        assert_eq!(bytes.len(), packet(SSRC, 7).len() + profile.rtp_overhead());
        assert_eq!(bytes[..20], packet(SSRC, 7)[..20]);
        assert_ne!(bytes[20..27], *b"payload");
        let len = receiver.unprotect_rtp(&mut bytes).unwrap();
        assert_eq!(bytes[..len], packet(SSRC, 7));

        let mut bytes = sealed_report(&mut sender, SSRC);
        assert_eq!(bytes.len(), report(SSRC).len() + profile.rtcp_overhead());
        let len = receiver.unprotect_rtcp(&mut bytes).unwrap();
        assert_eq!(bytes[..len], report(SSRC));
    }
}

/// Packets as other implementations make them from the master key of RFC 3711 appendix B.3.
#[test]
fn counter_mode_packets_have_their_known_bytes() {
    let (key, salt) = (
        hex("e1f97a0d3e018be0d64fa32c06de4139"),
        hex("0ec675ad498afeebb6960b3aabe6"),
    );
    let master = MasterKey {
        key: &key,
        salt: &salt,
    };
    let mut sender = SrtpSender::new(SrtpProfile::Aes128CmSha1_80, master).unwrap();
    let mut receiver = SrtpReceiver::new(SrtpProfile::Aes128CmSha1_80, master).unwrap();
    let plain = hex("800f1234decafbadcafebabeabababababababababababababababab");
    let mut bytes = plain.clone();
    sender.protect_rtp(&mut bytes, 12).unwrap();
    let expected =
        hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb");
    assert_eq!(bytes, expected);
    assert_eq!(receiver.unprotect_rtp(&mut bytes), Ok(plain.len()));

    let plain = hex("81c8000bcafebabeabababababababababababababababab");
    let mut bytes = plain.clone();
    sender.protect_rtcp(&mut bytes).unwrap();
    assert_eq!(
        bytes,
        hex("81c8000bcafebabe7128035be487b9bdbef89041f977a5a880000001993e08cd54d6c1230798")
    );
    assert_eq!(receiver.unprotect_rtcp(&mut bytes), Ok(plain.len()));
}

#[test]
fn batch_is_sealed_in_one_buffer() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let mut buffer = Vec::new();
        let mut starts = Vec::new();
        for sequence in 0..4 {
            let start = buffer.len();
            buffer.extend_from_slice(&packet(SSRC, sequence));
            sender.protect_rtp_at(&mut buffer, start, 20).unwrap();
            starts.push(start);
        }
        let size = starts[1];
        assert_eq!(buffer.len(), 4 * size);
        for (segment, sequence) in buffer.chunks_mut(size).zip(0..) {
            let len = receiver.unprotect_rtp(segment).unwrap();
            assert_eq!(segment[..len], packet(SSRC, sequence));
        }
    }
}

#[test]
fn changed_packets_are_refused_and_change_nothing() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let good = sealed(&mut sender, SSRC, 1);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x01;
            assert!(receiver.unprotect_rtp(&mut bytes).is_err(), "byte {at}");
        }
        for len in 0..good.len() {
            assert!(
                receiver.unprotect_rtp(&mut good[..len].to_vec()).is_err(),
                "{len} bytes"
            );
        }
        assert!(receiver.unprotect_rtp(&mut good.clone()).is_ok());

        let good = sealed_report(&mut sender, SSRC);
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 0x01;
            assert!(receiver.unprotect_rtcp(&mut bytes).is_err(), "byte {at}");
        }
        // Without the flag the compound claims to be in the clear.
        let flag = good.len()
            - if profile == SrtpProfile::Aes128CmSha1_80 {
                14
            } else {
                4
            };
        let mut bytes = good.clone();
        bytes[flag] &= 0x7F;
        assert_eq!(
            receiver.unprotect_rtcp(&mut bytes),
            Err(SrtpError::Malformed)
        );
        for len in 0..good.len() {
            assert!(
                receiver.unprotect_rtcp(&mut good[..len].to_vec()).is_err(),
                "{len} bytes"
            );
        }
        assert!(receiver.unprotect_rtcp(&mut good.clone()).is_ok());
    }
}

#[test]
fn replayed_packets_are_refused() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let packets: Vec<_> = (0..2_000)
            .map(|sequence| sealed(&mut sender, SSRC, sequence))
            .collect();
        // Reordered by pairs, each twice.
        for pair in packets.chunks(2) {
            for bytes in pair.iter().rev() {
                assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_ok());
            }
            for bytes in pair {
                assert_eq!(
                    receiver.unprotect_rtp(&mut bytes.clone()),
                    Err(SrtpError::Replayed)
                );
            }
        }
        for bytes in packets {
            assert_eq!(
                receiver.unprotect_rtp(&mut bytes.clone()),
                Err(SrtpError::Replayed)
            );
        }
        let reports: Vec<_> = (0..200).map(|_| sealed_report(&mut sender, SSRC)).collect();
        assert!(receiver.unprotect_rtcp(&mut reports[199].clone()).is_ok());
        for (index, bytes) in reports.iter().enumerate() {
            let fresh = (72..199).contains(&index);
            assert_eq!(
                receiver.unprotect_rtcp(&mut bytes.clone()).is_ok(),
                fresh,
                "{index}"
            );
            assert_eq!(
                receiver.unprotect_rtcp(&mut bytes.clone()),
                Err(SrtpError::Replayed)
            );
        }
    }
}

#[test]
fn roll_over_is_followed_with_loss_and_reorder_around_the_wrap() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let (mut held, mut late_ones) = (None, 0);
        // Every packet for 20 on both sides of each wrap, one in 1,000 between.
        for index in
            (30_000u64..400_000).filter(|index| index % 1_000 == 0 || (index + 20) % 65_536 < 40)
        {
            let sequence = index as u16;
            let mut bytes = sealed(&mut sender, SSRC, sequence);
            match sequence {
                // Lost on the way.
                0 => continue,
                // Arrives after the wrap.
                65_535 => {
                    held = Some(bytes);
                    continue;
                }
                _ => assert!(receiver.unprotect_rtp(&mut bytes).is_ok(), "{index}"),
            }
            if sequence == 2
                && let Some(mut late) = held.take()
            {
                assert!(receiver.unprotect_rtp(&mut late).is_ok(), "{index}");
                late_ones += 1;
            }
        }
        assert_eq!(late_ones, 6);
    }
}

#[test]
fn no_sequence_number_is_sealed_twice() {
    for profile in PROFILES {
        let (mut sender, _) = pair(profile);
        let mut buffer = sealed(&mut sender, SSRC, 100);
        let batch = buffer.len();
        buffer.extend_from_slice(&packet(SSRC, 100));
        assert_eq!(
            sender.protect_rtp_at(&mut buffer, batch, 20),
            Err(SrtpError::IndexReused)
        );
        assert_eq!(buffer.len(), batch, "nothing unsealed may be left to send");
        // A number not used yet may still go, in any order; another stream has its own numbers.
        sealed(&mut sender, SSRC, 99);
        sealed(&mut sender, SSRC + 1, 100);
        sealed(&mut sender, SSRC, 3_000);
        assert_eq!(
            sender.protect_rtp(&mut packet(SSRC, 101), 20),
            Err(SrtpError::IndexReused)
        );
    }
}

#[test]
fn a_packet_sealed_again_is_the_same_to_the_last_byte_and_nothing_else_is_sealed_again() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        // Around the wrap, so that the roll-over counter matters.
        let first = sealed(&mut sender, SSRC, 65_535);
        sealed(&mut sender, SSRC, 0);
        let mut again = vec![1, 2, 3];
        again.extend_from_slice(&packet(SSRC, 65_535));
        sender.protect_rtp_again_at(&mut again, 3, 20).unwrap();
        assert_eq!(again[3..], first);
        receiver.unprotect_rtp(&mut again[3..]).unwrap();
        for (ssrc, sequence) in [(SSRC, 1), (SSRC, 65_534), (SSRC + 1, 0), (SSRC, 40_000)] {
            let mut never = packet(ssrc, sequence);
            assert_eq!(
                sender.protect_rtp_again_at(&mut never, 0, 20),
                Err(SrtpError::IndexReused)
            );
            assert!(never.is_empty());
        }
    }
}

#[test]
fn buffers_that_cannot_be_sealed_are_cut_off() {
    for profile in PROFILES {
        let (mut sender, _) = pair(profile);
        for len in 0..12 {
            let mut buffer = packet(SSRC, 1)[..len].to_vec();
            assert_eq!(
                sender.protect_rtp(&mut buffer, 12),
                Err(SrtpError::Malformed)
            );
            assert!(buffer.is_empty());
        }
        let mut buffer = packet(SSRC, 1);
        assert_eq!(
            sender.protect_rtp(&mut buffer, 500),
            Err(SrtpError::Malformed)
        );
        assert!(buffer.is_empty());
        let mut buffer = report(SSRC)[..7].to_vec();
        assert_eq!(sender.protect_rtcp(&mut buffer), Err(SrtpError::Malformed));
        assert!(buffer.is_empty());
    }
}

#[test]
fn streams_are_bounded_and_the_busy_ones_stay() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let count = 3 * MAX_STREAMS as u32;
        for ssrc in 1..=count {
            assert!(
                receiver
                    .unprotect_rtp(&mut sealed(&mut sender, ssrc, 1))
                    .is_ok()
            );
            let busy = &mut sealed(&mut sender, SSRC, ssrc as u16);
            assert!(receiver.unprotect_rtp(&mut busy.clone()).is_ok());
            assert_eq!(receiver.unprotect_rtp(busy), Err(SrtpError::Replayed));
            assert!(
                receiver
                    .unprotect_rtcp(&mut sealed_report(&mut sender, ssrc))
                    .is_ok()
            );
        }
        assert_eq!(
            (receiver.rtp_streams(), receiver.rtcp_sources()),
            (MAX_STREAMS, MAX_STREAMS)
        );
    }
}

#[test]
fn packets_that_fail_make_no_state() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        for ssrc in 0..100 {
            let mut bytes = sealed(&mut sender, ssrc, 1);
            *bytes.last_mut().unwrap() ^= 1;
            assert_eq!(
                receiver.unprotect_rtp(&mut bytes),
                Err(SrtpError::Unauthenticated)
            );
            let mut bytes = sealed_report(&mut sender, ssrc);
            bytes[9] ^= 1;
            assert_eq!(
                receiver.unprotect_rtcp(&mut bytes),
                Err(SrtpError::Unauthenticated)
            );
        }
        assert_eq!((receiver.rtp_streams(), receiver.rtcp_sources()), (0, 0));
    }
}

#[test]
fn hostile_padding_inside_sealed_packets_is_refused_and_the_session_goes_on() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let mut sequence = 0;
        for payload_len in [0usize, 1, 12] {
            for last in [0u8, 200, 255] {
                let mut bytes = Vec::new();
                let fields = HeaderFields {
                    sequence,
                    ssrc: SSRC,
                    ..HeaderFields::default()
                };
                fields.write(&mut bytes, &[], &[]).unwrap();
                bytes[0] |= 0x20;
                bytes.resize(12 + payload_len, last);
                sender.protect_rtp(&mut bytes, 12).unwrap();
                let len = receiver.unprotect_rtp(&mut bytes).unwrap();
                assert_eq!(RtpHeader::parse(&bytes[..len]), Err(RtpError::Padding));
                sequence += 1;
            }
        }
        let mut good = packet(SSRC, sequence);
        append_padding(&mut good, 0, 200);
        sender.protect_rtp(&mut good, 20).unwrap();
        let len = receiver.unprotect_rtp(&mut good).unwrap();
        assert_eq!(
            RtpHeader::parse(&good[..len])
                .unwrap()
                .payload(&good[..len]),
            b"payload"
        );
    }
}

#[test]
fn empty_payloads_are_sealed_and_opened() {
    for profile in PROFILES {
        let (mut sender, mut receiver) = pair(profile);
        let mut bytes = packet(SSRC, 1)[..20].to_vec();
        sender.protect_rtp(&mut bytes, 20).unwrap();
        assert_eq!(receiver.unprotect_rtp(&mut bytes), Ok(20));
    }
}

#[test]
fn exporter_output_is_split_in_the_order_of_rfc_5764() {
    let material: Vec<u8> = (0..60).collect();
    let (client, server) = split_keying_material(SrtpProfile::Aes128CmSha1_80, &material).unwrap();
    assert_eq!(
        (client.key, server.key),
        (&material[..16], &material[16..32])
    );
    assert_eq!(
        (client.salt, server.salt),
        (&material[32..46], &material[46..60])
    );
    assert!(split_keying_material(SrtpProfile::Aes128CmSha1_80, &material[..59]).is_none());
    assert!(SrtpSender::new(SrtpProfile::AeadAes256Gcm, client).is_err());
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_refused(mut bytes: Vec<u8>, profile in 0usize..3, versioned: bool) {
        if versioned && let Some(first) = bytes.first_mut() {
            *first = *first & 0x3F | 0x80;
        }
        let (_, mut receiver) = pair(PROFILES[profile]);
        proptest::prop_assert!(receiver.unprotect_rtp(&mut bytes.clone()).is_err());
        proptest::prop_assert!(receiver.unprotect_rtcp(&mut bytes).is_err());
    }
}
