use super::*;
use crate::rtp::rtcp::parse_compound;
use crate::rtp::rtcp::report::write_sender_report;
use crate::rtp::rtcp::{RtcpPacket, SenderInfo};
use crate::track::clock::micros_to_ntp;
use crate::track::testing::*;

const MS: Duration = Duration::from_millis(1);

fn key(ssrc: u32, sequence: u16, timestamp: u32) -> Rtp {
    Rtp::new(VP8, ssrc, sequence, timestamp)
        .payload(&vp8(true, true, 1, 1, 0))
        .marker()
}

fn delta(ssrc: u32, sequence: u16, timestamp: u32) -> Rtp {
    Rtp::new(VP8, ssrc, sequence, timestamp)
        .payload(&vp8(true, false, 1, 1, 0))
        .marker()
}

fn simulcast(rid: &str, packet: Rtp) -> Rtp {
    packet.with(MID_ID, b"1").with(RID_ID, rid.as_bytes())
}

#[test]
fn announced_audio_is_forwarded_with_its_level() {
    let mut bench = Bench::new(vec![audio_section(7, "0", 10)]);
    let out = bench.receive(&Rtp::new(OPUS, 10, 65_535, 960).with(LEVEL_ID, &[0x80 | 30]));
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].tag, 7);
    assert_eq!(out[0].packet.audio_level, Some(30));
    assert_eq!(out[0].packet.payload(), &[0xAB; 20]);
    let next = bench.receive(&Rtp::new(OPUS, 10, 0, 1920));
    assert_eq!(next[0].packet.sequence, out[0].packet.sequence + 1);
}

#[test]
fn layers_go_by_rid_name_and_later_packets_need_no_extension() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    for (rid, ssrc, layer) in [("f", 30, 2), ("q", 10, 0), ("h", 20, 1)] {
        let out = bench.receive(&simulcast(rid, key(ssrc, 1, 0)));
        assert_eq!(out[0].packet.layer, layer);
        assert_eq!(bench.receive(&delta(ssrc, 2, 3000))[0].packet.layer, layer);
    }
    let mut events = Vec::new();
    while let Some(event) = bench.receiver.poll_event() {
        events.push(event);
    }
    assert_eq!(events.len(), 3);
    assert!(events.contains(&ReceiverEvent::LayerStarted {
        tag: 1,
        layer: 2,
        ssrc: 30
    }));
}

#[test]
fn layers_go_by_ssrc_group_of_old_clients() {
    let mut section = video_section(1, "1");
    section.ssrcs = (0..3)
        .map(|layer| crate::track::ReceiveSsrc {
            ssrc: 100 + layer,
            rtx: Some(200 + layer),
            layer: layer as u8,
        })
        .collect();
    let mut bench = Bench::new(vec![section]);
    assert_eq!(bench.receive(&key(102, 1, 0))[0].packet.layer, 2);
    assert_eq!(bench.receive(&key(100, 1, 0))[0].packet.layer, 0);
    let rtx = Rtp::new(VP8_RTX, 202, 5, 3000)
        .payload(&[&[0, 2][..], &vp8(true, false, 2, 1, 0)].concat());
    let out = bench.receive(&rtx);
    assert_eq!((out[0].packet.layer, out[0].packet.timestamp), (2, 3000));
}

#[test]
fn retransmissions_fill_the_gap_in_the_primary_stream() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    let first = bench.receive(&simulcast("h", key(20, 100, 0)));
    bench.receive(&delta(20, 102, 6000));
    let body = vp8(true, false, 2, 1, 0);
    let repeated = Rtp::new(VP8_RTX, 21, 9, 3000)
        .payload(&[&101u16.to_be_bytes()[..], &body].concat())
        .with(MID_ID, b"1")
        .with(REPAIRED_ID, b"h");
    let out = bench.receive(&repeated);
    assert_eq!(out[0].packet.sequence, first[0].packet.sequence + 1);
    assert_eq!(out[0].packet.payload(), body);
    assert!(!out[0].packet.newest);
    // Again by the same RTX stream, now known: a duplicate.
    let mut again = repeated.clone();
    again.header.sequence = 10;
    assert!(bench.receive(&again).is_empty());
    let asked = bench.run_until(bench.now + 100 * MS);
    assert!(
        !asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Nack(..))),
        "{asked:?}"
    );
}

