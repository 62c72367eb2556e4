//! A client on str0m, an implementation of WebRTC other than ours, that behaves as LiveKit's SDKs do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use roomful_media::api::{ParticipantId, SdpKind, Target, TrackId};
use roomful_media::data::Channel;
use str0m::change::{SdpAnswer, SdpOffer, SdpPendingOffer};
use str0m::channel::{ChannelConfig, ChannelId, Reliability};
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Direction, KeyframeRequestKind, MediaKind, Mid, Simulcast, SimulcastLayer};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc};

use crate::clip::{self, Clip, Format};
use crate::estimator::Estimator;
use crate::link::Rng;
use crate::media::{self, Heard, Layer, Vp8Encoder};
use crate::world::Join;

/// A datagram between a connection and the server.
#[derive(Clone, Debug)]
pub struct Datagram {
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub contents: Vec<u8>,
}

/// A description for the server.
#[derive(Clone, Debug)]
pub struct Signal {
    pub target: Target,
    pub kind: SdpKind,
    pub sdp: String,
    pub id: u32,
}

/// A message on a data channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub at: Instant,
    pub channel: Channel,
    pub data: Vec<u8>,
}

/// A change to offer; those asked while an offer is out go into the next.
enum Change {
    Channels,
    Receive(MediaKind),
    /// The publication of that index.
    Send(usize),
    Direction(Mid, Direction),
    RestartIce,
    /// The server asked for an offer only.
    Nothing,
}

/// One peer connection.
struct Connection {
    target: Target,
    rtc: Rtc,
    address: SocketAddr,
    timeout: Instant,
    changes: Vec<Change>,
    pending: Option<SdpPendingOffer>,
    offer_id: u32,
    channels: Vec<(Channel, ChannelId)>,
    connected: bool,
    /// Sections that only receive.
    receivers: Vec<Mid>,
    /// Track sid of each section the server sends in.
    sids: BTreeMap<String, String>,
    estimator: Estimator,
}

impl Connection {
    fn new(target: Target, address: SocketAddr, formats: &[Format], now: Instant) -> Self {
        let mut rtc = clip::config(formats).set_rtp_mode(true).build(now);
        let host = Candidate::host(address, "udp").expect("a host candidate");
        rtc.add_local_candidate(host);
        Self {
            target,
            rtc,
            address,
            timeout: now,
            changes: Vec::new(),
            pending: None,
            offer_id: 0,
            channels: Vec::new(),
            connected: false,
            receivers: Vec::new(),
            sids: BTreeMap::new(),
            estimator: Estimator::default(),
        }
    }

    /// What to send in a section: the format that the server likes best, of this codec.
    fn format(&self, mid: Mid, codec: Codec) -> Option<PayloadParams> {
        let mut liked = self.rtc.media(mid)?.remote_pts().iter();
        let config = self.rtc.codec_config();
        liked.find_map(|pt| {
            let known = config.find(|p| p.pt() == *pt && p.spec().codec == codec);
            known.copied()
        })
    }

    /// One offer with all changes, unless one is out.
    fn offer(&mut self, publications: &mut [Publication]) -> Option<Signal> {
        if self.pending.is_some() || self.changes.is_empty() {
            return None;
        }
        let mut api = self.rtc.sdp_api();
        // A browser's transceiver wants to receive whatever the last answer said; str0m's remembers.
        self.receivers
            .iter()
            .for_each(|mid| api.set_direction(*mid, Direction::RecvOnly));
        for change in self.changes.drain(..) {
            match change {
                Change::Channels => {
                    for channel in [Channel::Reliable, Channel::Lossy, Channel::DataTrack] {
                        let id = api.add_channel_with_config(channel_config(channel));
                        self.channels.push((channel, id));
                    }
                }
                Change::Receive(kind) => {
                    let mid = api.add_media(kind, Direction::RecvOnly, None, None, None);
                    self.receivers.push(mid);
                }
                Change::Nothing => {}
                Change::Send(index) => {
                    let publication = &mut publications[index];
                    let (kind, simulcast) = publication.source.section();
                    let cid = Some(publication.cid.clone());
                    let mid = api.add_media(
                        kind,
                        Direction::SendOnly,
                        Some("stream".into()),
                        cid,
                        simulcast,
                    );
                    publication.mid = Some(mid);
                }
                Change::Direction(mid, direction) => api.set_direction(mid, direction),
                Change::RestartIce => drop(api.ice_restart(true)),
            }
        }
        if !api.has_changes() {
            // str0m has no offer without a change.
            api.ice_restart(true);
        }
        let (offer, pending) = api.apply()?;
        self.pending = Some(pending);
        self.offer_id += 1;
        Some(Signal {
            target: self.target,
            kind: SdpKind::Offer,
            sdp: offer.to_sdp_string(),
            id: self.offer_id,
        })
    }
}

