//! One peer connection: its transport, its negotiation, what it receives and what it sends.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::negotiation::Asked;
use super::timers::{Armed, Timer};
use super::{Plane, SHORTEST_TIMER};
use crate::api::{ConnectionState, Event, ParticipantId, Target};
use crate::congestion::allowance::Allowance;
use crate::congestion::{SendQueue, SendQueueConfig};
use crate::convert;
use crate::data::{Channel, MAX_MESSAGE_SIZE};
use crate::rtp::rtcp::SenderInfo;
use crate::sdp::{DtlsRole, LineReuse, LocalTransport, Negotiator, NegotiatorConfig};
use crate::track::receiver::Receiver;
use crate::transport::{
    ChannelId, FiveTuple, IceCredentials, IceRole, Identity, Limits, LocalCandidate, Protocol,
    Transport, TransportConfig, TransportEvent, TransportState,
};

/// Candidates that came before the description they belong to.
const MOST_EARLY_CANDIDATES: usize = 32;

pub(super) struct Connection {
    pub(super) participant: ParticipantId,
    pub(super) target: Target,
    pub(super) ice_lite: bool,
    pub(super) transport: Transport,
    pub(super) negotiator: Negotiator,
    pub(super) receiver: Receiver,
    pub(super) queue: SendQueue,
    /// How much of what is queued its link takes.
    pub(super) allowance: Allowance,
    /// Subscriptions sent over this connection, by their SSRC.
    pub(super) by_ssrc: FxHashMap<u32, usize>,
    pub(super) channels: BTreeMap<ChannelId, Channel>,
    pub(super) tuples: Vec<FiveTuple>,
    pub(super) connected: bool,
    /// The client has described itself.
    pub(super) described: bool,
    pub(super) early_candidates: Vec<String>,
    /// Candidates were told for the current ICE credentials.
    pub(super) trickled: bool,
    /// Number of our last offer.
    pub(super) offer_id: u32,
    pub(super) asked: Asked,
    pub(super) wants_negotiation: bool,
    pub(super) touched: bool,
    /// Nothing was heard of the participant for long, and the control plane knows.
    pub(super) silent: bool,
    /// Sender reports that leave at the end of the turn.
    pub(super) reports: Vec<(u32, SenderInfo)>,
    pub(super) armed: Armed,
}

impl Connection {
    pub(super) fn channel(&self, wanted: Channel) -> Option<ChannelId> {
        self.channels
            .iter()
            .find(|(_, channel)| **channel == wanted)
            .map(|(id, _)| *id)
    }

    /// What descriptions say of our side.
    pub(super) fn local(&self, identity: &Identity) -> LocalTransport {
        convert::local_transport(&self.transport, identity, self.ice_lite)
    }

    /// Keeps a candidate for the description to come.
    pub(super) fn keep_candidate(&mut self, candidate: &str) {
        if self.early_candidates.len() < MOST_EARLY_CANDIDATES {
            self.early_candidates.push(candidate.to_owned());
        }
    }

    /// Where media goes, if anywhere.
    fn destination(&self) -> Option<FiveTuple> {
        self.transport.destination().filter(|_| self.connected)
    }

