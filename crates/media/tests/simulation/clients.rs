//! Our own clients: joining, publishing, hearing, data, loss and coming back.

use std::time::Duration;

use bytes::Bytes;
use roomful_media::api::{ConnectionState, Target, TrackId};
use roomful_media::client::{Client, ClientEvent, ReceivedFrame};
use roomful_media::data::Channel;
use roomful_media::statistics::{Report, Value};

use crate::link::LinkConfig;
use crate::meeting::Meeting;

const SECOND: Duration = Duration::from_secs(1);
/// A user packet, field by field: value (user) with payload and topic.
const PACKET: &[u8] = b"\x12\x08\x12\x02hi\x22\x02to";

fn send(client: &mut Client, now: std::time::Instant, channel: Channel, message: &'static [u8]) {
    let backlog = client.backlog(channel).expect("one of ours");
    assert!(backlog.reserve(message.len()));
    client.send_data(now, channel, Bytes::from_static(message));
}

fn meet(single: bool) {
    let mut meeting = Meeting::new(1);
    let alice = meeting.join(single, LinkConfig::default());
    let bob = meeting.join(single, LinkConfig::default());
    let open = |meeting: &Meeting| meeting.guests.iter().all(|it| it.channels_open());
    assert!(meeting.run_until(SECOND, open));
    let microphone = meeting.publish(alice, false);
    let heard = |meeting: &Meeting| !meeting.guests[bob].heard(microphone).is_empty();
    assert!(meeting.run_until(SECOND / 2, heard));
    meeting.act(alice, |client, now| {
        send(client, now, Channel::Reliable, PACKET)
    });
    meeting.run_for(2 * SECOND);
    let heard = meeting.guests[bob].heard(microphone);
    assert!(heard.len() > 95, "{}", heard.len());
    assert!(heard.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
    let messages = meeting.guests[bob].messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, Channel::Reliable);
    assert!(messages[0].1.windows(2).any(|it| it == b"hi"));
    meeting.act(alice, |client, _| {
        client.unpublish(microphone);
        client.negotiate();
    });
    let ended = |meeting: &Meeting| {
        let ended = |event: &ClientEvent| matches!(event, ClientEvent::TrackEnded { .. });
        meeting.guests[bob].events.iter().any(ended)
    };
    assert!(meeting.run_until(SECOND, ended));
}

#[test]
fn clients_of_ours_meet_over_one_connection() {
    meet(true);
}

#[test]
fn clients_of_ours_meet_over_two_connections() {
    meet(false);
}

#[test]
fn redundancy_and_repeats_mend_what_is_lost() {
    let mut meeting = Meeting::new(2);
    let lossy = LinkConfig {
        loss: 0.1,
        ..LinkConfig::default()
    };
    let alice = meeting.join(true, lossy);
    let bob = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    for red in [false, true] {
        let track = meeting.publish(alice, red);
        meeting.run_for(6 * SECOND);
        let mut heard = meeting.guests[bob].heard(track);
        heard.sort_unstable();
        heard.dedup();
        let (first, last) = (heard[0].0, heard[heard.len() - 1].0);
        let span = (last - first + 1) as usize;
        assert!(span > 250, "{span}");
        assert!(
            heard.len() + 3 > span,
            "red {red}: {} of {span}",
            heard.len()
        );
    }
}

#[test]
fn redundancy_is_left_to_the_sink_that_listens() {
    let mut meeting = Meeting::new(2);
    let alice = meeting.join(true, LinkConfig::default());
    let lossy = LinkConfig {
        loss: 0.1,
        ..LinkConfig::default()
    };
    let bob = meeting.join(true, lossy);
    meeting.run_for(SECOND);
    let track = meeting.publish(alice, true);
    meeting.run_for(6 * SECOND);
    let heard = meeting.guests[bob].heard(track);
    let span = heard[heard.len() - 1].0 - heard[0].0 + 1;
    // About 30 of 300 were lost.
    assert!(
        heard.len() + 10 < span as usize,
        "{} of {span}",
        heard.len()
    );
}

