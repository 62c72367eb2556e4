//! Two rooms: participants that go from one to the other, tracks that are in both, and calls of the server's.

use std::time::Duration;

use roomful_media::api::{Command, Event, ParticipantId, RoomId, TrackId};
use roomful_media::data::{Channel, wire};

use crate::data::{packet, ready, received};
use crate::join::CAMERA;
use crate::world::{Join, ROOM, Who, World};

const SECOND: Duration = Duration::from_secs(1);
const NEXT: RoomId = RoomId(2);
/// Of a forwarded participant, and its track.
const IMAGE: ParticipantId = ParticipantId(100);
const MIRROR: TrackId = TrackId(100);

/// Alice and Bob in one room, Carol in the next.
fn three(join: Join) -> (World, Who, Who, Who) {
    let mut world = World::new(40);
    world.open(NEXT);
    let alice = world.join("alice", join);
    let bob = world.join("bob", join);
    let carol = world.join_in(NEXT, "carol", join);
    for who in [alice, bob, carol] {
        ready(&mut world, who);
    }
    (world, alice, bob, carol)
}

/// How many frames of each track a client heard in a second from now.
fn hears(world: &mut World, who: Who, tracks: &[TrackId]) -> Vec<usize> {
    let count = |world: &World| -> Vec<usize> {
        tracks
            .iter()
            .map(|track| world.heard(who, *track).len())
            .collect()
    };
    let before = count(world);
    world.run_for(SECOND);
    count(world)
        .iter()
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

fn move_to_next(world: &mut World, who: Who) {
    let participant = world.peer(who).id;
    world.command(Command::MoveParticipant {
        participant,
        room: NEXT,
        sid: "PA_moved".into(),
    });
}

#[test]
fn who_moves_is_heard_and_hears_in_the_next_room_only() {
    for join in [Join::dual(), Join::single()] {
        let (mut world, alice, bob, carol) = three(join);
        let [from_alice, from_bob, from_carol] =
            [alice, bob, carol].map(|who| world.publish_audio(who));
        world.run_for(3 * SECOND);
        assert!(hears(&mut world, bob, &[from_alice])[0] >= 49);
        assert!(hears(&mut world, carol, &[from_alice])[0] == 0);
        move_to_next(&mut world, alice);
        world.run_for(2 * SECOND);
        assert!(hears(&mut world, carol, &[from_alice])[0] >= 49);
        let [old, new] = hears(&mut world, alice, &[from_bob, from_carol])[..] else {
            unreachable!()
        };
        assert_eq!(old, 0, "the old room is still heard");
        assert!(new >= 49, "the new room is not heard");
        assert_eq!(hears(&mut world, bob, &[from_alice]), [0]);
        // Listeners there are told who speaks, though the voice never changed.
        let spoken = world.events.iter().any(|(_, event)| {
            matches!(event, Event::Speakers { room: NEXT, speakers }
                if speakers.iter().any(|it| it.participant == world.peer(alice).id && it.active))
        });
        assert!(spoken);
    }
}

#[test]
fn who_moves_back_and_forth_is_heard_each_time() {
    let (mut world, alice, bob, carol) = three(Join::dual());
    let track = world.publish_video(alice, &CAMERA);
    world.run_for(2 * SECOND);
    let participant = world.peer(alice).id;
    for round in 0..6 {
        let room = if round % 2 == 0 { NEXT } else { ROOM };
        world.command(Command::MoveParticipant {
            participant,
            room,
            sid: format!("PA_{round}").into(),
        });
        world.run_for(2 * SECOND);
        let (here, gone) = if room == NEXT {
            (carol, bob)
        } else {
            (bob, carol)
        };
        assert!(hears(&mut world, here, &[track])[0] > 20, "round {round}");
        assert_eq!(hears(&mut world, gone, &[track]), [0], "round {round}");
    }
}

#[test]
fn data_of_who_moved_goes_to_the_next_room_with_the_numbers_going_on() {
    let (mut world, alice, bob, carol) = three(Join::dual());
    let send = |world: &mut World, who, sequence, text: &str| {
        world.act(who, |peer, now| {
            peer.send(
                now,
                Channel::Reliable,
                &packet(sequence, text.as_bytes(), &[]),
            )
        });
        world.run_for(SECOND);
    };
    send(&mut world, alice, 1, "before");
    move_to_next(&mut world, alice);
    send(&mut world, alice, 1, "again");
    send(&mut world, alice, 2, "after");
    send(&mut world, carol, 1, "welcome");
    let texts = |who| -> Vec<String> {
        received(&world, who, Channel::Reliable)
            .into_iter()
            .map(|(_, payload)| String::from_utf8(payload).unwrap())
            .collect()
    };
    assert_eq!(texts(bob), ["before"]);
    assert_eq!(texts(carol), ["after"]);
    assert_eq!(texts(alice), ["welcome"]);
}

fn forward(world: &mut World, track: TrackId) {
    world.command(Command::ForwardTrack {
        track,
        mirror: MIRROR,
        room: NEXT,
        owner: IMAGE,
        sid: "PA_image".into(),
    });
}

#[test]
fn a_forwarded_track_is_in_both_rooms_until_its_mirror_ends() {
    for join in [Join::dual(), Join::single()] {
        let (mut world, alice, bob, carol) = three(join);
        let track = world.publish_audio(alice);
        world.run_for(SECOND);
        forward(&mut world, track);
        world.run_for(2 * SECOND);
        assert!(hears(&mut world, carol, &[track])[0] >= 49);
        let spoken = |room, participant| {
            world.events.iter().any(|(_, event)| {
                matches!(event, Event::Speakers { room: of, speakers }
                    if *of == room && speakers.iter().any(|it| it.participant == participant && it.active))
            })
        };
        assert!(spoken(ROOM, world.peer(alice).id));
        assert!(spoken(NEXT, IMAGE));
        world.command(Command::RemoveTrack(MIRROR));
        world.run_for(SECOND / 2);
        assert_eq!(hears(&mut world, carol, &[track]), [0]);
        // The first room has missed nothing at any time.
        let frames = world.listen(bob, track);
        assert!(frames.len() > 150);
        assert!(frames.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
}

#[test]
fn a_mirror_is_there_before_its_original_and_ends_with_it() {
    let (mut world, alice, bob, carol) = three(Join::dual());
    let track = world.publish_video(alice, &CAMERA);
    forward(&mut world, track);
    world.run_for(3 * SECOND);
    assert!(hears(&mut world, carol, &[track])[0] > 20);
    world.unpublish(alice, track);
    world.run_for(SECOND);
    for who in [bob, carol] {
        assert_eq!(hears(&mut world, who, &[track]), [0]);
    }
    // A room that ends takes its mirrors with it.
    let again = world.publish_audio(alice);
    forward(&mut world, again);
    world.run_for(2 * SECOND);
    world.command(Command::CloseRoom(NEXT));
    assert!(hears(&mut world, bob, &[again])[0] >= 49);
}

#[test]
fn what_is_sent_to_the_caller_of_a_call_is_reported_and_nothing_else() {
    let (mut world, alice, bob, _) = three(Join::dual());
    let participant = world.peer(alice).id;
    let mut call = Vec::new();
    wire::put_string(&mut call, 4, "caller");
    wire::put_bytes(&mut call, 10, b"");
    world.command(Command::Call {
        participant,
        caller: "caller".into(),
        packets: vec![call],
    });
    let send = |world: &mut World, who, sequence, to: &str| {
        world.act(who, |peer, now| {
            peer.send(now, Channel::Reliable, &packet(sequence, b"answer", &[to]))
        });
        world.run_for(SECOND);
    };
    world.run_for(SECOND);
    assert_eq!(world.peer(alice).messages.len(), 1);
    assert!(world.peer(bob).messages.is_empty());
    send(&mut world, alice, 1, "caller");
    send(&mut world, alice, 2, "nobody");
    send(&mut world, bob, 1, "caller");
    for sequence in 3..30 {
        send(&mut world, alice, sequence, "caller");
    }
    world.command(Command::EndCall {
        participant,
        caller: "caller".into(),
    });
    send(&mut world, alice, 30, "caller");
    let answers = world.events.iter().filter_map(|(_, event)| match event {
        Event::Answered {
            participant: by,
            caller,
            ..
        } => Some((*by, caller.to_string())),
        _ => None,
    });
    let answers: Vec<_> = answers.collect();
    assert_eq!(answers.len(), 8, "bounded, whoever sends what");
    assert!(
        answers
            .iter()
            .all(|it| *it == (participant, "caller".into()))
    );
    assert!(world.peer(bob).messages.is_empty());
}