    fn deadline(&mut self, now: Instant) -> Option<Instant> {
        let leads_somewhere = self.destination().is_some();
        [
            self.transport.poll_timeout(),
            self.queue.deadline(now).filter(|_| leads_somewhere),
            self.receiver.deadline(now).filter(|_| leads_somewhere),
            self.asked.due,
            self.allowance.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }
}

impl Plane {
    /// The participant's connection of that target, made when it is not there yet.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        id: ParticipantId,
        target: Target,
    ) -> Option<usize> {
        let participant = self.participants.get(&id)?;
        if participant.closed || participant.is_single() && target == Target::Subscriber {
            return None;
        }
        let existing = match target {
            Target::Publisher => participant.publisher,
            Target::Subscriber => participant.subscriber,
        };
        if existing.is_some() {
            return existing;
        }
        let room = self.rooms.get(&participant.spec.room)?;
        let spec = &participant.spec;
        let mut candidates = self.config.candidates.clone();
        if let Some(extra) = spec.extra_address
            && candidates.iter().all(|it| it.address.ip() != extra)
        {
            let like = |protocol| {
                candidates.iter().find(move |it| {
                    it.protocol == protocol && it.address.is_ipv4() == extra.is_ipv4()
                })
            };
            let more = [Protocol::Udp, Protocol::Tcp].map(|protocol| {
                let like = like(protocol)?;
                let own = like.base.unwrap_or(like.address);
                Some(LocalCandidate {
                    protocol,
                    address: SocketAddr::new(extra, own.port()),
                    // Loopback is this machine itself; other addresses are mapped to it.
                    base: (!extra.is_loopback()).then_some(own),
                })
            });
            candidates.extend(more.into_iter().flatten());
        }
        let credentials = IceCredentials::from_random(self.random.bytes());
        let in_process = spec.in_process;
        if in_process {
            candidates.clear();
        }
        let config = TransportConfig {
            identity: self.config.identity.clone(),
            role: match target {
                Target::Publisher => IceRole::Controlled,
                Target::Subscriber => IceRole::Controlling,
            },
            lite: spec.ice_lite,
            credentials: credentials.clone(),
            tie_breaker: self.random.u64(),
            candidates,
            limits: Limits {
                receive_message: MAX_MESSAGE_SIZE,
                ..Limits::default()
            },
        };
        let mut transport = if in_process {
            Transport::in_memory(config, None, now)
        } else {
            Transport::new(config, now)
        };
        transport.set_tcp_only(spec.tcp_only);
        let local = convert::local_transport(&transport, &self.config.identity, spec.ice_lite);
        let is = |codec: &crate::sdp::Codec, list: &[String]| {
            list.iter().any(|mime| mime == codec.mime())
        };
        let codecs = room.codecs.iter().copied();
        let negotiator = Negotiator::new(
            NegotiatorConfig {
                session_id: (self.random.u64() >> 1).max(1),
                cname: spec.sid.to_string(),
                codecs: codecs
                    .clone()
                    .filter(|codec| !is(codec, &spec.client.disabled_codecs))
                    .collect(),
                never_received: codecs
                    .filter(|codec| is(codec, &spec.client.disabled_publish_codecs))
                    .collect(),
                // The client waits for our first flight otherwise.
                answer_role: DtlsRole::Server,
                max_message_size: MAX_MESSAGE_SIZE as u64,
                line_reuse: line_reuse(&spec.client.sdk),
                retire_stopped: never_sends_again(&spec.client.sdk),
                ..NegotiatorConfig::default()
            },
            local,
        );
        let ssrc = self.random.u32().max(1);
        let key = self.connections.insert(Connection {
            participant: id,
            target,
            ice_lite: spec.ice_lite,
            transport,
            negotiator,
            receiver: Receiver::new(self.clock, ssrc, spec.sid.clone()),
            queue: SendQueue::new(SendQueueConfig::default(), self.clock),
            allowance: Allowance::default(),
            by_ssrc: FxHashMap::default(),
            channels: BTreeMap::new(),
            tuples: Vec::new(),
            connected: false,
            described: false,
            early_candidates: Vec::new(),
            trickled: false,
            offer_id: u32::from(self.random.u16() & 0xFF),
            asked: Asked::default(),
            wants_negotiation: false,
            touched: false,
            silent: false,
            reports: Vec::new(),
            armed: Armed::default(),
        });
        self.by_ufrag.insert(credentials.ufrag, key);
        let participant = self.participants.get_mut(&id)?;
        match target {
            Target::Publisher => participant.publisher = Some(key),
            Target::Subscriber => participant.subscriber = Some(key),
        }
        self.touch(key);
        Some(key)
    }

    /// The channels that the server opens on a primary subscriber connection.
    pub(super) fn open_channels(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.negotiator.add_data();
        connection.wants_negotiation = true;
        let channels = [Channel::Reliable, Channel::Lossy, Channel::DataTrack];
        for channel in channels {
            if let Err(error) = connection.transport.open_channel(now, channel.spec()) {
                log::warn!("cannot open a data channel: {error}");
            }
        }
        self.touch(key);
    }

