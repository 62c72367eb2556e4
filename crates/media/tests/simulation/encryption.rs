//! Our own clients, encrypting from end to end.

use std::sync::Arc;
use std::time::Duration;

use roomful_media::api::{MediaKind, Target, TrackId};
use roomful_media::client::{ClientEvent, EncodedFrame};
use roomful_media::encryption::{Derivation, KeyOptions, Keys, Opener, Sealer, State};

use crate::link::LinkConfig;
use crate::meeting::Meeting;

const SECOND: Duration = Duration::from_secs(1);

fn keys(material: &[u8]) -> Arc<Keys> {
    let options = KeyOptions {
        derivation: Derivation::Hkdf,
        salt: b"LKFrameEncryptionKey".to_vec(),
        ratchet_window: 0,
        failure_tolerance: None,
        ring_size: 16,
    };
    let keys = Keys::new(options, |task| task());
    keys.set(None, 0, material);
    Arc::new(keys)
}

/// The sections of a guest's connections that somebody's tracks come in.
fn sections(meeting: &Meeting, who: usize) -> Vec<(Target, String, MediaKind)> {
    let section = |event: &ClientEvent| match event {
        ClientEvent::Track {
            target, mid, kind, ..
        } => Some((*target, mid.clone(), *kind)),
        _ => None,
    };
    meeting.guests[who]
        .events
        .iter()
        .filter_map(section)
        .collect()
}

/// How the opening of a kind of track fared.
fn states(meeting: &Meeting, who: usize, wanted: MediaKind) -> Vec<State> {
    let sections = sections(meeting, who);
    let of_kind = |at: &Target, which: &str| {
        let mut found = sections.iter();
        found.any(|(target, mid, kind)| (target, mid.as_str(), *kind) == (at, which, wanted))
    };
    let state = |event: &ClientEvent| match event {
        ClientEvent::Opening { target, mid, state } if of_kind(target, mid) => Some(*state),
        _ => None,
    };
    meeting.guests[who]
        .events
        .iter()
        .filter_map(state)
        .collect()
}

/// A meeting in which alice publishes, encrypted by one key, and another opens all that it gets by a second.
fn meet(seed: u64, opens_by: &[u8], looks: bool) -> (Meeting, usize, TrackId, TrackId) {
    let mut meeting = Meeting::new(seed);
    let alice = meeting.join(true, LinkConfig::default());
    let other = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let microphone = meeting.publish(alice, false);
    let camera = meeting.publish_video(alice, &[("", 3_000, 900_000)]);
    let sealing = keys(b"secret");
    for track in [microphone, camera] {
        let sealer = Sealer::new(Arc::clone(&sealing), "alice", 0);
        meeting.act(alice, |client, _| client.encrypt(track, Some(sealer)));
    }
    let both = |meeting: &Meeting| sections(meeting, other).len() == 2;
    assert!(meeting.run_until(SECOND, both));
    let opening = keys(opens_by);
    for (target, mid, _) in sections(&meeting, other) {
        let opener = Opener::new(Arc::clone(&opening), "alice", b"");
        meeting.act(other, |client, now| {
            client.decrypt(target, &mid, Some(opener));
            if !looks {
                client.remove_sink(now, target, &mid, None);
            }
        });
    }
    meeting.run_for(2 * SECOND);
    (meeting, other, microphone, camera)
}

#[test]
fn the_right_key_hears_and_sees_all() {
    let (meeting, bob, microphone, camera) = meet(1, b"secret", true);
    let heard = meeting.guests[bob].heard(microphone);
    let heard = &heard[heard.len() - 80..];
    assert!(heard.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
    let seen = meeting.guests[bob].seen(camera);
    assert!(seen.len() > 50, "{}", seen.len());
    assert!(
        seen.iter()
            .rev()
            .take(50)
            .all(|it| it.frame.data.len() == 3_000)
    );
    for kind in [MediaKind::Audio, MediaKind::Video] {
        assert_eq!(states(&meeting, bob, kind), [State::Ok]);
    }
}

#[test]
fn another_key_gives_nothing_and_says_so() {
    let (mut meeting, eve, microphone, camera) = meet(2, b"a guess", true);
    let before = meeting.guests[eve].heard(microphone).len();
    meeting.run_for(SECOND);
    assert_eq!(meeting.guests[eve].heard(microphone).len(), before);
    assert!(meeting.guests[eve].seen(camera).is_empty());
    for kind in [MediaKind::Audio, MediaKind::Video] {
        assert_eq!(states(&meeting, eve, kind), [State::DecryptionFailed]);
    }
}

#[test]
fn how_encrypting_fares_is_told_though_nobody_took_the_first_frames() {
    let mut meeting = Meeting::new(4);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let camera = meeting.publish_video(alice, &[("", 3_000, 900_000)]);
    let sealer = Sealer::new(keys(b"secret"), "alice", 0);
    meeting.act(alice, |client, now| {
        client.encrypt(camera, Some(sealer));
        let frame = EncodedFrame {
            data: &[0; 50],
            timestamp_us: 0,
            captured: now,
            key: true,
        };
        client.send_frame(now, camera, 9, frame);
    });
    meeting.run_for(SECOND);
    let told = meeting.guests[alice].events.iter();
    let told = told.filter_map(|event| match event {
        ClientEvent::Sealing { track, state } => Some((*track, *state)),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(camera, State::Ok)]);
}

#[test]
fn how_it_fares_is_told_of_what_nobody_hears_or_sees() {
    let (meeting, bob, _, _) = meet(3, b"secret", false);
    for kind in [MediaKind::Audio, MediaKind::Video] {
        assert_eq!(states(&meeting, bob, kind), [State::Ok]);
    }
}
