//! Ours against ours.

use bytes::Bytes;

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
        assert!(sent < 80 << 20, "no bound");
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
