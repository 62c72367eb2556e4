//! Against str0m, an independent implementation of ICE's use, SRTP, SCTP's use and DCEP.

use std::collections::VecDeque;

use str0m::channel::ChannelConfig;
use str0m::media::MediaKind;
use str0m::net::{Protocol as PeerProtocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use bytes::Bytes;

use super::super::*;
use super::link::*;

const PT: u8 = 111;

/// Ours at B, str0m at A, no delay but the clock's steps.
struct Meeting {
    now: Instant,
    ours: End,
    peer: Rtc,
    events: Vec<Event>,
}

impl Meeting {
    fn new(lite: bool, ours: DtlsRole) -> Self {
        let now = Instant::now();
        let mut peer = RtcConfig::new().set_rtp_mode(true).build(now);
        peer.add_local_candidate(Candidate::host(address(A), "udp").unwrap())
            .unwrap();
        peer.add_remote_candidate(Candidate::host(address(B), "udp").unwrap());
        let identity = Identity::generate().unwrap();
        let mut transport = Transport::new(config(&identity, IceRole::Controlled, lite, B), now);

        let mut api = peer.direct_api();
        let theirs = api.local_ice_credentials();
        let print = api.local_dtls_fingerprint().clone();
        let credentials = transport.local_credentials().clone();
        api.set_remote_ice_credentials(IceCreds {
            ufrag: credentials.ufrag,
            pass: credentials.password,
        });
        api.set_remote_fingerprint(str0m::config::Fingerprint {
            hash_func: "sha-256".into(),
            bytes: identity.fingerprint().digest.clone(),
        });
        api.set_ice_controlling(true);
        api.start_dtls(ours == DtlsRole::Server).unwrap();
        api.start_sctp(ours == DtlsRole::Server);
        api.declare_media("aud".into(), MediaKind::Audio);
        api.declare_stream_tx(Ssrc::from(77), None, "aud".into(), None);
        api.expect_stream_rx(Ssrc::from(42), None, "aud".into(), None);
        transport
            .set_remote(
                now,
                &RemoteParameters {
                    ice: IceCredentials {
                        ufrag: theirs.ufrag,
                        password: theirs.pass,
                    },
                    ice_lite: false,
                    fingerprints: vec![Fingerprint {
                        algorithm: print.hash_func,
                        digest: print.bytes,
                    }],
                    dtls: ours,
                    data: true,
                    max_message_size: Some(65_536),
                },
            )
            .unwrap();
        Self {
            now,
            ours: End::new(transport),
            peer,
            events: Vec::new(),
        }
    }

    /// A millisecond of both.
    fn step(&mut self) {
        let now = self.now;
        let to_us = FiveTuple {
            protocol: Protocol::Udp,
            local: address(B),
            remote: address(A),
        };
        let mut to_peer = VecDeque::new();
        self.peer.handle_input(Input::Timeout(now)).unwrap();
        loop {
            match self.peer.poll_output().unwrap() {
                Output::Timeout(_) => match to_peer.pop_front() {
                    None => break,
                    Some(datagram) => {
                        let datagram: Vec<u8> = datagram;
                        let receive =
                            Receive::new(PeerProtocol::Udp, address(B), address(A), &datagram)
                                .unwrap();
                        self.peer
                            .handle_input(Input::Receive(now, receive))
                            .unwrap();
                    }
                },
                Output::Transmit(transmit) => {
                    assert_eq!(
                        (transmit.source, transmit.destination),
                        (address(A), address(B))
                    );
                    self.ours.receive(now, &to_us, transmit.contents.to_vec());
                }
                Output::Event(event) => self.events.push(event),
            }
            if self
                .ours
                .transport
                .poll_timeout()
                .is_some_and(|at| at <= now)
            {
                self.ours.transport.handle_timeout(now);
            }
            while let Some(transmit) = self.ours.transport.poll_transmit(now) {
                to_peer.push_back(transmit.contents);
            }
            while let Some(event) = self.ours.transport.poll_event() {
                self.ours.events.push(event);
            }
        }
        self.now += Duration::from_millis(1);
    }

    fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        for _ in 0..20_000 {
            if condition(self) {
                return;
            }
            self.step();
        }
        panic!(
            "{what}: {:?} {}",
            self.ours.transport.state(),
            self.ours.transport.diagnosis()
        );
    }

    fn send(&mut self, packet: Vec<u8>) {
        let mut packet = packet;
        self.ours.transport.seal_rtp(&mut packet, 12).unwrap();
        let receive = Receive::new(PeerProtocol::Udp, address(B), address(A), &packet).unwrap();
        self.peer
            .handle_input(Input::Receive(self.now, receive))
            .unwrap();
    }
}

