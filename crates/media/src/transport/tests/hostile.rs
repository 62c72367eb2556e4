//! Peers and strangers that mean harm.

use std::net::SocketAddr;

use bytes::Bytes;

use super::super::*;
use super::link::*;

fn seen_by_b(remote: &str) -> FiveTuple {
    FiveTuple {
        protocol: Protocol::Udp,
        local: address(B),
        remote: address(remote),
    }
}

#[test]
fn a_wrong_fingerprint_closes_everything() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut link = Link::new(true);
        let now = link.now;
        let channel = link
            .b
            .transport
            .open_channel(now, ChannelSpec::reliable("_reliable"))
            .unwrap();
        let other = if role == DtlsRole::Client {
            DtlsRole::Server
        } else {
            DtlsRole::Client
        };
        let mut of_a = description(&link.a.transport, false, other);
        of_a.fingerprints = vec![Identity::generate().unwrap().fingerprint().clone()];
        let of_b = description(&link.b.transport, true, role);
        link.b.transport.set_remote(now, &of_a).unwrap();
        link.a.transport.set_remote(now, &of_b).unwrap();
        let line = link.b.transport.local_candidates().remove(0);
        link.a.transport.add_remote_candidate(now, &line).unwrap();
        link.until(5, |link| link.b.transport.state() == TransportState::Closed);
        assert_eq!(
            link.b.end(),
            Some("the peer's certificate does not match its signalled fingerprint")
        );
        link.run(Duration::from_secs(2));
        let connected = TransportEvent::StateChanged(TransportState::Connected);
        assert!(!link.b.events.contains(&connected), "never up");
        assert_eq!(link.b.channel("_reliable"), None);
        let now = link.now;
        assert_eq!(
            link.b.transport.send_data(now, channel, Bytes::new(), true),
            Err(SendError::NoChannel)
        );
        assert_eq!(
            link.b.transport.seal_rtp(&mut rtp(1, b"x"), 12),
            Err(SealError::NoKeys)
        );
        assert!(matches!(
            link.b.receive(now, &seen_by_b(A), rtp(1, &[0; 30])),
            Received::Dropped(_)
        ));
    }
}

#[test]
fn one_matching_fingerprint_among_several_is_enough() {
    let mut link = Link::new(true);
    let now = link.now;
    let mut of_a = description(&link.a.transport, false, DtlsRole::Server);
    of_a.fingerprints.insert(0, "sha-1 AB:CD".parse().unwrap());
    of_a.fingerprints
        .insert(0, Identity::generate().unwrap().fingerprint().clone());
    let of_b = description(&link.b.transport, true, DtlsRole::Client);
    link.b.transport.set_remote(now, &of_a).unwrap();
    link.a.transport.set_remote(now, &of_b).unwrap();
    let line = link.b.transport.local_candidates().remove(0);
    link.a.transport.add_remote_candidate(now, &line).unwrap();
    link.until(5, Link::both_connected);
    of_a.fingerprints.truncate(1);
    assert_eq!(
        link.b.transport.set_remote(link.now, &of_a),
        Err(TransportError::PeerChanged)
    );
    of_a.fingerprints = vec!["sha-1 AB:CD".parse().unwrap()];
    assert_eq!(
        link.b.transport.set_remote(link.now, &of_a),
        Err(TransportError::NoFingerprint)
    );
    assert!(link.both_connected());
}

#[test]
fn unusable_descriptions_are_refused() {
    let mut link = Link::new(true);
    let good = description(&link.a.transport, false, DtlsRole::Server);
    for (ufrag, password) in [
        ("", "p"),
        ("u", ""),
        (&*"x".repeat(300), "p"),
        ("u", &*"x".repeat(300)),
    ] {
        let mut bad = good.clone();
        bad.ice = IceCredentials {
            ufrag: ufrag.into(),
            password: password.into(),
        };
        assert_eq!(
            link.b.transport.set_remote(link.now, &bad),
            Err(TransportError::Credentials)
        );
    }
    let lite = RemoteParameters {
        ice_lite: true,
        ..good
    };
    assert_eq!(
        link.b.transport.set_remote(link.now, &lite),
        Err(TransportError::BothLite)
    );
}