#[test]
fn statistics_tell_of_loss_and_of_what_came_again() {
    let mut meeting = Meeting::new(2);
    let alice = meeting.join(true, LinkConfig::default());
    let lossy = LinkConfig {
        loss: 0.1,
        ..LinkConfig::default()
    };
    let bob = meeting.join(true, lossy);
    meeting.run_for(SECOND);
    meeting.publish(alice, true);
    meeting.publish_video(alice, &[("", 5_000, 1_700_000)]);
    meeting.run_for(10 * SECOND);
    let mut reports = |guest| {
        meeting.act(guest, |client, now| {
            client.statistics(now, Target::Publisher)
        })
    };
    let number = |report: &Report, name| match report.get(name) {
        Some(Value::Count(count)) => *count as f64,
        Some(Value::Whole(whole)) => *whole as f64,
        Some(Value::Number(number) | Value::Total(number)) => *number,
        other => panic!("{name} of {} is {other:?}", report.id),
    };
    let received = reports(bob);
    let inbound: Vec<&Report> = received
        .iter()
        .filter(|it| it.kind == "inbound-rtp")
        .collect();
    assert_eq!(inbound.len(), 2);
    for report in inbound {
        let lost = number(report, "packetsLost");
        let all = number(report, "packetsReceived") + lost;
        assert!((0.05..0.2).contains(&(lost / all)), "{lost} of {all}");
        // Sound has copies in the packets that follow.
        let repeated = report.get("kind") == Some(&"video".into());
        for name in ["nackCount", "retransmittedPacketsReceived"] {
            assert_eq!(number(report, name) > 5.0, repeated, "{report:?}");
        }
    }
    let sent = reports(alice);
    for report in sent.iter().filter(|it| it.kind == "remote-inbound-rtp") {
        // Between her and the server nothing is lost.
        assert_eq!(number(report, "fractionLost"), 0.0);
        assert!((0.0..0.2).contains(&number(report, "roundTripTime")));
    }
    assert_eq!(
        sent.iter().filter(|it| it.kind == "outbound-rtp").count(),
        2
    );
}

#[test]
fn a_client_comes_back_by_an_ice_restart_and_is_heard_again() {
    for single in [true, false] {
        let mut meeting = Meeting::new(3);
        let alice = meeting.join(single, LinkConfig::default());
        let bob = meeting.join(single, LinkConfig::default());
        let microphone = meeting.publish(alice, false);
        meeting.run_for(3 * SECOND);
        meeting.cut(alice, true);
        let gone = |meeting: &Meeting| {
            let states = meeting.guests[alice].states(Target::Publisher);
            states.last() == Some(&ConnectionState::Disconnected)
        };
        assert!(meeting.run_until(12 * SECOND, gone));
        meeting.cut(alice, false);
        let before = meeting.guests[bob].heard(microphone).len();
        meeting.act(alice, |client, now| {
            client.restart_ice(now, Target::Publisher)
        });
        let back = |meeting: &Meeting| meeting.guests[bob].heard(microphone).len() > before;
        assert!(meeting.run_until(SECOND, back));
    }
}

#[test]
fn a_full_channel_refuses_and_tells_when_there_is_room() {
    let mut meeting = Meeting::new(4);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let backlog = meeting.guests[alice]
        .client
        .backlog(Channel::Reliable)
        .expect("one of ours");
    let message = Bytes::from_static(&[0; 60_000]);
    let mut sent = 0;
    while backlog.reserve(message.len()) {
        let message = message.clone();
        meeting.guests[alice]
            .client
            .send_data(meeting.now, Channel::Reliable, message);
        sent += 1;
    }
    assert!((30..40).contains(&sent), "{sent}");
    let low = |meeting: &Meeting| {
        let low = |event: &ClientEvent| matches!(event, ClientEvent::BufferLow(Channel::Reliable));
        meeting.guests[alice].events.iter().any(low)
    };
    assert!(!low(&meeting));
    assert!(meeting.run_until(20 * SECOND, low));
    assert!(backlog.reserve(message.len()));
}

