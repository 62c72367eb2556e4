//! Video tracks: encoded frames out, and in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Client, Decryption, EncodedFrame, FrameDetails, PacketSink, Synchronization};
use crate::api::{MediaKind, TrackId};
use crate::client::sending::{Sending, Stream, wish};
use crate::codec::CodecKind;
use crate::encryption::Form;
use crate::frame::{Assembler, Frame, Packetizer, Part};
use crate::sdp::{Codec, SendSpec};
use crate::statistics::{Rate, Report};
use crate::track::MediaPacket;
use crate::track::clock::WallMicros;
use crate::track::negotiated::codec_kind;
use crate::track::packet::{Authored, ORIENTATION};

/// Payload bytes of a packet: with all headers it stays below 1,200 and any path's MTU.
const PAYLOAD: usize = 1_120;

/// A video track to publish.
#[derive(Clone, Debug)]
pub struct VideoSpec {
    pub track: TrackId,
    /// Track part of the msid, by which the server knows what was announced.
    pub cid: String,
    /// Stream part of the msid.
    pub stream: String,
    pub codec: Codec,
    /// By ascending quality; one without a rid, or simulcast.
    pub layers: Vec<VideoLayer>,
}

#[derive(Clone, Debug)]
pub struct VideoLayer {
    pub rid: String,
    /// Bits a second.
    pub max_bitrate: u64,
}

impl Client {
    /// Publishes what comes by [`Client::send_frame`]; [`Client::negotiate`] then offers it.
    pub fn publish_video(&mut self, spec: VideoSpec) {
        let codec = codec_kind(spec.codec);
        let streams: Vec<Stream> = spec
            .layers
            .iter()
            .map(|layer| {
                let picture_id = self.random.u16();
                let mut stream = Stream::new(layer.rid.clone(), &mut self.random);
                stream.max_bitrate = layer.max_bitrate;
                stream.packetizer = Some(Packetizer::new(codec, PAYLOAD, picture_id));
                stream
            })
            .collect();
        let Some(first) = streams.first() else {
            return;
        };
        let simulcast = spec.layers.len() > 1;
        let send = SendSpec {
            key: spec.track,
            kind: MediaKind::Video,
            stream: spec.stream,
            track: spec.cid,
            ssrc: first.ssrc,
            rtx_ssrc: Some(first.rtx_ssrc),
            codecs: vec![wish(spec.codec)],
            stereo: false,
            rids: spec
                .layers
                .into_iter()
                .map(|layer| layer.rid)
                .filter(|_| simulcast)
                .collect(),
        };
        self.add_sending(send, Sending::new(MediaKind::Video, codec, streams));
    }

    /// Sends a frame of a layer. Before the server takes the layer, and before its first key frame, it is
    /// dropped.
    pub fn send_frame(
        &mut self,
        now: Instant,
        track: TrackId,
        layer: usize,
        frame: EncodedFrame<'_>,
    ) {
        let EncodedFrame { data, key, .. } = frame;
        let wall = self.clock.micros(frame.captured);
        let (Some(sending), Some(connection)) =
            (self.sending.get_mut(&track), self.connections.first_mut())
        else {
            return;
        };
        if sending.muted {
            return;
        }
        let codec = sending.codec;
        let Some(stream) = sending.streams.get_mut(layer) else {
            return;
        };
        let (Some(packetizer), Some(forward)) = (&mut stream.packetizer, &mut stream.forward)
        else {
            return;
        };
        let (sealed, state) = match &mut sending.sealer {
            Some(sealer) => sealer.seal(Form::of(codec, key), data, self.random.try_bytes()),
            None => (Some(data.to_vec()), None),
        };
        stream.tally.framed(now, key);
        let timestamp = (i128::from(frame.timestamp_us) * 9 / 100) as u32;
        let payloads = sealed.map_or_else(Vec::new, |frame| packetizer.packetize(&frame, key));
        let last = payloads.len().saturating_sub(1);
        for (index, payload) in payloads.iter().enumerate() {
            let packet = MediaPacket::authored(Authored {
                codec,
                sequence: stream.sequence,
                timestamp,
                marker: index == last,
                keyframe: key && index == 0,
                now,
                wall,
                audio_level: None,
                payload,
                primary: payload.len(),
            });
            // A number that nothing is sent by would look lost.
            if let Some(packet) = packet {
                stream.sequence += 1;
                forward.forward(now, &Arc::new(packet), &mut connection.queue);
            }
        }
        self.tell_sealing(track, state);
    }
}