#[test]
fn lost_packets_are_asked_for_until_they_come() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    bench.receiver.set_rtt(40 * MS);
    bench.receive(&simulcast("h", key(20, 65_535, 0)));
    bench.receive(&delta(20, 2, 6000));
    let start = bench.now;
    let asked = bench.run_until(start + 60 * MS);
    let nacks: Vec<_> = asked
        .iter()
        .filter(|(_, asked)| *asked == Asked::Nack(20, vec![0, 1]))
        .map(|(at, _)| *at - start)
        .collect();
    assert_eq!(nacks, [5 * MS, 55 * MS]);
    bench.receive(&delta(20, 0, 3000));
    bench.receive(&delta(20, 1, 3000));
    let asked = bench.run_until(start + 500 * MS);
    assert!(
        !asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Nack(..)))
    );
}

#[test]
fn packets_before_their_section_are_kept_and_bounded() {
    let mut bench = Bench::new(Vec::new());
    for sequence in 0..1000u16 {
        assert!(bench.receive(&Rtp::new(OPUS, 10, sequence, 0)).is_empty());
    }
    let mut out = Vec::new();
    bench
        .receiver
        .set_section(bench.now, audio_section(7, "0", 10), &mut out);
    assert_eq!(out.len(), MOST_PENDING);
    assert_eq!(out.last().unwrap().packet.sequence as u16, 999);
}

#[test]
fn packets_that_waited_too_long_are_not_played() {
    let mut bench = Bench::new(Vec::new());
    bench.receive(&Rtp::new(OPUS, 10, 1, 0));
    bench.pass(2 * PENDING_TIME);
    let mut out = Vec::new();
    bench
        .receiver
        .set_section(bench.now, audio_section(7, "0", 10), &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_stream_without_mid_is_found_by_a_payload_type_that_one_section_has() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10), video_section(2, "1")]);
    assert_eq!(bench.receive(&key(77, 1, 0))[0].tag, 2);
    let mut two = Bench::new(vec![video_section(1, "0"), video_section(2, "1")]);
    assert!(two.receive(&key(77, 1, 0)).is_empty());
    assert_eq!(two.receive(&key(77, 2, 0).with(MID_ID, b"1"))[0].tag, 2);
}

#[test]
fn ssrcs_are_bounded_by_the_layers_there_are() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    for ssrc in 1..10_000 {
        bench.receive(&simulcast("h", key(ssrc, 1, 0)));
    }
    assert_eq!(bench.receiver.by_ssrc.len(), 1);
    assert_eq!(bench.receiver.streams.len(), 1);
    assert!(bench.receiver.retired.len() <= MOST_RETIRED);
}

#[test]
fn a_new_ssrc_takes_the_place_of_the_old_and_its_stragglers_are_dropped() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    let before = bench.receive(&simulcast("h", key(20, 1, 0)));
    let after = bench.receive(&simulcast("h", key(21, 500, 90)));
    assert_ne!(before[0].packet.epoch, after[0].packet.epoch);
    assert!(
        bench
            .receive(&simulcast("h", delta(20, 2, 3000)))
            .is_empty()
    );
    assert_eq!(bench.receive(&delta(21, 501, 3090)).len(), 1);
}

#[test]
fn key_frames_are_asked_for_at_once_and_again_while_none_comes() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    bench.receive(&simulcast("h", delta(20, 1, 0)));
    let start = bench.now;
    bench.receiver.request_keyframe(1, 1, true);
    let asked = bench.run_until(start + 2500 * MS);
    let at: Vec<_> = asked
        .iter()
        .filter(|(_, asked)| *asked == Asked::Pli(20))
        .map(|(at, _)| *at - start)
        .collect();
    assert_eq!(at, [Duration::ZERO, 1000 * MS, 2000 * MS]);
    bench.receive(&key(20, 2, 9000));
    let asked = bench.run_until(start + 6000 * MS);
    assert!(
        !asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Pli(_)))
    );
}