fn channel_config(channel: Channel) -> ChannelConfig {
    let reliable = channel == Channel::Reliable;
    ChannelConfig {
        label: channel.label().into(),
        ordered: reliable,
        reliability: if reliable {
            Reliability::Reliable
        } else {
            Reliability::MaxRetransmits { retransmits: 0 }
        },
        ..ChannelConfig::default()
    }
}

enum Source {
    Audio { next: u32, level: i8 },
    Video(Vec<Vp8Encoder>),
    Clip(Clip),
}

impl Source {
    fn section(&self) -> (MediaKind, Option<Simulcast>) {
        let encoders = match self {
            Self::Audio { .. } => return (MediaKind::Audio, None),
            Self::Clip(clip) => return (clip.kind(), None),
            Self::Video(encoders) => encoders,
        };
        let rids: Vec<_> = encoders.iter().filter_map(|e| e.layer.rid).collect();
        let mut simulcast = Simulcast::new();
        rids.iter()
            .for_each(|rid| simulcast.add_send_layer(SimulcastLayer::new(rid)));
        (MediaKind::Video, (!rids.is_empty()).then_some(simulcast))
    }

    fn interval(&self) -> Duration {
        match self {
            Self::Audio { .. } => media::OPUS_INTERVAL,
            Self::Video(_) => media::VIDEO_INTERVAL,
            Self::Clip(_) => clip::INTERVAL,
        }
    }

    fn codec(&self) -> Codec {
        match self {
            Self::Audio { .. } => Codec::Opus,
            Self::Video(_) => Codec::Vp8,
            Self::Clip(clip) => clip.codec,
        }
    }
}

/// A track this peer sends.
pub struct Publication {
    pub track: TrackId,
    /// msid track id.
    pub cid: String,
    mid: Option<Mid>,
    source: Source,
    /// Of what was sent last.
    pub payload_type: Option<u8>,
    /// Next frame.
    due: Instant,
    sequences: [u64; 3],
    timestamp: u32,
    /// Nothing is sent, the section stays.
    pub paused: bool,
    /// Layers the encoder leaves out, lowest first.
    pub disabled_layers: [bool; 3],
    /// Key frames asked of each layer.
    pub key_requests: [u32; 3],
}

pub struct Peer {
    pub name: String,
    pub id: ParticipantId,
    publisher: Connection,
    subscriber: Option<Connection>,
    pub publications: Vec<Publication>,
    /// Packets of each track, by its sid.
    pub heard: BTreeMap<String, Vec<Heard>>,
    pub messages: Vec<Message>,
    /// Descriptions for the server, in order.
    pub signals: Vec<Signal>,
    pub datagrams: Vec<Datagram>,
    /// What happened, for the world's log.
    pub notes: Vec<String>,
    /// Bytes and sections of the server's last description.
    pub description_size: (usize, usize),
    rng: Rng,
}

impl Peer {
    pub fn new(name: &str, id: ParticipantId, join: &Join, now: Instant, seed: u64) -> Self {
        let address = |n: u8| SocketAddr::from(([10, 0, id.0 as u8, n], 5_000));
        let connection = |target, n| Connection::new(target, address(n), join.formats, now);
        let mut peer = Self {
            name: name.into(),
            id,
            publisher: connection(Target::Publisher, 1),
            subscriber: (!join.single).then(|| connection(Target::Subscriber, 2)),
            publications: Vec::new(),
            heard: BTreeMap::new(),
            messages: Vec::new(),
            signals: Vec::new(),
            datagrams: Vec::new(),
            notes: Vec::new(),
            description_size: (0, 0),
            rng: Rng::new(seed),
        };
        peer.publisher.changes.push(Change::Channels);
        if join.single {
            peer.add_receivers(3, 3);
        }
        peer.negotiate(now);
        peer
    }

