//! Codecs and payload types that no browser at hand has.

use std::time::Duration;

use roomful_media::api::TrackId;
use str0m::format::Codec;

use crate::clip::{CHROMIUM, CONTRARY, Clip, FIREFOX, Format, UNFRAGMENTED};
use crate::world::{Join, Who, World};

const SECOND: Duration = Duration::from_secs(1);

fn over(formats: &'static [Format], join: Join) -> Join {
    Join { formats, ..join }
}

/// What came arrives whole, in order, as sent, under one payload type; from a key frame on. Gives the payload type.
fn check(world: &World, who: Who, track: TrackId, codec: Codec) -> u8 {
    let (video, step) = (codec.is_video(), Clip::new(codec).step());
    let heard = world.heard(who, track);
    let marks: Vec<_> = heard
        .iter()
        .map(|h| h.mark().expect("a packet of a clip"))
        .collect();
    let first = marks.first().expect("packets");
    assert!(
        first.first && (first.key || !video),
        "begins with {first:?}"
    );
    for (pair, packets) in marks.windows(2).zip(heard.windows(2)) {
        let (a, b) = (pair[0], pair[1]);
        assert_eq!(
            (a.last, b.number),
            (b.first, a.number + u32::from(a.last)),
            "a gap: {pair:?}"
        );
        assert_eq!(packets[0].sequence + 1, packets[1].sequence);
        assert_eq!(packets[0].payload_type, packets[1].payload_type);
        let moved = packets[1].timestamp.wrapping_sub(packets[0].timestamp);
        assert_eq!(moved, if a.last { step } else { 0 });
    }
    for (mark, packet) in marks.iter().zip(heard) {
        assert_eq!(packet.marker, mark.last || !video, "{mark:?}");
    }
    heard[0].payload_type
}

/// Alice publishes and Bob comes later: he sees from a key frame that she was asked for. Gives the payload types that
/// she sent and that he got.
fn carry(codec: Codec, alice: Join, bob: Join) -> (u8, u8) {
    let mut world = World::new(60);
    let alice = world.join("alice", alice);
    let track = world.publish_clip(alice, codec);
    world.run_for(SECOND);
    let before = world.peer(alice).publications[0].key_requests[0];
    let bob = world.join("bob", bob);
    let heard = world.run_until(4 * SECOND, |world| world.heard(bob, track).len() > 100);
    assert!(heard, "{}", world.tail(100));
    let number = check(&world, bob, track, codec);
    let asked = world.peer(alice).publications[0].key_requests[0] - before;
    assert_eq!(asked > 0, codec.is_video(), "asked for {asked} key frames");
    let sent = world.peer(alice).publications[0].payload_type;
    (sent.expect("a payload type"), number)
}

#[test]
fn h265_reaches_who_numbers_it_otherwise() {
    let (ours, theirs) = (
        over(CHROMIUM, Join::single()),
        over(CONTRARY, Join::single()),
    );
    assert_eq!(carry(Codec::H265, ours, theirs), (49, 101));
    assert_eq!(carry(Codec::H265, theirs, ours), (101, 49));
}

#[test]
fn h265_reaches_who_takes_our_numbers() {
    let sender = over(CHROMIUM, Join::dual());
    assert_eq!(
        carry(Codec::H265, sender, over(CONTRARY, Join::dual())),
        (49, 116)
    );
}

#[test]
fn g711_reaches_who_numbers_it_otherwise() {
    let (ours, theirs) = (
        over(CHROMIUM, Join::single()),
        over(CONTRARY, Join::single()),
    );
    for (codec, number, other) in [(Codec::PCMU, 0, 98), (Codec::PCMA, 8, 99)] {
        assert_eq!(carry(codec, ours, theirs), (number, other));
        assert_eq!(carry(codec, theirs, ours), (other, number));
        assert_eq!(
            carry(codec, ours, over(FIREFOX, Join::dual())),
            (number, number)
        );
    }
}

#[test]
fn h264_meets_between_firefox_and_chromium() {
    let chromium = over(CHROMIUM, Join::single());
    let firefox = over(FIREFOX, Join::single());
    assert_eq!(carry(Codec::H264, chromium, firefox), (103, 105));
    assert_eq!(carry(Codec::H264, firefox, chromium), (126, 109));
    let firefox = over(FIREFOX, Join::dual());
    assert_eq!(carry(Codec::H264, chromium, firefox), (103, 102));
    assert_eq!(carry(Codec::H264, firefox, chromium), (126, 109));
}

/// Single NAL units stay what they are, also where a receiver could take fragments.
#[test]
fn h264_without_fragments_reaches_a_format_without_them() {
    let sender = over(UNFRAGMENTED, Join::single());
    assert_eq!(
        carry(Codec::H264, sender, over(FIREFOX, Join::single())),
        (97, 97)
    );
    assert_eq!(
        carry(Codec::H264, sender, over(CHROMIUM, Join::single())),
        (97, 115)
    );
    assert_eq!(
        carry(Codec::H264, sender, over(CONTRARY, Join::single())),
        (97, 123)
    );
}

/// Fragments may not reach who cannot put them together: that one gets nothing, and others what they can take.
#[test]
fn h264_fragments_do_not_reach_who_takes_single_units_only() {
    let mut world = World::new(61);
    let alice = world.join("alice", over(FIREFOX, Join::single()));
    let track = world.publish_clip(alice, Codec::H264);
    let bob = world.join("bob", over(UNFRAGMENTED, Join::single()));
    let carol = world.join("carol", over(CHROMIUM, Join::single()));
    let heard = world.run_until(3 * SECOND, |world| world.heard(carol, track).len() > 100);
    assert!(heard, "{}", world.tail(100));
    assert!(world.peer(bob).is_connected() && world.heard(bob, track).is_empty());
}