#[test]
fn a_wish_made_before_the_layer_arrived_is_kept() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    bench.receiver.request_keyframe(1, 2, true);
    bench.receive(&simulcast("f", delta(30, 1, 0)));
    let asked = bench.run_until(bench.now + 10 * MS);
    assert!(asked.iter().any(|(_, asked)| *asked == Asked::Pli(30)));
}

#[test]
fn unmute_asks_for_a_key_frame_within_half_a_second_and_muted_packets_go_nowhere() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    bench.receive(&simulcast("q", key(10, 1, 0)));
    bench.receiver.set_muted(bench.now, 1, true);
    assert!(bench.receive(&delta(10, 2, 3000)).is_empty());
    bench.pass(100 * MS);
    let unmuted = bench.now;
    bench.receiver.set_muted(unmuted, 1, false);
    let asked = bench.run_until(unmuted + 3000 * MS);
    let pli: Vec<_> = asked
        .iter()
        .filter(|(_, asked)| *asked == Asked::Pli(10))
        .collect();
    assert!(pli[0].0 - unmuted <= 500 * MS);
    assert!(pli.len() >= 5);
}

#[test]
fn transport_feedback_covers_every_packet_also_padding() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    for sequence in 0..10u16 {
        bench.receive(
            &simulcast("q", delta(10, sequence, 0)).with(TWCC_ID, &sequence.to_be_bytes()),
        );
    }
    let mut padding = Rtp::new(VP8_RTX, 9, 1, 0)
        .payload(&[0, 0, 0, 4])
        .with(TWCC_ID, &10u16.to_be_bytes())
        .bytes();
    padding[0] |= 0x20;
    let mut out = Vec::new();
    let _ = bench.receiver.handle_rtp(bench.now, &padding, &mut out);
    assert!(out.is_empty());
    let asked = bench.run_until(bench.now + 60 * MS);
    assert!(
        asked.iter().any(|(_, asked)| *asked == Asked::Feedback(11)),
        "{asked:?}"
    );
    assert!(
        !asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Remb(_)))
    );
}

#[test]
fn remb_goes_to_those_who_have_nothing_better() {
    let mut section = simulcast_section(1, "1");
    section
        .payloads
        .iter_mut()
        .for_each(|payload| payload.transport_cc = false);
    let mut bench = Bench::new(vec![section]);
    bench.receive(&simulcast("q", key(10, 1, 0)));
    let asked = bench.run_until(bench.now + 1100 * MS);
    assert!(
        asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Remb(rate) if *rate > 10_000_000))
    );
}

#[test]
fn receiver_reports_tell_loss_and_end_with_the_stream() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10)]);
    for sequence in (0..100u16).filter(|sequence| sequence % 2 == 0) {
        bench.receive(&Rtp::new(OPUS, 10, sequence, 960 * u32::from(sequence)));
    }
    let asked = bench.run_until(bench.now + 20_000 * MS);
    let reports: Vec<_> = asked
        .iter()
        .filter(|(_, asked)| matches!(asked, Asked::Report(_)))
        .collect();
    assert_eq!(reports.len(), 1);
    let Asked::Report(blocks) = &reports[0].1 else {
        panic!()
    };
    assert_eq!(blocks[0].0, 10);
    assert!((120..=130).contains(&blocks[0].1));
    assert_eq!(bench.receiver.deadline(bench.now), None);
}

#[test]
fn reports_put_a_participants_tracks_on_one_clock() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10), video_section(2, "1")]);
    bench.receive(&Rtp::new(OPUS, 10, 1, 48_000));
    bench.receive(&key(77, 1, 900_000));
    // A publisher whose clock is an hour off; both reports name the same moment.
    let theirs = micros_to_ntp(bench.clock.micros(bench.now) - 3_600_000_000);
    for (ssrc, rtp_timestamp) in [(10, 48_000), (77, 900_000)] {
        let mut out = Vec::new();
        write_sender_report(
            &mut out,
            ssrc,
            &SenderInfo {
                ntp: theirs,
                rtp_timestamp,
                ..Default::default()
            },
            &[],
        );
        for packet in parse_compound(&out).unwrap() {
            bench.receiver.handle_rtcp(bench.now, &packet.unwrap());
        }
        bench.pass(3 * MS);
    }
    let audio = bench.receive(&Rtp::new(OPUS, 10, 2, 96_000));
    let video = bench.receive(&key(77, 2, 990_000));
    assert!(audio[0].packet.synced && video[0].packet.synced);
    assert!((audio[0].packet.wall - video[0].packet.wall).abs() < 100);
}

