//! TURN: a relay given packets, and a stream cut into them; a client given answers.
#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use libfuzzer_sys::fuzz_target;
use roomful_media::turn::{
    Client, ClientConfig, Framing, Leg, LegTransport, MediaAddresses, Route, Server, ServerConfig,
};

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let media = Arc::new(MediaAddresses::default());
    let local = SocketAddr::from(([203, 0, 113, 7], 7882));
    media.insert(local, Route { worker: 0, local });
    let mut server = Server::new(ServerConfig::new([7; 32]), media, now);
    let mut leg = Leg {
        transport: LegTransport::Udp,
        local,
        remote: SocketAddr::from(([198, 51, 100, 20], 50_000)),
    };
    // Nobody here has credentials: nothing may pass, and answers are short.
    assert_eq!(server.handle(now, 0, leg, data), None);
    leg.transport = LegTransport::Stream(1);
    let mut framing = Framing::default();
    for part in data.chunks(64) {
        framing.push(part);
        while let Ok(Some(packet)) = framing.next_packet() {
            assert_eq!(server.handle(now, 0, leg, packet), None);
        }
    }
    while let Some((_, answer)) = server.poll_transmit() {
        assert!(answer.len() <= 100);
    }
    assert_eq!(server.allocations(), 0);

    let mut client = Client::new(
        ClientConfig {
            username: "1:PA_one".into(),
            password: "secret".into(),
            stream: false,
            ipv6: false,
            seed: 0,
        },
        now,
    );
    // The answer is to the question that was asked, so that it is looked at.
    let question = client.poll_transmit().unwrap_or_default();
    let mut answer = data.to_vec();
    if let (Some(into), Some(from)) = (answer.get_mut(4..20), question.get(4..20)) {
        into.copy_from_slice(from);
    }
    assert_eq!(client.handle(now, &answer), None);
    assert_eq!(client.relayed(), None);
});
