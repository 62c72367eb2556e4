//! One subscriber's view of one track: which layer it gets, and numbers, time and picture ids that go on
//! whatever happens at the source.

mod descriptor;
mod format;
mod history;
pub mod layers;
mod reports;
mod resend;
mod sequence;
mod timeline;

use std::sync::Arc;
use std::time::{Duration, Instant};

use descriptor::{Counters, picture_id};
pub use format::{SendFormat, SendPayload, send_extensions};
use history::History;
pub use layers::LayerTable;
use reports::{FIRST_REPORT, Loss};
use resend::ResendBudget;
use sequence::{Mapped, SequenceMap};
use timeline::Timeline;

use crate::api::{MediaKind, TrackSettings};
use crate::codec::CodecKind;
use crate::congestion::outgoing::{Outgoing, Patch, SectionId};
use crate::congestion::pacer::{Priority, SendQueue};
use crate::track::dynacast::Wanted;
use crate::track::packet::MediaPacket;

/// As many packets as open a muted track; most links let one of them pass.
const OPENING_PACKETS: u64 = 3;

/// What a subscription wants of the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyframeWish {
    pub layer: u8,
    /// The viewer sees nothing meanwhile.
    pub urgent: bool,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    Queued,
    /// Not for this subscriber: another layer, no key frame yet, paused.
    Skipped,
    /// The subscriber negotiated no payload type for the codec.
    Unsupported,
}

/// See the module.
#[derive(Debug)]
pub struct Subscription {
    kind: MediaKind,
    format: SendFormat,
    table: LayerTable,
    settings: TrackSettings,
    /// The layer the settings ask for; `None` is paused.
    wanted: Option<u8>,
    /// The highest layer that its link takes, when that may be lower.
    cap: Option<u8>,
    /// Several spatial layers in the one stream.
    svc: bool,
    /// Transport up, section negotiated.
    connected: bool,

    /// The stream that is forwarded: its epoch and layer.
    current: Option<(u32, u8)>,
    /// SVC: highest spatial layer passed, and the highest temporal one.
    spatial: u8,
    temporal: u8,
    highest_temporal: u8,
    /// Timestamp of the newest incoming packet of the stream.
    picture_time: Option<u32>,
    /// Picture whose packets are being left out.
    left_out: Option<u32>,
    /// The layer arriving that a switch waits for.
    awaited: Option<u8>,
    /// Stream of which a key frame was asked for because packets came that mean nothing without one.
    missed: Option<u32>,
    active_layers: u8,

    numbers: SequenceMap,
    timeline: Timeline,
    counters: Counters,
    history: History,
    rtx_sequence: u16,
    /// Which payload was used last, so that it needn't be searched.
    payload: Option<SendPayload>,

    wish: Option<KeyframeWish>,
    packets: u32,
    octets: u32,
    report_due: Option<Instant>,
    rtt: Option<Duration>,
    heard_of: bool,
    loss: Loss,
    resend: ResendBudget,
}

impl Subscription {
    /// `first_sequence` is random and below 2^15, so that sender and receiver agree on the first roll-over
    /// (RFC 3711, 3.3.1); its high bit is cleared.
    #[must_use]
    pub fn new(
        kind: MediaKind,
        format: SendFormat,
        table: LayerTable,
        svc: bool,
        settings: TrackSettings,
        first_sequence: u16,
    ) -> Self {
        let mut subscription = Self {
            kind,
            format,
            wanted: None,
            cap: None,
            table,
            settings,
            svc,
            connected: false,
            current: None,
            spatial: 0,
            temporal: u8::MAX,
            highest_temporal: 0,
            picture_time: None,
            left_out: None,
            awaited: None,
            missed: None,
            active_layers: 0,
            numbers: SequenceMap::new(first_sequence & 0x7FFF),
            timeline: Timeline::default(),
            counters: Counters::default(),
            history: History::default(),
            rtx_sequence: first_sequence.rotate_left(7) & 0x7FFF,
            payload: None,
            wish: None,
            packets: 0,
            octets: 0,
            report_due: None,
            rtt: None,
            heard_of: false,
            loss: Loss::default(),
            resend: ResendBudget::default(),
        };
        subscription.apply_settings();
        subscription
    }