#[test]
fn in_packet_spatial_ids_count_only_for_svc() {
    // VP9 of spatial layer 1.
    let payload = [0b1010_1100, 0x05, 0b0000_0011, 0x77, 1, 2, 3];
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    let packet = |ssrc| Rtp::new(VP9, ssrc, 1, 0).payload(&payload);
    let out = bench.receive(&simulcast("q", packet(10)));
    assert_eq!((out[0].packet.layer, out[0].packet.meta.spatial), (0, 0));
    let mut svc = Bench::new(vec![ReceiveSection {
        svc: true,
        ..video_section(1, "1")
    }]);
    let out = svc.receive(&packet(10));
    assert_eq!(
        (
            out[0].packet.layer,
            out[0].packet.meta.spatial,
            out[0].packet.active_layers
        ),
        (0, 1, 0b10)
    );
}

#[test]
fn bad_padding_empty_payloads_and_wrong_numbers_are_dropped_and_the_stream_goes_on() {
    let mut bench = Bench::new(vec![video_section(1, "1")]);
    assert_eq!(bench.receive(&key(77, 1, 0)).len(), 1);
    let mut try_bytes = |bytes: &[u8]| bench.receiver.handle_rtp(bench.now, bytes, &mut Vec::new());
    let mut long_padding = key(77, 2, 3000).payload(&[9; 4]).bytes();
    long_padding[0] |= 0x20;
    *long_padding.last_mut().unwrap() = 200;
    assert_eq!(try_bytes(&long_padding), Err(Discard::Malformed));
    assert_eq!(
        try_bytes(&key(77, 2, 3000).payload(&[]).bytes()),
        Err(Discard::Padding)
    );
    assert_eq!(
        try_bytes(&key(77, 3, 3000).payload(&[0x90, 0xF0]).bytes()),
        Err(Discard::BadPayload)
    );
    assert_eq!(
        try_bytes(&Rtp::new(120, 77, 4, 3000).bytes()),
        Err(Discard::UnknownPayload)
    );
    assert_eq!(try_bytes(&[]), Err(Discard::Malformed));
    assert_eq!(try_bytes(&key(77, 1, 0).bytes()), Err(Discard::Duplicate));
    assert_eq!(bench.receive(&key(77, 4, 6000)).len(), 1);
}

#[test]
fn red_packets_show_their_newest_block() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10)]);
    let mut body = Vec::new();
    crate::codec::red::write(
        &mut body,
        OPUS,
        [(960u32, &b"older"[..])].into_iter(),
        b"newest",
    );
    let out = bench.receive(&Rtp::new(RED, 10, 1, 960).payload(&body));
    assert_eq!(out[0].packet.codec, CodecKind::Red);
    assert_eq!(out[0].packet.primary(), b"newest");
    assert_eq!(out[0].packet.payload(), body);
}

#[test]
fn a_section_with_another_track_forgets_the_old_streams() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10)]);
    bench.receive(&Rtp::new(OPUS, 10, 1, 0));
    bench
        .receiver
        .set_section(bench.now, audio_section(2, "0", 11), &mut Vec::new());
    assert!(bench.receive(&Rtp::new(OPUS, 10, 2, 960)).is_empty());
    assert_eq!(bench.receive(&Rtp::new(OPUS, 11, 1, 960))[0].tag, 2);
    bench.receiver.remove_section(bench.now, "0");
    assert!(bench.receive(&Rtp::new(OPUS, 11, 2, 1920)).is_empty());
}

