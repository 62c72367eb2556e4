//! What carries a connection between two ends of one process: no network, so neither ICE, DTLS, SRTP nor SCTP.
//!
//! Packets are told apart as everywhere (RFC 7983): RTP and RTCP are as they are, and what stands in DTLS's
//! place begins with one byte of those below. Whoever carries them delivers in order, and loses none but RTP
//! and RTCP. The client calls, by the username fragment of the server's description; the server answers. There
//! is no sign of life: whoever carries them says goodbye for an end that vanishes.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::sctp::{MessageTransport, Ppid, SctpEvent};
use super::{ChannelSpec, FiveTuple, Protocol, Transmit};

/// With the username fragment of whom it is for.
const CALL: u8 = 20;
const ANSWER: u8 = 21;
/// A channel's stream (2 bytes), what the message is (1), and the message.
const MESSAGE: u8 = 22;
/// A stream (2), and how many bytes of its messages were taken (4).
const TAKEN: u8 = 23;
/// A stream that is closed (2).
const RESET: u8 = 24;
const GOODBYE: u8 = 25;

/// From the peer's description to its call or its answer, as for ICE.
const FAILED_AFTER: Duration = Duration::from_secs(15);

/// The address of a client's connection, by its number in the process.
#[must_use]
pub(crate) fn client_address(number: u64) -> SocketAddr {
    (Ipv6Addr::from(u128::from(number)), 0).into()
}

/// The number of the connection with that address.
#[must_use]
pub(crate) fn client_number(address: SocketAddr) -> Option<u64> {
    match address.ip() {
        IpAddr::V6(ip) => u64::try_from(u128::from(ip)).ok(),
        IpAddr::V4(_) => None,
    }
}

/// The address of a plane's worker; `None`: of all of them.
#[must_use]
pub(crate) fn worker_address(index: Option<u16>) -> SocketAddr {
    (
        Ipv6Addr::UNSPECIFIED,
        index.map_or(0, |index| index.saturating_add(1)),
    )
        .into()
}

/// The worker with that address.
#[must_use]
pub(crate) fn worker_index(address: SocketAddr) -> Option<u16> {
    address.port().checked_sub(1)
}

/// For an end that is not there to say it.
pub(crate) fn goodbye() -> Vec<u8> {
    vec![GOODBYE]
}

/// Whom a call is for.
pub(crate) fn called(packet: &[u8]) -> Option<&str> {
    match packet.split_first()? {
        (&CALL, ufrag) => std::str::from_utf8(ufrag).ok(),
        _ => None,
    }
}

/// One end.
pub(super) struct Memory {
    /// Of the end that calls.
    address: Option<SocketAddr>,
    path: Option<FiveTuple>,
    /// Until when there has to be one.
    deadline: Option<Instant>,
    outbox: VecDeque<Transmit>,
    pub(super) events: VecDeque<SctpEvent>,
    /// Bytes of a stream that the peer has not taken yet, and that we took and have not told of.
    in_flight: BTreeMap<u16, usize>,
    taken: BTreeMap<u16, u32>,
}

impl Memory {
    /// With an address it calls, without it answers.
    pub(super) fn new(address: Option<SocketAddr>) -> Self {
        Self {
            address,
            path: None,
            deadline: None,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            in_flight: BTreeMap::new(),
            taken: BTreeMap::new(),
        }
    }

    pub(super) fn path(&self) -> Option<FiveTuple> {
        self.path
    }

