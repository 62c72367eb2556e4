//! The ways of a connection to the server beside datagrams of our own: TURN servers, and ICE over TCP.
//!
//! They are tried where datagrams bring nothing within a moment, or alone where that is wanted. Whoever drives
//! the client opens the streams: [`Client::poll_request`].

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::Client;
use super::connection::Connection;
use super::statistics::ConnectionTally;
use crate::api::Target;
use crate::outbox::Datagrams;
use crate::transport::framing::{Unframer, frame};
use crate::transport::{
    FiveTuple, OutgoingCandidate, Protocol, Transport, parse_candidate, parse_passive,
};
use crate::turn::ClientConfig;
use crate::turn::relay::Relay;

/// How long datagrams of our own are given, before other ways are tried too.
const HEAD_START: Duration = Duration::from_millis(600);
/// Candidates of the server that are kept for ways that open later.
const MOST_CANDIDATES: usize = 16;
/// Streams that a connection opens at once.
const MOST_LINKS: usize = 8;

/// How a TURN server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnTransport {
    Udp,
    Tcp,
    /// With the name that its certificate is for.
    Tls(String),
}

/// A TURN server, by an address.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnServer {
    pub address: SocketAddr,
    pub transport: TurnTransport,
    pub username: String,
    pub password: String,
}

impl TurnServer {
    /// Whether that is the same place, with whatever password: one relay there is enough.
    fn is_at(&self, other: &Self) -> bool {
        (self.address, &self.transport) == (other.address, &other.transport)
    }
}

impl fmt::Debug for TurnServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address, transport, ..
        } = self;
        write!(formatter, "TurnServer({address}, {transport:?})")
    }
}

/// A stream of a connection, by a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a stream; then [`Client::link_open`], or [`Client::link_closed`] when it cannot be.
    Connect {
        target: Target,
        link: LinkId,
        remote: SocketAddr,
        /// TLS, with a certificate for that name.
        tls: Option<String>,
    },
    /// Close a stream, after what was handed out for it is written.
    Close { target: Target, link: LinkId },
}

/// What a connection sends.
#[derive(Debug)]
pub enum Outgoing<'a> {
    Datagrams(Datagrams<'a>),
    /// To the end of a stream.
    Stream {
        link: LinkId,
        bytes: &'a [u8],
    },
}

/// What a stream is for.
enum Link {
    /// A passive candidate of the server, as its line has it. Our end is known once it is open.
    Ice {
        remote: SocketAddr,
        line: String,
        local: Option<SocketAddr>,
        frames: Unframer,
    },
    Turn(TurnServer),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Leg {
    /// By datagrams of the connection's own sockets.
    Datagrams(SocketAddr),
    Stream(LinkId),
}

struct RelayPath {
    relay: Relay,
    server: TurnServer,
    leg: Leg,
    /// What the transport knows it by.
    used: Option<SocketAddr>,
    /// It was opened before the last ICE restart.
    old: bool,
}

struct Opened {
    link: Link,
    /// As of a relay.
    old: bool,
}

#[derive(Default)]
pub(super) struct Paths {
    links: BTreeMap<LinkId, Opened>,
    next_link: u32,
    relays: Vec<RelayPath>,
    /// What relays that are given up say, before their streams are closed.
    goodbyes: Vec<(Leg, Vec<u8>)>,
    closing: Vec<LinkId>,
    /// The server's candidates, as their lines have them.
    candidates: Vec<String>,
    /// Those that the transport has.
    given: Vec<String>,
    /// When other ways than datagrams are tried.
    widen_at: Option<Instant>,
    widened: bool,
    pub(super) requests: VecDeque<Request>,
}

impl Paths {
    /// The relay that a datagram of the connection's sockets is of.
    fn relay_at(&mut self, remote: SocketAddr) -> Option<&mut RelayPath> {
        self.relays
            .iter_mut()
            .find(|it| matches!(it.leg, Leg::Datagrams(server) if server == remote))
    }

