//! A client of a LiveKit server: the one or two peer connections of a session, without I/O.
//!
//! Drive it in turns, as the [plane](crate::plane): any number of calls that change it, then
//! [`Client::drain`] once, then [`Client::poll_event`] until it is empty and [`Client::poll_timeout`]. What
//! a track is made of comes from an [`AudioSource`] or by [`Client::send_frame`], and what is received goes
//! to a [`PacketSink`]: codecs are the caller's.

mod bandwidth;
mod connection;
mod data;
mod encryption;
mod ends;
mod frames;
mod negotiation;
mod paths;
mod plain;
mod receiving;
mod reflexive;
mod sending;
mod statistics;
mod synchronization;
mod voice;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use self::bandwidth::Trials;
use self::connection::Connection;
pub use self::data::Backlog;
use self::data::Outlet;
pub use self::encryption::Decryption;
pub use self::ends::{AudioSource, EncodedFrame, OpusFrame, PacketSink};
pub use self::frames::{FrameReader, ReceivedFrame, VideoLayer, VideoSpec};
pub use self::paths::{LinkId, Outgoing, Request, TurnServer, TurnTransport};
pub use self::sending::AudioSpec;
use self::sending::Sending;
pub use self::statistics::FrameDetails;
pub use self::synchronization::Synchronization;
use crate::api::{ConnectionState, MediaKind, SdpKind, Target, TrackId};
use crate::data::Channel;
use crate::encryption::State;
use crate::random::Random;
use crate::track::clock::WallClock;
use crate::track::receiver::Ingress;
use crate::transport::memory::client_address;
use crate::transport::{FiveTuple, Identity, LocalCandidate, Received, Way};

/// How a client is set up.
#[derive(Clone)]
pub struct ClientConfig {
    /// Certificate and DTLS configuration; clients of a process may share it.
    pub identity: Arc<Identity>,
    /// One connection, on which only the client offers; otherwise two.
    pub single: bool,
    /// The server is in this process: the numbers of the connections' addresses begin here, and no network is
    /// used.
    pub in_memory: Option<u64>,
    /// Makes random choices reproducible; for simulations only.
    pub seed: Option<u64>,
    /// Time since the Unix epoch when the client starts; `None` reads the system's clock.
    pub unix_time: Option<Duration>,
}

/// What a client tells.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// A local description to send. An answer has the offer's id.
    Description {
        target: Target,
        kind: SdpKind,
        sdp: String,
        id: u32,
    },
    /// A local candidate that the last description does not hold.
    Candidate {
        target: Target,
        candidate: String,
        mid: String,
        mline: u16,
    },
    Connection {
        target: Target,
        state: ConnectionState,
        detail: String,
        way: Option<Way>,
    },
    /// One of our own channels can be written to.
    ChannelOpen(Channel),
    Data {
        channel: Channel,
        data: Bytes,
    },
    /// A channel that refused a message has room again.
    BufferLow(Channel),
    /// The server has all messages; see [`Client::flush`].
    Flushed,
    /// The server sends in a section: msid and the preferred codec.
    Track {
        target: Target,
        mid: String,
        kind: MediaKind,
        stream: String,
        track: String,
        mime: &'static str,
    },
    TrackEnded {
        target: Target,
        mid: String,
    },
    /// A layer of a published track is to begin anew.
    KeyFrame {
        track: TrackId,
        layer: u8,
    },
    /// What a layer of a published video track may use, in bits a second; 0: nothing.
    Bitrate {
        track: TrackId,
        layer: u8,
        bits: u64,
    },
    /// How the encryption of a published track fares, when that changes.
    Sealing {
        track: TrackId,
        state: State,
    },
    /// How the decryption of a received track fares, when that changes.
    Opening {
        target: Target,
        mid: String,
        state: State,
    },
    /// A description of the server, or what it has for a track of ours, cannot be used.
    Rejected {
        target: Target,
        id: u32,
        reason: String,
    },
    Fault {
        detail: String,
    },
}

/// See the [module](self).
pub struct Client {
    identity: Arc<Identity>,
    clock: WallClock,
    random: Random,
    /// The publisher, and with two the subscriber.
    connections: Vec<Connection>,
    sending: BTreeMap<TrackId, Sending>,
    trials: Trials,
    outlets: [Outlet; 3],
    /// How often [`ClientEvent::Flushed`] is waited for.
    flushes: usize,
    turn: Vec<TurnServer>,
    stun: Vec<SocketAddr>,
    events: VecDeque<ClientEvent>,
    ingress: Vec<Ingress>,
    /// To pass as it is to a server in this process.
    passing: plain::Passing,
}

