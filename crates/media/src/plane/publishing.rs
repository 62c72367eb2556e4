//! Published tracks: announced by AddTrack, found in descriptions, bound to what is really sent.
//!
//! A track may come in several codecs: those that are sent, and backups that are published only when a
//! subscriber needs them (dynacast asks for them).

use std::sync::Arc;
use std::time::Instant;

use rustc_hash::FxHashSet;

use super::Plane;
use super::forwarding::Mirror;
use super::layers::BoundLayers;
use super::timers::Armed;
use crate::api::{Event, LayerMode, MediaKind, ParticipantId, RoomId, TrackId, TrackSpec};
use crate::sdp::{Codec, CodecWish, Fmtp, OfferedSection, ReceivePreferences, ReceiveSection};
use crate::subscription::LayerTable;
use crate::track::dynacast::Dynacast;
use crate::track::section;
use crate::track::speakers::LevelMeter;

/// Sections nobody announced that are remembered of one participant.
const MOST_UNMATCHED: usize = 64;

/// A track, from AddTrack on.
pub(super) struct Source {
    pub(super) owner: ParticipantId,
    pub(super) room: RoomId,
    pub(super) spec: TrackSpec,
    /// Empty until the track is bound. Then the first is the codec that it was published with.
    pub(super) variants: Vec<usize>,
    /// Of a microphone.
    pub(super) meter: Option<LevelMeter>,
    /// Tracks of other rooms that show this one.
    pub(super) mirrors: Vec<TrackId>,
    /// This is such a track.
    pub(super) mirror: Option<Mirror>,
}

/// One codec of a track.
pub(super) struct Variant {
    pub(super) track: TrackId,
    /// Where it comes in; `None`: declared as a backup and not published now.
    pub(super) connection: Option<usize>,
    pub(super) mid: String,
    pub(super) codec: Codec,
    pub(super) wish: CodecWish,
    pub(super) layers: BoundLayers,
    pub(super) subs: Vec<usize>,
    pub(super) dynacast: Dynacast,
    pub(super) dynacast_armed: Armed,
    /// Its frames come as they are; whether somebody needs them encoded.
    pub(super) passed: Option<bool>,
}

impl Variant {
    fn new(now: Instant, track: TrackId, codec: Codec) -> Self {
        Self {
            track,
            connection: None,
            mid: String::new(),
            codec,
            wish: CodecWish {
                codec,
                fmtp: Fmtp::default(),
            },
            layers: BoundLayers::default(),
            subs: Vec::new(),
            dynacast: Dynacast::new(now),
            dynacast_armed: Armed::default(),
            passed: None,
        }
    }
}

/// Announced and not found in a description yet: a track, or another codec of one.
pub(super) struct Awaited {
    pub(super) track: TrackId,
    kind: MediaKind,
    cids: Vec<String>,
    preferences: ReceivePreferences,
    /// A section of an offer that is being answered.
    section: Option<(usize, String)>,
}

/// Found in a description and not announced yet.
pub(super) struct Unmatched {
    connection: usize,
    section: ReceiveSection,
}

impl Awaited {
    fn has_cid(&self, track: Option<&str>) -> bool {
        track.is_some_and(|track| !track.is_empty() && self.cids.iter().any(|cid| cid == track))
    }
}

fn awaited(spec: &TrackSpec, only: bool) -> Awaited {
    let codecs = &spec.codecs;
    let mut cids: Vec<String> = codecs.iter().map(|codec| codec.cid.clone()).collect();
    cids.push(spec.cid.clone());
    cids.retain(|cid| !cid.is_empty());
    Awaited {
        track: spec.track,
        kind: spec.kind,
        cids,
        preferences: ReceivePreferences {
            codec: codecs
                .iter()
                .find_map(|codec| Codec::from_mime(&codec.mime)),
            only,
            stereo: spec.stereo,
            dtx: spec.dtx,
            red: spec.red,
        },
        section: None,
    }
}

/// RED is a way to send Opus, not another codec.
fn alike(one: Codec, other: Codec) -> bool {
    let plain = |codec| match codec {
        Codec::Red => Codec::Opus,
        codec => codec,
    };
    plain(one) == plain(other)
}