    pub(super) fn connection_due(&mut self, now: Instant, key: usize, at: Instant) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.armed.fired(at) {
            return;
        }
        if connection
            .transport
            .poll_timeout()
            .is_some_and(|due| due <= now)
        {
            connection.transport.handle_timeout(now);
            if let Some(rtt) = connection.transport.round_trip() {
                connection.receiver.set_rtt(rtt);
            }
        }
        self.touch(key);
    }

    /// The end of a turn for one connection: negotiate, report, send, arm.
    pub(super) fn settle(&mut self, now: Instant, key: usize) {
        self.take_transport_events(now, key);
        self.negotiate(now, key);
        self.remind(now, key);
        self.allowance_due(now, key);
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(tuple) = connection.destination() {
            let Connection {
                transport,
                receiver,
                queue,
                allowance,
                reports,
                ..
            } = connection;
            let released = self
                .outbox
                .write_media(now, tuple, transport, receiver, queue, reports);
            allowance.sent(now, released.bytes);
        }
        connection.reports.clear();
        while let Some(transmit) = connection.transport.poll_transmit(now) {
            self.outbox.push(transmit.tuple, &transmit.contents);
            // The answer to a check of ours names nobody: it is found by its path, validated or not.
            if let Entry::Vacant(entry) = self.by_tuple.entry(transmit.tuple) {
                entry.insert(key);
                connection.tuples.push(transmit.tuple);
            }
        }
        self.arm(now, key);
    }

    fn arm(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let Some(deadline) = connection.deadline(now) else {
            return;
        };
        let deadline = deadline.max(now + SHORTEST_TIMER);
        self.timers
            .arm_owned(&mut connection.armed, deadline, Timer::Connection(key));
    }

    pub(super) fn take_transport_events(&mut self, now: Instant, key: usize) {
        while let Some(connection) = self.connections.get_mut(key)
            && let Some(event) = connection.transport.poll_event()
        {
            match event {
                TransportEvent::StateChanged(state) => self.state_changed(now, key, state),
                TransportEvent::TupleAdded(tuple) => self.claim(now, key, tuple),
                TransportEvent::TupleRemoved(tuple) => {
                    connection.tuples.retain(|known| *known != tuple);
                    if self.by_tuple.get(&tuple) == Some(&key) {
                        self.by_tuple.remove(&tuple);
                    }
                }
                TransportEvent::Selected(_) => {}
                TransportEvent::ChannelOpen { channel, spec } => {
                    self.channel_open(now, key, channel, &spec.label);
                }
                TransportEvent::ChannelMessage { channel, data, .. } => {
                    self.channel_message(now, key, channel, &data);
                }
                TransportEvent::ChannelClosed { channel } => self.channel_closed(now, key, channel),
                TransportEvent::Closed { reason } => {
                    let (participant, target) = (connection.participant, connection.target);
                    let way = connection.transport.way();
                    self.connection_down(key);
                    self.events.push_back(Event::Connection {
                        participant,
                        target,
                        state: ConnectionState::Closed,
                        detail: reason,
                        way,
                    });
                }
            }
        }
    }

    /// Something of a connection's peer came on that path: what names nobody and comes by it is the connection's
    /// from now on, unless it is the path of another. Who has one password can send a check in
    /// the name of any address, and would silence whoever is there.
    pub(super) fn claim(&mut self, now: Instant, key: usize, tuple: FiveTuple) {
        if let Some(owner) = self.by_tuple.get(&tuple) {
            let holds = |it: &Connection| it.transport.holds(now, &tuple);
            if *owner == key || self.connections.get(*owner).is_some_and(holds) {
                return;
            }
        }
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        if !connection.tuples.contains(&tuple) {
            connection.tuples.push(tuple);
        }
        self.by_tuple.insert(tuple, key);
    }

    fn state_changed(&mut self, now: Instant, key: usize, state: TransportState) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let (participant, target) = (connection.participant, connection.target);
        let Some(state) = convert::connection_state(state) else {
            return;
        };
        let detail = match state {
            ConnectionState::Connected => String::new(),
            _ => connection.transport.diagnosis(),
        };
        let way = connection.transport.way();
        self.events.push_back(Event::Connection {
            participant,
            target,
            state,
            detail,
            way,
        });
        match state {
            ConnectionState::Connected => {
                self.watch_liveness(now, participant);
                self.connection_up(now, key);
            }
            ConnectionState::Failed => self.connection_down(key),
            // It may come back, and what is sent meanwhile may arrive.
            _ => {}
        }
    }
}

/// With two connections, the clients built on LiveKit's Rust core remember for good which stream they
/// saw on which line: a track that is subscribed to again on its old line is never announced.
fn line_reuse(sdk: &str) -> LineReuse {
    match sdk {
        "rust" | "python" | "node" | "cpp" | "unity" => LineReuse::Recycle,
        _ => LineReuse::Inactive,
    }
}

/// Clients on libwebrtc and in browsers add a section for each publication and leave the old one unused;
/// others, as those on pion, send in it again.
fn never_sends_again(sdk: &str) -> bool {
    matches!(sdk, "js" | "rust" | "python" | "node" | "cpp" | "unity")
}
