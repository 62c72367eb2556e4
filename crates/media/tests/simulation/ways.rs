//! Ways of our own clients to the server: relays, when they are tried, and what becomes of them.

use std::net::SocketAddr;
use std::time::Duration;

use roomful_media::api::{ConnectionState, SdpKind, Target};
use roomful_media::client::{Client, ClientEvent, Request, TurnServer, TurnTransport};
use roomful_media::transport::Way;

use crate::link::LinkConfig;
use crate::meeting::Meeting;
use crate::relay::{Relay, SOON};

const SECOND: Duration = Duration::from_secs(1);

fn way(meeting: &Meeting, guest: usize) -> Option<(ConnectionState, Option<Way>)> {
    let told = |event: &ClientEvent| match event {
        ClientEvent::Connection {
            target: Target::Publisher,
            state,
            way,
            ..
        } => Some((*state, *way)),
        _ => None,
    };
    meeting.guests[guest].events.iter().rev().find_map(told)
}

fn use_relay(meeting: &mut Meeting, guest: usize, only: bool) {
    let servers = vec![meeting.relay.told()];
    meeting.act(guest, |client, now| {
        client.set_relay_only(now, only);
        client.set_ice_servers(now, servers, Vec::new());
    });
}

fn restart(meeting: &mut Meeting, guest: usize) {
    meeting.act(guest, |client, now| {
        client.restart_ice(now, Target::Publisher)
    });
}

const RELAYED: Option<(ConnectionState, Option<Way>)> =
    Some((ConnectionState::Connected, Some(Way::Relay)));

#[test]
fn a_restart_finds_the_way_through_a_relay_when_the_old_one_is_gone() {
    let mut meeting = Meeting::new(11);
    let alice = meeting.join(true, LinkConfig::default());
    let bob = meeting.join(true, LinkConfig::default());
    use_relay(&mut meeting, alice, false);
    let microphone = meeting.publish(alice, false);
    meeting.run_for(2 * SECOND);
    assert_eq!(meeting.relay.allocations(), 0);
    meeting.guests[alice].walled = true;
    meeting.run_for(2 * SECOND);
    let before = meeting.guests[bob].heard(microphone).len();
    restart(&mut meeting, alice);
    let heard = |meeting: &Meeting| meeting.guests[bob].heard(microphone).len() > before + 10;
    assert!(meeting.run_until(SOON, heard));
    // Coming back again and again keeps one relay.
    for _ in 0..6 {
        restart(&mut meeting, alice);
        meeting.run_for(2 * SECOND);
        assert_eq!(meeting.relay.allocations(), 1);
    }
    let before = meeting.guests[bob].heard(microphone).len();
    meeting.cut(alice, true);
    meeting.run_for(4 * SECOND);
    meeting.cut(alice, false);
    restart(&mut meeting, alice);
    let heard = |meeting: &Meeting| meeting.guests[bob].heard(microphone).len() > before + 10;
    assert!(meeting.run_until(SOON, heard));
    assert_eq!(meeting.relay.allocations(), 1);
}

#[test]
fn relays_alone_are_used_as_soon_as_that_is_said() {
    let mut meeting = Meeting::new(12);
    let alice = meeting.join(true, LinkConfig::default());
    let bob = meeting.join(true, LinkConfig::default());
    let microphone = meeting.publish(alice, false);
    meeting.run_for(2 * SECOND);
    assert_eq!(
        way(&meeting, alice),
        Some((ConnectionState::Connected, Some(Way::Udp)))
    );
    use_relay(&mut meeting, alice, true);
    let before = meeting.guests[bob].heard(microphone).len();
    meeting.run_for(SECOND / 20);
    assert!(meeting.guests[bob].heard(microphone).len() < before + 4);
    assert!(meeting.run_until(SOON, |meeting| way(meeting, alice) == RELAYED));
    let before = meeting.guests[bob].heard(microphone).len();
    meeting.run_for(SECOND);
    assert!(meeting.guests[bob].heard(microphone).len() > before + 40);
    restart(&mut meeting, alice);
    let events = meeting.guests[alice].events.iter().rev();
    let offer = |event: &ClientEvent| match event {
        ClientEvent::Description { kind, sdp, .. } if *kind == SdpKind::Offer => Some(sdp.clone()),
        _ => None,
    };
    let offer = events.clone().find_map(offer).expect("an offer");
    assert!(!offer.contains("a=candidate"));
    meeting.run_for(2 * SECOND);
    assert_eq!(way(&meeting, alice), RELAYED);
    // And the others again.
    meeting.act(alice, |client, now| {
        client.set_relay_only(now, false);
        client.set_ice_servers(now, Vec::new(), Vec::new());
    });
    meeting.guests[alice].walled = false;
    restart(&mut meeting, alice);
    meeting.run_for(3 * SECOND);
    let before = meeting.guests[bob].heard(microphone).len();
    meeting.run_for(SECOND);
    assert!(meeting.guests[bob].heard(microphone).len() > before + 40);
}

