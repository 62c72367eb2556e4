//! Datagrams of any kind for a transport that knows its peer, from its address and from a stranger's, with
//! time passing in between.
#![no_main]

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use roomful_media::transport::{
    ChannelSpec, DtlsRole, FiveTuple, IceCredentials, IceRole, Identity, Limits, LocalCandidate,
    Protocol, RemoteParameters, Transport, TransportConfig,
};

static IDENTITY: LazyLock<Arc<Identity>> =
    LazyLock::new(|| Identity::generate().expect("an identity"));

fuzz_target!(|datagrams: Vec<(bool, Vec<u8>)>| {
    let mut now = Instant::now();
    let local = "192.0.2.2:7882".parse().expect("an address");
    let mut transport = Transport::new(
        TransportConfig {
            identity: Arc::clone(&IDENTITY),
            role: IceRole::Controlled,
            lite: false,
            credentials: IceCredentials::from_random([1; 32]),
            tie_breaker: 1,
            candidates: vec![LocalCandidate {
                protocol: Protocol::Udp,
                address: local,
                base: None,
            }],
            limits: Limits::default(),
        },
        now,
    );
    transport
        .open_channel(now, ChannelSpec::lossy("_lossy"))
        .expect("a channel");
    let remote = RemoteParameters {
        ice: IceCredentials::from_random([2; 32]),
        ice_lite: false,
        fingerprints: vec![IDENTITY.fingerprint().clone()],
        dtls: DtlsRole::Server,
        data: true,
        max_message_size: None,
    };
    transport
        .set_remote(now, &remote)
        .expect("a usable description");
    for (known, mut datagram) in datagrams {
        let remote = if known {
            "192.0.2.1:5000"
        } else {
            "203.0.113.9:9"
        }
        .parse()
        .expect("an address");
        let tuple = FiveTuple {
            protocol: Protocol::Udp,
            local,
            remote,
        };
        transport.handle_datagram(now, &tuple, &mut datagram);
        while transport.poll_transmit(now).is_some() {}
        while transport.poll_event().is_some() {}
        now = transport.poll_timeout().map_or(now, |at| at.max(now)) + Duration::from_millis(1);
        transport.handle_timeout(now);
    }
});