#[test]
fn str0m_connects_exchanges_media_and_data() {
    for lite in [true, false] {
        for ours in [DtlsRole::Server, DtlsRole::Client] {
            let mut meeting = Meeting::new(lite, ours);
            let now = meeting.now;
            let opened = meeting
                .ours
                .transport
                .open_channel(now, ChannelSpec::reliable("_reliable"))
                .unwrap();
            let theirs = meeting
                .peer
                .direct_api()
                .create_data_channel(ChannelConfig {
                    label: "_lossy".into(),
                    ordered: false,
                    reliability: str0m::channel::Reliability::MaxRetransmits { retransmits: 0 },
                    ..ChannelConfig::default()
                });
            meeting.until("connected", |meeting| {
                meeting.ours.transport.state() == TransportState::Connected
                    && meeting
                        .events
                        .iter()
                        .any(|event| matches!(event, Event::Connected))
            });

            // Media.
            meeting.send(rtp(1, b"to the peer"));
            let wallclock = meeting.now;
            let mut api = meeting.peer.direct_api();
            let stream = api.stream_tx(&Ssrc::from(77)).unwrap();
            stream.write_rtp(RtpWrite::new(
                PT.into(),
                500.into(),
                1_000,
                wallclock,
                b"to us".as_slice(),
            ));
            meeting.until("media", |meeting| {
                !meeting.ours.rtp.is_empty()
                    && meeting.events.iter().any(|event| {
                        matches!(event, Event::RtpPacket(packet) if packet.payload.as_ref() == b"to the peer")
                    })
            });
            assert!(meeting.ours.rtp[0].ends_with(b"to us"));

            // Data both ways, on channels of both sides.
            meeting.until("channels", |meeting| {
                meeting.ours.channel("_reliable").is_some()
                    && meeting.ours.channel("_lossy").is_some()
                    && meeting
                        .events
                        .iter()
                        .filter(|event| matches!(event, Event::ChannelOpen(..)))
                        .count()
                        == 2
            });
            let spec = meeting.ours.events.iter().find_map(|event| match event {
                TransportEvent::ChannelOpen { spec, .. } if spec.label == "_lossy" => {
                    Some(spec.clone())
                }
                _ => None,
            });
            assert_eq!(spec, Some(ChannelSpec::lossy("_lossy")));
            let lossy = meeting.ours.channel("_lossy").unwrap();
            let payload = Noise::new(4).bytes(60_000);
            for _ in 0..3 {
                let now = meeting.now;
                meeting
                    .ours
                    .transport
                    .send_data(now, opened, Bytes::from(payload.clone()), true)
                    .unwrap();
            }
            meeting
                .peer
                .channel(theirs)
                .unwrap()
                .write(true, &payload)
                .unwrap();
            meeting
                .peer
                .channel(theirs)
                .unwrap()
                .write(false, b"text")
                .unwrap();
            meeting.until("data", |meeting| {
                let got = meeting
                    .events
                    .iter()
                    .filter(|event| matches!(event, Event::ChannelData(_)));
                meeting.ours.messages(lossy).len() == 2 && got.count() == 3
            });
            let got = meeting.ours.messages(lossy);
            assert!(got.contains(&(Bytes::from(payload.clone()), true)));
            assert!(got.contains(&(Bytes::from_static(b"text"), false)));
            for event in &meeting.events {
                if let Event::ChannelData(data) = event {
                    assert!(data.binary && data.data == payload);
                }
            }

            // Two minutes of nothing: consent is kept on both sides.
            for _ in 0..120_000 {
                meeting.step();
            }
            assert_eq!(meeting.ours.transport.state(), TransportState::Connected);
            assert!(meeting.peer.is_connected());
        }
    }
}