#[test]
fn an_address_that_others_see_is_told_once() {
    let mut meeting = Meeting::new(14);
    let alice = meeting.join(true, LinkConfig::default());
    let outside = SocketAddr::from(([203, 0, 113, 9], 61_000));
    meeting.guests[alice].outside = Some(outside);
    let servers = vec![Relay::address(), SocketAddr::from(([192, 0, 2, 99], 3_478))];
    meeting.act(alice, |client, now| {
        client.set_ice_servers(now, Vec::new(), servers);
    });
    meeting.run_for(20 * SECOND);
    let told = |event: &ClientEvent| match event {
        ClientEvent::Candidate { candidate, .. } => Some(candidate.clone()),
        _ => None,
    };
    let events = meeting.guests[alice].events.iter();
    let told: Vec<String> = events.filter_map(told).collect();
    assert_eq!(
        told,
        [
            "candidate:srflx1 1 udp 1694498815 203.0.113.9 61000 typ srflx raddr 198.51.100.1 rport 5000"
        ]
    );
    assert_eq!(
        way(&meeting, alice),
        Some((ConnectionState::Connected, Some(Way::Udp)))
    );
}

fn requests(client: &mut Client) -> Vec<Request> {
    std::iter::from_fn(|| client.poll_request()).collect()
}

#[test]
fn a_restart_tries_streams_too_and_closes_those_of_the_one_before() {
    let mut meeting = Meeting::new(13);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let passive = "candidate:9 1 tcp 1518280447 192.0.2.1 7881 typ host tcptype passive";
    let told = meeting.relay.told();
    let stream = TurnServer {
        transport: TurnTransport::Tcp,
        ..told
    };
    meeting.act(alice, |client, now| {
        client.set_ice_servers(now, vec![stream], Vec::new());
    });
    assert_eq!(requests(&mut meeting.guests[alice].client), []);
    let mut open = Vec::new();
    for round in 0..4 {
        meeting.cut(alice, true);
        meeting.run_for(SECOND);
        restart(&mut meeting, alice);
        meeting.act(alice, |client, now| {
            client.remote_candidate(now, Target::Publisher, passive);
        });
        meeting.run_for(SECOND);
        for request in requests(&mut meeting.guests[alice].client) {
            match request {
                Request::Connect { link, remote, .. } => {
                    open.push((link, remote));
                    let local = SocketAddr::from(([198, 51, 100, 1], 40_000 + round));
                    meeting.act(alice, |client, now| {
                        client.link_open(now, Target::Publisher, link, local);
                    });
                }
                Request::Close { link, .. } => open.retain(|(known, _)| *known != link),
            }
        }
        let mut remotes: Vec<SocketAddr> = open.iter().map(|(_, remote)| *remote).collect();
        remotes.sort_unstable();
        let expected = ["192.0.2.1:7881", "192.0.2.2:3478"];
        let expected = expected.map(|it| it.parse().expect("an address"));
        assert_eq!(remotes, expected, "round {round}");
    }
}

