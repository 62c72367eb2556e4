//! What a publisher's transport receives: streams told apart, put in order, asked for and reported on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use slab::Slab;

pub use self::statistics::{SenderReport, StreamStatistics};
use super::activity::{LayerActivity, MOST_LAYERS};
use super::clock::{PeerClock, WallClock};
use super::packet::MediaPacket;
use super::recovery::recover;
use super::section::ReceiveSection;
use super::stream::{Order, Stream};
use crate::api::MediaKind;
use crate::codec::CodecKind;
use crate::congestion::remote::RemoteEstimate;
use crate::congestion::twcc::ArrivalLedger;
use crate::rtp::{ExtensionKind, RtpHeader, extension};

/// Packets of streams that no section is known for yet: a few, for a short while.
const MOST_PENDING: usize = 64;
const PENDING_TIME: Duration = Duration::from_millis(1000);
/// An SSRC that another took the place of is not let in again for so long.
const RETIRED_TIME: Duration = Duration::from_secs(3);
const MOST_RETIRED: usize = 32;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const DEFAULT_RTT: Duration = Duration::from_millis(100);

/// Why a packet goes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Discard {
    #[error("malformed RTP")]
    Malformed,
    #[error("no section for the stream")]
    UnknownStream,
    #[error("payload type not negotiated")]
    UnknownPayload,
    #[error("arrived before")]
    Duplicate,
    #[error("too old")]
    TooOld,
    /// Padding that probes the path; nothing is lost.
    #[error("padding only")]
    Padding,
    #[error("malformed payload")]
    BadPayload,
    #[error("track is muted")]
    Muted,
    /// Kept until its section is known.
    #[error("waits for its section")]
    Pending,
}

