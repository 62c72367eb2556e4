//! Tracks that the server sends.

use std::sync::Arc;
use std::time::Instant;

use super::{
    Client, ClientEvent, Decryption, FrameReader, PacketSink, ReceivedFrame, Synchronization,
};
use crate::api::{MediaKind, Target};
use crate::encryption::Form;
use crate::plain::Content;
use crate::sdp;
use crate::sdp::{Codec, PayloadFormat};
use crate::statistics::Report;
use crate::track::MediaPacket;
use crate::track::receiver::Ingress;
use crate::track::section::{ReceiveSection, ReceiveSsrc};

type Unseen = FrameReader<fn(ReceivedFrame) -> bool>;

/// A section that the server sends in.
pub(super) struct Received {
    pub(super) mid: String,
    pub(super) kind: MediaKind,
    /// Track part of the msid.
    pub(super) track: String,
    pub(super) formats: Vec<PayloadFormat>,
    /// What earlier sinks counted.
    pub(super) before: Report,
    pub(super) sink: Option<Box<dyn PacketSink>>,
    /// The caller's name for it.
    sink_id: usize,
    decryption: Option<Decryption>,
    /// Name of what it belongs to, and what is shared by all who do.
    stream: Option<(String, Synchronization)>,
    /// Opens encrypted pictures that nobody looks at, for what is told of it.
    unseen: Option<Unseen>,
}

impl Received {
    fn new(mid: String, kind: MediaKind) -> Self {
        Self {
            mid,
            kind,
            track: String::new(),
            formats: Vec::new(),
            before: Report::new("inbound-rtp", String::new()),
            sink: None,
            sink_id: 0,
            decryption: None,
            stream: None,
            unseen: None,
        }
    }

    /// Opens by this from now on, for its sink, or else to tell whether that can be.
    pub(super) fn decrypt(&mut self, by: Option<Decryption>) {
        self.decryption = by;
        if let Some(sink) = &mut self.sink {
            sink.decrypt(self.decryption.clone());
            self.unseen = None;
        } else if self.decryption.is_some() && self.kind == MediaKind::Video {
            let unseen = self
                .unseen
                .get_or_insert_with(|| FrameReader::new(|_| true));
            unseen.decrypt(self.decryption.clone());
        } else {
            self.unseen = None;
        }
    }

    /// The packet as the sink is to have it. Sound is whole in a packet, so that it is opened here.
    fn opened(&self, packet: &Arc<MediaPacket>) -> Option<Arc<MediaPacket>> {
        match &self.decryption {
            Some(by) if self.kind == MediaKind::Audio && !packet.is_padding() => {
                let payload = by.open(Form::of(packet.codec, true), packet.payload())?;
                Some(Arc::new(packet.with_payload(payload)))
            }
            _ => Some(Arc::clone(packet)),
        }
    }

    /// What a sink counted stays, when it goes.
    fn let_go(&mut self, now: Instant) {
        if let Some(sink) = self.sink.take() {
            sink.describe(now, &mut self.before);
            self.before.keep_sums();
            self.decrypt(self.decryption.clone());
        }
    }

    fn set_sink(&mut self, now: Instant, id: usize, sink: Box<dyn PacketSink>) {
        self.let_go(now);
        self.sink = Some(sink);
        self.sink_id = id;
        self.decrypt(self.decryption.clone());
        self.synchronize();
    }

    fn synchronize(&mut self) {
        if let Some(sink) = &mut self.sink {
            sink.synchronize(self.stream.as_ref().map(|(_, sync)| sync.clone()));
        }
    }

