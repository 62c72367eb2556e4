//! Ours against ours.

use super::super::*;
use super::link::*;

#[test]
fn connects_in_every_combination_of_roles() {
    for lite in [false, true] {
        for role in [DtlsRole::Client, DtlsRole::Server] {
            let mut link = Link::new(lite);
            link.signal(role);
            let took = link.until(5, Link::both_connected);
            // ICE is one round trip, DTLS with its cookie three, at 20 ms each, and a tick of the agent.
            assert!(
                took <= Duration::from_millis(250),
                "lite {lite}, a {role:?}: {took:?}"
            );
            for (side, end) in [(A, &link.a), (B, &link.b)] {
                let other = if side == A { B } else { A };
                let expected = FiveTuple {
                    protocol: Protocol::Udp,
                    local: address(side),
                    remote: address(other),
                };
                assert_eq!(end.transport.destination(), Some(expected));
                assert!(
                    end.events.contains(&TransportEvent::TupleAdded(expected)),
                    "{side}"
                );
                assert!(
                    end.events.contains(&TransportEvent::Selected(expected)),
                    "{side}"
                );
                assert!(end.transport.last_authenticated().is_some());
            }
        }
    }
}

#[test]
fn the_side_that_answers_lets_its_answer_arrive_before_its_first_check() {
    let now = Instant::now();
    let identity = Identity::generate().unwrap();
    let offers = Transport::new(config(&identity, IceRole::Controlling, false, A), now);
    let remote = description(&offers, false, DtlsRole::Client);
    let first_check = |role| {
        let mut transport = Transport::new(config(&identity, role, false, B), now);
        transport.set_remote(now, &remote).unwrap();
        for line in offers.local_candidates() {
            transport.add_remote_candidate(now, &line).unwrap();
        }
        let mut clock = now;
        while transport.poll_transmit(clock).is_none() {
            clock = transport.poll_timeout().unwrap();
            transport.handle_timeout(clock);
        }
        clock - now
    };
    assert_eq!(first_check(IceRole::Controlled), Duration::from_millis(10));
    // Who gets an answer has no reason to wait.
    assert_eq!(first_check(IceRole::Controlling), Duration::ZERO);
}

#[test]
fn a_first_flight_that_found_nobody_is_sent_again_soon() {
    let mut link = Link::new(false);
    link.lost_handshakes = 1;
    link.signal(DtlsRole::Client);
    let took = link.until(5, Link::both_connected);
    assert!(took <= Duration::from_millis(250), "{took:?}");
    // And when more is lost, no flood.
    let mut link = Link::new(false);
    link.lost_handshakes = usize::MAX;
    link.signal(DtlsRole::Client);
    link.run(Duration::from_secs(3));
    let sent = usize::MAX - link.lost_handshakes;
    assert!((5..=8).contains(&sent), "{sent} first flights in 3 s");
}

#[test]
fn media_passes_both_ways_and_replays_do_not() {
    let mut link = Link::connected(true, DtlsRole::Client);
    for (from, sequence) in [(Side::A, 1), (Side::B, 2)] {
        link.send_media(from, &rtp(sequence, b"opus"), false);
        link.send_media(from, &RECEIVER_REPORT, true);
    }
    link.run(Duration::from_millis(50));
    assert_eq!(link.b.rtp, [rtp(1, b"opus")]);
    assert_eq!(link.a.rtp, [rtp(2, b"opus")]);
    assert_eq!(link.a.rtcp, [RECEIVER_REPORT.to_vec()]);
    assert_eq!(link.b.rtcp, [RECEIVER_REPORT.to_vec()]);

    let mut sealed = rtp(3, b"once");
    link.a.transport.seal_rtp(&mut sealed, 12).unwrap();
    let tuple = FiveTuple {
        protocol: Protocol::Udp,
        local: address(B),
        remote: address(A),
    };
    let now = link.now;
    assert_eq!(
        link.b.receive(now, &tuple, sealed.clone()),
        Received::Rtp(0..16)
    );
    assert_eq!(
        link.b.receive(now, &tuple, sealed),
        Received::Dropped(DropReason::Srtp)
    );
}