/// Rid, bytes of a frame, highest rate: 120, 360 and 1,200 kbit/s.
const CAMERA: [(&str, usize, u64); 3] = [
    ("q", 500, 150_000),
    ("h", 1_500, 450_000),
    ("f", 5_000, 1_700_000),
];

/// Numbers of the frames and how large they are, after the first that decoding can begin with.
fn numbers(meeting: &Meeting, who: usize, track: TrackId) -> Vec<(u32, usize)> {
    let frames = meeting.guests[who].seen(track);
    let number = |it: &ReceivedFrame| {
        let start = if it.frame.key { 10 } else { 3 };
        let bytes = it.frame.data[start..start + 4].try_into();
        (
            u32::from_be_bytes(bytes.expect("four bytes")),
            it.frame.data.len(),
        )
    };
    frames.iter().map(number).collect()
}

fn sees(single: bool, layers: &[(&str, usize, u64)], up: LinkConfig) -> Vec<(u32, usize)> {
    let mut meeting = Meeting::new(5);
    let alice = meeting.join(single, up);
    let bob = meeting.join(single, LinkConfig::default());
    meeting.run_for(SECOND);
    let camera = meeting.publish_video(alice, layers);
    let seen = |meeting: &Meeting| !meeting.guests[bob].seen(camera).is_empty();
    assert!(meeting.run_until(SECOND, seen));
    assert!(meeting.guests[bob].seen(camera)[0].frame.key);
    meeting.run_for(9 * SECOND);
    numbers(&meeting, bob, camera)
}

