//! Joining, hearing, leaving and vanishing.

use std::time::Duration;

use roomful_media::api::{Command, ConnectionState, Event, Permissions, Target, TrackId};

use crate::media::{Layer, OPUS, SIMULCAST};
use crate::world::{Join, Who, World};

const SECOND: Duration = Duration::from_secs(1);

pub const CAMERA: [Layer; 1] = [Layer {
    rid: None,
    ..SIMULCAST[1]
}];

/// Alice publishes, and Bob, who joins after her, hears her within two seconds and without a gap.
fn hears(alice: Join, bob: Join) {
    let mut world = World::new(1);
    let alice = world.join("alice", alice);
    let microphone = world.publish_audio(alice);
    let camera = world.publish_video(alice, &CAMERA);
    world.run_for(SECOND);
    let bob = world.join("bob", bob);
    let heard = world.run_until(2 * SECOND, |world| {
        !world.heard(bob, microphone).is_empty() && !world.watch(bob, camera).frames.is_empty()
    });
    assert!(heard, "{}", world.log.join("\n"));
    world.run_for(3 * SECOND);
    let numbers = world.listen(bob, microphone);
    assert!(numbers.len() > 140, "{}", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    let video = world.watch(bob, camera);
    assert!(video.faults.is_empty(), "{:?}", video.faults);
    assert!(video.frames.len() > 85, "{}", video.frames.len());
    assert_eq!(video.missing, 0);
    assert!(
        world.heard(alice, microphone).is_empty(),
        "nobody hears themselves"
    );
}

#[test]
fn a_newcomer_hears_and_sees_over_one_connection() {
    hears(Join::single(), Join::single());
}

#[test]
fn a_newcomer_hears_and_sees_over_two_connections() {
    hears(Join::dual(), Join::dual());
}

#[test]
fn both_ways_to_connect_meet() {
    hears(Join::single(), Join::dual());
    hears(Join::dual(), Join::single());
}

#[test]
fn who_is_there_already_hears_a_track_published_later() {
    for join in [Join::single(), Join::dual()] {
        let mut world = World::new(2);
        let alice = world.join("alice", join);
        let bob = world.join("bob", join);
        world.run_for(SECOND);
        let microphone = world.publish_audio(alice);
        let back = world.publish_audio(bob);
        let heard = world.run_until(SECOND, |world| {
            !world.heard(bob, microphone).is_empty() && !world.heard(alice, back).is_empty()
        });
        assert!(heard, "{}", world.log.join("\n"));
    }
}

#[test]
fn sections_that_are_there_are_used_before_more_are_asked_for() {
    let mut world = World::new(10);
    let alice = world.join("alice", Join::dual());
    let bob = world.join("bob", Join::single());
    world.run_for(SECOND);
    let camera = world.publish_video(alice, &CAMERA);
    let seen = world.run_until(2 * SECOND, |world| {
        !world.watch(bob, camera).frames.is_empty()
    });
    assert!(seen, "{}", world.log.join("\n"));
    let asked = world.events.iter().any(|(_, event)| {
        matches!(event, Event::MediaSections { audios, videos, .. } if audios + videos > 0)
    });
    assert!(!asked, "{}", world.tail(200));
}

#[test]
fn more_tracks_than_sections_are_asked_for() {
    let mut world = World::new(3);
    let publishers: Vec<Who> = (0..5)
        .map(|n| world.join(&format!("publisher{n}"), Join::single()))
        .collect();
    let tracks: Vec<TrackId> = publishers
        .iter()
        .map(|who| world.publish_audio(*who))
        .collect();
    let bob = world.join("bob", Join::single());
    let heard = world.run_until(3 * SECOND, |world| {
        tracks
            .iter()
            .all(|track| !world.heard(bob, *track).is_empty())
    });
    assert!(heard, "{}", world.log.join("\n"));
    let asked = world
        .events
        .iter()
        .any(|(_, event)| matches!(event, Event::MediaSections { .. }));
    assert!(asked);
}

#[test]
fn who_may_not_subscribe_hears_nothing_until_allowed() {
    let mut world = World::new(4);
    let alice = world.join("alice", Join::dual());
    let microphone = world.publish_audio(alice);
    let deaf = Join::dual();
    let permissions = Permissions {
        can_subscribe: false,
        ..deaf.permissions
    };
    let bob = world.join(
        "bob",
        Join {
            permissions,
            ..deaf
        },
    );
    world.run_for(2 * SECOND);
    assert!(world.heard(bob, microphone).is_empty());
    let participant = world.peer(bob).id;
    world.command(roomful_media::api::Command::UpdatePermissions {
        participant,
        permissions: deaf.permissions,
    });
    assert!(world.run_until(2 * SECOND, |world| !world.heard(bob, microphone).is_empty()));
}

#[test]
fn a_description_stays_small_over_500_rounds_of_publishing() {
    for join in [Join::single(), Join::dual()] {
        let mut world = World::new(5);
        let alice = world.join("alice", join);
        let bob = world.join("bob", join);
        let mut track = world.publish_audio(alice);
        assert!(world.run_until(2 * SECOND, |world| !world.heard(bob, track).is_empty()));
        let (bytes, sections) = world.peer(bob).description_size;
        for round in 0..500 {
            world.unpublish(alice, track);
            world.run_for(Duration::from_millis(100));
            track = world.republish(alice, track, OPUS);
            let heard = world.run_until(2 * SECOND, |world| !world.heard(bob, track).is_empty());
            assert!(heard, "round {round}: {}", world.tail(60));
        }
        let (after, sections_after) = world.peer(bob).description_size;
        assert!(
            sections_after <= sections + 1,
            "{sections} sections became {sections_after}"
        );
        assert!(after < bytes + 400, "{bytes} bytes became {after}");
        assert!(world.peer(alice).description_size.1 <= sections + 1);
    }
}

#[test]
fn a_client_that_falls_silent_is_reported_after_15_seconds_and_again_when_it_is_back() {
    let mut world = World::new(6);
    let alice = world.join("alice", Join::dual());
    let bob = world.join("bob", Join::dual());
    world.publish_audio(alice);
    world.run_for(5 * SECOND);
    world.cut(alice);
    let cut_at = world.now();
    let alice_id = world.peer(alice).id;
    let liveness = move |world: &World, wanted: bool| {
        world.events.iter().find_map(|(at, event)| match event {
            Event::Liveness { participant, alive }
                if *participant == alice_id && *alive == wanted =>
            {
                Some(*at)
            }
            _ => None,
        })
    };
    world.run_for(20 * SECOND);
    let silent_at = liveness(&world, false).expect("the silence is reported");
    let after = silent_at - cut_at;
    assert!((14_900..=15_500).contains(&after.as_millis()), "{after:?}");
    let bob_id = world.peer(bob).id;
    let also_bob = world
        .events
        .iter()
        .any(|(_, e)| matches!(e, Event::Liveness { participant, .. } if *participant == bob_id));
    assert!(!also_bob, "an idle client that is there is not silent");
    assert!(liveness(&world, true).is_none());
}

#[test]
fn a_silence_of_ten_seconds_is_survived_without_a_word() {
    let mut world = World::new(9);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::dual());
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(2 * SECOND, |world| !world.heard(bob, microphone).is_empty()));
    world.cut(alice);
    world.run_for(10 * SECOND);
    let before = world.heard(bob, microphone).len();
    world.mend(alice);
    world.run_for(5 * SECOND);
    assert!(world.heard(bob, microphone).len() >= before + 150);
    assert!(
        !world
            .events
            .iter()
            .any(|(_, e)| matches!(e, Event::Liveness { .. }))
    );
}