/// A packet for a track's subscriptions.
#[derive(Clone, Debug)]
pub struct Ingress {
    /// [`ReceiveSection::tag`].
    pub tag: u32,
    pub packet: Arc<MediaPacket>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiverEvent {
    /// The first packet of a layer came.
    LayerStarted { tag: u32, layer: u8, ssrc: u32 },
}

#[derive(Clone, Copy, Debug)]
struct Source {
    stream: usize,
    rtx: bool,
}

#[derive(Debug)]
struct Section {
    description: ReceiveSection,
    /// Stream of each layer.
    streams: [Option<usize>; MOST_LAYERS],
    activity: LayerActivity,
    muted: bool,
    /// Layers of which a key frame was wanted before their stream was known.
    awaited: u8,
}

#[derive(Debug)]
struct Pending {
    since: Instant,
    packet: Bytes,
}

/// Everything received on one transport. See the module.
#[derive(Debug)]
pub struct Receiver {
    clock: WallClock,
    peer: PeerClock,
    /// SSRC of our reports and feedback, until the transport sends streams of its own.
    ssrc: u32,
    cname: Arc<str>,
    rtt: Duration,
    sections: Slab<Section>,
    streams: Slab<Stream>,
    by_ssrc: FxHashMap<u32, Source>,
    retired: VecDeque<(u32, Instant)>,
    pending: VecDeque<Pending>,
    arrivals: ArrivalLedger,
    /// Id of the transport-wide number, one for the whole transport.
    transport_cc: Option<u8>,
    remb: bool,
    /// Told by REMB.
    estimate: Option<RemoteEstimate>,
    /// Lost audio is rebuilt from redundancy.
    rebuilding: bool,
    abs_send_time: Option<u8>,
    next_epoch: u32,
    report_due: Option<Instant>,
    /// Streams with missing packets or wishes for key frames.
    asking: Vec<usize>,
    numbers: Vec<u16>,
    /// RTCP before it is put into compounds.
    packets: Vec<u8>,
    events: VecDeque<ReceiverEvent>,
}

impl Receiver {
    /// `ssrc` and `cname` name us in RTCP.
    #[must_use]
    pub fn new(clock: WallClock, ssrc: u32, cname: Arc<str>) -> Self {
        Self {
            clock,
            peer: PeerClock::default(),
            ssrc,
            cname,
            rtt: DEFAULT_RTT,
            sections: Slab::new(),
            streams: Slab::new(),
            by_ssrc: FxHashMap::default(),
            retired: VecDeque::new(),
            pending: VecDeque::new(),
            arrivals: ArrivalLedger::default(),
            transport_cc: None,
            remb: false,
            estimate: None,
            rebuilding: true,
            abs_send_time: None,
            next_epoch: 1,
            report_due: None,
            asking: Vec::new(),
            numbers: Vec::new(),
            packets: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// The wall clock of packets is that of the sender reports from now on. Streams whose reports go by the same clock
    /// can be compared, and are not if one is corrected by how fast another's report came.
    pub fn keep_clocks(&mut self) {
        self.peer = PeerClock::kept();
    }

    /// From now on estimates what the path takes, for senders that want to be told (REMB); without this they are told
    /// that it takes everything.
    pub fn estimate_path(&mut self, now: Instant) {
        self.estimate = Some(RemoteEstimate::new(now));
    }

    /// From now on leaves lost audio in the redundancy that it is repeated in, for a jitter buffer that reads it.
    /// Without this it is rebuilt here, once for all subscribers.
    pub fn leave_redundancy(&mut self) {
        self.rebuilding = false;
    }

    /// Adds a section, or changes the one with its mid. Packets that waited for it go to `out`.
    pub fn set_section(
        &mut self,
        now: Instant,
        description: ReceiveSection,
        out: &mut Vec<Ingress>,
    ) {
        let known = self
            .sections
            .iter()
            .find(|(_, known)| known.description.mid == description.mid)
            .map(|(key, _)| key);
        let key = match known {
            Some(key) => {
                let other_track = self
                    .sections
                    .get(key)
                    .is_some_and(|known| known.description.tag != description.tag);
                if other_track {
                    self.drop_streams(now, key);
                }
                if let Some(section) = self.sections.get_mut(key) {
                    section.description = description;
                }
                key
            }
            None => self.sections.insert(Section {
                muted: description.muted,
                description,
                streams: Default::default(),
                activity: LayerActivity::default(),
                awaited: 0,
            }),
        };
        let muted = self
            .sections
            .get(key)
            .map(|section| (section.description.tag, section.description.muted));
        if let Some((tag, muted)) = muted {
            self.set_muted(now, tag, muted);
        }
        self.refresh_feedback();
        self.retry_pending(now, out);
    }

    /// The section ended: its streams are unknown from now on.
    pub fn remove_section(&mut self, now: Instant, mid: &str) {
        let known = self
            .sections
            .iter()
            .find(|(_, known)| known.description.mid == mid)
            .map(|(key, _)| key);
        if let Some(key) = known {
            self.drop_streams(now, key);
            self.sections.try_remove(key);
            self.refresh_feedback();
        }
    }

    fn refresh_feedback(&mut self) {
        let descriptions = || {
            self.sections
                .iter()
                .map(|(_, section)| &section.description)
        };
        let used = descriptions()
            .flat_map(|section| &section.payloads)
            .any(|payload| payload.transport_cc);
        let id = |wanted| {
            let mut extensions = descriptions().flat_map(|section| &section.extensions);
            extensions
                .find(|(_, kind)| *kind == wanted)
                .map(|(id, _)| *id)
        };
        self.transport_cc = id(ExtensionKind::TransportCc).filter(|_| used);
        self.abs_send_time = id(ExtensionKind::AbsSendTime);
        let remb = descriptions()
            .flat_map(|section| &section.payloads)
            .any(|payload| payload.remb);
        self.remb = remb && self.transport_cc.is_none();
    }

    fn drop_streams(&mut self, now: Instant, key: usize) {
        let Some(section) = self.sections.get_mut(key) else {
            return;
        };
        section.activity.reset();
        for stream in std::mem::take(&mut section.streams).into_iter().flatten() {
            self.drop_stream(now, stream);
        }
    }

    fn drop_stream(&mut self, now: Instant, key: usize) {
        let Some(stream) = self.streams.try_remove(key) else {
            return;
        };
        self.asking.retain(|asking| *asking != key);
        for ssrc in [Some(stream.ssrc), stream.rtx_ssrc].into_iter().flatten() {
            self.by_ssrc.remove(&ssrc);
            if self.retired.len() >= MOST_RETIRED {
                self.retired.pop_front();
            }
            self.retired.push_back((ssrc, now));
        }
    }

    /// The round trip to the publisher, by which lost packets are asked for again.
    pub fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// Packets of a muted track go no further. Coming back counts as a new start: audio's RTP time may have
    /// stood still, and video needs a key frame, which is asked for.
    pub fn set_muted(&mut self, _now: Instant, tag: u32, muted: bool) {
        for (_, section) in self
            .sections
            .iter_mut()
            .filter(|(_, section)| section.description.tag == tag)
        {
            if section.muted == muted {
                continue;
            }
            section.muted = muted;
            section.activity.reset();
            for key in section.streams.iter().flatten() {
                let Some(stream) = self.streams.get_mut(*key) else {
                    continue;
                };
                if muted {
                    stream.keyframes.stop();
                    stream.nack.clear();
                    // What was said meanwhile must not come back as redundancy.
                    stream.newest_audio = None;
                } else {
                    // A new start: what was dropped meanwhile must not look lost to subscribers.
                    stream.epoch = self.next_epoch;
                    self.next_epoch = self.next_epoch.wrapping_add(1);
                    if section.description.kind == MediaKind::Audio {
                        stream.clock.reset();
                    } else {
                        stream.keyframes.want(true);
                        note(&mut self.asking, *key);
                    }
                }
            }
        }
    }

    /// Somebody needs a key frame of a layer. `urgent`: that viewer sees nothing meanwhile.
    pub fn request_keyframe(&mut self, tag: u32, layer: u8, urgent: bool) {
        for (_, section) in self.sections.iter_mut().filter(|(_, section)| {
            section.description.tag == tag && section.description.kind == MediaKind::Video
        }) {
            let layer = if section.description.svc { 0 } else { layer };
            let Some(stream) = section.streams.get(usize::from(layer)) else {
                continue;
            };
            let Some(key) = *stream else {
                section.awaited |= 1 << layer;
                continue;
            };
            if section.muted {
                continue;
            }
            if let Some(stream) = self.streams.get_mut(key) {
                stream.keyframes.want(urgent);
                note(&mut self.asking, key);
            }
        }
    }

    pub fn poll_event(&mut self) -> Option<ReceiverEvent> {
        self.events.pop_front()
    }

    /// Takes a decrypted packet; what is to be forwarded is appended to `out`.
    pub fn handle_rtp(
        &mut self,
        now: Instant,
        packet: &[u8],
        out: &mut Vec<Ingress>,
    ) -> Result<(), Discard> {
        let header = RtpHeader::parse(packet).map_err(|_| Discard::Malformed)?;
        if let Some(id) = self.transport_cc
            && let Some((_, value)) = header.extensions(packet).find(|(known, _)| *known == id)
            && let Some(sequence) = extension::parse_transport_sequence(value)
        {
            self.arrivals.arrived(now, self.clock.micros(now), sequence);
        }
        if self.remb
            && let (Some(estimate), Some(id)) = (&mut self.estimate, self.abs_send_time)
            && let Some((_, value)) = header.extensions(packet).find(|(known, _)| *known == id)
            && let Some(sent) = extension::AbsSendTime::parse(value)
        {
            let size = u16::try_from(packet.len()).unwrap_or(u16::MAX);
            estimate.arrived(now, self.clock.micros(now), sent, size);
            if estimate.has_fallen() && self.report_due.is_some() {
                self.report_due = Some(now);
            }
        }
        let source = match self.by_ssrc.get(&header.ssrc) {
            Some(source) => *source,
            None => match self.bind(now, &header, packet) {
                Ok(source) => source,
                Err(Discard::Pending) => {
                    self.keep(now, packet);
                    return Err(Discard::Pending);
                }
                Err(discard) => return Err(discard),
            },
        };
        self.receive(now, &header, Bytes::copy_from_slice(packet), source, out)
    }

    fn keep(&mut self, now: Instant, packet: &[u8]) {
        while self.pending.front().is_some_and(|oldest| {
            self.pending.len() >= MOST_PENDING
                || now.saturating_duration_since(oldest.since) > PENDING_TIME
        }) {
            self.pending.pop_front();
        }
        self.pending.push_back(Pending {
            since: now,
            packet: Bytes::copy_from_slice(packet),
        });
    }

    fn retry_pending(&mut self, now: Instant, out: &mut Vec<Ingress>) {
        for waiting in std::mem::take(&mut self.pending) {
            if now.saturating_duration_since(waiting.since) > PENDING_TIME {
                continue;
            }
            let Ok(header) = RtpHeader::parse(&waiting.packet) else {
                continue;
            };
            let source = match self.by_ssrc.get(&header.ssrc) {
                Some(source) => *source,
                None => match self.bind(now, &header, &waiting.packet) {
                    Ok(source) => source,
                    Err(Discard::Pending) => {
                        self.pending.push_back(waiting);
                        continue;
                    }
                    Err(_) => continue,
                },
            };
            // What is too old or malformed by now is dropped like any other packet.
            let _ = self.receive(now, &header, waiting.packet, source, out);
        }
    }

    /// Finds the section and layer of an unknown SSRC: by the SDP's SSRCs, by mid and rid, or by a payload
    /// type that only one section has.
    fn bind(&mut self, now: Instant, header: &RtpHeader, packet: &[u8]) -> Result<Source, Discard> {
        let retired = self.retired.iter().find(|(ssrc, _)| *ssrc == header.ssrc);
        if retired.is_some_and(|(_, since)| now.saturating_duration_since(*since) < RETIRED_TIME)
            && !self.is_announced(header.ssrc)
        {
            return Err(Discard::UnknownStream);
        }
        for (key, section) in &self.sections {
            for announced in &section.description.ssrcs {
                let rtx = announced.rtx == Some(header.ssrc);
                if announced.ssrc == header.ssrc || rtx {
                    let layer = announced.layer;
                    return self.attach(now, key, layer, header, rtx);
                }
            }
        }
        let (mut mid, mut rid, mut repaired) = (None, None, None);
        for (id, value) in header.extensions(packet) {
            // Ids mean the same in every section of a transport.
            let kind = self
                .sections
                .iter()
                .find_map(|(_, section)| section.description.extension(id));
            match kind {
                Some(ExtensionKind::Mid) => mid = Some(value),
                Some(ExtensionKind::Rid) => rid = Some(value),
                Some(ExtensionKind::RepairedRid) => repaired = Some(value),
                _ => {}
            }
        }
        let mut candidates = self.sections.iter().filter(|(_, section)| match mid {
            Some(mid) => section.description.mid.as_bytes() == mid,
            None => section.description.payload(header.payload_type).is_some(),
        });
        let Some((key, section)) = candidates.next() else {
            return Err(Discard::Pending);
        };
        if candidates.next().is_some() {
            return Err(Discard::Pending);
        }
        let description = &section.description;
        let payload = description
            .payload(header.payload_type)
            .ok_or(Discard::UnknownPayload)?;
        let rtx = payload.repeats.is_some();
        let layer = match (rtx, rid, repaired) {
            (true, _, Some(rid)) | (false, Some(rid), _) => description.layer_of_rid(rid),
            // Without rid there is one stream, announced by nothing else.
            _ if description.rids.is_empty() && description.ssrcs.len() <= 1 => Some(0),
            _ => None,
        };
        let Some(layer) = layer else {
            return Err(Discard::Pending);
        };
        if rtx
            && section
                .streams
                .get(usize::from(layer))
                .copied()
                .flatten()
                .is_none()
        {
            return Err(Discard::Pending);
        }
        self.attach(now, key, layer, header, rtx)
    }

    fn is_announced(&self, ssrc: u32) -> bool {
        let mut announced = self
            .sections
            .iter()
            .flat_map(|(_, section)| &section.description.ssrcs);
        announced.any(|known| known.ssrc == ssrc || known.rtx == Some(ssrc))
    }

    /// Makes an SSRC the stream, or the RTX stream, of a section's layer.
    fn attach(
        &mut self,
        now: Instant,
        key: usize,
        layer: u8,
        header: &RtpHeader,
        rtx: bool,
    ) -> Result<Source, Discard> {
        let section = self.sections.get(key).ok_or(Discard::UnknownStream)?;
        let slot = section
            .streams
            .get(usize::from(layer))
            .copied()
            .ok_or(Discard::UnknownStream)?;
        if rtx {
            let stream = slot.ok_or(Discard::Pending)?;
            let before = self
                .streams
                .get_mut(stream)
                .and_then(|known| known.rtx_ssrc.replace(header.ssrc));
            if let Some(before) = before {
                self.by_ssrc.remove(&before);
            }
            let source = Source { stream, rtx: true };
            self.by_ssrc.insert(header.ssrc, source);
            return Ok(source);
        }
        let payload = section
            .description
            .payload(header.payload_type)
            .ok_or(Discard::UnknownPayload)?;
        if payload.repeats.is_some() {
            return Err(Discard::UnknownPayload);
        }
        let (codec, rate, tag) = (payload.codec, payload.clock_rate, section.description.tag);
        let announced = section
            .description
            .ssrcs
            .iter()
            .find(|known| known.ssrc == header.ssrc);
        let rtx_ssrc = announced.and_then(|known| known.rtx);
        let awaited = section.awaited & 1 << layer != 0;
        let mut wanted = None;
        if let Some(before) = slot {
            wanted = self.streams.get(before).map(|stream| stream.keyframes);
            self.drop_stream(now, before);
        }
        let epoch = self.next_epoch;
        self.next_epoch = self.next_epoch.wrapping_add(1);
        let mut stream = Stream::new(now, key, header.ssrc, layer, epoch, codec, rate);
        if codec.is_video() {
            stream.keyframes = wanted.unwrap_or_default();
            if awaited {
                stream.keyframes.want(true);
            }
        }
        let stream = self.streams.insert(stream);
        note(&mut self.asking, stream);
        if let Some(section) = self.sections.get_mut(key) {
            section.awaited &= !(1 << layer);
            if let Some(slot) = section.streams.get_mut(usize::from(layer)) {
                *slot = Some(stream);
            }
        }
        if let Some(rtx_ssrc) = rtx_ssrc {
            if let Some(known) = self.streams.get_mut(stream) {
                known.rtx_ssrc = Some(rtx_ssrc);
            }
            self.by_ssrc.insert(rtx_ssrc, Source { stream, rtx: true });
        }
        let source = Source { stream, rtx: false };
        self.by_ssrc.insert(header.ssrc, source);
        if self.events.len() < MOST_PENDING {
            self.events.push_back(ReceiverEvent::LayerStarted {
                tag,
                layer,
                ssrc: header.ssrc,
            });
        }
        Ok(source)
    }

    fn receive(
        &mut self,
        now: Instant,
        header: &RtpHeader,
        data: Bytes,
        source: Source,
        out: &mut Vec<Ingress>,
    ) -> Result<(), Discard> {
        let stream = self
            .streams
            .get_mut(source.stream)
            .ok_or(Discard::UnknownStream)?;
        let section = self
            .sections
            .get_mut(stream.section)
            .ok_or(Discard::UnknownStream)?;
        let mut payload = *section
            .description
            .payload(header.payload_type)
            .ok_or(Discard::UnknownPayload)?;
        let mut range = header.payload_range(data.len());
        let mut number = header.sequence;
        if source.rtx != payload.repeats.is_some() {
            return Err(Discard::UnknownPayload);
        }
        if let Some(original) = payload.repeats {
            // RFC 4588: the number of the original comes first; without one it is padding.
            let inner = data
                .get(range.clone())
                .and_then(|payload| payload.first_chunk());
            number = u16::from_be_bytes(*inner.ok_or(Discard::Padding)?);
            range.start += 2;
            payload = *section
                .description
                .payload(original)
                .ok_or(Discard::UnknownPayload)?;
        }
        let headers = (data.len() - range.len()) as u64;
        let order = if source.rtx {
            stream.order_repeated(number)
        } else {
            stream.order(number)
        };
        let sequence = match order {
            Order::Duplicate => return Err(Discard::Duplicate),
            Order::TooOld => return Err(Discard::TooOld),
            Order::Newest { sequence, .. }
            | Order::Late { sequence }
            | Order::Restarted { sequence } => sequence,
        };
        stream.last_arrival = now;
        stream.heard = true;
        if !source.rtx {
            stream
                .statistics
                .received(now, sequence, header.timestamp, data.len());
        } else {
            stream.tally.resent_packets += 1;
            stream.tally.resent_bytes += range.len() as u64;
        }
        stream.tally.header_bytes += headers;
        stream.tally.payload_bytes += range.len() as u64;
        self.report_due.get_or_insert(now + REPORT_INTERVAL);
        match order {
            Order::Newest { sequence, after }
                if payload.nack && sequence > after && !section.muted =>
            {
                if !stream.nack.skipped(now, after, sequence)
                    && section.description.kind == MediaKind::Video
                {
                    stream.keyframes.want(false);
                }
                note(&mut self.asking, source.stream);
            }
            Order::Late { sequence } => stream.nack.arrived(sequence),
            Order::Restarted { .. } => {
                stream.epoch = self.next_epoch;
                self.next_epoch = self.next_epoch.wrapping_add(1);
            }
            _ => {}
        }
        let newest = !matches!(order, Order::Late { .. });
        if section.muted {
            return Err(Discard::Muted);
        }
        if range.is_empty() {
            if !source.rtx {
                // Subscribers would miss its number.
                out.push(Ingress {
                    tag: section.description.tag,
                    packet: Arc::new(reading::padding(
                        now,
                        header,
                        data,
                        (sequence, newest),
                        stream,
                        section,
                    )),
                });
            }
            return Err(Discard::Padding);
        }
        if payload.codec != stream.codec && !is_auxiliary(payload.codec) {
            let both_audio = is_opus(payload.codec) && is_opus(stream.codec);
            stream.codec = payload.codec;
            if !both_audio {
                stream.epoch = self.next_epoch;
                self.next_epoch = self.next_epoch.wrapping_add(1);
            }
        }
        let packet = reading::packet(
            now,
            self.clock,
            header,
            data,
            range,
            (sequence, newest),
            &payload,
            stream,
            section,
        )?;
        if newest && self.rebuilding && section.description.kind == MediaKind::Audio {
            recover(stream, &section.description, &packet, out);
        }
        out.push(Ingress {
            tag: section.description.tag,
            packet: Arc::new(packet),
        });
        Ok(())
    }

    /// The name we give ourselves in RTCP.
    #[must_use]
    pub fn cname(&self) -> &str {
        &self.cname
    }

    /// The SSRC our RTCP comes from.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }
}

fn note(asking: &mut Vec<usize>, key: usize) {
    if !asking.contains(&key) {
        asking.push(key);
    }
}

fn is_opus(codec: CodecKind) -> bool {
    matches!(codec, CodecKind::Opus | CodecKind::Red)
}

/// Payloads that come between those of the stream's codec.
fn is_auxiliary(codec: CodecKind) -> bool {
    matches!(
        codec,
        CodecKind::TelephoneEvent
            | CodecKind::ComfortNoise
            | CodecKind::Ulpfec
            | CodecKind::Flexfec
    )
}

mod feedback;
mod reading;
mod statistics;
#[cfg(test)]
mod tests;
