//! A client that only connects: one way to a server, ICE and DTLS over it, and what came of it.
//!
//! For programs that find out which ways are open. Sockets are the caller's: datagrams or bytes of a stream
//! in and out.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sdp::{Description, Setup};
use crate::transport::framing::{Unframer, frame};
use crate::transport::{
    DtlsRole, Fingerprint, FiveTuple, IceCredentials, IceRole, Identity, Limits, LocalCandidate,
    OutgoingCandidate, Protocol, RemoteParameters, Transmit, Transport, TransportConfig,
    TransportState,
};
use crate::turn::ClientConfig;
use crate::turn::relay::Relay;

/// How a probe reaches the server's media.
#[derive(Clone, Debug)]
pub enum Way {
    /// By datagrams from these addresses of ours, one a socket.
    Udp(Vec<SocketAddr>),
    /// By a connection to a passive candidate: our end, and the server's.
    Tcp {
        local: SocketAddr,
        remote: SocketAddr,
    },
    /// Through a TURN server, from our address to its.
    Relay {
        local: SocketAddr,
        server: SocketAddr,
        turn: ClientConfig,
    },
}

/// How far a probe has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Connecting,
    /// ICE and DTLS are up.
    Connected {
        round_trip: Option<Duration>,
    },
    /// It will not become better; says why.
    Failed(Failure),
}

/// What stood in a probe's way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the answer cannot be used: {0}")]
    Answer(String),
    /// From the server itself: no allocation.
    #[error("{0}")]
    Turn(String),
    /// The TURN server works, and does not relay to our media.
    #[error("{0}")]
    Peer(String),
    #[error("the stream is not {0}")]
    Stream(&'static str),
    /// No check was answered, or DTLS failed. Holds the transport's diagnosis.
    #[error("{0}")]
    Transport(String),
}

/// See the [module](self).
pub struct Probe {
    way: Way,
    transport: Transport,
    relay: Option<Relay>,
    /// The server's side, until checks begin: a relay first has to be had.
    remote: Option<RemoteParameters>,
    ice_frames: Unframer,
    failure: Option<Failure>,
    outgoing: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
}

/// The description of a client that wants a data channel and has no candidates: the server learns its
/// address from its checks.
#[must_use]
pub fn offer(identity: &Identity, credentials: &IceCredentials) -> String {
    let IceCredentials { ufrag, password } = credentials;
    let fingerprint = identity.fingerprint();
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic:WMS *\r\n\
         m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:{ufrag}\r\n\
         a=ice-pwd:{password}\r\na=ice-options:trickle\r\na=fingerprint:{fingerprint}\r\na=setup:actpass\r\n\
         a=mid:0\r\na=sctp-port:5000\r\na=max-message-size:65536\r\n"
    )
}

impl Probe {
    /// Begins with the server's answer to [`offer`], whose identity and credentials these are.
    ///
    /// # Errors
    /// When the answer cannot be used.
    pub fn new(
        now: Instant,
        identity: Arc<Identity>,
        credentials: IceCredentials,
        answer: &str,
        way: Way,
    ) -> Result<Self, Failure> {
        let (remote, candidates) = remote_parameters(answer)?;
        let own = |address: &SocketAddr| LocalCandidate {
            protocol: Protocol::Udp,
            address: *address,
            base: None,
        };
        let locals = match &way {
            Way::Udp(locals) => locals.iter().map(own).collect(),
            Way::Tcp { .. } | Way::Relay { .. } => Vec::new(),
        };
        let mut transport = Transport::new(
            TransportConfig {
                identity,
                role: IceRole::Controlling,
                lite: false,
                credentials,
                tie_breaker: 1,
                candidates: locals,
                limits: Limits::default(),
            },
            now,
        );
        let mut relay = None;
        match &way {
            Way::Udp(_) => {}
            Way::Tcp { local, .. } => {
                transport.add_outgoing_candidate(now, OutgoingCandidate::ActiveTcp(*local));
            }
            Way::Relay { turn, .. } => relay = Some(Relay::new(turn.clone(), now)),
        }
        let mut probe = Self {
            way,
            transport,
            relay,
            remote: Some(remote),
            ice_frames: Unframer::default(),
            failure: None,
            outgoing: VecDeque::new(),
        };
        if probe.relay.is_none() {
            probe.begin_checks(now);
        }
        for candidate in candidates {
            probe.add_candidate(now, &candidate);
        }
        probe.settle(now);
        Ok(probe)
    }

    /// A `candidate:…` line of the server; those of another way are ignored.
    pub fn add_candidate(&mut self, now: Instant, line: &str) {
        match &mut self.relay {
            None => drop(self.transport.add_remote_candidate(now, line)),
            Some(relay) => relay.add_candidate(line),
        }
        self.settle(now);
    }

