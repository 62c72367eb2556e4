//! Tracks that we send. Each of their streams is a [`Subscription`] of the server's to what we make: numbers,
//! history, reports and extensions are one code for both roles.

use std::sync::Arc;
use std::time::Instant;

use super::statistics::StreamTally;
use super::voice::Voice;
use super::{AudioSource, Client, ClientEvent, OpusFrame};
use crate::api::{MediaKind, Target, TrackId, TrackSettings};
use crate::codec::{CodecKind, red};
use crate::congestion::SendQueue;
use crate::congestion::outgoing::SectionId;
use crate::encryption::{Form, Sealer, State};
use crate::frame::Packetizer;
use crate::random::Random;
use crate::rtp::rtcp::{ReportBlock, RtcpPacket, parse_compound};
use crate::sdp::{self, Codec, CodecWish, Fmtp, PayloadFormat, SendSpec};
use crate::statistics::Rate;
use crate::subscription::{LayerTable, SendFormat, Subscription, send_extensions};
use crate::track::packet::Authored;
use crate::track::{MediaPacket, WallClock};

/// An audio track to publish.
#[derive(Clone, Debug)]
pub struct AudioSpec {
    pub track: TrackId,
    /// Track part of the msid, by which the server knows what was announced.
    pub cid: String,
    /// Stream part of the msid.
    pub stream: String,
    /// Repeat each frame with the next (RFC 2198) where the server takes it.
    pub red: bool,
    pub stereo: bool,
}

/// One RTP stream of a track: the only one, or a simulcast layer.
pub(super) struct Stream {
    pub(super) rid: String,
    pub(super) ssrc: u32,
    pub(super) rtx_ssrc: u32,
    /// Once the server takes it.
    pub(super) forward: Option<Subscription>,
    pub(super) section: Option<SectionId>,
    /// Of the next packet.
    pub(super) sequence: u64,
    /// Of video.
    pub(super) packetizer: Option<Packetizer>,
    /// Bits a second: the most that is of use, and what was told last.
    pub(super) max_bitrate: u64,
    pub(super) bitrate: Option<u64>,
    /// Somebody takes it.
    pub(super) wanted: bool,
    pub(super) tally: StreamTally,
}

impl Stream {
    pub(super) fn new(rid: String, random: &mut Random) -> Self {
        Self {
            rid,
            ssrc: random.u32().max(1),
            rtx_ssrc: random.u32().max(1),
            forward: None,
            section: None,
            sequence: 1,
            packetizer: None,
            max_bitrate: 0,
            bitrate: None,
            wanted: true,
            tally: StreamTally::default(),
        }
    }
}

pub(super) struct Sending {
    pub(super) kind: MediaKind,
    pub(super) codec: CodecKind,
    pub(super) muted: bool,
    pub(super) source: Option<Box<dyn AudioSource>>,
    /// What becomes of an audio track on the way.
    pub(super) voice: Voice,
    pub(super) streams: Vec<Stream>,
    /// The payload type of the Opus frames within RED, where that was negotiated.
    pub(super) red: Option<u8>,
    /// What RED repeats.
    previous: Option<OpusFrame>,
    pub(super) sealer: Option<Sealer>,
    /// Track part of the msid.
    pub(super) cid: String,
    pub(super) mid: String,
    pub(super) formats: Vec<PayloadFormat>,
    /// Width and height of the last picture, and how many there were.
    pub(super) captured: (u32, u32, u64),
    pub(super) capture_rate: Rate,
    /// Frames were passed as they are, and somebody wants them encoded as well.
    pub(super) passed: bool,
    pub(super) encoded_wanted: bool,
}