    /// Adds sections to receive in, as the server asked (single mode).
    pub fn add_receivers(&mut self, audios: u32, videos: u32) {
        for (kind, count) in [(MediaKind::Audio, audios), (MediaKind::Video, videos)] {
            (0..count).for_each(|_| self.publisher.changes.push(Change::Receive(kind)));
        }
    }

    /// Offers again, as the server asked.
    pub fn offer_again(&mut self, now: Instant) {
        self.publisher.changes.push(Change::Nothing);
        self.negotiate(now);
    }

    /// A data channel can be written to.
    pub fn is_open(&mut self, channel: Channel) -> bool {
        let known = self
            .publisher
            .channels
            .iter()
            .find(|(c, _)| *c == channel)
            .map(|(_, id)| *id);
        known.is_some_and(|id| self.publisher.rtc.channel(id).is_some())
    }

    pub fn publish_audio(&mut self, now: Instant, track: TrackId, cid: &str, level: i8) {
        self.publish(now, track, cid, Source::Audio { next: 0, level });
    }

    pub fn publish_video(&mut self, now: Instant, track: TrackId, cid: &str, layers: &[Layer]) {
        let encoders = layers
            .iter()
            .map(|&layer| Vp8Encoder::new(layer, self.rng.word() as u16))
            .collect();
        self.publish(now, track, cid, Source::Video(encoders));
    }

    pub fn publish_clip(&mut self, now: Instant, track: TrackId, cid: &str, clip: Clip) {
        self.publish(now, track, cid, Source::Clip(clip));
    }

    fn publish(&mut self, now: Instant, track: TrackId, cid: &str, source: Source) {
        // Streams start anywhere, also close to the roll-over of their numbers.
        let sequences = [0; 3].map(|_| 60_000 + self.rng.below(5_000) as u64);
        self.publications.push(Publication {
            track,
            cid: cid.into(),
            mid: None,
            source,
            payload_type: None,
            due: now,
            sequences,
            timestamp: self.rng.word() as u32,
            paused: false,
            disabled_layers: [false; 3],
            key_requests: [0; 3],
        });
        self.publisher
            .changes
            .push(Change::Send(self.publications.len() - 1));
        self.negotiate(now);
    }

    /// Stops a track as removing its sender does: the section stays, inactive.
    pub fn unpublish(&mut self, now: Instant, index: usize) {
        let publication = &mut self.publications[index];
        publication.paused = true;
        if let Some(mid) = publication.mid {
            self.publisher
                .changes
                .push(Change::Direction(mid, Direction::Inactive));
        }
        self.negotiate(now);
    }

    /// Publishes an unpublished track's source again, in the same section.
    pub fn republish(&mut self, now: Instant, index: usize, track: TrackId) {
        let publication = &mut self.publications[index];
        (publication.track, publication.paused, publication.due) = (track, false, now);
        if let Source::Video(encoders) = &mut publication.source {
            encoders.iter_mut().for_each(Vp8Encoder::request_key);
        }
        if let Some(mid) = publication.mid {
            self.publisher
                .changes
                .push(Change::Direction(mid, Direction::SendOnly));
        }
        self.negotiate(now);
    }

    pub fn restart_ice(&mut self, now: Instant) {
        self.publisher.changes.push(Change::RestartIce);
        self.negotiate(now);
    }

    /// Offers what is to be offered, unless an offer is out.
    pub fn negotiate(&mut self, now: Instant) {
        let offer = self.publisher.offer(&mut self.publications);
        self.signals.extend(offer);
        self.drain(now, Target::Publisher);
    }