#[test]
fn strangers_without_the_password_change_nothing() {
    let mut link = Link::new(true);
    link.signal(DtlsRole::Client);
    let now = link.now;
    // Wrong password, right ufrag; then a wrong ufrag.
    let intruder = Identity::generate().unwrap();
    for (ufrag, password) in [
        (
            link.b.transport.local_credentials().ufrag.clone(),
            "wrong password of some length".to_owned(),
        ),
        (
            "nobody".to_owned(),
            link.b.transport.local_credentials().password.clone(),
        ),
    ] {
        let mut stranger = Transport::new(
            config(&intruder, IceRole::Controlling, false, "203.0.113.9:9"),
            now,
        );
        stranger
            .set_remote(
                now,
                &RemoteParameters {
                    ice: IceCredentials { ufrag, password },
                    ..description(&link.b.transport, true, DtlsRole::Client)
                },
            )
            .unwrap();
        stranger
            .add_remote_candidate(now, "candidate:1 1 udp 2130706431 192.0.2.2 2000 typ host")
            .unwrap();
        let check = stranger.poll_transmit(now).unwrap();
        let outcome = link
            .b
            .receive(now, &seen_by_b("203.0.113.9:9"), check.contents);
        assert_eq!(outcome, Received::Dropped(DropReason::Stun));
    }
    assert_eq!(link.b.transport.ice.sizes().0, 0);
    assert_eq!(link.b.transport.last_authenticated(), None);
    assert_eq!(
        link.b.transport.poll_transmit(now),
        None,
        "not even an answer"
    );
}

#[test]
fn dtls_from_elsewhere_is_ignored() {
    let mut link = Link::new(true);
    link.signal(DtlsRole::Client);
    link.until(5, |link| link.a.transport.session.is_some());
    // A ClientHello of somebody who heard the ufrag but has no password, before and after.
    let now = link.now;
    let stranger = Identity::generate().unwrap();
    let mut session = Session::new(&stranger, DtlsRole::Client, now).unwrap();
    let hello = session.outbox.pop_front().unwrap();
    let outcome = link
        .b
        .receive(now, &seen_by_b("203.0.113.9:9"), hello.clone());
    assert_eq!(outcome, Received::Dropped(DropReason::NotValidated));
    link.until(5, Link::both_connected);
    let now = link.now;
    let outcome = link.b.receive(now, &seen_by_b("203.0.113.9:9"), hello);
    assert_eq!(outcome, Received::Dropped(DropReason::NotValidated));
    assert!(link.both_connected());
}

#[test]
fn source_ports_of_an_authenticated_peer_stay_bounded() {
    for lite in [true, false] {
        let mut link = Link::connected(lite, DtlsRole::Client);
        link.run(Duration::from_secs(1));
        let mut accepted = 0;
        let now = link.now;
        // Real checks of the peer, from 20,000 ports within a second or two.
        let mut check = None;
        for _ in 0..200 {
            link.now += Duration::from_millis(50);
            let now = link.now;
            link.a.transport.handle_timeout(now);
            while let Some(transmit) = link.a.transport.poll_transmit(now) {
                if transmit.contents.starts_with(&[0, 1]) {
                    check = Some(transmit.contents);
                }
            }
            if check.is_some() {
                break;
            }
        }
        let check = check.unwrap();
        for port in 10_000..30_000_u16 {
            let tuple = FiveTuple {
                protocol: Protocol::Udp,
                local: address(B),
                remote: SocketAddr::new(address(A).ip(), port),
            };
            accepted +=
                usize::from(link.b.receive(now, &tuple, check.clone()) == Received::Consumed);
        }
        assert!(accepted < 16, "{accepted}");
        assert_eq!(link.b.dropped["tuples"], 20_000 - accepted);
        let (tuples, candidates) = link.b.transport.ice.sizes();
        assert!(tuples <= 16 && candidates <= 32, "{tuples} {candidates}");
        link.flush();
        link.run(Duration::from_secs(3));
        assert!(link.both_connected(), "the real path is untouched");
    }
}