impl Plane {
    pub(super) fn expect_track(&mut self, now: Instant, id: ParticipantId, spec: TrackSpec) {
        let Some(participant) = self.participants.get_mut(&id) else {
            return;
        };
        // Firefox sends another codec than the first it is answered with.
        let only = spec.kind == MediaKind::Video && participant.spec.client.browser == "firefox";
        let awaits = awaited(&spec, only);
        let track = spec.track;
        match self.tracks.get_mut(&track) {
            Some(source) if source.owner == id => {
                // Another codec of a track that is there.
                source.spec.codecs.extend(spec.codecs);
            }
            Some(_) => return,
            None => {
                participant.tracks.push(track);
                let source = Source {
                    owner: id,
                    room: participant.spec.room,
                    meter: spec.microphone.then(LevelMeter::new),
                    spec,
                    variants: Vec::new(),
                    mirrors: Vec::new(),
                    mirror: None,
                };
                self.tracks.insert(track, source);
            }
        }
        // Already in a description: fast publishers offer first.
        let kind = awaits.kind;
        let by_cid = |it: &Unmatched| {
            awaits.has_cid(it.section.msid.as_ref().map(|msid| msid.track.as_str()))
        };
        let found = participant.unmatched.iter().position(by_cid).or_else(|| {
            participant
                .unmatched
                .iter()
                .position(|it| it.section.kind == kind)
        });
        match found {
            Some(index) => {
                let unmatched = participant.unmatched.remove(index);
                self.bind(now, unmatched.connection, track, unmatched.section);
            }
            None => participant.awaited.push(awaits),
        }
    }

    /// Finds the announced track of each new section of an offer, and how to answer it.
    pub(super) fn match_sections(
        &mut self,
        id: ParticipantId,
        connection: usize,
        sections: &[OfferedSection],
    ) -> Vec<(String, ReceivePreferences)> {
        let Some(participant) = self.participants.get_mut(&id) else {
            return Vec::new();
        };
        for awaited in &mut participant.awaited {
            awaited.section = None;
        }
        let new: Vec<&OfferedSection> = sections.iter().filter(|section| section.new).collect();
        let mut answered = Vec::new();
        let mut left: Vec<&OfferedSection> = Vec::new();
        for section in new {
            let track = section.msid.as_ref().map(|msid| msid.track.as_str());
            let found = participant
                .awaited
                .iter_mut()
                .find(|it| it.section.is_none() && it.kind == section.kind && it.has_cid(track));
            match found {
                Some(awaited) => {
                    awaited.section = Some((connection, section.mid.clone()));
                    answered.push((section.mid.clone(), awaited.preferences.clone()));
                }
                None => left.push(section),
            }
        }
        // Some clients name their tracks otherwise in the description: by order, then.
        for section in left {
            let found = participant
                .awaited
                .iter_mut()
                .find(|it| it.section.is_none() && it.kind == section.kind);
            if let Some(awaited) = found {
                awaited.section = Some((connection, section.mid.clone()));
                answered.push((section.mid.clone(), awaited.preferences.clone()));
            }
        }
        answered
    }

    pub(super) fn section_started(&mut self, now: Instant, key: usize, section: ReceiveSection) {
        // A section that carried another track before.
        self.section_left(now, key, &section.mid);
        let Some(owner) = self.connections.get(key).map(|it| it.participant) else {
            return;
        };
        let Some(participant) = self.participants.get_mut(&owner) else {
            return;
        };
        let matched = participant.awaited.iter().position(|it| {
            it.section
                .as_ref()
                .is_some_and(|(connection, mid)| *connection == key && *mid == section.mid)
        });
        match matched {
            Some(index) => {
                let awaited = participant.awaited.remove(index);
                self.bind(now, key, awaited.track, section);
            }
            None if participant.unmatched.len() < MOST_UNMATCHED => {
                participant.unmatched.push(Unmatched {
                    connection: key,
                    section,
                });
            }
            None => {}
        }
    }

    pub(super) fn section_changed(&mut self, now: Instant, key: usize, section: ReceiveSection) {
        match self.variant_of(key, &section.mid) {
            Some(variant) => self.bind_variant(now, variant, section),
            None => {
                let Some(connection) = self.connections.get(key) else {
                    return;
                };
                let Some(participant) = self.participants.get_mut(&connection.participant) else {
                    return;
                };
                let known =
                    |it: &&mut Unmatched| it.connection == key && it.section.mid == section.mid;
                if let Some(unmatched) = participant.unmatched.iter_mut().find(known) {
                    unmatched.section = section;
                }
            }
        }
    }

    pub(super) fn section_stopped(&mut self, now: Instant, key: usize, mid: &str) {
        if let Some(connection) = self.connections.get(key)
            && let Some(participant) = self.participants.get_mut(&connection.participant)
        {
            participant
                .unmatched
                .retain(|it| it.connection != key || it.section.mid != mid);
        }
        self.section_left(now, key, mid);
    }

