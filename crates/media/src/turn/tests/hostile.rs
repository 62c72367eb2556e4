//! What nobody may do, however it is written.

use std::net::IpAddr;

use super::super::is_relayed;
use super::*;

/// Every way to name a host that a relay has been talked into reaching.
fn forbidden() -> Vec<SocketAddr> {
    let hosts = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.9.9.9",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "203.0.113.8",
        "240.0.2.1",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "::ffff:169.254.169.254",
        "::ffff:203.0.113.7",
        "::127.0.0.1",
        "::203.0.113.7",
        "64:ff9b::7f00:1",
        "64:ff9b::cb00:7107",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2002:cb00:7107::",
        "2001:db8::8",
        "fec0::1",
        "100::1",
    ];
    hosts
        .iter()
        .map(|host| SocketAddr::new(host.parse().unwrap(), 7882))
        .collect()
}

#[test]
fn only_our_medias_addresses_are_permitted_bound_and_sent_to() {
    for peer in forbidden() {
        for family in [1, 2] {
            let mut world = World::new();
            let fill = |it: &mut Writer<'_>| {
                over_udp(it);
                it.put(attribute::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
            };
            assert_eq!(world.ask(method::ALLOCATE, fill), Said::Success);
            assert_eq!(world.permit(peer), Said::Error(403), "{peer}");
            assert_eq!(world.bind(0x4000, peer), Said::Error(403), "{peer}");
            assert!(!world.sends(peer), "{peer}");
            assert_eq!(world.give(&channel_data(0x4000, b"x")), None, "{peer}");
        }
    }
}

#[test]
fn another_port_of_our_address_is_not_reached() {
    for port in [0, 1, 22, 80, 3478, 7880, 7881, 7883, 65535] {
        let peer = SocketAddr::new(at(MEDIA).ip(), port);
        let mut world = World::with_allocation();
        assert_eq!(world.permit(peer), Said::Success);
        assert_eq!(world.bind(0x4000, peer), Said::Error(403));
        assert!(!world.sends(peer));
        assert!(world.sends(at(MEDIA)));
    }
}

#[test]
fn one_forbidden_address_among_others_refuses_them_all() {
    let mut world = World::with_allocation();
    let said = world.ask(method::CREATE_PERMISSION, |it| {
        it.put_address(attribute::XOR_PEER_ADDRESS, at(MEDIA))
            .put_address(attribute::XOR_PEER_ADDRESS, at("127.0.0.1:7882"));
    });
    assert_eq!(said, Said::Error(403));
    assert!(!world.sends(at(MEDIA)));
}

#[test]
fn no_address_in_disguise_becomes_our_medias() {
    let media = MediaAddresses::default();
    let local = at(SOCKET);
    let route = Route { worker: 0, local };
    for address in [
        "0.0.0.0:1",
        "[::]:1",
        "224.0.0.1:1",
        "[ff02::1]:1",
        "[::ffff:1.2.3.4]:1",
        "1.2.3.4:0",
        "240.0.2.9:5",
    ] {
        media.insert(at(address), route);
        assert_eq!(media.route(at(address)), None, "{address}");
    }
    media.insert(at("127.0.0.1:7882"), route);
    assert_eq!(media.route(at("127.0.0.1:7882")), Some(route));
    assert_eq!(media.route(at("[::ffff:127.0.0.1]:7882")), None);
    assert_eq!(media.route(at("127.0.0.1:7883")), None);
}

#[test]
fn addresses_that_are_no_hosts_are_the_relayed_ones_alone() {
    for (address, expected) in [
        ("240.0.2.0:1", true),
        ("240.0.2.255:1", true),
        ("192.0.3.0:1", false),
        ("192.0.1.255:1", false),
        ("[100::]:1", true),
        ("[100::ffff:ffff:ffff:ffff]:1", true),
        ("[100:0:0:1::]:1", false),
        ("[::ffff:240.0.2.1]:1", false),
    ] {
        assert_eq!(is_relayed(at(address)), expected, "{address}");
    }
}

