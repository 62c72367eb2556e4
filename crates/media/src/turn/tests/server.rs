//! What a client may expect.

use super::super::is_relayed;
use super::*;

#[test]
fn a_client_is_challenged_and_then_gets_a_relayed_address() {
    let mut world = World::new();
    assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Error(401));
    assert_eq!(world.message().text(attribute::REALM), Some("livekit"));
    assert_eq!(world.allocate(), Said::Success);
    assert!(is_relayed(world.relayed()));
    assert!(world.relayed().is_ipv4());
    assert_eq!(world.message().u32(attribute::LIFETIME), Some(600));
    let mapped = world.message().address(attribute::XOR_MAPPED_ADDRESS);
    assert_eq!(mapped, Some(world.leg.remote));
}

#[test]
fn a_copy_of_an_allocate_is_answered_alike_and_another_is_refused() {
    let mut world = World::new();
    assert_eq!(world.ask_raw(&allocate_unsigned()), Said::Error(401));
    let packet = world.request(method::ALLOCATE, over_udp);
    assert_eq!(world.ask_raw(&packet), Said::Success);
    let first = world.answer.clone();
    assert_eq!(world.ask_raw(&packet), Said::Success);
    assert_eq!(world.answer, first);
    assert_eq!(world.server.allocations(), 1);
    assert_eq!(world.allocate(), Said::Error(437));
}

#[test]
fn each_allocation_has_an_address_of_its_own_even_after_another_ended() {
    let mut world = World::with_allocation();
    let first = world.relayed();
    assert_eq!(world.refresh(0), Said::Success);
    assert_eq!(world.allocate(), Said::Success);
    assert_ne!(world.relayed(), first);
}

#[test]
fn data_passes_both_ways_by_indications() {
    let mut world = World::with_allocation();
    let relayed = world.relayed();
    assert_eq!(world.permit(at(MEDIA)), Said::Success);
    let packet = indication(at(MEDIA), b"ping!");
    let expected = ToMedia {
        worker: 1,
        local: at(SOCKET),
        relayed,
        data: b"ping!",
    };
    assert_eq!(world.give(&packet), Some(expected));
    let packet = world.media_sends(relayed, SOCKET, b"pong!").unwrap();
    let message = Message::parse(&packet).unwrap();
    assert_eq!(
        (message.class, message.method),
        (Class::Indication, method::DATA)
    );
    assert_eq!(
        message.address(attribute::XOR_PEER_ADDRESS),
        Some(at(MEDIA))
    );
    assert_eq!(message.get(attribute::DATA), Some(&b"pong!"[..]));
}

#[test]
fn data_passes_both_ways_by_a_channel_padded_only_on_streams() {
    for (transport, expected) in [
        (LegTransport::Udp, &b"\x40\x01\0\x05pong!"[..]),
        (LegTransport::Stream(9), b"\x40\x01\0\x05pong!\0\0\0"),
    ] {
        let mut world = World::new();
        world.leg.transport = transport;
        assert_eq!(world.allocate(), Said::Success);
        let relayed = world.relayed();
        assert_eq!(world.bind(0x4001, at(MEDIA)), Said::Success);
        let packet = channel_data(0x4001, b"ping!");
        let data = world
            .give(&packet)
            .map(|it| (it.worker, it.local, it.relayed, it.data));
        assert_eq!(data, Some((1, at(SOCKET), relayed, &b"ping!"[..])));
        assert_eq!(
            world.media_sends(relayed, SOCKET, b"pong!").unwrap(),
            expected
        );
    }
}

#[test]
fn media_answers_from_the_address_that_was_sent_to_last() {
    let mut world = World::with_allocation();
    let relayed = world.relayed();
    let other = at("203.0.113.9:7882");
    let local = at(SOCKET);
    world.media.insert(other, Route { worker: 1, local });
    assert_eq!(world.bind(0x4001, at(MEDIA)), Said::Success);
    assert_eq!(world.bind(0x4002, other), Said::Success);
    for (number, second) in [(0x4001, 1), (0x4002, 2), (0x4001, 2)] {
        world.pass(1);
        assert!(world.give(&channel_data(number, b"x")).is_some());
        let packet = world.media_sends(relayed, SOCKET, b"y").unwrap();
        assert_eq!(packet[..2], u16::to_be_bytes(number), "{second}");
    }
}