    /// Whatever was bound to a section has ended.
    fn section_left(&mut self, now: Instant, key: usize, mid: &str) {
        let Some(variant) = self.variant_of(key, mid) else {
            return;
        };
        let Some(track) = self.variants.get(variant).map(|variant| variant.track) else {
            return;
        };
        let bound = |key: &usize| {
            self.variants
                .get(*key)
                .is_some_and(|it| it.connection.is_some())
        };
        let goes_on = |key: &usize| *key != variant && bound(key);
        if self
            .tracks
            .get(&track)
            .is_some_and(|source| source.variants.iter().any(goes_on))
        {
            self.unbind(now, variant);
        } else {
            self.end_track(now, track);
            self.events.push_back(Event::TrackEnded(track));
        }
    }

    pub(super) fn variant_of(&self, connection: usize, mid: &str) -> Option<usize> {
        let participant = self
            .participants
            .get(&self.connections.get(connection)?.participant)?;
        let of_track = |track| self.tracks.get(track).map(|source| source.variants.iter());
        participant
            .tracks
            .iter()
            .filter_map(of_track)
            .flatten()
            .copied()
            .find(|key| {
                self.variants
                    .get(*key)
                    .is_some_and(|it| it.connection == Some(connection) && it.mid == mid)
            })
    }

    /// A track's section is known: it can be received, and others can have it.
    fn bind(&mut self, now: Instant, connection: usize, track: TrackId, section: ReceiveSection) {
        let Some(source) = self.tracks.get_mut(&track) else {
            return;
        };
        let Some(codec) = section.payloads.first().map(|format| format.codec) else {
            return;
        };
        let variants = &mut self.variants;
        let backup = |key: &&usize| {
            variants
                .get(**key)
                .is_some_and(|it| it.connection.is_none() && alike(it.codec, codec))
        };
        let key = match source.variants.iter().find(backup).copied() {
            Some(key) => key,
            None => {
                let key = variants.insert(Variant::new(now, track, codec));
                source.variants.push(key);
                key
            }
        };
        // An audio track that names one codec may come in another, with no backup meant.
        let backups = source.spec.kind == MediaKind::Video || source.spec.codecs.len() > 1;
        for declared in source.spec.codecs.iter().filter(|_| backups) {
            let Some(codec) = Codec::from_mime(&declared.mime) else {
                continue;
            };
            let known = |key: &usize| variants.get(*key).is_some_and(|it| alike(it.codec, codec));
            if !source.variants.iter().any(known) {
                source
                    .variants
                    .push(variants.insert(Variant::new(now, track, codec)));
            }
        }
        if let Some(variant) = variants.get_mut(key) {
            variant.connection = Some(connection);
            variant.mid.clone_from(&section.mid);
        }
        let mid = section.mid.clone();
        self.bind_variant(now, key, section);
        let Some(variant) = self.variants.get(key) else {
            return;
        };
        self.events.push_back(Event::TrackBound {
            track,
            mid,
            mime: variant.codec.mime().to_owned(),
            layers: variant.layers.describe(),
        });
        self.arm_dynacast(now, key);
        self.offer_to_room(now, track);
        self.update_mirrors(now, track);
    }

    /// A track has something to receive, as far as its room knew it or not: all who want it get it.
    pub(super) fn offer_to_room(&mut self, now: Instant, track: TrackId) {
        let Some(source) = self.tracks.get(&track) else {
            return;
        };
        if source.variants.is_empty() {
            return;
        }
        let Some(room) = self.rooms.get_mut(&source.room) else {
            return;
        };
        room.tracks.insert(track);
        for id in room.participants.iter().copied().collect::<Vec<_>>() {
            self.review_subscription(now, id, track);
        }
    }

    /// Tells the receiver how to read a variant's section.
    fn bind_variant(&mut self, now: Instant, key: usize, section: ReceiveSection) {
        let Some(variant) = self.variants.get_mut(key) else {
            return;
        };
        let Some(source) = self.tracks.get(&variant.track) else {
            return;
        };
        if let Some(format) = section.payloads.first() {
            variant.codec = format.codec;
            variant.wish = CodecWish {
                codec: format.codec,
                fmtp: format.fmtp.clone(),
            };
        }
        let codecs = &source.spec.codecs;
        let declared = codecs
            .iter()
            .find(|codec| Codec::from_mime(&codec.mime) == Some(variant.codec))
            .or_else(|| codecs.first());
        let (layers, mode) = declared.map_or((&[][..], LayerMode::Unused), |codec| {
            (&codec.layers[..], codec.layer_mode)
        });
        variant.layers = BoundLayers::new(layers, mode, Some(variant.codec), &section);
        let svc = variant.layers.svc;
        let description = section::ReceiveSection::negotiated(
            &section,
            key as u32,
            svc,
            variant.layers.rids.clone(),
            variant.layers.ssrcs.clone(),
            source.spec.muted,
        );
        let Some(connection) = variant.connection else {
            return;
        };
        let (subs, table) = (variant.subs.clone(), LayerTable::new(&variant.layers.table));
        let mut ingress = std::mem::take(&mut self.ingress);
        if let Some(connection) = self.connections.get_mut(connection) {
            connection
                .receiver
                .set_section(now, description, &mut ingress);
        }
        for sub in subs {
            if let Some(forward) = self.subs.get_mut(sub).and_then(|sub| sub.forward.as_mut()) {
                forward.set_layers(table);
            }
            self.follow_wishes(now, sub);
        }
        self.forward(now, &mut ingress);
        self.ingress = ingress;
        self.touch(connection);
    }