#[test]
fn media_before_keys_is_dropped() {
    let mut link = Link::new(true);
    assert_eq!(
        link.a.transport.seal_rtp(&mut rtp(1, b""), 12),
        Err(SealError::NoKeys)
    );
    link.signal(DtlsRole::Client);
    link.until(5, |link| link.b.transport.ice.latest().is_some());
    let tuple = FiveTuple {
        protocol: Protocol::Udp,
        local: address(B),
        remote: address(A),
    };
    let now = link.now;
    assert_eq!(
        link.b.receive(now, &tuple, rtp(1, &[0; 40])),
        Received::Dropped(DropReason::NoKeys)
    );
    let stranger = FiveTuple {
        remote: address("203.0.113.9:9"),
        ..tuple
    };
    assert_eq!(
        link.b.receive(now, &stranger, rtp(1, &[0; 40])),
        Received::Dropped(DropReason::NotValidated)
    );
}

#[test]
fn both_sides_open_channels_and_every_size_passes() {
    let mut link = Link::new(true);
    let now = link.now;
    // Before the descriptions are known, as a server that offers does.
    let ours = link
        .b
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    link.signal(DtlsRole::Client);
    let theirs = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("theirs"))
        .unwrap();
    link.until(5, |link| {
        link.a.channel("_reliable").is_some()
            && link.b.channel("_reliable").is_some()
            && link.a.channel("theirs").is_some()
            && link.b.channel("theirs").is_some()
    });
    let mut noise = Noise::new(1);
    let sizes = [0, 1, 2, 1_163, 1_164, 15_000, 60_000, 65_535, 65_536];
    let messages: Vec<Bytes> = sizes
        .iter()
        .map(|size| Bytes::from(noise.bytes(*size)))
        .collect();
    let now = link.now;
    for (index, message) in messages.iter().enumerate() {
        link.b
            .transport
            .send_data(now, ours, message.clone(), index % 2 == 0)
            .unwrap();
        link.a
            .transport
            .send_data(now, theirs, message.clone(), index % 2 == 1)
            .unwrap();
    }
    assert_eq!(
        link.a
            .transport
            .send_data(now, theirs, Bytes::from(vec![0; 65_537]), true),
        Err(SendError::TooLarge)
    );
    let (at_a, at_b) = (
        link.a.channel("_reliable").unwrap(),
        link.b.channel("theirs").unwrap(),
    );
    link.until(30, |link| {
        link.a.messages(at_a).len() == sizes.len() && link.b.messages(at_b).len() == sizes.len()
    });
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(
            link.a.messages(at_a)[index],
            (message.clone(), index % 2 == 0),
            "{}",
            message.len()
        );
        assert_eq!(
            link.b.messages(at_b)[index],
            (message.clone(), index % 2 == 1),
            "{}",
            message.len()
        );
    }
}

#[test]
fn reliable_messages_survive_five_percent_loss_in_order() {
    let mut link = Link::new(true);
    let now = link.now;
    let channel = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    link.loss = 50;
    link.signal(DtlsRole::Client);
    link.until(30, |link| link.b.channel("_reliable").is_some());
    let mut noise = Noise::new(2);
    let messages: Vec<Bytes> = [1, 65_535, 100, 60_000, 15_000, 1, 30_000]
        .iter()
        .map(|n| Bytes::from(noise.bytes(*n)))
        .collect();
    let now = link.now;
    for message in &messages {
        link.a
            .transport
            .send_data(now, channel, message.clone(), true)
            .unwrap();
    }
    let at = link.b.channel("_reliable").unwrap();
    link.until(120, |link| link.b.messages(at).len() == messages.len());
    let got: Vec<Bytes> = link
        .b
        .messages(at)
        .into_iter()
        .map(|(data, _)| data)
        .collect();
    assert!(got == messages, "out of order or changed");
}