    /// Takes the server's description; an offer is answered at once.
    pub fn handle_description(&mut self, now: Instant, signal: &Signal, mids: &[(String, String)]) {
        self.description_size = (
            signal.sdp.len(),
            signal
                .sdp
                .lines()
                .filter(|line| line.starts_with("m="))
                .count(),
        );
        let Some(connection) = self.connection(signal.target) else {
            panic!("a description for a connection this peer has not");
        };
        connection.sids = mids.iter().cloned().collect();
        match signal.kind {
            SdpKind::Offer => {
                let offer =
                    SdpOffer::from_sdp_string(&signal.sdp).expect("an offer str0m can read");
                let answer = connection
                    .rtc
                    .sdp_api()
                    .accept_offer(offer)
                    .expect("an offer to accept");
                self.signals.push(Signal {
                    target: signal.target,
                    kind: SdpKind::Answer,
                    sdp: answer.to_sdp_string(),
                    id: signal.id,
                });
            }
            SdpKind::Answer => {
                assert_eq!(
                    signal.id, connection.offer_id,
                    "an answer has its offer's id"
                );
                let pending = connection
                    .pending
                    .take()
                    .expect("an answer to an offer that is out");
                let answer =
                    SdpAnswer::from_sdp_string(&signal.sdp).expect("an answer str0m can read");
                connection
                    .rtc
                    .sdp_api()
                    .accept_answer(pending, answer)
                    .expect("an answer to accept");
            }
        }
        self.drain(now, signal.target);
        self.negotiate(now);
    }

    pub fn handle_candidate(&mut self, now: Instant, target: Target, line: &str) {
        if line.is_empty() {
            return;
        }
        let candidate = Candidate::from_sdp_string(line).expect("a candidate str0m can read");
        if let Some(connection) = self.connection(target) {
            connection.rtc.add_remote_candidate(candidate);
        }
        self.drain(now, target);
    }

    /// Sends on a data channel of the publisher connection; whether it was taken.
    pub fn send(&mut self, now: Instant, channel: Channel, data: &[u8]) -> bool {
        let connection = &mut self.publisher;
        let Some(&(_, id)) = connection.channels.iter().find(|(c, _)| *c == channel) else {
            return false;
        };
        let taken = connection
            .rtc
            .channel(id)
            .is_some_and(|mut c| c.write(true, data).expect("a channel to write to"));
        self.drain(now, Target::Publisher);
        taken
    }