    /// The path to all of the plane's workers.
    fn everywhere(&self) -> Option<FiveTuple> {
        Some(FiveTuple {
            protocol: Protocol::Memory,
            local: self.address?,
            remote: worker_address(None),
        })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the peer has not come in time.
    pub(super) fn is_overdue(&mut self, now: Instant) -> bool {
        self.deadline.take_if(|due| *due <= now).is_some()
    }

    /// The peer has described itself.
    pub(super) fn described(&mut self, now: Instant, ufrag: &str) {
        if self.path.is_some() {
            return;
        }
        self.deadline = Some(now + FAILED_AFTER);
        if let Some(tuple) = self.everywhere() {
            let mut contents = vec![CALL];
            contents.extend_from_slice(ufrag.as_bytes());
            self.outbox.push_back(Transmit { tuple, contents });
        }
    }

    /// Takes what is neither RTP nor RTCP; `None` when it makes no sense.
    pub(super) fn handle(&mut self, tuple: &FiveTuple, packet: &[u8]) -> Option<()> {
        let (kind, rest) = packet.split_first()?;
        match *kind {
            CALL if self.address.is_none() => {
                self.path = Some(*tuple);
                self.deadline = None;
                self.push(vec![ANSWER]);
                return Some(());
            }
            ANSWER if self.address.is_some() => {
                self.path.get_or_insert(*tuple);
                self.deadline = None;
                return Some(());
            }
            _ if self.path != Some(*tuple) => return None,
            GOODBYE => {
                let reason = "closed by the peer".into();
                self.events.push_back(SctpEvent::Lost(reason));
                return Some(());
            }
            _ => {}
        }
        let (stream, rest) = rest.split_first_chunk()?;
        let stream = u16::from_be_bytes(*stream);
        match *kind {
            MESSAGE => {
                let (ppid, data) = rest.split_first()?;
                let bytes = self.taken.entry(stream).or_default();
                *bytes = bytes.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
                self.events.push_back(SctpEvent::Message {
                    stream,
                    ppid: ppid_of(*ppid)?,
                    data: Bytes::copy_from_slice(data),
                });
            }
            TAKEN => {
                let bytes = u32::from_be_bytes(*rest.first_chunk()?) as usize;
                let in_flight = self.in_flight.entry(stream).or_default();
                *in_flight = in_flight.saturating_sub(bytes);
            }
            RESET => self.events.push_back(SctpEvent::StreamClosed(stream)),
            _ => return None,
        }
        Some(())
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        if self.outbox.is_empty()
            && let Some((stream, bytes)) = self.taken.pop_first()
        {
            self.push_of(TAKEN, stream, &bytes.to_be_bytes());
        }
        self.outbox.pop_front()
    }

    /// Says goodbye, also to whoever is about to answer; nothing else is sent any more.
    pub(super) fn close(&mut self) {
        self.outbox.clear();
        self.events.clear();
        self.taken.clear();
        self.deadline = None;
        self.path = self.path.or_else(|| self.everywhere());
        self.push(goodbye());
        self.path = None;
    }

    fn push(&mut self, contents: Vec<u8>) {
        if let Some(tuple) = self.path {
            self.outbox.push_back(Transmit { tuple, contents });
        }
    }

    fn push_of(&mut self, kind: u8, stream: u16, rest: &[u8]) {
        let mut contents = Vec::with_capacity(3 + rest.len());
        contents.push(kind);
        contents.extend_from_slice(&stream.to_be_bytes());
        contents.extend_from_slice(rest);
        self.push(contents);
    }
}

const PPIDS: [Ppid; 5] = [
    Ppid::Dcep,
    Ppid::Text,
    Ppid::Binary,
    Ppid::TextEmpty,
    Ppid::BinaryEmpty,
];

fn ppid_of(number: u8) -> Option<Ppid> {
    PPIDS.get(usize::from(number)).copied()
}

impl MessageTransport for Memory {
    fn connected(&self) -> bool {
        self.path.is_some()
    }

    fn send(
        &mut self,
        stream: u16,
        ppid: Ppid,
        data: &Bytes,
        _: &ChannelSpec,
    ) -> Result<(), String> {
        let number = PPIDS.iter().position(|known| *known == ppid).unwrap_or(0) as u8;
        let mut rest = Vec::with_capacity(1 + data.len());
        rest.push(number);
        rest.extend_from_slice(data);
        self.push_of(MESSAGE, stream, &rest);
        *self.in_flight.entry(stream).or_default() += data.len();
        Ok(())
    }