#[test]
fn candidates_are_capped_and_addresses_that_never_answer_are_left_alone() {
    let mut link = Link::new(false);
    let now = link.now;
    link.b
        .transport
        .set_remote(
            now,
            &description(&link.a.transport, false, DtlsRole::Server),
        )
        .unwrap();
    let mut taken = 0;
    for index in 0..10_000_u32 {
        let line = format!(
            "candidate:{index} 1 udp {} 203.0.113.{} {} typ host",
            index + 1,
            index % 250 + 1,
            index + 1_000
        );
        taken += usize::from(link.b.transport.add_remote_candidate(now, &line).unwrap());
    }
    assert_eq!(taken, 16);
    let mut checks = std::collections::BTreeMap::<SocketAddr, usize>::new();
    for _ in 0..2_000 {
        while let Some(transmit) = link.b.transport.poll_transmit(link.now) {
            *checks.entry(transmit.tuple.remote).or_default() += 1;
        }
        link.now += Duration::from_millis(20);
        link.b.transport.handle_timeout(link.now);
    }
    assert!(!checks.is_empty() && checks.len() <= 16);
    assert!(checks.values().all(|count| *count <= 12), "{checks:?}");
    assert_eq!(link.b.transport.state(), TransportState::Failed);
}

#[test]
fn garbage_of_each_kind_is_dropped_before_and_after_keys() {
    let mut link = Link::new(true);
    link.signal(DtlsRole::Client);
    let mut noise = Noise::new(11);
    for round in 0..2 {
        for first in [
            0_u8, 1, 2, 3, 20, 22, 23, 63, 64, 127, 128, 144, 191, 192, 255,
        ] {
            for length in [
                0_usize, 1, 2, 3, 4, 8, 11, 12, 13, 19, 20, 21, 25, 40, 100, 1_200,
            ] {
                let mut datagram = noise.bytes(length);
                if let Some(byte) = datagram.first_mut() {
                    *byte = first;
                }
                let now = link.now;
                for from in [A, "203.0.113.9:9"] {
                    let outcome = link.b.receive(now, &seen_by_b(from), datagram.clone());
                    let consumed = outcome == Received::Consumed;
                    // Records that DTLS discards are consumed, from the peer's own address only.
                    assert!(
                        !consumed || ((20..64).contains(&first) && from == A && round == 1),
                        "{first} {length}"
                    );
                }
            }
        }
        if round == 0 {
            link.until(5, Link::both_connected);
        }
    }
    assert!(link.both_connected());
    link.send_media(Side::A, &rtp(1, b"still"), false);
    link.run(Duration::from_millis(50));
    assert_eq!(link.b.rtp, [rtp(1, b"still")]);
}

#[test]
fn truncated_and_flipped_copies_of_real_packets_do_no_harm() {
    let mut link = Link::new(true);
    let now = link.now;
    link.a
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    link.signal(DtlsRole::Client);
    link.tamper = Some(0);
    link.until(5, |link| link.a.channel("_reliable").is_some());
    let at = link.b.channel("_reliable").unwrap();
    let channel = link.a.channel("_reliable").unwrap();
    for index in 0..20 {
        let now = link.now;
        link.a
            .transport
            .send_data(now, channel, Bytes::from(vec![index; 3_000]), true)
            .unwrap();
        link.send_media(Side::A, &rtp(u16::from(index), b"frame"), false);
        link.run(Duration::from_millis(30));
    }
    link.until(5, |link| link.b.messages(at).len() == 20);
    assert!(link.tamper > Some(60), "{:?}", link.tamper);
    assert!(link.both_connected());
}

