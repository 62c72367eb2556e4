//! Which path a connection takes, how it is lost and found again.

use super::super::*;
use super::link::*;

#[test]
fn silence_disconnects_then_fails_and_a_restart_brings_it_back() {
    for lite in [true, false] {
        let mut link = Link::connected(lite, DtlsRole::Client);
        link.cut = true;
        let took = link.until(12, |link| {
            link.b.transport.state() == TransportState::Disconnected
        });
        assert!(took >= Duration::from_secs(7), "{took:?}");
        link.until(6, |link| link.b.transport.state() == TransportState::Failed);
        assert_eq!(link.b.transport.destination(), None);
        link.until(6, |link| link.a.transport.state() == TransportState::Failed);
        link.run(Duration::from_secs(30));
        assert_eq!(
            link.a.transport.poll_transmit(link.now),
            None,
            "a failed transport is quiet"
        );

        link.cut = false;
        let now = link.now;
        link.a
            .transport
            .restart_ice(now, IceCredentials::generate());
        let of_a = description(&link.a.transport, false, DtlsRole::Server);
        assert!(link.b.transport.is_restart(&of_a.ice));
        link.b
            .transport
            .restart_ice(now, IceCredentials::generate());
        link.signal(DtlsRole::Client);
        assert!(!link.b.transport.is_restart(&of_a.ice));
        link.until(5, Link::both_connected);
        link.send_media(Side::A, &rtp(9, b"again"), false);
        link.run(Duration::from_millis(50));
        assert_eq!(link.b.rtp, [rtp(9, b"again")]);
    }
}

/// What A says to the check that B sends over a 5-tuple.
fn answer_to_check(link: &mut Link, over: FiveTuple) -> Vec<u8> {
    let check = loop {
        let now = link.now;
        match link.b.transport.poll_transmit(now) {
            Some(sent) if sent.tuple == over && sent.contents.starts_with(&[0, 1]) => {
                break sent.contents;
            }
            Some(_) => {}
            None => {
                link.now += Duration::from_millis(50);
                link.b.transport.handle_timeout(link.now);
            }
        }
    };
    let now = link.now;
    let at_a = FiveTuple {
        local: address(A),
        remote: address(B),
        ..over
    };
    assert_eq!(link.a.receive(now, &at_a, check), Received::Consumed);
    loop {
        let sent = link.a.transport.poll_transmit(now).unwrap();
        if sent.contents.starts_with(&[1, 1]) {
            return sent.contents;
        }
    }
}

#[test]
fn media_is_answered_where_the_controlling_peer_sends_it() {
    for lite in [true, false] {
        let mut link = Link::connected(lite, DtlsRole::Client);
        let first = link.b.transport.destination().unwrap();
        let second = FiveTuple {
            remote: address("192.0.2.1:1001"),
            ..first
        };
        // The peer has another path and checks it.
        let check = loop {
            link.now += Duration::from_millis(50);
            let now = link.now;
            link.a.transport.handle_timeout(now);
            let sent = link.a.transport.poll_transmit(now);
            if let Some(sent) = sent.filter(|it| it.contents.starts_with(&[0, 1])) {
                break sent.contents;
            }
        };
        let now = link.now;
        assert_eq!(link.b.receive(now, &second, check), Received::Consumed);
        let answer = (!lite).then(|| answer_to_check(&mut link, second));
        let mut sequence = 0;
        let mut media = |link: &mut Link, tuple: &FiveTuple| {
            sequence += 1;
            let mut sealed = rtp(sequence, b"x");
            link.a.transport.seal_rtp(&mut sealed, 12).unwrap();
            let now = link.now;
            link.b.receive(now, tuple, sealed);
            link.b.transport.destination()
        };
        assert_eq!(media(&mut link, &first), Some(first));
        link.run(Duration::from_millis(500));
        // A packet that was overtaken, perhaps.
        assert_eq!(media(&mut link, &second), Some(first));
        link.run(Duration::from_millis(600));
        if let Some(answer) = answer {
            // Anybody can send in that address's name; who answers from it can hear there.
            assert_eq!(media(&mut link, &second), Some(first));
            link.run(Duration::from_millis(1_100));
            let now = link.now;
            assert_eq!(link.b.receive(now, &second, answer), Received::Consumed);
        }
        assert_eq!(media(&mut link, &second), Some(second));
        assert_eq!(media(&mut link, &first), Some(second));
    }
}