    pub(super) fn mute_track(&mut self, now: Instant, track: TrackId, muted: bool) {
        let Some(source) = self.tracks.get_mut(&track) else {
            return;
        };
        source.spec.muted = muted;
        if let Some(meter) = source.meter.as_mut().filter(|_| muted) {
            meter.silence();
        }
        let (variants, mirrors) = (source.variants.clone(), source.mirrors.clone());
        for mirror in mirrors {
            if let Some(meter) = self
                .tracks
                .get_mut(&mirror)
                .and_then(|it| it.meter.as_mut())
                .filter(|_| muted)
            {
                meter.silence();
            }
        }
        for key in variants {
            let Some(connection) = self.variants.get(key).and_then(|it| it.connection) else {
                continue;
            };
            if let Some(connection) = self.connections.get_mut(connection) {
                connection.receiver.set_muted(now, key as u32, muted);
            }
            self.touch(connection);
        }
    }

    /// Ends a track; packets that still come are dropped.
    pub(super) fn end_track(&mut self, now: Instant, track: TrackId) {
        self.hush(track);
        self.forget_variants(now, track);
        let Some(source) = self.tracks.remove(&track) else {
            return;
        };
        for mirror in source.mirrors {
            self.end_track(now, mirror);
        }
        if let Some(mirror) = &source.mirror
            && let Some(original) = self.tracks.get_mut(&mirror.original)
        {
            original.mirrors.retain(|known| *known != track);
        }
        if let Some(room) = self.rooms.get_mut(&source.room) {
            room.tracks.remove(&track);
            room.sounding.remove(&track);
        }
        if let Some(participant) = self.participants.get_mut(&source.owner) {
            participant.tracks.retain(|known| *known != track);
            participant.awaited.retain(|it| it.track != track);
        }
        let others: FxHashSet<ParticipantId> = self
            .rooms
            .get(&source.room)
            .map(|room| room.participants.iter().copied().collect())
            .unwrap_or_default();
        for id in others {
            if let Some(participant) = self.participants.get_mut(&id) {
                participant.wishes.remove(&track);
                participant.settings.remove(&track);
            }
        }
    }

    /// Everything a track is received by and sent to.
    pub(super) fn forget_variants(&mut self, now: Instant, track: TrackId) {
        let Some(source) = self.tracks.get_mut(&track) else {
            return;
        };
        let (room, mirrors, is_mirror) =
            (source.room, source.mirrors.clone(), source.mirror.is_some());
        let variants = std::mem::take(&mut source.variants);
        let audience: Vec<ParticipantId> = self
            .rooms
            .get(&room)
            .map(|room| room.participants.iter().copied().collect())
            .unwrap_or_default();
        for id in audience {
            self.drop_subscription(now, id, track);
        }
        for mirror in mirrors {
            self.forget_variants(now, mirror);
        }
        if is_mirror {
            return;
        }
        for key in variants {
            let Some(variant) = self.variants.try_remove(key) else {
                continue;
            };
            let connection = variant
                .connection
                .and_then(|key| self.connections.get_mut(key));
            if let Some(connection) = connection {
                connection.receiver.remove_section(now, &variant.mid);
            }
        }
    }

    /// One codec of a track is no longer sent: its subscribers get another, if there is one for them.
    fn unbind(&mut self, now: Instant, key: usize) {
        let Some(variant) = self.variants.get_mut(key) else {
            return;
        };
        let Some(connection) = variant.connection.take() else {
            return;
        };
        let (mid, subs) = (std::mem::take(&mut variant.mid), variant.subs.clone());
        if let Some(connection) = self.connections.get_mut(connection) {
            connection.receiver.remove_section(now, &mid);
        }
        subs.into_iter().for_each(|sub| self.resubscribe(now, sub));
    }

    pub(super) fn sid_of(&self, id: ParticipantId) -> Option<Arc<str>> {
        self.participants
            .get(&id)
            .map(|participant| participant.spec.sid.clone())
    }
}
