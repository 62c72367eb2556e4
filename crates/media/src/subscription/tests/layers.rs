//! Which layers pass, and when.

use super::*;

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
fn a_left_out_packet_that_comes_late_fills_its_hole_with_nothing() {
    let mut pair = Pair::simulcast(0);
    let packet = |sequence: u16, temporal: u8| {
        let index = sequence - 100;
        Rtp::new(VP8, 10, sequence, 3000 * u32::from(index))
            .payload(&vp8(true, index == 0, 100 + index, index as u8, temporal))
            .with(MID_ID, b"1")
            .with(RID_ID, b"q")
            .marker()
    };
    for (sequence, temporal) in [(100, 0), (101, 2), (102, 0)] {
        pair.receive(&packet(sequence, temporal));
        pair.bench.pass(33 * MS);
    }
    pair.subscription.set_settings(TrackSettings {
        fps: 15,
        ..Default::default()
    });
    // One of the layer that does not pass comes last.
    for (sequence, temporal) in [(103, 2), (104, 0), (106, 0), (105, 2)] {
        pair.receive(&packet(sequence, temporal));
        pair.bench.pass(33 * MS);
    }
    let late = pair.received.pop().unwrap();
    assert_eq!((late.header.sequence, late.payload.len()), (0x7004, 0));
    assert!(!late.header.marker);
    let numbers: Vec<_> = pair.received.iter().map(|it| it.header.sequence).collect();
    assert_eq!(numbers, [0x7000, 0x7001, 0x7002, 0x7003, 0x7005]);
    assert!(pair.received.iter().all(|it| !it.payload.is_empty()));
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