impl Sending {
    pub(super) fn new(kind: MediaKind, codec: CodecKind, streams: Vec<Stream>) -> Self {
        Self {
            kind,
            codec,
            muted: false,
            source: None,
            voice: Voice::default(),
            streams,
            red: None,
            previous: None,
            sealer: None,
            cid: String::new(),
            mid: String::new(),
            formats: Vec::new(),
            captured: (0, 0, 0),
            capture_rate: Rate::default(),
            passed: false,
            encoded_wanted: false,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let reports = self.streams.iter().filter_map(|stream| {
            let forward = stream.forward.as_ref()?;
            forward.deadline()
        });
        let source = self.source.as_ref().and_then(|it| it.poll_timeout());
        reports.chain(source).min()
    }
}

pub(super) fn wish(codec: Codec) -> CodecWish {
    CodecWish {
        codec,
        fmtp: Fmtp::default(),
    }
}

impl Client {
    /// Publishes what comes from `source`, or by [`Client::send_opus`]; [`Client::negotiate`] then offers it.
    pub fn publish_audio(&mut self, spec: AudioSpec, source: Option<Box<dyn AudioSource>>) {
        let stream = Stream::new(String::new(), &mut self.random);
        let mut codecs = vec![wish(Codec::Opus)];
        if spec.red {
            codecs.insert(0, wish(Codec::Red));
        }
        let send = SendSpec {
            key: spec.track,
            kind: MediaKind::Audio,
            stream: spec.stream,
            track: spec.cid,
            ssrc: stream.ssrc,
            rtx_ssrc: None,
            codecs,
            stereo: spec.stereo,
            rids: Vec::new(),
        };
        let mut sending = Sending::new(MediaKind::Audio, CodecKind::Opus, vec![stream]);
        sending.source = source;
        self.add_sending(send, sending);
    }

    pub(super) fn add_sending(&mut self, send: SendSpec, mut sending: Sending) {
        let track = send.key;
        sending.cid.clone_from(&send.track);
        self.unpublish(track);
        if let Some(connection) = self.connection(Target::Publisher) {
            connection.negotiator.add_send(send);
            self.sending.insert(track, sending);
        }
    }

    /// Ends a track; [`Client::negotiate`] then tells the server.
    pub fn unpublish(&mut self, track: TrackId) {
        self.send_stopped(track);
        if self.sending.remove(&track).is_some()
            && let Some(connection) = self.connection(Target::Publisher)
        {
            connection.negotiator.remove_send(track);
        }
    }

    /// A muted track sends nothing; what comes from its source is dropped.
    pub fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool) {
        if let Some(sending) = self.sending.get_mut(&track)
            && std::mem::replace(&mut sending.muted, muted) != muted
        {
            sending.previous = None;
            self.share(now);
        }
    }

    /// The server takes a track, or takes it otherwise than before.
    pub(super) fn send_ready(&mut self, section: &sdp::SendSection) {
        let (Some(sending), Some(connection)) = (
            self.sending.get_mut(&section.key),
            self.connections.first_mut(),
        ) else {
            return;
        };
        sending.mid.clone_from(&section.mid);
        sending.formats.clone_from(&section.payloads);
        let opus = section.payload(Codec::Opus).map(|it| it.payload_type);
        sending.red = opus.filter(|_| section.payload(Codec::Red).is_some());
        let highest = sending.streams.len().saturating_sub(1);
        for (layer, stream) in sending.streams.iter_mut().enumerate() {
            let taken = if section.rids.is_empty() {
                // No simulcast: the best layer alone.
                layer == highest
            } else {
                section.rids.contains(&stream.rid)
            };
            if !taken {
                continue;
            }
            let extensions = send_extensions(section);
            let (id, written_otherwise) = match stream.section {
                Some(known) => {
                    let changed = connection
                        .queue
                        .set_section(known, extensions, &section.mid);
                    (known, changed)
                }
                None => (connection.queue.add_section(extensions, &section.mid), true),
            };
            if !section.rids.is_empty() {
                connection.queue.set_rid(id, &stream.rid);
            }
            stream.section = Some(id);
            let format = SendFormat::negotiated(section, stream.ssrc, stream.rtx_ssrc, id);
            let forward = match &mut stream.forward {
                Some(forward) => {
                    forward.set_format(format);
                    if written_otherwise {
                        forward.forget_sent();
                    }
                    forward
                }
                None => stream.forward.insert(Subscription::new(
                    sending.kind,
                    format,
                    LayerTable::new(&[]),
                    false,
                    TrackSettings {
                        quality: 2,
                        ..TrackSettings::default()
                    },
                    self.random.u16(),
                )),
            };
            connection.by_ssrc.insert(stream.ssrc, (section.key, layer));
            if connection.connected {
                forward.connected();
            }
        }
    }

    /// The server takes a track no more.
    pub(super) fn send_stopped(&mut self, track: TrackId) {
        let (Some(sending), Some(connection)) =
            (self.sending.get_mut(&track), self.connections.first_mut())
        else {
            return;
        };
        sending.mid.clear();
        for stream in &mut sending.streams {
            stream.forward = None;
            if let Some(section) = stream.section.take() {
                connection.queue.remove_section(section);
            }
            connection.by_ssrc.remove(&stream.ssrc);
        }
    }

