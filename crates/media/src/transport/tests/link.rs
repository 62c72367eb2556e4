//! A link between two transports with delay, loss and a clock of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::*;

/// Deterministic noise.
pub(super) struct Noise(u64);

impl Noise {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| (self.next() >> 24) as u8).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

pub(super) struct End {
    pub(super) transport: Transport,
    pub(super) events: Vec<TransportEvent>,
    pub(super) rtp: Vec<Vec<u8>>,
    pub(super) rtcp: Vec<Vec<u8>>,
    pub(super) dropped: BTreeMap<&'static str, usize>,
    pub(super) wakeups: usize,
}

impl End {
    pub(super) fn new(transport: Transport) -> Self {
        Self {
            transport,
            events: Vec::new(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            dropped: BTreeMap::new(),
            wakeups: 0,
        }
    }

    pub(super) fn channel(&self, label: &str) -> Option<ChannelId> {
        self.events.iter().find_map(|event| match event {
            TransportEvent::ChannelOpen { channel, spec } if spec.label == label => Some(*channel),
            _ => None,
        })
    }

    pub(super) fn messages(&self, channel: ChannelId) -> Vec<(Bytes, bool)> {
        self.events
            .iter()
            .filter_map(|event| match event {
                TransportEvent::ChannelMessage {
                    channel: on,
                    data,
                    binary,
                } if *on == channel => Some((data.clone(), *binary)),
                _ => None,
            })
            .collect()
    }

    pub(super) fn end(&self) -> Option<&str> {
        self.events.iter().find_map(|event| match event {
            TransportEvent::Closed { reason } => Some(reason.as_str()),
            _ => None,
        })
    }

    /// Gives it a datagram and keeps what came of it.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        tuple: &FiveTuple,
        mut datagram: Vec<u8>,
    ) -> Received {
        let received = self.transport.handle_datagram(now, tuple, &mut datagram);
        match &received {
            Received::Rtp(range) => self.rtp.push(datagram[range.clone()].to_vec()),
            Received::Rtcp(range) => self.rtcp.push(datagram[range.clone()].to_vec()),
            Received::Consumed => {}
            Received::Dropped(reason) => {
                let name = match reason {
                    DropReason::Unknown => "unknown",
                    DropReason::Stun => "stun",
                    DropReason::TooManyTuples => "tuples",
                    DropReason::NotValidated => "not validated",
                    DropReason::Dtls => "dtls",
                    DropReason::NoKeys => "no keys",
                    DropReason::Srtp => "srtp",
                    DropReason::Closed => "closed",
                };
                *self.dropped.entry(name).or_default() += 1;
            }
        }
        received
    }
}

/// In flight: arrival, order, receiver, 5-tuple as the receiver sees it.
type InFlight = BTreeMap<(Instant, u64), (Side, FiveTuple, Vec<u8>)>;

pub(super) struct Link {
    pub(super) now: Instant,
    pub(super) a: End,
    pub(super) b: End,
    pub(super) delay: Duration,
    /// Of 1,000.
    pub(super) loss: u64,
    pub(super) cut: bool,
    /// DTLS datagrams of A that are still to be lost.
    pub(super) lost_handshakes: usize,
    /// Whether damaged copies of A's packets reach B before the packets; counts them.
    pub(super) tamper: Option<usize>,
    noise: Noise,
    flight: InFlight,
    order: u64,
}

pub(super) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn host(text: &str) -> LocalCandidate {
    LocalCandidate {
        protocol: Protocol::Udp,
        address: address(text),
        base: None,
    }
}

pub(super) fn config(
    identity: &Arc<Identity>,
    role: IceRole,
    lite: bool,
    at: &str,
) -> TransportConfig {
    TransportConfig {
        identity: Arc::clone(identity),
        role,
        lite,
        credentials: IceCredentials::generate(),
        tie_breaker: 7,
        candidates: vec![host(at)],
        limits: Limits::default(),
    }
}

pub(super) const A: &str = "192.0.2.1:1000";
pub(super) const B: &str = "192.0.2.2:2000";

/// What `of` would tell the other side, which has the DTLS role `dtls`.
pub(super) fn description(of: &Transport, lite: bool, dtls: DtlsRole) -> RemoteParameters {
    RemoteParameters {
        ice: of.local_credentials().clone(),
        ice_lite: lite,
        fingerprints: vec![of.identity.fingerprint().clone()],
        dtls,
        data: true,
        max_message_size: Some(65_536),
    }
}

impl Link {
    /// A is the offerer, full and controlling; B the answerer, lite or full.
    pub(super) fn new(b_lite: bool) -> Self {
        let now = Instant::now();
        let (a, b) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        Self {
            now,
            a: End::new(Transport::new(
                config(&a, IceRole::Controlling, false, A),
                now,
            )),
            b: End::new(Transport::new(
                config(&b, IceRole::Controlled, b_lite, B),
                now,
            )),
            delay: Duration::from_millis(10),
            loss: 0,
            cut: false,
            lost_handshakes: 0,
            tamper: None,
            noise: Noise::new(5),
            flight: BTreeMap::new(),
            order: 0,
        }
    }