/// The place of a connection.
fn index(target: Target) -> usize {
    match target {
        Target::Publisher => 0,
        Target::Subscriber => 1,
    }
}

impl Client {
    #[must_use]
    pub fn new(config: ClientConfig, now: Instant) -> Self {
        let unix = config.unix_time.unwrap_or_else(|| {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
        });
        let clock = WallClock::new(now, unix);
        let mut random = Random::new(config.seed);
        let targets = [Target::Publisher, Target::Subscriber];
        let connections = targets
            .into_iter()
            .take(if config.single { 1 } else { 2 })
            .zip(0..)
            .map(|(target, at)| {
                let address = config.in_memory.map(|first| client_address(first + at));
                Connection::new(target, address, &config.identity, clock, &mut random, now)
            })
            .collect();
        Self {
            identity: config.identity,
            clock,
            random,
            connections,
            sending: BTreeMap::new(),
            trials: Trials::default(),
            outlets: Outlet::all(),
            flushes: 0,
            turn: Vec::new(),
            stun: Vec::new(),
            events: VecDeque::new(),
            ingress: Vec::new(),
            passing: plain::Passing::new(),
        }
    }

    /// The connections that it has, each with sockets of its own.
    pub fn targets(&self) -> impl Iterator<Item = Target> {
        self.connections.iter().map(|it| it.target)
    }

    fn connection(&mut self, target: Target) -> Option<&mut Connection> {
        self.connections.get_mut(index(target))
    }

    /// An address of ours that a connection's datagrams leave from.
    pub fn add_address(&mut self, now: Instant, target: Target, candidate: LocalCandidate) {
        let identity = Arc::clone(&self.identity);
        if let Some(connection) = self.connection(target)
            && connection.transport.add_local_candidate(now, candidate)
        {
            let local = connection.local(&identity);
            connection.negotiator.set_local(local);
        }
    }

    /// An address of ours that is of use to reach this machine alone: it joins the others when the server
    /// names a loopback address.
    pub fn reserve_address(&mut self, target: Target, candidate: LocalCandidate) {
        if let Some(connection) = self.connection(target) {
            connection.loopback.push(candidate);
        }
    }

    /// Takes one datagram; it is decrypted in place.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        target: Target,
        tuple: &FiveTuple,
        datagram: &mut [u8],
    ) {
        if self.take_reflexive(index(target), tuple.local, tuple.remote, datagram)
            || self.take_relayed(now, target, tuple.remote, datagram)
        {
            return;
        }
        let Some(connection) = self.connection(target) else {
            return;
        };
        connection.tally.received(now, tuple, datagram);
        let received = connection.transport.handle_datagram(now, tuple, datagram);
        self.take_received(now, target, received, datagram);
    }

    /// Takes what a datagram turned out to be.
    fn take_received(&mut self, now: Instant, target: Target, received: Received, datagram: &[u8]) {
        match received {
            Received::Rtp(range) => {
                if let Some(packet) = datagram.get(range) {
                    self.take_rtp(now, target, packet);
                }
            }
            Received::Rtcp(range) => {
                if let Some(compound) = datagram.get(range) {
                    self.take_rtcp(now, target, compound);
                }
            }
            Received::Consumed | Received::Dropped(_) => {}
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        for connection in &mut self.connections {
            connection.handle_timeout(now);
        }
        self.paths_due(now);
        self.send_due(now);
        self.play_due(now);
    }

    /// When [`Self::handle_timeout`] wants to be called; valid after [`Self::drain`].
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let sending = self.sending.values().filter_map(Sending::deadline).min();
        let connections = self.connections.iter_mut();
        connections
            .filter_map(|it| it.deadline(now))
            .chain(sending)
            .min()
    }

    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Ends a turn: negotiates what waits and hands out all datagrams.
    pub fn drain(&mut self, now: Instant, mut send: impl FnMut(Target, Outgoing<'_>)) {
        for at in 0..self.connections.len() {
            self.take_transport_events(now, at);
            self.offer(at);
            if let Some(connection) = self.connections.get_mut(at) {
                let target = connection.target;
                connection.drain(now, |outgoing| send(target, outgoing));
            }
        }
        self.tell_room();
        self.tell_flushed();
        self.tell_keyframes();
    }

    /// Says goodbye: drain once more. Nothing is sent or received from then on.
    pub fn close(&mut self, now: Instant) {
        self.sending.clear();
        for connection in &mut self.connections {
            connection.transport.close(now);
        }
    }
}