    fn link_for(&self, tuple: &FiveTuple) -> Option<LinkId> {
        let mut links = self.links.iter();
        let is = |link: &Link| match link {
            Link::Ice { remote, local, .. } => {
                *remote == tuple.remote && *local == Some(tuple.local)
            }
            Link::Turn(_) => false,
        };
        links.find(|(_, it)| is(&it.link)).map(|(id, _)| *id)
    }

    /// A stream is over, and the relay that it led to; what the transport is to forget.
    fn remove_link(&mut self, link: LinkId) -> Option<OutgoingCandidate> {
        let end = match self.links.remove(&link)?.link {
            Link::Ice { local, .. } => local.map(OutgoingCandidate::ActiveTcp),
            Link::Turn(_) => None,
        };
        let relay = self
            .relays
            .iter()
            .position(|it| it.leg == Leg::Stream(link));
        let relay = relay.map(|at| self.relays.swap_remove(at));
        let relayed = relay.and_then(|it| it.used);
        end.or(relayed.map(OutgoingCandidate::Relayed))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let relays = self.relays.iter().filter_map(|it| it.relay.poll_timeout());
        relays.chain(self.widen_at).min()
    }

    /// Sends datagrams the way that their 5-tuple names.
    pub(super) fn route(&self, datagrams: Datagrams<'_>, send: &mut impl FnMut(Outgoing<'_>)) {
        let tuple = datagrams.tuple;
        let packets = || datagrams.contents.chunks(datagrams.segment.max(1));
        if tuple.protocol == Protocol::Tcp {
            if let Some(link) = self.link_for(&tuple) {
                let mut bytes = Vec::new();
                for packet in packets() {
                    // A packet that fits no frame is lost.
                    let _ = frame(packet, &mut bytes);
                }
                send(Outgoing::Stream {
                    link,
                    bytes: &bytes,
                });
            }
            return;
        }
        let mut relays = self.relays.iter();
        let Some(path) = relays.find(|it| it.relay.relayed() == Some(tuple.local)) else {
            return send(Outgoing::Datagrams(datagrams));
        };
        for packet in packets() {
            let mut bytes = Vec::new();
            if path.relay.wrap(tuple.remote, packet, &mut bytes) {
                path.leg.send(&bytes, send);
            }
        }
    }