#[test]
fn who_has_no_valid_credentials_gets_nothing() {
    let mut world = World::new();
    assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Error(401));
    world.password.push('x');
    assert_eq!(world.allocate(), Said::Error(401));
    // Another's secret, names that are no credentials, a username that was not signed.
    (world.username, world.password) = credentials(&[8; 32], "PA_one", UNIX + 300);
    assert_eq!(world.allocate(), Said::Error(401));
    for username in [
        "",
        ":",
        "x:PA_one",
        "1800000300:",
        "nonce",
        "99999999999999999999:PA_one",
        &"9".repeat(300),
    ] {
        world.username = username.into();
        assert_eq!(world.allocate(), Said::Error(401), "{username}");
    }
    let (username, password) = credentials(&SECRET, "PA_one", UNIX + 300);
    (world.username, world.password) = (username.replace("300:", "900:"), password);
    assert_eq!(world.allocate(), Said::Error(401));
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_request_without_a_part_of_its_credentials_is_malformed() {
    for missing in [attribute::USERNAME, attribute::REALM, attribute::NONCE] {
        let mut world = World::new();
        assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Error(401));
        let key = integrity_key(&world.username, "livekit", &world.password);
        let packet = message(Class::Request, method::ALLOCATE, [5; 12], |it| {
            over_udp(it);
            let nonce = world.nonce.clone();
            for (kind, value) in [
                (attribute::USERNAME, world.username.as_bytes()),
                (attribute::REALM, b"livekit"),
                (attribute::NONCE, &nonce),
            ] {
                if kind != missing {
                    it.put(kind, value);
                }
            }
            it.sign(&key);
        });
        assert_eq!(world.ask_raw(&packet), Said::Error(400));
        assert_eq!(world.server.allocations(), 0);
    }
}

#[test]
fn what_stands_behind_the_signature_does_not_count() {
    let mut world = World::with_allocation();
    let mut packet = world.request(method::CREATE_PERMISSION, |_| {});
    // XOR-PEER-ADDRESS by somebody in the middle, and the length to match.
    let peer = indication(at(MEDIA), b"");
    packet.extend_from_slice(&peer[20..32]);
    let length = u16::try_from(packet.len() - 20).unwrap();
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    assert_eq!(world.ask_raw(&packet), Said::Error(400));
}

#[test]
fn a_nonce_is_good_on_its_own_leg_only() {
    let mut world = World::new();
    assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Error(401));
    let packet = world.request(method::ALLOCATE, over_udp);
    for change in [
        |leg: &mut Leg| leg.remote.set_port(50001),
        |leg: &mut Leg| leg.remote.set_ip(IpAddr::from([198, 51, 100, 21])),
        |leg: &mut Leg| leg.local.set_port(443),
        |leg: &mut Leg| leg.transport = LegTransport::Stream(0),
    ] {
        let own = world.leg;
        change(&mut world.leg);
        assert_eq!(world.ask_raw(&packet), Said::Error(438));
        world.leg = own;
    }
    assert_eq!(world.ask_raw(&packet), Said::Success);
    for nonce in [
        &b""[..],
        b"00000000",
        b"ffffffff0123456789abcdef01234567",
        b"zz",
        &[0xff; 32],
        &[b'0'; 900],
    ] {
        world.nonce = nonce.to_vec();
        let packet = world.request(method::REFRESH, |_| {});
        assert_eq!(world.ask_raw(&packet), Said::Error(438));
    }
}