    /// Takes a datagram that came to `local` from `remote`, or what was read of the stream.
    pub fn handle(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, bytes: &[u8]) {
        match &self.way {
            Way::Udp(_) => self.receive(now, Protocol::Udp, local, remote, bytes),
            Way::Tcp { local, remote } => {
                let (local, remote) = (*local, *remote);
                let mut packets = Vec::new();
                let whole = self
                    .ice_frames
                    .push(bytes, |packet| packets.push(packet.to_vec()));
                for packet in packets {
                    self.receive(now, Protocol::Tcp, local, remote, &packet);
                }
                if whole.is_err() {
                    self.failure.get_or_insert(Failure::Stream("ICE over TCP"));
                }
            }
            Way::Relay { .. } => self.relayed(now, bytes),
        }
        self.settle(now);
    }

    /// What to send next: from, to, and the bytes.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        self.outgoing.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        let relay = self.relay.as_ref().and_then(Relay::poll_timeout);
        let transport = self.transport.poll_timeout();
        relay.into_iter().chain(transport).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(relay) = &mut self.relay {
            relay.handle_timeout(now);
        }
        self.transport.handle_timeout(now);
        self.settle(now);
    }

    /// Leaves: what is then to be sent says goodbye to the server, and to the relay.
    pub fn close(&mut self, now: Instant) {
        self.transport.close(now);
        self.settle(now);
        if let (Some(relay), Way::Relay { local, server, .. }) = (self.relay.take(), &self.way)
            && let Some(packet) = relay.close()
        {
            self.outgoing.push_back((*local, *server, packet));
        }
    }

    pub fn progress(&self) -> Progress {
        match (&self.failure, self.transport.state()) {
            (Some(failure), _) => Progress::Failed(failure.clone()),
            (None, TransportState::Connected) => Progress::Connected {
                round_trip: self.transport.round_trip(),
            },
            (None, TransportState::Failed | TransportState::Closed) => {
                Progress::Failed(Failure::Transport(self.diagnosis()))
            }
            (None, _) => Progress::Connecting,
        }
    }

    /// The address that a TURN server named, once it has.
    #[must_use]
    pub fn relayed_address(&self) -> Option<SocketAddr> {
        self.relay.as_ref().and_then(Relay::relayed)
    }

    /// For people: what was offered, what was tried, what answered.
    #[must_use]
    pub fn diagnosis(&self) -> String {
        self.transport.diagnosis()
    }

    fn receive(
        &mut self,
        now: Instant,
        protocol: Protocol,
        local: SocketAddr,
        remote: SocketAddr,
        packet: &[u8],
    ) {
        let tuple = FiveTuple {
            protocol,
            local,
            remote,
        };
        self.transport
            .handle_datagram(now, &tuple, &mut packet.to_vec());
    }

    fn relayed(&mut self, now: Instant, bytes: &[u8]) {
        let Some(relay) = &mut self.relay else {
            return;
        };
        let relayed = relay.relayed();
        let transport = &mut self.transport;
        let whole = relay.receive(now, bytes, |peer, data| {
            if let Some(local) = relayed {
                let tuple = FiveTuple {
                    protocol: Protocol::Udp,
                    local,
                    remote: peer,
                };
                transport.handle_datagram(now, &tuple, data);
            }
        });
        if whole.is_err() {
            self.failure.get_or_insert(Failure::Stream("TURN"));
        }
    }

    fn begin_checks(&mut self, now: Instant) {
        if let Some(remote) = self.remote.take()
            && let Err(error) = self.transport.set_remote(now, &remote)
        {
            self.failure
                .get_or_insert(Failure::Answer(error.to_string()));
        }
    }

    /// Moves on what can move: the relay's answers to the transport, and packets to the sockets.
    fn settle(&mut self, now: Instant) {
        self.settle_relay(now);
        while self.transport.poll_event().is_some() {}
        while let Some(Transmit { tuple, contents }) = self.transport.poll_transmit(now) {
            match (&self.way, &self.relay) {
                (Way::Udp(_), _) => {
                    self.outgoing
                        .push_back((tuple.local, tuple.remote, contents));
                }
                (Way::Tcp { local, remote }, _) => {
                    let mut bytes = Vec::new();
                    if frame(&contents, &mut bytes).is_ok() {
                        self.outgoing.push_back((*local, *remote, bytes));
                    }
                }
                (Way::Relay { local, server, .. }, Some(relay)) => {
                    let mut bytes = Vec::new();
                    if relay.wrap(tuple.remote, &contents, &mut bytes) {
                        self.outgoing.push_back((*local, *server, bytes));
                    }
                }
                (Way::Relay { .. }, None) => {}
            }
        }
    }

    fn settle_relay(&mut self, now: Instant) {
        let (Some(relay), Way::Relay { local, server, .. }) = (&mut self.relay, &self.way) else {
            return;
        };
        if let Some(failure) = relay.failure() {
            self.failure
                .get_or_insert(Failure::Turn(failure.to_string()));
        }
        let bound = relay.advance(now);
        while let Some(packet) = relay.poll_transmit() {
            self.outgoing.push_back((*local, *server, packet));
        }
        if let Some(relayed) = relay.relayed()
            && self.remote.is_some()
        {
            let outgoing = OutgoingCandidate::Relayed(relayed);
            self.transport.add_outgoing_candidate(now, outgoing);
            self.begin_checks(now);
        }
        for line in bound {
            let _ = self.transport.add_remote_candidate(now, &line);
        }
        if let Some(refused) = self.relay.as_ref().and_then(Relay::refused) {
            self.failure
                .get_or_insert(Failure::Peer(refused.to_owned()));
        }
    }
}