    /// A new negotiation of the same section.
    pub fn set_format(&mut self, format: SendFormat) {
        self.payload = None;
        self.format = format;
    }

    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.format.ssrc
    }

    #[must_use]
    pub fn section(&self) -> SectionId {
        self.format.section
    }

    /// The subscriber's transport can carry media now. Nothing is forwarded before, nor is a key frame asked for:
    /// it would pass unseen, and browsers send no second one within 300 ms.
    pub fn connected(&mut self) {
        if !self.connected {
            self.connected = true;
            self.ask(true);
        }
    }

    /// Nothing can be sent until it is connected again, and then it goes on with a key frame.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.current = None;
        self.missed = None;
        self.history.clear();
    }

    /// What was sent so far cannot be sent again as it was.
    pub fn forget_sent(&mut self) {
        self.history.clear();
    }

    pub fn set_layers(&mut self, table: LayerTable) {
        self.table = table;
        self.apply_settings();
    }

    /// Another codec of the track is forwarded from now on, beginning with a key frame.
    pub fn set_source(&mut self, table: LayerTable, svc: bool) {
        self.svc = svc;
        self.current = None;
        self.awaited = None;
        self.missed = None;
        self.active_layers = 0;
        self.set_layers(table);
        self.ask(true);
    }

    pub fn set_settings(&mut self, settings: TrackSettings) {
        if self.settings != settings {
            self.settings = settings;
            self.apply_settings();
        }
    }

    fn apply_settings(&mut self) {
        let before = self.wanted;
        self.wanted = if self.kind == MediaKind::Audio {
            (!self.settings.disabled).then_some(0)
        } else {
            self.table.wanted(&self.settings)
        };
        if self.wanted.is_none() {
            self.current = None;
            self.wish = None;
        } else if self.wanted != before {
            self.ask(self.current.is_none());
        }
    }

    /// Sends no layer above `cap` until told otherwise: its link takes no more.
    pub fn set_cap(&mut self, cap: Option<u8>) {
        if std::mem::replace(&mut self.cap, cap) != cap {
            self.ask(false);
        }
    }

    #[must_use]
    pub fn cap(&self) -> Option<u8> {
        self.cap
    }

    /// The layer the settings ask for, whatever the link takes; `None` is paused.
    #[must_use]
    pub fn wanted(&self) -> Option<u8> {
        self.wanted
    }

    /// The layer that is asked for and that the link takes.
    fn allowed(&self) -> Option<u8> {
        self.wanted
            .map(|wanted| self.cap.map_or(wanted, |cap| wanted.min(cap)))
    }

    /// The quality wanted of the publisher, for dynacast.
    #[must_use]
    pub fn wanted_quality(&self) -> Wanted {
        self.wanted.map(|layer| self.table.quality(layer))
    }

    /// The layer that is forwarded now.
    #[must_use]
    pub fn current_layer(&self) -> Option<u8> {
        self.current.map(|(_, layer)| {
            if self.svc {
                self.spatial.min(self.table.count().saturating_sub(1))
            } else {
                layer
            }
        })
    }

    /// A key frame to be asked of the publisher, if there is a new wish for one.
    pub fn poll_wish(&mut self) -> Option<KeyframeWish> {
        self.wish.take()
    }

    fn ask(&mut self, urgent: bool) {
        if self.kind == MediaKind::Audio || !self.connected {
            return;
        }
        if let Some(layer) = self.target() {
            let urgent = urgent || self.wish.is_some_and(|wish| wish.urgent);
            self.wish = Some(KeyframeWish { layer, urgent });
        }
    }

    /// The layer to be forwarded: the one wanted if it is arriving, else the next lower one that is, else
    /// the next higher one. Before anything arrived, the one wanted.
    fn target(&self) -> Option<u8> {
        let wanted = self.allowed()?;
        if self.svc || self.active_layers == 0 || self.active_layers & 1 << wanted != 0 {
            return Some(wanted);
        }
        let active = |layer: &u8| self.active_layers & 1 << layer != 0;
        (0..wanted)
            .rev()
            .find(active)
            .or_else(|| (wanted + 1..8).find(active))
            .or(Some(wanted))
    }

    /// Sends the packet to the subscriber if it is for it.
    pub fn forward(
        &mut self,
        now: Instant,
        packet: &Arc<MediaPacket>,
        queue: &mut SendQueue,
    ) -> Forwarded {
        if self.wanted.is_none() || !self.connected {
            return Forwarded::Skipped;
        }
        let stream = (packet.epoch, packet.layer);
        if packet.is_padding() {
            if self.current == Some(stream)
                && !self.numbers.leave_out(packet.sequence, false)
                && let Some(payload) = self.payload_for(packet.codec)
            {
                self.fill(now, packet, payload, queue);
            }
            return Forwarded::Skipped;
        }
        if self.kind == MediaKind::Video && !self.svc {
            self.follow_layers(packet);
        }
        if self.current != Some(stream) && !self.try_switch(now, packet, stream) {
            return Forwarded::Skipped;
        }
        let Some(payload) = self.payload_for(packet.codec) else {
            return Forwarded::Unsupported;
        };
        if self.kind == MediaKind::Video && !self.passes_layers(packet) {
            if !self.leave_out(packet) {
                self.fill(now, packet, payload, queue);
            }
            return Forwarded::Skipped;
        }
        let Some(mapped) = self.numbers.forward(packet.sequence) else {
            return Forwarded::Skipped;
        };
        let patch = if self.kind == MediaKind::Video {
            self.counters.patch(
                &packet.meta.detail,
                packet.payload(),
                mapped.picture_offset,
                mapped.newest,
            )
        } else {
            Patch::default()
        };
        let marker = packet.marker
            || (self.svc && packet.meta.end_of_frame && packet.meta.spatial == self.spatial);
        let outgoing = self.outgoing(packet, payload, mapped, patch, marker);
        self.send(now, outgoing, payload, queue);
        Forwarded::Queued
    }

    /// Sends something of a track that is muted. Pion tells its program of a track with the first packet; one
    /// that was muted when it was subscribed to would not be there before it is heard.
    pub fn open(&mut self, now: Instant, queue: &mut SendQueue) {
        if self.packets > 0 || self.wanted.is_none() || !self.connected {
            return;
        }
        let mut payloads = self.format.payloads.iter();
        let Some(payload) = payloads.find(|it| it.codec != CodecKind::Red).copied() else {
            return;
        };
        self.numbers.switch(1, 0);
        self.timeline
            .switch(now, &MediaPacket::empty(payload.codec, 1, now));
        for sequence in 1..=OPENING_PACKETS {
            let packet = Arc::new(MediaPacket::empty(payload.codec, sequence, now));
            self.fill(now, &packet, payload, queue);
        }
    }

    /// Sends an empty packet instead of one that is left out although it came late: the subscriber has a hole
    /// there, and would ask for it in vain.
    #[cold]
    fn fill(
        &mut self,
        now: Instant,
        packet: &Arc<MediaPacket>,
        payload: SendPayload,
        queue: &mut SendQueue,
    ) {
        if let Some(mapped) = self.numbers.forward(packet.sequence) {
            let empty = self.outgoing(packet, payload, mapped, Patch::hollow(), false);
            self.send(now, empty, payload, queue);
        }
    }

    fn outgoing(
        &mut self,
        packet: &Arc<MediaPacket>,
        payload: SendPayload,
        mapped: Mapped,
        patch: Patch,
        marker: bool,
    ) -> Outgoing {
        Outgoing {
            packet: Arc::clone(packet),
            ssrc: self.format.ssrc,
            timestamp: self.timeline.map(packet, mapped.newest),
            sequence: mapped.sequence,
            payload_type: payload.payload_type,
            marker,
            primary_only: packet.codec == CodecKind::Red && payload.codec != CodecKind::Red,
            patch,
            frame_offset: self.counters.frame_offset(&packet.meta, mapped.newest),
            original_sequence: None,
            section: self.format.section,
            with_mid: !self.heard_of,
        }
    }

    fn send(
        &mut self,
        now: Instant,
        outgoing: Outgoing,
        payload: SendPayload,
        queue: &mut SendQueue,
    ) {
        let size = outgoing.size();
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(size as u32 - 12);
        self.resend.sent(now, size);
        if self.report_due.is_none() {
            self.report_due = Some(now + FIRST_REPORT);
        }
        if payload.nack {
            self.history.push(now, &outgoing);
        }
        let priority = if self.kind == MediaKind::Audio {
            Priority::Audio
        } else {
            Priority::Video
        };
        // What a full queue refuses is lost as on a full link: it can be asked for again.
        queue.push(now, priority, outgoing);
    }

    /// Notices layers that stopped or came back.
    #[inline]
    fn follow_layers(&mut self, packet: &MediaPacket) {
        if packet.active_layers != self.active_layers {
            self.active_layers = packet.active_layers;
            let target = self.target();
            if target != self.awaited {
                self.awaited = target;
                let current_stopped = self
                    .current
                    .is_none_or(|(_, layer)| self.active_layers & 1 << layer == 0);
                if self.current.map(|(_, layer)| layer) != target {
                    self.ask(current_stopped);
                }
            }
        }
    }

    /// Starts forwarding the packet's stream if it may begin here.
    fn try_switch(&mut self, now: Instant, packet: &Arc<MediaPacket>, stream: (u32, u8)) -> bool {
        let video = self.kind == MediaKind::Video;
        if video {
            if !packet.meta.keyframe || !packet.newest {
                let stands = self
                    .current
                    .is_none_or(|(epoch, layer)| layer == packet.layer && epoch != packet.epoch);
                let meant = self.svc || self.target() == Some(packet.layer);
                if stands && meant && self.missed.replace(packet.epoch) != Some(packet.epoch) {
                    // Nothing can be seen until a key frame comes; the track repeats the request.
                    self.ask(true);
                }
                return false;
            }
            let target = self.target();
            let wanted = target == Some(packet.layer) || self.svc;
            // Anything is better than no picture, but nothing above what was asked for.
            let better = match self.current {
                None => self.allowed().is_some_and(|wanted| packet.layer <= wanted),
                Some((epoch, layer)) => layer == packet.layer && epoch != packet.epoch,
            };
            if !wanted && !better {
                return false;
            }
        } else if !packet.newest {
            return false;
        }
        if self.payload_for(packet.codec).is_none() {
            return false;
        }
        let offset = self.counters.switch(&packet.meta);
        self.numbers.switch(packet.sequence, offset);
        self.timeline.switch(now, packet);
        self.current = Some(stream);
        self.spatial = if self.svc { self.spatial_cap() } else { 0 };
        self.temporal = u8::MAX;
        self.highest_temporal = 0;
        self.picture_time = None;
        self.left_out = None;
        if video && !self.svc && self.target() != Some(packet.layer) {
            self.ask(false);
        }
        true
    }

    /// SVC: everything passes when the highest layer is wanted.
    fn spatial_cap(&self) -> u8 {
        match self.allowed() {
            Some(wanted) if wanted + 1 < self.table.count() => wanted,
            _ => u8::MAX,
        }
    }

    /// Whether a video packet's spatial and temporal layer pass.
    fn passes_layers(&mut self, packet: &MediaPacket) -> bool {
        let meta = &packet.meta;
        if packet.newest {
            self.highest_temporal = self.highest_temporal.max(meta.temporal);
            let new_picture = self.picture_time != Some(packet.timestamp);
            self.picture_time = Some(packet.timestamp);
            if new_picture {
                let cap = layers::temporal_for(self.settings.fps, self.highest_temporal);
                if cap < self.temporal || (meta.temporal <= cap && meta.temporal_switch) {
                    self.temporal = cap;
                }
            }
            if self.svc {
                let cap = self.spatial_cap();
                if cap < self.spatial && new_picture {
                    self.spatial = cap;
                } else if cap > self.spatial {
                    if meta.keyframe {
                        self.spatial = cap;
                    } else if meta.start_of_frame
                        && meta.spatial == self.spatial + 1
                        && is_intra_picture(packet)
                    {
                        self.spatial += 1;
                    }
                }
            }
        }
        meta.spatial <= self.spatial && meta.temporal <= self.temporal
    }

    /// Leaves out a packet of a layer that does not pass. False when it came late: see
    /// [`SequenceMap::leave_out`].
    fn leave_out(&mut self, packet: &MediaPacket) -> bool {
        let meta = &packet.meta;
        // With one layer a stream a picture left out takes its id along; with SVC lower layers keep it, and
        // VP9 refers to pictures by the distance of their ids.
        let whole_picture =
            meta.temporal > self.temporal && matches!(meta.detail, crate::codec::Detail::Vp8(_));
        let id = picture_id(&meta.detail).map_or(packet.timestamp, u32::from);
        let begins = whole_picture && self.left_out != Some(id);
        if packet.newest {
            self.left_out = Some(id);
        }
        self.numbers.leave_out(packet.sequence, begins)
    }

    #[inline]
    fn payload_for(&mut self, codec: CodecKind) -> Option<SendPayload> {
        if let Some(payload) = self.payload
            && payload.codec == codec
        {
            return Some(payload);
        }
        let find = |codec| {
            self.format
                .payloads
                .iter()
                .copied()
                .find(|payload| payload.codec == codec)
        };
        let found = find(codec).or_else(|| {
            if codec == CodecKind::Red {
                find(CodecKind::Opus)
            } else {
                None
            }
        })?;
        self.payload = Some(found);
        Some(found)
    }

    /// The subscriber lost the picture (PLI or FIR).
    pub fn handle_keyframe_request(&mut self) {
        if self.kind == MediaKind::Video && self.wanted.is_some() {
            let layer = self
                .current
                .map(|(_, layer)| layer)
                .or_else(|| self.target());
            if let Some(layer) = layer {
                let urgent = self.current.is_none() || self.wish.is_some_and(|wish| wish.urgent);
                self.wish = Some(KeyframeWish { layer, urgent });
            }
        }
    }

    /// The payload type and codec in use, once something was sent.
    #[must_use]
    pub fn codec(&self) -> Option<CodecKind> {
        self.payload.map(|payload| payload.codec)
    }
}

/// A layer's frame that refers to no earlier picture.
fn is_intra_picture(packet: &MediaPacket) -> bool {
    match &packet.meta.detail {
        crate::codec::Detail::Vp9(descriptor) => !descriptor.inter_picture,
        crate::codec::Detail::Dependency(frame) => frame.is_switch() && frame.temporal == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
