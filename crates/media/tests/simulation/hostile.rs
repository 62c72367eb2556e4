//! Malformed datagrams through the way that all datagrams take, before there are keys and after.

use std::net::SocketAddr;
use std::time::Duration;

use roomful_media::api::{Event, Target};

use crate::join::CAMERA;
use crate::link::Rng;
use crate::media::Layer;
use crate::world::{Join, World};

const SECOND: Duration = Duration::from_secs(1);

/// Datagrams that look like each protocol at first sight.
fn malformed(rng: &mut Rng) -> Vec<u8> {
    let first: &[u8] = match rng.below(7) {
        0 => &[0, 1, 0, 8, 0x21, 0x12, 0xa4, 0x42],
        1 => &[1, 1, 0xff, 0xff, 0x21, 0x12, 0xa4, 0x42],
        2 => &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        3 => &[23, 0xfe, 0xfd, 0, 1],
        4 => &[0x80, 96],
        5 => &[0xbf, 111, 0, 1],
        _ => &[0x81, 201, 0, 7],
    };
    let mut out = first.to_vec();
    (0..rng.below(200)).for_each(|_| out.push(rng.word() as u8));
    out
}

#[test]
fn malformed_datagrams_disturb_nobody_before_and_after_there_are_keys() {
    let mut world = World::new(50);
    let mut rng = Rng::new(51);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::dual());
    let microphone = world.publish_audio(alice);
    let camera = world.publish_video(alice, &CAMERA);
    let stranger = SocketAddr::from(([203, 0, 113, 5], 40_000));
    let addresses: Vec<SocketAddr> = [
        world.peer(alice).address(Target::Publisher),
        world.peer(bob).address(Target::Subscriber),
        world.peer(bob).address(Target::Publisher),
        Some(stranger),
    ]
    .into_iter()
    .flatten()
    .collect();
    // From the first millisecond of the handshakes on.
    for _ in 0..500 {
        for source in &addresses {
            let datagram = malformed(&mut rng);
            world.inject(*source, datagram);
        }
        world.run_for(Duration::from_millis(5));
    }
    assert!(world.peer(alice).is_connected() && world.peer(bob).is_connected());
    let (audio, video) = (
        world.heard(bob, microphone).len(),
        world.watch(bob, camera).frames.len(),
    );
    for _ in 0..1_000 {
        for source in &addresses {
            let datagram = malformed(&mut rng);
            world.inject(*source, datagram);
        }
        world.run_for(Duration::from_millis(5));
    }
    assert!(world.heard(bob, microphone).len() >= audio + 240);
    let seen = world.watch(bob, camera);
    assert!(
        seen.frames.len() >= video + 145,
        "{}",
        seen.frames.len() - video
    );
    assert!(seen.faults.is_empty(), "{:?}", seen.faults);
    let faults: Vec<_> = world
        .events
        .iter()
        .filter(|(_, e)| matches!(e, Event::Fault { .. }))
        .collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn descriptions_that_make_no_sense_are_refused_and_the_call_goes_on() {
    use roomful_media::api::{Command, SdpKind};
    let mut world = World::new(52);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::single());
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(2 * SECOND, |world| !world.heard(bob, microphone).is_empty()));
    let participant = world.peer(alice).id;
    let huge = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{}",
        "m=audio 9 X 0\r\n".repeat(10_000)
    );
    for sdp in ["", "v=0", "\u{0}\u{1}", huge.as_str()] {
        for kind in [SdpKind::Offer, SdpKind::Answer] {
            world.command(Command::RemoteDescription {
                participant,
                target: Target::Publisher,
                kind,
                sdp: sdp.into(),
                id: 99,
            });
        }
    }
    let refused = world
        .events
        .iter()
        .filter(|(_, e)| matches!(e, Event::DescriptionRejected { .. }))
        .count();
    assert_eq!(refused, 8);
    let before = world.heard(bob, microphone).len();
    world.run_for(2 * SECOND);
    assert!(world.heard(bob, microphone).len() >= before + 95);
}

