//! Tracks that are published in another codec too, when a subscriber needs it.

use super::*;

#[test]
fn a_backup_codec_is_asked_for_when_a_subscriber_needs_it() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "vp9", &[Codec::Vp9]);
    let mut camera = spec(5, MediaKind::Video, "vp9");
    camera.codecs = vec![codec("video/vp9", "vp9"), codec("video/vp8", "")];
    fixture.expect(ALICE, camera);
    fixture.offer(ALICE, &mut client);
    let offer = fixture.join_with(BOB, DUAL, |spec| {
        spec.client.disabled_codecs = vec!["video/vp9".into()];
    });
    let mut bob = Client::new();
    answer(&mut fixture, BOB, &mut bob, &offer);
    let events = fixture.wait(Duration::from_millis(1));
    let wanted = events.iter().find_map(|event| match event {
        Event::Qualities { track, codecs } => Some((*track, codecs.clone())),
        _ => None,
    });
    let enabled = |codec: &str, on| CodecQualities {
        codec: codec.into(),
        enabled: [on; 3],
    };
    let (track, codecs) = wanted.expect("the backup codec is asked for");
    assert_eq!(track, TrackId(5));
    assert_eq!(codecs, [enabled("vp9", false), enabled("vp8", true)]);
    // The publisher does as told: the track is the same, in another section.
    client.send(2, "vp8", &[Codec::Vp8]);
    let mut backup = spec(5, MediaKind::Video, "vp8");
    backup.codecs = vec![codec("video/vp8", "vp8")];
    fixture.expect(ALICE, backup);
    assert_eq!(bound(&fixture.offer(ALICE, &mut client)), [5]);
    let source = &fixture.plane.tracks[&TrackId(5)];
    assert_eq!(source.variants.len(), 2);
    let of_bob = &fixture.plane.subs.iter().next().unwrap().1;
    let variant = &fixture.plane.variants[of_bob.variant.unwrap()];
    assert_eq!(
        (variant.codec, variant.connection.is_some()),
        (Codec::Vp8, true)
    );
}

#[test]
fn a_backup_codec_of_audio_is_asked_for_when_a_subscriber_needs_it() {
    let mut fixture = Fixture::new();
    fixture.join(ALICE, DUAL);
    let mut client = Client::new();
    client.send(1, "pcmu", &[Codec::Pcmu]);
    let mut mic = spec(5, MediaKind::Audio, "pcmu");
    mic.codecs = vec![codec("audio/PCMU", "pcmu"), codec("audio/opus", "")];
    fixture.expect(ALICE, mic);
    fixture.offer(ALICE, &mut client);
    let offer = fixture.join_with(BOB, DUAL, |spec| {
        spec.client.disabled_codecs = vec!["audio/pcmu".into()];
    });
    answer(&mut fixture, BOB, &mut Client::new(), &offer);
    let events = fixture.wait(Duration::from_millis(1));
    let asked = events.iter().find_map(|event| match event {
        Event::AudioCodecs { codecs, .. } => Some(codecs.clone()),
        _ => None,
    });
    let wanted = [("audio/pcmu".into(), false), ("audio/opus".into(), true)];
    assert_eq!(asked.as_deref(), Some(&wanted[..]));
    // It is sent as RED, which is Opus too.
    client.send(2, "opus", &[Codec::Red, Codec::Opus]);
    let mut backup = spec(5, MediaKind::Audio, "opus");
    backup.codecs = vec![codec("audio/opus", "opus")];
    fixture.expect(ALICE, backup);
    assert_eq!(bound(&fixture.offer(ALICE, &mut client)), [5]);
    assert_eq!(fixture.plane.tracks[&TrackId(5)].variants.len(), 2);
    let of_bob = &fixture.plane.subs.iter().next().unwrap().1;
    let variant = &fixture.plane.variants[of_bob.variant.unwrap()];
    assert!(variant.connection.is_some());
}