    /// A frame as it was; where keys are asked for there is none.
    pub(super) fn plain(&mut self, now: Instant, frame: &Content) {
        if self.decryption.is_none()
            && let Some(sink) = &mut self.sink
        {
            sink.plain(now, frame);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.sink.as_ref()?.poll_timeout()
    }
}

impl Client {
    /// Gives what is received in a section to `sink` instead of whoever had it before. `id` is the caller's
    /// name for it.
    pub fn set_sink(
        &mut self,
        now: Instant,
        target: Target,
        mid: &str,
        id: usize,
        sink: Box<dyn PacketSink>,
    ) {
        if let Some((_, received)) = self.received(target, mid) {
            received.set_sink(now, id, sink);
        }
        self.request_keyframe(target, mid);
    }

    /// What is received in a section is played in step with what is received in others that have the same name
    /// for their stream.
    pub fn synchronize(&mut self, now: Instant, target: Target, mid: &str, stream: &str) {
        let all = self.connections.iter().flat_map(|it| it.received.values());
        let known = all
            .filter_map(|it| it.stream.as_ref())
            .find(|(name, _)| name == stream)
            .map(|(_, sync)| sync.clone());
        if let Some((_, received)) = self.received(target, mid) {
            let sync = known.unwrap_or_else(|| Synchronization::new(now));
            received.stream = Some((stream.to_owned(), sync));
            received.synchronize();
        }
    }

    /// Nobody gets what is received in a section, unless another sink has it than that with the name.
    pub fn remove_sink(&mut self, now: Instant, target: Target, mid: &str, id: Option<usize>) {
        if let Some((_, received)) = self.received(target, mid)
            && id.is_none_or(|id| id == received.sink_id)
        {
            received.let_go(now);
        }
    }

    /// Asks for a key frame of a video section.
    pub fn request_keyframe(&mut self, target: Target, mid: &str) {
        if let Some((tag, received)) = self.received(target, mid)
            && received.kind == MediaKind::Video
            && let Some(connection) = self.connection(target)
        {
            connection.receiver.request_keyframe(tag, 0, true);
        }
    }

    pub(super) fn received(&mut self, target: Target, mid: &str) -> Option<(u32, &mut Received)> {
        let mut received = self.connection(target)?.received.iter_mut();
        received
            .find(|(_, it)| it.mid == mid)
            .map(|(tag, it)| (*tag, it))
    }

    pub(super) fn section_started(
        &mut self,
        now: Instant,
        target: Target,
        section: &sdp::ReceiveSection,
    ) {
        let Some(connection) = self.connection(target) else {
            return;
        };
        let tag = connection.new_tag();
        connection
            .received
            .insert(tag, Received::new(section.mid.clone(), section.kind));
        let codecs = || section.payloads.iter().map(|format| format.codec);
        let codec = codecs().find(|codec| *codec != Codec::Red);
        let (stream, track) = section
            .msid
            .as_ref()
            .map(|msid| (msid.stream.clone(), msid.track.clone()))
            .unwrap_or_default();
        self.events.push_back(ClientEvent::Track {
            target,
            mid: section.mid.clone(),
            kind: section.kind,
            stream,
            track,
            mime: codec.map(Codec::mime).unwrap_or_default(),
        });
        self.set_section(now, target, tag, section);
    }

    pub(super) fn section_changed(
        &mut self,
        now: Instant,
        target: Target,
        section: &sdp::ReceiveSection,
    ) {
        let known = self.received(target, &section.mid).map(|(tag, _)| tag);
        if let Some(tag) = known {
            self.set_section(now, target, tag, section);
        }
    }

    fn set_section(
        &mut self,
        now: Instant,
        target: Target,
        tag: u32,
        section: &sdp::ReceiveSection,
    ) {
        if let Some((_, received)) = self.received(target, &section.mid) {
            received.formats.clone_from(&section.payloads);
            received.track = section
                .msid
                .as_ref()
                .map(|it| it.track.clone())
                .unwrap_or_default();
        }
        // A server sends one stream a track, whatever layers it chooses from.
        let ssrcs = section.ssrcs.iter().take(1).map(|stream| ReceiveSsrc {
            ssrc: stream.ssrc,
            rtx: stream.rtx,
            layer: 0,
        });
        let section =
            ReceiveSection::negotiated(section, tag, false, Vec::new(), ssrcs.collect(), false);
        let mut ingress = std::mem::take(&mut self.ingress);
        if let Some(connection) = self.connection(target) {
            connection.receiver.set_section(now, section, &mut ingress);
        }
        self.deliver(now, target, &mut ingress);
        self.ingress = ingress;
    }