#[test]
fn media_that_the_client_has_not_sent_to_is_not_heard() {
    let mut world = World::with_allocation();
    let relayed = world.relayed();
    assert_eq!(world.permit(at(MEDIA)), Said::Success);
    assert_eq!(world.media_sends(relayed, SOCKET, b"x"), None);
    assert!(world.sends(at(MEDIA)));
    assert!(world.media_sends(relayed, SOCKET, b"x").is_some());
    assert_eq!(world.media_sends(relayed, "10.0.0.5:7883", b"x"), None);
}

#[test]
fn ipv6_is_relayed_where_it_is_asked_for_or_all_there_is() {
    let mut world = World::new();
    let asks_ipv6 = |it: &mut Writer<'_>| {
        over_udp(it);
        it.put(attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
    };
    assert_eq!(world.ask(method::ALLOCATE, asks_ipv6), Said::Success);
    assert!(world.relayed().is_ipv6() && is_relayed(world.relayed()));
    assert_eq!(world.permit(at(MEDIA)), Said::Error(443));
    assert_eq!(world.bind(0x4000, at(MEDIA_IPV6)), Said::Success);
    assert_eq!(
        world.give(&channel_data(0x4000, b"x")).map(|it| it.worker),
        Some(2)
    );

    let mut world = World::new();
    let media = Arc::new(MediaAddresses::default());
    let local = at(MEDIA_IPV6);
    media.insert(local, Route { worker: 0, local });
    world.server = Server::new(ServerConfig::new(SECRET), media, world.now);
    world.server.admit("PA_one");
    let asks_ipv4 = |it: &mut Writer<'_>| {
        over_udp(it);
        it.put(attribute::REQUESTED_ADDRESS_FAMILY, &[1, 0, 0, 0]);
    };
    assert_eq!(world.ask(method::ALLOCATE, asks_ipv4), Said::Error(440));
    assert_eq!(world.allocate(), Said::Success);
    assert!(world.relayed().is_ipv6());
}

#[test]
fn an_allocation_ends_when_it_is_not_refreshed_or_is_given_back() {
    let mut world = World::with_allocation();
    let relayed = world.relayed();
    assert_eq!(
        world.server.poll_timeout(),
        Some(world.now + Duration::from_secs(600))
    );
    world.pass(599);
    assert_eq!(world.refresh(9999), Said::Success);
    assert_eq!(world.message().u32(attribute::LIFETIME), Some(3600));
    world.pass(3599);
    assert_eq!(world.server.allocations(), 1);
    world.pass(1);
    assert_eq!(world.server.allocations(), 0);
    assert_eq!(world.server.poll_timeout(), None);
    assert_eq!(world.media_sends(relayed, SOCKET, b"x"), None);
    world.nonce.clear();
    assert_eq!(world.refresh(600), Said::Error(437));
    assert_eq!(world.allocate(), Said::Success);
    assert_eq!(world.refresh(0), Said::Success);
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn an_expired_allocation_relays_nothing_even_before_its_timer_ran() {
    let mut world = World::with_allocation();
    let relayed = world.relayed();
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    world.now += Duration::from_secs(600);
    assert_eq!(world.give(&channel_data(0x4000, b"x")), None);
    assert_eq!(world.media_sends(relayed, SOCKET, b"x"), None);
    world.nonce.clear();
    assert_eq!(world.allocate(), Said::Success);
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn permissions_last_five_minutes_and_channels_ten() {
    let mut world = World::with_allocation();
    assert_eq!(world.refresh(3600), Said::Success);
    assert_eq!(world.permit(at(MEDIA)), Said::Success);
    world.pass(299);
    assert!(world.sends(at(MEDIA)));
    world.pass(1);
    assert!(!world.sends(at(MEDIA)));
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Success);
    world.pass(599);
    assert!(world.give(&channel_data(0x4000, b"x")).is_some());
    world.pass(1);
    assert_eq!(world.give(&channel_data(0x4000, b"x")), None);
}

#[test]
fn a_stale_nonce_is_replaced_and_the_request_then_works() {
    let mut world = World::with_allocation();
    world.pass(599);
    assert_eq!(world.refresh(3600), Said::Success);
    world.pass(1);
    let stale = world.nonce.clone();
    assert_eq!(world.refresh(3600), Said::Error(438));
    assert_ne!(world.nonce, stale);
    assert_eq!(world.refresh(3600), Said::Success);
}

#[test]
fn credentials_run_out_for_new_allocations_only() {
    let mut world = World::new();
    world.hold("PA_one", UNIX);
    assert_eq!(world.allocate(), Said::Error(401));
    world.hold("PA_one", UNIX + 1);
    assert_eq!(world.allocate(), Said::Success);
    let packet = world.request(method::REFRESH, |_| {});
    assert_eq!(
        world
            .server
            .handle(world.now, UNIX + 1000, world.leg, &packet),
        None
    );
    let (_, answer) = world.server.poll_transmit().unwrap();
    assert_eq!(Message::parse(&answer).unwrap().class, Class::Success);
}

#[test]
fn binding_requests_are_answered_with_the_senders_address() {
    let mut world = World::new();
    let packet = message(Class::Request, method::BINDING, [3; 12], |_| {});
    assert_eq!(world.ask_raw(&packet), Said::Success);
    let mapped = world.message().address(attribute::XOR_MAPPED_ADDRESS);
    assert_eq!(mapped, Some(world.leg.remote));
    world.leg.remote = at("[2001:db8::99]:1234");
    assert_eq!(world.ask_raw(&packet), Said::Success);
    let mapped = world.message().address(attribute::XOR_MAPPED_ADDRESS);
    assert_eq!(mapped, Some(world.leg.remote));
}

#[test]
fn dont_fragment_is_taken_and_even_ports_are_what_there_is() {
    let mut world = World::new();
    let fill = |it: &mut Writer<'_>| {
        over_udp(it);
        it.put(attribute::DONT_FRAGMENT, &[])
            .put(attribute::EVEN_PORT, &[0]);
    };
    assert_eq!(world.ask(method::ALLOCATE, fill), Said::Success);
    assert_eq!(world.relayed().port() % 2, 0);
}