#[test]
fn lost_audio_is_rebuilt_from_the_redundancy_between_its_neighbours() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10)]);
    let red = |sequence: u16, timestamp: u32, blocks: &[(u32, &'static [u8])]| {
        let mut body = Vec::new();
        crate::codec::red::write(&mut body, OPUS, blocks.iter().copied(), b"newest");
        Rtp::new(RED, 10, sequence, timestamp).payload(&body)
    };
    let first = bench.receive(&red(65_534, 0, &[]))[0].packet.sequence;
    let out = bench.receive(&red(1, 2880, &[(1920, b"one"), (960, b"two")]));
    let seen: Vec<_> = out
        .iter()
        .map(|ingress| {
            (
                ingress.packet.sequence - first,
                ingress.packet.timestamp,
                ingress.packet.primary(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, 960, &b"one"[..]),
            (2, 1920, b"two"),
            (3, 2880, b"newest")
        ]
    );
    assert_eq!(out[0].packet.codec, CodecKind::Opus);
    // The packet itself is late now, and nothing is asked for.
    assert!(bench.receive(&red(0, 1920, &[])).is_empty());
    let asked = bench.run_until(bench.now + 100 * MS);
    assert!(
        !asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Nack(..))),
        "{asked:?}"
    );
    // A block from before the newest packet's time is dropped.
    let out = bench.receive(&red(3, 4800, &[(2880, b"old"), (1920, b"older")]));
    assert_eq!(out.len(), 1);
}

#[test]
fn redundancy_that_is_left_comes_with_overtaken_packets_too() {
    let mut bench = Bench::new(vec![audio_section(1, "0", 10)]);
    bench.receiver.leave_redundancy();
    // 11 is lost, and 12 with its copy is overtaken by 13.
    for sequence in [10u16, 13, 12] {
        let timestamp = u32::from(sequence) * 960;
        let mut body = Vec::new();
        crate::codec::red::write(
            &mut body,
            OPUS,
            [(960, &b"copy"[..])].into_iter(),
            b"newest",
        );
        let out = bench.receive(&Rtp::new(RED, 10, sequence, timestamp).payload(&body));
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].packet.payload(), body);
    }
}

#[test]
fn audio_is_never_asked_for_key_frames() {
    let mut bench = Bench::new(vec![audio_section(7, "0", 10)]);
    bench.receiver.request_keyframe(7, u8::MAX, true);
    bench.receiver.request_keyframe(7, 0, true);
    bench.receive(&Rtp::new(OPUS, 10, 1, 960));
    bench.receiver.request_keyframe(7, 0, true);
    let asked = bench.run_until(bench.now + 5000 * MS);
    assert!(!asked.iter().any(|(_, asked)| *asked == Asked::Pli(10)));
}

/// A NAL unit of H.264.
fn h264(ssrc: u32, sequence: u16, timestamp: u32, nal: &[u8]) -> Rtp {
    Rtp::new(H264, ssrc, sequence, timestamp).payload(nal)
}

const SPS: [u8; 4] = [0x67, 0x42, 0xE0, 0x1F];
const PPS: [u8; 3] = [0x68, 0xCE, 0x3C];
const IDR: [u8; 3] = [0x65, 0x88, 0x84];
const SLICE: [u8; 3] = [0x41, 0x9A, 0x00];

#[test]
fn a_packet_missing_inside_a_key_frame_is_asked_for() {
    let mut bench = Bench::new(vec![video_section(1, "1")]);
    bench.receive(&h264(20, 10, 3000, &SPS));
    // 8 and 9 were the end of an earlier picture; 11, the PPS, is lost.
    bench.receive(&h264(20, 12, 3000, &IDR));
    bench.receive(&h264(20, 13, 3000, &IDR).marker());
    let asked = bench.run_until(bench.now + 10 * MS);
    assert!(
        asked
            .iter()
            .any(|(_, asked)| *asked == Asked::Nack(20, vec![11])),
        "{asked:?}"
    );
    bench.receive(&h264(20, 11, 3000, &PPS));
    // What was lost before a key frame began is of no use any more.
    bench.receive(&h264(20, 15, 6000, &SLICE).marker());
    bench.receive(&h264(20, 16, 9000, &SPS));
    let asked = bench.run_until(bench.now + 10 * MS);
    assert!(
        !asked
            .iter()
            .any(|(_, asked)| matches!(asked, Asked::Nack(..))),
        "{asked:?}"
    );
}