impl Client {
    /// Tells of a frame that is going to be sent, whether anybody takes it or not; for statistics.
    pub fn describe_frame(
        &mut self,
        now: Instant,
        track: TrackId,
        layer: usize,
        details: FrameDetails,
    ) {
        let Some(sending) = self.sending.get_mut(&track) else {
            return;
        };
        for _ in sending.captured.2..details.captured.2.min(sending.captured.2 + 10) {
            sending.capture_rate.happened(now);
        }
        sending.captured = details.captured;
        if let Some(stream) = sending.streams.get_mut(layer) {
            stream.tally.described(details);
        }
    }
}

/// An encoded frame as it was received.
#[derive(Clone, Debug)]
pub struct ReceivedFrame {
    pub frame: Frame,
    /// Its RTP time, which never wraps.
    pub timestamp: u64,
    /// When it was captured, by the clock of sender reports if it is `synced`.
    pub wall: WallMicros,
    pub synced: bool,
    /// Clockwise degrees that it is to be turned by: 0, 90, 180 or 270.
    pub rotation: u16,
}

/// Frames whose packets are counted.
const MOST_AWAITED: usize = 64;
/// Frames that are held to be in step with sound.
const MOST_HELD: usize = 128;

/// What is counted of a stream's frames.
#[derive(Default)]
struct Assembly {
    /// RTP time, first packet and number of packets of frames that are not whole yet.
    awaited: VecDeque<(u32, Instant, u32)>,
    frames: u64,
    rate: Rate,
    /// From the first packet to when the frame is given.
    time: Duration,
    /// Of these, those of several packets.
    joined: u64,
    joining: Duration,
}

impl Assembly {
    fn arrived(&mut self, now: Instant, timestamp: u32) {
        let mut newest = self.awaited.iter_mut().rev();
        match newest.find(|(of, ..)| *of == timestamp) {
            Some((_, _, packets)) => *packets += 1,
            None => {
                if self.awaited.len() >= MOST_AWAITED {
                    self.awaited.pop_front();
                }
                self.awaited.push_back((timestamp, now, 1));
            }
        }
    }

    fn assembled(&mut self, now: Instant, timestamp: u32) {
        self.frames += 1;
        self.rate.happened(now);
        let at = self.awaited.iter().position(|(of, ..)| *of == timestamp);
        if let Some((_, since, packets)) = at.and_then(|at| self.awaited.remove(at)) {
            let time = now.saturating_duration_since(since);
            self.time += time;
            if packets > 1 {
                self.joined += 1;
                self.joining += time;
            }
        }
    }

    fn held(&mut self, time: Duration) {
        self.time += time;
    }

    fn describe(&self, now: Instant, report: &mut Report) {
        report.count("framesReceived", self.frames);
        report.set("framesPerSecond", self.rate.per_second(now));
        report.count("framesAssembledFromMultiplePackets", self.joined);
        report.total("totalAssemblyTime", self.joining.as_secs_f64());
        report.count("jitterBufferEmittedCount", self.frames);
        report.total("jitterBufferDelay", self.time.as_secs_f64());
        report.total("totalProcessingDelay", self.time.as_secs_f64());
    }
}

/// Puts packets together and gives the frames to `take`, which answers whether it can go on: otherwise a key
/// frame is asked for.
pub struct FrameReader<F> {
    assembler: Option<(CodecKind, u32, Assembler)>,
    rotation: u16,
    /// RTP time of the last frame.
    last: Option<u64>,
    stuck: bool,
    decryption: Option<Decryption>,
    /// A frame could not be opened, and those that follow may rest on it.
    missed: bool,
    /// RTP time and wall clock of the newest packet, and whether a sender report told that.
    newest: (u32, WallMicros, bool),
    synchronization: Option<Synchronization>,
    /// Whole since then.
    held: VecDeque<(Instant, ReceivedFrame)>,
    tally: Assembly,
    take: F,
}

impl<F: FnMut(ReceivedFrame) -> bool + Send> FrameReader<F> {
    pub fn new(take: F) -> Self {
        Self {
            assembler: None,
            rotation: 0,
            last: None,
            stuck: false,
            decryption: None,
            missed: false,
            newest: (0, 0, false),
            synchronization: None,
            held: VecDeque::new(),
            tally: Assembly::default(),
            take,
        }
    }