    /// Media can flow on a connection now.
    pub(super) fn connection_up(&mut self, at: usize) {
        let Some(connection) = self.connections.get_mut(at) else {
            return;
        };
        connection.connected = true;
        if connection.target == Target::Publisher {
            for stream in self.sending.values_mut().flat_map(|it| &mut it.streams) {
                if let Some(forward) = &mut stream.forward {
                    forward.connected();
                }
            }
        }
    }

    /// Media goes nowhere: none is queued until the connection is up again.
    pub(super) fn connection_down(&mut self, at: usize) {
        let Some(connection) = self.connections.get_mut(at) else {
            return;
        };
        connection.connected = false;
        connection.queue.clear();
        if connection.target == Target::Publisher {
            for stream in self.sending.values_mut().flat_map(|it| &mut it.streams) {
                if let Some(forward) = &mut stream.forward {
                    forward.disconnected();
                }
            }
        }
    }

    /// What is due of our tracks: frames of sources that keep their own time, and sender reports.
    pub(super) fn send_due(&mut self, now: Instant) {
        let path = self.plain_path();
        let Some(connection) = self.connections.first_mut() else {
            return;
        };
        for (track, sending) in &mut self.sending {
            let plain = path.filter(|_| sending.may_pass());
            let encoded = plain.is_none() || sending.encoded_wanted;
            if let Some(source) = &mut sending.source {
                source.set_forms(plain.is_some(), encoded);
            }
            while let Some(source) = &mut sending.source
                && source.poll_timeout().is_some_and(|due| due <= now)
                && let Some(mut frame) = source.poll_frame(now)
            {
                if let (Some(path), Some(content)) = (plain, frame.plain.take()) {
                    sending.pass(path, content, Some(frame.level), &mut self.passing);
                }
                let state = sending.seal(&mut frame, &mut self.random);
                let events = state.map(|state| ClientEvent::Sealing {
                    track: *track,
                    state,
                });
                self.events.extend(events);
                sending.send_opus(now, self.clock, frame, &mut connection.queue);
            }
            let forwards = sending.streams.iter_mut();
            for forward in forwards.filter_map(|it| it.forward.as_mut()) {
                if let Some(report) = forward.poll_report(now, &self.clock) {
                    connection.reports.push(report);
                }
            }
        }
    }

    /// Sends a frame of an audio track that has no source.
    pub fn send_opus(&mut self, now: Instant, track: TrackId, mut frame: OpusFrame) {
        if let (Some(sending), Some(connection)) =
            (self.sending.get_mut(&track), self.connections.first_mut())
        {
            let state = sending.seal(&mut frame, &mut self.random);
            sending.send_opus(now, self.clock, frame, &mut connection.queue);
            self.tell_sealing(track, state);
        }
    }

    pub(super) fn take_rtcp(&mut self, now: Instant, target: Target, compound: &[u8]) {
        let Ok(packets) = parse_compound(compound) else {
            return;
        };
        for packet in packets.flatten() {
            if let Some(connection) = self.connection(target) {
                connection.receiver.handle_rtcp(now, &packet);
            }
            if target != Target::Publisher {
                continue;
            }
            match packet {
                RtcpPacket::SenderReport { blocks, .. }
                | RtcpPacket::ReceiverReport { blocks, .. } => {
                    for block in blocks.iter() {
                        self.take_report(now, &block);
                    }
                }
                RtcpPacket::Nack(nack) => {
                    if let Some(tally) = self.tally_of(nack.media) {
                        tally.nacks += 1;
                    }
                    if let Some((forward, connection)) = self.stream_of(nack.media) {
                        forward.handle_nack(now, nack.sequences(), &mut connection.queue);
                    }
                }
                RtcpPacket::TransportFeedback(feedback) => {
                    self.take_transport_feedback(now, &feedback);
                }
                RtcpPacket::Pli { media, .. } => {
                    if let Some(tally) = self.tally_of(media) {
                        tally.plis += 1;
                    }
                    self.picture_lost(media);
                }
                RtcpPacket::Fir(fir) => {
                    for (media, _) in fir.entries() {
                        if let Some(tally) = self.tally_of(media) {
                            tally.firs += 1;
                        }
                        self.picture_lost(media);
                    }
                }
                _ => {}
            }
        }
    }

