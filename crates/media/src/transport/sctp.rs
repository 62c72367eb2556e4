//! The SCTP association under the data channels (RFC 8831), behind a small trait so that the
//! implementation can change: its cost grows with its queue, so the queues are ours ([`super::channel`]).

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event,
    Payload, PayloadProtocolIdentifier as ProtoPpid, ReliabilityType, ServerConfig, StreamEvent,
    TransportConfig,
};

use super::{ChannelSpec, DtlsRole, Reliability};

/// Bytes of a packet's user data: full packets fit IPv6's 1,280 with all headers. (The implementation does
/// not count padding when it bundles: packets of many tiny chunks can be a tenth larger.)
const MAX_PAYLOAD: u32 = 1_140;
/// Streams a peer may use; browsers number channels below it.
const MAX_STREAMS: u16 = 1_024;
/// Bytes a peer may have in reassembly at least; several of the largest messages.
const MIN_RECEIVE_BUFFER: u32 = 1 << 20;

/// Payload protocol identifiers (RFC 8831 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ppid {
    Dcep,
    Text,
    Binary,
    TextEmpty,
    BinaryEmpty,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum SctpEvent {
    Connected,
    Message {
        stream: u16,
        ppid: Ppid,
        data: Bytes,
    },
    /// Either side reset the stream.
    StreamClosed(u16),
    /// The end of the association.
    Lost(String),
}

/// What data channels need of an association.
pub(super) trait MessageTransport {
    fn connected(&self) -> bool;
    /// Hands over one message; it counts as in flight until it is acknowledged or given up.
    fn send(
        &mut self,
        stream: u16,
        ppid: Ppid,
        data: &Bytes,
        spec: &ChannelSpec,
    ) -> Result<(), String>;
    /// Bytes of that stream handed over and not yet acknowledged.
    fn in_flight(&mut self, stream: u16) -> usize;
    fn close_stream(&mut self, stream: u16);
}

/// `sctp-proto` as a [`MessageTransport`].
pub(super) struct Sctp {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Association)>,
    max_send: u32,
    connected: bool,
    events: VecDeque<SctpEvent>,
    lost: bool,
}

/// There is one path and it is not SCTP's: any address will do.
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5_000);

impl Sctp {
    /// A DTLS client opens the association, a server waits for it; peers that open it from both sides
    /// are fine with either.
    pub(super) fn new(
        role: DtlsRole,
        max_send: u32,
        max_receive: u32,
    ) -> Result<Box<Self>, String> {
        let transport = Arc::new(
            TransportConfig::default()
                .with_max_send_message_size(max_send)
                .with_max_receive_message_size(max_receive)
                .with_max_receive_buffer_size(MIN_RECEIVE_BUFFER.max(max_receive.saturating_mul(4)))
                .with_max_num_inbound_streams(MAX_STREAMS)
                .with_max_num_outbound_streams(MAX_STREAMS)
                .with_rto_initial_ms(500)
                // Well above the peer's delayed acknowledgement (200 ms): a spurious time-out gives up a
                // lossy message that had arrived.
                .with_rto_min_ms(400)
                // For as long the first data waits where a broken path is well again. libwebrtc's cap, too.
                .with_rto_max_ms(3_000)
                // Whether the peer is there is for ICE to say.
                .with_max_init_retransmits(None),
        );
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_PAYLOAD);
        let mut server = ServerConfig::new();
        server.transport = Arc::clone(&transport);
        let mut endpoint = Endpoint::new(Arc::new(config), Some(Arc::new(server)));
        let association = match role {
            DtlsRole::Client => {
                let mut client = ClientConfig::new();
                client.transport = transport;
                Some(
                    endpoint
                        .connect(client, PEER)
                        .map_err(|error| error.to_string())?,
                )
            }
            DtlsRole::Server => None,
        };
        Ok(Box::new(Self {
            endpoint,
            association,
            max_send,
            connected: false,
            events: VecDeque::new(),
            lost: false,
        }))
    }

    pub(super) fn handle_packet(&mut self, now: Instant, packet: Bytes) {
        match self.endpoint.handle(now, PEER, None, None, packet) {
            Some((handle, DatagramEvent::NewAssociation(association))) => match &self.association {
                // A second association on one DTLS connection: the peer's stack started anew, which it may
                // only do with a new peer connection.
                Some(_) => self.lose("the peer restarted its SCTP association"),
                None => self.association = Some((handle, association)),
            },
            Some((handle, DatagramEvent::AssociationEvent(event))) => {
                if let Some((ours, association)) = &mut self.association
                    && *ours == handle
                {
                    association.handle_event(event);
                }
            }
            None => {}
        }
        self.collect();
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, association)) = &mut self.association {
            association.handle_timeout(now);
        }
        self.collect();
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association
            .as_ref()
            .and_then(|(_, association)| association.poll_timeout())
    }

    pub(super) fn poll_event(&mut self) -> Option<SctpEvent> {
        self.events.pop_front()
    }

    /// Packets to send now, a batch at a time.
    pub(super) fn poll_packets(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        loop {
            let transmit = match self.endpoint.poll_transmit() {
                Some(transmit) => transmit,
                None => self.association.as_mut()?.1.poll_transmit(now)?,
            };
            if let Payload::RawEncode(packets) = transmit.payload {
                return Some(packets);
            }
        }
    }

    fn lose(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.lost, true) {
            self.events
                .push_back(SctpEvent::Lost(format!("SCTP: {reason}")));
        }
    }

    fn collect(&mut self) {
        let Some((handle, association)) = &mut self.association else {
            return;
        };
        let mut lost = None;
        while let Some(event) = association.poll() {
            match event {
                Event::Connected => {
                    self.connected = true;
                    association.set_max_send_message_size(self.max_send);
                    self.events.push_back(SctpEvent::Connected);
                }
                Event::HandshakeFailed { reason } | Event::AssociationLost { reason } => {
                    lost = Some(reason.to_string());
                }
                Event::Stream(StreamEvent::Readable { id }) => {
                    read(association, id, &mut self.events)
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    self.events.push_back(SctpEvent::StreamClosed(id));
                }
                _ => {}
            }
        }
        // Streams are taken up by their first message.
        while association.accept_stream().is_some() {}
        while let Some(event) = association.poll_endpoint_event() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                association.handle_event(event);
            }
        }
        if let Some(reason) = lost {
            self.connected = false;
            self.lose(&reason);
        }
    }
}

