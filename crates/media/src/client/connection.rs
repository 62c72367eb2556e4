//! One peer connection of a client.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::paths::{Outgoing, Paths};
use super::receiving::Received;
use super::reflexive::Reflexive;
use super::statistics::ConnectionTally;
use super::{Client, ClientEvent};
use crate::api::{ConnectionState, Target, TrackId};
use crate::congestion::estimator::Estimator;
use crate::congestion::{SendQueue, SendQueueConfig};
use crate::convert;
use crate::data::{Channel, MAX_MESSAGE_SIZE};
use crate::outbox::Outbox;
use crate::random::Random;
use crate::rtp::rtcp::SenderInfo;
use crate::sdp::{CongestionFeedback, DtlsRole, LocalTransport, Negotiator, NegotiatorConfig};
use crate::statistics::Traffic;
use crate::track::clock::WallClock;
use crate::track::receiver::Receiver;
use crate::transport::{
    ChannelId, FiveTuple, IceCredentials, IceRole, Identity, Limits, LocalCandidate, Transport,
    TransportConfig, TransportEvent, TransportState,
};

/// Candidates that came before the description they belong to.
const MOST_EARLY_CANDIDATES: usize = 32;

pub(super) struct Connection {
    pub(super) target: Target,
    pub(super) transport: Transport,
    pub(super) negotiator: Negotiator,
    pub(super) receiver: Receiver,
    pub(super) queue: SendQueue,
    pub(super) outbox: Outbox,
    /// What the path takes of what we send.
    pub(super) estimator: Estimator,
    /// Streams that we send, by their SSRC: the track and which of its layers.
    pub(super) by_ssrc: FxHashMap<u32, (TrackId, usize)>,
    /// What the server sends, by the receiver's tag.
    pub(super) received: FxHashMap<u32, Received>,
    next_tag: u32,
    /// With the messages that were sent and received.
    pub(super) channels: BTreeMap<ChannelId, (Channel, Traffic, Traffic)>,
    pub(super) connected: bool,
    /// The server has described itself.
    pub(super) described: bool,
    pub(super) early_candidates: Vec<String>,
    /// Addresses that wait until the server has one of its own of that kind.
    pub(super) loopback: Vec<LocalCandidate>,
    /// Beside datagrams of our own.
    pub(super) paths: Paths,
    pub(super) reflexive: Reflexive,
    pub(super) relay_only: bool,
    /// Number of our last offer.
    pub(super) offer_id: u32,
    pub(super) wants_negotiation: bool,
    /// Sender reports that leave at the end of the turn.
    pub(super) reports: Vec<(u32, SenderInfo)>,
    pub(super) tally: ConnectionTally,
}

impl Connection {
    pub(super) fn new(
        target: Target,
        in_memory: Option<SocketAddr>,
        identity: &Arc<Identity>,
        clock: WallClock,
        random: &mut Random,
        now: Instant,
    ) -> Self {
        let config = TransportConfig {
            identity: Arc::clone(identity),
            role: match target {
                Target::Publisher => IceRole::Controlling,
                Target::Subscriber => IceRole::Controlled,
            },
            lite: false,
            credentials: IceCredentials::from_random(random.bytes()),
            tie_breaker: random.u64(),
            candidates: Vec::new(),
            limits: Limits {
                receive_message: MAX_MESSAGE_SIZE,
                ..Limits::default()
            },
        };
        let transport = match in_memory {
            Some(_) => Transport::in_memory(config, in_memory, now),
            None => Transport::new(config, now),
        };
        let cname = format!("{:016x}", random.u64());
        let negotiator = Negotiator::new(
            NegotiatorConfig {
                session_id: (random.u64() >> 1).max(1),
                cname: cname.clone(),
                congestion: CongestionFeedback::TransportCc,
                // Servers on pion open the SCTP association whatever their role, and so does a DTLS client.
                answer_role: DtlsRole::Server,
                max_message_size: MAX_MESSAGE_SIZE as u64,
                publishing: true,
                ..NegotiatorConfig::default()
            },
            convert::local_transport(&transport, identity, false),
        );
        let mut receiver = Receiver::new(clock, random.u32().max(1), cname.into());
        receiver.leave_redundancy();
        receiver.keep_clocks();
        if in_memory.is_none() {
            receiver.estimate_path(now);
        }
        Self {
            target,
            transport,
            negotiator,
            receiver,
            queue: SendQueue::new(SendQueueConfig::default(), clock),
            outbox: Outbox::default(),
            estimator: super::bandwidth::estimator(in_memory.is_some()),
            by_ssrc: FxHashMap::default(),
            received: FxHashMap::default(),
            next_tag: 1,
            channels: BTreeMap::new(),
            connected: false,
            described: false,
            early_candidates: Vec::new(),
            loopback: Vec::new(),
            paths: Paths::default(),
            reflexive: Reflexive::default(),
            relay_only: false,
            offer_id: 0,
            wants_negotiation: false,
            reports: Vec::new(),
            tally: ConnectionTally::default(),
        }
    }