#[test]
fn a_publisher_that_floods_disturbs_nobody() {
    /// 50 Mbit/s: 5,700 packets a second.
    const FLOOD: [Layer; 1] = [Layer {
        bitrate: 50_000_000,
        ..CAMERA[0]
    }];
    let mut world = World::new(53);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::dual());
    let mallory = world.join("mallory", Join::single());
    let microphone = world.publish_audio(alice);
    let camera = world.publish_video(alice, &CAMERA);
    let flood = world.publish_video(mallory, &FLOOD);
    assert!(world.run_until(5 * SECOND, |world| {
        !world.heard(bob, flood).is_empty() && !world.watch(bob, camera).frames.is_empty()
    }));
    let heard = world.listen(bob, microphone).len();
    let seen = world.watch(bob, camera).frames.len();
    let flooded = world.heard(bob, flood).len();
    world.run_for(3 * SECOND);
    let numbers = world.listen(bob, microphone);
    assert!(numbers.len() >= heard + 145, "{}", numbers.len() - heard);
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let picture = world.watch(bob, camera);
    assert!(
        picture.frames.len() >= seen + 85 && picture.faults.is_empty(),
        "{} {:?}",
        picture.frames.len() - seen,
        picture.faults
    );
    // The flood was real.
    assert!(world.heard(bob, flood).len() > flooded + 10_000);
    assert!(world.peer(mallory).is_connected() && world.peer(bob).is_connected());
}

#[test]
fn checks_in_anothers_name_take_nothing_from_who_is_there() {
    let mut world = World::new(54);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::single());
    let mallory = world.join("mallory", Join::single());
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(2 * SECOND, |world| {
        !world.heard(bob, microphone).is_empty() && world.peer(mallory).is_connected()
    }));
    let address = world.peer(alice).address(Target::Publisher).unwrap();
    let before = world.heard(bob, microphone).len();
    for _ in 0..100 {
        world.check_as(mallory, address);
        world.run_for(SECOND / 20);
    }
    let heard = world.heard(bob, microphone).len() - before;
    assert!(heard >= 245, "{heard}");
}

#[test]
fn who_comes_is_heard_though_another_has_spoken_in_its_name_before() {
    let mut world = World::new(55);
    let bob = world.join("bob", Join::single());
    let mallory = world.join("mallory", Join::single());
    assert!(world.run_until(2 * SECOND, |world| world.peer(mallory).is_connected()));
    let alice = world.join("alice", Join::single());
    let address = world.peer(alice).address(Target::Publisher).unwrap();
    world.check_as(mallory, address);
    let microphone = world.publish_audio(alice);
    let mut seconds = 0;
    while world.heard(bob, microphone).len() < 50 && seconds < 10 {
        seconds += 1;
        for _ in 0..10 {
            world.check_as(mallory, address);
            world.run_for(SECOND / 10);
        }
    }
    assert!(seconds < 5, "{seconds}");
}

#[test]
fn who_was_silent_takes_its_path_back_from_whoever_spoke_meanwhile() {
    let mut world = World::new(56);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::single());
    let mallory = world.join("mallory", Join::single());
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(2 * SECOND, |world| {
        !world.heard(bob, microphone).is_empty() && world.peer(mallory).is_connected()
    }));
    let address = world.peer(alice).address(Target::Publisher).unwrap();
    world.cut(alice);
    world.run_for(9 * SECOND);
    world.check_as(mallory, address);
    world.run_for(SECOND / 10);
    world.mend(alice);
    let before = world.heard(bob, microphone).len();
    let heard = |world: &World| world.heard(bob, microphone).len() - before;
    assert!(world.run_until(5 * SECOND, |world| heard(world) > 0));
    world.run_for(SECOND);
    assert!(heard(&world) >= 45, "{}", heard(&world));
}