#[test]
fn one_layer_arrives_whole_over_one_and_two_connections() {
    for single in [true, false] {
        let frames = sees(single, &[("", 5_000, 1_700_000)], LinkConfig::default());
        assert!(frames.len() > 250, "{}", frames.len());
        assert!(frames.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
        assert!(frames.iter().all(|(_, size)| *size >= 5_000));
    }
}

#[test]
fn simulcast_ends_at_the_best_layer() {
    let frames = sees(true, &CAMERA, LinkConfig::default());
    assert!(frames.len() > 240, "{}", frames.len());
    assert!(
        frames
            .iter()
            .rev()
            .take(150)
            .all(|(_, size)| *size == 5_000)
    );
}

#[test]
fn lost_packets_of_pictures_come_again() {
    let lossy = LinkConfig {
        loss: 0.03,
        ..LinkConfig::default()
    };
    for layers in [&CAMERA[..], &[("", 5_000, 1_700_000)]] {
        let frames = sees(true, layers, lossy);
        assert!(frames.len() > 230, "{}", frames.len());
        let late = &frames[frames.len() - 150..];
        let skipped = late
            .windows(2)
            .filter(|pair| pair[1].0 != pair[0].0 + 1)
            .count();
        assert!(skipped <= 3, "{skipped}");
    }
}

fn limited(rate: Option<u64>) -> LinkConfig {
    LinkConfig {
        rate,
        ..LinkConfig::default()
    }
}

#[test]
fn layers_follow_what_the_path_takes_down_and_up_again() {
    let mut meeting = Meeting::new(6);
    let alice = meeting.join(true, LinkConfig::default());
    let bob = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    meeting.guests[alice].obedient = true;
    let camera = meeting.publish_video(alice, &CAMERA);
    let told = |meeting: &Meeting, layer| meeting.guests[alice].bitrate(camera, layer);
    let best = |meeting: &Meeting| told(meeting, 2) == Some(1_700_000);
    assert!(meeting.run_until(10 * SECOND, best));
    meeting.set_links(alice, limited(Some(400_000)));
    let fallen = |meeting: &Meeting| told(meeting, 2) == Some(0);
    assert!(meeting.run_until(3 * SECOND, fallen));
    meeting.run_for(20 * SECOND);
    assert!(told(&meeting, 0).is_some_and(|bits| bits > 100_000));
    let begun = meeting.guests[alice].events.len();
    meeting.run_for(60 * SECOND);
    let tries = |event: &&ClientEvent| matches!(event, ClientEvent::Bitrate { layer: 2, bits, .. } if *bits > 0);
    let tries = meeting.guests[alice].events[begun..].iter().filter(tries);
    assert!(tries.count() <= 4);
    meeting.set_links(alice, LinkConfig::default());
    assert!(meeting.run_until(50 * SECOND, best));
    meeting.run_for(5 * SECOND);
    assert!(best(&meeting));
    assert!(meeting.guests[bob].seen(camera).len() > 1_500);
}

#[test]
fn a_layer_that_does_not_fit_from_the_beginning_is_told_so() {
    let mut meeting = Meeting::new(7);
    let alice = meeting.join(true, limited(Some(300_000)));
    meeting.run_for(SECOND);
    meeting.guests[alice].obedient = true;
    let camera = meeting.publish_video(alice, &CAMERA);
    meeting.run_for(SECOND / 2);
    assert_eq!(meeting.guests[alice].bitrate(camera, 2), Some(0));
    meeting.run_for(10 * SECOND);
    assert_eq!(meeting.guests[alice].bitrate(camera, 2), Some(0));
}

#[test]
fn who_receives_over_a_narrow_path_is_sent_what_fits() {
    for single in [true, false] {
        let mut meeting = Meeting::new(9);
        let alice = meeting.join(single, LinkConfig::default());
        let bob = meeting.join(single, LinkConfig::default());
        meeting.run_for(SECOND);
        let camera = meeting.publish_video(alice, &CAMERA);
        meeting.run_for(8 * SECOND);
        let last = |meeting: &Meeting| numbers(meeting, bob, camera).last().map(|it| it.1);
        assert_eq!(last(&meeting), Some(5_000));
        meeting.set_links(bob, limited(Some(700_000)));
        let fits = |meeting: &Meeting| last(meeting).is_some_and(|size| size <= 1_500);
        assert!(meeting.run_until(8 * SECOND, fits), "single {single}");
        if !single {
            return;
        }
        let begun = numbers(&meeting, bob, camera).len();
        meeting.run_for(4 * SECOND);
        let seen = numbers(&meeting, bob, camera).len() - begun;
        assert!(seen > 90, "single {single}: {seen}");
        meeting.set_links(bob, LinkConfig::default());
        let best = |meeting: &Meeting| last(meeting) == Some(5_000);
        assert!(meeting.run_until(30 * SECOND, best), "single {single}");
    }
}

#[test]
fn what_nobody_takes_gets_no_share() {
    let mut meeting = Meeting::new(8);
    let alice = meeting.join(true, limited(Some(1_500_000)));
    meeting.run_for(SECOND);
    meeting.guests[alice].obedient = true;
    let layers = [("", 5_000, 1_200_000)];
    let first = meeting.publish_video(alice, &layers);
    let second = meeting.publish_video(alice, &layers);
    meeting.run_for(15 * SECOND);
    let told = |meeting: &Meeting, track| meeting.guests[alice].bitrate(track, 0).unwrap_or(0);
    assert!(told(&meeting, first) < 900_000);
    meeting.act(alice, |client, now| client.use_layers(now, first, &[]));
    let full = |meeting: &Meeting| told(meeting, second) >= 1_000_000;
    assert!(meeting.run_until(15 * SECOND, full));
    let before = told(&meeting, second);
    meeting.act(alice, |client, now| client.use_layers(now, first, &[0]));
    assert!(told(&meeting, second) <= before * 2 / 3);
}