    pub(super) fn section_stopped(&mut self, now: Instant, target: Target, mid: &str) {
        let Some(connection) = self.connection(target) else {
            return;
        };
        connection.receiver.remove_section(now, mid);
        connection.received.retain(|_, it| it.mid != mid);
        self.events.push_back(ClientEvent::TrackEnded {
            target,
            mid: mid.to_owned(),
        });
    }

    pub(super) fn take_rtp(&mut self, now: Instant, target: Target, packet: &[u8]) {
        let mut ingress = std::mem::take(&mut self.ingress);
        if let Some(connection) = self.connection(target) {
            // A discarded packet is lost, no more.
            let _ = connection.receiver.handle_rtp(now, packet, &mut ingress);
            while connection.receiver.poll_event().is_some() {}
        }
        self.deliver(now, target, &mut ingress);
        self.ingress = ingress;
    }

    fn deliver(&mut self, now: Instant, target: Target, ingress: &mut Vec<Ingress>) {
        for Ingress { tag, packet } in ingress.drain(..) {
            let Some(connection) = self.connection(target) else {
                continue;
            };
            let Some(received) = connection.received.get_mut(&tag) else {
                continue;
            };
            let packet = received.opened(&packet);
            if let (Some(sink), Some(packet)) = (&mut received.sink, &packet) {
                sink.packet(now, packet);
                if sink.needs_keyframe(now) {
                    connection.receiver.request_keyframe(tag, 0, true);
                }
            } else if let (Some(unseen), Some(packet)) = (&mut received.unseen, &packet) {
                // Of pictures that nobody looks at, any will do.
                unseen.packet(now, packet);
            }
            let states = received.decryption.iter().flat_map(Decryption::take_states);
            let opening = |state| ClientEvent::Opening {
                target,
                mid: received.mid.clone(),
                state,
            };
            let events: Vec<_> = states.map(opening).collect();
            self.events.extend(events);
        }
    }

    /// Sinks that keep their own time.
    pub(super) fn play_due(&mut self, now: Instant) {
        for connection in &mut self.connections {
            for (tag, received) in &mut connection.received {
                let due = received.deadline().is_some_and(|due| due <= now);
                if let Some(sink) = received.sink.as_mut().filter(|_| due) {
                    sink.handle_timeout(now);
                    if sink.needs_keyframe(now) {
                        connection.receiver.request_keyframe(*tag, 0, true);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::{Derivation, KeyOptions, Keys, Opener};

    struct Silent;

    impl PacketSink for Silent {
        fn packet(&mut self, _: Instant, _: &Arc<MediaPacket>) {}
    }

    #[test]
    fn pictures_are_put_together_for_nobody_only_while_nobody_has_a_sink() {
        let now = Instant::now();
        let options = KeyOptions {
            derivation: Derivation::Hkdf,
            salt: Vec::new(),
            ratchet_window: 0,
            failure_tolerance: None,
            ring_size: 1,
        };
        let keys = Arc::new(Keys::new(options, |_| ()));
        let by = Decryption::new(Opener::new(keys, "ada", b""));
        let mut received = Received::new("0".into(), MediaKind::Video);
        received.decrypt(Some(by.clone()));
        assert!(received.unseen.is_some());
        received.set_sink(now, 1, Box::new(Silent));
        assert!(received.unseen.is_none());
        received.decrypt(Some(by));
        assert!(received.unseen.is_none());
        received.let_go(now);
        assert!(received.unseen.is_some());
        received.decrypt(None);
        assert!(received.unseen.is_none());
    }
}