/// What an answer says of the server's side.
fn remote_parameters(answer: &str) -> Result<(RemoteParameters, Vec<String>), Failure> {
    let unusable = |reason: &str| Failure::Answer(reason.into());
    let description =
        Description::parse(answer).map_err(|error| Failure::Answer(error.to_string()))?;
    let [section, ..] = &*description.sections else {
        return Err(unusable("it has no section"));
    };
    let ice = section
        .ice
        .as_ref()
        .ok_or_else(|| unusable("it has no ICE credentials"))?;
    let fingerprint = |it: &crate::sdp::Fingerprint| Fingerprint {
        algorithm: it.algorithm.clone(),
        digest: it.digest.clone(),
    };
    let remote = RemoteParameters {
        ice: IceCredentials {
            ufrag: ice.ufrag.clone(),
            password: ice.pwd.clone(),
        },
        ice_lite: description.ice_lite,
        fingerprints: section.fingerprints.iter().map(fingerprint).collect(),
        dtls: match section.setup {
            Some(Setup::Active) => DtlsRole::Server,
            _ => DtlsRole::Client,
        },
        data: false,
        max_message_size: None,
    };
    Ok((remote, section.candidates.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::{
        Framing, Leg, LegTransport, MediaAddresses, Route, Server, ServerConfig, credentials,
    };

    const OURS: &str = "198.51.100.20:50000";
    const MEDIA: &str = "203.0.113.7:7882";
    const TURN: &str = "203.0.113.7:3478";

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    /// A server's transport and relay, and the probe that goes to them.
    struct World {
        now: Instant,
        probe: Probe,
        media: Transport,
        relay: Server,
        ice_frames: Unframer,
        /// The media's addresses that nothing reaches.
        blocked: bool,
    }

    impl World {
        fn new(way: Way, allowed: bool) -> Self {
            let now = Instant::now();
            let identity = Identity::generate().unwrap();
            let (theirs, ours) = (IceCredentials::generate(), IceCredentials::generate());
            let candidate = |protocol| LocalCandidate {
                protocol,
                address: at(MEDIA),
                base: None,
            };
            let config = TransportConfig {
                identity: Arc::clone(&identity),
                role: IceRole::Controlled,
                lite: false,
                credentials: theirs.clone(),
                tie_breaker: 2,
                candidates: vec![candidate(Protocol::Udp), candidate(Protocol::Tcp)],
                limits: Limits::default(),
            };
            let mut media = Transport::new(config, now);
            let own = offer(&identity, &ours);
            let (mut remote, _) = remote_parameters(&own).unwrap();
            remote.dtls = DtlsRole::Client;
            media.set_remote(now, &remote).unwrap();
            let answer = offer(&identity, &theirs).replace("actpass", "active");
            let addresses = Arc::new(MediaAddresses::default());
            if allowed {
                let local = at(MEDIA);
                addresses.insert(local, Route { worker: 0, local });
            }
            let mut probe = Probe::new(now, identity, ours, &answer, way).unwrap();
            for line in media.local_candidates() {
                probe.add_candidate(now, &line);
            }
            let mut relay = Server::new(ServerConfig::new([7; 32]), addresses, now);
            relay.admit("PA_one");
            Self {
                now,
                probe,
                media,
                relay,
                ice_frames: Unframer::default(),
                blocked: false,
            }
        }

        /// To the media as it would come out of its sockets.
        fn reach_media(&mut self, protocol: Protocol, remote: SocketAddr, packet: &[u8]) {
            let tuple = FiveTuple {
                protocol,
                local: at(MEDIA),
                remote,
            };
            if !self.blocked {
                self.media
                    .handle_datagram(self.now, &tuple, &mut packet.to_vec());
            }
        }

        fn carry(&mut self) {
            let leg = |stream| Leg {
                transport: if stream {
                    LegTransport::Stream(1)
                } else {
                    LegTransport::Udp
                },
                local: at(TURN),
                remote: at(OURS),
            };
            while let Some((from, to, bytes)) = self.probe.poll_transmit() {
                match self.probe.way.clone() {
                    Way::Udp(_) => self.reach_media(Protocol::Udp, from, &bytes),
                    Way::Tcp { .. } => {
                        let mut packets = Vec::new();
                        let mut frames = std::mem::take(&mut self.ice_frames);
                        frames.push(&bytes, |it| packets.push(it.to_vec())).unwrap();
                        packets
                            .iter()
                            .for_each(|it| self.reach_media(Protocol::Tcp, from, it));
                    }
                    Way::Relay { turn, .. } => {
                        assert_eq!(to, at(TURN));
                        let mut packet = bytes.clone();
                        if turn.stream {
                            let mut framing = Framing::default();
                            framing.push(&bytes);
                            packet = framing.next_packet().unwrap().unwrap().to_vec();
                        }
                        let data = self.relay.handle(self.now, 1000, leg(turn.stream), &packet);
                        let data = data.map(|it| (it.relayed, it.data.to_vec()));
                        if let Some((relayed, data)) = data {
                            self.reach_media(Protocol::Udp, relayed, &data);
                        }
                        while let Some((_, answer)) = self.relay.poll_transmit() {
                            self.probe.handle(self.now, at(OURS), at(TURN), &answer);
                        }
                    }
                }
            }
            while self.media.poll_event().is_some() {}
            while let Some(Transmit { tuple, contents }) = self.media.poll_transmit(self.now) {
                let mut out = Vec::new();
                match &self.probe.way {
                    Way::Udp(_) => out = contents,
                    Way::Tcp { .. } => frame(&contents, &mut out).unwrap(),
                    Way::Relay { .. } => {
                        let (now, local) = (self.now, at(MEDIA));
                        self.relay
                            .from_media(now, tuple.remote, local, &contents, &mut out);
                    }
                }
                self.probe.handle(self.now, at(OURS), tuple.local, &out);
            }
        }

        /// Until the probe knows, at most so many seconds.
        fn outcome(&mut self, seconds: u64) -> Progress {
            let end = self.now + Duration::from_secs(seconds);
            while self.probe.progress() == Progress::Connecting && self.now < end {
                self.now += Duration::from_millis(10);
                self.probe.handle_timeout(self.now);
                self.media.handle_timeout(self.now);
                self.carry();
            }
            self.probe.progress()
        }
    }

    fn relayed(stream: bool, secret: u8) -> Way {
        let (username, password) = credentials(&[secret; 32], "PA_one", 2000);
        Way::Relay {
            local: at(OURS),
            server: at(TURN),
            turn: ClientConfig {
                username,
                password,
                stream,
                ipv6: false,
                seed: 3,
            },
        }
    }

    #[test]
    fn each_way_connects() {
        let tcp = Way::Tcp {
            local: at(OURS),
            remote: at(MEDIA),
        };
        for way in [
            Way::Udp(vec![at(OURS)]),
            tcp,
            relayed(false, 7),
            relayed(true, 7),
        ] {
            let mut world = World::new(way.clone(), true);
            let outcome = world.outcome(10);
            assert!(
                matches!(
                    outcome,
                    Progress::Connected {
                        round_trip: Some(_)
                    }
                ),
                "{way:?}: {outcome:?}"
            );
            world.probe.close(world.now);
            world.carry();
            assert_eq!(world.relay.allocations(), 0);
            assert_eq!(world.media.state(), TransportState::Closed);
        }
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let mut world = World::new(relayed(false, 9), true);
        let Progress::Failed(Failure::Turn(cause)) = world.outcome(20) else {
            panic!("{:?}", world.probe.progress())
        };
        assert!(cause.contains("wrong or expired credentials"), "{cause}");
        let mut world = World::new(relayed(false, 7), false);
        let Progress::Failed(Failure::Peer(cause)) = world.outcome(20) else {
            panic!("{:?}", world.probe.progress())
        };
        assert!(
            cause.starts_with("203.0.113.7:7882: the TURN server does not relay"),
            "{cause}"
        );
        let mut world = World::new(Way::Udp(vec![at(OURS)]), true);
        world.blocked = true;
        let Progress::Failed(Failure::Transport(cause)) = world.outcome(20) else {
            panic!("{:?}", world.probe.progress())
        };
        assert!(cause.contains("no answer from 203.0.113.7:7882"), "{cause}");
    }
}