#[test]
fn what_is_asked_for_in_vain_is_refused_by_its_code() {
    type Fill = fn(&mut Writer<'_>);
    let cases: [(Fill, u16); 9] = [
        (|_| {}, 400),
        (
            |it| {
                it.put(attribute::REQUESTED_TRANSPORT, &[17]);
            },
            400,
        ),
        (
            |it| {
                it.put(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0]);
            },
            442,
        ),
        (
            |it| {
                over_udp(it);
                it.put(attribute::EVEN_PORT, &[0x80]);
            },
            508,
        ),
        (
            |it| {
                over_udp(it);
                it.put(attribute::RESERVATION_TOKEN, &[1; 8]);
            },
            508,
        ),
        (
            |it| {
                over_udp(it);
                it.put(attribute::RESERVATION_TOKEN, &[1; 8])
                    .put(attribute::EVEN_PORT, &[0]);
            },
            400,
        ),
        (
            |it| {
                over_udp(it);
                it.put(attribute::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0]);
            },
            440,
        ),
        (
            |it| {
                over_udp(it);
                it.put(0x7fff, &[]);
            },
            420,
        ),
        // Optional ones are passed over; this one then lacks its transport.
        (
            |it| {
                it.put(0x8055, b"software");
            },
            400,
        ),
    ];
    for (index, (fill, code)) in cases.into_iter().enumerate() {
        let mut world = World::new();
        assert_eq!(
            world.ask(method::ALLOCATE, fill),
            Said::Error(code),
            "{index}"
        );
        assert_eq!(world.server.allocations(), 0);
        let unknown = world.message().get(attribute::UNKNOWN_ATTRIBUTES);
        assert_eq!(unknown, (code == 420).then_some(&[0x7f, 0xff][..]));
    }
}

#[test]
fn channels_and_peers_are_bound_one_to_one() {
    let mut world = World::with_allocation();
    let other = at("203.0.113.7:7883");
    let local = at("10.0.0.5:7883");
    world.media.insert(other, Route { worker: 0, local });
    assert_eq!(world.bind(0x3fff, at(MEDIA)), Said::Error(400));
    assert_eq!(world.bind(0x5000, at(MEDIA)), Said::Error(400));
    assert_eq!(world.bind(0x4fff, at(MEDIA)), Said::Success);
    assert_eq!(world.bind(0x4fff, at(MEDIA)), Said::Success);
    assert_eq!(world.bind(0x4fff, other), Said::Error(400));
    assert_eq!(world.bind(0x4000, at(MEDIA)), Said::Error(400));
    assert_eq!(world.bind(0x4000, other), Said::Success);
    assert_eq!(
        world.give(&channel_data(0x4000, b"x")).map(|it| it.local),
        Some(local)
    );
}

#[test]
fn a_stream_that_ends_takes_its_allocation_along() {
    let mut world = World::new();
    world.leg.transport = LegTransport::Stream(4);
    assert_eq!(world.allocate(), Said::Success);
    let leg = world.leg;
    world.server.closed(Leg {
        transport: LegTransport::Stream(5),
        ..leg
    });
    assert_eq!(world.server.allocations(), 1);
    world.server.closed(leg);
    assert_eq!(world.server.allocations(), 0);
}