    /// Exchanges descriptions and candidates.
    pub(super) fn signal(&mut self, a_role: DtlsRole) {
        let b_role = if a_role == DtlsRole::Client {
            DtlsRole::Server
        } else {
            DtlsRole::Client
        };
        let of_a = description(&self.a.transport, self.a.transport.ice.lite(), b_role);
        let of_b = description(&self.b.transport, self.b.transport.ice.lite(), a_role);
        self.b.transport.set_remote(self.now, &of_a).unwrap();
        self.a.transport.set_remote(self.now, &of_b).unwrap();
        for line in self.a.transport.local_candidates() {
            self.b
                .transport
                .add_remote_candidate(self.now, &line)
                .unwrap();
        }
        for line in self.b.transport.local_candidates() {
            self.a
                .transport
                .add_remote_candidate(self.now, &line)
                .unwrap();
        }
    }

    pub(super) fn connected(b_lite: bool, a_role: DtlsRole) -> Self {
        let mut link = Self::new(b_lite);
        link.signal(a_role);
        link.until(5, Self::both_connected);
        link
    }

    pub(super) fn both_connected(&self) -> bool {
        self.a.transport.state() == TransportState::Connected
            && self.b.transport.state() == TransportState::Connected
    }

    pub(super) fn side(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Puts what both sides have to say on the wire.
    pub(super) fn flush(&mut self) {
        for side in [Side::A, Side::B] {
            let now = self.now;
            let end = self.side(side);
            let mut out = Vec::new();
            while let Some(transmit) = end.transport.poll_transmit(now) {
                out.push(transmit);
            }
            while let Some(event) = end.transport.poll_event() {
                end.events.push(event);
            }
            for transmit in out {
                self.carry(side, transmit);
            }
        }
    }

    pub(super) fn carry(&mut self, from: Side, transmit: Transmit) {
        if self.cut || self.noise.next() % 1_000 < self.loss {
            return;
        }
        let handshake = demux::classify(&transmit.contents) == Some(Kind::Dtls);
        if from == Side::A && handshake && self.lost_handshakes > 0 {
            self.lost_handshakes -= 1;
            return;
        }
        assert!(
            transmit.contents.len() <= 1_400,
            "{} B",
            transmit.contents.len()
        );
        let to = if from == Side::A { Side::B } else { Side::A };
        let tuple = FiveTuple {
            protocol: transmit.tuple.protocol,
            local: transmit.tuple.remote,
            remote: transmit.tuple.local,
        };
        if let (Side::B, Some(count)) = (to, &mut self.tamper) {
            // Handshake records without integrity can be forged by whoever sees them: bits are flipped of
            // STUN and of protected records only.
            let contents = &transmit.contents;
            let mut copies = vec![contents[..self.noise.next() as usize % contents.len()].to_vec()];
            if contents.get(4) == Some(&1) || contents[0] < 4 {
                *count += 1;
                let mut flipped = contents.clone();
                let at = self.noise.next() as usize % flipped.len();
                flipped[at] ^= 1 << (self.noise.next() % 8);
                copies.push(flipped);
            }
            for copy in copies {
                self.order += 1;
                self.flight
                    .insert((self.now + self.delay, self.order), (to, tuple, copy));
            }
        }
        self.order += 1;
        self.flight.insert(
            (self.now + self.delay, self.order),
            (to, tuple, transmit.contents),
        );
    }

    /// Seals and sends an RTP or RTCP packet.
    pub(super) fn send_media(&mut self, from: Side, packet: &[u8], control: bool) {
        let transport = &mut self.side(from).transport;
        let mut sealed = packet.to_vec();
        if control {
            transport.seal_rtcp(&mut sealed).unwrap();
        } else {
            transport.seal_rtp(&mut sealed, 12).unwrap();
        }
        let tuple = transport.destination().unwrap();
        self.carry(
            from,
            Transmit {
                tuple,
                contents: sealed,
            },
        );
    }

    /// To the next thing that happens, not beyond `limit`.
    fn step(&mut self, limit: Instant) {
        self.flush();
        let arrival = self.flight.keys().next().map(|(at, _)| *at);
        let timers = [
            self.a.transport.poll_timeout(),
            self.b.transport.poll_timeout(),
        ];
        let next = timers
            .into_iter()
            .flatten()
            .chain(arrival)
            .min()
            .unwrap_or(limit)
            .min(limit);
        self.now = self.now.max(next);
        let now = self.now;
        while let Some((&key, _)) = self.flight.first_key_value() {
            if key.0 > now {
                break;
            }
            let Some((to, tuple, datagram)) = self.flight.remove(&key) else {
                break;
            };
            self.side(to).receive(now, &tuple, datagram);
        }
        for side in [Side::A, Side::B] {
            let end = self.side(side);
            if end.transport.poll_timeout().is_some_and(|at| at <= now) {
                end.transport.handle_timeout(now);
                end.wakeups += 1;
            }
        }
        self.flush();
    }

    pub(super) fn run(&mut self, duration: Duration) {
        let limit = self.now + duration;
        while self.now < limit {
            self.step(limit);
        }
    }

    /// Runs until the condition holds; fails when it does not within that many seconds.
    pub(super) fn until(&mut self, seconds: u64, condition: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        let limit = begin + Duration::from_secs(seconds);
        while !condition(self) {
            assert!(
                self.now < limit,
                "not within {seconds} s: a {:?} {}\nb {:?} {}",
                self.a.transport.state(),
                self.a.transport.diagnosis(),
                self.b.transport.state(),
                self.b.transport.diagnosis()
            );
            self.step(limit);
        }
        self.now - begin
    }
}

/// An RTP packet with a header of 12 bytes.
pub(super) fn rtp(sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 42]);
    packet.extend_from_slice(payload);
    packet
}

/// An empty receiver report.
pub(super) const RECEIVER_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 42];