#[test]
fn large_lossy_messages_go_on_for_ever_under_loss() {
    let mut link = Link::new(true);
    let now = link.now;
    let lossy = link
        .a
        .transport
        .open_channel(now, ChannelSpec::lossy("_lossy"))
        .unwrap();
    let reliable = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    link.signal(DtlsRole::Client);
    link.until(5, |link| {
        link.a.channel("_lossy").is_some() && link.a.channel("_reliable").is_some()
    });
    link.loss = 50;
    link.delay = Duration::from_millis(25);
    let at = link.b.channel("_lossy").unwrap();
    let at_reliable = link.b.channel("_reliable").unwrap();
    // 60 s of 25 messages a second, small and of several chunks.
    for index in 0..1_500_u32 {
        let size = if index % 5 == 0 { 2_500 } else { 200 };
        let mut data = vec![7; size];
        data[..4].copy_from_slice(&index.to_be_bytes());
        let now = link.now;
        link.a
            .transport
            .send_data(now, lossy, Bytes::from(data), true)
            .unwrap();
        if index % 100 == 0 {
            link.a
                .transport
                .send_data(now, reliable, Bytes::from(vec![1; 20_000]), true)
                .unwrap();
        }
        link.run(Duration::from_millis(40));
    }
    link.loss = 0;
    link.run(Duration::from_secs(20));
    assert_eq!((link.a.end(), link.b.end()), (None, None));
    let got = link.b.messages(at);
    assert!(
        got.iter()
            .all(|(data, _)| data.len() == 2_500 || data.len() == 200),
        "a part of a message"
    );
    // 95% of the small and 86% of the large ones are not hit by loss.
    assert!(got.len() > 1_500 * 80 / 100, "{} of 1,500", got.len());
    assert_eq!(link.b.messages(at_reliable).len(), 15);
    // What is sent now arrives: no window was lost on the way.
    let before = got.len();
    for _ in 0..10 {
        let now = link.now;
        link.a
            .transport
            .send_data(now, lossy, Bytes::from(vec![9; 60_000]), true)
            .unwrap();
        link.run(Duration::from_secs(1));
    }
    assert_eq!(link.b.messages(at).len(), before + 10);
}

#[test]
fn data_goes_on_soon_after_a_path_is_well_again() {
    let mut link = Link::new(true);
    let now = link.now;
    let reliable = link
        .b
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    link.signal(DtlsRole::Client);
    link.until(5, |link| link.a.channel("_reliable").is_some());
    let at = link.a.channel("_reliable").unwrap();
    link.cut = true;
    let now = link.now;
    let sent = link
        .b
        .transport
        .send_data(now, reliable, Bytes::from_static(b"x"), true);
    sent.unwrap();
    link.run(Duration::from_secs(9));
    link.cut = false;
    let took = link.until(10, |link| !link.a.messages(at).is_empty());
    assert!(took <= Duration::from_secs(3), "{took:?}");
}

#[test]
fn a_reader_that_vanishes_overflows_its_own_queue_only() {
    let mut link = Link::new(true);
    let now = link.now;
    let reliable = link
        .b
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    let lossy = link
        .b
        .transport
        .open_channel(now, ChannelSpec::lossy("_lossy"))
        .unwrap();
    link.signal(DtlsRole::Client);
    link.until(5, |link| link.b.channel("_lossy").is_some());
    link.cut = true;
    let message = Bytes::from(vec![0; 15_000]);
    let mut sent = 0;
    let overflow = loop {
        let now = link.now;
        match link
            .b
            .transport
            .send_data(now, reliable, message.clone(), true)
        {
            Ok(()) => sent += message.len(),
            Err(error) => break error,
        }
        assert!(sent < 20 << 20, "no bound");
    };
    assert_eq!(overflow, SendError::Overflow);
    for _ in 0..100 {
        let now = link.now;
        link.b
            .transport
            .send_data(now, lossy, message.clone(), true)
            .unwrap();
    }
    assert!(link.b.transport.buffered(lossy) <= Limits::default().lossy_queue);
    assert!(link.b.transport.dropped(lossy) > 80);
}