#[test]
fn a_relay_says_goodbye_before_its_stream_is_closed() {
    let mut meeting = Meeting::new(15);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let stream = TurnServer {
        transport: TurnTransport::Tcp,
        ..meeting.relay.told()
    };
    meeting.act(alice, |client, now| {
        client.set_ice_servers(now, vec![stream], Vec::new());
    });
    meeting.cut(alice, true);
    meeting.run_for(SECOND);
    restart(&mut meeting, alice);
    meeting.run_for(SECOND);
    let [Request::Connect { link, .. }] = requests(&mut meeting.guests[alice].client)[..] else {
        panic!("no stream is opened");
    };
    let local = SocketAddr::from(([198, 51, 100, 1], 40_000));
    meeting.act(alice, |client, now| {
        client.link_open(now, Target::Publisher, link, local);
    });
    let listen = |meeting: &mut Meeting| {
        for (_, message) in std::mem::take(&mut meeting.guests[alice].written) {
            for answer in meeting.relay.answer(meeting.now, local, &message) {
                meeting.act(alice, |client, now| {
                    client.link_read(now, Target::Publisher, link, &answer);
                });
            }
        }
    };
    while !meeting.guests[alice].written.is_empty() {
        listen(&mut meeting);
    }
    assert_eq!(meeting.relay.allocations(), 1);
    restart(&mut meeting, alice);
    meeting.run_for(SECOND / 2);
    requests(&mut meeting.guests[alice].client);
    meeting.guests[alice].written.clear();
    // A driver that looks for requests before it has drained.
    meeting.now += SECOND;
    let client = &mut meeting.guests[alice].client;
    client.handle_timeout(meeting.now);
    let close = Request::Close {
        target: Target::Publisher,
        link,
    };
    assert!(!requests(client).contains(&close));
    meeting.settle();
    listen(&mut meeting);
    assert_eq!(meeting.relay.allocations(), 0);
    assert!(requests(&mut meeting.guests[alice].client).contains(&close));
}

#[test]
fn servers_that_are_taken_back_are_asked_no_more() {
    let mut meeting = Meeting::new(16);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.run_for(SECOND);
    let told = meeting.relay.told();
    let stream = TurnServer {
        transport: TurnTransport::Tcp,
        ..told.clone()
    };
    let stun = SocketAddr::from(([192, 0, 2, 2], 3_478));
    meeting.cut(alice, true);
    meeting.run_for(SECOND);
    restart(&mut meeting, alice);
    meeting.act(alice, |client, now| {
        client.set_ice_servers(now, vec![told, stream], vec![stun]);
    });
    meeting.run_for(SECOND);
    let [Request::Connect { link, .. }] = requests(&mut meeting.guests[alice].client)[..] else {
        panic!("no stream is opened");
    };
    meeting.act(alice, |client, now| {
        client.set_ice_servers(now, Vec::new(), Vec::new());
    });
    let close = Request::Close {
        target: Target::Publisher,
        link,
    };
    assert_eq!(requests(&mut meeting.guests[alice].client), [close]);
    meeting.guests[alice].events.clear();
    meeting.guests[alice].outside = Some(SocketAddr::from(([203, 0, 113, 9], 61_000)));
    meeting.cut(alice, false);
    meeting.run_for(10 * SECOND);
    assert_eq!(meeting.relay.allocations(), 0);
    let candidate = |event: &ClientEvent| matches!(event, ClientEvent::Candidate { .. });
    assert!(!meeting.guests[alice].events.iter().any(candidate));
}

#[test]
fn a_server_does_not_stay_awake_for_whoever_cannot_be_reached() {
    let mut meeting = Meeting::new(17);
    let alice = meeting.join(true, LinkConfig::default());
    meeting.publish_video(alice, &[("", 4_000, 1_000_000)]);
    meeting.run_for(3 * SECOND);
    meeting.cut(alice, true);
    meeting.run_for(SECOND);
    // Who comes now waits for a picture.
    meeting.join(true, LinkConfig::default());
    meeting.run_for(20 * SECOND);
    let before = meeting.server.wake_ups;
    meeting.run_for(SECOND);
    let wake_ups = meeting.server.wake_ups - before;
    assert!(wake_ups < 100, "{wake_ups} in a second");
}
