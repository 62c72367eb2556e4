//! Layers: chosen as asked, changed only at key frames.

use std::time::Duration;

use roomful_media::api::{Command, Event, TrackSettings};

use crate::link::LinkConfig;
use crate::media::SIMULCAST;
use crate::world::{Join, Who, World};

const SECOND: Duration = Duration::from_secs(1);

fn watching(join: Join) -> (World, Who, Who, roomful_media::api::TrackId) {
    let mut world = World::new(40);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", join);
    let camera = world.publish_video(alice, &SIMULCAST);
    let high = world.run_until(5 * SECOND, |world| {
        world
            .watch(bob, camera)
            .frames
            .last()
            .is_some_and(|frame| frame.width == 1_280)
    });
    assert!(
        high,
        "{}",
        world
            .log
            .iter()
            .rev()
            .take(60)
            .rev()
            .cloned()
            .collect::<Vec<_>>()
            .join("\n")
    );
    (world, alice, bob, camera)
}

fn want(world: &mut World, who: Who, track: roomful_media::api::TrackId, width: u32, height: u32) {
    let participant = world.peer(who).id;
    let settings = TrackSettings {
        width,
        height,
        ..TrackSettings::default()
    };
    world.command(Command::SetTrackSettings {
        participant,
        track,
        settings,
    });
}

#[test]
fn a_subscriber_goes_down_and_up_without_a_break() {
    for join in [Join::single(), Join::dual()] {
        let (mut world, _, bob, camera) = watching(join);
        for (width, height) in [
            (320, 180),
            (640, 360),
            (1_280, 720),
            (320, 180),
            (1_280, 720),
        ] {
            want(&mut world, bob, camera, width, height);
            let there = world.run_until(3 * SECOND, |world| {
                world
                    .watch(bob, camera)
                    .frames
                    .last()
                    .is_some_and(|f| u32::from(f.width) == width)
            });
            assert!(there, "never reached {width}");
            world.run_for(SECOND);
        }
        let video = world.watch(bob, camera);
        assert!(video.faults.is_empty(), "{:?}", video.faults);
        assert_eq!(video.missing, 0);
        // A change of layers shows as a key frame, and costs no visible pause.
        let longest = video
            .frames
            .windows(2)
            .map(|f| f[1].at - f[0].at)
            .max()
            .unwrap_or_default();
        assert!(longest < Duration::from_millis(400), "{longest:?}");
    }
}

#[test]
fn two_subscribers_have_layers_of_their_own() {
    let (mut world, _, bob, camera) = watching(Join::single());
    let carol = world.join("carol", Join::dual());
    world.run_for(2 * SECOND);
    want(&mut world, carol, camera, 320, 180);
    world.run_for(3 * SECOND);
    let width = |world: &World, who| world.watch(who, camera).frames.last().map(|f| f.width);
    assert_eq!(
        (width(&world, bob), width(&world, carol)),
        (Some(1_280), Some(320))
    );
}

#[test]
fn a_paused_track_comes_back_at_a_key_frame() {
    let (mut world, _, bob, camera) = watching(Join::single());
    let participant = world.peer(bob).id;
    let settings = TrackSettings {
        disabled: true,
        quality: 2,
        ..TrackSettings::default()
    };
    world.command(Command::SetTrackSettings {
        participant,
        track: camera,
        settings,
    });
    world.run_for(SECOND);
    let count = world.watch(bob, camera).frames.len();
    world.run_for(SECOND);
    assert_eq!(world.watch(bob, camera).frames.len(), count);
    want(&mut world, bob, camera, 1_280, 720);
    assert!(
        world.run_until(2 * SECOND, |world| world.watch(bob, camera).frames.len()
            > count + 10)
    );
    let video = world.watch(bob, camera);
    assert!(video.frames[count].key);
    assert!(video.faults.is_empty(), "{:?}", video.faults);
}