#[test]
fn channels_close_from_either_side() {
    let mut link = Link::new(true);
    let now = link.now;
    let first = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("first"))
        .unwrap();
    let second = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("second"))
        .unwrap();
    link.signal(DtlsRole::Client);
    link.until(5, |link| {
        link.a.channel("first").is_some() && link.a.channel("second").is_some()
    });
    let (first_b, second_b) = (
        link.b.channel("first").unwrap(),
        link.b.channel("second").unwrap(),
    );
    let now = link.now;
    link.a.transport.close_channel(now, first);
    link.b.transport.close_channel(now, second_b);
    link.until(5, |link| {
        link.b
            .events
            .contains(&TransportEvent::ChannelClosed { channel: first_b })
            && link
                .a
                .events
                .contains(&TransportEvent::ChannelClosed { channel: second })
    });
    let now = link.now;
    assert_eq!(
        link.a.transport.send_data(now, first, Bytes::new(), true),
        Err(SendError::NoChannel)
    );
    let third = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("third"))
        .unwrap();
    link.until(5, |link| {
        link.b.channel("third").is_some() && link.a.channel("third").is_some()
    });
    let now = link.now;
    link.a
        .transport
        .send_data(now, third, Bytes::from_static(b"x"), true)
        .unwrap();
    let at = link.b.channel("third").unwrap();
    link.until(5, |link| link.b.messages(at).len() == 1);
}

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
fn a_peer_that_never_finishes_its_handshake_is_given_up() {
    let mut link = Link::new(true);
    // Both wait for the other's ClientHello.
    let of_a = description(&link.a.transport, false, DtlsRole::Server);
    let of_b = description(&link.b.transport, true, DtlsRole::Server);
    let now = link.now;
    link.b.transport.set_remote(now, &of_a).unwrap();
    link.a.transport.set_remote(now, &of_b).unwrap();
    let line = link.b.transport.local_candidates().remove(0);
    link.a.transport.add_remote_candidate(now, &line).unwrap();
    let took = link.until(25, |link| {
        link.b.transport.state() == TransportState::Closed
    });
    assert!((20..21).contains(&took.as_secs()), "{took:?}");
    assert_eq!(link.b.end(), Some("DTLS handshake timed out"));
}

#[test]
fn goodbye_closes_the_other_side_at_once() {
    let mut link = Link::connected(true, DtlsRole::Client);
    let now = link.now;
    link.b.transport.close(now);
    link.until(1, |link| link.a.transport.state() == TransportState::Closed);
    assert_eq!(link.a.end(), Some("closed by the peer"));
    assert_eq!(link.b.end(), Some("closed"));
    assert_eq!(link.a.transport.poll_timeout(), None);
    let of_b = description(&link.b.transport, true, DtlsRole::Client);
    assert_eq!(
        link.a.transport.set_remote(link.now, &of_b),
        Err(TransportError::Closed)
    );
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
fn an_idle_connection_wakes_rarely_and_stays_small() {
    let mut link = Link::connected(true, DtlsRole::Client);
    link.run(Duration::from_secs(5));
    (link.a.wakeups, link.b.wakeups) = (0, 0);
    link.run(Duration::from_secs(60));
    assert!(link.both_connected());
    assert!(
        link.b.wakeups <= 60,
        "lite: {} wake-ups a minute",
        link.b.wakeups
    );
    assert!(
        link.a.wakeups <= 120,
        "full: {} wake-ups a minute",
        link.a.wakeups
    );
    let size = size_of::<Transport>();
    assert!(size <= 2_048, "{size} B");
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