#[test]
fn who_leaves_is_heard_no_more_and_its_connection_is_closed() {
    let mut world = World::new(7);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::single());
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(2 * SECOND, |world| !world.heard(bob, microphone).is_empty()));
    world.leave(alice);
    world.run_for(SECOND);
    let count = world.heard(bob, microphone).len();
    world.run_for(SECOND);
    assert_eq!(world.heard(bob, microphone).len(), count);
}

#[test]
fn a_restart_of_ice_keeps_the_media() {
    let mut world = World::new(8);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::single());
    let microphone = world.publish_audio(alice);
    assert!(world.run_until(2 * SECOND, |world| !world.heard(bob, microphone).is_empty()));
    world.act(alice, |peer, now| peer.restart_ice(now));
    world.act(bob, |peer, now| peer.restart_ice(now));
    world.run_for(3 * SECOND);
    let before = world.heard(bob, microphone).len();
    world.run_for(2 * SECOND);
    assert!(world.heard(bob, microphone).len() >= before + 95);
    let failed = world.events.iter().any(|(_, e)| {
        matches!(
            e,
            Event::Connection {
                state: ConnectionState::Failed | ConnectionState::Closed,
                ..
            }
        )
    });
    assert!(!failed, "{}", world.log.join("\n"));
}

#[test]
fn a_failed_connection_costs_nothing_and_comes_back_whole() {
    let mut world = World::new(18);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::dual());
    let microphone = world.publish_audio(alice);
    let camera = world.publish_video(alice, &CAMERA);
    let seen = |world: &World| world.watch(bob, camera).frames.len();
    assert!(world.run_until(5 * SECOND, |world| seen(world) > 10));
    world.cut(bob);
    world.run_for(20 * SECOND);
    let before = world.server_wake_ups();
    world.run_for(10 * SECOND);
    let wake_ups = world.server_wake_ups() - before;
    // Alice's feedback, twenty times a second, and little else.
    assert!(wake_ups < 10 * 60, "{wake_ups} wake-ups in ten seconds");
    world.mend(bob);
    let (heard, watched) = (world.heard(bob, microphone).len(), seen(&world));
    let participant = world.peer(bob).id;
    world.command(Command::RestartIce {
        participant,
        target: Target::Subscriber,
    });
    assert!(
        world.run_until(10 * SECOND, |world| world.heard(bob, microphone).len()
            > heard + 50
            && seen(world) > watched + 30),
        "{}",
        world.tail(40)
    );
    // What was sent into the void is not kept to be sent afterwards, and nothing looks lost.
    let video = world.watch(bob, camera);
    let pause = |fault: &String| fault.contains("timestamp moves");
    assert!(video.faults.iter().all(pause), "{:?}", video.faults);
    assert!(video.faults.len() <= 1, "{:?}", video.faults);
    assert!(video.frames[watched].key);
}
