//! Subscriptions: who gets which track, over which connection, in which codec.

use std::time::Instant;

use slab::Slab;

use super::Plane;
use super::publishing::{Source, Variant};
use super::timers::Armed;
use crate::api::{Event, MediaKind, ParticipantId, SubscriptionWish, TrackId, TrackSettings};
use crate::congestion::outgoing::SectionId;
use crate::sdp::{Codec, CodecWish, Fmtp, SendSection, SendSpec};
use crate::subscription::{LayerTable, SendFormat, Subscription, send_extensions};
use crate::track::dynacast::Wanted;

/// Signalling protocol from which tracks of one stream may share a stream id.
const SYNC_STREAMS_PROTOCOL: u32 = 10;

/// One track sent to one participant.
pub(super) struct Sub {
    pub(super) participant: ParticipantId,
    pub(super) track: TrackId,
    pub(super) connection: usize,
    ssrc: u32,
    rtx_ssrc: u32,
    /// What it is fed by, once the client has a section for it.
    pub(super) variant: Option<usize>,
    /// Kept while the client has no section for it, as its SSRC must not count from the start again.
    pub(super) forward: Option<Subscription>,
    section: Option<SectionId>,
    pub(super) mid: String,
    /// The codec it is sent in.
    codec: Option<Codec>,
    /// As counted for dynacast.
    wanted: Wanted,
    /// The control plane knows that it is up.
    announced: bool,
    pub(super) report: Armed,
}

impl Source {
    /// Its codecs: those that are published now first.
    fn by_preference<'a>(
        &'a self,
        variants: &'a Slab<Variant>,
    ) -> impl Iterator<Item = (usize, &'a Variant)> {
        let known = move || {
            self.variants
                .iter()
                .filter_map(|key| Some((*key, variants.get(*key)?)))
        };
        let published = |variant: &Variant| variant.connection.is_some();
        known()
            .filter(move |it| published(it.1))
            .chain(known().filter(move |it| !published(it.1)))
    }
}

impl Plane {
    pub(super) fn set_subscription(
        &mut self,
        now: Instant,
        id: ParticipantId,
        track: TrackId,
        wish: SubscriptionWish,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        match wish {
            SubscriptionWish::Default => participant.wishes.remove(&track),
            wish => participant.wishes.insert(track, wish),
        };
        self.review_subscription(now, id, track);
    }