fn read(association: &mut Association, id: u16, events: &mut VecDeque<SctpEvent>) {
    let Ok(mut stream) = association.stream(id) else {
        return;
    };
    while let Ok(Some(message)) = stream.read_sctp() {
        let ppid = match message.ppi {
            ProtoPpid::Dcep => Ppid::Dcep,
            ProtoPpid::String => Ppid::Text,
            ProtoPpid::Binary => Ppid::Binary,
            ProtoPpid::StringEmpty => Ppid::TextEmpty,
            ProtoPpid::BinaryEmpty => Ppid::BinaryEmpty,
            ProtoPpid::Unknown => continue,
        };
        // Not views: a small message would hold on to its whole datagram.
        let mut data = vec![0; message.len()];
        if message.read(&mut data).is_err() {
            continue;
        }
        let data = Bytes::from(data);
        events.push_back(SctpEvent::Message {
            stream: id,
            ppid,
            data,
        });
    }
}

impl MessageTransport for Sctp {
    fn connected(&self) -> bool {
        self.connected
    }

    fn send(
        &mut self,
        stream: u16,
        ppid: Ppid,
        data: &Bytes,
        spec: &ChannelSpec,
    ) -> Result<(), String> {
        let Some((_, association)) = &mut self.association else {
            return Err("no association".into());
        };
        let ppid = match ppid {
            Ppid::Dcep => ProtoPpid::Dcep,
            Ppid::Text => ProtoPpid::String,
            Ppid::Binary => ProtoPpid::Binary,
            Ppid::TextEmpty => ProtoPpid::StringEmpty,
            Ppid::BinaryEmpty => ProtoPpid::BinaryEmpty,
        };
        let mut stream = match association.stream(stream) {
            Ok(stream) => stream,
            Err(_) => association
                .open_stream(stream, ppid)
                .map_err(|error| error.to_string())?,
        };
        // Establishment messages are reliable and ordered whatever the channel is (RFC 8832 §6).
        let (kind, value) = match spec.reliability {
            _ if ppid == ProtoPpid::Dcep => (ReliabilityType::Reliable, 0),
            Reliability::Reliable => (ReliabilityType::Reliable, 0),
            Reliability::MaxRetransmits(count) => (ReliabilityType::Rexmit, count),
            Reliability::MaxLifetime(ms) => (ReliabilityType::Timed, ms),
        };
        stream
            .set_reliability_params(!spec.ordered, kind, value)
            .and_then(|()| stream.write_sctp(data, ppid))
            .map(|_| ())
            .map_err(|error| error.to_string())
    }

    fn in_flight(&mut self, stream: u16) -> usize {
        let Some((_, association)) = &mut self.association else {
            return 0;
        };
        association
            .stream(stream)
            .and_then(|stream| stream.buffered_amount())
            .unwrap_or(0)
    }

    fn close_stream(&mut self, stream: u16) {
        if let Some((_, association)) = &mut self.association
            && let Ok(mut stream) = association.stream(stream)
        {
            // Fails only when the association is gone, and the stream with it.
            let _ = stream.close();
        }
    }
}
