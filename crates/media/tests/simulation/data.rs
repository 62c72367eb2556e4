//! Data both ways.

use std::time::Duration;

use roomful_media::api::{Command, DataTrackSpec, Event, ParticipantId, Permissions, TrackId};
use roomful_media::data::{Channel, wire};

use crate::link::LinkConfig;
use crate::world::{Join, ROOM, Who, World};

const SECOND: Duration = Duration::from_secs(1);

/// A numbered user packet.
pub(crate) fn packet(sequence: u32, payload: &[u8], to: &[&str]) -> Vec<u8> {
    let (mut user, mut out) = (Vec::new(), Vec::new());
    wire::put_string(&mut user, 5, "somebody else");
    wire::put_bytes(&mut user, 2, payload);
    wire::put_bytes(&mut out, 2, &user);
    wire::put_string(&mut out, 4, "somebody else");
    to.iter()
        .for_each(|identity| wire::put_string(&mut out, 5, identity));
    wire::put_number(&mut out, 16, sequence.into());
    out
}

pub(crate) fn field(message: &[u8], number: u32) -> Vec<u8> {
    let found = wire::fields(message)
        .flatten()
        .filter(|f| f.number == number)
        .last();
    found
        .and_then(|f| f.value.bytes())
        .unwrap_or_default()
        .to_vec()
}

/// Senders and payloads of the user packets a client got on a channel.
pub(crate) fn received(world: &World, who: Who, channel: Channel) -> Vec<(String, Vec<u8>)> {
    let messages = world
        .peer(who)
        .messages
        .iter()
        .filter(|m| m.channel == channel);
    messages
        .map(|m| {
            let user = field(&m.data, 2);
            let sender = String::from_utf8(field(&m.data, 4)).expect("an identity");
            assert_eq!(
                field(&user, 5),
                sender.as_bytes(),
                "both name the same sender"
            );
            (sender, field(&user, 2))
        })
        .collect()
}

/// Runs until data can go from and to a client.
pub(crate) fn ready(world: &mut World, who: Who) {
    let id = world.peer(who).id;
    for _ in 0..1_000 {
        let told = world
            .events
            .iter()
            .any(|(_, e)| matches!(e, Event::DataReady(p) if *p == id));
        let open = world.act(who, |peer, _| {
            peer.is_open(Channel::Reliable)
                && peer.is_open(Channel::Lossy)
                && peer.is_open(Channel::DataTrack)
        });
        if told && open {
            return;
        }
        world.run_for(Duration::from_millis(10));
    }
    panic!("never ready:\n{}", world.log.join("\n"));
}

fn two(first: Join, second: Join) -> (World, Who, Who) {
    let mut world = World::new(20);
    let alice = world.join("alice", first);
    let bob = world.join("bob", second);
    for who in [alice, bob] {
        ready(&mut world, who);
    }
    (world, alice, bob)
}

#[test]
fn data_goes_both_ways_over_both_channels_in_each_mode() {
    for (first, second) in [
        (Join::single(), Join::single()),
        (Join::dual(), Join::dual()),
        (Join::single(), Join::dual()),
    ] {
        let (mut world, alice, bob) = two(first, second);
        for (n, channel) in [(1, Channel::Reliable), (2, Channel::Lossy)] {
            assert!(world.act(alice, |peer, now| peer.send(
                now,
                channel,
                &packet(n, b"to bob", &[])
            )));
            assert!(world.act(bob, |peer, now| peer.send(
                now,
                channel,
                &packet(n, b"to alice", &[])
            )));
        }
        world.run_for(SECOND);
        for channel in [Channel::Reliable, Channel::Lossy] {
            assert_eq!(
                received(&world, bob, channel),
                [("alice".into(), b"to bob".to_vec())]
            );
            assert_eq!(
                received(&world, alice, channel),
                [("bob".into(), b"to alice".to_vec())]
            );
        }
    }
}