#[test]
fn an_idr_picture_without_its_parameter_sets_is_no_start_where_they_come_in_band() {
    let mut bench = Bench::new(vec![video_section(1, "1")]);
    // Parameter sets out of band: the IDR picture itself is where to start.
    assert!(bench.receive(&h264(20, 1, 0, &IDR))[0].packet.meta.keyframe);
    assert!(
        bench.receive(&h264(20, 2, 3000, &SPS))[0]
            .packet
            .meta
            .keyframe
    );
    assert!(
        !bench.receive(&h264(20, 4, 3000, &IDR))[0]
            .packet
            .meta
            .keyframe
    );
    bench.receiver.request_keyframe(1, 0, true);
    bench.run_until(bench.now + 10 * MS);
    bench.receive(&h264(20, 7, 6000, &IDR));
    let asked = bench.run_until(bench.now + 1000 * MS);
    assert!(asked.iter().any(|(_, asked)| *asked == Asked::Pli(20)));
}

#[test]
fn retransmissions_of_long_ago_do_not_start_the_stream_anew() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    let epoch = bench.receive(&simulcast("h", key(20, 5_000, 0)))[0]
        .packet
        .epoch;
    for number in [3_000u16, 3_001, 3_002, 9_000] {
        let body = vp8(true, false, 2, 1, 0);
        let repeated = Rtp::new(VP8_RTX, 21, number, 3000)
            .payload(&[&number.to_be_bytes()[..], &body].concat())
            .with(MID_ID, b"1")
            .with(REPAIRED_ID, b"h");
        assert!(bench.receive(&repeated).is_empty(), "{number}");
    }
    let next = bench.receive(&delta(20, 5_001, 3000));
    assert_eq!(next[0].packet.epoch, epoch);
}

#[test]
fn a_publisher_that_never_answers_is_asked_less_and_less_often() {
    let mut bench = Bench::new(vec![simulcast_section(1, "1")]);
    bench.receive(&simulcast("h", delta(20, 1, 0)));
    bench.receiver.request_keyframe(1, 1, true);
    let asked = |bench: &mut Bench, seconds: u32| {
        let asked = bench.run_until(bench.now + 1000 * MS * seconds);
        let pli = |it: &&(Instant, Asked)| it.1 == Asked::Pli(20);
        asked.iter().filter(pli).count()
    };
    assert!(asked(&mut bench, 5) >= 4);
    asked(&mut bench, 15);
    assert!((1..=3).contains(&asked(&mut bench, 20)));
    // An answer makes the next wish as good as the first.
    bench.receive(&key(20, 2, 3000));
    bench.receiver.request_keyframe(1, 1, true);
    assert!(asked(&mut bench, 5) >= 4);
}

#[test]
fn feedback_on_a_bad_path_fits_datagrams() {
    let sections: Vec<_> = (0..8)
        .map(|n| simulcast_section(n, &n.to_string()))
        .collect();
    let mut bench = Bench::new(sections);
    for step in 0..300u16 {
        for mid in 0..8u8 {
            for (layer, rid) in ["q", "h", "f"].into_iter().enumerate() {
                let ssrc = 100 * u32::from(mid) + layer as u32 + 1;
                let packet = Rtp::new(VP8, ssrc, step * 18, u32::from(step) * 3000)
                    .payload(&vp8(true, step == 0, 1, 1, 0))
                    .with(MID_ID, mid.to_string().as_bytes())
                    .with(RID_ID, rid.as_bytes());
                bench.receive(&packet);
            }
        }
        bench.pass(if step == 270 { 1000 * MS } else { MS });
    }
    bench.pass(5 * MS);
    let mut compounds = Vec::new();
    let mut buffer = Vec::new();
    bench
        .receiver
        .write_rtcp(bench.now, &mut buffer, |buffer, start| {
            compounds.push(buffer.len() - start);
            let packets: Vec<_> = parse_compound(&buffer[start..]).unwrap().collect();
            assert!(matches!(packets[0], Ok(RtcpPacket::ReceiverReport { .. })));
            assert!(
                packets
                    .iter()
                    .any(|it| matches!(it, Ok(RtcpPacket::Sdes(_))))
            );
        });
    assert!(compounds.len() > 2, "{compounds:?}");
    assert!(compounds.iter().all(|len| *len <= 1_200), "{compounds:?}");
    assert_eq!(compounds.iter().sum::<usize>(), buffer.len());
}