#[test]
fn malformed_sctp_inside_dtls_hurts_the_sender_alone_at_most() {
    // Chunks with impossible lengths, unknown types, INIT with nothing in it, DATA for nobody.
    let mut packets: Vec<Vec<u8>> = vec![vec![], vec![0; 3], vec![0xff; 12], vec![0; 1_200]];
    let mut noise = Noise::new(17);
    for kind in 0..=255_u8 {
        for length in [0_u16, 3, 4, 5, 16, 0xffff] {
            let mut packet = vec![0x13, 0x88, 0x13, 0x88, 0, 0, 0, 0, 0, 0, 0, 0];
            packet.extend_from_slice(&[kind, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&noise.bytes(24));
            let sum = crc32c(&packet);
            packet[8..12].copy_from_slice(&sum.to_le_bytes());
            packets.push(packet);
        }
    }
    let mut link = Link::new(true);
    let now = link.now;
    link.a
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    link.signal(DtlsRole::Client);
    link.until(5, |link| link.a.channel("_reliable").is_some());
    for packet in packets {
        if link.b.transport.state() == TransportState::Closed {
            break;
        }
        let now = link.now;
        let Some(session) = &mut link.a.transport.session else {
            panic!("no session")
        };
        session.send(&packet).unwrap_or(());
        link.flush();
        link.run(Duration::from_millis(1));
        assert!(link.b.transport.poll_timeout().is_none_or(|at| at >= now));
    }
    link.run(Duration::from_secs(1));
    let state = link.b.transport.state();
    assert!(
        matches!(state, TransportState::Connected | TransportState::Closed),
        "{state:?}"
    );
}

/// SCTP's checksum, so that malformed chunks get past it.
fn crc32c(packet: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in packet {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

#[test]
fn a_message_above_the_receive_limit_ends_that_peer_with_a_reason() {
    let mut link = Link::new(true);
    let now = link.now;
    let mut small = config(&Identity::generate().unwrap(), IceRole::Controlled, true, B);
    small.limits.receive_message = 65_536;
    link.b = End::new(Transport::new(small, now));
    let channel = link
        .a
        .transport
        .open_channel(now, ChannelSpec::reliable("_reliable"))
        .unwrap();
    let of_a = description(&link.a.transport, false, DtlsRole::Server);
    let of_b = RemoteParameters {
        max_message_size: Some(0),
        ..description(&link.b.transport, true, DtlsRole::Client)
    };
    link.b.transport.set_remote(now, &of_a).unwrap();
    link.a.transport.set_remote(now, &of_b).unwrap();
    let line = link.b.transport.local_candidates().remove(0);
    link.a.transport.add_remote_candidate(now, &line).unwrap();
    link.until(5, |link| link.a.channel("_reliable").is_some());
    let now = link.now;
    link.a
        .transport
        .send_data(now, channel, Bytes::from(vec![0; 200_000]), true)
        .unwrap();
    link.until(10, |link| {
        link.b.transport.state() == TransportState::Closed
    });
    assert!(
        link.b.end().unwrap().starts_with("SCTP"),
        "{:?}",
        link.b.end()
    );
    link.until(2, |link| link.a.transport.state() == TransportState::Closed);
}

#[test]
fn a_peer_that_opens_channels_without_end_is_closed() {
    let mut link = Link::new(true);
    let now = link.now;
    let mut greedy = config(
        &Identity::generate().unwrap(),
        IceRole::Controlling,
        false,
        A,
    );
    greedy.limits.channels = 500;
    link.a = End::new(Transport::new(greedy, now));
    for index in 0..200 {
        link.a
            .transport
            .open_channel(now, ChannelSpec::lossy(format!("{index}")))
            .unwrap();
    }
    link.signal(DtlsRole::Client);
    link.until(10, |link| {
        link.b.transport.state() == TransportState::Closed
    });
    assert_eq!(link.b.end(), Some("more than 64 data channels"));
}