#[test]
fn a_message_sent_before_a_member_is_ready_reaches_it() {
    for join in [Join::single(), Join::dual()] {
        let mut world = World::new(21);
        let alice = world.join("alice", join);
        world.run_for(2 * SECOND);
        let bob = world.join("bob", join);
        for n in 1..=3 {
            world.act(alice, |peer, now| {
                peer.send(now, Channel::Reliable, &packet(n, &[n as u8], &[]))
            });
        }
        let mut from_server = Vec::new();
        wire::put_bytes(&mut from_server, 2, b"\x12\x01\x09");
        world.command(Command::SendData {
            room: ROOM,
            packet: from_server,
            reliable: true,
            destinations: vec![],
        });
        assert!(!world.peer(bob).is_connected(), "bob is not there yet");
        world.run_for(2 * SECOND);
        let payloads: Vec<_> = received(&world, bob, Channel::Reliable)
            .into_iter()
            .map(|(_, payload)| payload)
            .collect();
        // The server's own word was given first: those of alice were still on their way.
        assert_eq!(payloads, [vec![9], vec![1], vec![2], vec![3]]);
    }
}

#[test]
fn destinations_and_permissions_hold() {
    let (mut world, alice, bob) = two(Join::single(), Join::single());
    let mute = Join::single();
    let permissions = Permissions {
        can_publish_data: false,
        ..mute.permissions
    };
    let carol = world.join(
        "carol",
        Join {
            permissions,
            ..mute
        },
    );
    world.run_for(2 * SECOND);
    world.act(alice, |peer, now| {
        peer.send(now, Channel::Reliable, &packet(1, b"x", &["carol"]))
    });
    world.act(carol, |peer, now| {
        peer.send(now, Channel::Reliable, &packet(1, b"y", &[]))
    });
    world.run_for(SECOND);
    assert!(received(&world, bob, Channel::Reliable).is_empty());
    assert_eq!(received(&world, carol, Channel::Reliable).len(), 1);
    assert!(received(&world, alice, Channel::Reliable).is_empty());
}

#[test]
fn reliable_messages_all_come_in_order_over_a_bad_link() {
    let bad = LinkConfig {
        loss: 0.1,
        jitter: Duration::from_millis(20),
        ..LinkConfig::default()
    };
    let join = Join {
        up: bad,
        down: bad,
        ..Join::single()
    };
    let (mut world, alice, bob) = two(join, join);
    for n in 1..=200u32 {
        let message = packet(n, &[&n.to_be_bytes()[..], &[7; 1_500]].concat(), &[]);
        // The buffer of the client fills while the link is bad.
        while !world.act(alice, |peer, now| {
            peer.send(now, Channel::Reliable, &message)
        }) {
            world.run_for(Duration::from_millis(20));
        }
        world.run_for(Duration::from_millis(20));
    }
    world.run_for(20 * SECOND);
    let numbers: Vec<u32> = received(&world, bob, Channel::Reliable)
        .iter()
        .map(|(_, payload)| u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]))
        .collect();
    assert_eq!(numbers, (1..=200).collect::<Vec<_>>());
}

#[test]
fn a_message_of_60_kilobytes_passes() {
    let (mut world, alice, bob) = two(Join::single(), Join::dual());
    world.act(alice, |peer, now| {
        peer.send(now, Channel::Reliable, &packet(1, &[5; 60_000], &[]))
    });
    world.run_for(5 * SECOND);
    assert_eq!(
        received(&world, bob, Channel::Reliable),
        [("alice".into(), vec![5; 60_000])]
    );
}

#[test]
fn lossy_messages_go_on_for_ever_over_a_bad_link() {
    let bad = LinkConfig {
        delay: Duration::from_millis(20),
        loss: 0.06,
        ..LinkConfig::default()
    };
    let join = Join {
        up: bad,
        down: bad,
        ..Join::single()
    };
    let (mut world, alice, bob) = two(join, join);
    let mut came = Vec::new();
    for _ in 0..4 {
        let (before, mut sent) = (received(&world, bob, Channel::Lossy).len(), 0);
        for n in 0..600u32 {
            // Three fragments each.
            let message = packet(0, &[n as u8; 2_500], &[]);
            sent +=
                usize::from(world.act(alice, |peer, now| peer.send(now, Channel::Lossy, &message)));
            world.run_for(Duration::from_millis(50));
        }
        came.push((received(&world, bob, Channel::Lossy).len() - before, sent));
    }
    // Each of two ways loses one of three fragments: 0.94⁶ = 69% of the messages are whole.
    assert!(
        came.iter()
            .all(|(came, sent)| *sent > 550 && came * 2 > *sent),
        "{came:?}"
    );
}