#[test]
fn a_short_silence_comes_back_by_itself() {
    let mut link = Link::connected(true, DtlsRole::Client);
    link.cut = true;
    link.until(12, |link| {
        link.b.transport.state() == TransportState::Disconnected
    });
    link.cut = false;
    link.until(5, Link::both_connected);
}

#[test]
fn media_flows_through_a_restart_to_another_network() {
    let mut link = Link::connected(true, DtlsRole::Client);
    let now = link.now;
    link.a
        .transport
        .restart_ice(now, IceCredentials::generate());
    link.b
        .transport
        .restart_ice(now, IceCredentials::generate());
    link.send_media(Side::A, &rtp(1, b"between"), false);
    link.send_media(Side::B, &rtp(1, b"between"), false);
    link.run(Duration::from_millis(30));
    assert_eq!(
        (link.a.rtp.len(), link.b.rtp.len()),
        (1, 1),
        "the old path carries on"
    );
    let moved = host("198.51.100.5:4000");
    let now = link.now;
    assert!(link.a.transport.add_local_candidate(now, moved));
    link.signal(DtlsRole::Client);
    link.run(Duration::from_secs(2));
    assert!(link.both_connected());
    let new = FiveTuple {
        protocol: Protocol::Udp,
        local: address(B),
        remote: moved.address,
    };
    assert!(link.b.events.contains(&TransportEvent::TupleAdded(new)));
    assert_eq!(
        link.a
            .events
            .iter()
            .filter(|e| matches!(e, TransportEvent::StateChanged(_)))
            .count(),
        1
    );
}

#[test]
fn liveness_is_kept_by_media_alone() {
    let mut link = Link::connected(true, DtlsRole::Client);
    let tuple = FiveTuple {
        protocol: Protocol::Udp,
        local: address(B),
        remote: address(A),
    };
    // STUN is gone, SRTP goes on: 20 s of it.
    for sequence in 0..200 {
        let mut sealed = rtp(sequence, b"x");
        link.a.transport.seal_rtp(&mut sealed, 12).unwrap();
        link.now += Duration::from_millis(100);
        let now = link.now;
        assert!(matches!(
            link.b.receive(now, &tuple, sealed),
            Received::Rtp(_)
        ));
        link.b.transport.handle_timeout(now);
    }
    assert_eq!(link.b.transport.state(), TransportState::Connected);
    assert_eq!(link.b.transport.last_authenticated(), Some(link.now));
}

#[test]
fn nobody_there_fails_after_fifteen_seconds_and_says_what_was_tried() {
    for lite in [true, false] {
        let mut link = Link::new(lite);
        link.cut = true;
        link.signal(DtlsRole::Client);
        let took = link.until(20, |link| {
            link.b.transport.state() == TransportState::Failed
        });
        assert!((15..16).contains(&took.as_secs()), "{took:?}");
        let text = link.a.transport.diagnosis();
        assert!(text.contains("offered Udp/192.0.2.1:1000"), "{text}");
        assert!(text.contains("no answer from 192.0.2.2:2000"), "{text}");
        assert!(text.contains("rtc.node_ip"), "{text}");
        assert!(link.b.transport.diagnosis().contains("nothing selected"));
    }
}

#[test]
fn a_mapped_address_is_told_and_the_socket_used() {
    let mut link = Link::new(true);
    let now = link.now;
    let mut mapped = config(&Identity::generate().unwrap(), IceRole::Controlled, true, B);
    mapped.candidates = vec![LocalCandidate {
        protocol: Protocol::Udp,
        address: address("203.0.113.7:7882"),
        base: Some(address("10.0.0.2:7882")),
    }];
    let mut transport = Transport::new(mapped, now);
    assert!(transport.local_candidates()[0].contains("203.0.113.7 7882 typ host"));
    let of_b = description(&transport, true, DtlsRole::Client);
    link.a.transport.set_remote(now, &of_b).unwrap();
    link.a
        .transport
        .add_remote_candidate(now, &transport.local_candidates()[0])
        .unwrap();
    transport
        .set_remote(
            now,
            &description(&link.a.transport, false, DtlsRole::Server),
        )
        .unwrap();
    let check = link.a.transport.poll_transmit(now).unwrap();
    assert_eq!(check.tuple.remote, address("203.0.113.7:7882"));
    let inside = FiveTuple {
        protocol: Protocol::Udp,
        local: address("10.0.0.2:7882"),
        remote: address(A),
    };
    let mut datagram = check.contents;
    assert_eq!(
        transport.handle_datagram(now, &inside, &mut datagram),
        Received::Consumed
    );
    assert_eq!(transport.poll_transmit(now).unwrap().tuple, inside);
}