    fn stream_of(
        &mut self,
        ssrc: u32,
    ) -> Option<(&mut Subscription, &mut super::connection::Connection)> {
        let connection = self.connections.first_mut()?;
        let (track, layer) = connection.by_ssrc.get(&ssrc)?;
        let stream = self.sending.get_mut(track)?.streams.get_mut(*layer)?;
        Some((stream.forward.as_mut()?, connection))
    }

    fn tally_of(&mut self, ssrc: u32) -> Option<&mut StreamTally> {
        let connection = self.connections.first()?;
        let (track, layer) = connection.by_ssrc.get(&ssrc)?;
        let stream = self.sending.get_mut(track)?.streams.get_mut(*layer)?;
        Some(&mut stream.tally)
    }

    fn take_report(&mut self, now: Instant, block: &ReportBlock) {
        let clock = self.clock;
        if let Some((forward, connection)) = self.stream_of(block.ssrc) {
            forward.handle_report(now, &clock, block);
            connection.receiver.set_rtt(forward.rtt());
        }
        if let Some(tally) = self.tally_of(block.ssrc) {
            tally.reported(now, &clock, block);
        }
        self.adapt_voice(now, block);
    }

    fn picture_lost(&mut self, media: u32) {
        if let Some((forward, _)) = self.stream_of(media) {
            forward.handle_keyframe_request();
        }
    }

    /// Passes on which layers are to begin anew.
    pub(super) fn tell_keyframes(&mut self) {
        for (track, sending) in &mut self.sending {
            for (layer, stream) in (0..).zip(&mut sending.streams) {
                let wish = stream.forward.as_mut().and_then(Subscription::poll_wish);
                if wish.is_some() {
                    self.events.push_back(ClientEvent::KeyFrame {
                        track: *track,
                        layer,
                    });
                }
            }
        }
    }
}

impl Sending {
    /// Encrypts a frame where that is wanted. What can't be encrypted is emptied, and so not sent.
    fn seal(&mut self, frame: &mut OpusFrame, random: &mut Random) -> Option<State> {
        let sealer = self.sealer.as_mut().filter(|_| !self.muted)?;
        let (sealed, state) = sealer.seal(Some(Form::Audio), &frame.payload, random.try_bytes());
        frame.payload = sealed.unwrap_or_default().into();
        // RED would repeat sealed frames as if they were Opus.
        self.red = None;
        state
    }

    fn send_opus(
        &mut self,
        now: Instant,
        clock: WallClock,
        frame: OpusFrame,
        queue: &mut SendQueue,
    ) {
        if let Some(packet) = self.opus_packet(now, clock, frame)
            && let Some(stream) = self.streams.first_mut()
            && let Some(forward) = &mut stream.forward
        {
            forward.forward(now, &Arc::new(packet), queue);
        }
    }

    /// The packet of a frame, with the one before it where RED was negotiated.
    fn opus_packet(
        &mut self,
        now: Instant,
        clock: WallClock,
        frame: OpusFrame,
    ) -> Option<MediaPacket> {
        if self.muted || frame.payload.is_empty() {
            return None;
        }
        let stream = self.streams.first_mut()?;
        stream.forward.as_ref()?;
        let sequence = stream.sequence;
        let mut redundant = Vec::new();
        if let Some(payload_type) = self.red {
            let before = self.previous.as_ref().filter(|_| !frame.begins);
            let blocks = before.map(|before| {
                let offset = frame.timestamp.wrapping_sub(before.timestamp);
                (offset, &before.payload[..])
            });
            red::write(
                &mut redundant,
                payload_type,
                blocks.into_iter(),
                &frame.payload,
            );
        }
        let (codec, payload) = match self.red {
            Some(_) => (CodecKind::Red, &redundant[..]),
            None => (CodecKind::Opus, &frame.payload[..]),
        };
        let packet = MediaPacket::authored(Authored {
            codec,
            sequence,
            timestamp: frame.timestamp,
            marker: frame.begins,
            keyframe: true,
            now,
            wall: clock.micros(frame.captured),
            audio_level: Some((frame.level, frame.voice)),
            payload,
            primary: frame.payload.len(),
        });
        // A number that nothing is sent by would look lost.
        stream.sequence += u64::from(packet.is_some());
        self.previous = Some(frame);
        packet
    }
}