    /// What relays have to say to their servers; streams that are done with can be closed then.
    pub(super) fn flush(&mut self, target: Target, send: &mut impl FnMut(Outgoing<'_>)) {
        for (leg, packet) in self.goodbyes.drain(..) {
            leg.send(&packet, send);
        }
        for RelayPath { relay, leg, .. } in &mut self.relays {
            while let Some(packet) = relay.poll_transmit() {
                leg.send(&packet, send);
            }
        }
        let closed = self.closing.drain(..);
        self.requests
            .extend(closed.map(|link| Request::Close { target, link }));
    }
}

impl Leg {
    pub(super) fn send(&self, bytes: &[u8], send: &mut impl FnMut(Outgoing<'_>)) {
        match self {
            Self::Stream(link) => send(Outgoing::Stream { link: *link, bytes }),
            Self::Datagrams(server) => {
                let local: IpAddr = match server {
                    SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                send(Outgoing::Datagrams(Datagrams {
                    tuple: FiveTuple {
                        protocol: Protocol::Udp,
                        local: (local, 0).into(),
                        remote: *server,
                    },
                    contents: bytes,
                    segment: bytes.len(),
                }));
            }
        }
    }
}

/// Hands a packet that a relay unwrapped to the transport.
fn relayed(
    now: Instant,
    (transport, tally): (&mut Transport, &mut ConnectionTally),
    local: Option<SocketAddr>,
    peer: SocketAddr,
    data: &mut [u8],
) -> Option<crate::transport::Received> {
    let tuple = FiveTuple {
        protocol: Protocol::Udp,
        local: local?,
        remote: peer,
    };
    tally.received(now, &tuple, data);
    Some(transport.handle_datagram(now, &tuple, data))
}

impl Connection {
    /// Takes a candidate of the server's.
    pub(super) fn add_candidate(&mut self, now: Instant, candidate: &str) {
        if let Ok(Some(parsed)) = parse_candidate(candidate)
            && parsed.addr().ip().is_loopback()
        {
            for own in self.loopback.drain(..) {
                self.transport.add_local_candidate(now, own);
            }
        }
        let known = self.paths.candidates.iter().any(|it| it == candidate);
        if known || self.paths.candidates.len() >= MOST_CANDIDATES {
            return;
        }
        self.paths.candidates.push(candidate.to_owned());
        for path in &mut self.paths.relays {
            path.relay.add_candidate(candidate);
        }
        if !self.relay_only {
            self.give(now, candidate);
            if self.paths.widened {
                self.connect_passive(candidate.to_owned());
            }
        }
    }

    /// Gives the transport a candidate once.
    fn give(&mut self, now: Instant, candidate: &str) {
        if self.paths.given.iter().any(|it| it == candidate) {
            return;
        }
        match self.transport.add_remote_candidate(now, candidate) {
            Ok(true) => self.paths.given.push(candidate.to_owned()),
            Ok(false) => {}
            Err(error) => log::debug!("candidate ignored: {error}"),
        }
    }

    /// Checks begin, at first or after an ICE restart: other ways wait for their turn.
    pub(super) fn begin_paths(&mut self, now: Instant) {
        if self.transport.is_in_memory() {
            return;
        }
        let wait = if self.relay_only && self.paths.relays.is_empty() {
            Duration::ZERO
        } else {
            HEAD_START
        };
        self.paths.widen_at = Some(now + wait);
    }

    /// What the server said of itself is void, and the ways that are open have to prove themselves.
    pub(super) fn restart_paths(&mut self) {
        self.early_candidates.clear();
        let paths = &mut self.paths;
        paths.candidates.clear();
        paths.given.clear();
        paths.widened = false;
        paths.widen_at = None;
        paths.relays.iter_mut().for_each(|it| it.old = true);
        paths.links.values_mut().for_each(|it| it.old = true);
    }

    fn widen(&mut self, now: Instant, servers: &[TurnServer], seed: u64) {
        self.paths.widen_at = None;
        if self.paths.widened {
            return;
        }
        self.retire(now);
        if self.transport.has_path() {
            return;
        }
        self.paths.widened = true;
        for (number, server) in (0..).zip(servers) {
            let known = |it: &RelayPath| it.server.is_at(server);
            let asked = |it: &Opened| matches!(&it.link, Link::Turn(of) if of.is_at(server));
            if self.paths.relays.iter().any(known) || self.paths.links.values().any(asked) {
                continue;
            }
            if server.transport == TurnTransport::Udp {
                let leg = Leg::Datagrams(server.address);
                self.open_relay(now, server, leg, seed.wrapping_add(number));
            } else {
                let tls = match &server.transport {
                    TurnTransport::Tls(name) => Some(name.clone()),
                    _ => None,
                };
                self.request(server.address, tls, Link::Turn(server.clone()));
            }
        }
        if !self.relay_only {
            for line in self.paths.candidates.clone() {
                self.connect_passive(line);
            }
        }
    }

    /// Gives up ways that were opened before the last restart and lead nowhere since. One by which something
    /// comes still is kept until there is another.
    fn retire(&mut self, now: Instant) {
        let heard = self
            .transport
            .last_authenticated()
            .is_some_and(|at| now.saturating_duration_since(at) < HEAD_START);
        let used = heard || self.transport.has_path();
        let carrying = self.transport.destination().filter(|_| used);
        let paths = &mut self.paths;
        let gone = paths.relays.extract_if(.., |it| {
            it.old && carrying.is_none_or(|tuple| it.used != Some(tuple.local))
        });
        for path in gone {
            if let Some(relayed) = path.used {
                let candidate = OutgoingCandidate::Relayed(relayed);
                self.transport.remove_outgoing_candidate(now, candidate);
            }
            let goodbye = path.relay.close().map(|packet| (path.leg, packet));
            paths.goodbyes.extend(goodbye);
        }
        let ways = paths.links.iter().filter(|(id, it)| {
            let carries = match &it.link {
                Link::Ice { local, .. } => carrying.is_some_and(|of| *local == Some(of.local)),
                Link::Turn(_) => paths.relays.iter().any(|of| of.leg == Leg::Stream(**id)),
            };
            it.old && !carries
        });
        let ways: Vec<LinkId> = ways.map(|(id, _)| *id).collect();
        for link in ways {
            self.close_link(now, link);
        }
    }

    fn close_link(&mut self, now: Instant, link: LinkId) {
        self.forget_link(now, link);
        self.paths.closing.push(link);
    }

    /// Gives up what was asked of TURN servers that are not to be used any more. Those that relay already go on.
    pub(super) fn keep_asking(&mut self, now: Instant, servers: &[TurnServer]) {
        let paths = &mut self.paths;
        let asked = |it: &RelayPath| it.relay.relayed().is_none() && !servers.contains(&it.server);
        for path in paths.relays.extract_if(.., |it| asked(it)) {
            let goodbye = path.relay.close().map(|packet| (path.leg, packet));
            paths.goodbyes.extend(goodbye);
        }
        let unused = paths.links.iter().filter(|(id, it)| match &it.link {
            Link::Turn(server) => {
                let relay = paths.relays.iter().any(|of| of.leg == Leg::Stream(**id));
                !relay && !servers.contains(server)
            }
            Link::Ice { .. } => false,
        });
        let unused: Vec<LinkId> = unused.map(|(id, _)| *id).collect();
        for link in unused {
            self.close_link(now, link);
        }
    }

    fn forget_link(&mut self, now: Instant, link: LinkId) {
        if let Some(candidate) = self.paths.remove_link(link) {
            self.forget_way(now, candidate);
        }
    }

    /// A way is closed. If it was the path, all ways are tried once more.
    fn forget_way(&mut self, now: Instant, candidate: OutgoingCandidate) {
        let had_path = self.transport.has_path();
        self.transport.remove_outgoing_candidate(now, candidate);
        if had_path && !self.transport.has_path() {
            self.paths.widened = false;
            self.paths.widen_at = Some(now + HEAD_START);
        }
    }

    fn open_relay(&mut self, now: Instant, server: &TurnServer, leg: Leg, seed: u64) {
        let config = ClientConfig {
            username: server.username.clone(),
            password: server.password.clone(),
            stream: matches!(leg, Leg::Stream(_)),
            ipv6: false,
            seed,
        };
        let mut relay = Relay::new(config, now);
        for line in &self.paths.candidates {
            relay.add_candidate(line);
        }
        self.paths.relays.push(RelayPath {
            relay,
            server: server.clone(),
            leg,
            used: None,
            old: false,
        });
    }

    fn connect_passive(&mut self, line: String) {
        let Some(remote) = parse_passive(&line) else {
            return;
        };
        let same =
            |it: &Opened| matches!(&it.link, Link::Ice { remote: known, .. } if *known == remote);
        if !self.paths.links.values().any(same) {
            let link = Link::Ice {
                remote,
                line,
                local: None,
                frames: Unframer::default(),
            };
            self.request(remote, None, link);
        }
    }

    fn request(&mut self, remote: SocketAddr, tls: Option<String>, link: Link) {
        if self.paths.links.len() >= MOST_LINKS {
            return;
        }
        let id = LinkId(self.paths.next_link);
        self.paths.next_link += 1;
        self.paths.links.insert(id, Opened { link, old: false });
        self.paths.requests.push_back(Request::Connect {
            target: self.target,
            link: id,
            remote,
            tls,
        });
    }

    /// Uses what relays have found.
    pub(super) fn settle_paths(&mut self, now: Instant) {
        let mut reached = Vec::new();
        for path in &mut self.paths.relays {
            let bound = path.relay.advance(now);
            if !bound.is_empty()
                && path.used.is_none()
                && let Some(relayed) = path.relay.relayed()
            {
                path.used = Some(relayed);
                let candidate = OutgoingCandidate::Relayed(relayed);
                self.transport.add_outgoing_candidate(now, candidate);
            }
            reached.extend(bound);
        }
        for line in reached {
            self.give(now, &line);
        }
        let failed = self.paths.relays.extract_if(.., |path| {
            let failure = path.relay.failure();
            if let Some(failure) = failure {
                log::info!("a TURN server is of no use: {failure}");
            }
            failure.is_some()
        });
        for path in failed.collect::<Vec<_>>() {
            if let Some(relayed) = path.used {
                self.forget_way(now, OutgoingCandidate::Relayed(relayed));
            }
            if let Leg::Stream(link) = path.leg {
                self.close_link(now, link);
            }
        }
    }

    fn set_relay_only(&mut self, now: Instant, relay_only: bool) {
        self.relay_only = relay_only;
        if relay_only {
            self.reflexive.forget();
        }
        self.transport.set_relay_only(now, relay_only);
        if relay_only {
            let direct = self.paths.links.iter();
            let direct = direct.filter(|(_, it)| matches!(it.link, Link::Ice { .. }));
            for link in direct.map(|(id, _)| *id).collect::<Vec<_>>() {
                self.close_link(now, link);
            }
        }
        // Other ways than before are open now.
        if self.described && !self.transport.has_path() {
            self.paths.widened = false;
            self.paths.widen_at = Some(now);
        }
    }

    /// Says goodbye to the relays.
    pub(super) fn close_paths(&mut self, send: &mut impl FnMut(Outgoing<'_>)) {
        for path in self.paths.relays.drain(..) {
            if let Some(packet) = path.relay.close() {
                path.leg.send(&packet, send);
            }
        }
    }

    fn handle_relay_timeouts(&mut self, now: Instant) {
        for RelayPath { relay, .. } in &mut self.paths.relays {
            if relay.poll_timeout().is_some_and(|due| due <= now) {
                relay.handle_timeout(now);
            }
        }
    }
}

impl Client {
    /// From now on nothing but relays is used, or all ways again.
    pub fn set_relay_only(&mut self, now: Instant, relay_only: bool) {
        for connection in &mut self.connections {
            if connection.relay_only != relay_only {
                connection.set_relay_only(now, relay_only);
                let local = connection.local(&self.identity);
                connection.negotiator.set_local(local);
            }
        }
    }

    /// The servers for connections that have no way yet, in place of those before: TURN servers to be tried, and
    /// STUN servers to be asked by what address we are seen.
    pub fn set_ice_servers(&mut self, now: Instant, turn: Vec<TurnServer>, stun: Vec<SocketAddr>) {
        (self.turn, self.stun) = (turn, stun);
        for connection in &mut self.connections {
            connection.keep_asking(now, &self.turn);
            connection.ask_reflexive(now, &self.stun, &mut self.random);
            // They came late.
            if std::mem::take(&mut connection.paths.widened) {
                connection.paths.widen_at = Some(now);
            }
        }
    }

    /// What the driver is to do next.
    pub fn poll_request(&mut self) -> Option<Request> {
        let mut connections = self.connections.iter_mut();
        connections.find_map(|it| it.paths.requests.pop_front())
    }

    pub(super) fn paths_due(&mut self, now: Instant) {
        for at in 0..self.connections.len() {
            let seed = self.random.u64();
            let Some(connection) = self.connections.get_mut(at) else {
                continue;
            };
            connection.handle_relay_timeouts(now);
            if connection.paths.widen_at.is_some_and(|due| due <= now) {
                connection.widen(now, &self.turn, seed);
            }
        }
    }

    /// A stream is open, and `local` our end of it.
    pub fn link_open(&mut self, now: Instant, target: Target, link: LinkId, local: SocketAddr) {
        let seed = self.random.u64();
        let Some(connection) = self.connections.get_mut(super::index(target)) else {
            return;
        };
        match connection.paths.links.get_mut(&link).map(|it| &mut it.link) {
            Some(Link::Ice {
                local: end, line, ..
            }) => {
                *end = Some(local);
                let line = line.clone();
                let candidate = OutgoingCandidate::ActiveTcp(local);
                connection.transport.add_outgoing_candidate(now, candidate);
                connection.give(now, &line);
            }
            Some(Link::Turn(server)) => {
                let server = server.clone();
                connection.open_relay(now, &server, Leg::Stream(link), seed);
            }
            None => {}
        }
    }

    /// Takes what was read of a stream.
    pub fn link_read(&mut self, now: Instant, target: Target, link: LinkId, bytes: &[u8]) {
        let Some(connection) = self.connection(target) else {
            return;
        };
        let mut media = Vec::new();
        let Connection {
            paths,
            transport,
            tally,
            ..
        } = connection;
        let whole = match paths.links.get_mut(&link).map(|it| &mut it.link) {
            Some(Link::Ice {
                remote,
                local: Some(local),
                frames,
                ..
            }) => {
                let tuple = FiveTuple {
                    protocol: Protocol::Tcp,
                    local: *local,
                    remote: *remote,
                };
                let whole = frames.push(bytes, |packet| {
                    let mut packet = packet.to_vec();
                    tally.received(now, &tuple, &packet);
                    let received = transport.handle_datagram(now, &tuple, &mut packet);
                    media.push((received, packet));
                });
                whole.is_ok()
            }
            Some(Link::Turn(_)) => {
                let mut relays = paths.relays.iter_mut();
                let path = relays.find(|it| matches!(it.leg, Leg::Stream(known) if known == link));
                path.is_none_or(|path| {
                    let local = path.relay.relayed();
                    let whole = path.relay.receive(now, bytes, |peer, data| {
                        if let Some(received) = relayed(now, (transport, tally), local, peer, data)
                        {
                            media.push((received, data.to_vec()));
                        }
                    });
                    whole.is_ok()
                })
            }
            _ => true,
        };
        for (received, packet) in media {
            self.take_received(now, target, received, &packet);
        }
        if !whole && let Some(connection) = self.connection(target) {
            connection.close_link(now, link);
        }
    }

    /// A stream could not be opened, or has ended.
    pub fn link_closed(&mut self, now: Instant, target: Target, link: LinkId) {
        if let Some(connection) = self.connection(target) {
            connection.forget_link(now, link);
        }
    }

    /// Takes a datagram that came from a TURN server; `false` when it is none.
    pub(super) fn take_relayed(
        &mut self,
        now: Instant,
        target: Target,
        remote: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let Some(connection) = self.connection(target) else {
            return false;
        };
        let Connection {
            paths,
            transport,
            tally,
            ..
        } = connection;
        let Some(path) = paths.relay_at(remote) else {
            return false;
        };
        let local = path.relay.relayed();
        let mut media = Vec::new();
        // Datagrams need no framing.
        let _ = path.relay.receive(now, datagram, |peer, data| {
            if let Some(received) = relayed(now, (transport, tally), local, peer, data) {
                media.push((received, data.to_vec()));
            }
        });
        for (received, packet) in media {
            self.take_received(now, target, received, &packet);
        }
        true
    }
}