#[test]
fn a_passive_tcp_candidate_is_offered_and_answers_on_its_connection() {
    let mut link = Link::new(true);
    let now = link.now;
    let mut tcp = config(
        &Identity::generate().unwrap(),
        IceRole::Controlled,
        false,
        B,
    );
    tcp.candidates.push(LocalCandidate {
        protocol: Protocol::Tcp,
        address: address("192.0.2.2:7881"),
        base: None,
    });
    let mut transport = Transport::new(tcp, now);
    let lines = transport.local_candidates();
    assert!(
        lines[1].contains(" tcp ") && lines[1].contains("tcptype passive"),
        "{lines:?}"
    );
    link.a
        .transport
        .set_remote(now, &description(&transport, false, DtlsRole::Client))
        .unwrap();
    link.a
        .transport
        .add_remote_candidate(now, &lines[0])
        .unwrap();
    transport
        .set_remote(
            now,
            &description(&link.a.transport, false, DtlsRole::Server),
        )
        .unwrap();
    let mut check = link.a.transport.poll_transmit(now).unwrap().contents;
    let tuple = FiveTuple {
        protocol: Protocol::Tcp,
        local: address("192.0.2.2:7881"),
        remote: address("192.0.2.1:50123"),
    };
    assert_eq!(
        transport.handle_datagram(now, &tuple, &mut check),
        Received::Consumed
    );
    let answer = transport.poll_transmit(now).unwrap();
    assert_eq!(answer.tuple, tuple);
}

#[test]
fn with_tcp_only_nothing_else_is_offered_or_taken() {
    let now = Instant::now();
    let identity = Identity::generate().unwrap();
    let mut both = config(&identity, IceRole::Controlled, false, B);
    both.candidates.push(LocalCandidate {
        protocol: Protocol::Tcp,
        address: address("192.0.2.2:7881"),
        base: None,
    });
    let theirs = "candidate:1 1 udp 2130706431 192.0.2.1 1000 typ host";
    let mut transport = Transport::new(both, now);
    transport.set_tcp_only(true);
    let lines = transport.local_candidates();
    assert!(lines.len() == 1 && lines[0].contains(" tcp "), "{lines:?}");
    assert!(!transport.add_remote_candidate(now, theirs).unwrap());
    transport.set_tcp_only(false);
    assert_eq!(transport.local_candidates().len(), 2);
    assert!(transport.add_remote_candidate(now, theirs).unwrap());

    let mut udp = Transport::new(config(&identity, IceRole::Controlled, false, B), now);
    udp.set_tcp_only(true);
    assert_eq!(udp.local_candidates().len(), 1);
}

#[test]
fn a_relayed_path_is_known_as_one_where_only_tcp_is_taken() {
    // Of our own relay, which needs no candidate; and of somebody else's, by a candidate that is not taken.
    for (relay, line) in [
        ("240.0.2.9:5000", ""),
        (
            A,
            "candidate:1 1 udp 1000 192.0.2.1 1000 typ relay raddr 0.0.0.0 rport 0",
        ),
    ] {
        let mut link = Link::new(false);
        let identity = Arc::clone(&link.a.transport.identity);
        let relayed = config(&identity, IceRole::Controlling, false, relay);
        link.a = End::new(Transport::new(relayed, link.now));
        let tcp = LocalCandidate {
            protocol: Protocol::Tcp,
            ..host("192.0.2.2:7881")
        };
        let b = &mut link.b.transport;
        let known = b.local_candidates();
        assert!(b.add_local_candidate(link.now, tcp));
        b.set_tcp_only(true);
        assert!(!b.add_remote_candidate(link.now, line).unwrap());
        link.signal(DtlsRole::Client);
        for line in known {
            let a = &mut link.a.transport;
            assert!(a.add_remote_candidate(link.now, &line).unwrap());
        }
        link.until(5, Link::both_connected);
        assert_eq!(link.b.transport.way(), Some(Way::Relay), "{relay}");
    }
}