#[test]
fn an_allocation_obeys_only_who_made_it() {
    let mut world = World::with_allocation();
    world.hold("PA_other", UNIX + 300);
    assert_eq!(world.refresh(0), Said::Error(441));
    assert_eq!(world.permit(at(MEDIA)), Said::Error(441));
    assert_eq!(world.allocate(), Said::Error(437));
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn nobody_sends_by_anothers_allocation() {
    let mut world = World::with_allocation();
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    world.change_port(50001);
    assert_eq!(world.give(&channel_data(0x4000, b"x")), None);
    assert!(!world.sends(at(MEDIA)));
}

#[test]
fn thousands_of_ports_of_one_participant_get_twelve_allocations() {
    let mut world = World::new();
    let mut granted = 0;
    for port in 30_000..32_000 {
        world.change_port(port);
        world.now += Duration::from_millis(50);
        match world.allocate() {
            Said::Success => granted += 1,
            said => assert_eq!(said, Said::Error(486)),
        }
    }
    assert_eq!(granted, 12);
    world.hold("PA_other", UNIX + 300);
    assert_eq!(world.allocate(), Said::Success);
}

#[test]
fn allocations_are_bounded_in_total_and_room_is_made_when_one_ends() {
    let mut world = World::with(ServerConfig {
        allocations: 3,
        ..ServerConfig::new(SECRET)
    });
    for index in 0..5 {
        world.change_port(40_000 + index);
        world.hold(&format!("PA_{index}"), UNIX + 300);
        let expected = if index < 3 {
            Said::Success
        } else {
            Said::Error(508)
        };
        assert_eq!(world.allocate(), expected);
    }
    world.pass(600);
    world.nonce.clear();
    assert_eq!(world.allocate(), Said::Success);
}

#[test]
fn permissions_and_peers_are_bounded_where_media_has_many_addresses() {
    let mut world = World::new();
    let media = |host: u8, port: u16| SocketAddr::new(IpAddr::from([203, 0, 113, host]), port);
    for host in 1..=100 {
        for port in 7000..7002 {
            let local = media(host, port);
            world.media.insert(local, Route { worker: 0, local });
        }
    }
    assert_eq!(world.allocate(), Said::Success);
    let said: Vec<_> = (1..=100)
        .map(|host| world.permit(media(host, 7000)))
        .collect();
    let granted = said.iter().filter(|it| **it == Said::Success).count();
    assert_eq!(granted, 32);
    assert!(said[32..].iter().all(|it| *it == Said::Error(508)));
    // Peers beyond take the place of those that were idle; those with channels stay.
    assert_eq!(world.bind(0x4000, media(1, 7000)), Said::Success);
    for host in 1..=32 {
        assert!(world.sends(media(host, 7000)) && world.sends(media(host, 7001)));
    }
    assert!(world.give(&channel_data(0x4000, b"x")).is_some());
}

#[test]
fn who_has_left_keeps_nothing_and_gets_nothing_more() {
    let mut world = World::with_allocation();
    let relayed = world.relayed();
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    assert_eq!(world.refresh(3600), Said::Success);
    let (own, nonce) = (world.leg, world.nonce.clone());
    let held = (world.username.clone(), world.password.clone());
    world.change_port(50001);
    world.hold("PA_other", UNIX + 300);
    assert_eq!(world.allocate(), Said::Success);

    (world.username, world.password) = held;
    world.server.revoke(world.now, "PA_one");
    assert_eq!(world.allocate(), Said::Error(401));
    (world.leg, world.nonce) = (own, nonce);
    for lifetime in [600, 3600] {
        assert_eq!(world.refresh(lifetime), Said::Error(401));
    }
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Error(401));
    // What media says last still gets out.
    assert!(world.media_sends(relayed, SOCKET, b"bye").is_some());
    world.pass(1);
    assert_eq!(world.server.allocations(), 1);
    assert_eq!(world.media_sends(relayed, SOCKET, b"bye"), None);
    assert_eq!(world.give(&channel_data(0x4000, b"x")), None);
    assert_eq!(world.refresh(600), Said::Error(401));
    assert_eq!(world.allocate(), Said::Error(401));
}

#[test]
fn nobody_gets_an_allocation_before_it_is_a_participant() {
    let mut world = World::new();
    (world.username, world.password) = credentials(&SECRET, "PA_nobody", UNIX + 300);
    assert_eq!(world.allocate(), Said::Error(401));
    world.server.admit("PA_nobody");
    assert_eq!(world.allocate(), Said::Success);
}

#[test]
fn empty_messages_do_not_pass_and_short_ones_cost_their_share() {
    let mut world = World::with(ServerConfig {
        bandwidth: 10_000,
        ..ServerConfig::new(SECRET)
    });
    assert_eq!(world.allocate(), Said::Success);
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    assert_eq!(world.give(&channel_data(0x4000, b"")), None);
    assert_eq!(world.give(&indication(at(MEDIA), b"")), None);
    let packet = channel_data(0x4000, b"x");
    let passed = (0..100).filter(|_| world.give(&packet).is_some()).count();
    assert_eq!(passed, 20);
}

#[test]
fn strangers_behind_a_proxy_have_no_share_by_its_address_and_one_bound_for_all() {
    let mut world = World::new();
    let packet = message(Class::Request, method::BINDING, [3; 12], |_| {});
    let mut answered = 0;
    for number in 0..10_000 {
        world.leg.transport = LegTransport::Proxied(number);
        answered += usize::from(world.ask_raw(&packet) == Said::Success);
    }
    assert_eq!(answered, 4_000);
    // The proxy's own address is as good as any.
    world.leg.transport = LegTransport::Stream(1);
    assert_eq!(world.ask_raw(&packet), Said::Success);
}