#[test]
fn a_layer_that_stops_is_replaced_by_one_that_is_there() {
    let (mut world, alice, bob, camera) = watching(Join::single());
    world.act(alice, |peer, _| {
        peer.publications[0].disabled_layers[2] = true
    });
    let lower = world.run_until(5 * SECOND, |world| {
        world
            .watch(bob, camera)
            .frames
            .last()
            .is_some_and(|frame| frame.width == 640)
    });
    assert!(lower);
    world.act(alice, |peer, _| {
        peer.publications[0].disabled_layers[2] = false
    });
    let back = world.run_until(5 * SECOND, |world| {
        world
            .watch(bob, camera)
            .frames
            .last()
            .is_some_and(|frame| frame.width == 1_280)
    });
    assert!(back);
    assert!(world.watch(bob, camera).faults.is_empty());
}

#[test]
fn layers_nobody_wants_are_told_to_the_publisher() {
    let (mut world, _, bob, camera) = watching(Join::single());
    want(&mut world, bob, camera, 320, 180);
    world.run_for(10 * SECOND);
    let last = world
        .events
        .iter()
        .rev()
        .find_map(|(_, event)| match event {
            Event::Qualities { track, codecs } if *track == camera => Some(codecs.clone()),
            _ => None,
        });
    let last = last.expect("dynacast speaks");
    assert_eq!(
        (last[0].codec.as_str(), last[0].enabled),
        ("vp8", [true, false, false])
    );
}

#[test]
fn a_narrow_link_gets_the_layer_it_takes_and_no_other_viewer_suffers() {
    let narrow = LinkConfig {
        rate: Some(400_000),
        ..LinkConfig::default()
    };
    for bob in [Join::single(), Join::dual()] {
        let mut world = World::new(41);
        let alice = world.join("alice", Join::single());
        let carol = world.join("carol", Join::dual());
        let bob = world.join(
            "bob",
            Join {
                down: narrow,
                ..bob
            },
        );
        let microphone = world.publish_audio(alice);
        let camera = world.publish_video(alice, &SIMULCAST);
        world.run_for(30 * SECOND);
        let width = |world: &World, who| world.watch(who, camera).frames.last().map(|f| f.width);
        assert_eq!(width(&world, bob), Some(320), "{}", world.tail(30));
        assert_eq!(width(&world, carol), Some(1_280));
        // In the half minute after that he hears nearly everything, and sees most of what is sent.
        let (heard, watched) = (
            world.heard(bob, microphone).len(),
            world.watch(bob, camera).frames.len(),
        );
        world.run_for(30 * SECOND);
        let heard = world.heard(bob, microphone).len() - heard;
        let watched = world.watch(bob, camera).frames.len() - watched;
        assert!(heard >= 1_300, "{heard} of 1,500 frames of audio");
        assert!(watched >= 700, "{watched} of 900 pictures");
        // The link is mended: he gets the best again.
        world.set_links(bob, LinkConfig::default());
        let best = (0..60).any(|_| {
            world.run_for(2 * SECOND);
            width(&world, bob) == Some(1_280)
        });
        assert!(best);
        world.run_for(30 * SECOND);
        assert_eq!(width(&world, bob), Some(1_280));
    }
}

#[test]
fn what_a_viewer_wants_later_is_not_held_to_what_its_link_took_before() {
    let mut world = World::new(42);
    let alice = world.join("alice", Join::single());
    let narrow = LinkConfig {
        rate: Some(400_000),
        ..LinkConfig::default()
    };
    let bob = world.join(
        "bob",
        Join {
            down: narrow,
            ..Join::dual()
        },
    );
    let camera = world.publish_video(alice, &SIMULCAST);
    let width = |world: &World| world.watch(bob, camera).frames.last().map(|f| f.width);
    world.run_for(15 * SECOND);
    assert_eq!(width(&world), Some(320));
    want(&mut world, bob, camera, 320, 180);
    world.set_links(bob, LinkConfig::default());
    world.run_for(90 * SECOND);
    assert_eq!(width(&world), Some(320));
    want(&mut world, bob, camera, 1_280, 720);
    world.run_for(3 * SECOND);
    assert_eq!(width(&world), Some(1_280));
}