    fn in_flight(&mut self, stream: u16) -> usize {
        self.in_flight.get(&stream).copied().unwrap_or(0)
    }

    fn close_stream(&mut self, stream: u16) {
        self.in_flight.remove(&stream);
        self.push_of(RESET, stream, &[]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::*;
    use super::*;

    struct Pair {
        now: Instant,
        client: Transport,
        server: Transport,
        /// What each end told, without states.
        told: [Vec<TransportEvent>; 2],
    }

    fn end(role: IceRole, ufrag: &str, address: Option<SocketAddr>, now: Instant) -> Transport {
        let config = TransportConfig {
            identity: Identity::for_simulation(1).unwrap(),
            role,
            lite: false,
            credentials: credentials(ufrag),
            tie_breaker: 1,
            candidates: Vec::new(),
            limits: Limits::default(),
        };
        Transport::in_memory(config, address, now)
    }

    fn credentials(ufrag: &str) -> IceCredentials {
        IceCredentials {
            ufrag: ufrag.into(),
            password: "a password of enough letters".into(),
        }
    }

    fn remote(ufrag: &str, dtls: DtlsRole) -> RemoteParameters {
        RemoteParameters {
            ice: credentials(ufrag),
            ice_lite: false,
            fingerprints: vec![Identity::for_simulation(1).unwrap().fingerprint().clone()],
            dtls,
            data: true,
            max_message_size: None,
        }
    }

    impl Pair {
        fn new() -> Self {
            let now = Instant::now();
            let address = client_address(7);
            let mut client = end(IceRole::Controlling, "ours", Some(address), now);
            let mut server = end(IceRole::Controlled, "theirs", None, now);
            server
                .set_remote(now, &remote("ours", DtlsRole::Server))
                .unwrap();
            client
                .set_remote(now, &remote("theirs", DtlsRole::Client))
                .unwrap();
            Self {
                now,
                client,
                server,
                told: [Vec::new(), Vec::new()],
            }
        }

        /// Passes on all there is; how many packets that were.
        fn run(&mut self) -> usize {
            let mut passed = 0;
            let ends = |client: &Transmit| (client.tuple.local, client.tuple.remote);
            loop {
                let before = passed;
                while let Some(mut sent) = self.client.poll_transmit(self.now) {
                    let (local, _) = ends(&sent);
                    let tuple = FiveTuple {
                        protocol: Protocol::Memory,
                        local: worker_address(Some(0)),
                        remote: local,
                    };
                    self.server
                        .handle_datagram(self.now, &tuple, &mut sent.contents);
                    passed += 1;
                }
                while let Some(mut sent) = self.server.poll_transmit(self.now) {
                    let (local, remote) = ends(&sent);
                    let tuple = FiveTuple {
                        protocol: Protocol::Memory,
                        local: remote,
                        remote: local,
                    };
                    self.client
                        .handle_datagram(self.now, &tuple, &mut sent.contents);
                    passed += 1;
                }
                for (told, end) in self
                    .told
                    .iter_mut()
                    .zip([&mut self.client, &mut self.server])
                {
                    let events = std::iter::from_fn(|| end.poll_event());
                    let states =
                        |it: &TransportEvent| !matches!(it, TransportEvent::StateChanged(_));
                    told.extend(events.filter(states));
                }
                if passed == before {
                    return passed;
                }
            }
        }
    }

    #[test]
    fn a_call_connects_both_ends_and_media_passes_as_it_is() {
        let mut pair = Pair::new();
        let call = pair.client.poll_transmit(pair.now).unwrap();
        assert_eq!(called(&call.contents), Some("theirs"));
        assert_eq!(worker_index(call.tuple.remote), None);
        assert_eq!(client_number(call.tuple.local), Some(7));
        let mut pair = Pair::new();
        pair.run();
        assert_eq!(pair.client.state(), TransportState::Connected);
        assert_eq!(pair.server.state(), TransportState::Connected);
        let tuple = pair.server.destination().unwrap();
        let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 42];
        let before = packet.clone();
        pair.client.seal_rtp(&mut packet, 12).unwrap();
        let received = pair.server.handle_datagram(pair.now, &tuple, &mut packet);
        assert_eq!((received, &packet), (Received::Rtp(0..13), &before));
        // Not by another path, and not from a network.
        for (protocol, remote) in [
            (Protocol::Memory, client_address(8)),
            (Protocol::Udp, tuple.remote),
        ] {
            let other = FiveTuple {
                protocol,
                remote,
                ..tuple
            };
            let received = pair.server.handle_datagram(pair.now, &other, &mut packet);
            assert!(matches!(received, Received::Dropped(_)));
        }
    }

    #[test]
    fn messages_pass_in_order_and_no_faster_than_they_are_taken() {
        let mut pair = Pair::new();
        pair.run();
        let channel = pair
            .client
            .open_channel(pair.now, ChannelSpec::reliable("_reliable"))
            .unwrap();
        pair.run();
        for number in 0..100_u8 {
            let message = Bytes::from(vec![number; 10_000]);
            pair.client
                .send_data(pair.now, channel, message, true)
                .unwrap();
        }
        let waiting = pair.client.buffered(channel);
        assert!((900_000..1_000_000).contains(&waiting), "{waiting}");
        pair.run();
        assert_eq!(pair.client.buffered(channel), 0);
        let numbers = pair.told[1].iter().filter_map(|it| match it {
            TransportEvent::ChannelMessage { data, .. } => data.first().copied(),
            _ => None,
        });
        assert!(numbers.eq(0..100));
    }

    #[test]
    fn who_closes_before_the_answer_is_gone_for_the_server() {
        let mut pair = Pair::new();
        let mut call = pair.client.poll_transmit(pair.now).unwrap();
        let by = FiveTuple {
            protocol: Protocol::Memory,
            local: worker_address(Some(0)),
            remote: call.tuple.local,
        };
        pair.server
            .handle_datagram(pair.now, &by, &mut call.contents);
        assert_eq!(pair.server.state(), TransportState::Connected);
        pair.client.close(pair.now);
        pair.run();
        assert_eq!(pair.server.state(), TransportState::Closed);
    }

    #[test]
    fn an_end_that_nobody_calls_or_answers_fails_in_time() {
        let mut pair = Pair::new();
        for end in [&mut pair.client, &mut pair.server] {
            let due = end.poll_timeout().unwrap();
            assert_eq!(due - pair.now, FAILED_AFTER);
            end.handle_timeout(due - Duration::from_millis(1));
            assert_eq!(end.state(), TransportState::Connecting);
            end.handle_timeout(due);
            assert_eq!(end.state(), TransportState::Failed);
            assert_eq!(end.poll_timeout(), None);
        }
        // Late is not too late.
        pair.run();
        for end in [&mut pair.client, &mut pair.server] {
            assert_eq!(end.state(), TransportState::Connected);
            assert_eq!(end.poll_timeout(), None);
        }
    }

    #[test]
    fn a_goodbye_ends_the_other_end_and_a_restart_of_ice_nothing() {
        let mut pair = Pair::new();
        pair.run();
        pair.client.restart_ice(pair.now, credentials("afresh"));
        pair.client
            .set_remote(pair.now, &remote("another", DtlsRole::Client))
            .unwrap();
        assert_eq!(pair.run(), 0);
        assert_eq!(pair.client.state(), TransportState::Connected);
        pair.server.close(pair.now);
        pair.run();
        let ended = |it: &TransportEvent| matches!(it, TransportEvent::Closed { .. });
        assert!(pair.told.iter().all(|told| told.iter().any(ended)));
        assert_eq!(pair.client.state(), TransportState::Closed);
    }
}