    pub(super) fn set_track_settings(
        &mut self,
        now: Instant,
        id: ParticipantId,
        track: TrackId,
        settings: TrackSettings,
    ) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        participant.settings.insert(track, settings);
        let Some(key) = participant.subs.get(&track).copied() else {
            return;
        };
        if let Some(forward) = self.subs.get_mut(key).and_then(|sub| sub.forward.as_mut()) {
            forward.set_settings(settings);
        }
        self.follow_wishes(now, key);
    }

    /// Subscribes or unsubscribes as the participant's wish, its permissions and the track say now.
    pub(super) fn review_subscription(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let Some(source) = self.tracks.get(&track) else {
            return;
        };
        let wished = match participant.wishes.get(&track) {
            Some(SubscriptionWish::Subscribed) => true,
            Some(SubscriptionWish::Unsubscribed) => false,
            Some(SubscriptionWish::Default) | None => {
                let hidden = |it: &super::Participant| it.spec.permissions.hidden;
                participant.spec.auto_subscribe
                    && !self
                        .participants
                        .get(&self.publisher_of(source))
                        .is_some_and(hidden)
            }
        };
        let wanted = wished
            && participant.spec.permissions.can_subscribe
            && source.owner != id
            && !source.variants.is_empty();
        match (wanted, participant.subs.contains_key(&track)) {
            (true, false) => self.subscribe(id, track),
            (false, true) => {
                self.drop_subscription(now, id, track);
                self.events.push_back(Event::Unsubscribed {
                    participant: id,
                    track,
                });
            }
            _ => {}
        }
    }

    fn subscribe(&mut self, id: ParticipantId, track: TrackId) {
        let (ssrc, rtx_ssrc) = (self.random.u32().max(1), self.random.u32().max(1));
        let Some(source) = self.tracks.get(&track) else {
            return;
        };
        let Some(owner) = self.shown_sid(source) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(key) = participant.receiving() else {
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let sync = self
            .rooms
            .get(&source.room)
            .is_some_and(|room| room.spec.sync_streams)
            && participant.spec.client.protocol >= SYNC_STREAMS_PROTOCOL
            && participant.spec.client.browser != "firefox";
        let sid = &source.spec.sid;
        let stream = if sync { &source.spec.stream } else { sid };
        let mut codecs: Vec<CodecWish> = Vec::new();
        for (_, variant) in source.by_preference(&self.variants) {
            codecs.push(variant.wish.clone());
            if variant.codec == Codec::Red {
                codecs.push(CodecWish {
                    codec: Codec::Opus,
                    fmtp: Fmtp::default(),
                });
            }
        }
        connection.negotiator.add_send(SendSpec {
            key: track,
            kind: source.spec.kind,
            stream: format!("{owner}|{stream}"),
            track: sid.to_string(),
            ssrc,
            rtx_ssrc: Some(rtx_ssrc),
            codecs,
            stereo: source.spec.stereo,
            rids: Vec::new(),
        });
        connection.wants_negotiation = true;
        let sub = self.subs.insert(Sub {
            participant: id,
            track,
            connection: key,
            ssrc,
            rtx_ssrc,
            variant: None,
            forward: None,
            section: None,
            mid: String::new(),
            codec: None,
            wanted: None,
            announced: false,
            report: Armed::default(),
        });
        participant.subs.insert(track, sub);
        self.touch(key);
    }

    /// The client has a section for a track that is sent to it, or other formats in it.
    pub(super) fn send_ready(&mut self, now: Instant, key: usize, section: &SendSection) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let id = connection.participant;
        let Some(participant) = self.participants.get(&id) else {
            return;
        };
        let track = section.key;
        let Some(sub_key) = participant.subs.get(&track).copied() else {
            return;
        };
        let Some(source) = self.tracks.get(&track) else {
            return;
        };
        let Some(sub) = self.subs.get_mut(sub_key) else {
            return;
        };
        let extensions = send_extensions(section);
        // The best variant that the client has a format for; RED goes to others as Opus.
        let takes = |codec: Codec| section.payload(codec).map(|_| codec);
        let fit = source
            .by_preference(&self.variants)
            .find_map(|(key, variant)| {
                let opus = || {
                    (variant.codec == Codec::Red)
                        .then(|| takes(Codec::Opus))
                        .flatten()
                };
                Some((key, variant, takes(variant.codec).or_else(opus)?))
            });
        let Some((variant_key, variant, codec)) = fit else {
            return;
        };
        let (id_of_section, written_otherwise) = match sub.section {
            Some(known) => (
                known,
                connection
                    .queue
                    .set_section(known, extensions, &section.mid),
            ),
            None => (connection.queue.add_section(extensions, &section.mid), true),
        };
        sub.section = Some(id_of_section);
        sub.mid.clone_from(&section.mid);
        sub.codec = Some(codec);
        let format = SendFormat::negotiated(section, sub.ssrc, sub.rtx_ssrc, id_of_section);
        let settings = participant.settings_of(track);
        let changed = sub.variant != Some(variant_key);
        match &mut sub.forward {
            Some(forward) => {
                forward.set_format(format);
                if written_otherwise {
                    forward.forget_sent();
                }
                let table = LayerTable::new(&variant.layers.table);
                if changed {
                    forward.set_source(table, variant.layers.svc);
                } else {
                    forward.set_layers(table);
                }
            }
            None => {
                sub.forward = Some(Subscription::new(
                    source.spec.kind,
                    format,
                    LayerTable::new(&variant.layers.table),
                    variant.layers.svc,
                    settings,
                    self.random.u16(),
                ));
            }
        }
        // What comes on top of a full link begins small.
        if connection.allowance.is_limited()
            && source.spec.kind == MediaKind::Video
            && let Some(forward) = sub.forward.as_mut().filter(|_| changed)
        {
            forward.set_cap(Some(0));
        }
        connection.by_ssrc.insert(sub.ssrc, sub_key);
        let connected = connection.connected;
        if changed {
            self.leave_variant(now, sub_key);
            if let Some(sub) = self.subs.get_mut(sub_key) {
                sub.variant = Some(variant_key);
            }
            if let Some(variant) = self.variants.get_mut(variant_key) {
                variant.subs.push(sub_key);
            }
        }
        if connected {
            self.sub_up(now, sub_key);
        } else {
            self.follow_wishes(now, sub_key);
        }
    }

    /// Media can flow on a connection now.
    pub(super) fn connection_up(&mut self, now: Instant, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.connected = true;
        let mut subs: Vec<usize> = connection.by_ssrc.values().copied().collect();
        subs.sort_unstable();
        subs.into_iter().for_each(|sub| self.sub_up(now, sub));
    }

    /// Media goes nowhere: none is queued until the connection is up again.
    pub(super) fn connection_down(&mut self, key: usize) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        connection.connected = false;
        connection.queue.clear();
        for sub in connection.by_ssrc.values() {
            if let Some(forward) = self.subs.get_mut(*sub).and_then(|sub| sub.forward.as_mut()) {
                forward.disconnected();
            }
        }
    }

    fn sub_up(&mut self, now: Instant, key: usize) {
        let Some(sub) = self.subs.get_mut(key) else {
            return;
        };
        let Some(forward) = sub.forward.as_mut() else {
            return;
        };
        forward.connected();
        if !std::mem::replace(&mut sub.announced, true) {
            let (participant, track, connection) = (sub.participant, sub.track, sub.connection);
            let muted = self
                .tracks
                .get(&track)
                .is_some_and(|source| source.spec.muted);
            if muted && let Some(connection) = self.connections.get_mut(connection) {
                forward.open(now, &mut connection.queue);
            }
            let mime = sub
                .codec
                .map(|codec| codec.mime().to_owned())
                .unwrap_or_default();
            self.events.push_back(Event::Subscribed {
                participant,
                track,
                mime,
            });
            self.touch(connection);
        }
        self.follow_wishes(now, key);
    }

    /// Passes on what a subscription wants of its publisher: key frames, and layers for dynacast.
    pub(super) fn follow_wishes(&mut self, now: Instant, key: usize) {
        let Some(sub) = self.subs.get_mut(key) else {
            return;
        };
        let (Some(tag), Some(forward)) = (sub.variant, sub.forward.as_mut()) else {
            return;
        };
        let wish = forward.poll_wish();
        let wanted = forward.wanted_quality();
        if wanted != sub.wanted {
            let before = std::mem::replace(&mut sub.wanted, wanted);
            if let Some(variant) = self.variants.get_mut(tag) {
                variant.dynacast.change(now, before, wanted);
            }
            self.arm_dynacast(now, tag);
        }
        if let Some(wish) = wish {
            self.request_keyframe(tag, wish.layer, wish.urgent);
        }
    }

    /// Asks the publisher of a variant for a key frame of a layer; above the highest layer means that one.
    pub(super) fn request_keyframe(&mut self, tag: usize, layer: u8, urgent: bool) {
        let Some(variant) = self.variants.get(tag) else {
            return;
        };
        let highest = variant.layers.table.len().max(1) as u8 - 1;
        let Some(connection) = variant.connection else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(connection) {
            connection
                .receiver
                .request_keyframe(tag as u32, layer.min(highest), urgent);
        }
        self.touch(connection);
    }

    /// The client stopped the section; the track waits for another one.
    pub(super) fn send_stopped(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        let Some(key) = self
            .participants
            .get(&id)
            .and_then(|it| it.subs.get(&track).copied())
        else {
            return;
        };
        self.leave_variant(now, key);
        self.leave_section(key);
    }

    fn leave_variant(&mut self, now: Instant, key: usize) {
        let Some(sub) = self.subs.get_mut(key) else {
            return;
        };
        let wanted = std::mem::take(&mut sub.wanted);
        let Some(tag) = sub.variant.take() else {
            return;
        };
        if let Some(variant) = self.variants.get_mut(tag) {
            variant.subs.retain(|known| *known != key);
            variant.dynacast.change(now, wanted, None);
            self.arm_dynacast(now, tag);
        }
    }

    fn leave_section(&mut self, key: usize) {
        let Some(sub) = self.subs.get_mut(key) else {
            return;
        };
        let Some(section) = sub.section.take() else {
            return;
        };
        if let Some(connection) = self.connections.get_mut(sub.connection) {
            connection.queue.remove_section(section);
            connection.by_ssrc.remove(&sub.ssrc);
        }
    }

    pub(super) fn drop_subscription(&mut self, now: Instant, id: ParticipantId, track: TrackId) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        let Some(key) = participant.subs.remove(&track) else {
            return;
        };
        let Some(sub) = self.subs.get(key) else {
            return;
        };
        let connection = sub.connection;
        self.forget_sub(now, key);
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.negotiator.remove_send(track);
            connection.wants_negotiation = true;
        }
        self.touch(connection);
    }

    /// Ends what a subscription holds, without a word to its client.
    pub(super) fn forget_sub(&mut self, now: Instant, key: usize) {
        self.leave_variant(now, key);
        self.leave_section(key);
        self.subs.try_remove(key);
    }

    /// What fed a subscription ended while its track goes on: negotiated anew, another codec takes over.
    pub(super) fn resubscribe(&mut self, now: Instant, key: usize) {
        let Some(sub) = self.subs.get(key) else {
            return;
        };
        let (id, track) = (sub.participant, sub.track);
        self.drop_subscription(now, id, track);
        self.review_subscription(now, id, track);
    }
}