#[test]
fn data_tracks_arrive_under_the_subscribers_handle() {
    let (mut world, alice, bob) = two(Join::single(), Join::dual());
    let (publisher, subscriber) = (world.peer(alice).id, world.peer(bob).id);
    let track = TrackId(900);
    world.command(Command::PublishDataTrack {
        participant: publisher,
        spec: DataTrackSpec {
            track,
            sid: "DTR_1".into(),
            publisher_handle: 7,
        },
    });
    world.command(Command::SetDataSubscription {
        participant: subscriber,
        track,
        handle: Some(300),
    });
    let frame = |handle: u16| {
        let [h0, h1] = handle.to_be_bytes();
        [&[0x18, 0, h0, h1, 0, 1, 0, 1, 0, 0, 0, 9][..], b"payload"].concat()
    };
    for handle in [7, 8] {
        world.act(alice, |peer, now| {
            peer.send(now, Channel::DataTrack, &frame(handle))
        });
    }
    world.run_for(SECOND);
    let got: Vec<_> = world
        .peer(bob)
        .messages
        .iter()
        .filter(|m| m.channel == Channel::DataTrack)
        .collect();
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].data, frame(300));
}

/// A room with a sender, one with a slow way to it, and one with a fast one.
fn slow_and_fast(rate: u64) -> (World, Who, Who, Who) {
    let (mut world, alice, slow) = two(Join::single(), Join::single());
    let fast = world.join("carol", Join::dual());
    ready(&mut world, fast);
    let config = LinkConfig {
        rate: Some(rate),
        ..LinkConfig::default()
    };
    world.set_links(slow, config);
    (world, alice, slow, fast)
}

fn overflowed(world: &World) -> Vec<ParticipantId> {
    let overflows = world.events.iter().filter_map(|(_, event)| match event {
        Event::Overflow { participant, .. } => Some(*participant),
        _ => None,
    });
    overflows.collect()
}

#[test]
fn who_does_not_keep_up_with_reliable_data_goes_alone() {
    let (mut world, alice, slow, fast) = slow_and_fast(100_000);
    let mut sent = 0;
    // 2.4 MB/s, until more waits for the slow one than a queue holds.
    while overflowed(&world).is_empty() && sent < 2_000 {
        sent += 1;
        let message = packet(sent, &[7; 60_000], &[]);
        while !world.act(alice, |peer, now| {
            peer.send(now, Channel::Reliable, &message)
        }) {
            world.run_for(Duration::from_millis(5));
        }
        world.run_for(Duration::from_millis(25));
    }
    assert_eq!(overflowed(&world), [world.peer(slow).id]);
    assert!(sent > 1_000, "overflowed after {sent} messages of 60 kB");
    world.run_for(5 * SECOND);
    assert_eq!(
        received(&world, fast, Channel::Reliable).len(),
        sent as usize
    );
    assert!(world.peer(alice).is_connected() && world.peer(fast).is_connected());
    assert_eq!(overflowed(&world).len(), 1);
}

#[test]
fn lossy_data_is_dropped_first_and_reliable_data_still_comes() {
    let (mut world, alice, slow, fast) = slow_and_fast(400_000);
    let mut lossy = 0;
    for n in 1..=50 {
        // 1.6 Mbit/s.
        for _ in 0..20 {
            let message = packet(0, &[1; 1_000], &[]);
            lossy +=
                usize::from(world.act(alice, |peer, now| peer.send(now, Channel::Lossy, &message)));
            world.run_for(Duration::from_millis(5));
        }
        let message = packet(n, &n.to_be_bytes(), &[]);
        assert!(world.act(alice, |peer, now| {
            peer.send(now, Channel::Reliable, &message)
        }));
    }
    world.run_for(15 * SECOND);
    for who in [slow, fast] {
        let numbers: Vec<u32> = received(&world, who, Channel::Reliable)
            .iter()
            .map(|(_, payload)| u32::from_be_bytes(payload[..].try_into().expect("a number")))
            .collect();
        assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    }
    assert!(received(&world, slow, Channel::Lossy).len() < lossy / 2);
    assert!(received(&world, fast, Channel::Lossy).len() > lossy * 9 / 10);
    assert!(overflowed(&world).is_empty());
}
