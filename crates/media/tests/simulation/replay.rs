//! The same seed gives the same run.

use std::time::Duration;

use roomful_media::data::Channel;

use crate::join::CAMERA;
use crate::link::LinkConfig;
use crate::world::{Join, World};

/// A run with everything that chance touches.
fn run(seed: u64) -> Vec<String> {
    let bad = LinkConfig {
        loss: 0.05,
        jitter: Duration::from_millis(10),
        reorder: 0.01,
        duplicate: 0.01,
        ..LinkConfig::default()
    };
    let mut world = World::new(seed);
    let alice = world.join("alice", Join::single());
    let bob = world.join("bob", Join::dual());
    world.publish_audio(alice);
    world.publish_video(bob, &CAMERA);
    // DTLS has timers with a chance of their own, which only losses start.
    let connected = |world: &World| {
        [alice, bob]
            .iter()
            .all(|who| world.peer(*who).is_connected())
    };
    assert!(world.run_until(Duration::from_secs(2), connected));
    world.set_links(alice, bad);
    world.set_links(bob, bad);
    for n in 0..50 {
        // A kind of message nobody knows.
        world.act(alice, |peer, now| {
            peer.send(now, Channel::Reliable, &[0x98, 0x06, n])
        });
        world.run_for(Duration::from_millis(100));
    }
    world.log
}

#[test]
fn the_same_seed_gives_the_same_log() {
    let (first, second) = (run(7), run(7));
    assert!(first.len() > 400, "{}", first.len());
    for (line, (one, other)) in first.iter().zip(&second).enumerate() {
        assert_eq!(
            one,
            other,
            "line {line} after:\n{}",
            first[line.saturating_sub(10)..line].join("\n")
        );
    }
    assert_eq!(first.len(), second.len());
}

#[test]
fn another_seed_gives_another_log() {
    assert_ne!(run(7), run(8));
}
