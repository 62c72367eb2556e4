//! Bad networks.

use std::time::Duration;

use crate::join::CAMERA;
use crate::link::LinkConfig;
use crate::media::SIMULCAST;
use crate::world::{Join, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn video_is_whole_at_five_percent_loss_on_both_ways() {
    let bad = LinkConfig {
        delay: Duration::from_millis(20),
        loss: 0.05,
        ..LinkConfig::default()
    };
    let mut world = World::new(30);
    let alice = world.join(
        "alice",
        Join {
            up: bad,
            down: bad,
            ..Join::single()
        },
    );
    let bob = world.join(
        "bob",
        Join {
            up: bad,
            down: bad,
            ..Join::dual()
        },
    );
    let camera = world.publish_video(alice, &CAMERA);
    assert!(world.run_until(10 * SECOND, |world| {
        !world.watch(bob, camera).frames.is_empty()
    }));
    world.run_for(20 * SECOND);
    let (up, _) = world.link_counts(alice);
    let (_, down) = world.link_counts(bob);
    assert!(
        up.lost > 50 && down.lost > 50,
        "the links did lose: {up:?} {down:?}"
    );
    let video = world.watch(bob, camera);
    assert!(video.faults.is_empty(), "{:?}", video.faults);
    let sent = 20 * 30;
    assert!(
        video.frames.len() >= sent * 98 / 100,
        "{} of {sent} frames",
        video.frames.len()
    );
    let packets = world.heard(bob, camera).len() as u64;
    assert!(
        video.missing * 200 <= packets,
        "{} of {packets} packets missing",
        video.missing
    );
}

#[test]
fn audio_survives_jitter_reorder_and_duplicates() {
    let bad = LinkConfig {
        jitter: Duration::from_millis(30),
        reorder: 0.05,
        duplicate: 0.05,
        ..LinkConfig::default()
    };
    let mut world = World::new(31);
    let alice = world.join(
        "alice",
        Join {
            up: bad,
            ..Join::single()
        },
    );
    let bob = world.join(
        "bob",
        Join {
            down: bad,
            ..Join::single()
        },
    );
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(3 * SECOND, |world| !world.heard(bob, microphone).is_empty()));
    world.run_for(10 * SECOND);
    let numbers = world.listen(bob, microphone);
    assert!(numbers.len() >= 495, "{}", numbers.len());
    // In order by their new numbers, as they were by the old ones.
    assert!(numbers.is_sorted());
}

#[test]
fn a_publisher_is_asked_for_a_key_frame_at_most_as_often_as_it_helps() {
    let mut world = World::new(32);
    let alice = world.join("alice", Join::single());
    let camera = world.publish_video(alice, &CAMERA);
    world.run_for(2 * SECOND);
    let bob = world.join("bob", Join::single());
    assert!(world.run_until(2 * SECOND, |world| {
        !world.watch(bob, camera).frames.is_empty()
    }));
    let sid = world.sid(camera);
    let before = world.peer(alice).publications[0].key_requests[0];
    for _ in 0..200 {
        let sid = sid.clone();
        world.act(bob, move |peer, now| peer.request_key_frame(now, &sid));
        world.run_for(Duration::from_millis(10));
    }
    let asked = world.peer(alice).publications[0].key_requests[0] - before;
    assert!((1..=12).contains(&asked), "{asked} requests in two seconds");
}

#[test]
fn key_frames_are_spread_so_that_a_bottleneck_holds_them() {
    let narrow = LinkConfig {
        // A key frame at once would wait 7 ms here.
        rate: Some(25_000_000),
        queue: Duration::from_millis(4),
        ..LinkConfig::default()
    };
    let mut world = World::new(33);
    let alice = world.join("alice", Join::single());
    let bob = world.join(
        "bob",
        Join {
            down: narrow,
            ..Join::single()
        },
    );
    let camera = world.publish_video(alice, &SIMULCAST);
    assert!(world.run_until(5 * SECOND, |world| {
        !world.watch(bob, camera).frames.is_empty()
    }));
    for _ in 0..5 {
        let sid = world.sid(camera);
        world.act(bob, move |peer, now| peer.request_key_frame(now, &sid));
        world.run_for(2 * SECOND);
    }
    let (_, down) = world.link_counts(bob);
    assert_eq!(down.overflowed, 0, "{down:?}");
    let video = world.watch(bob, camera);
    assert!(video.frames.iter().filter(|frame| frame.key).count() >= 4);
    assert!(video.faults.is_empty(), "{:?}", video.faults);
}

#[test]
fn packets_of_a_frame_leave_together() {
    let mut world = World::new(34);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::single());
    let camera = world.publish_video(alice, &SIMULCAST);
    assert!(
        world.run_until(5 * SECOND, |world| world.watch(bob, camera).frames.len()
            > 30)
    );
    let before = world.server_sent();
    world.run_for(5 * SECOND);
    let (datagrams, batches) = world.server_sent();
    let (datagrams, batches) = (datagrams - before.0, batches - before.1);
    assert!(
        batches * 3 <= datagrams * 2,
        "{datagrams} datagrams in {batches} batches"
    );
}
