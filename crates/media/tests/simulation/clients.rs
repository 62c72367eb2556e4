//! Our own clients: joining, publishing, hearing, data, loss and coming back.

use std::time::Duration;

use bytes::Bytes;
use roomful_media::api::{ConnectionState, Target};
use roomful_media::client::{Client, ClientEvent};
use roomful_media::data::Channel;

use crate::link::LinkConfig;
use crate::meeting::Meeting;

const SECOND: Duration = Duration::from_secs(1);
/// A user packet, field by field: value (user) with payload and topic.
const PACKET: &[u8] = b"\x12\x08\x12\x02hi\x22\x02to";

fn send(client: &mut Client, now: std::time::Instant, channel: Channel, message: &'static [u8]) {
    let backlog = client.backlog(channel).expect("one of ours");
    assert!(backlog.reserve(message.len()));
    client.send_data(now, channel, Bytes::from_static(message));
}

fn meet(single: bool) {
    let mut meeting = Meeting::new(1);
    let alice = meeting.join(single, LinkConfig::default());
    let bob = meeting.join(single, LinkConfig::default());
    let open = |meeting: &Meeting| meeting.guests.iter().all(|it| it.channels_open());
    assert!(meeting.run_until(SECOND, open));
    let microphone = meeting.publish(alice, false);
    let heard = |meeting: &Meeting| !meeting.guests[bob].heard(microphone).is_empty();
    assert!(meeting.run_until(SECOND / 2, heard));
    meeting.act(alice, |client, now| {
        send(client, now, Channel::Reliable, PACKET)
    });
    meeting.run_for(2 * SECOND);
    let heard = meeting.guests[bob].heard(microphone);
    assert!(heard.len() > 95, "{}", heard.len());
    assert!(heard.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1));
    let messages = meeting.guests[bob].messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].0, Channel::Reliable);
    assert!(messages[0].1.windows(2).any(|it| it == b"hi"));
    meeting.act(alice, |client, _| {
        client.unpublish(microphone);
        client.negotiate();
    });
    let ended = |meeting: &Meeting| {
        let ended = |event: &ClientEvent| matches!(event, ClientEvent::TrackEnded { .. });
        meeting.guests[bob].events.iter().any(ended)
    };
    assert!(meeting.run_until(SECOND, ended));
}

#[test]
fn clients_of_ours_meet_over_one_connection() {
    meet(true);
}

#[test]
fn clients_of_ours_meet_over_two_connections() {
    meet(false);
}

#[test]
fn redundancy_and_repeats_mend_what_is_lost() {
    let mut meeting = Meeting::new(2);
    let lossy = LinkConfig {
        loss: 0.1,
        ..LinkConfig::default()
    };
    let alice = meeting.join(true, lossy);
    let bob = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    for red in [false, true] {
        let track = meeting.publish(alice, red);
        meeting.run_for(6 * SECOND);
        let mut heard = meeting.guests[bob].heard(track);
        heard.sort_unstable();
        heard.dedup();
        let (first, last) = (heard[0].0, heard[heard.len() - 1].0);
        let span = (last - first + 1) as usize;
        assert!(span > 250, "{span}");
        assert!(
            heard.len() + 3 > span,
            "red {red}: {} of {span}",
            heard.len()
        );
    }
}

#[test]
fn a_client_comes_back_by_an_ice_restart_and_is_heard_again() {
    for single in [true, false] {
        let mut meeting = Meeting::new(3);
        let alice = meeting.join(single, LinkConfig::default());
        let bob = meeting.join(single, LinkConfig::default());
        let microphone = meeting.publish(alice, false);
        meeting.run_for(3 * SECOND);
        meeting.cut(alice, true);
        let gone = |meeting: &Meeting| {
            let states = meeting.guests[alice].states(Target::Publisher);
            states.last() == Some(&ConnectionState::Disconnected)
        };
        assert!(meeting.run_until(12 * SECOND, gone));
        meeting.cut(alice, false);
        let before = meeting.guests[bob].heard(microphone).len();
        meeting.act(alice, |client, now| {
            client.restart_ice(now, Target::Publisher)
        });
        let back = |meeting: &Meeting| meeting.guests[bob].heard(microphone).len() > before;
        assert!(meeting.run_until(SECOND, back));
    }
}

#[test]
fn a_full_channel_refuses_and_tells_when_there_is_room() {
    let mut meeting = Meeting::new(4);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let backlog = meeting.guests[alice]
        .client
        .backlog(Channel::Reliable)
        .expect("one of ours");
    let message = Bytes::from_static(&[0; 60_000]);
    let mut sent = 0;
    while backlog.reserve(message.len()) {
        let message = message.clone();
        meeting.guests[alice]
            .client
            .send_data(meeting.now, Channel::Reliable, message);
        sent += 1;
    }
    assert!((30..40).contains(&sent), "{sent}");
    let low = |meeting: &Meeting| {
        let low = |event: &ClientEvent| matches!(event, ClientEvent::BufferLow(Channel::Reliable));
        meeting.guests[alice].events.iter().any(low)
    };
    assert!(!low(&meeting));
    assert!(meeting.run_until(20 * SECOND, low));
    assert!(backlog.reserve(message.len()));
}