    /// Asks for a key frame of a track it hears.
    pub fn request_key_frame(&mut self, now: Instant, sid: &str) {
        let Some(ssrc) = self
            .heard
            .get(sid)
            .and_then(|heard| heard.last())
            .map(|h| h.ssrc)
        else {
            return;
        };
        for target in [Target::Publisher, Target::Subscriber] {
            if let Some(connection) = self.connection(target) {
                if let Some(stream) = connection.rtc.direct_api().stream_rx(&ssrc.into()) {
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
                self.drain(now, target);
            }
        }
    }

    /// Each of its connections is up.
    pub fn is_connected(&self) -> bool {
        self.publisher.connected && self.subscriber.as_ref().is_none_or(|s| s.connected)
    }

    pub fn has_address(&self, address: SocketAddr) -> bool {
        self.target_of(address).is_some()
    }

    pub fn address(&self, target: Target) -> Option<SocketAddr> {
        match target {
            Target::Publisher => Some(self.publisher.address),
            Target::Subscriber => self.subscriber.as_ref().map(|s| s.address),
        }
    }

    fn target_of(&self, address: SocketAddr) -> Option<Target> {
        [Target::Publisher, Target::Subscriber]
            .into_iter()
            .find(|&target| self.address(target) == Some(address))
    }

    fn connection(&mut self, target: Target) -> Option<&mut Connection> {
        match target {
            Target::Publisher => Some(&mut self.publisher),
            Target::Subscriber => self.subscriber.as_mut(),
        }
    }

    pub fn handle_datagram(&mut self, now: Instant, datagram: &Datagram) {
        let Some(target) = self.target_of(datagram.destination) else {
            return;
        };
        let Some(connection) = self.connection(target) else {
            return;
        };
        let Datagram {
            source,
            destination,
            contents,
        } = datagram;
        if let Ok(receive) = Receive::new(Protocol::Udp, *source, *destination, contents) {
            let input = Input::Receive(now, receive);
            if connection.rtc.accepts(&input) {
                connection
                    .rtc
                    .handle_input(input)
                    .expect("a datagram to take");
            }
        }
        self.drain(now, target);
    }

    pub fn poll_timeout(&self) -> Instant {
        let sending = self
            .publications
            .iter()
            .filter(|p| self.is_sending(p))
            .map(|p| p.due);
        let connections = [Some(&self.publisher), self.subscriber.as_ref()];
        let timeouts = connections.into_iter().flatten().map(|c| c.timeout);
        sending
            .chain(timeouts)
            .min()
            .unwrap_or(self.publisher.timeout)
    }

    fn is_sending(&self, publication: &Publication) -> bool {
        self.publisher.connected && publication.mid.is_some() && !publication.paused
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        for target in [Target::Publisher, Target::Subscriber] {
            if let Some(connection) = self.connection(target)
                && connection.timeout <= now
            {
                connection
                    .rtc
                    .handle_input(Input::Timeout(now))
                    .expect("a timeout to take");
                self.drain(now, target);
            }
        }
        for index in 0..self.publications.len() {
            let publication = &self.publications[index];
            if self.is_sending(publication) && publication.due <= now {
                self.send_frame(now, index);
            }
        }
    }

    fn send_frame(&mut self, now: Instant, index: usize) {
        let publication = &mut self.publications[index];
        let Some(mid) = publication.mid else { return };
        let interval = publication.source.interval();
        // After a pause the clock goes on from now.
        let missed =
            now.saturating_duration_since(publication.due).as_micros() / interval.as_micros();
        publication.due += interval * (missed as u32 + 1);
        let Some(format) = self.publisher.format(mid, publication.source.codec()) else {
            return;
        };
        let pt = format.pt();
        publication.payload_type = Some(*pt);
        let mut packets = Vec::new();
        match &mut publication.source {
            Source::Audio { next, level } => {
                publication.timestamp = publication
                    .timestamp
                    .wrapping_add(960 * (missed as u32 + 1));
                let ext = ExtensionValues {
                    audio_level: Some(*level),
                    voice_activity: Some(*level > -60),
                    ..ExtensionValues::default()
                };
                packets.push((0, None, true, ext, media::opus(*next)));
                *next += 1;
            }
            Source::Video(encoders) => {
                publication.timestamp = publication
                    .timestamp
                    .wrapping_add(2_970 * (missed as u32 + 1));
                for (layer, encoder) in encoders.iter_mut().enumerate() {
                    if publication.disabled_layers[layer] {
                        continue;
                    }
                    let frame = encoder.encode();
                    let last = frame.payloads.len() - 1;
                    for (n, payload) in frame.payloads.into_iter().enumerate() {
                        let ext = ExtensionValues::default();
                        packets.push((layer, encoder.layer.rid, n == last, ext, payload));
                    }
                }
            }
            Source::Clip(clip) => {
                publication.timestamp = publication
                    .timestamp
                    .wrapping_add(clip.step() * (missed as u32 + 1));
                let payloads = clip.frame(&format);
                let last = payloads.len() - 1;
                for (n, payload) in payloads.into_iter().enumerate() {
                    packets.push((0, None, n == last, ExtensionValues::default(), payload));
                }
            }
        }
        let timestamp = publication.timestamp;
        let video = format.spec().codec.is_video();
        for (layer, rid, marker, ext, payload) in packets {
            let sequence = self.publications[index].sequences[layer];
            let mut api = self.publisher.rtc.direct_api();
            let Some(stream) = api.stream_tx_by_mid(mid, rid.map(Into::into)) else {
                return;
            };
            let write = RtpWrite::new(pt, sequence.into(), timestamp, now, payload)
                .marker(marker)
                .nackable(video)
                .ext_vals(ext);
            stream.write_rtp(write);
            self.publications[index].sequences[layer] += 1;
            self.drain(now, Target::Publisher);
        }
    }

    /// Takes all that a connection has to say, as str0m wants after each change.
    fn drain(&mut self, now: Instant, target: Target) {
        let mut events = Vec::new();
        let Some(connection) = (match target {
            Target::Publisher => Some(&mut self.publisher),
            Target::Subscriber => self.subscriber.as_mut(),
        }) else {
            return;
        };
        loop {
            let output = match connection.rtc.poll_output() {
                Ok(output) => output,
                // What str0m says of a connection that the server closed.
                Err(error) => {
                    self.notes.push(format!("{target:?} ended: {error}"));
                    connection.rtc.disconnect();
                    connection.connected = false;
                    continue;
                }
            };
            match output {
                Output::Timeout(at) => {
                    // Never at once again: time must move.
                    connection.timeout = at.max(now + Duration::from_millis(1));
                    break;
                }
                Output::Transmit(t) => self.datagrams.push(Datagram {
                    source: t.source,
                    destination: t.destination,
                    contents: t.contents.to_vec(),
                }),
                Output::Event(event) => events.push(event),
            }
        }
        for event in events {
            self.handle_event(now, target, event);
        }
    }

    fn handle_event(&mut self, now: Instant, target: Target, event: Event) {
        match event {
            Event::Connected => {
                self.notes.push(format!("{target:?} connected"));
                if let Some(connection) = self.connection(target) {
                    connection.connected = true;
                }
            }
            Event::IceConnectionStateChange(state) => {
                self.notes.push(format!("{target:?} ICE {state:?}"));
            }
            Event::ChannelOpen(id, label) => {
                self.notes.push(format!("{target:?} channel {label} open"));
                if let Some(connection) = self.connection(target)
                    && !connection.channels.iter().any(|(_, known)| *known == id)
                {
                    connection.channels.push((Channel::from_label(&label), id));
                }
            }
            Event::ChannelData(data) => {
                let channels = self
                    .connection(target)
                    .map(|c| c.channels.as_slice())
                    .unwrap_or_default();
                let known = channels.iter().find(|(_, id)| *id == data.id);
                let channel = known.map_or(Channel::Unlabelled, |(channel, _)| *channel);
                self.notes
                    .push(format!("{channel:?} message of {} bytes", data.data.len()));
                self.messages.push(Message {
                    at: now,
                    channel,
                    data: data.data,
                });
            }
            Event::RtpPacket(packet) => self.hear(now, target, &packet),
            Event::KeyframeRequest(request) => {
                let asked = self
                    .publications
                    .iter_mut()
                    .find(|p| p.mid == Some(request.mid));
                let Some(publication) = asked else { return };
                let rid = request.rid.map(|rid| rid.to_string());
                match &mut publication.source {
                    Source::Audio { .. } => {}
                    Source::Clip(clip) => {
                        clip.request_key();
                        publication.key_requests[0] += 1;
                    }
                    Source::Video(encoders) => {
                        for (layer, encoder) in encoders.iter_mut().enumerate() {
                            if encoder.layer.rid == rid.as_deref() {
                                encoder.request_key();
                                publication.key_requests[layer] += 1;
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }

    fn hear(&mut self, now: Instant, target: Target, packet: &RtpPacket) {
        let Some(connection) = self.connection(target) else {
            return;
        };
        let ssrc = packet.header.ssrc;
        let bytes = packet.payload.len() + 40;
        let estimate = connection
            .estimator
            .receive(now, *ssrc, *packet.seq_no, bytes);
        if let Some(bits) = estimate
            && let Some(stream) = connection.rtc.direct_api().stream_rx(&ssrc)
        {
            stream.request_remb(bits.into());
        }
        let mid = connection
            .rtc
            .direct_api()
            .stream_rx(&ssrc)
            .map(|stream| stream.mid().to_string());
        let sid = mid.as_ref().and_then(|mid| connection.sids.get(mid));
        let Some(sid) = sid.cloned() else {
            self.notes.push(format!(
                "{target:?} RTP in section {mid:?} that was not announced"
            ));
            return;
        };
        self.notes.push(format!(
            "hears {sid} {} {}",
            *packet.seq_no, packet.header.timestamp
        ));
        self.heard.entry(sid).or_default().push(Heard {
            at: now,
            ssrc: *ssrc,
            payload_type: *packet.header.payload_type,
            sequence: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload: packet.payload.to_vec(),
        });
    }
}