#[test]
fn bandwidth_is_limited_each_way_and_comes_back_with_time() {
    let mut world = World::with(ServerConfig {
        bandwidth: 10_000,
        ..ServerConfig::new(SECRET)
    });
    assert_eq!(world.allocate(), Said::Success);
    let relayed = world.relayed();
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    let packet = channel_data(0x4000, &[0; 1000]);
    let passed = |world: &mut World| (0..100).filter(|_| world.give(&packet).is_some()).count();
    assert_eq!(passed(&mut world), 10);
    let heard = (0..100).filter(|_| world.media_sends(relayed, SOCKET, &[0; 1000]).is_some());
    assert_eq!(heard.count(), 10);
    world.now += Duration::from_millis(500);
    assert_eq!(passed(&mut world), 5);
    world.now += Duration::from_secs(60);
    assert_eq!(passed(&mut world), 10);
}

#[test]
fn strangers_get_little_and_not_for_ever() {
    let mut world = World::new();
    let binding = message(Class::Request, method::BINDING, [3; 12], |_| {});
    let strange = message(Class::Request, method::BINDING, [4; 12], |it| {
        for kind in 0x7000..0x7130 {
            it.put(kind, &[]);
        }
    });
    let unknown_method = message(Class::Request, 0x0fff, [4; 12], |_| {});
    let mut answered = 0;
    for index in 0..2000_u32 {
        world.leg.remote.set_port(index as u16 + 1);
        for question in [&allocate_unsigned(), &binding, &strange, &unknown_method] {
            if world.ask_raw(question) != Said::Nothing {
                answered += 1;
                assert!(world.answer.len() <= 100 && world.answer.len() <= 4 * question.len());
            }
        }
    }
    assert_eq!(answered, 400);
    assert_eq!(world.server.allocations(), 0);
    // Others are answered meanwhile, and so is who comes by a stream from there.
    let flooded = world.leg;
    world.leg.transport = LegTransport::Stream(1);
    assert_eq!(world.ask_raw(&binding), Said::Success);
    world.leg = Leg {
        remote: at("198.51.101.20:50000"),
        ..flooded
    };
    assert_eq!(world.ask_raw(&binding), Said::Success);
    world.leg = flooded;
    assert_eq!(world.ask_raw(&binding), Said::Nothing);
    world.pass(1);
    assert_eq!(world.ask_raw(&binding), Said::Success);
}

#[test]
fn a_realm_too_long_for_a_stranger_is_met_with_silence_not_with_more() {
    let mut world = World::with(ServerConfig {
        realm: "r".repeat(21),
        ..ServerConfig::new(SECRET)
    });
    assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Nothing);
    let mut world = World::with(ServerConfig {
        realm: "r".repeat(20),
        ..ServerConfig::new(SECRET)
    });
    assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Error(401));
}

#[test]
fn answers_are_kept_for_a_while_only() {
    let mut world = World::new();
    let packet = message(Class::Request, method::BINDING, [3; 12], |_| {});
    for index in 0..1000_u32 {
        let [_, _, high, low] = index.to_be_bytes();
        world.leg.remote.set_ip(IpAddr::from([20, high, low, 1]));
        assert_eq!(world.give(&packet), None);
    }
    let kept = std::iter::from_fn(|| world.server.poll_transmit()).count();
    assert_eq!(kept, 256);
}

#[test]
fn no_prefix_and_no_flipped_byte_of_a_message_does_harm() {
    let mut world = World::with_allocation();
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    let refresh = world.request(method::REFRESH, |_| {});
    for packet in [
        refresh,
        indication(at(MEDIA), b"data"),
        channel_data(0x4000, b"data"),
    ] {
        for end in 0..packet.len() {
            assert_eq!(world.give(&packet[..end]), None, "{end}");
        }
        for index in 0..packet.len() {
            let mut packet = packet.clone();
            packet[index] ^= 0x81;
            if let Some(it) = world.give(&packet) {
                assert_eq!(it.local, at(SOCKET));
            }
        }
        while world.server.poll_transmit().is_some() {}
    }
    assert_eq!(world.server.allocations(), 1);
}