    fn poll(&mut self, now: Instant) {
        let Some((_, _, assembler)) = &mut self.assembler else {
            return;
        };
        let mut frames = Vec::new();
        while let Some(frame) = assembler.poll(now) {
            frames.push(frame);
        }
        for frame in frames {
            let Some(frame) = self.opened(frame) else {
                continue;
            };
            let (timestamp, wall, synced) = self.newest;
            let since = i64::from(timestamp.wrapping_sub(frame.timestamp) as i32);
            self.add(now, frame, wall - since * 100 / 9, synced);
        }
    }

    fn opened(&mut self, mut frame: Frame) -> Option<Frame> {
        if let Some(by) = &self.decryption {
            let opened = by.open(Form::of(frame.codec, frame.key), &frame.data);
            self.missed |= opened.is_none();
            frame.data = opened?;
            if self.missed && !frame.key {
                self.stuck = true;
                return None;
            }
            self.missed = false;
        }
        Some(frame)
    }

    fn add(&mut self, now: Instant, frame: Frame, wall: WallMicros, synced: bool) {
        self.tally.assembled(now, frame.timestamp);
        let timestamp = match self.last {
            Some(last) => {
                let step = frame.timestamp.wrapping_sub(last as u32) as i32;
                last.saturating_add_signed(step.into())
            }
            None => frame.timestamp.into(),
        };
        self.last = Some(timestamp);
        if let Some(sync) = &self.synchronization
            && synced
        {
            sync.ready(now, wall);
        }
        let frame = ReceivedFrame {
            frame,
            timestamp,
            wall,
            synced,
            rotation: self.rotation,
        };
        self.held.push_back((now, frame));
        self.give(now);
    }

    /// When the frame that is held longest is due.
    fn due(&self) -> Option<Instant> {
        let (since, frame) = self.held.front()?;
        Some(match &self.synchronization {
            Some(sync) if frame.synced => sync.due(*since, frame.wall),
            _ => *since,
        })
    }

    fn give(&mut self, now: Instant) {
        while self.due().is_some_and(|due| due <= now) || self.held.len() > MOST_HELD {
            if let Some((since, frame)) = self.held.pop_front() {
                self.tally.held(now.saturating_duration_since(since));
                self.stuck |= !(self.take)(frame);
            }
        }
    }
}

impl<F: FnMut(ReceivedFrame) -> bool + Send> PacketSink for FrameReader<F> {
    fn packet(&mut self, now: Instant, packet: &Arc<MediaPacket>) {
        if !packet.codec.is_video() {
            // Whole as it is; of RED the newest block.
            if !packet.is_padding() {
                let frame = Frame {
                    codec: packet.codec,
                    timestamp: packet.timestamp,
                    key: true,
                    data: packet.primary().to_vec(),
                };
                self.add(now, frame, packet.wall, packet.synced);
            }
            return;
        }
        let stream = (packet.codec, packet.epoch);
        if self
            .assembler
            .as_ref()
            .is_none_or(|(codec, epoch, _)| (*codec, *epoch) != stream)
        {
            // Padding before the first frame tells nothing of the codec.
            if packet.is_padding() {
                return;
            }
            self.assembler = Some((stream.0, stream.1, Assembler::new(packet.codec)));
        }
        if let Some((_, value)) = packet.extensions().find(|(index, _)| *index == ORIENTATION)
            && let Some(value) = value.first()
        {
            self.rotation = u16::from(value & 3) * 90;
        }
        if packet.newest && !packet.is_padding() {
            self.newest = (packet.timestamp, packet.wall, packet.synced);
        }
        if let Some((_, _, assembler)) = &mut self.assembler {
            self.tally.arrived(now, packet.timestamp);
            assembler.insert(Part::from(&**packet));
        }
        self.poll(now);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let assembler = self.assembler.as_ref();
        let assembled = assembler.and_then(|(_, _, assembler)| assembler.deadline());
        assembled.into_iter().chain(self.due()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.poll(now);
        self.give(now);
    }

    fn synchronize(&mut self, with: Option<Synchronization>) {
        self.synchronization = with;
    }

    fn decrypt(&mut self, by: Option<Decryption>) {
        self.decryption = by;
    }

    fn needs_keyframe(&mut self, now: Instant) -> bool {
        let assembler = self.assembler.as_mut();
        let wants = assembler.is_some_and(|(_, _, assembler)| assembler.wants_key(now));
        std::mem::take(&mut self.stuck) || wants
    }

    fn describe(&self, now: Instant, report: &mut Report) {
        self.tally.describe(now, report);
    }
}