    /// What descriptions say of our side.
    pub(super) fn local(&self, identity: &Identity) -> LocalTransport {
        convert::local_transport(&self.transport, identity, false)
    }

    pub(super) fn channel(&self, wanted: Channel) -> Option<ChannelId> {
        self.channels
            .iter()
            .find(|(_, (channel, ..))| *channel == wanted)
            .map(|(id, _)| *id)
    }

    /// A name for a section that is received.
    pub(super) fn new_tag(&mut self) -> u32 {
        self.next_tag += 1;
        self.next_tag
    }

    /// Keeps a candidate for the description to come.
    pub(super) fn keep_candidate(&mut self, candidate: &str) {
        if self.early_candidates.len() < MOST_EARLY_CANDIDATES {
            self.early_candidates.push(candidate.to_owned());
        }
    }

    pub(super) fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let sinks = self.received.values().filter_map(Received::deadline).min();
        let leads_somewhere = self.destination().is_some();
        [
            self.transport.poll_timeout(),
            self.queue.deadline(now).filter(|_| leads_somewhere),
            self.receiver.deadline(now).filter(|_| leads_somewhere),
            sinks,
            self.paths.deadline(),
            self.reflexive.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Where media goes, if anywhere.
    fn destination(&self) -> Option<FiveTuple> {
        self.transport.destination().filter(|_| self.connected)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.transport.poll_timeout().is_some_and(|due| due <= now) {
            self.transport.handle_timeout(now);
            if let Some(rtt) = self.transport.round_trip() {
                self.receiver.set_rtt(rtt);
            }
        }
    }

    /// Hands out what is to be sent.
    pub(super) fn drain(&mut self, now: Instant, mut send: impl FnMut(Outgoing<'_>)) {
        self.settle_paths(now);
        if let Some(tuple) = self.destination() {
            self.outbox.write_media(
                now,
                tuple,
                &mut self.transport,
                &mut self.receiver,
                &mut self.queue,
                &self.reports,
            );
        } else {
            // It would be old when there is a path.
            self.queue.clear();
        }
        self.reports.clear();
        while let Some(transmit) = self.transport.poll_transmit(now) {
            self.outbox.push(transmit.tuple, &transmit.contents);
        }
        let (paths, tally) = (&self.paths, &mut self.tally);
        self.outbox.drain(|datagrams| {
            tally.sent(now, &datagrams.tuple, datagrams.contents, datagrams.segment);
            paths.route(datagrams, &mut send);
        });
        self.paths.flush(self.target, &mut send);
        self.reflexive.flush(now, &mut send);
        if self.transport.state() == TransportState::Closed {
            self.close_paths(&mut send);
        }
    }
}

impl Client {
    pub(super) fn take_transport_events(&mut self, now: Instant, at: usize) {
        while let Some(connection) = self.connections.get_mut(at)
            && let Some(event) = connection.transport.poll_event()
        {
            let target = connection.target;
            match event {
                TransportEvent::StateChanged(state) => {
                    let Some(state) = convert::connection_state(state) else {
                        continue;
                    };
                    let detail = match state {
                        ConnectionState::Connected => String::new(),
                        _ => connection.transport.diagnosis(),
                    };
                    let way = connection.transport.way();
                    match state {
                        ConnectionState::Connected => self.connection_up(at),
                        ConnectionState::Failed => self.connection_down(at),
                        // It may come back, and what is sent meanwhile may arrive.
                        _ => {}
                    }
                    self.events.push_back(ClientEvent::Connection {
                        target,
                        state,
                        detail,
                        way,
                    });
                }
                TransportEvent::TupleAdded(_)
                | TransportEvent::TupleRemoved(_)
                | TransportEvent::Selected(_) => {}
                TransportEvent::ChannelOpen { channel, spec } => {
                    let kind = Channel::from_label(&spec.label);
                    connection.tally.channels_opened += 1;
                    let fresh = (kind, Traffic::default(), Traffic::default());
                    let ours = connection.channels.contains_key(&channel);
                    connection.channels.entry(channel).or_insert(fresh).0 = kind;
                    if ours {
                        self.events.push_back(ClientEvent::ChannelOpen(kind));
                    }
                }
                TransportEvent::ChannelMessage { channel, data, .. } => {
                    let known = connection.channels.get_mut(&channel);
                    let known = known.map(|(kind, _, received)| {
                        received.add(now, 1, data.len() as u64);
                        *kind
                    });
                    self.events.push_back(ClientEvent::Data {
                        channel: known.unwrap_or(Channel::Unlabelled),
                        data,
                    });
                }
                TransportEvent::ChannelClosed { channel } => {
                    connection.tally.channels_closed += 1;
                    connection.channels.remove(&channel);
                }
                TransportEvent::Closed { reason } => {
                    let way = connection.transport.way();
                    self.connection_down(at);
                    self.events.push_back(ClientEvent::Connection {
                        target,
                        state: ConnectionState::Closed,
                        detail: reason,
                        way,
                    });
                }
            }
        }
    }
}
